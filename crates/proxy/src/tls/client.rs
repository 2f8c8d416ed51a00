//! How an upstream is spoken to over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WantsClientCert;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

use super::fresh::{Fresh, Looked};
use super::names::Names;
use super::pem::{self, PairFiles};
use super::{H2, HTTP11, PROVIDER, TlsError, VERSIONS};

/// Which protocols are offered to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    H2,
    /// Either, as the upstream prefers.
    Both,
}

/// What `upstreams.*.tls` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Whom to trust; `None`: what this machine trusts.
    pub ca: Option<PathBuf>,
    /// What to show, where the upstream asks.
    pub pair: Option<PairFiles>,
    /// Which protocols to offer.
    pub offer: Offer,
}

impl ClientFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let pair = self.pair.iter().flat_map(|pair| [&*pair.cert, &*pair.key]);
        self.ca.as_deref().into_iter().chain(pair)
    }
}

/// Connections to an upstream's endpoints are made with this.
pub struct ClientTls {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Its files.
    pub files: ClientFiles,
    fresh: Fresh,
    current: ArcSwap<ClientSide>,
}

/// What connections are made with.
struct ClientSide {
    usual: Arc<ClientConfig>,
    /// The same, for those that must not come to HTTP/2.
    http1: Arc<ClientConfig>,
}

impl ClientTls {
    /// Loads the files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(upstream: Arc<str>, files: ClientFiles, now_s: i64) -> Result<Self, TlsError> {
        let fresh = Fresh::new(files.paths());
        let current = ArcSwap::from_pointee(build(&files, now_s)?);
        Ok(Self { upstream, files, fresh, current })
    }

    /// What a new connection uses. `only_http1`: HTTP/2 is not offered.
    pub fn current(&self, only_http1: bool) -> Arc<ClientConfig> {
        let side = self.current.load();
        Arc::clone(if only_http1 { &side.http1 } else { &side.usual })
    }

    /// Loads the files again if they have changed.
    pub fn look(&self, now_s: i64) -> Looked {
        self.fresh.look(self.files.paths(), || {
            self.current.store(Arc::new(build(&self.files, now_s)?));
            Ok(())
        })
    }
}

fn build(files: &ClientFiles, now_s: i64) -> Result<ClientSide, TlsError> {
    let roots = match &files.ca {
        Some(ca) => pem::roots(ca)?,
        None => pem::system_roots()?,
    };
    let builder = builder()?.with_root_certificates(roots);
    let mut config = showing(builder, files.pair.as_ref(), now_s)?;
    config.alpn_protocols = match files.offer {
        Offer::Http1 => vec![HTTP11.to_vec()],
        Offer::H2 => vec![H2.to_vec()],
        Offer::Both => vec![H2.to_vec(), HTTP11.to_vec()],
    };
    let mut http1 = config.clone();
    http1.alpn_protocols = vec![HTTP11.to_vec()];
    Ok(ClientSide { usual: Arc::new(config), http1: Arc::new(http1) })
}

pub(super) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| TlsError(error.to_string()))
}

/// With the certificate that is shown where it is asked for.
pub(super) fn showing(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    pair: Option<&PairFiles>,
    now_s: i64,
) -> Result<ClientConfig, TlsError> {
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = pem::pair(pair)?;
            let names =
                Names::of(&key.cert[0]).map_err(|why| TlsError(format!("{}: {why}", pair.cert.display())))?;
            names.check_validity(now_s).map_err(|why| TlsError(format!("{} {why}", pair.cert.display())))?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
        }
    };
    config.enable_early_data = false;
    Ok(config)
}

/// The name an upstream must prove: what `tls.server_name` says, or the host that is connected to.
///
/// # Errors
/// It is neither a DNS name nor an address.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| TlsError(format!("`{name}` is no name that a certificate could have")))
}
