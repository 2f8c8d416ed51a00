//! From a request that may pass to the head of an answer.
//!
//! In order: an endpoint is chosen ([`pool::LocalUpstream::pick`]), a connection is had ([`pool`], [`connect`]), the
//! request is sent and its answer awaited ([`exchange`]), within the operation's timeouts. What has begun is
//! finished ([`settle`]): the guard [`exchange::InFlight`] hands an unsafe request that may have arrived to a
//! task of its own when its client leaves or its time is up, and simply drops any other.

pub mod connect;
pub mod endpoint;
pub mod exchange;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod pool;
pub mod resolve;
pub mod settle;
pub mod upgrade;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Response, header};
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_telemetry::Event;
use tokio::time::{Instant, sleep_until};

use self::connect::ConnectError;
use self::exchange::{AnswerHead, Exchange, InFlight};
use self::h1::{ExchangeError, Reached};
use self::pool::{Acquired, LocalEndpoint, Pooled};
use self::upgrade::Tunnel;
use crate::context::RequestCx;
use crate::plan::{ForwardPlan, UpstreamPlan};
use crate::request::{BodyError, Request, far_future};
use crate::respond::body::{OutBody, UpstreamBody};

/// Bodies of known length up to this size count towards the total timeout until their last byte.
const SHORT_BODY_BYTES: u64 = 1 << 20;

/// Why a request was not answered by its upstream.
pub struct Failure {
    /// What the client is told.
    pub problem: Problem,
    /// The same in the words of RFC 9209.
    pub proxy_status: Option<&'static str>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { proxy_status: proxy_status(problem.code), problem }
    }
}

/// Sends a request and gives back the answer, whose body is still on its way.
///
/// # Errors
/// A cause of its own for each way it can fail; see [`Failure`].
pub async fn forward(
    cx: &Rc<RequestCx>,
    plan: &ForwardPlan,
    path: &str,
    request: &mut Request,
) -> Result<Response<OutBody>, Failure> {
    let upstream = &cx.snapshot.plan.upstreams[plan.upstream];
    let Some(endpoint) = cx.snapshot.upstreams[plan.upstream].pick() else {
        return Err(Problem::new(ProblemCode::NoHealthyEndpoint, "The service has no endpoint.")
            .retry_after_s(1)
            .into());
    };
    cx.facts.attempts.set(1);
    *cx.facts.endpoint.borrow_mut() = Some(std::sync::Arc::clone(&endpoint.shared));
    let mut flight = InFlight::begin(cx, endpoint, plan);
    let began = flight.began();
    let times = Times::new(cx, plan, began, request.wanted_within);
    request.deadline = times.total();
    if times.total().is_some_and(|until| until <= began) {
        // What nobody waits for any more must not have an effect.
        return Err(Problem::new(ProblemCode::DeadlineExceeded, DEADLINE_BEFORE).into());
    }
    let path = path.get(plan.strip_prefix_bytes..).filter(|p| p.starts_with('/')).unwrap_or("/");
    let (exchange, reused) = connect_and_begin(cx, plan, upstream, endpoint, path, request, &times).await?;
    let head = match flight.answer(exchange, &times).await {
        Err(Failed::Exchange(error)) if reused && flight.may_resend(&error) => {
            resend(cx, plan, endpoint, &times, &mut flight).await
        }
        other => other,
    };
    cx.facts.bytes_in.set(flight.body_received());
    match head {
        Ok(head) => {
            cx.facts.upstream_us.set(Some(began.elapsed().as_micros() as u64));
            Ok(answer(head, flight, plan, &times))
        }
        Err(Failed::Exchange(error)) => Err(flight.failed(cx, &error)),
        Err(Failed::TimedOut(code)) => Err(flight.timed_out(cx, code)),
        Err(Failed::Connect(error)) => Err(not_connected(cx, endpoint, &error)),
    }
}

fn not_connected(cx: &RequestCx, endpoint: &LocalEndpoint, error: &ConnectError) -> Failure {
    cx.trail(Stage::Connect, format!("{}: {}", endpoint.shared.settings.display, error.cause()));
    if !matches!(error, ConnectError::PoolExhausted) {
        cx.worker.shared.events.emit(&Event::UpstreamUnreachable {
            upstream: &endpoint.shared.upstream,
            endpoint: &endpoint.shared.settings.display,
            cause: &error.cause(),
        });
    }
    error.problem().into()
}

/// How waiting for an answer failed.
pub enum Failed {
    /// The exchange itself.
    Exchange(ExchangeError),
    /// Its time was up.
    TimedOut(ProblemCode),
    /// The connection that should replace a dead one could not be had.
    Connect(ConnectError),
}

/// Until when what may take.
pub struct Times {
    /// The operation's total, which ends at the head.
    head: Option<Instant>,
    attempt: Option<Instant>,
    /// When the client no longer wants any of it.
    client: Option<Instant>,
}

