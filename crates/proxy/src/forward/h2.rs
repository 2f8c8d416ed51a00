//! Exchanges over HTTP/2 connections to an upstream: many at once on few connections.
//!
//! hyper and h2 do framing and flow control; each connection has a task of its own, because no single request
//! may stop driving it. A connection takes new streams until its lifetime is over or the peer says GOAWAY.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_core::clock::MonoMs;
use mainstay_wire::HeadLimits;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connect::ConnectError;
use super::endpoint::{EndpointMetrics, EndpointShared};
use super::h1::{ExchangeError, Reached};
use super::pool::{Acquired, LocalEndpoint};
use crate::accept::h2::LocalExec;
use crate::request::{BodyError, Piece, RequestBody};
use crate::stream::Stream;
use crate::worker::Worker;

/// New streams are put on another connection when one carries so many.
const STREAMS_PER_CONNECTION: usize = 100;
const WINDOW_BYTES: u32 = 1 << 20;

/// This worker's HTTP/2 connections to one endpoint.
pub struct H2Pool {
    connections: RefCell<Vec<H2Connection>>,
    /// A stream has ended, so a connection may have room for another one.
    freed: Rc<Notify>,
    /// One connection is opened at a time, so that a burst does not open one for each request.
    opening: Semaphore,
    /// Connections as the gauges have them: with streams, and without.
    shown: Cell<(i64, i64)>,
}

impl Default for H2Pool {
    fn default() -> Self {
        Self {
            connections: RefCell::default(),
            freed: Rc::default(),
            opening: Semaphore::new(1),
            shown: Cell::default(),
        }
    }
}

struct H2Connection {
    sender: SendRequest<OutgoingBody>,
    streams: Rc<Cell<usize>>,
    /// Something malformed came over it. What runs on it ends; nothing new begins.
    spoilt: Rc<Cell<bool>>,
    opened: MonoMs,
    idle_since: Cell<Option<MonoMs>>,
    /// Given back when the connection's task ends.
    _task: tokio::task::AbortHandle,
}

impl H2Connection {
    fn is_over(&self) -> bool {
        self.spoilt.get() || self.sender.is_closed()
    }
}

/// A way to send one request.
pub struct H2Stream {
    sender: SendRequest<OutgoingBody>,
    spoilt: Rc<Cell<bool>>,
    guard: StreamCount,
}

struct StreamCount {
    streams: Rc<Cell<usize>>,
    freed: Rc<Notify>,
}

impl StreamCount {
    fn begin(streams: &Rc<Cell<usize>>, freed: &Rc<Notify>) -> Self {
        streams.set(streams.get() + 1);
        Self { streams: Rc::clone(streams), freed: Rc::clone(freed) }
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        self.freed.notify_waiters();
    }
}

impl H2Pool {
    fn ready(&self) -> Option<H2Stream> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|c| !c.is_over());
        let best = connections
            .iter()
            .filter(|c| c.sender.is_ready() && c.streams.get() < STREAMS_PER_CONNECTION)
            .min_by_key(|c| c.streams.get())?;
        best.idle_since.set(None);
        let guard = StreamCount::begin(&best.streams, &self.freed);
        Some(H2Stream { sender: best.sender.clone(), spoilt: Rc::clone(&best.spoilt), guard })
    }

    /// A stream on a connection that is open, as soon as one has room.
    async fn has_room(&self) -> H2Stream {
        loop {
            if let Some(stream) = self.ready() {
                return stream;
            }
            self.freed.notified().await;
        }
    }

    /// Closes a connection without streams so that another worker may open one.
    pub fn release_one_idle(&self) {
        let mut connections = self.connections.borrow_mut();
        if let Some(idle) = connections.iter().position(|c| c.streams.get() == 0) {
            drop(connections.swap_remove(idle));
        }
    }

    /// Lets go of every connection; running streams end first.
    pub fn retire(&self, worker: &Worker, metrics: &EndpointMetrics) {
        self.connections.take();
        self.show(worker, metrics);
    }

    /// Brings the gauges up to date. A stream costs none of this: they may be behind by the time between two sweeps.
    fn show(&self, worker: &Worker, metrics: &EndpointMetrics) {
        let connections = self.connections.borrow();
        let idle = connections.iter().filter(|c| c.streams.get() == 0).count() as i64;
        let in_use = connections.len() as i64 - idle;
        let (shown_in_use, shown_idle) = self.shown.replace((in_use, idle));
        if (in_use, idle) != (shown_in_use, shown_idle) {
            worker.cells.gauge_add(metrics.pool_in_use, in_use - shown_in_use);
            worker.cells.gauge_add(metrics.pool_idle, idle - shown_idle);
        }
    }

    /// Lets go of connections that are idle for too long or too old; running streams end first. While anyone
    /// waits, an idle one is let go of at once.
    pub fn sweep(&self, now: MonoMs, worker: &Worker, shared: &EndpointShared, wanted: bool) {
        let settings = &shared.settings;
        self.connections.borrow_mut().retain(|c| {
            if c.streams.get() > 0 {
                c.idle_since.set(None);
            } else if c.idle_since.get().is_none() {
                c.idle_since.set(Some(now));
            }
            let idle_ms = c.idle_since.get().map_or(0, |since| now.since(since));
            let expired = (wanted && c.streams.get() == 0)
                || u128::from(idle_ms) >= settings.idle_timeout.as_millis()
                || u128::from(now.since(c.opened)) >= settings.lifetime_max.as_millis();
            !expired && !c.is_over()
        });
        self.show(worker, &shared.metrics);
    }
}

