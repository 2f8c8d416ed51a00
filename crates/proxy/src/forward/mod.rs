//! From a request that may pass to the head of an answer.
//!
//! In order: a place is taken among the upstream's requests ([`shed`]), and attempts are made ([`retry`], [`step`]): the breaker
//! lets one pass, an endpoint is chosen, a connection is had ([`pool`], [`connect`]), the request is sent and its answer
//! awaited ([`attempt`], [`exchange`]), within the request's time ([`deadline`]). Where all that was in vain, something
//! else may help ([`fallback`]). What has begun is
//! finished ([`settle`]): the guard [`exchange::InFlight`] hands an unsafe request that may have arrived to a
//! task of its own when its client leaves or its time is up, and simply drops any other.

pub mod deadline;
pub mod fallback;
pub mod policies;
pub mod retry;
pub mod shed;
pub mod step;

pub mod balance;
pub mod breaker;
pub mod health;
pub mod hedge;
pub mod judge;
pub mod rate;

pub mod alarm;
pub mod attempt;
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

use std::rc::Rc;

use http::{Response, header};
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_telemetry::Event;
use tokio::time::Instant;

use self::attempt::{Answered, Failed, Trip, Why};
use self::connect::ConnectError;
use self::deadline::Times;
use self::exchange::{AnswerHead, InFlight};
use self::h1::{ExchangeError, Reached};
use self::step::Ended;
use self::upgrade::Tunnel;
use crate::context::RequestCx;
use crate::plan::ForwardPlan;
use crate::request::{BodyError, Request};
use crate::respond::body::{OutBody, UpstreamBody};

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
    let now = Instant::now();
    let times = Times::new(cx, plan, request.wanted_within);
    request.deadline = times.total();
    let index = upstream_of(cx, plan).map_err(|problem| *problem)?;
    let upstream = &cx.snapshot.plan.upstreams[index];
    let canonical_path = path;
    let path = path.get(plan.strip_prefix_bytes..).filter(|p| p.starts_with('/')).unwrap_or("/");
    let body = attempt::take_body(request);
    let trip = Trip { cx, plan, upstream, index, canonical_path, path, request, times: &times };
    match retry::attempts(&trip, body, now).await {
        Ok(Answered { head, flight }) => Ok(answer(head, flight, plan, &times)),
        Err(in_vain) => Box::pin(fallback::fallback(&trip, in_vain)).await,
    }
}

/// Test credentials reach the sandbox, and nothing else ever.
fn upstream_of(cx: &RequestCx, plan: &ForwardPlan) -> Result<usize, Box<Problem>> {
    if !cx.is_test() {
        return Ok(plan.upstream);
    }
    plan.sandbox.ok_or_else(|| {
        let detail = "This version has no sandbox, and a test credential reaches nothing else.";
        cx.trail(Stage::Authenticate, "a test credential, and the version has no sandbox");
        Box::new(Problem::new(ProblemCode::NoSandbox, detail))
    })
}

impl Ended {
    /// Nothing else helps.
    fn end(self, trip: &Trip<'_>) -> Result<Response<OutBody>, Failure> {
        match self {
            Self::Refused(failure) => Err(failure),
            Self::Failed(failed) => Err(failed.failure(trip.cx)),
            Self::Answered(answered) => Ok(answer(answered.head, answered.flight, trip.plan, trip.times)),
        }
    }
}

impl Failed {
    /// What the client is told, with the reason in the trail.
    fn failure(&self, cx: &RequestCx) -> Failure {
        match &self.why {
            Why::Connect(error) => self.not_connected(cx, error),
            Why::Exchange(error) => self.broken(cx, error),
            Why::TimedOut(code) => self.timed_out(cx, *code),
        }
    }

    fn not_connected(&self, cx: &RequestCx, error: &ConnectError) -> Failure {
        let endpoint = &self.endpoint.shared;
        cx.trail(Stage::Connect, format!("{}: {}", endpoint.settings.display, error.cause()));
        self.tell_unreachable(cx, error);
        error.problem().into()
    }

    /// An endpoint that takes no connection is worth an event.
    fn tell_unreachable(&self, cx: &RequestCx, error: &ConnectError) {
        let endpoint = &self.endpoint.shared;
        if error.is_of_upstream() {
            cx.worker.shared.events.emit(&Event::UpstreamUnreachable {
                upstream: &endpoint.upstream,
                endpoint: &endpoint.settings.display,
                cause: &error.cause(),
            });
        }
    }

    /// What the client would be told.
    fn code(&self) -> ProblemCode {
        match &self.why {
            Why::Connect(error) => error.problem().code,
            Why::Exchange(ExchangeError::Malformed(_)) => ProblemCode::UpstreamMalformed,
            Why::Exchange(ExchangeError::TooLarge(_)) => ProblemCode::UpstreamTooLarge,
            Why::Exchange(ExchangeError::Body(error)) => body_failure(*error).code,
            Why::Exchange(ExchangeError::Reset) if self.endpoint.shared.is_local() => {
                ProblemCode::LocalServiceFailed
            }
            Why::Exchange(ExchangeError::Reset | ExchangeError::Refused) => ProblemCode::UpstreamReset,
            Why::TimedOut(code) => *code,
        }
    }

    fn broken(&self, cx: &RequestCx, error: &ExchangeError) -> Failure {
        let is_local = self.endpoint.shared.is_local();
        let detail = match (error, self.reached) {
            (ExchangeError::Reset, _) if is_local => "The service failed before it had answered.",
            (ExchangeError::Refused, _) => "The service refused the request without looking at it.",
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
        let why = match error {
            ExchangeError::Malformed(why) | ExchangeError::TooLarge(why) => *why,
            ExchangeError::Reset if is_local => "the service in the process ended without an answer",
            ExchangeError::Refused => "the service refused the request without looking at it",
            ExchangeError::Reset | ExchangeError::Body(_) => "connection closed before an answer",
        };
        cx.trail(Stage::Send, why);
        Problem::new(self.code(), detail).into()
    }

    fn timed_out(&self, cx: &RequestCx, code: ProblemCode) -> Failure {
        let detail = match (self.reached, code) {
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
        ProblemCode::NoHealthyEndpoint | ProblemCode::CircuitOpen => "destination_unavailable",
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

fn answer(head: AnswerHead, mut flight: InFlight, plan: &ForwardPlan, times: &Times) -> Response<OutBody> {
    let facts = &flight.cx().facts;
    facts.bytes_in.set(flight.body_received());
    flight.forget_body();
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
