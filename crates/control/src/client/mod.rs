//! The client of the admin API: one request over one connection, for the command line.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::limits::REQUEST_MAX;
use crate::loopback::{self, Loopback};
use crate::token::Token;

mod secure;

/// From the connect to the last byte of the answer: a little longer than the engine takes at most, so that its own
/// answer about a slow request arrives.
pub const CALL_MAX: Duration = REQUEST_MAX.saturating_add(Duration::from_secs(5));
/// Bytes of an answer; the largest is the configuration in effect.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where an engine's admin API is: on loopback or behind TLS, so the token never crosses a network in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    tls: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Localhost,
    Ip(IpAddr),
    /// With TLS only.
    Name(String),
}

impl AdminAddress {
    /// Reads `http://HOST[:PORT]` with a loopback host, or `https://HOST[:PORT]` with any; without a port it is the
    /// scheme's.
    ///
    /// # Errors
    /// Anything else, with what is expected.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let uri = Uri::try_from(text).map_err(|_| AddressError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(AddressError::Scheme),
            None => return Err(AddressError::Malformed),
        };
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(AddressError::Malformed);
        }
        let authority = uri.authority().ok_or(AddressError::Malformed)?;
        let (host, port) = loopback::split(authority).ok_or(AddressError::Malformed)?;
        let host = match loopback::host(host) {
            Some(Loopback::Localhost) => Host::Localhost,
            Some(Loopback::Ip(ip)) => Host::Ip(ip),
            None if !tls => return Err(AddressError::NotLoopback),
            None => match ServerName::try_from(host).map_err(|_| AddressError::Malformed)? {
                ServerName::IpAddress(ip) => Host::Ip(ip.into()),
                _ => Host::Name(host.to_owned()),
            },
        };
        Ok(Self { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) })
    }

    /// The address of a listener on this machine, as `control.listen` has it, with TLS or without.
    ///
    /// # Errors
    /// When it is not on loopback, and without TLS.
    pub fn of(listen: SocketAddr, tls: bool) -> Result<Self, AddressError> {
        if !tls {
            loopback::require(listen).map_err(|_| AddressError::NotLoopback)?;
        }
        let ip = match listen.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Self { tls, host: Host::Ip(ip), port: listen.port() })
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// What to try, in order. For `localhost` no resolver is asked: it means loopback whatever a resolver says.
    async fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        let ips = match &self.host {
            Host::Ip(ip) => vec![*ip],
            Host::Localhost => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            Host::Name(name) => return Ok(lookup_host((name.as_str(), self.port)).await?.collect()),
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect())
    }

    /// What the certificate has to be for.
    fn server_name(&self) -> Result<ServerName<'static>, CallError> {
        match &self.host {
            Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
            Host::Localhost => ServerName::try_from("localhost").map_err(|_| CallError::BadPath),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| CallError::BadPath),
        }
    }

    fn authority(&self) -> String {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Localhost => format!("localhost:{}", self.port),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Why a text is no address of an admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// It does not have the form.
    Malformed,
    /// Another scheme than `http` and `https`.
    Scheme,
    /// Another machine, without TLS.
    NotLoopback,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => {
                "the admin address has the form http://127.0.0.1:9090 or https://HOST:9090, without a path"
            }
            Self::Scheme => "the admin API is served over http or https: write http://127.0.0.1:9090",
            Self::NotLoopback => {
                "without TLS the admin API is served on loopback only: use 127.0.0.1, [::1] or localhost, \
                 or https:// if the engine has control.tls"
            }
        })
    }
}

impl std::error::Error for AddressError {}

/// Why there is no answer. An answer, whatever its status, is never an error here.
#[derive(Debug)]
pub enum CallError {
    /// No connection came about: the engine does not run, or not there. Nothing was sent.
    NotReachable {
        /// Where it was looked for.
        address: AdminAddress,
        /// What the system said.
        error: io::Error,
    },
    /// Whoever answered the connect is not known to be the engine, or does not take us for an operator. Nothing had
    /// an effect.
    NotTrusted {
        /// Who was asked.
        address: AdminAddress,
        /// Why, and what to do.
        reason: String,
    },
    /// Something answered the connect but gave no complete answer: the call may or may not have had its effect.
    NoAnswer {
        /// Who was asked.
        address: AdminAddress,
        /// What happened instead.
        reason: String,
    },
    /// The path cannot be put into a request; see [`path_segment`].
    BadPath,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReachable { address, error } => {
                write!(f, "no engine is reachable at {address}: {error}")
            }
            Self::NotTrusted { address, reason } => write!(f, "no talking to {address}: {reason}"),
            Self::NoAnswer { address, reason } => write!(
                f,
                "the engine at {address} gave no answer: {reason}; whether the call had its effect is unknown"
            ),
            Self::BadPath => f.write_str("the path is not well formed"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotReachable { error, .. } => Some(error),
            Self::NotTrusted { .. } | Self::NoAnswer { .. } | Self::BadPath => None,
        }
    }
}

