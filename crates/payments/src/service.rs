//! An instance: it listens, tells the protocols apart, and takes each request through the faults to its answer.
//!
//! Tasks: one accepts; each connection has one, which ends with it. Stopping closes the port, ends all faults, lets what has
//! begun finish for at most [`DRAIN_MAX`], then drops the rest.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::faults::{Faults, Plan, ResetPoint, StatusFault};
use crate::gate::Gate;
use crate::ledger::Ledger;
use crate::link::{Link, LinkStream};
use crate::problem::Problem;
use crate::reply::{Answer, Cut, Flight, Source, problem};
use crate::route::{self, Route};
use crate::stats::Stats;
use crate::{admin, api, utility};

/// More connections wait in the kernel's backlog until one ends.
const CONNECTIONS_MAX: usize = 20_000;
/// How long a stop waits for what has begun.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed accept (no descriptor left, say), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Beginnings of HTTP/1.1 requests that a hang leaves alone.
const EXEMPT: [&[u8]; 3] = [b"GET /_faults", b"PUT /_faults", b"GET /_stats"];

/// The payments service; an instance is started with [`Service::start`].
pub struct Service {
    name: String,
    ledger: Arc<Ledger>,
    faults: Arc<Faults>,
    stats: Arc<Stats>,
    connections_numbered: AtomicU64,
    stopping: watch::Sender<bool>,
    resets: watch::Sender<u64>,
}

/// A running instance. Dropping it ends it at once; [`Running::stop`] ends it in good order.
pub struct Running {
    pub addr: SocketAddr,
    service: Arc<Service>,
    accepting: JoinHandle<()>,
}

impl Running {
    /// The switches for what shall go wrong.
    #[must_use]
    pub fn faults(&self) -> &Arc<Faults> {
        &self.service.faults
    }

    /// What has been seen.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.service.stats
    }

    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.service.ledger
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Resets all open connections, as a crash would. The port stays open.
    pub fn reset_connections(&self) {
        self.service.resets.send_modify(|count| *count += 1);
    }

    /// Refuses connections, ends all faults, and returns when what had begun is answered, or after five seconds.
    pub async fn stop(mut self) {
        self.service.begin_stop();
        // The loop ends by itself within its limit; a panic in it has been reported where it happened.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.faults.gate().shut();
        self.accepting.abort();
    }
}

