//! What is looked at of a certificate, and of a list of revoked ones.

use std::collections::HashSet;

use mainstay_core::clock::UnixMs;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::time::Time;

use super::name::DistinguishedName;
use super::refusal::CertificateRefusal;

/// `id-kp-clientAuth` (RFC 5280, section 4.2.1.12).
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// A client's certificate, read once for each connection.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    issuer: DistinguishedName,
    subject: DistinguishedName,
    serial: Box<[u8]>,
    not_before_ms: i64,
    not_after_ms: i64,
    is_for_clients: bool,
}

impl ClientCertificate {
    /// Reads DER.
    ///
    /// # Errors
    /// It is no certificate.
    pub fn read(der: &[u8]) -> Result<Self, CertificateRefusal> {
        let malformed = |_| CertificateRefusal::Malformed;
        let certificate = Certificate::from_der(der).map_err(malformed)?;
        let about = certificate.tbs_certificate();
        let usage = about.get_extension::<ExtendedKeyUsage>().map_err(malformed)?;
        Ok(Self {
            issuer: DistinguishedName::of(about.issuer()).ok_or(CertificateRefusal::Malformed)?,
            subject: DistinguishedName::of(about.subject()).ok_or(CertificateRefusal::Malformed)?,
            serial: about.serial_number().as_bytes().into(),
            not_before_ms: unix_ms(about.validity().not_before),
            // The last second counts (RFC 5280, section 4.1.2.5).
            not_after_ms: unix_ms(about.validity().not_after).saturating_add(1000),
            is_for_clients: usage.is_none_or(|(_, usage)| usage.0.contains(&CLIENT_AUTH)),
        })
    }

    /// Who issued it.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// Whose it is.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Whether it is one for clients, now.
    pub(super) fn check(&self, now: UnixMs) -> Result<(), CertificateRefusal> {
        if !self.is_for_clients {
            return Err(CertificateRefusal::Usage);
        }
        if now.0 < self.not_before_ms {
            return Err(CertificateRefusal::NotYetValid);
        }
        if now.0 >= self.not_after_ms {
            return Err(CertificateRefusal::Expired);
        }
        Ok(())
    }
}

/// Serial numbers that an issuer has taken back.
#[derive(Clone, Debug)]
pub struct RevocationList {
    issuer: DistinguishedName,
    serials: HashSet<Box<[u8]>>,
    next_update_ms: Option<i64>,
}

impl RevocationList {
    /// Reads DER (RFC 5280, section 5).
    ///
    /// # Errors
    /// It is no list.
    pub fn read(der: &[u8]) -> Result<Self, CertificateRefusal> {
        let list: CertificateList =
            CertificateList::from_der(der).map_err(|_| CertificateRefusal::Malformed)?;
        let about = list.tbs_cert_list;
        let revoked = about.revoked_certificates.unwrap_or_default();
        Ok(Self {
            issuer: DistinguishedName::of(&about.issuer).ok_or(CertificateRefusal::Malformed)?,
            serials: revoked.iter().map(|one| one.serial_number.as_bytes().into()).collect(),
            next_update_ms: about.next_update.map(unix_ms),
        })
    }

    /// When there should be a newer one.
    pub fn next_update(&self) -> Option<UnixMs> {
        self.next_update_ms.map(UnixMs)
    }

    pub(super) fn revokes(&self, certificate: &ClientCertificate) -> bool {
        self.issuer == certificate.issuer && self.serials.contains(&certificate.serial)
    }
}

fn unix_ms(time: Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
}
