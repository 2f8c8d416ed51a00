//! Health checks: each endpoint is asked again and again whether it would serve, beside the data plane.
//!
//! Runs on the control runtime, over connections of its own. What an answer means is decided by
//! [`mainstay_policy::balance`]; here it is only asked for. A reload may change what is asked, or stop asking: then the
//! endpoint counts as healthy, and only what becomes of requests counts.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_core::random::Random;
use mainstay_policy::balance::Change;
use mainstay_telemetry::Event;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connect::{self, Connected};
use super::endpoint::{EndpointShared, Protocol};
use crate::worker::EngineShared;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("mainstay/", env!("CARGO_PKG_VERSION"), " health"));

/// How an endpoint is asked whether it would serve.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPlan {
    /// What is asked.
    pub probe: Probe,
    /// What `Host` says; `None`: the endpoint's own host and port.
    pub host: Option<HeaderValue>,
    /// From one question to the next.
    pub interval: Duration,
    /// Longest wait for an answer, connecting included.
    pub timeout: Duration,
    /// Good answers in a row that make an endpoint healthy.
    pub healthy_after: u32,
    /// Bad ones in a row that make it unhealthy.
    pub unhealthy_after: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `GET`, answered with one of these statuses (from, to).
    Http {
        /// Path and query.
        path: String,
        /// What is good.
        statuses: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check` (the gRPC health checking protocol); good is `SERVING`.
    Grpc {
        /// The service's name; empty: the server as a whole.
        service: String,
    },
    /// A connection, TLS included.
    Tcp,
}

/// Starts asking every endpoint that has not been asked yet, and tells the others what is asked from now on.
pub fn start<'a>(
    endpoints: impl Iterator<Item = (&'a Arc<EndpointShared>, Option<&'a HealthPlan>)>,
    engine: &Arc<EngineShared>,
    runtime: &tokio::runtime::Handle,
) {
    for (endpoint, plan) in endpoints {
        // Who runs within the process is there as long as the engine is.
        let plan = plan.filter(|_| !endpoint.is_local()).cloned();
        if let Some(plans) = endpoint.check(plan) {
            runtime.spawn(keep_checked(Arc::downgrade(endpoint), plans, Arc::downgrade(engine)));
        }
    }
}

/// Asks for as long as somebody holds the endpoint.
async fn keep_checked(
    endpoint: Weak<EndpointShared>,
    mut plans: watch::Receiver<Option<HealthPlan>>,
    engine: Weak<EngineShared>,
) {
    let random = Random::from_os();
    loop {
        let plan = plans.borrow_and_update().clone();
        let (Some(strong), Some(shared)) = (endpoint.upgrade(), engine.upgrade()) else { return };
        let pause = match plan {
            None => {
                strong.state.unchecked(shared.mono_ms());
                None
            }
            Some(plan) => {
                let answer = timeout(plan.timeout, ask(&strong, &plan)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                note(&strong, &shared, &plan, answer);
                // A tenth more or less, so that many engines do not ask in step.
                Some(plan.interval.mul_f64(0.9 + 0.2 * random.share()))
            }
        };
        drop((strong, shared));
        let changed = match pause {
            Some(pause) => tokio::select! {
                changed = plans.changed() => changed,
                () = sleep(pause) => Ok(()),
            },
            None => plans.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

fn note(endpoint: &EndpointShared, shared: &EngineShared, plan: &HealthPlan, answer: Result<(), String>) {
    let now = shared.mono_ms();
    let change = endpoint.state.checked(answer.is_ok(), plan.healthy_after, plan.unhealthy_after, now);
    let (upstream, display) = (&*endpoint.upstream, endpoint.settings.display.as_str());
    match change {
        Some(Change::BecameUnhealthy) => {
            let cause = answer.err().unwrap_or_default();
            let event = Event::EndpointUnhealthy { upstream, endpoint: display, cause: &cause };
            shared.events.emit(&event);
        }
        Some(Change::BecameHealthy) => {
            shared.events.emit(&Event::EndpointHealthy { upstream, endpoint: display });
        }
        _ => {}
    }
}

/// Asks once.
async fn ask(endpoint: &EndpointShared, plan: &HealthPlan) -> Result<(), String> {
    let only_http1 =
        matches!(plan.probe, Probe::Http { .. }) && endpoint.settings.protocol == Protocol::Http1;
    let connected = connect::connect(endpoint, plan.timeout, only_http1);
    let connected = connected.await.map_err(|error| error.cause())?;
    match &plan.probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, statuses } => {
            let request = request(endpoint, plan, Method::GET, path, Bytes::new())?;
            let status = send(endpoint, connected, request).await?.status().as_u16();
            let is_good = statuses.iter().any(|(from, to)| (*from..=*to).contains(&status));
            if is_good { Ok(()) } else { Err(format!("status {status}")) }
        }
        Probe::Grpc { service } => {
            let mut request =
                request(endpoint, plan, Method::POST, "/grpc.health.v1.Health/Check", question(service))?;
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            is_serving(send(endpoint, connected, request).await?).await
        }
    }
}

fn request(
    endpoint: &EndpointShared,
    plan: &HealthPlan,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, String> {
    let host = plan.host.as_ref().unwrap_or(&endpoint.authority);
    let scheme = if endpoint.secure.is_some() { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path);
    let uri = uri.build().map_err(|error| error.to_string())?;
    let request = Request::builder().method(method).uri(uri).header(header::USER_AGENT, AGENT);
    request.body(Full::new(body)).map_err(|error| error.to_string())
}

/// Sends it over a connection that is closed afterwards.
async fn send(
    endpoint: &EndpointShared,
    connected: Connected,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let Connected { stream, is_h2 } = connected;
    let io = TokioIo::new(stream);
    let told = |error: hyper::Error| error.to_string();
    if is_h2 || endpoint.settings.protocol == Protocol::H2 {
        let pair = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = pair.map_err(told)?;
        return driven(connection, async move { sender.send_request(request).await }).await;
    }
    // HTTP/1.1 has the host in a field and only the path in the target.
    if let Some(authority) = request.uri().authority().map(|authority| authority.as_str().to_owned())
        && let Ok(host) = HeaderValue::try_from(authority)
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(told)?;
    driven(connection, async move { sender.send_request(request).await }).await
}

/// The answer's head. The connection is driven by a task of its own, which ends with it.
async fn driven(
    connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static,
    answer: impl Future<Output = Result<Response<Incoming>, hyper::Error>>,
) -> Result<Response<Incoming>, String> {
    let driver = tokio::spawn(async move {
        // How it ended is told to whoever waits for the answer.
        let _ = connection.await;
    });
    let answer = answer.await.map_err(|error| error.to_string());
    if answer.is_err() {
        driver.abort();
    }
    answer
}

/// `HealthCheckRequest { service }` as one message of gRPC.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Names of services are far shorter than 128 bytes; a longer one needs two bytes for its length.
        message.push(0x0a);
        let length = service.len().min(16_383);
        if length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            message.push((length >> 7) as u8);
        } else {
            message.push(length as u8);
        }
        message.extend_from_slice(&service.as_bytes()[..length]);
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// `HealthCheckResponse { status: SERVING }` with status OK behind it.
async fn is_serving(answer: Response<Incoming>) -> Result<(), String> {
    if !answer.status().is_success() {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let status_of = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let early = status_of(answer.headers());
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    let status = early.or_else(|| body.trailers().and_then(status_of));
    if status.as_deref() != Some("0") {
        return Err(format!("grpc-status {}", status.as_deref().unwrap_or("missing")));
    }
    let bytes = body.to_bytes();
    // Field 1, a varint: 1 is SERVING.
    if bytes.get(5..7) == Some(&[0x08, 0x01]) { Ok(()) } else { Err("not SERVING".to_owned()) }
}
