//! Services within the process: policies, limits and records as for any upstream, and failures that stay their own.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use mainstay::{Body, BoxError, Builder, Ended, Engine, Error, Output};
use tokio::sync::{Semaphore, mpsc, watch};
use tower_service::Service;

use crate::frames::{DATA, Ended as H2Ended, Frames, get};
use crate::setup::{Client, GUARD, blocking, connect, exchange, read_until, until};

type Answer = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// A function as a service.
#[derive(Clone)]
struct By<F>(F);

impl<F, A, B> Service<Request<Body>> for By<F>
where
    F: Fn(Request<Body>) -> A,
    A: Future<Output = Result<Response<B>, BoxError>>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = A;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> A {
        (self.0)(request)
    }
}

fn full(text: impl Into<Bytes>) -> Answer {
    Ok(Response::new(Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()))
}

/// Counts futures of a service that have not ended.
#[derive(Clone, Default)]
struct Running(Arc<AtomicUsize>);

struct Runs(Arc<AtomicUsize>);

impl Running {
    fn begin(&self) -> Runs {
        self.0.fetch_add(1, Ordering::SeqCst);
        Runs(Arc::clone(&self.0))
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An engine in a folder of its own.
struct Home {
    engine: Engine,
    folder: tempfile::TempDir,
}

/// A configuration with one upstream, `local:svc`.
fn text(upstream: &str, operation: &str) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2 }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [\"local:svc\"]{upstream} }} }}\n\
         apis:\n  pay:\n    defaults: {{ auth: none }}\n    versions:\n      v1:\n        upstream: up\n        \
         operations:\n          \"* /{{*rest}}\": {{ {operation} }}\n\
         telemetry: {{ log: {{ output: access.log }} }}\n"
    )
}

impl Home {
    async fn start(text: &str, with: impl FnOnce(Builder) -> Builder) -> Self {
        Self::try_start(text, with).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start(text: &str, with: impl FnOnce(Builder) -> Builder) -> Result<Self, Error> {
        let folder = tempfile::tempdir().unwrap();
        let builder = Engine::from_text(text)
            .folder(folder.path())
            .events(Output::File(folder.path().join("events.log")));
        let engine = in_time(with(builder).start()).await?;
        Ok(Self { engine, folder })
    }

    async fn client(&self) -> Client {
        Client::connect(self.engine.addresses()[0]).await
    }

    async fn get(&self, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        exchange(self.engine.addresses()[0], head.into_bytes()).await
    }

    fn written(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// The line with this text, once it is there.
    async fn line(&self, name: &str, part: &str) -> serde_json::Value {
        let mut found = None;
        until(part, || {
            found = self
                .written(name)
                .lines()
                .find(|line| line.contains(part) && line.ends_with('}'))
                .map(str::to_owned);
            found.is_some()
        })
        .await;
        serde_json::from_str(&found.unwrap()).unwrap()
    }

    /// The sum of a metric's series with these labels, as a scrape shows it.
    async fn metric(&self, name: &str, label: &str) -> f64 {
        let head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec();
        let scrape = exchange(self.engine.control_address(), head).await;
        let is_meant = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(label);
        let values = scrape.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }

    async fn until_metric(&self, name: &str, label: &str, value: f64) {
        let waiting = async { while self.metric(name, label).await != value {} };
        tokio::time::timeout(GUARD, waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {name} {label} {value}"));
    }

    async fn end(self) {
        assert_eq!(in_time(self.engine.shut_down()).await, Ended::Drained);
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, future).await.expect("in time")
}

/// Each way a service can fail before it answers, on threads of its own and on the workers, over both protocols.
#[tokio::test]
async fn a_service_that_fails_is_a_502_of_its_own_and_is_asked_once() {
    for protocol in ["", ", protocol: h2"] {
        for per_worker in [false, true] {
            let calls = Arc::new(AtomicUsize::new(0));
            let service = By({
                let calls = Arc::clone(&calls);
                move |request: Request<Body>| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    let path = request.uri().path().to_owned();
                    assert!(path != "/v1/at-once", "at once");
                    async move {
                        assert!(path != "/v1/later", "later");
                        if path == "/v1/error" { Err("no luck".into()) } else { full("ok") }
                    }
                }
            });
            let home = Home::start(&text(protocol, ""), |builder| match per_worker {
                false => builder.local("svc", service),
                true => builder.local_per_worker("svc", move || service.clone()),
            })
            .await;
            let mut client = home.client().await;
            for (path, cause) in
                [("at-once", "a panic: at once"), ("later", "a panic: later"), ("error", "no luck")]
            {
                // The connection to the service has served before: the case in which a GET is sent again elsewhere.
                assert!(client.get("/v1/fine").await.ends_with("ok"));
                let before = calls.load(Ordering::SeqCst);
                client
                    .send(&format!(
                        "GET /v1/{path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: request-{path}\r\n\r\n"
                    ))
                    .await;
                let answer = client.answer().await;
                for part in [
                    "HTTP/1.1 502 ",
                    "\"code\":\"local_service_failed\"",
                    "proxy-status: mainstay; error=connection_terminated",
                ] {
                    assert!(answer.contains(part), "{protocol} {per_worker} {part}\n{answer}");
                }
                assert!(!answer.contains(cause), "causes are for the log: {answer}");
                assert_eq!(calls.load(Ordering::SeqCst) - before, 1, "{protocol} {per_worker} {path}");
                let event = home.line("events.log", &format!("\"request-{path}\"")).await;
                assert_eq!(
                    (&event["event"], &event["service"], &event["cause"]),
                    (&"local_service_failed".into(), &"svc".into(), &cause.into())
                );
                let record = home.line("access.log", &format!("\"request-{path}\"")).await;
                assert_eq!(record["problem"], "local_service_failed", "{record}");
                assert!(record["trail"].to_string().contains("ended without an answer"), "{record}");
            }
            assert!(client.get("/v1/fine").await.ends_with("ok"));
            drop(client);
            home.end().await;
        }
    }
}

#[tokio::test]
async fn a_factory_that_fails_is_a_502_and_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let one_worker = text("", "").replace("workers: 2", "workers: 1");
    let home = Home::start(&one_worker, |builder| {
        builder.local_per_worker("svc", move || {
            assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "not yet");
            By(|_| async { full("ok") })
        })
    })
    .await;
    let answer = home.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("local_service_failed"), "{answer}");
    assert!(home.get("/v1/x").await.ends_with("ok"));
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    home.end().await;
}

