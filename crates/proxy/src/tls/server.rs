//! A named set of `server.tls`: what a listener shows its clients.
//!
//! Which certificate a client gets is decided by the name it asks for (SNI, RFC 6066): the first certificate of the
//! set that names it, exactly or by a wildcard; without a match, or without SNI, the first of the set. A
//! connection that asked for one name must not be used for another that would have got another certificate, or
//! for any other where client certificates count: see [`Handshaken::is_misdirected`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::fresh::{Fresh, Looked};
use super::names::Names;
use super::pem::{self, PairFiles};
use super::{H2, HTTP11, PROVIDER, TlsError, VERSIONS};

/// The files of a set: equal ones share their live state over a reload of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// At least one pair; the first is what a client gets that asks for no known name.
    pub pairs: Vec<PairFiles>,
    /// Whose certificates clients may show. Without it none is asked for.
    pub client_ca: Option<PathBuf>,
}

impl ServerFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter().flat_map(|pair| [&*pair.cert, &*pair.key]);
        pairs.chain(self.client_ca.as_deref())
    }
}

/// A set that is in use; what it was built from may change on disk.
pub struct ServerTls {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its files.
    pub files: ServerFiles,
    fresh: Fresh,
    current: ArcSwap<ServerSide>,
}

/// What one connection begins with.
pub struct ServerSide {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The same for HTTP/1.1 alone, and with `client_ca` for nobody without a certificate: for a listener where no
    /// operation says who may call it.
    pub strict: Arc<ServerConfig>,
    /// Which certificate belongs to which name.
    pub chooser: Arc<Chooser>,
    /// Client certificates are asked for.
    pub asks_clients: bool,
    /// When the first certificate of the set ends, Unix seconds.
    pub not_after_s: i64,
}

impl ServerTls {
    /// Loads a set.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(name: Arc<str>, files: ServerFiles, now_s: i64) -> Result<Self, TlsError> {
        let fresh = Fresh::new(files.paths());
        let current = ArcSwap::from_pointee(build(&files, now_s)?);
        Ok(Self { name, files, fresh, current })
    }

    /// What a new connection uses.
    pub fn current(&self) -> Arc<ServerSide> {
        self.current.load_full()
    }

    /// Loads the files again if they have changed.
    pub fn look(&self, now_s: i64) -> Looked {
        self.fresh.look(self.files.paths(), || {
            self.current.store(Arc::new(build(&self.files, now_s)?));
            Ok(())
        })
    }
}

fn build(files: &ServerFiles, now_s: i64) -> Result<ServerSide, TlsError> {
    let mut choices = Vec::with_capacity(files.pairs.len());
    let mut not_after_s = i64::MAX;
    for pair in &files.pairs {
        let key = pem::pair(pair)?;
        let names =
            Names::of(&key.cert[0]).map_err(|why| TlsError(format!("{}: {why}", pair.cert.display())))?;
        names.check_validity(now_s).map_err(|why| TlsError(format!("{} {why}", pair.cert.display())))?;
        not_after_s = not_after_s.min(names.not_after_s);
        choices.push((names, key));
    }
    let chooser = Arc::new(Chooser { choices });
    let roots = files.client_ca.as_ref().map(|ca| pem::roots(ca).map(|roots| (&**ca, Arc::new(roots))));
    let roots = roots.transpose()?;
    let mut config = server_config(&chooser, roots.as_ref(), Clients::MayShow)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
    // Tickets are bound to this very configuration: after a change of the client CA nobody resumes past it.
    config.ticketer =
        rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsError(error.to_string()))?;
    // Without tickets: who has got in elsewhere must not resume here.
    let mut strict = server_config(&chooser, roots.as_ref(), Clients::MustShow)?;
    strict.alpn_protocols = vec![HTTP11.to_vec()];
    strict.send_tls13_tickets = 0;
    let asks_clients = files.client_ca.is_some();
    Ok(ServerSide { config: Arc::new(config), strict: Arc::new(strict), chooser, asks_clients, not_after_s })
}

/// Where there is a CA for clients, whether they get in without a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// Who shows none may still call what asks for none.
    MayShow,
    MustShow,
}

fn server_config(
    chooser: &Arc<Chooser>,
    roots: Option<&(&Path, Arc<RootCertStore>)>,
    clients: Clients,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(VERSIONS)
        .map_err(|error| TlsError(error.to_string()))?;
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some((ca, roots)) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&PROVIDER));
            let verifier = match clients {
                Clients::MayShow => verifier.allow_unauthenticated(),
                Clients::MustShow => verifier,
            };
            let verifier =
                verifier.build().map_err(|error| TlsError(format!("{}: {error}", ca.display())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::clone(chooser) as Arc<dyn ResolvesServerCert>);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// Certificates by name.
#[derive(Debug)]
pub struct Chooser {
    choices: Vec<(Names, Arc<CertifiedKey>)>,
}

impl Chooser {
    /// Which certificate a client gets that asks for `name`.
    fn index(&self, name: Option<&str>) -> usize {
        name.and_then(|name| self.choices.iter().position(|(names, _)| names.has(name))).unwrap_or(0)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choices.get(self.index(hello.server_name())).map(|(_, key)| Arc::clone(key))
    }
}

/// What a handshake has settled, for the requests of its connection.
pub struct Handshaken {
    /// The name that was asked for.
    pub sni: Option<Box<str>>,
    /// The client's certificate chain, leaf first, checked against `client_ca`.
    pub client_chain: Option<Vec<CertificateDer<'static>>>,
    side: Arc<ServerSide>,
}

impl Handshaken {
    /// Takes what counts from a finished handshake.
    pub fn of(connection: &rustls::ServerConnection, side: Arc<ServerSide>) -> Self {
        Self {
            sni: connection.server_name().map(Into::into),
            client_chain: connection
                .peer_certificates()
                .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect()),
            side,
        }
    }

    /// True for a request whose host this connection was not made for (RFC 9110, 7.4): its client asked for another
    /// name, and that name got another certificate, or proof of who the client is.
    pub fn is_misdirected(&self, host: &str) -> bool {
        let Some(sni) = &self.sni else { return false };
        if sni.eq_ignore_ascii_case(host) {
            return false;
        }
        let chooser = &self.side.chooser;
        self.side.asks_clients || chooser.index(Some(sni)) != chooser.index(Some(&host.to_ascii_lowercase()))
    }
}
