//! What the tests share: an engine in front of the payments service or of a scripted upstream, and raw exchanges.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use mainstay::compose::{Engine, Start, load_for_start};
use mainstay::reload::ControlSide;
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_core::port;
use mainstay_payments::{Ledger, Running, Service};
use mainstay_proxy::forward::resolve::Resolver;

/// A guard only: nothing waits this long unless it is broken.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// An engine, what is behind it, and the folder of its configuration.
pub(crate) struct Setup {
    pub(crate) engine: Engine,
    pub(crate) folder: tempfile::TempDir,
}

/// Parts of a configuration that a test chooses.
#[derive(Clone, Default)]
pub(crate) struct Config {
    pub(crate) server: &'static str,
    pub(crate) upstream: &'static str,
    pub(crate) api: &'static str,
    pub(crate) version: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) log: &'static str,
}

impl Config {
    pub(crate) fn text(&self, upstream: SocketAddr) -> String {
        let Self { server, upstream: more, api, version, operation, log } = self;
        let log = if log.is_empty() { "none" } else { log };
        format!(
            "server: {{ listen: 127.0.0.1:0, workers: 2{server} }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
             upstreams: {{ up: {{ endpoints: [\"http://{upstream}\"]{more} }} }}\n\
             apis:\n  pay:\n    defaults: {{ auth: none }}\n{api}    versions:\n      v1:\n        upstream: up\n{version}        \
             operations:\n          \"* /{{*rest}}\": {{ {operation} }}\ntelemetry: {{ log: {{ output: {log} }} }}\n"
        )
    }
}

impl Setup {
    pub(crate) async fn start(config: &Config, upstream: SocketAddr) -> Self {
        Self::start_at(config, upstream, Clock::System).await
    }

    pub(crate) async fn start_at(config: &Config, upstream: SocketAddr, clock: Clock) -> Self {
        Self::start_text(&config.text(upstream), clock).await
    }

    pub(crate) async fn start_text(text: &str, clock: Clock) -> Self {
        Self::start_with(text, clock, Resolver::default()).await
    }

    /// With a resolver of the test's.
    pub(crate) async fn start_with(text: &str, clock: Clock, resolver: Resolver) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mainstay.yaml");
        std::fs::write(&path, text).unwrap();
        Self { engine: start_from_with(path, clock, resolver).await, folder }
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("mainstay.yaml")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.engine.listen[0]
    }

    /// What the control side sees.
    pub(crate) fn port(&self) -> impl port::Engine {
        ControlSide(Arc::clone(&self.engine.handle))
    }

    /// The sum of a metric over all series that have these labels, which are written like `name code="x" cap="y"`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = port::Engine::metrics(&self.port());
        let (name, labels) = series.split_once(' ').unwrap_or((series, ""));
        let is_meant = |line: &&str| {
            line.split(['{', ' ']).next() == Some(name) && labels.split(' ').all(|label| line.contains(label))
        };
        let values = text.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a series has a value.
    pub(crate) async fn until_metric(&self, series: &str, value: f64) {
        until(&format!("{series} {value}"), || self.metric(series) == value).await;
    }

    /// Waits for an event of a kind.
    pub(crate) async fn event(&self, kind: &str) -> serde_json::Value {
        let kind = format!("\"event\":\"{kind}\"");
        let mut found = None;
        until(&kind, || {
            let text = std::fs::read_to_string(self.folder.path().join("events.log")).unwrap();
            found = text.lines().find(|line| line.contains(&kind)).map(str::to_owned);
            found.is_some()
        })
        .await;
        serde_json::from_str(&found.unwrap()).unwrap()
    }

    /// The access log so far, which the configuration puts into `access.log`.
    pub(crate) fn log(&self) -> String {
        self.engine.handle.log.flush(GUARD);
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap()
    }

    /// The record of a request, once it has been written.
    pub(crate) async fn record(&self, id: &str) -> serde_json::Value {
        let mut found = None;
        until(id, || {
            found = self.log().lines().find(|line| line.contains(id)).map(str::to_owned);
            found.is_some()
        })
        .await;
        serde_json::from_str(&found.unwrap()).unwrap()
    }

    /// One request on a connection of its own; everything until the engine closes it.
    pub(crate) async fn exchange(&self, bytes: &str) -> String {
        exchange(self.address(), bytes.as_bytes().to_vec()).await
    }

    /// `GET path` with `Connection: close`.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await
    }
}

/// Events go into `events.log` beside the configuration.
pub(crate) async fn start_from(path: PathBuf, clock: Clock) -> Engine {
    start_from_with(path, clock, Resolver::default()).await
}

pub(crate) async fn start_from_with(path: PathBuf, clock: Clock, resolver: Resolver) -> Engine {
    let events = mainstay::Output::File(path.with_file_name("events.log"));
    let loaded = load_for_start(path, clock).unwrap_or_else(|p| panic!("{}", mainstay_config_text(&p)));
    Engine::start(Start { events, resolver, ..loaded.start }).await.unwrap()
}

fn mainstay_config_text(problems: &[mainstay::Problem]) -> String {
    problems.iter().map(|p| format!("{}: {}\n", p.line, p.message)).collect()
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn payments() -> Running {
    Service::start(Ledger::new(), any_port(), "a").unwrap()
}

pub(crate) fn at(text: &str) -> UnixMs {
    UnixMs(mainstay_core::units::parse_date(text).unwrap() * 1000)
}

pub(crate) async fn exchange(address: SocketAddr, bytes: Vec<u8>) -> String {
    blocking(move || {
        let mut stream = connect(address);
        stream.write_all(&bytes).unwrap();
        read_all(&mut stream)
    })
    .await
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream
}

pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `wanted` has come by.
pub(crate) fn read_until(stream: &mut impl Read, wanted: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(wanted.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, waiting).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::time::timeout(GUARD, tokio::task::spawn_blocking(work)).await.expect("in time").expect("no panic")
}

/// An upstream that does exactly what a test says, on its first connection.
pub(crate) fn scripted<T: Send + 'static>(
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<T>) {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let run = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        script(stream)
    };
    (address, tokio::task::spawn_blocking(run))
}

/// An upstream that serves each connection by the script, on a thread of its own, with the connection's number.
pub(crate) fn serving(script: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, script) = (stream.unwrap(), Arc::clone(&script));
            std::thread::spawn(move || script(number, stream));
        }
    });
    address
}

