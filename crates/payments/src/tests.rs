//! Tests over real sockets: a client, a started service, and what both saw.

mod answers;
mod document;
mod failing;
mod running;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Ledger, Running, Service};

const ANY_PORT: &str = "127.0.0.1:0";

/// All clocks of these tests stand at 2026-01-01.
fn new_year() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a moment")
}

fn start() -> Running {
    start_over(Ledger::with_clock(new_year), "payments-a")
}

fn start_over(ledger: std::sync::Arc<Ledger>, name: &str) -> Running {
    Service::start(ledger, ANY_PORT.parse().expect("an address"), name).expect("a free port")
}

/// A guard against tests that wait for ever; nothing is measured by it.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("this takes far less than 20 s")
}

/// One connection of a client.
enum Client {
    H1(http1::SendRequest<Full<Bytes>>, SocketAddr),
    H2(http2::SendRequest<Full<Bytes>>, SocketAddr),
}

/// A whole answer.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("plain text"))
    }
}

impl Client {
    async fn h1(running: &Running) -> Self {
        let io = TokioIo::new(connect(running).await);
        let (sender, connection) = http1::handshake(io).await.expect("a new connection");
        tokio::spawn(connection);
        Self::H1(sender, running.addr)
    }

    async fn h2(running: &Running) -> Self {
        let io = TokioIo::new(connect(running).await);
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.expect("a new connection");
        tokio::spawn(connection);
        Self::H2(sender, running.addr)
    }

    async fn both(running: &Running) -> [Self; 2] {
        [Self::h1(running).await, Self::h2(running).await]
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Reply> {
        let response = match self {
            Self::H1(sender, addr) => {
                let host = HeaderValue::try_from(addr.to_string()).expect("an address");
                request.headers_mut().insert("host", host);
                sender.ready().await?;
                soon(sender.send_request(request)).await?
            }
            Self::H2(sender, addr) => {
                let uri = format!("http://{addr}{}", request.uri());
                *request.uri_mut() = uri.parse().expect("a URI");
                sender.ready().await?;
                soon(sender.send_request(request)).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = soon(body.collect()).await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.try_get(path).await.expect("an answer")
    }

    async fn try_get(&mut self, path: &str) -> hyper::Result<Reply> {
        self.send(request("GET", path, "")).await
    }

    async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.try_post(path, body).await.expect("an answer")
    }

    async fn try_post(&mut self, path: &str, body: &str) -> hyper::Result<Reply> {
        self.send(request("POST", path, body)).await
    }
}

async fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.addr).await.expect("it listens");
    stream.set_nodelay(true).expect("a new socket");
    stream
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Full::from(body.to_owned())).expect("a request")
}

/// Everything the service says to these bytes, and how it ends: `Ok` for an orderly close.
async fn raw(running: &Running, bytes: &str) -> (Vec<u8>, std::io::Result<()>) {
    let mut stream = connect(running).await;
    stream.write_all(bytes.as_bytes()).await.expect("a new connection");
    let mut said = Vec::new();
    loop {
        match soon(stream.read_buf(&mut said)).await {
            Ok(0) => return (said, Ok(())),
            Ok(_) => {}
            Err(error) => return (said, Err(error)),
        }
    }
}

const PAY_V1: &str =
    r#"{"account":"acc_1001","amount":1250,"currency":"ZAR","bank":"absa","reference":"tea"}"#;
const PAY_V2: &str = r#"{"source_account":"acc_1001","amount":{"value":"12.50","currency":"ZAR"},"destination":{"bank":"absa"},"reference":"tea"}"#;
