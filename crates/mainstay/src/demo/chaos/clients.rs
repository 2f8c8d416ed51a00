//! The clients of the script: calls at a steady rate, each one with what came of it.
//!
//! The rate does not bend to slow answers, as that of many independent callers does not. Each payment has a reference of its
//! own, so that the books can be asked afterwards how often it was made.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Of one call, with its answer's body. Longer than the engine lets a request take.
const CALL_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Calls at once; beyond it none is begun.
const AT_ONCE_MAX: usize = 512;
/// Client addresses that the calls come from.
const ADDRESSES: u64 = 20;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One payment is looked at: safe.
    Read,
    /// A payment is made: it must not happen twice. Its operation has `priority: critical`.
    Payment,
    /// A list, with `priority: low`: safe.
    Report,
}

impl Kind {
    pub(super) fn is_safe(self) -> bool {
        self != Self::Payment
    }
}

/// How many calls a second, and which ones, in turn.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) per_s: u32,
    pub(super) turns: &'static [Kind],
}

/// One call and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) took: Duration,
    pub(super) ended: Instant,
    /// `None`: no whole answer came.
    pub(super) answer: Option<Answer>,
}

/// What matters of an answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of a problem document.
    pub(super) code: Option<String>,
    pub(super) retry_after_s: Option<u64>,
    /// It says that something else than the upstream gave it.
    pub(super) degraded: bool,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status))
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.degraded)
    }

    /// What went wrong, in a word.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.answer {
            _ if self.is_good() => None,
            None => Some("no whole answer".to_owned()),
            Some(Answer { code: Some(code), .. }) => Some(code.clone()),
            Some(answer) => Some(format!("status {}", answer.status)),
        }
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.code.as_deref() == Some(code))
    }
}

/// The name of a call, as its request id and as the reference of its payment.
pub(super) fn name_of(number: u64) -> String {
    format!("chaos-{number:06}")
}

/// Connections to the engine, and the number of the last call.
pub(super) struct Clients {
    target: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    last: AtomicU64,
}

impl Clients {
    pub(super) fn of(target: SocketAddr) -> Arc<Self> {
        Arc::new(Self { target, idle: Mutex::default(), last: AtomicU64::new(0) })
    }

    async fn call(self: Arc<Self>, kind: Kind, number: u64) -> Outcome {
        let began = Instant::now();
        let answer = timeout(CALL_MAX, self.exchange(kind, number)).await.ok().flatten();
        Outcome { kind, number, took: began.elapsed(), ended: Instant::now(), answer }
    }

    async fn exchange(&self, kind: Kind, number: u64) -> Option<Answer> {
        let mut sender = match self.take_idle() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request(self.target, kind, number)?).await.ok()?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?.to_bytes();
        if sender.ready().await.is_ok() {
            self.idle().push(sender);
        }
        let text = |name: header::HeaderName| text_of(&head.headers, name);
        let is_problem = text(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("problem+json"));
        let problem: Value =
            if is_problem { serde_json::from_slice(&body).unwrap_or_default() } else { Value::Null };
        let proxy_status = text(header::HeaderName::from_static("proxy-status"));
        Some(Answer {
            status: head.status.as_u16(),
            code: problem["code"].as_str().map(str::to_owned),
            retry_after_s: text(header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok()),
            degraded: proxy_status.is_some_and(|status| status.contains("degraded")),
        })
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // Ends with its sender; its error is seen by the call that it breaks.
        tokio::spawn(connection);
        Some(sender)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn request(target: SocketAddr, kind: Kind, number: u64) -> Option<Request<Full<Bytes>>> {
    let (method, path, body) = match kind {
        Kind::Read => (Method::GET, "/v2/payments/pay_000001", String::new()),
        Kind::Report => (Method::GET, "/v2/payments?limit=20", String::new()),
        Kind::Payment => {
            let amount = r#"{"value":"1.00","currency":"ZAR"}"#;
            let reference = name_of(number);
            let body =
                format!(r#"{{"source_account":"acc_1001","amount":{amount},"reference":"{reference}"}}"#);
            (Method::POST, "/v2/payments", body)
        }
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, target.to_string())
        .header("x-request-id", name_of(number))
        // As a load balancer in front would say it: the calls come from many callers.
        .header("x-forwarded-for", format!("192.0.2.{}", number % ADDRESSES + 1));
    if kind == Kind::Payment {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::from(body)).ok()
}

/// Calls that are being made. Dropping it breaks them off.
pub(super) struct Traffic {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    seen: Arc<Mutex<Vec<Outcome>>>,
}

impl Traffic {
    pub(super) fn start(clients: &Arc<Clients>, load: Load) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::default();
        let task = tokio::spawn(send(Arc::clone(clients), load, stopped, Arc::clone(&seen)));
        Self { task, stop, seen }
    }

    /// Looks at what has ended so far.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[Outcome]) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins no further call, and waits for what is under way.
    pub(super) async fn finish(mut self) -> Vec<Outcome> {
        self.stop.send_replace(true);
        // A panic in it has been reported where it happened; what was seen before is still true.
        let _ = (&mut self.task).await;
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(
    clients: Arc<Clients>,
    load: Load,
    mut stopped: watch::Receiver<bool>,
    seen: Arc<Mutex<Vec<Outcome>>>,
) {
    let keep = |outcome| seen.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / load.per_s);
    // A machine that stood still for a moment shall not send all at once what it has missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turns = load.turns.iter().copied().cycle();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            Some(ended) = calls.join_next() => ended.into_iter().for_each(&keep),
            _ = ticks.tick() => {
                if let Some(kind) = turns.next()
                    && calls.len() < AT_ONCE_MAX
                {
                    let number = clients.last.fetch_add(1, Ordering::Relaxed) + 1;
                    calls.spawn(Arc::clone(&clients).call(kind, number));
                }
            }
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended.into_iter().for_each(&keep);
    }
}
