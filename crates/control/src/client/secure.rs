//! What goes wrong with TLS on the way to an engine, each with what to do about it.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The reason in a sentence, where an error of the connection is one of TLS.
pub(super) fn reason(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(sentence(tls));
        }
        // An error of I/O does not name what it carries as its source.
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = match carried {
            Some(carried) => Some(carried as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

fn sentence(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => told(*alert),
        Error::InvalidMessage(_) => {
            "what answers there speaks no TLS; if the engine has no control.tls, write http:// instead".into()
        }
        Error::General(sentence) => sentence.clone(),
        other => other.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        // The second one: from another CA of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate comes from a CA that is not trusted here; give the CA's certificate with --admin-ca FILE".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew the files of control.tls, the engine takes them by itself".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate does not hold yet; compare the clocks of the two machines".into()
        }
        CertificateError::NotValidForName => "its certificate is for another name; use that name in --admin".into(),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for other names ({}); use one of them in --admin",
            presented.join(", ")
        ),
        other => format!("its certificate does not hold: {other}"),
    }
}

/// What the engine says of us.
fn told(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it asks for a client certificate; give one with --admin-cert FILE and --admin-key FILE".into()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::DecryptError => format!(
            "it does not take the certificate of --admin-cert ({alert:?}); it has to come from the client_ca of its set of server.tls"
        ),
        other => format!("it ended the TLS handshake ({other:?})"),
    }
}