/// A body that gives a piece, and when it is told to, panics or gives an error.
fn breaks_off(panics: bool, told: watch::Receiver<bool>) -> UnsyncBoxBody<Bytes, BoxError> {
    let pieces = futures_util::stream::unfold((false, told), move |(given, mut told)| async move {
        if !given {
            return Some((Ok(http_body::Frame::data(Bytes::from_static(b"half"))), (true, told)));
        }
        told.wait_for(|told| *told).await.expect("the test goes on");
        assert!(!panics, "within");
        Some((Err(BoxError::from("torn")), (true, told)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

#[tokio::test]
async fn an_answer_that_fails_midway_is_visibly_broken() {
    for (panics, length, cause) in [
        (true, None, "within its answer, a panic: within"),
        (true, Some(9), "within its answer, a panic: within"),
        (false, None, "within its answer, torn"),
    ] {
        let (tell, told) = watch::channel(false);
        let service = By(move |_| {
            let told = told.clone();
            async move {
                let mut response = Response::builder();
                if let Some(length) = length {
                    response = response.header("content-length", length);
                }
                Ok(response.body(breaks_off(panics, told)).unwrap())
            }
        });
        let home = Home::start(&text("", ""), |builder| builder.local("svc", service)).await;
        let address = home.engine.addresses()[0];
        let (rest, ended) = blocking(move || {
            let mut stream = connect(address);
            let get = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: broken-1\r\n\r\n";
            std::io::Write::write_all(&mut stream, get).unwrap();
            let head = read_until(&mut stream, "half");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            tell.send_replace(true);
            let mut rest = Vec::new();
            let ended = std::io::Read::read_to_end(&mut stream, &mut rest);
            (String::from_utf8_lossy(&rest).into_owned(), ended.is_ok())
        })
        .await;
        assert!(!ended || !rest.contains("0\r\n"), "it looks whole: {rest:?}");
        let record = home.line("access.log", "broken-1").await;
        assert_eq!(record["aborted"], "upstream", "{record}");
        assert!(record["trail"].to_string().contains("failed within its answer"), "{record}");
        assert_eq!(home.line("events.log", "broken-1").await["cause"], cause);
        home.end().await;
    }
}

#[tokio::test]
async fn an_http2_client_has_its_stream_reset_when_an_answer_breaks_off() {
    let (tell, told) = watch::channel(false);
    let service = By(move |_| {
        let told = told.clone();
        async move { Ok(Response::new(breaks_off(true, told))) }
    });
    let home = Home::start(&text("", ""), |builder| builder.local("svc", service)).await;
    let mut frames = Frames::connect(home.engine.addresses()[0], &[]).await;
    frames.send(&get(1, "/v1/x")).await;
    while in_time(frames.next()).await.expect("the connection stands").kind != DATA {}
    tell.send_replace(true);
    let ended = frames.ended(1).await;
    assert!(matches!(ended, H2Ended::Reset(_)), "{ended:?}");
    drop(frames);
    home.end().await;
}

/// A service that goes on for ever, and never looks at the body.
fn endless(
    running: &Running,
) -> impl Service<
    Request<Body>,
    Response = Response<Empty<Bytes>>,
    Error = BoxError,
    Future = impl Future<Output = Result<Response<Empty<Bytes>>, BoxError>> + Send + use<>,
> + Clone
+ Send
+ use<> {
    let running = running.clone();
    By(move |request: Request<Body>| {
        let runs = running.begin();
        async move {
            let _held = (runs, request);
            std::future::pending::<()>().await;
            Ok(Response::new(Empty::new()))
        }
    })
}

#[tokio::test]
async fn a_slow_answer_is_a_504_and_the_service_is_let_go_of() {
    for per_worker in [false, true] {
        for protocol in ["", ", protocol: h2"] {
            let running = Running::default();
            let service = endless(&running);
            let operation = "timeouts: { attempt: 100ms, total: 200ms }";
            let home = Home::start(&text(protocol, operation), |builder| match per_worker {
                false => builder.local("svc", service),
                true => builder.local_per_worker("svc", move || service.clone()),
            })
            .await;
            let answer = home.get("/v1/x").await;
            assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("upstream_timeout"), "{answer}");
            until("the future is dropped", || running.now() == 0).await;
            home.end().await;
        }
    }
}

/// hyper does not read while its service works, so the end of the stream alone would go unnoticed behind a body that
/// nobody reads.
#[tokio::test]
async fn a_service_that_never_reads_is_let_go_of_when_the_client_leaves() {
    for per_worker in [false, true] {
        let running = Running::default();
        let service = endless(&running);
        let home = Home::start(&text("", "timeouts: off"), |builder| match per_worker {
            false => builder.local("svc", service),
            true => builder.local_per_worker("svc", move || service.clone()),
        })
        .await;
        let mut client = home.client().await;
        client.send("GET /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n").await;
        client.send(&"x".repeat(10_000)).await;
        until("the service has it", || running.now() == 1).await;
        drop(client);
        until("the future is dropped", || running.now() == 0).await;
        home.end().await;
    }
}

#[tokio::test]
async fn an_unsafe_request_runs_on_without_its_client_and_is_recorded() {
    let running = Running::default();
    let gate = Arc::new(Semaphore::new(0));
    let service = By({
        let (running, gate) = (running.clone(), Arc::clone(&gate));
        move |_| {
            let (runs, gate) = (running.begin(), Arc::clone(&gate));
            async move {
                let _runs = runs;
                gate.acquire().await?.forget();
                let mut answer = full("made")?;
                *answer.status_mut() = http::StatusCode::CREATED;
                Ok(answer)
            }
        }
    });
    let home = Home::start(&text("", ""), |builder| builder.local("svc", service)).await;
    let mut client = home.client().await;
    client
        .send("POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: client-left-1\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    until("the service has it", || running.now() == 1).await;
    drop(client);
    home.until_metric("mainstay_settling", "", 1.0).await;
    assert_eq!(running.now(), 1);
    gate.add_permits(1);
    let record = home.line("access.log", "client-left-1").await;
    assert_eq!((&record["status"], &record["aborted"]), (&201.into(), &"client".into()), "{record}");
    assert!(record["trail"].to_string().contains("the service answered 201"), "{record}");
    home.end().await;
}

/// What settles has an end as well, and the service's future with it.
#[tokio::test]
async fn a_request_that_settles_too_long_is_let_go_of() {
    let running = Running::default();
    let service = endless(&running);
    let operation = "timeouts: { attempt: 100ms, total: 200ms, settle: 300ms }";
    let home = Home::start(&text("", operation), |builder| builder.local("svc", service)).await;
    let post = "POST /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: settles-long-1\r\nContent-Length: 0\r\n\r\n";
    let answer = exchange(home.engine.addresses()[0], post.as_bytes().to_vec()).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let record = home.line("access.log", "settles-long-1").await;
    assert!(record["trail"].to_string().contains("the outcome is unknown"), "{record}");
    until("the future is dropped", || running.now() == 0).await;
    home.end().await;
}

#[tokio::test]
async fn a_thousand_requests_at_once_stay_within_the_pool() {
    const CLIENTS: usize = 1000;
    const CAP: usize = 8;
    let (running, most) = (Running::default(), Arc::new(AtomicUsize::new(0)));
    let (open, opened) = watch::channel(false);
    let service = By({
        let (running, most) = (running.clone(), Arc::clone(&most));
        move |_| {
            let runs = running.begin();
            most.fetch_max(running.now(), Ordering::SeqCst);
            let mut opened = opened.clone();
            async move {
                let _runs = runs;
                opened.wait_for(|open| *open).await?;
                full("ok")
            }
        }
    });
    let upstream = ", pool: { connections_max: 8, wait: 20s }, timeouts: off";
    let config =
        text(upstream, "").replace("workers: 2", "workers: 2, limits: { connections_per_client: 2000 }");
    let home = Home::start(&config, |builder| builder.local("svc", service)).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = home.client().await;
        client.send_get("/v1/x").await;
        clients.push(client);
    }
    home.until_metric("mainstay_pool_connections", "waiting", (CLIENTS - CAP) as f64).await;
    until("the service is full", || running.now() == CAP).await;
    open.send_replace(true);
    for client in &mut clients {
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(most.load(Ordering::SeqCst), CAP);
    drop(clients);
    home.end().await;
}

/// hyper ends a connection whose request was not read, after its answer. What the engine sends next must not meet that end.
#[tokio::test]
async fn after_an_answer_to_an_unread_body_the_connection_is_not_used_again() {
    let gate = Arc::new(Semaphore::new(0));
    let service = By({
        let gate = Arc::clone(&gate);
        move |request: Request<Body>| {
            let gate = Arc::clone(&gate);
            async move {
                if request.uri().path() == "/v1/whole" {
                    let body = request.into_body().collect().await?.to_bytes();
                    return full(body.len().to_string());
                }
                gate.acquire().await?.forget();
                // The body is with the client's socket. The engine takes it from there while this lets it.
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
                full("not read")
            }
        }
    });
    let one_worker = text("", "").replace("workers: 2", "workers: 1");
    let home =
        Home::start(&one_worker, |builder| builder.local_per_worker("svc", move || service.clone())).await;
    let post = |path: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 40000\r\n");
        format!("{head}\r\n{}", "x".repeat(40_000))
    };
    for _ in 0..10 {
        let mut client = home.client().await;
        client.send(&post("/v1/unread")).await;
        gate.add_permits(1);
        assert!(client.rest().await.ends_with("not read"));
        assert_eq!(home.metric("mainstay_pool_connections", "idle").await, 0.0);
        let mut client = home.client().await;
        client.send(&post("/v1/whole")).await;
        let answer = client.rest().await;
        assert!(answer.ends_with("40000"), "{answer}");
        home.until_metric("mainstay_pool_connections", "idle", 1.0).await;
    }
    home.end().await;
}

/// The limits of heads are the engine's: what it lets pass, hyper's own would refuse.
#[tokio::test]
async fn what_the_limits_let_pass_reaches_the_service() {
    let service = By(|request: Request<Body>| async move { full(request.headers().len().to_string()) });
    let limits = "workers: 2, limits: { headers: 1000, header_bytes: 1MiB, uri_bytes: 60KiB }";
    for protocol in ["", ", protocol: h2"] {
        let config = text(protocol, "").replace("workers: 2", limits);
        let home = Home::start(&config, |builder| builder.local("svc", service.clone())).await;
        let mut request =
            format!("GET /v1/{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", "p".repeat(50_000));
        for n in 0..950 {
            request.push_str(&format!("X-Field-{n}: {}\r\n", "v".repeat(900)));
        }
        let answer = exchange(home.engine.addresses()[0], format!("{request}\r\n").into_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 "),
            "{protocol} {}",
            answer.lines().next().unwrap_or_default()
        );
        let count: usize = answer.split("\r\n\r\n").nth(1).unwrap().parse().unwrap();
        assert!(count > 950, "{count}");
        home.end().await;
    }
}

/// A client that takes nothing holds up the service, not memory.
#[tokio::test]
async fn a_service_waits_for_a_client_that_does_not_read() {
    let made = Arc::new(AtomicUsize::new(0));
    let service = By({
        let made = Arc::clone(&made);
        move |_| {
            let made = Arc::clone(&made);
            let stream = futures_util::stream::poll_fn(move |_| {
                made.fetch_add(16 * 1024, Ordering::SeqCst);
                Poll::Ready(Some(Ok::<_, BoxError>(http_body::Frame::data(Bytes::from(vec![
                    b'x';
                    16 * 1024
                ])))))
            });
            async move { Ok(Response::new(StreamBody::new(stream).boxed_unsync())) }
        }
    });
    let home = Home::start(&text("", "timeouts: off"), |builder| builder.local("svc", service)).await;
    let mut client = home.client().await;
    client.send_get("/v1/x").await;
    client.until("\r\n\r\n").await;
    // It makes as much as the sockets take, and then no more.
    let mut still = (0, 0);
    until("nothing more is made", || {
        let now = made.load(Ordering::SeqCst);
        assert!(now < 32 << 20, "{now}");
        still = if still.0 == now { (now, still.1 + 1) } else { (now, 0) };
        still.1 > 10_000
    })
    .await;
    drop(client);
    home.end().await;
}

#[tokio::test]
async fn names_have_to_fit() {
    let nothing = || By(|_: Request<Body>| async { full("ok") });
    let Err(Error::Configuration(problems)) = Home::try_start(&text("", ""), |builder| builder).await else {
        panic!("it started")
    };
    assert_eq!(
        (problems[0].code, problems[0].key.as_str(), problems.len()),
        ("unknown_local_service", "upstreams.up.endpoints.0", 1)
    );
    assert!(
        problems[0].message.contains("`svc`") && problems[0].message.ends_with("it has none"),
        "{problems:?}"
    );
    let two = text("", "").replace("[\"local:svc\"]", "[\"local:one\", \"local:two\"]");
    let started = Home::try_start(&two, |builder| builder.local("three", nothing())).await;
    let Err(error @ Error::Configuration(_)) = started else { panic!("it started") };
    for part in ["`one`", "`two`", "it has `three`"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let twice = |builder: Builder| builder.local("svc", nothing()).local("svc", nothing());
    let Err(error) = Home::try_start(&text("", ""), twice).await else { panic!("it started") };
    assert!(error.to_string().contains("local_service_twice"), "{error}");
    // One too many is a warning: the program may be newer than the configuration.
    let more = |builder: Builder| builder.local("svc", nothing()).local("spare", nothing());
    let home = Home::start(&text("", ""), more).await;
    assert_eq!(home.line("events.log", "local_service_unused").await["service"], "spare");
    assert!(home.get("/v1/x").await.ends_with("ok"));
    home.end().await;
}

/// The library's diagnostics are those of `mainstay check`.
#[tokio::test]
async fn a_configuration_that_is_wrong_is_told_with_its_places() {
    let Err(error) = Home::try_start("server: {}\nupstrems: {}\n", |builder| builder).await else {
        panic!("it started")
    };
    let told = error.to_string();
    assert!(told.contains("<text>:2:1") && told.contains("did you mean `upstreams`?"), "{told}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = text("", "").replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let started = Home::try_start(&text, |builder| builder.local("svc", By(|_| async { full("ok") }))).await;
    let Err(error @ Error::Start(_)) = started else { panic!("it started") };
    assert!(error.to_string().contains("server.listen"), "{error}");
}

#[tokio::test]
async fn a_reload_changes_what_is_configured_of_a_local_upstream() {
    let running = Running::default();
    let (served, mut heard) = mpsc::channel(64);
    let service = By({
        let running = running.clone();
        move |_| {
            let (runs, served) = (running.begin(), served.clone());
            async move {
                let _runs = runs;
                served.send(()).await?;
                full("ok")
            }
        }
    });
    let home = Home::start(&text("", ""), |builder| builder.local("svc", service)).await;
    let mut client = home.client().await;
    assert!(client.get("/v1/x").await.ends_with("ok"));
    let refused = in_time(home.engine.reload_text(text("", "").replace("local:svc", "local:other"))).await;
    let problems = refused.unwrap_err();
    assert_eq!(
        (problems[0].code, problems[0].key.as_str()),
        ("unknown_local_service", "upstreams.up.endpoints.0")
    );
    assert!(client.get("/v1/x").await.ends_with("ok"));
    // The text that was refused is not the one that the next reload reads.
    assert_eq!(in_time(home.engine.reload()).await.unwrap().generation, 2);
    let other = text(", pool: { connections_max: 1, idle_timeout: 1s }", "body: 1KiB");
    assert_eq!(in_time(home.engine.reload_text(other)).await.unwrap().generation, 3);
    assert!(client.get("/v1/x").await.ends_with("ok"));
    client.send("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n").await;
    assert!(client.answer().await.contains("body_too_large"));
    let at_all = std::iter::from_fn(|| heard.try_recv().ok()).count();
    assert_eq!(at_all, 3);
    // The endpoint of before is gone with its connections.
    until("nothing runs", || running.now() == 0).await;
    home.end().await;
}

#[tokio::test]
async fn an_engine_from_a_file_reloads_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, text("", "")).unwrap();
    let builder = Engine::from_file(&path).events(Output::None);
    let engine = in_time(builder.local("svc", By(|_| async { full("ok") })).start()).await.unwrap();
    assert!(engine.problems().is_empty(), "{:?}", engine.problems());
    std::fs::write(&path, text("", "").replace("      v1:", "      v2:")).unwrap();
    assert_eq!(in_time(engine.reload()).await.unwrap().generation, 2);
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes();
    assert!(exchange(engine.addresses()[0], get("/v2/x")).await.ends_with("ok"));
    std::fs::write(&path, "server: {").unwrap();
    assert!(in_time(engine.reload()).await.is_err());
    assert!(in_time(engine.reload_text(text("", ""))).await.unwrap_err()[0].message.contains("file"));
    assert!(exchange(engine.addresses()[0], get("/v2/x")).await.ends_with("ok"));
    assert_eq!(in_time(engine.shut_down()).await, Ended::Drained);
    // A bad file at the start: the last good one serves, and what is wrong is there to be read.
    let builder = Engine::from_file(&path).events(Output::None);
    let engine = in_time(builder.local("svc", By(|_| async { full("ok") })).start()).await.unwrap();
    assert!(engine.problems().iter().any(mainstay::Problem::is_error));
    assert!(exchange(engine.addresses()[0], get("/v2/x")).await.ends_with("ok"));
    assert_eq!(in_time(engine.shut_down()).await, Ended::Drained);
}

/// Starts a request that works until it is let go on.
async fn working(home: &Home, running: &Running) -> Client {
    let mut client = home.client().await;
    client.send("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    until("the service has it", || running.now() == 1).await;
    client
}

#[tokio::test]
async fn a_shutdown_waits_for_what_a_service_works_at() {
    let running = Running::default();
    let gate = Arc::new(Semaphore::new(0));
    let service = By({
        let (running, gate) = (running.clone(), Arc::clone(&gate));
        move |_| {
            let (runs, gate) = (running.begin(), Arc::clone(&gate));
            async move {
                let _runs = runs;
                gate.acquire().await?.forget();
                full("done")
            }
        }
    });
    let home = Home::start(&text("", ""), |builder| builder.local("svc", service)).await;
    let mut client = working(&home, &running).await;
    let asked = tokio::spawn({
        let engine = home.engine.clone();
        async move { engine.shut_down().await }
    });
    home.line("events.log", "\"draining\"").await;
    assert!(in_time(home.engine.reload()).await.unwrap_err()[0].code == "engine_ended");
    gate.add_permits(1);
    assert!(client.answer().await.ends_with("done"));
    assert_eq!(in_time(asked).await.unwrap(), Ended::Drained);
    assert_eq!(in_time(home.engine.wait()).await, Ended::Drained);
    assert_eq!(in_time(home.engine.shut_down()).await, Ended::Drained, "asked again, it says the same");
    assert!(tokio::net::TcpStream::connect(home.engine.addresses()[0]).await.is_err());
}

#[tokio::test]
async fn a_shutdown_has_an_end_and_takes_the_service_with_it() {
    for stop in [false, true] {
        let running = Running::default();
        let service = endless(&running);
        let home = Home::start(&text("", "timeouts: off"), |builder| builder.local("svc", service)).await;
        let client = working(&home, &running).await;
        let ended = if stop {
            let asked = tokio::spawn({
                let engine = home.engine.clone();
                async move { engine.shut_down().await }
            });
            home.line("events.log", "\"draining\"").await;
            // It cuts the drain short.
            assert_eq!(in_time(home.engine.stop()).await, Ended::CutShort);
            in_time(asked).await.unwrap()
        } else {
            in_time(home.engine.shut_down_within(Duration::from_millis(100))).await
        };
        assert_eq!(ended, Ended::CutShort);
        assert_eq!(running.now(), 0, "what an engine has started ends with it");
        drop(client);
    }
}

#[tokio::test]
async fn an_engine_that_nobody_holds_ends() {
    let running = Running::default();
    let service = endless(&running);
    let home = Home::start(&text("", "timeouts: off"), |builder| builder.local("svc", service)).await;
    let client = working(&home, &running).await;
    let (address, control) = (home.engine.addresses()[0], home.engine.control_address());
    drop(home.engine);
    until("the service is let go of", || running.now() == 0).await;
    until("nobody listens", || [address, control].iter().all(|at| std::net::TcpStream::connect(at).is_err()))
        .await;
    drop(client);
}

/// A service that cannot leave its thread: each worker has one, and it stays there.
#[tokio::test]
async fn each_worker_has_an_instance_of_its_own() {
    let threads: Arc<Mutex<Vec<std::thread::ThreadId>>> = Arc::default();
    let made_on = Arc::clone(&threads);
    let home = Home::start(&text("", ""), |builder| {
        builder.local_per_worker("svc", move || {
            made_on.lock().unwrap().push(std::thread::current().id());
            let own = Rc::new(std::cell::Cell::new(0));
            By(move |_| {
                own.set(own.get() + 1);
                let answer = format!("{:?} {}", std::thread::current().id(), own.get());
                async move { Ok(Response::new(Full::new(Bytes::from(answer)))) }
            })
        })
    })
    .await;
    // The second connection goes to the worker that has none.
    let mut clients = [home.client().await, home.client().await];
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for client in &mut clients {
            seen.insert(client.get("/v1/x").await.split("\r\n\r\n").nth(1).unwrap().to_owned());
        }
    }
    let threads = threads.lock().unwrap().clone();
    assert_eq!(threads.len(), 2, "{threads:?}");
    for thread in threads {
        assert!(thread != std::thread::current().id());
        for n in 1..=3 {
            assert!(seen.contains(&format!("{thread:?} {n}")), "{seen:?}");
        }
    }
    drop(clients);
    home.end().await;
}

/// A protocol that a service switches to runs through the engine as it does from any upstream.
#[tokio::test]
async fn a_service_can_switch_protocols() {
    let service = By(|mut request: Request<Body>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let upgraded = upgrade.await.expect("a switch");
            let (mut read, mut write) = tokio::io::split(hyper_util::rt::TokioIo::new(upgraded));
            // Ends with the client.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let response =
            Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
        Ok(response.body(Empty::<Bytes>::new())?)
    });
    let home = Home::start(&text("", "upgrade: echo"), |builder| builder.local("svc", service)).await;
    let mut client = home.client().await;
    client.send("GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.send("there and back").await;
    client.until("there and back").await;
    drop(client);
    home.end().await;
}

/// Signals belong to the program.
#[tokio::test]
async fn the_library_installs_no_signal_handler() {
    let caught = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    };
    let before = caught();
    let home = Home::start(&text("", ""), |builder| builder.local("svc", By(|_| async { full("ok") }))).await;
    assert!(home.get("/v1/x").await.ends_with("ok"));
    assert_eq!(caught(), before);
    home.end().await;
}
