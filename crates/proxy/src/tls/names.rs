//! What a certificate says of itself: its names, and from when to when it holds.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The names and dates of a leaf certificate.
#[derive(Clone, Debug)]
pub(super) struct Names {
    der: CertificateDer<'static>,
    not_before_s: i64,
    /// Unix seconds.
    pub(super) not_after_s: i64,
}

impl Names {
    /// Reads a leaf certificate.
    ///
    /// # Errors
    /// It is no X.509 certificate, or not one for servers.
    pub(super) fn of(der: &CertificateDer<'static>) -> Result<Self, String> {
        ParsedCertificate::try_from(der).map_err(|error| error.to_string())?;
        let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
        let validity = certificate.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs() as i64;
        Ok(Self {
            der: der.clone(),
            not_before_s: seconds(&validity.not_before),
            not_after_s: seconds(&validity.not_after),
        })
    }

    /// True when the certificate names this host, exactly or by a wildcard (RFC 9525).
    pub(super) fn has(&self, host: &str) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(&self.der) else { return false };
        ServerName::try_from(host)
            .is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    }

    /// Whether it holds now.
    ///
    /// # Errors
    /// The rest of a sentence that begins with its file.
    pub(super) fn check_validity(&self, now_s: i64) -> Result<(), String> {
        let date = mainstay_core::units::show_date;
        if now_s > self.not_after_s {
            return Err(format!("has expired, on {}", date(self.not_after_s)));
        }
        if now_s < self.not_before_s {
            return Err(format!("does not hold before {}", date(self.not_before_s)));
        }
        Ok(())
    }
}