impl Service {
    /// Listens on `addr` (port 0: any free one, see [`Running::addr`]) and serves on the current tokio runtime.
    /// `name` is what `X-Served-By` says.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(ledger: Arc<Ledger>, addr: SocketAddr, name: &str) -> io::Result<Running> {
        let gate = Gate::open(addr)?;
        let addr = gate.addr();
        let service = Arc::new(Self {
            name: name.to_owned(),
            ledger,
            faults: Arc::new(Faults::new(gate)),
            stats: Arc::default(),
            connections_numbered: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            resets: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(Arc::clone(&service).accept());
        Ok(Running { addr, service, accepting })
    }

    fn begin_stop(&self) {
        self.faults.gate().shut();
        self.stopping.send_replace(true);
        // The gate is shut for good, so this opens nothing and cannot fail; requests that hang go on.
        drop(self.faults.clear());
    }

    async fn accept(self: Arc<Self>) {
        let mut connections = JoinSet::new();
        let mut stopping = self.stopping.subscribe();
        loop {
            tokio::select! {
                () = stop_asked(&mut stopping) => break,
                accepted = poll_fn(|cx| self.faults.gate().poll_accept(cx)), if connections.len() < CONNECTIONS_MAX => {
                    match accepted {
                        Ok(stream) => drop(connections.spawn(Arc::clone(&self).connection(stream))),
                        Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
        let drained = async { while connections.join_next().await.is_some() {} };
        // Past the limit the set is dropped, and with it the connections.
        let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let number = self.connections_numbered.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::new(Link::new(number));
        let _open = Open::count(Arc::clone(&self.stats));
        let mut resets = self.resets.subscribe();
        // The order is given before the other branch, and the stream with it, is dropped.
        let reset = async {
            let _ = resets.changed().await;
            link.reset();
        };
        tokio::select! {
            () = reset => {}
            () = self.converse(stream, &link) => {}
        }
    }

    async fn converse(self: &Arc<Self>, mut stream: TcpStream, link: &Arc<Link>) {
        // Small answers shall not wait for an acknowledgement; without it they are only slower.
        let _ = stream.set_nodelay(true);
        let mut stopping = self.stopping.subscribe();
        let first = tokio::select! {
            first = first_bytes(&mut stream) => first,
            () = stop_asked(&mut stopping) => return,
        };
        let Ok(first) = first else { return };
        if !EXEMPT.iter().any(|exempt| first.starts_with(exempt)) {
            self.faults.hang_over(None).await;
        }
        let is_h2 = first.starts_with(H2_PREFACE);
        let io = TokioIo::new(LinkStream::new(stream, first, Arc::clone(link)));
        let serve = service_fn(|request| Arc::clone(self).serve(Arc::clone(link), request));
        let stop = stop_asked(&mut stopping);
        // How a connection ends is the client's affair, or was ordered by a fault.
        if is_h2 {
            let mut connection = pin!(
                http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(256)
                    .serve_connection(io, serve)
            );
            tokio::select! {
                _ = connection.as_mut() => return,
                () = link.go_away.notified() => {}
                () = stop => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        } else {
            let mut connection =
                pin!(http1::Builder::new().header_read_timeout(None).serve_connection(io, serve));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }

    /// One request, from its head to an answer with a body, in the order that the table in [`crate::faults`] gives.
    async fn serve(
        self: Arc<Self>,
        link: Arc<Link>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Cut> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let nth = link.next_request();
        let found = route::find(&parts.method, path);
        if path == "/_faults" || path == "/_stats" {
            let response =
                self.administer(&parts, body, found).await.unwrap_or_else(|refused| problem(&refused));
            return Ok(self.dress(response, &parts, &link, None));
        }
        let flight = Flight::begin(Arc::clone(&self.stats), format!("{} {path}", parts.method));
        let is_h2 = parts.version == http::Version::HTTP_2;
        let plan = self.faults.plan(path, nth);

        self.faults.hang_over(Some(path)).await;
        wait_as_planned(&plan).await;
        if plan.reset.is_some_and(|reset| reset.at == ResetPoint::OnArrival) {
            return Err(cut(&link, plan.resets_link(is_h2)));
        }
        let response = match plan.status {
            Some(status) if !status.after_effect => Err(overridden(status)),
            Some(status) => {
                let _ = self.work(&parts, body, found, link.number).await;
                Err(overridden(status))
            }
            None => self.work(&parts, body, found, link.number).await,
        };
        let response = response.unwrap_or_else(|refused| problem(&refused));
        let response = self.dress(response, &parts, &link, Some(flight));
        spoil(response, &plan, &link, is_h2)
    }

    async fn administer(
        &self,
        parts: &Parts,
        body: Incoming,
        found: Result<Route<'_>, Problem>,
    ) -> Result<Response<Source>, Problem> {
        match found? {
            Route::Stats => Ok(admin::stats(&self.stats)),
            _ => {
                let body = utility::read_small(body, api::BODY_MAX_BYTES).await?;
                admin::faults(&self.faults, &parts.method, &body)
            }
        }
    }

    async fn work(
        &self,
        parts: &Parts,
        body: Incoming,
        found: Result<Route<'_>, Problem>,
        connection: u64,
    ) -> Result<Response<Source>, Problem> {
        match found? {
            Route::Utility(utility) => utility::answer(utility, parts, body, connection, &self.name).await,
            Route::Api(version, operation) => {
                let body = utility::read_small(body, api::BODY_MAX_BYTES).await?;
                let call =
                    api::Call { version, query: parts.uri.query(), headers: &parts.headers, body: &body };
                api::answer(&self.ledger, &self.stats, operation, &call)
            }
            Route::Faults | Route::Stats => Err(Problem::not_found("such path")),
        }
    }

    /// What all answers have in common. `HEAD` keeps the length and loses the body.
    fn dress(
        &self,
        response: Response<Source>,
        parts: &Parts,
        link: &Arc<Link>,
        flight: Option<Flight>,
    ) -> Response<Answer> {
        let (mut head, mut source) = response.into_parts();
        let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let Some(length) = source.exact()
            && !bodiless
        {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if bodiless || parts.method == Method::HEAD {
            source = Source::empty();
        }
        if let Ok(name) = HeaderValue::from_str(&self.name) {
            head.headers.insert("x-served-by", name);
        }
        Response::from_parts(head, Answer::new(source, Arc::clone(link), flight))
    }
}

/// Waits for a slot and holds it for its time, then waits out the delay.
async fn wait_as_planned(plan: &Plan) {
    if let Some((slots, service)) = &plan.slot {
        // The semaphore is never closed.
        let _held = slots.acquire().await;
        tokio::time::sleep(*service).await;
    }
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
}

/// Returns when the service is to stop; the sender lives as long as the service.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Lets an answer go out as the plan says: whole, cut, as garbage, slowly, or as the last of its connection.
fn spoil(
    mut response: Response<Answer>,
    plan: &Plan,
    link: &Link,
    is_h2: bool,
) -> Result<Response<Answer>, Cut> {
    let reset_link = plan.resets_link(is_h2);
    let empty = hyper::body::Body::is_end_stream(response.body());
    match plan.reset.map(|reset| reset.at) {
        Some(ResetPoint::MidBody) if !empty => response.body_mut().cut_in_middle(reset_link),
        // There is no middle of nothing.
        Some(ResetPoint::BeforeHead | ResetPoint::MidBody) => return Err(cut(link, reset_link)),
        Some(ResetPoint::InHead) => link.reset_in_head(),
        Some(ResetPoint::OnArrival) | None if plan.garbage => link.answer_garbage(),
        Some(ResetPoint::OnArrival) | None => {}
    }
    if let Some(slow) = plan.slow_body {
        response.body_mut().slow(slow);
    }
    match plan.last {
        Some(_) if is_h2 => link.go_away.notify_one(),
        Some(true) => {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Some(false) => response.body_mut().close_link_at_end(),
        None => {}
    }
    Ok(response)
}

fn cut(link: &Link, reset_link: bool) -> Cut {
    if reset_link {
        link.reset();
    }
    Cut
}

fn overridden(status: StatusFault) -> Problem {
    // The settings were checked: 200 to 599.
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut problem = Problem::new(code, "switched_fault", "A fault is switched on; see /_faults.");
    problem.retry_after_s = status.retry_after_s;
    problem
}

/// Reads until it is clear which protocol is spoken and, of HTTP/1.1, whether a hang is to be switched off. An error is
/// also a client that left first.
async fn first_bytes(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut first = Vec::with_capacity(256);
    let undecided = |first: &[u8]| {
        let begun = |whole: &[u8]| first.len() < whole.len() && whole.starts_with(first);
        begun(H2_PREFACE) || EXEMPT.iter().any(|exempt| begun(exempt))
    };
    while undecided(&first) {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(first.into())
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Stats>);

impl Open {
    fn count(stats: Arc<Stats>) -> Self {
        stats.connection_opened();
        Self(stats)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}