/// Reads a head; `None` when the connection ends before one has come.
pub(crate) fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        seen.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&seen).into_owned())
}

/// An upstream whose answers the test gives by hand. It keeps its connections open.
pub(crate) struct ByHand {
    pub(crate) address: SocketAddr,
    happened: tokio::sync::mpsc::Receiver<Happened>,
}

/// A request that waits for the test's answer. Dropped, it closes the connection.
pub(crate) struct Asked {
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
    pub(crate) head: String,
    answer: SyncSender<Vec<u8>>,
}

pub(crate) enum Happened {
    Asked(Asked),
    /// This connection was closed by the engine.
    Closed(usize),
}

impl ByHand {
    pub(crate) fn start() -> Self {
        let (tell, happened) = tokio::sync::mpsc::channel(1024);
        let address = serving(move |connection, mut stream| {
            while let Some(head) = read_head(&mut stream) {
                let (answer, answered) = sync_channel::<Vec<u8>>(1);
                let _ = tell.blocking_send(Happened::Asked(Asked { connection, head, answer }));
                let Ok(bytes) = answered.recv() else { return };
                if stream.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = tell.blocking_send(Happened::Closed(connection));
        });
        Self { address, happened }
    }

    pub(crate) async fn next(&mut self) -> Happened {
        let next = tokio::time::timeout(GUARD, self.happened.recv()).await;
        next.expect("something comes to the upstream").unwrap()
    }

    /// The next request; connections that end meanwhile are passed over.
    pub(crate) async fn asked(&mut self) -> Asked {
        loop {
            if let Happened::Asked(asked) = self.next().await {
                return asked;
            }
        }
    }

    /// Waits for the next end of a connection.
    pub(crate) async fn closed(&mut self) -> usize {
        match self.next().await {
            Happened::Closed(connection) => connection,
            Happened::Asked(asked) => panic!("an unexpected request: {}", asked.head),
        }
    }

    /// No request has come that was not taken.
    pub(crate) fn is_quiet(&mut self) -> bool {
        while let Ok(happened) = self.happened.try_recv() {
            if let Happened::Asked(_) = happened {
                return false;
            }
        }
        true
    }
}

impl Asked {
    pub(crate) fn answer(self, bytes: &[u8]) {
        self.answer.send(bytes.to_vec()).unwrap();
    }

    pub(crate) fn ok(self) {
        self.answer(OK);
    }
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A client's connection that is kept open.
pub(crate) struct Client(pub(crate) tokio::net::TcpStream);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(tokio::net::TcpStream::connect(address).await.unwrap())
    }

    /// From another address of the loopback network.
    pub(crate) async fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &str) {
        use tokio::io::AsyncWriteExt;
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(crate) async fn send_get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    }

    /// A request and its whole answer, whose length must be declared.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        self.send_get(path).await;
        self.answer().await
    }

    /// An answer whose length is declared.
    pub(crate) async fn answer(&mut self) -> String {
        let mut seen = self.until("\r\n\r\n").await;
        let length = seen.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        let reading = tokio::io::AsyncReadExt::read_exact(&mut self.0, &mut body);
        tokio::time::timeout(GUARD, reading).await.expect("a body in time").unwrap();
        seen.push_str(&String::from_utf8_lossy(&body));
        seen
    }

    /// Everything up to `wanted`.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(wanted.as_bytes()) {
            let byte = tokio::time::timeout(GUARD, tokio::io::AsyncReadExt::read_u8(&mut self.0)).await;
            let so_far = String::from_utf8_lossy(&seen);
            let byte = byte.unwrap_or_else(|_| panic!("no {wanted:?} after {so_far:?}"));
            seen.push(byte.unwrap_or_else(|error| panic!("{error} after {so_far:?}")));
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Everything up to the end.
    pub(crate) async fn rest(&mut self) -> String {
        let mut seen = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut self.0, &mut seen);
        tokio::time::timeout(GUARD, reading).await.expect("an end in time").unwrap();
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// An HTTP/2 upstream that answers each request by the script, which is given the number of its connection, and may send the answer's body bit by bit. With `go_away` each connection ends after so many requests.
pub(crate) async fn serving_h2<F: Future<Output = ()> + Send + 'static>(
    go_away: Option<usize>,
    script: impl Fn(usize, h2::RecvStream, h2::SendStream<Bytes>) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut served = 0;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-type", "text/event-stream");
                    let body = respond.send_response(head.body(()).unwrap(), false).unwrap();
                    tokio::spawn(script(number, request.into_body(), body));
                    served += 1;
                    if Some(served) == go_away {
                        connection.graceful_shutdown();
                    }
                }
            });
            number += 1;
        }
    });
    address
}
