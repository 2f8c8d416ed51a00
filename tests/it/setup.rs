//! What the tests share: an engine in front of the payments service or of a scripted upstream, and raw exchanges.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use mainstay::compose::{Engine, Start, load_for_start};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_payments::{Ledger, Running, Service};

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
    pub(crate) version: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) log: &'static str,
}

impl Config {
    pub(crate) fn text(&self, upstream: SocketAddr) -> String {
        let Self { server, upstream: more, version, operation, log } = self;
        let log = if log.is_empty() { "none" } else { log };
        format!(
            "server: {{ listen: 127.0.0.1:0, workers: 2{server} }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
             upstreams: {{ up: {{ endpoints: [\"http://{upstream}\"]{more} }} }}\n\
             apis:\n  pay:\n    defaults: {{ auth: none }}\n    versions:\n      v1:\n        upstream: up\n{version}        \
             operations:\n          \"* /{{*rest}}\": {{ {operation} }}\ntelemetry: {{ log: {{ output: {log} }} }}\n"
        )
    }
}

impl Setup {
    pub(crate) async fn start(config: &Config, upstream: SocketAddr) -> Self {
        Self::start_at(config, upstream, Clock::System).await
    }

    pub(crate) async fn start_at(config: &Config, upstream: SocketAddr, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mainstay.yaml"), config.text(upstream)).unwrap();
        let engine = start_from(folder.path().join("mainstay.yaml"), clock).await;
        Self { engine, folder }
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("mainstay.yaml")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.engine.listen[0]
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

pub(crate) async fn start_from(path: PathBuf, clock: Clock) -> Engine {
    let loaded = load_for_start(path, clock).unwrap_or_else(|p| panic!("{}", mainstay_config_text(&p)));
    let start = Start { events: mainstay_events_nowhere(), ..loaded.start };
    Engine::start(start).await.unwrap()
}

fn mainstay_config_text(problems: &[mainstay::Problem]) -> String {
    problems.iter().map(|p| format!("{}: {}\n", p.line, p.message)).collect()
}

fn mainstay_events_nowhere() -> mainstay::Output {
    mainstay::Output::None
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
