//! A server that is known by its very certificate, from a file that the server has, too.
//!
//! The command line reads the configuration of the engine that it asks, so it knows which certificate to expect. That
//! is narrower than any CA: who else has a certificate for the same name, from whomever, is not this engine. Names do
//! not count, because the listener is reached by an address that its certificate need not have.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::names::Names;
use super::pem::{self, PairFiles};
use super::{HTTP11, PROVIDER, TlsError, client};

/// For HTTP/1.1 with a server that shows the first certificate of one of these files. `pair` is shown where it asks.
///
/// # Errors
/// What is wrong with which file.
pub fn pinned(
    files: &[PathBuf],
    pair: Option<&PairFiles>,
    now_s: i64,
) -> Result<Arc<ClientConfig>, TlsError> {
    let known = files.iter().map(|file| {
        let der = pem::certificates(file)?.swap_remove(0);
        let names = Names::of(&der).map_err(|why| TlsError(format!("{}: {why}", file.display())))?;
        Ok(Known { file: file.clone(), der, names })
    });
    let verifier = Pinned { known: known.collect::<Result<_, TlsError>>()?, provider: Arc::clone(&PROVIDER) };
    let builder = client::builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = client::showing(builder, pair, now_s)?;
    config.alpn_protocols = vec![HTTP11.to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Known {
    file: PathBuf,
    der: CertificateDer<'static>,
    names: Names,
}

#[derive(Debug)]
struct Pinned {
    known: Vec<Known>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(known) = self.known.iter().find(|known| known.der == *shown) else {
            let files: Vec<_> = self.known.iter().map(|known| known.file.display().to_string()).collect();
            return Err(Error::General(format!(
                "the certificate it shows is not that of {}",
                files.join(", ")
            )));
        };
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = known.names.check_validity(now_s);
        valid.map_err(|why| Error::General(format!("its certificate {} {why}", known.file.display())))?;
        Ok(ServerCertVerified::assertion())
    }

    // That the server has the certificate's key is what all of the above rests on.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signature, algorithms).map_err(|error| no_key(&error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signature, algorithms).map_err(|error| no_key(&error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn no_key(error: &Error) -> Error {
    Error::General(format!("it shows the right certificate and does not have its key: {error}"))
}
