//! An HTTP/2 connection of a client (RFC 9113), by prior knowledge.
//!
//! Framing, flow control and header compression are hyper's and h2's. Here their limits are set, each stream
//! becomes a [`Request`], and the connection is told to go away when it is old or the engine drains.
//!
//! A client can stop taking bytes in two ways, and each ends after `limits.body_timeout`: a stream whose window stays
//! closed is reset (`until_stalled`), a connection whose socket takes nothing is closed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{COOKIE, EXPECT, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_telemetry::Event;
use mainstay_wire::limits::METHOD_BYTES_MAX;
use mainstay_wire::{Authority, Refusal, Target, Text};
use tokio::time::Sleep;

use super::connection::{ConnCx, Interrupt, Phase};
use super::h2_body;
use super::h2_socket::{FloodedSlot, Socket};
use crate::caught;
use crate::fields::Seen;
use crate::grpc;
use crate::lifecycle;
use crate::metrics::Flood;
use crate::plan::ServerPlan;
use crate::request::{Request, RequestBody, wanted_within};
use crate::respond::body::{Broken, OutBody};
use crate::stream::Stream;
use crate::worker::Worker;

/// Runs streams on this thread.
#[derive(Clone, Copy)]
pub struct LocalExec;

impl<F: Future + 'static> Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// What hyper may hold of an answer whose client does not take it, per stream.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Streams of one connection that run now.
struct Streams {
    conn: Rc<ConnCx>,
    running: Cell<usize>,
    /// The client was told that this connection ends.
    leaving: Cell<bool>,
}

impl Streams {
    /// What the connection does while nothing runs.
    fn at_rest(&self) -> Phase {
        if self.leaving.get() { Phase::Leaving } else { Phase::Idle }
    }
}

/// Counts one stream, in the connection's phase and in the worker's load.
struct StreamGuard(Rc<Streams>);

impl StreamGuard {
    fn begin(streams: &Rc<Streams>) -> Self {
        let running = streams.running.get() + 1;
        streams.running.set(running);
        if running == 1 {
            streams.conn.enter(Phase::Busy);
        } else {
            streams.conn.worker.port().load.fetch_add(1, Ordering::Relaxed);
        }
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let running = self.0.running.get() - 1;
        self.0.running.set(running);
        if running == 0 {
            self.0.conn.enter(self.0.at_rest());
        } else {
            self.0.conn.worker.port().load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

tokio::task_local! {
    /// Of the stream whose task runs.
    static HANDED: Rc<Handed>;
}

/// The last piece of an answer that was handed to hyper, which asks for the next one when the client's window and the
/// connection have room for it.
#[derive(Default)]
struct Handed {
    pieces: Cell<u64>,
    /// The next piece was not asked for yet.
    waits: Cell<bool>,
    /// The client has not taken it in time.
    stalled: Cell<bool>,
}

/// What a client must take within `limits.body_timeout` to count as one that takes something: a frame of the usual
/// size (RFC 9113, 4.2). With pieces as large as an upstream's reads, a slow client would look like a silent one.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// An answer on its way over a stream.
struct StreamBody {
    body: OutBody,
    /// What is left of a larger piece.
    rest: Bytes,
    handed: Rc<Handed>,
    _running: StreamGuard,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = if self.rest.is_empty() {
            Pin::new(&mut self.body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))))
        };
        let polled = polled.map_ok(|frame| {
            frame.map_data(|mut data| {
                self.rest = data.split_off(data.len().min(PIECE_BYTES_MAX));
                data
            })
        });
        let waits = matches!(polled, Poll::Ready(Some(Ok(_))));
        self.handed.waits.set(waits);
        self.handed.pieces.set(self.handed.pieces.get() + u64::from(waits));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first piece, when there is no rest.
        self.body.size_hint()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.handed.stalled.get()
            && let Some(cx) = self.body.context()
        {
            cx.aborted("client");
        }
    }
}

/// Runs streams on this thread, each for as long as its client takes what it is sent.
#[derive(Clone)]
struct StreamExec {
    worker: Rc<Worker>,
    silence_max: Duration,
}

impl<F: Future + 'static> Executor<F> for StreamExec {
    fn execute(&self, stream: F) {
        let handed = Rc::new(Handed::default());
        let watched = until_stalled(stream, Rc::clone(&handed), self.silence_max);
        let worker = Rc::clone(&self.worker);
        let task =
            caught::task(HANDED.scope(handed, watched), move |cause| worker.panicked("task", "", cause));
        tokio::task::spawn_local(task);
    }
}

