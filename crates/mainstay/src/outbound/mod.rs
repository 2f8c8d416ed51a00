//! What the engine itself asks of others over HTTP: key sets now; whoever else asks uses this too.
//!
//! It runs on the control runtime, never on a worker. Whoever can name a URL here, or answer for a name in it, must not reach
//! what only this machine can:
//! - A name is looked up once; every address that it has is checked ([`address`]), and one that is not public and not in
//!   `auth.outbound.allow` refuses the whole request. What was checked is what is connected to.
//! - `http://` without TLS only goes to addresses that `allow` names.
//! - Redirects are an answer like any other: nothing is followed. Proxies of the environment are not asked.
//! - The answer is bounded in bytes, everything together in time; nothing is kept open afterwards.

pub(crate) mod address;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mainstay_config::checked::{self, FetchUrl};
use mainstay_core::clock::UnixMs;
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_proxy::plan::TrustedNetwork;
use mainstay_proxy::tls::client::{ClientFiles, ClientTls, Offer, server_name};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Fields of an answer take no more than this.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// How others are asked.
#[derive(Clone)]
pub(crate) struct Outbound {
    resolver: Resolver,
    allow: Arc<[TrustedNetwork]>,
    ca: Option<PathBuf>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How much is waited for.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// Of the answer's body.
    pub(crate) bytes_max: usize,
    /// From the look-up to the last byte.
    pub(crate) within: Duration,
}

/// Why there is no answer, in a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("cannot find the address: {0}")]
    Name(String),
    #[error("{0} is no public address, and `auth.outbound.allow` does not name it")]
    Address(std::net::IpAddr),
    #[error("{0} is asked without TLS, and `auth.outbound.allow` does not name it")]
    Plain(std::net::IpAddr),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the answer is no HTTP, or ended early: {0}")]
    Http(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no answer within {0:?}")]
    Slow(Duration),
}

impl Outbound {
    pub(crate) fn new(outbound: &checked::Outbound, resolver: Resolver) -> Self {
        let network = |it: &checked::Network| TrustedNetwork { address: it.address, prefix: it.prefix };
        Self { resolver, allow: outbound.allow.iter().map(network).collect(), ca: outbound.ca.clone() }
    }

    /// Sends a request. Its URI is set here, and `Host` too.
    ///
    /// # Errors
    /// There is no whole answer. Any status is an answer.
    pub(crate) async fn ask(
        &self,
        url: &FetchUrl,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
        now: UnixMs,
    ) -> Result<Answer, OutboundError> {
        let asked =
            tokio::time::timeout(bounds.within, self.ask_unbounded(url, request, bounds.bytes_max, now));
        asked.await.unwrap_or(Err(OutboundError::Slow(bounds.within)))
    }

    async fn ask_unbounded(
        &self,
        url: &FetchUrl,
        mut request: Request<Full<Bytes>>,
        bytes_max: usize,
        now: UnixMs,
    ) -> Result<Answer, OutboundError> {
        let http = |error: &dyn std::fmt::Display| OutboundError::Http(error.to_string());
        *request.uri_mut() = url.target.parse().map_err(|error| http(&error))?;
        let host = url.authority().parse().map_err(|error| http(&error))?;
        request.headers_mut().insert(http::header::HOST, host);
        let addresses = self.addresses(url).await?;
        let stream = connect(&addresses).await?;
        if url.tls {
            let stream = self.secure(url, stream, now).await?;
            exchange(stream, request, bytes_max).await
        } else {
            exchange(stream, request, bytes_max).await
        }
    }

    /// All of them, and each may be asked.
    async fn addresses(&self, url: &FetchUrl) -> Result<Vec<SocketAddr>, OutboundError> {
        let addresses = match url.host.parse() {
            Ok(address) => vec![SocketAddr::new(address, url.port)],
            Err(_) => self.resolver.lookup(&url.host, url.port).await.map_err(OutboundError::Name)?,
        };
        for address in &addresses {
            let address = address.ip();
            let is_allowed = self.allow.iter().any(|network| network.contains(address));
            if !is_allowed && !address::is_public(address) {
                return Err(OutboundError::Address(address));
            }
            if !is_allowed && !url.tls {
                return Err(OutboundError::Plain(address));
            }
        }
        Ok(addresses)
    }

    async fn secure(
        &self,
        url: &FetchUrl,
        stream: TcpStream,
        now: UnixMs,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, OutboundError> {
        let tls = |error: &dyn std::fmt::Display| OutboundError::Tls(error.to_string());
        let files = ClientFiles { ca: self.ca.clone(), pair: None, offer: Offer::Http1 };
        // Read each time: it is seldom, and so a new file is in use at once.
        let load = move || ClientTls::load("auth.outbound".into(), files, now.seconds());
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| tls(&error))?;
        let config = loaded.map_err(|error| tls(&error))?.current(true);
        let name = server_name(&url.host).map_err(|error| tls(&error))?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| tls(&error))
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, OutboundError> {
    let mut last = OutboundError::Connect("the name has no address".into());
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = OutboundError::Connect(format!("{address}: {error}")),
        }
    }
    Err(last)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<Answer, OutboundError> {
    let http = |error: hyper::Error| OutboundError::Http(error.to_string());
    let mut builder = http1::Builder::new();
    let (mut sender, connection) =
        builder.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Driven by this very future: given up with it, and closed with it.
    let asked = async move {
        let (head, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
            match error.downcast::<http_body_util::LengthLimitError>() {
                Ok(_) => OutboundError::TooLarge(bytes_max),
                Err(error) => OutboundError::Http(error.to_string()),
            }
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        // Ended from the other side; what has come of the answer is still there.
        _ = connection => asked.await,
    }
}
