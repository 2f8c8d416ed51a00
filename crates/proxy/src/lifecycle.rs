//! The life of a request: one function, its stages in order, all branching here.
//!
//! [`serve_request`] makes the context, `stages` is the list a person reads to know what happens to a request
//! and in which order, and `finish` gives every answer, whatever it is, the engine's own fields and its
//! status in the record.

use std::cell::OnceCell;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use mainstay_core::random::uuid_v7;
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_telemetry::trace::{FromOutside, keeps_tracestate};
use mainstay_telemetry::{Event, TraceParent};
use tokio::time::Instant;

use crate::accept::connection::ConnCx;
use crate::admit::route::{NotRouted, Routed};
use crate::admit::{authenticate, authorize, body, cors, route, system, version};
use crate::caught;
use crate::client::{ClientAddress, client_address};
use crate::context::{Facts, RequestCx};
use crate::fields::Seen;
use crate::forward::{self, Failure};
use crate::grpc;
use crate::plan::RoutePlan;
use crate::request::Request;
use crate::respond::body::OutBody;
use crate::respond::{headers, problem};
use crate::worker::Worker;

/// Serves one request, from its head to the head of its answer.
pub async fn serve_request(conn: Rc<ConnCx>, mut request: Request) -> Response<OutBody> {
    let plain_text = request.seen.has(Seen::ACCEPT) && problem::wants_plain_text(&request.headers);
    let cx = begin(&conn, &request.method, &request.headers, request.seen, request.is_grpc);
    drop(conn);
    let outcome = {
        let mut stages = pin!(stages(&cx, &mut request));
        poll_fn(|task| caught::poll(|| stages.as_mut().poll(task))).await
    };
    let refused = match outcome {
        Ok(Ok(answer)) => return finish(cx, answer),
        Ok(Err(refused)) => refused,
        Err(cause) => panicked(&cx, &cause),
    };
    cors::decide_unrouted(&cx, &request);
    let answer = refused.answer(&cx, plain_text);
    finish(cx, answer)
}

/// A defect of ours costs this request its answer, and no other one.
fn panicked(cx: &RequestCx, cause: &str) -> Refused {
    cx.worker.panicked("request", cx.id.to_str().unwrap_or_default(), cause);
    // Whoever was told to go on without a client while all was taken down believed that the client had left.
    cx.facts.aborted.set(Some("engine"));
    cx.trail(Stage::Respond, "a defect of the engine ended the request");
    Problem::new(ProblemCode::Internal, "The gateway failed while it served this request.").into()
}

/// The stages, in order. What a stage refuses ends here.
async fn stages(cx: &Rc<RequestCx>, request: &mut Request) -> Result<Answer, Refused> {
    let routed = route::route(cx, request);
    // Before anything that costs: the engine as a whole is full. Load balancers still learn that it lives.
    if !matches!(routed, Ok(Routed::Health)) {
        admit_one(cx)?;
    }
    // Before the host counts for anything: a connection that was made for another name.
    if request.misdirected {
        return Err(Problem::new(ProblemCode::Misdirected, MISDIRECTED).into());
    }
    // What is asked for comes first, because every later stage reads its plan.
    let (route, path) = match routed? {
        Routed::Operation(route, path) => (route, path.into_owned()),
        Routed::System(route, path) => {
            let path = path.into_owned();
            system::tell(cx, request);
            (route, path)
        }
        Routed::Health => return Ok(Answer::ours(health(cx))),
        Routed::Options(allow) => return Ok(Answer::ours(options(allow))),
        Routed::Preflight(route) => {
            let answer = cors::preflight(cx, route.cors.as_ref(), request);
            let _ = cx.route.set(route);
            return Ok(Answer::ours(answer));
        }
    };
    let _ = cx.route.set(Arc::clone(&route));
    let RoutePlan {
        names: _,
        cors: cors_plan,
        version: version_plan,
        auth: auth_plan,
        body: body_plan,
        scopes: scopes_plan,
        authorize: authorize_plan,
        upgrade: upgrade_plan,
        forward: forward_plan,
        metrics: _,
    } = &*route;
    // Decided early, so that refusals too can be read by the scripts they are meant for.
    if let Some(plan) = cors_plan {
        cors::decide(cx, plan, request);
    }
    // Before credentials: a version that is gone is gone for everybody.
    let is_deprecated = version::version(cx, &route, version_plan)?;
    // Before anything is counted, read or asked in the caller's name.
    if let Some(missing) = authenticate::authenticate(cx, &route, auth_plan, request, None)? {
        // On the heap: what hardly any request does is no reason for every request's future to be larger.
        Box::pin(authenticate::wait(cx, &missing)).await;
        authenticate::authenticate(cx, &route, auth_plan, request, Some(missing))?;
    }
    if is_deprecated {
        version::count(cx, &route);
    }
    // Place of a later stage: rate limit.
    // Before the body is read: what a credential is not for is not worth reading.
    authorize::scopes(cx, &route, scopes_plan)?;
    let policies = authorize::policies(cx, authorize_plan.as_ref());
    // Before the policies, which may ask what is in it; a body that is announced as too long is not read.
    let body = body::body(cx, body_plan, policies.as_ref(), request).await?;
    // After the body, because what may be done can depend on what is in it. The same policies as before it, whatever changed.
    if let Some(policies) = policies {
        authorize::policy(cx, &policies, &path, &body)?;
    }
    // Places of later stages: validate, idempotency; then cache, deadline, shedding, breaker.
    // Last of what is decided: another protocol is spoken only with who has passed everything else.
    if request.wants_upgrade {
        request.upgrade = forward::upgrade::allowed(&request.headers, upgrade_plan).map(Into::into);
    }
    let answer = forward::forward(cx, forward_plan, &path, request).await?;
    Ok(Answer { response: answer, from_upstream: true })
}

