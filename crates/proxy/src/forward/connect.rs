//! From an endpoint to a connection, TLS included, with a cause of its own for each way it can fail.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::{Problem, ProblemCode};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::endpoint::{Address, EndpointShared, Secure};
use crate::stream::{Plain, Stream};
use crate::tls;

/// Why there is no connection. In each case nothing was sent.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No route, network down, or another failure of the network.
    Unreachable(io::ErrorKind),
    /// The name does not resolve; the resolver's sentence.
    Dns(String),
    /// It took longer than `timeouts.connect`.
    TimedOut,
    /// All connections are busy and none became free within `pool.wait`.
    PoolExhausted,
    /// The HTTP/2 connection could not be set up.
    Handshake,
    /// TLS could not be set up; why.
    Tls(String),
    /// A service within the process takes no connection; why.
    Local(String),
    /// This machine has no descriptor, port or memory left for another connection.
    OutOfResources,
    /// The request's own time was up first.
    DeadlineExceeded,
}

impl ConnectError {
    /// True when the failure is the upstream's, and not one of the engine's own bounds.
    pub fn is_of_upstream(&self) -> bool {
        !matches!(self, Self::PoolExhausted | Self::OutOfResources | Self::DeadlineExceeded)
    }

    /// What the client is told.
    pub fn problem(&self) -> Problem {
        let new = Problem::new;
        match self {
            Self::Refused => new(ProblemCode::UpstreamRefused, "The connection to the service was refused."),
            Self::Unreachable(_) => {
                new(ProblemCode::UpstreamUnreachable, "The service cannot be reached over the network.")
            }
            Self::Dns(_) => new(ProblemCode::UpstreamDns, "The service's host name could not be resolved."),
            Self::TimedOut => {
                new(ProblemCode::UpstreamConnectTimeout, "The service did not accept the connection in time.")
            }
            Self::PoolExhausted => {
                new(ProblemCode::PoolExhausted, "No connection to the service became free in time.")
                    .retry_after_s(1)
            }
            Self::Handshake => {
                new(ProblemCode::UpstreamMalformed, "The service does not speak HTTP/2 as configured.")
            }
            Self::Tls(_) => {
                new(ProblemCode::UpstreamTls, "No TLS connection to the service could be set up.")
            }
            Self::Local(_) => {
                new(ProblemCode::LocalServiceFailed, "The service took no connection. Nothing was sent.")
            }
            Self::DeadlineExceeded => new(ProblemCode::DeadlineExceeded, DEADLINE_IN_CONNECT),
            Self::OutOfResources => {
                new(ProblemCode::Overloaded, "The gateway cannot open another connection.").retry_after_s(1)
            }
        }
    }

    /// A word for trail, metrics and log.
    pub fn cause(&self) -> String {
        match self {
            Self::Refused => "connection refused".into(),
            Self::Unreachable(kind) => format!("unreachable ({kind})"),
            Self::Dns(why) => format!("name not resolved ({why})"),
            Self::TimedOut => "connect timed out".into(),
            Self::PoolExhausted => "pool exhausted".into(),
            Self::Handshake => "HTTP/2 handshake failed".into(),
            Self::Tls(why) => format!("TLS failed ({why})"),
            Self::Local(why) => format!("no connection within the process ({why})"),
            Self::DeadlineExceeded => "the request's time was up before a connection stood".into(),
            Self::OutOfResources => "no descriptor or port left".into(),
        }
    }

    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            // A reset before anyone has noticed that the connection stood: somebody is there, and does not want it.
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Self::OutOfResources,
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Self::OutOfResources,
            kind => Self::Unreachable(kind),
        }
    }
}

const DEADLINE_IN_CONNECT: &str =
    "The request's time was up before a connection to the service stood. Nothing was sent.";

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// A connection that stands.
pub struct Connected {
    /// Its bytes.
    pub stream: Stream,
    /// ALPN came to HTTP/2.
    pub is_h2: bool,
}

/// Opens a connection to the first address that takes one, TLS included, all within `within`. `only_http1`: HTTP/2 is
/// not offered.
///
/// # Errors
/// The last address's failure; see [`ConnectError`].
pub async fn connect(
    endpoint: &EndpointShared,
    within: Duration,
    only_http1: bool,
) -> Result<Connected, ConnectError> {
    let until = Instant::now() + within;
    let plain = reach(endpoint, until).await?;
    match &endpoint.secure {
        None => Ok(Connected { stream: Stream::Plain(plain), is_h2: false }),
        Some(secure) => match timeout_at(until, Box::pin(secured(plain, secure, only_http1))).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(ConnectError::TimedOut),
        },
    }
}

async fn reach(endpoint: &EndpointShared, until: Instant) -> Result<Plain, ConnectError> {
    if let Some(dial) = &endpoint.dialer {
        return dial().map_err(|error| match endpoint.is_local() {
            true => ConnectError::Local(error.to_string()),
            false => ConnectError::from_io(&error),
        });
    }
    if let Address::Unix(path) = &endpoint.settings.address {
        return match timeout_at(until, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(stream.into()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(ConnectError::Refused),
            Ok(Err(error)) => Err(ConnectError::from_io(&error)),
            Err(_elapsed) => Err(ConnectError::TimedOut),
        };
    }
    let addresses = match timeout_at(until, endpoint.addresses()).await {
        Ok(addresses) => addresses.map_err(ConnectError::Dns)?,
        Err(_elapsed) => return Err(ConnectError::Dns("no answer in time".into())),
    };
    let mut failure = ConnectError::Dns("the name has no address".into());
    for address in addresses {
        match timeout_at(until, connect_to(address)).await {
            Ok(Ok(stream)) => return Ok(stream.into()),
            Ok(Err(error)) => failure = ConnectError::from_io(&error),
            Err(_elapsed) => return Err(ConnectError::TimedOut),
        }
    }
    Err(failure)
}

async fn secured(plain: Plain, secure: &Secure, only_http1: bool) -> Result<Connected, ConnectError> {
    let connector = TlsConnector::from(secure.tls.current(only_http1));
    match connector.connect(secure.name.clone(), plain).await {
        Ok(stream) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(tls::H2);
            Ok(Connected { stream: Stream::Upstream(Box::new(stream)), is_h2 })
        }
        Err(error) => Err(ConnectError::Tls(error.to_string())),
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Heads and small bodies leave in one write; waiting for more would only add delay.
    stream.set_nodelay(true)?;
    Ok(stream)
}
