//! The control listener: accepting, driving and ending connections within their limits.
//!
//! Connections are driven by hand because the ready-made server bounds neither their number nor their time. What
//! the HTTP library refuses before there is a request (a malformed or oversized head) it answers with a bare status.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use http::header::EXPECT;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mainstay_core::ProblemCode;
use mainstay_core::catalogue::Catalogue;
use mainstay_core::clock::Clock;
use mainstay_core::port::Engine;
use mainstay_core::random::{Random, uuid_v7};
use mainstay_telemetry::EventLog;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::caller::Origin;
use crate::calls::Call;
use crate::guard::Reach;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, Limits};
use crate::problem::{Refusal, finish};
use crate::routes::{App, router};
use crate::secure::{Handshake, Handshakes, TlsSource};
use crate::token::Token;
use crate::tokens::Tokens;
use crate::{body, guard, loopback};

/// What the control side serves.
pub struct Parts {
    /// With it, over HTTPS alone.
    pub tls: Option<TlsSource>,
    /// The token of the engine's own file: whoever has it may do everything.
    pub token: Token,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Consumers, keys, tokens and the audit. `None`: nothing is kept, and their routes say what to configure.
    pub catalogue: Option<Arc<dyn Catalogue>>,
    /// Where calls that change something are told.
    pub events: EventLog,
    /// The date.
    pub clock: Clock,
}

/// Serves the control side on `listener` until `shutdown` completes, then lets answers under way finish for at most
/// [`DRAIN_MAX`](crate::limits::DRAIN_MAX). Dropping the future ends every connection at once.
///
/// # Errors
/// `InvalidInput` when the listener is not on loopback and there is no TLS. A failing accept is retried and ends
/// nothing.
pub async fn serve(
    listener: TcpListener,
    parts: Parts,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    serve_within(Limits::default(), listener, parts, shutdown).await
}

pub(crate) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    parts: Parts,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let Parts { tls, token, engine, catalogue, events, clock } = parts;
    let address = listener.local_addr()?;
    if tls.is_none() {
        loopback::require(address)?;
    }
    let reach = Reach { tls: tls.is_some(), loopback: loopback::is_loopback(address.ip()) };
    let mut handshakes = tls.map(|source| Handshakes::new(source, &limits));
    let tokens = Arc::new(Tokens::new(token, catalogue.clone()));
    // Ends with this function, however it ends.
    let mut following = JoinSet::new();
    following.spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.follow().await }
    });
    let app = App::new(engine, catalogue, tokens, reach, clock);
    let front = Arc::new(Front::new(limits, app, events));
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer, permit) = accept_with_place(&listener, &permits), if handshakes.is_none() => {
                connections.spawn(drive(stream, peer.ip(), permit, Arc::clone(&front), closing.clone()));
            }
            (stream, peer) = accept(&listener), if handshakes.is_some() => {
                let Some(handshakes) = &mut handshakes else { continue };
                let (front, permits) = (Arc::clone(&front), Arc::clone(&permits));
                connections.spawn(secure(handshakes.next(), stream, peer.ip(), permits, front, closing.clone()));
            }
        }
    }
    drop(listener);
    // Nobody listens when no connection is open; then there is nothing to end.
    let _ = close.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, drained).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept_with_place(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        if let Ok(permit) = Arc::clone(permits).acquire_owned().await {
            let (stream, peer) = accept(listener).await;
            return (stream, peer, permit);
        }
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
    loop {
        if let Ok((stream, peer)) = listener.accept().await {
            // Without it small answers wait for acknowledgements; that is slower, and nothing else.
            let _ = stream.set_nodelay(true);
            return (stream, peer);
        }
        // Out of descriptors, most likely: asking again at once would only spin.
        sleep(PAUSE_AFTER_FAILURE).await;
    }
}