/// A stream on a connection that is open, or on a new one; what a new one speaks is found out by opening it.
///
/// # Errors
/// See [`ConnectError`].
pub async fn acquire(
    endpoint: &LocalEndpoint,
    worker: &Worker,
    connect_within: Duration,
) -> Result<Acquired, ConnectError> {
    if let Some(stream) = endpoint.h2.ready() {
        return Ok(Acquired::H2(stream));
    }
    let wait = endpoint.shared.settings.wait;
    let Ok(Ok(_turn)) = timeout(wait + connect_within, endpoint.h2.opening.acquire()).await else {
        return Err(ConnectError::PoolExhausted);
    };
    if let Some(stream) = endpoint.h2.ready() {
        return Ok(Acquired::H2(stream));
    }
    if let Ok(permit) = Arc::clone(&endpoint.shared.slots).try_acquire_owned() {
        return endpoint.open(worker, permit, connect_within, false).await;
    }
    let _waiting = endpoint.begin_waiting(worker);
    let either = async {
        tokio::select! {
            biased;
            stream = endpoint.h2.has_room() => Ok(stream),
            permit = Arc::clone(&endpoint.shared.slots).acquire_owned() => Err(permit),
        }
    };
    match timeout(wait, either).await {
        Ok(Ok(stream)) => Ok(Acquired::H2(stream)),
        Ok(Err(Ok(permit))) => endpoint.open(worker, permit, connect_within, false).await,
        Ok(Err(Err(_))) | Err(_) => Err(ConnectError::PoolExhausted),
    }
}

/// Room for the heads that are within the limits, and for those that are refused because they are not. HTTP/2 counts
/// 32 bytes more for each field (RFC 9113, 10.5.1).
fn header_list_max(worker: &Worker) -> u32 {
    let server = &worker.snapshot().plan.server;
    u32::try_from(2 * server.header_bytes_max + 32 * server.headers_max).unwrap_or(u32::MAX)
}

/// Begins HTTP/2 on a new connection.
///
/// # Errors
/// See [`ConnectError`].
pub async fn begin(
    endpoint: &LocalEndpoint,
    worker: &Worker,
    stream: Stream,
    permit: OwnedSemaphorePermit,
    within: Duration,
) -> Result<H2Stream, ConnectError> {
    let mut builder = http2::Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES * 4)
        // Beyond it a head is no longer told from a malformed one.
        .max_header_list_size(header_list_max(worker))
        .max_concurrent_reset_streams(64)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(10));
    let handshake = builder.handshake(TokioIo::new(stream));
    let (sender, connection) = match timeout(within, handshake).await {
        Ok(Ok(pair)) => pair,
        Ok(Err(_)) => return Err(ConnectError::Handshake),
        Err(_elapsed) => return Err(ConnectError::TimedOut),
    };
    let task = tokio::task::spawn_local(async move {
        let _permit = permit;
        // How a connection ended is told to each of its streams.
        let _ = connection.await;
    });
    let streams = Rc::new(Cell::new(0));
    let guard = StreamCount::begin(&streams, &endpoint.h2.freed);
    let spoilt = Rc::new(Cell::new(false));
    let made = H2Stream { sender: sender.clone(), spoilt: Rc::clone(&spoilt), guard };
    endpoint.h2.connections.borrow_mut().push(H2Connection {
        sender,
        streams,
        spoilt,
        opened: worker.mono_ms(),
        idle_since: Cell::new(None),
        _task: task.abort_handle(),
    });
    Ok(made)
}