impl Times {
    fn new(cx: &RequestCx, plan: &ForwardPlan, now: Instant, wanted_within: Option<Duration>) -> Self {
        Self {
            head: plan.timeouts.total.and_then(|t| cx.started.checked_add(t)),
            client: wanted_within.and_then(|t| cx.started.checked_add(t)),
            attempt: plan.timeouts.attempt.and_then(|t| now.checked_add(t)),
        }
    }

    /// When the head has to be there.
    pub fn total(&self) -> Option<Instant> {
        earlier(self.head, self.client)
    }

    /// When the last byte has to be there, of a body of this length.
    fn whole(&self, length: Option<u64>) -> Option<Instant> {
        let is_short = length.is_some_and(|n| n <= SHORT_BODY_BYTES);
        earlier(self.head.filter(|_| is_short), self.client)
    }

    /// The nearer end, and what it is called.
    pub fn next(&self) -> (Instant, ProblemCode) {
        match (self.attempt, self.total()) {
            (Some(attempt), Some(total)) if attempt < total => (attempt, ProblemCode::UpstreamTimeout),
            (_, Some(total)) => (total, ProblemCode::DeadlineExceeded),
            (Some(attempt), None) => (attempt, ProblemCode::UpstreamTimeout),
            (None, None) => (far_future(), ProblemCode::DeadlineExceeded),
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

async fn connect_and_begin(
    cx: &Rc<RequestCx>,
    plan: &ForwardPlan,
    upstream: &UpstreamPlan,
    endpoint: &Rc<LocalEndpoint>,
    path: &str,
    request: &mut Request,
    times: &Times,
) -> Result<(Exchange, bool), Failure> {
    // The common case, an idle connection, needs no timer.
    let speaks_h2 = endpoint.shared.speaks_h2() && request.upgrade.is_none();
    if !speaks_h2 && let Some(connection) = endpoint.take_idle(&cx.worker) {
        return Ok((Exchange::h1(cx, upstream, endpoint, path, request, connection), true));
    }
    let connecting = async {
        let only_http1 = request.upgrade.is_some();
        Ok(match endpoint.acquire(&cx.worker, plan.timeouts.connect, only_http1).await? {
            Acquired::H2(stream) => (Exchange::h2(cx, upstream, endpoint, path, request, stream), true),
            Acquired::H1(Pooled { connection, reused }) => {
                (Exchange::h1(cx, upstream, endpoint, path, request, connection), reused)
            }
        })
    };
    let begun = match times.total() {
        Some(until) => match tokio::time::timeout_at(until, Box::pin(connecting)).await {
            Ok(begun) => begun,
            Err(_elapsed) => {
                return Err(Problem::new(ProblemCode::DeadlineExceeded, DEADLINE_IN_CONNECT).into());
            }
        },
        None => Box::pin(connecting).await,
    };
    begun.map_err(|error: ConnectError| not_connected(cx, endpoint, &error))
}

const DEADLINE_BEFORE: &str = "The request's time was up before it could be sent. Nothing was sent.";
const DEADLINE_IN_CONNECT: &str =
    "The request's time was up before a connection to the service stood. Nothing was sent.";

/// A pooled connection had died: the same request over a new one, unseen by the client.
async fn resend(
    cx: &Rc<RequestCx>,
    plan: &ForwardPlan,
    endpoint: &Rc<LocalEndpoint>,
    times: &Times,
    flight: &mut InFlight,
) -> Result<AnswerHead, Failed> {
    cx.trail(Stage::Send, "a pooled connection had died; sent over another one");
    cx.worker.cells.inc(endpoint.shared.metrics.replaced);
    let Some(old) = flight.take_exchange() else { return Err(Failed::Exchange(ExchangeError::Reset)) };
    let within = plan.timeouts.connect;
    let fresh = async {
        match old {
            Exchange::H1(mut exchange) => {
                let connected = connect::connect(&endpoint.shared, within, false).await?;
                if connected.is_h2 {
                    // The service has changed what it speaks; the next request will know.
                    return Err(ConnectError::Handshake);
                }
                exchange.restart_on(connected.stream, cx.worker.mono_ms());
                Ok(Exchange::H1(exchange))
            }
            Exchange::H2(exchange) => match h2::acquire(endpoint, &cx.worker, within).await? {
                Acquired::H2(stream) => Ok(Exchange::H2(exchange.restart_on(stream))),
                Acquired::H1(_) => Err(ConnectError::Handshake),
            },
        }
    };
    let (until, code) = times.next();
    match tokio::time::timeout_at(until, Box::pin(fresh)).await {
        Ok(Ok(exchange)) => flight.answer(exchange, times).await,
        Ok(Err(error)) => Err(Failed::Connect(error)),
        Err(_elapsed) => Err(Failed::TimedOut(code)),
    }
}

impl InFlight {
    /// Waits for the head of the answer. The exchange stays in the guard, so that it survives this future.
    async fn answer(&mut self, exchange: Exchange, times: &Times) -> Result<AnswerHead, Failed> {
        let (until, code) = times.next();
        let mut timer = pin!(sleep_until(until));
        let exchange = self.hold(exchange);
        poll_fn(|task| {
            if let Poll::Ready(head) = exchange.poll_head(task) {
                return Poll::Ready(head.map_err(Failed::Exchange));
            }
            timer.as_mut().poll(task).map(|()| Err(Failed::TimedOut(code)))
        })
        .await
    }

    fn failed(mut self, cx: &RequestCx, error: &ExchangeError) -> Failure {
        let reached = self.reached();
        self.give_up();
        let is_local = self.is_local();
        let detail = match (error, reached) {
            (ExchangeError::Reset, _) if is_local => "The service failed before it had answered.",
            (ExchangeError::Reset, Reached::Nothing) => {
                "The service closed the connection before the request was sent."
            }
            (ExchangeError::Reset, _) => {
                "The service closed the connection after the request was sent and before it answered."
            }
            (ExchangeError::Malformed(_), _) => "The service's answer is no well-formed HTTP response.",
            (ExchangeError::TooLarge(_), _) => "The head of the service's answer is over the limit.",
            (ExchangeError::Body(error), _) => return body_failure(*error).into(),
        };
        let (code, why) = match error {
            ExchangeError::Malformed(why) => (ProblemCode::UpstreamMalformed, *why),
            ExchangeError::TooLarge(why) => (ProblemCode::UpstreamTooLarge, *why),
            ExchangeError::Reset if is_local => {
                (ProblemCode::LocalServiceFailed, "the service in the process ended without an answer")
            }
            ExchangeError::Reset | ExchangeError::Body(_) => {
                (ProblemCode::UpstreamReset, "connection closed before an answer")
            }
        };
        cx.trail(Stage::Send, why);
        Problem::new(code, detail).into()
    }

    fn timed_out(self, cx: &RequestCx, code: ProblemCode) -> Failure {
        let detail = match (self.reached(), code) {
            (Reached::Nothing, _) => "Time was up before the request was sent.",
            (_, ProblemCode::UpstreamTimeout) => {
                "The service did not answer within the time for one attempt."
            }
            (_, _) => "The request's total time was up before the service answered.",
        };
        cx.trail(Stage::Send, format!("{} after {} ms", code.code(), cx.started.elapsed().as_millis()));
        Problem::new(code, detail).into()
    }
}

/// What the client is told about its own body.
pub fn body_failure(error: BodyError) -> Problem {
    match error {
        BodyError::TooLarge => {
            Problem::new(ProblemCode::BodyTooLarge, "The body is larger than this operation takes.")
        }
        BodyError::TimedOut => {
            Problem::new(ProblemCode::RequestTimeout, "The request body stopped arriving.")
        }
        BodyError::Malformed(what) => Problem::new(ProblemCode::MalformedRequest, what),
        BodyError::Gone => Problem::new(ProblemCode::MalformedRequest, "The request body ended early."),
    }
}

/// RFC 9209, 2.3: the error types that fit.
fn proxy_status(code: ProblemCode) -> Option<&'static str> {
    Some(match code {
        ProblemCode::UpstreamRefused => "connection_refused",
        ProblemCode::UpstreamUnreachable => "destination_ip_unroutable",
        ProblemCode::UpstreamDns => "dns_error",
        ProblemCode::UpstreamTls => "tls_protocol_error",
        ProblemCode::UpstreamReset | ProblemCode::LocalServiceFailed => "connection_terminated",
        ProblemCode::UpstreamMalformed => "http_protocol_error",
        ProblemCode::UpstreamTooLarge => "http_response_header_section_size",
        ProblemCode::UpstreamConnectTimeout => "connection_timeout",
        ProblemCode::UpstreamTimeout | ProblemCode::DeadlineExceeded => "http_response_timeout",
        ProblemCode::PoolExhausted => "connection_limit_reached",
        ProblemCode::NoHealthyEndpoint => "destination_unavailable",
        _ => return None,
    })
}

/// The protocol has been switched: what remains is a tunnel.
fn switched(head: AnswerHead, mut flight: InFlight, plan: &ForwardPlan) -> Response<OutBody> {
    let AnswerHead { status, mut headers, .. } = head;
    let token = headers.remove(header::UPGRADE);
    headers::strip_response(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let is_websocket = token.as_ref().is_some_and(|t| t.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if let Some(token) = token {
        headers.insert(header::UPGRADE, token);
    }
    let body = match flight.take_switched() {
        Some(connection) => {
            OutBody::tunnel(Tunnel { connection, flight, idle_max: plan.timeouts.idle, is_websocket })
        }
        None => OutBody::empty(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn answer(head: AnswerHead, flight: InFlight, plan: &ForwardPlan, times: &Times) -> Response<OutBody> {
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return switched(head, flight, plan);
    }
    let AnswerHead { status, mut headers, length } = head;
    headers::strip_response(&mut headers);
    let until = times.whole(length);
    let without_body = length == Some(0)
        || status == http::StatusCode::NO_CONTENT
        || status == http::StatusCode::NOT_MODIFIED
        || flight.cx().method == http::Method::HEAD;
    let body = if without_body {
        flight.complete();
        OutBody::empty()
    } else {
        OutBody::upstream(UpstreamBody::new(flight, plan.timeouts.idle, until), length)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
