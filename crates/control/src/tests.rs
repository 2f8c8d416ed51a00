//! The control side over real sockets on loopback, with an engine whose answers the test sets.

mod bounds;
mod calls;
mod catalogue;
mod client;
mod description;
mod refusals;
mod secure;
mod surface;

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::catalogue::{Catalogue, Consumer};
use mainstay_core::clock::Clock;
use mainstay_core::port::{
    CallerReport, EndpointReport, Engine, Json, Loaded, PlanReport, PortFuture, Question, Readiness,
    ReloadRefused, Unanswerable, UpstreamReport, VersionReport,
};
use mainstay_telemetry::{EventClock, EventLog, Output, Registry};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::TlsSource;
use crate::limits::Limits;
use crate::serve::{Parts, serve_within};
use crate::token::Token;

const SECRET: &str = "test-token-0123456789abcdef0123456789";
/// As a configuration with a portal has it.
const TYPE_BASE: &str = "https://developer.example/errors/";
/// Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("nothing happened for a long time")
}

/// How the engine's next reload goes.
#[derive(Clone, Default)]
enum Reload {
    #[default]
    Works,
    Refused(&'static str),
    /// Waits for `Fake::release`, then works.
    Waits,
    Panics,
}

#[derive(Default)]
struct Fake {
    generation: AtomicU64,
    unready: bool,
    reload: Mutex<Reload>,
    reload_begun: Notify,
    release: Notify,
    /// `effective_config` replaces the configuration under the reader's feet this many times.
    config_changes: AtomicU64,
    config: Option<&'static str>,
    metrics: Option<String>,
    readiness_asked: AtomicU64,
    file_consumers: Vec<Consumer>,
    questions: Mutex<Vec<Question>>,
}

impl Engine for Fake {
    fn reload(&self) -> PortFuture<'_, Result<Loaded, ReloadRefused>> {
        let how = self.reload.lock().unwrap().clone();
        Box::pin(async move {
            match how {
                Reload::Works => {}
                Reload::Refused(problems) => {
                    return Err(ReloadRefused { problems: Json(problems.to_owned()) });
                }
                Reload::Waits => {
                    self.reload_begun.notify_one();
                    self.release.notified().await;
                }
                Reload::Panics => panic!("a fault of the engine"),
            }
            self.generation.fetch_add(1, Ordering::SeqCst);
            Ok(self.loaded())
        })
    }

    fn loaded(&self) -> Loaded {
        let generation = self.generation.load(Ordering::SeqCst);
        Loaded { generation, digest: format!("digest-{generation}") }
    }

