//! A client and upstreams over streams in memory. They know bytes, not HTTP libraries; but for [`service`], which is what
//! a Rust program puts behind the engine.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use mainstay::Body;
use mainstay::local::{Services, given_per_worker};
use mainstay_proxy::forward::endpoint::Dialer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// What one direction of a stream holds before its writer waits.
pub const STREAM_BYTES: usize = 64 * 1024;
/// Connections that may wait to be accepted by a [`Scripted`] upstream.
const BACKLOG: usize = 1024;

/// Opens one end of a stream; the other end is with the upstream.
pub type Dial = Dialer;

/// An upstream that gives every request the same answer. Requests are without body, or their bodies end with
/// an empty line.
pub fn canned(answer: &'static [u8]) -> Dial {
    Arc::new(move || {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        tokio::task::spawn_local(answer_all(far, answer));
        Ok(near.into())
    })
}

/// A service within the process that gives every request the same answer, on the engine's own thread.
///
/// # Panics
/// Never: no threads are started.
pub fn service(content_type: &'static str, body: &'static str) -> Dial {
    let given = given_per_worker("canned".into(), move || Canned { content_type, body });
    let services = Services::start(vec![given], 0).expect("no threads are started");
    Arc::clone(&services.dialers()["canned"])
}

#[derive(Clone)]
struct Canned {
    content_type: &'static str,
    body: &'static str,
}

impl tower_service::Service<Request<Body>> for Canned {
    type Response = Response<Full<&'static [u8]>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Full::new(self.body.as_bytes()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        ready(Ok(response))
    }
}

async fn answer_all(mut stream: DuplexStream, answer: &'static [u8]) {
    let mut seen = Vec::with_capacity(4096);
    loop {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        if matches!(stream.read_buf(&mut seen).await, Ok(0) | Err(_)) {
            return;
        }
    }
}

/// An upstream whose every step is the test's.
pub struct Scripted(mpsc::Receiver<DuplexStream>);

impl Scripted {
    /// The upstream, and how the engine reaches it.
    pub fn new() -> (Self, Dial) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let dial: Dial = Arc::new(move || {
            let (near, far) = tokio::io::duplex(STREAM_BYTES);
            sender.try_send(far).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(near.into())
        });
        (Self(receiver), dial)
    }

    /// The next connection.
    ///
    /// # Panics
    /// When the engine is gone.
    pub async fn accept(&mut self) -> Peer {
        Peer(self.0.recv().await.expect("the engine lives as long as the test"))
    }

    /// True when nobody has connected.
    pub fn is_idle(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// One end of a connection, as bytes.
pub struct Peer(pub DuplexStream);

impl Peer {
    /// Sends all of it.
    ///
    /// # Panics
    /// When the other side has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the other side reads");
    }

    /// Reads until `wanted` has come by, and gives back all that was read.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn read_until(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(wanted.as_bytes()) {
            match self.0.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_) => panic!("ended after {:?}, before {wanted:?}", String::from_utf8_lossy(&seen)),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Reads exactly so many bytes.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn read_exactly(&mut self, buffer: &mut [u8]) {
        self.0.read_exact(buffer).await.expect("as many bytes as expected");
    }

    /// Reads to the end.
    pub async fn read_to_end(&mut self) -> String {
        let mut seen = Vec::new();
        // A reset is an end too; what came before it counts.
        let _ = self.0.read_to_end(&mut seen).await;
        String::from_utf8_lossy(&seen).into_owned()
    }
}