const MISDIRECTED: &str =
    "This connection was opened for another host name, which counts for who may use it.";

/// An answer, and whether it is an upstream's.
struct Answer {
    response: Response<OutBody>,
    from_upstream: bool,
}

impl Answer {
    fn ours(response: Response<OutBody>) -> Self {
        Self { response, from_upstream: false }
    }
}

/// Why a request ends before its upstream has answered it.
pub struct Refused {
    /// What the client is told.
    pub problem: Problem,
    /// Values of `WWW-Authenticate`.
    pub challenges: Vec<HeaderValue>,
    allow: Option<HeaderValue>,
    proxy_status: Option<&'static str>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, challenges: Vec::new(), allow: None, proxy_status: None }
    }
}

impl From<Box<Self>> for Refused {
    fn from(refused: Box<Self>) -> Self {
        *refused
    }
}

impl From<NotRouted> for Refused {
    fn from(not_routed: NotRouted) -> Self {
        Self { allow: not_routed.allow, ..Self::from(*not_routed.problem) }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { proxy_status: failure.proxy_status, ..Self::from(failure.problem) }
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Refused {
    fn answer(self, cx: &RequestCx, plain_text: bool) -> Answer {
        cx.facts.problem.set(Some(self.problem.code));
        let id = cx.id.to_str().unwrap_or_default();
        let mut response = if cx.is_grpc {
            grpc::answer(&self.problem)
        } else {
            problem::answer(&self.problem, &cx.snapshot.plan.problem_type_base, id, plain_text)
        };
        let headers = response.headers_mut();
        for challenge in self.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(error) = self.proxy_status
            && let Ok(value) = HeaderValue::try_from(format!("mainstay; error={error}"))
        {
            headers.insert(PROXY_STATUS, value);
        }
        Answer::ours(response)
    }
}

/// What every answer has: the engine's fields, its status in the record, the record's guard in its body.
fn finish(cx: Rc<RequestCx>, answer: Answer) -> Response<OutBody> {
    let Answer { mut response, from_upstream } = answer;
    headers::add(&cx, &mut response, from_upstream);
    cx.facts.status.set(response.status().as_u16());
    response.map(|body| body.with_context(cx))
}

/// `limits.requests_in_flight` and `limits.memory`, over all workers.
fn admit_one(cx: &RequestCx) -> Result<(), Problem> {
    let shared = &cx.worker.shared;
    if shared.is_out_of_memory.load(Ordering::Relaxed) {
        cx.trail(Stage::Accept, "limits.memory reached");
        let detail = "The gateway has as much in memory as it may.";
        return Err(Problem::new(ProblemCode::Overloaded, detail).retry_after_s(1));
    }
    if shared.requests.load(Ordering::Relaxed) > cx.snapshot.plan.server.requests_in_flight_max {
        cx.trail(Stage::Accept, "requests_in_flight reached");
        let detail = "The gateway has as many requests under way as it may.";
        return Err(Problem::new(ProblemCode::Overloaded, detail).retry_after_s(1));
    }
    Ok(())
}

fn health(cx: &RequestCx) -> Response<OutBody> {
    let (status, text) = if cx.worker.shared.is_leaving.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ok\n")
    };
    let mut response = Response::new(OutBody::full(bytes::Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn options(allow: HeaderValue) -> Response<OutBody> {
    let mut response = Response::new(OutBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// The context of a request whose head is complete.
fn begin(conn: &Rc<ConnCx>, method: &Method, fields: &HeaderMap, seen: Seen, is_grpc: bool) -> Rc<RequestCx> {
    let worker = Rc::clone(&conn.worker);
    let snapshot = worker.snapshot();
    let peer = conn.peer;
    let ClientAddress { client, peer_trusted } =
        client_address(peer, fields, &snapshot.plan.server.trusted_proxies);
    if let (false, Some(peer)) = (peer_trusted, peer) {
        look_for_untrusted_proxy(&worker, peer, seen);
    }
    let started_at = worker.unix();
    let (trace, trace_continued) = if seen.has(Seen::TRACEPARENT) {
        continued_trace(fields, peer_trusted, &worker)
    } else {
        (fresh_trace(&worker), false)
    };
    worker.shared.requests.fetch_add(1, Ordering::Relaxed);
    worker.cells.gauge_add(worker.shared.metrics.active_requests, 1);
    Rc::new(RequestCx {
        id: given_id(fields, seen).unwrap_or_else(|| new_id(&worker, started_at.0)),
        started: Instant::now(),
        started_at,
        trace,
        trace_continued,
        client,
        peer_trusted,
        is_grpc,
        secure: conn.tls.get().is_some(),
        peer: Rc::clone(&conn.peer_text),
        method: method.clone(),
        principal: OnceCell::new(),
        route: OnceCell::new(),
        cors: OnceCell::new(),
        facts: Facts::default(),
        snapshot,
        worker,
    })
}

fn look_for_untrusted_proxy(worker: &Worker, peer: std::net::IpAddr, seen: Seen) {
    if let Some((address, share)) = worker.forwarder.look(peer, seen.has(Seen::X_FORWARDED_FOR)) {
        let event = Event::UntrustedForwarder {
            address,
            share: f64::from(share) / 100.0,
            key: "server.trusted_proxies",
        };
        worker.shared.events.emit(&event);
    }
}

/// The client's own id, when it is well formed: so it can find its own request again.
fn given_id(fields: &HeaderMap, seen: Seen) -> Option<HeaderValue> {
    const NAME: HeaderName = HeaderName::from_static("x-request-id");
    if !seen.has(Seen::X_REQUEST_ID) {
        return None;
    }
    let id = fields.get(NAME)?;
    let well_formed = (8..=128).contains(&id.len())
        && id
            .as_bytes()
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'='));
    well_formed.then(|| id.clone())
}

fn new_id(worker: &Worker, now_ms: i64) -> HeaderValue {
    HeaderValue::from_bytes(&uuid_v7(now_ms, &worker.random)).unwrap_or(HeaderValue::from_static("0"))
}

/// Continues the client's trace. Whether it is sampled is decided here unless the peer is trusted.
fn continued_trace(fields: &HeaderMap, peer_trusted: bool, worker: &Worker) -> (TraceParent, bool) {
    // More than one is none: which of them would count is for nobody to guess.
    let mut given = fields.get_all("traceparent").iter();
    let given = given.next().filter(|_| given.next().is_none());
    let Some(parent) = given.and_then(|value| TraceParent::parse(value.as_bytes())) else {
        return (fresh_trace(worker), false);
    };
    let outside = if peer_trusted { FromOutside::Trusted } else { FromOutside::Ignored };
    let states = fields.get_all("tracestate").iter().map(HeaderValue::as_bytes);
    let child = parent.child(worker.random.bits(), outside, false);
    (child, keeps_tracestate(Some(&parent), states))
}

fn fresh_trace(worker: &Worker) -> TraceParent {
    let random = &worker.random;
    TraceParent::fresh([random.bits(), random.bits(), random.bits()], false)
}

/// Bytes that are no request still get an answer with a shape, and a record of their own.
pub fn refuse_bytes(conn: &Rc<ConnCx>, code: &str, detail: &'static str) -> Response<OutBody> {
    let code =
        ProblemCode::ALL.iter().copied().find(|c| c.code() == code).unwrap_or(ProblemCode::MalformedRequest);
    // There is no method to show: the bytes were no request.
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let cx = begin(conn, &method, &HeaderMap::new(), Seen::default(), false);
    cx.trail(Stage::Accept, detail);
    let answer = Refused::from(Problem::new(code, detail)).answer(&cx, false);
    finish(cx, answer)
}