    fn effective_config(&self) -> Json {
        let changes = self.config_changes.load(Ordering::SeqCst);
        if changes > 0 {
            self.config_changes.store(changes - 1, Ordering::SeqCst);
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        Json(self.config.unwrap_or(r#"{"payments/v1/pay":{"auth":"none"}}"#).to_owned())
    }

    fn versions(&self) -> Vec<VersionReport> {
        let callers = vec![CallerReport { caller: "acme".to_owned(), requests: 7 }];
        vec![VersionReport {
            api: "payments".to_owned(),
            version: "v1".to_owned(),
            state: "deprecated",
            deprecated: Some("2026-01-01T00:00:00Z".to_owned()),
            sunset: None,
            successor: Some("v2".to_owned()),
            callers,
            others: 2,
        }]
    }

    fn upstreams(&self) -> Vec<UpstreamReport> {
        let endpoint = EndpointReport {
            endpoint: "127.0.0.1:9001".to_owned(),
            addresses: vec!["127.0.0.1:9001".to_owned()],
            connections: 3,
            connections_max: 100,
            in_flight: 1,
            health: "healthy",
            ejected_for_ms: None,
            latency_ms: Some(1.5),
            weight: 1,
        };
        vec![UpstreamReport {
            upstream: "payments".to_owned(),
            endpoints: vec![endpoint],
            breakers: Vec::new(),
            retry_budget: Some(10.0),
            concurrency: None,
        }]
    }

    fn apis(&self) -> Vec<String> {
        ["accounts", "payments"].map(str::to_owned).to_vec()
    }

    fn plans(&self) -> Vec<PlanReport> {
        let plan = |(name, priority): (&str, _)| PlanReport { plan: name.to_owned(), priority };
        [("free", "low"), ("gold", "high")].map(plan).to_vec()
    }

    fn file_consumers(&self) -> Vec<Consumer> {
        self.file_consumers.clone()
    }

    fn authorize(&self, question: &Question) -> Result<Json, Unanswerable> {
        if question.operation == "pay" {
            self.questions.lock().unwrap().push(question.clone());
            return Ok(Json(r#"{"allowed":true}"#.to_owned()));
        }
        Err(Unanswerable { part: "operation", message: "there is no such operation".to_owned() })
    }

    fn request(&self, id: &str) -> PortFuture<'_, Option<Json>> {
        let found = match id {
            "known" => Some(Json(r#"{"request_id":"known","status":200}"#.to_owned())),
            "a b/c" => Some(Json(r#"{"request_id":"a b/c"}"#.to_owned())),
            "broken" => Some(Json(r#"{"request_id":"#.to_owned())),
            "panics" => panic!("a fault of the engine"),
            // No bound of the control side may depend on the length it lets through to here.
            long if long.len() > 256 => panic!("asked for an id of {} bytes", long.len()),
            _ => None,
        };
        let never = id == "never";
        Box::pin(async move { if never { pending().await } else { found } })
    }

    fn readiness(&self) -> Readiness {
        self.readiness_asked.fetch_add(1, Ordering::SeqCst);
        Readiness { ready: !self.unready, notes: vec!["upstream payments: no endpoint answers".to_owned()] }
    }

    fn problem_type_base(&self) -> String {
        TYPE_BASE.to_owned()
    }

    fn metrics(&self) -> String {
        self.metrics.clone().unwrap_or_else(|| "mainstay_settling 0\n".to_owned())
    }
}

/// A running control side; dropping it ends it.
struct Server {
    address: SocketAddr,
    token: Token,
    engine: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
    events: EventLog,
    events_path: PathBuf,
    _folder: TempDir,
}

impl Server {
    async fn start(engine: Fake) -> Self {
        Self::within(Limits::default(), engine).await
    }

    async fn within(limits: Limits, engine: Fake) -> Self {
        Self::at("127.0.0.1:0", None, limits, engine).await
    }

    async fn at(listen: &str, tls: Option<TlsSource>, limits: Limits, engine: Fake) -> Self {
        Self::with(listen, tls, limits, engine, None, Clock::System).await
    }

    async fn with(
        listen: &str,
        tls: Option<TlsSource>,
        limits: Limits,
        engine: Fake,
        catalogue: Option<Arc<dyn Catalogue>>,
        clock: Clock,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mainstay.token");
        write_token(&path);
        let token = Token::load(&path).unwrap();
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let engine = Arc::new(engine);
        let (stop, stopped) = oneshot::channel::<()>();
        let port: Arc<dyn Engine> = Arc::<Fake>::clone(&engine);
        let events_path = folder.path().join("events.log");
        let output = Output::File(events_path.clone());
        let events = EventLog::start(output, &Registry::new(), EventClock::system()).unwrap();
        let (token_served, events_told) = (token.clone(), events.clone());
        let parts = Parts { tls, token: token_served, engine: port, catalogue, events: events_told, clock };
        let task = tokio::spawn(async move {
            serve_within(limits, listener, parts, async { drop(stopped.await) }).await
        });
        Self { address, token, engine, stop: Some(stop), task, events, events_path, _folder: folder }
    }

    /// Asks it to end; the task ends later.
    fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// The events so far.
    fn events(&self) -> Vec<Value> {
        assert!(self.events.flush(PATIENCE));
        let text = std::fs::read_to_string(&self.events_path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends `request` as it stands on a connection of its own and reads to the end.
    async fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        soon(stream.read_to_end(&mut bytes)).await.unwrap();
        Answer::parse(&bytes)
    }

    /// Sends a plain request with the token, over a connection that closes after it.
    async fn admin(&self, method: &str, path: &str) -> Answer {
        let token = format!("Authorization: Bearer {SECRET}\r\n");
        self.ask(&head(&format!("{method} {path}"), &token)).await
    }
}

fn write_token(path: &std::path::Path) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    writeln!(file, "{SECRET}").unwrap();
}

/// A request that asks the server to close the connection after it.
fn head(method_and_path: &str, more: &str) -> String {
    format!("{method_and_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.map(field).collect(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks everything that each refusal has, and returns its code.
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("content-length"), Some(self.body.len().to_string().as_str()), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status);
        let code = body["code"].as_str().unwrap();
        assert_eq!(body["type"], format!("{TYPE_BASE}{code}"));
        let id = body["request_id"].as_str().unwrap();
        assert_eq!(self.header("x-request-id"), Some(id));
        assert_eq!(body["instance"], format!("urn:mainstay:request:{id}"));
        for text in ["title", "detail", "help"] {
            assert!(!body[text].as_str().unwrap().is_empty(), "{text}: {body}");
        }
        assert!(!self.body.contains(SECRET), "{body}");
        code.to_owned()
    }
}