type SendFuture = Pin<
    Box<
        dyn Future<
            Output = Result<
                http::Response<Incoming>,
                hyper::client::conn::TrySendError<http::Request<OutgoingBody>>,
            >,
        >,
    >,
>;

/// A request on its way over HTTP/2.
pub struct H2Exchange {
    sending: Option<SendFuture>,
    answer: Option<Incoming>,
    shared: Rc<Outgoing>,
    started: bool,
    /// The connection has handed the request back: nothing of it was sent.
    unsent: bool,
    spoilt: Rc<Cell<bool>>,
    limits: HeadLimits,
    _guard: StreamCount,
}

/// What the sending side tells the exchange.
#[derive(Default)]
struct Outgoing {
    received: Cell<u64>,
    failed: Cell<Option<BodyError>>,
    ended: Cell<bool>,
    /// The body, until the exchange takes it back.
    body: RefCell<Option<RequestBody>>,
}

impl H2Exchange {
    /// Begins.
    pub fn new(stream: H2Stream, parts: http::request::Parts, body: RequestBody, limits: HeadLimits) -> Self {
        let shared = Rc::new(Outgoing::default());
        shared.ended.set(body.is_empty());
        let (none, declared) = (body.is_empty(), body.declared);
        *shared.body.borrow_mut() = Some(body);
        let body = OutgoingBody { none, declared, shared: Rc::clone(&shared) };
        let request = http::Request::from_parts(parts, body);
        let H2Stream { mut sender, spoilt, guard } = stream;
        Self {
            sending: Some(Box::pin(sender.try_send_request(request))),
            answer: None,
            shared,
            started: false,
            unsent: false,
            spoilt,
            limits,
            _guard: guard,
        }
    }

    /// How far the request got. Once it was handed to the connection, that it did not arrive can no longer be
    /// proven, unless the connection hands it back.
    pub fn reached(&self) -> Reached {
        if !self.started || self.unsent {
            Reached::Nothing
        } else if self.shared.ended.get() {
            Reached::Whole
        } else {
            Reached::Some
        }
    }

    /// Bytes of the body that have arrived from the client.
    pub fn body_received(&self) -> u64 {
        self.shared.received.get()
    }

    /// Ends here, and gives back the body.
    pub fn into_body(self) -> RequestBody {
        self.shared.body.take().unwrap_or_else(RequestBody::empty)
    }

    /// The request will not be sent again: what was kept of its body for that goes.
    pub fn forget_body(&mut self) {
        if let Some(body) = &mut *self.shared.body.borrow_mut() {
            body.forget();
        }
    }

    /// The same body once more, if all of it is here.
    pub fn copy_body(&mut self) -> Option<RequestBody> {
        self.shared.body.borrow_mut().as_mut().and_then(RequestBody::copy)
    }

    /// True when the whole request is still in our hands and can be sent again.
    pub fn is_whole_here(&self) -> bool {
        self.shared.body.borrow().as_ref().is_some_and(RequestBody::is_whole)
    }

