//! Certificates, keys and roots from PEM files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{PROVIDER, TlsError};

/// A certificate file is a few KiB; a bundle of public roots is 250.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A certificate chain and the key that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Loads a pair and checks that its two halves belong together.
///
/// # Errors
/// A file that cannot be read or holds something else; a key that is not the certificate's.
pub fn pair(files: &PairFiles) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(&files.cert)?;
    let key = private_key(&files.key)?;
    let pair = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| {
        let (cert, key) = (files.cert.display(), files.key.display());
        let why = match error {
            rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
            error => error.to_string(),
        };
        TlsError(format!("{cert} and {key} make no pair: {why}"))
    })?;
    Ok(Arc::new(pair))
}

/// All certificates of a file, in order.
///
/// # Errors
/// The file cannot be read, or has none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| TlsError(format!("{} is no PEM file: {error}", path.display())))?;
    if found.is_empty() {
        return Err(TlsError(format!("{} has no certificate in it", path.display())));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // The error's text names what was found instead, never a part of a key.
        TlsError(format!("{} has no private key that can be used: {error}", path.display()))
    })
}

/// The certificates of a file as roots of trust.
///
/// # Errors
/// The file cannot be read, has none, or one of them is no certificate of a CA that can be used.
pub fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| TlsError(format!("{}: {error}", path.display())))?;
    }
    Ok(store)
}

/// The roots that this machine trusts.
///
/// # Errors
/// There are none.
pub fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(TlsError(
            "this machine has no certificates of public CAs; install ca-certificates, or name a file in `tls.ca`"
                .into(),
        ));
    }
    Ok(store)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: std::io::Error| TlsError(format!("{} cannot be read: {error}", path.display()));
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(TlsError(format!("{} is too large for a certificate file", path.display())));
    }
    fs::read(path).map_err(failed)
}