/// Asks the admin API at `admin` and returns status and body of its answer. A non-empty `body` is sent as JSON. An
/// address with TLS takes `tls`, which says whom to trust.
///
/// # Errors
/// Only when there is no answer within [`CALL_MAX`] and [`ANSWER_BYTES_MAX`].
pub async fn call(
    admin: &AdminAddress,
    tls: Option<&Arc<ClientConfig>>,
    method: Method,
    path: &str,
    token: Option<&Token>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    call_within(Bounds::default(), admin, tls, method, path, token, body).await
}

/// The bounds of one call: tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) whole: Duration,
    pub(crate) answer_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { whole: CALL_MAX, answer_bytes: ANSWER_BYTES_MAX }
    }
}

pub(crate) async fn call_within(
    bounds: Bounds,
    admin: &AdminAddress,
    tls: Option<&Arc<ClientConfig>>,
    method: Method,
    path: &str,
    token: Option<&Token>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    let deadline = Instant::now() + bounds.whole;
    let request = request(admin, method, path, token, body)?;
    let not_reachable = |error| CallError::NotReachable { address: admin.clone(), error };
    let no_time = || io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout_at(deadline, connect(admin)).await.unwrap_or_else(|_| Err(no_time()));
    let stream = stream.map_err(not_reachable)?;
    let exchanged = if admin.tls {
        let no_config =
            || not_reachable(io::Error::other("TLS was asked for, and nobody to trust was given"));
        let connector = TlsConnector::from(Arc::clone(tls.ok_or_else(no_config)?));
        let shaken = timeout_at(deadline, connector.connect(admin.server_name()?, stream)).await;
        let stream = shaken.unwrap_or_else(|_| Err(no_time())).map_err(|error| {
            let reason = secure::reason(&error).unwrap_or_else(|| format!("no TLS handshake: {error}"));
            CallError::NotTrusted { address: admin.clone(), reason }
        })?;
        timeout_at(deadline, exchange(stream, request, bounds.answer_bytes)).await
    } else {
        timeout_at(deadline, exchange(stream, request, bounds.answer_bytes)).await
    };
    match exchanged {
        Ok(Ok((status, body))) => Ok((status, body.into())),
        Ok(Err(failed)) => Err(failed.told_of(admin)),
        Err(_) => {
            let reason = format!("nothing complete within {} s", bounds.whole.as_secs());
            Err(CallError::NoAnswer { address: admin.clone(), reason })
        }
    }
}

/// Escapes a text, such as a request id typed by a person, so that it is one segment of a path.
#[must_use]
pub fn path_segment(text: &str) -> String {
    use fmt::Write as _;
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

fn request(
    admin: &AdminAddress,
    method: Method,
    path: &str,
    token: Option<&Token>,
    body: Vec<u8>,
) -> Result<Request<Body>, CallError> {
    if !path.starts_with('/') {
        return Err(CallError::BadPath);
    }
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::try_from(path).map_err(|_| CallError::BadPath)?;
    let host = HeaderValue::try_from(admin.authority()).map_err(|_| CallError::BadPath)?;
    request.headers_mut().insert(HOST, host);
    if let Some(token) = token {
        request.headers_mut().insert(AUTHORIZATION, token.authorization());
    }
    if !body.is_empty() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Body::from(body);
    }
    Ok(request)
}

async fn connect(admin: &AdminAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in admin.candidates().await? {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Why an exchange over a connection that stands came to nothing.
enum Failed {
    /// The connection, or what came over it.
    Http(hyper::Error),
    /// The body of the answer.
    Body(axum::Error),
}

impl Failed {
    fn told_of(self, admin: &AdminAddress) -> CallError {
        let address = admin.clone();
        let (error, is_no_http): (&(dyn std::error::Error + 'static), bool) = match &self {
            Self::Http(error) => (error, error.is_parse()),
            Self::Body(error) => (error, false),
        };
        // With TLS 1.3 a server says only after the handshake that it does not take the client.
        if let Some(reason) = secure::reason(error) {
            return CallError::NotTrusted { address, reason };
        }
        let mut reason = error.to_string();
        if is_no_http && !admin.tls {
            reason.push_str("; if the engine has control.tls, write https:// instead");
        }
        CallError::NoAnswer { address, reason }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), Failed> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failed::Http)?;
    let answer = async move {
        // The sender is dropped at the end of this block, which lets the connection end.
        let response = sender.send_request(request).await.map_err(Failed::Http)?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), bytes_max).await;
        Ok((status, body.map_err(Failed::Body)?))
    };
    // What goes wrong with the connection is seen by the answer too.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
