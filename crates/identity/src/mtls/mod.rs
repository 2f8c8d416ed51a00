//! Identities of client certificates: by the names of issuer and subject (`auth.mtls.consumers`).
//!
//! That a certificate's chain leads to `client_ca`, and that its holder has the key, is the TLS stack's business and is done before
//! anything here is asked. Here is decided whose certificate it is, and whether it is one: in its time, for clients, not taken
//! back. The times are looked at again with each request, since connections outlive certificates.
//!
//! # Names
//! Configured names are RFC 4514 strings and are read into attributes: the order is that of the string, most specific first,
//! which is the reverse of the certificate's (`openssl x509 -nameopt RFC2253` prints it so). Attribute types may be written
//! in any case or as numbers; values are compared exactly, whatever string type the certificate has them in. The order of
//! attributes joined by `+` does not count. Text alone is never compared: `CN=a\,O=b` is one attribute, `CN=a,O=b` two.
//!
//! # Revocation
//! A list revokes serial numbers of the issuer that it names. An outdated list still revokes; [`RevocationList::next_update`]
//! tells who watches over it. Its signature is not checked: the file is the operator's, like the configuration.

mod certificate;
mod name;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{AuthMethod, Caller, Mode};

pub use certificate::{ClientCertificate, RevocationList};
pub use name::{DistinguishedName, NameError};
pub use refusal::CertificateRefusal;

use crate::index::Index;

/// Who is known by which certificate.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    known: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    issuer: DistinguishedName,
    subject: DistinguishedName,
    consumer: Arc<str>,
}

impl Certificates {
    /// From rows of issuer, subject and consumer.
    ///
    /// # Errors
    /// A name cannot be read: the number of its row, and why.
    pub fn new<'a>(
        rows: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    ) -> Result<Self, (usize, NameError)> {
        let read = |(at, (issuer, subject, consumer)): (usize, (&str, &str, &str))| {
            let name = |text: &str| DistinguishedName::parse(text).map_err(|error| (at, error));
            Ok(Known { issuer: name(issuer)?, subject: name(subject)?, consumer: consumer.into() })
        };
        Ok(Self { known: rows.into_iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    /// Whose certificate it is.
    ///
    /// # Errors
    /// It is not one now, it was taken back, or nobody is known by it.
    pub fn identify(
        &self,
        certificate: &ClientCertificate,
        revoked: &[RevocationList],
        index: &Index,
        now: UnixMs,
    ) -> Result<Arc<Caller>, CertificateRefusal> {
        certificate.check(now)?;
        if revoked.iter().any(|list| list.revokes(certificate)) {
            return Err(CertificateRefusal::Revoked);
        }
        let is_it =
            |known: &&Known| known.issuer == *certificate.issuer() && known.subject == *certificate.subject();
        let known = self.known.iter().find(is_it).ok_or(CertificateRefusal::Unknown)?;
        let consumer = index.consumer(&known.consumer).ok_or(CertificateRefusal::Unknown)?;
        if consumer.is_suspended {
            return Err(CertificateRefusal::Suspended);
        }
        Ok(Arc::new(Caller {
            consumer: Some(consumer.id),
            user: None,
            plan: consumer.plan,
            groups: consumer.groups,
            attributes: consumer.attributes,
            mode: Mode::Live,
            method: AuthMethod::Mtls,
            key_id: None,
            client_id: None,
            scopes: Arc::default(),
            generation: consumer.generation,
        }))
    }
}