/// The same as [`drive`], after a handshake.
async fn secure(
    handshake: Handshake,
    stream: TcpStream,
    caller: IpAddr,
    permits: Arc<Semaphore>,
    front: Arc<Front>,
    mut closing: watch::Receiver<bool>,
) {
    let shaken = tokio::select! {
        biased;
        _ = closing.changed() => return,
        shaken = handshake.finish(stream, permits, &front.limits) => shaken,
    };
    if let Some((stream, permit)) = shaken {
        drive(stream, caller, permit, front, closing).await;
    }
}

/// One connection to its end; the permit goes with it.
async fn drive(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    caller: IpAddr,
    _permit: OwnedSemaphorePermit,
    front: Arc<Front>,
    mut closing: watch::Receiver<bool>,
) {
    let limits = front.limits;
    let began = Notify::new();
    let service = service_fn(|request| {
        began.notify_one();
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request, caller).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut cut = pin!(sleep(limits.exchange));
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            // A failure here is the client's: it left, or sent what is no HTTP.
            _ = connection.as_mut() => return,
            () = began.notified() => cut.as_mut().reset(Instant::now() + limits.exchange),
            () = cut.as_mut() => return,
            _ = closing.changed(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What stands before the router: the checks, the bounds and the shape of every answer.
struct Front {
    limits: Limits,
    engine: Arc<dyn Engine>,
    events: EventLog,
    router: TowerToHyperService<Router>,
    random: Mutex<Random>,
    clock: Clock,
    reach: Reach,
}

impl Front {
    fn new(limits: Limits, app: App, events: EventLog) -> Self {
        let clock = app.clock.clone();
        Self {
            limits,
            reach: app.reach,
            engine: Arc::clone(&app.engine),
            events,
            router: TowerToHyperService::new(router(app)),
            random: Mutex::new(Random::from_os()),
            clock,
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, caller: IpAddr) -> Response {
        let id = self.request_id();
        let id = str::from_utf8(&id).unwrap_or_default();
        request.extensions_mut().insert(Origin { address: caller, request_id: id.into() });
        let call = Call::of(request.method(), request.uri(), caller, id, &self.events);
        if let Some(call) = &call {
            request.extensions_mut().insert(call.clone());
        }
        let response = self.admit(request).await.unwrap_or_else(IntoResponse::into_response);
        if let (Some(call), Some(refusal)) = (&call, response.extensions().get::<Refusal>()) {
            call.refused(refusal.code.code());
        }
        finish(response, id, || self.engine.problem_type_base())
    }

    async fn admit(&self, request: Request<Incoming>) -> Result<Response, Refusal> {
        guard::check_host(request.uri(), request.headers(), self.reach)?;
        guard::check_origin(request.uri(), request.headers())?;
        let deadline = Instant::now() + self.limits.request;
        let (head, body) = request.into_parts();
        let waits_for_continue = head.headers.contains_key(EXPECT);
        let body =
            timeout_at(deadline, body::read(body, waits_for_continue)).await.map_err(|_| slow_body())??;
        let request = Request::from_parts(head, Body::from(body));
        timeout_at(deadline, caught(self.router.call(request))).await.map_err(|_| slow_answer())?
    }

    fn request_id(&self) -> [u8; 36] {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        uuid_v7(self.clock.now().0, &random)
    }
}

/// Runs a handler; a panic in it becomes an answer instead of a closed connection.
async fn caught(handler: impl Future<Output = Result<Response, Infallible>>) -> Result<Response, Refusal> {
    let mut handler = pin!(handler);
    // The handler is not polled again after a panic, so nobody sees what it left half done.
    let polled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(response)),
        Err(_) => Poll::Ready(Err(Refusal::internal("The control side failed; its log says more."))),
    });
    polled.await
}

fn slow_body() -> Refusal {
    Refusal::new(ProblemCode::RequestTimeout, "The body did not arrive within 30 s.")
}

fn slow_answer() -> Refusal {
    let detail = "There was no answer within 30 s; a change that had begun goes on.";
    Refusal::new(ProblemCode::DeadlineExceeded, detail)
}