/// Drives a stream; lets go of it, which resets it, when a piece of its answer waits for too long.
async fn until_stalled(stream: impl Future, handed: Rc<Handed>, silence_max: Duration) {
    let mut stream = pin!(stream);
    let mut waiting: Option<(u64, Pin<Box<Sleep>>)> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !handed.waits.get() {
            return Poll::Pending;
        }
        let piece = handed.pieces.get();
        if waiting.as_ref().is_none_or(|(known, _)| *known != piece) {
            waiting = Some((piece, Box::pin(tokio::time::sleep(silence_max))));
        }
        let Some((_, sleep)) = &mut waiting else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        handed.stalled.set(true);
        Poll::Ready(())
    })
    .await;
}

/// Serves a connection until it ends.
pub async fn serve(conn: Rc<ConnCx>, stream: Stream, first: BytesMut) {
    let flooded = FloodedSlot::default();
    let socket = Socket::new(first.freeze(), stream, &conn, &flooded);
    let ended = drive(&conn, socket).await;
    if let Some(flooded) = flooded.take() {
        note_flood(&conn, Flood::Control);
        flooded.end().await;
    } else if ended.is_err_and(|error| is_flood(&error)) {
        note_flood(&conn, Flood::Streams);
    }
}

async fn drive(conn: &Rc<ConnCx>, socket: Socket) -> hyper::Result<()> {
    let body_timeout = conn.worker.snapshot().plan.server.body_timeout;
    let streams =
        Rc::new(Streams { conn: Rc::clone(conn), running: Cell::new(0), leaving: Cell::new(false) });
    let service = hyper::service::service_fn({
        let streams = Rc::clone(&streams);
        move |request| serve_stream(Rc::clone(&streams), request, body_timeout)
    });
    let connection = builder(conn).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    conn.enter(Phase::Idle);
    poll_fn(|cx| {
        match conn.poll_interrupt(cx) {
            Some(Interrupt::Stuck) => return Poll::Ready(Ok(())),
            // Told to end long ago, and nothing runs: what holds it up is a client that does not take the rest.
            Some(Interrupt::Slow) if streams.leaving.get() => return Poll::Ready(Ok(())),
            Some(Interrupt::Close | Interrupt::Slow) if !streams.leaving.replace(true) => {
                connection.as_mut().graceful_shutdown();
                conn.enter_if_idle(Phase::Leaving);
            }
            Some(_) | None => {}
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// hyper within our limits.
fn builder(conn: &ConnCx) -> http2::Builder<StreamExec> {
    let snapshot = conn.worker.snapshot();
    let server = &snapshot.plan.server;
    let executor = StreamExec { worker: Rc::clone(&conn.worker), silence_max: server.body_timeout };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(server.http2_streams_max)
        .initial_stream_window_size(server.http2_window)
        .initial_connection_window_size(server.http2_window.saturating_mul(2))
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(header_list_bytes_max(server))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// True when h2 has ended the connection because its client asks for more than it should.
fn is_flood(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_library() && h2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Tells of it; a client that was ended may come again at once, and the log of events holds back what comes too often.
fn note_flood(conn: &ConnCx, flood: Flood) {
    let shared = &conn.worker.shared;
    conn.worker.cells.inc(shared.metrics.floods[flood as usize]);
    let (listener, client) = (&*conn.listener, &*conn.peer_text);
    shared.events.emit(&Event::ClientFloods { listener, client, flood: Flood::NAMES[flood as usize] });
}

async fn serve_stream(
    streams: Rc<Streams>,
    request: http::Request<Incoming>,
    body_timeout: Duration,
) -> Result<http::Response<StreamBody>, std::convert::Infallible> {
    let running = StreamGuard::begin(&streams);
    let handed = HANDED.with(Rc::clone);
    let answer = answer(&streams.conn, request, body_timeout).await;
    Ok(answer.map(|body| StreamBody { body, rest: Bytes::new(), handed, _running: running }))
}

async fn answer(
    conn: &Rc<ConnCx>,
    request: http::Request<Incoming>,
    body_timeout: Duration,
) -> http::Response<OutBody> {
    let (mut parts, incoming) = request.into_parts();
    let seen = Seen::of(&parts.headers);
    if let Some(refusal) = refused(&parts, seen, &conn.worker.snapshot().plan.server) {
        return lifecycle::refuse_bytes(conn, refusal.code(), refusal.detail());
    }
    let target = match target(&parts.uri) {
        Ok(target) => target,
        Err(refusal) => return lifecycle::refuse_bytes(conn, refusal.code(), refusal.detail()),
    };
    join_cookies(&mut parts.headers);
    let is_head = parts.method == Method::HEAD;
    let authority = match authority(&parts) {
        Ok(authority) => authority,
        Err(detail) => return lifecycle::refuse_bytes(conn, "bad_host", detail),
    };
    let mut body = RequestBody::h2(incoming, body_timeout);
    if body.declared == Some(0) && !body.is_empty() {
        body = match Box::pin(h2_body::nothing(body)).await {
            Ok(nothing) => nothing,
            Err((code, detail)) => return lifecycle::refuse_bytes(conn, code, detail),
        };
    }
    let is_grpc = grpc::is_call(&parts.headers);
    let request = Request {
        path: target.path.into_bytes(),
        query: target.query.map(Text::into_bytes),
        is_grpc,
        wanted_within: if is_grpc {
            grpc::timeout(&parts.headers)
        } else {
            wanted_within(seen, &parts.headers)
        },
        deadline: None,
        wants_upgrade: false,
        upgrade: None,
        misdirected: conn.is_misdirected(Some(&authority)),
        authority: Some(authority),
        method: parts.method,
        seen,
        headers: parts.headers,
        body,
        protocol: "2",
    };
    let mut answer = Box::pin(lifecycle::serve_request(Rc::clone(conn), request)).await;
    if is_head {
        answer.body_mut().leave_out();
    }
    answer
}

/// Up to here h2 takes a head; above, it answers with a bare 431 by itself. It leaves room for heads that are over
/// our limits by not too much, so that these are told in the usual form.
fn header_list_bytes_max(server: &ServerPlan) -> u32 {
    // RFC 9113, 6.5.2: each field counts with 32 bytes beside its own.
    const BESIDE: usize = 32;
    let bytes = 2 * (server.header_bytes_max + BESIDE * server.headers_max);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A client may split its cookies to compress them better; what reads HTTP/1 takes one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_maybe_shared(Bytes::from(cookies.join(&b"; "[..]))) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

/// RFC 9113, 8.2.1: such a value is malformed. In HTTP/1 the whitespace would not belong to it.
fn has_whitespace_around(value: &HeaderValue) -> bool {
    matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// What a head of HTTP/1 is refused for, where HTTP/2 does not refuse it by itself.
fn refused(parts: &http::request::Parts, seen: Seen, server: &ServerPlan) -> Option<Refusal> {
    if parts.method == Method::CONNECT {
        return Some(Refusal::NotImplemented("This server opens no tunnels."));
    }
    if parts.method.as_str().len() > METHOD_BYTES_MAX {
        return Some(Refusal::NotImplemented("The method is longer than any this server knows."));
    }
    if parts.uri.scheme_str() == Some("") {
        return Some(Refusal::Malformed("The scheme is empty."));
    }
    if !parts.headers.keys().all(|name| mainstay_wire::is_field_name(name.as_str().as_bytes())) {
        return Some(Refusal::Malformed("A field name has a byte that cannot stand in a name."));
    }
    if parts.headers.values().any(has_whitespace_around) {
        return Some(Refusal::Malformed("The value of a field begins or ends with whitespace."));
    }
    if parts.method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Some(Refusal::Malformed("The method has a lower-case letter."));
    }
    if seen.has(Seen::LIKE_FRAMING) {
        let detail = "A field name is a look-alike of Content-Length or Transfer-Encoding.";
        return Some(Refusal::Malformed(detail));
    }
    let mut expected = parts.headers.get_all(EXPECT).iter();
    if expected.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Some(Refusal::Expectation);
    }
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > server.uri_bytes_max {
        return Some(Refusal::UriTooLong);
    }
    if parts.headers.len() > server.headers_max {
        return Some(Refusal::TooLarge("The request has more header fields than this server accepts."));
    }
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    (fields.sum::<usize>() + target > server.header_bytes_max)
        .then_some(Refusal::TooLarge("The request head is larger than this server accepts."))
}

/// `:path` by the rules of HTTP/1: h2 takes bytes that cannot stand in a request line.
fn target(uri: &Uri) -> Result<Target, Refusal> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Target::from_parts(&Bytes::copy_from_slice(target.as_bytes()), None)
}

/// `:authority`, or `Host`; when both are there they must say the same (RFC 9113, 8.3.1).
fn authority(parts: &http::request::Parts) -> Result<Authority, &'static str> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("There is more than one Host field.");
    }
    let named = parts.uri.authority().map(|a| a.as_str().as_bytes());
    let bytes = match (named, host.map(HeaderValue::as_bytes)) {
        (Some(a), Some(h)) if !a.eq_ignore_ascii_case(h) => {
            return Err("Host and :authority say different things.");
        }
        (Some(a), _) => a,
        (None, Some(h)) => h,
        (None, None) => return Err("Neither :authority nor Host is there."),
    };
    Authority::parse(Bytes::copy_from_slice(bytes)).map_err(|refusal| refusal.detail())
}
