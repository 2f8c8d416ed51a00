//! The client of the admin API: one request over one connection, for the command line.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::limits::REQUEST_MAX;
use crate::loopback::{self, Loopback};
use crate::token::Token;

/// From the connect to the last byte of the answer: a little longer than the engine takes at most, so that its own
/// answer about a slow request arrives.
pub const CALL_MAX: Duration = REQUEST_MAX.saturating_add(Duration::from_secs(5));
/// Bytes of an answer; the largest is the configuration in effect.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where an engine's admin API is: on loopback, so the token never crosses a network in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    host: Loopback,
    port: u16,
}

impl AdminAddress {
    /// Reads `http://HOST[:PORT]` with a loopback host; without a port it is 80.
    ///
    /// # Errors
    /// Anything else, with what is expected.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let uri = Uri::try_from(text).map_err(|_| AddressError::Malformed)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(AddressError::Scheme),
            None => return Err(AddressError::Malformed),
        }
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(AddressError::Malformed);
        }
        let authority = uri.authority().ok_or(AddressError::Malformed)?;
        let (host, port) = loopback::split(authority).ok_or(AddressError::Malformed)?;
        let host = loopback::host(host).ok_or(AddressError::NotLoopback)?;
        Ok(Self { host, port: port.unwrap_or(80) })
    }

    /// The address of a listener on this machine, as `control.listen` has it.
    ///
    /// # Errors
    /// When it is not on loopback.
    pub fn of(listen: SocketAddr) -> Result<Self, AddressError> {
        loopback::require(listen).map_err(|_| AddressError::NotLoopback)?;
        Ok(Self { host: Loopback::Ip(listen.ip()), port: listen.port() })
    }

    /// What to try, in order. No resolver is asked: `localhost` means loopback whatever it says.
    fn candidates(&self) -> Vec<SocketAddr> {
        let ips = match self.host {
            Loopback::Ip(ip) => vec![ip],
            Loopback::Localhost => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }

    fn authority(&self) -> String {
        match self.host {
            Loopback::Ip(ip) => SocketAddr::new(ip, self.port).to_string(),
            Loopback::Localhost => format!("localhost:{}", self.port),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

/// Why a text is no address of an admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// It does not have the form.
    Malformed,
    /// Another scheme than `http`.
    Scheme,
    /// Another machine.
    NotLoopback,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the admin address has the form http://127.0.0.1:9090, without a path",
            Self::Scheme => "the admin API is served over http on loopback: write http://127.0.0.1:9090",
            Self::NotLoopback => {
                "the admin API is served on loopback only: use 127.0.0.1, [::1] or localhost, \
                 through a tunnel if the engine runs elsewhere"
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
            Self::NoAnswer { .. } | Self::BadPath => None,
        }
    }
}

/// Asks the admin API at `admin` and returns status and body of its answer. A non-empty `body` is sent as JSON.
///
/// # Errors
/// Only when there is no answer within [`CALL_MAX`] and [`ANSWER_BYTES_MAX`].
pub async fn call(
    admin: &AdminAddress,
    method: Method,
    path: &str,
    token: Option<&Token>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    call_within(Bounds::default(), admin, method, path, token, body).await
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
    method: Method,
    path: &str,
    token: Option<&Token>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), CallError> {
    let deadline = Instant::now() + bounds.whole;
    let request = request(admin, method, path, token, body)?;
    let stream = match timeout_at(deadline, connect(admin)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let stream = stream.map_err(|error| CallError::NotReachable { address: admin.clone(), error })?;
    let no_answer = |reason| CallError::NoAnswer { address: admin.clone(), reason };
    match timeout_at(deadline, exchange(stream, request, bounds.answer_bytes)).await {
        Ok(answer) => answer.map(|(status, body)| (status, body.into())).map_err(no_answer),
        Err(_) => Err(no_answer(format!("nothing complete within {} s", bounds.whole.as_secs()))),
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
    for candidate in admin.candidates() {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn exchange(
    stream: TcpStream,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async move {
        // The sender is dropped at the end of this block, which lets the connection end.
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), bytes_max).await;
        Ok((status, body.map_err(|error| error.to_string())?))
    };
    // What goes wrong with the connection is seen by the answer too.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