    /// The head of the answer.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::response::Parts, ExchangeError>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Err(ExchangeError::Reset)) };
        self.started = true;
        match ready!(sending.as_mut().poll(cx)) {
            Ok(response) => {
                self.sending = None;
                let (parts, incoming) = response.into_parts();
                if let Err(error) = check_head(&parts.headers, &self.limits) {
                    self.spoilt.set(true);
                    return Poll::Ready(Err(error));
                }
                self.answer = Some(incoming);
                Poll::Ready(Ok(parts))
            }
            Err(mut error) => {
                self.sending = None;
                self.unsent = error.take_message().is_some();
                if let Some(failed) = self.shared.failed.get() {
                    return Poll::Ready(Err(ExchangeError::Body(failed)));
                }
                Poll::Ready(Err(self.failed(&error.into_error())))
            }
        }
    }

    /// The length of the answer's body, where it is known.
    pub fn known_length(&self) -> Option<u64> {
        self.answer.as_ref().and_then(|a| a.size_hint().exact())
    }

    /// The next piece of the answer's body; `None` at its end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ExchangeError>>> {
        loop {
            let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
            match ready!(Pin::new(&mut *answer).poll_frame(cx)) {
                None => {
                    // A reset with NO_ERROR looks like an end here, and is one only behind the end (RFC 9113, 8.1).
                    let is_whole = answer.is_end_stream();
                    self.answer = None;
                    return Poll::Ready((!is_whole).then_some(Err(ExchangeError::Reset)));
                }
                Some(Err(error)) => {
                    let error = self.failed(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
                        }
                    }
                },
            }
        }
    }

    /// True once the head of the answer was taken.
    pub fn has_head(&self) -> bool {
        self.sending.is_none()
    }

    /// True when the answer has begun and has no more bytes.
    pub fn is_answered(&self) -> bool {
        self.sending.is_none() && self.answer.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl H2Exchange {
    /// What was wrong. After something malformed the connection takes nothing new: whoever breaks the rules in one stream
    /// may have lost count of the others (RFC 9113, 8.1.1, asks for less).
    fn failed(&self, error: &hyper::Error) -> ExchangeError {
        let is_leaving = h2_error(error).is_some_and(h2::Error::is_go_away);
        let error = cause(error);
        let is_malformed = !matches!(error, ExchangeError::Reset | ExchangeError::Refused);
        self.spoilt.set(self.spoilt.get() || is_malformed || is_leaving);
        error
    }
}

/// What the library does not look at. The limits are those of HTTP/1.1, counted as if the head had come so.
fn check_head(headers: &HeaderMap, limits: &HeadLimits) -> Result<(), ExchangeError> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    if headers.len() > limits.fields_max || headers.iter().map(line).sum::<usize>() > limits.head_bytes_max {
        return Err(ExchangeError::TooLarge("The response head is longer than accepted."));
    }
    if !headers.keys().all(|name| mainstay_wire::is_field_name(name.as_str().as_bytes())) {
        return Err(ExchangeError::Malformed("A field name has a byte that cannot stand in a name."));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let is_number = |value: &[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !lengths.next().is_none_or(is_number) || lengths.next().is_some() {
        return Err(ExchangeError::Malformed("Content-Length is not one plain number."));
    }
    Ok(())
}

/// What the peer did wrong is what this side has found out itself; what the peer says of this side is no more than an end.
fn cause(error: &hyper::Error) -> ExchangeError {
    h2_error(error).map_or(ExchangeError::Reset, cause_of)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return Some(h2);
        }
        source = error.source();
    }
    None
}

/// A stream that is refused, or above the last one that a GOAWAY names, has not been processed (RFC 9113, 8.7). The
/// library gives a peer's GOAWAY as a stream's error only to those above.
fn cause_of(error: &h2::Error) -> ExchangeError {
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => ExchangeError::Refused,
        _ if error.is_go_away() && error.is_remote() => ExchangeError::Refused,
        Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL) | None => ExchangeError::Reset,
        Some(_) if error.is_library() => ExchangeError::Malformed("a violation of the HTTP/2 protocol"),
        Some(_) => ExchangeError::Reset,
    }
}

/// A request's body on its way into hyper. The exchange can take it back at any time; the stream is then reset.
pub struct OutgoingBody {
    none: bool,
    declared: Option<u64>,
    shared: Rc<Outgoing>,
}

/// The client's body failed, so the stream is reset.
#[derive(Debug)]
pub struct BodyFailed;

impl std::fmt::Display for BodyFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client's body ended early")
    }
}

impl std::error::Error for BodyFailed {}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        loop {
            let mut body = self.shared.body.borrow_mut();
            let Some(body) = &mut *body else { return Poll::Ready(Some(Err(BodyFailed))) };
            let piece = ready!(body.poll_piece(cx));
            self.shared.received.set(body.received());
            match piece {
                None => {
                    self.shared.ended.set(true);
                    return Poll::Ready(None);
                }
                Some(Ok(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                // Trailers of requests are not passed on: no field is on the allow list yet.
                Some(Ok(Piece::Trailers(_))) => {}
                Some(Err(error)) => {
                    self.shared.failed.set(Some(error));
                    return Poll::Ready(Some(Err(BodyFailed)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.none
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
