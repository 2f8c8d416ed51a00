//! A steady mixture of calls on both versions, so that there is something to look at.
//!
//! The sequence of calls is the same in every run (fixed seed); only the payments they name depend on the answers. The rate
//! does not bend to slow answers: a call that finds all workers busy is skipped and counted, never queued without bound.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Calls at once. Every other worker speaks HTTP/2.
const WORKERS: usize = 16;
/// Calls that wait for one worker.
const QUEUE_PER_WORKER: usize = 4;
const RATE_MAX_PER_S: u32 = 10_000;
/// Of one call, its answer's body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Payments made earlier that later calls may name.
const REMEMBERED_MAX: usize = 64;
const SEED: u64 = 0x7061_796d;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Calls handed to a worker: each was answered or failed.
    pub sent: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Calls without a whole answer: no connection, a reset, or too slow.
    pub failed: u64,
    /// Calls not made because all workers were busy.
    pub skipped: u64,
}

impl Summary {
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.by_status.values().sum()
    }

    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.skipped += other.skipped;
        for (status, count) in &other.by_status {
            *self.by_status.entry(*status).or_insert(0) += count;
        }
    }
}

/// Calls `target` at `rate_per_s` (1 to 10,000) until `stop` says true or its sender is gone, then waits for the answers
/// still due.
pub async fn run(target: SocketAddr, rate_per_s: u32, mut stop: watch::Receiver<bool>) -> Summary {
    let remembered = Arc::new(Remembered::default());
    let mut workers = JoinSet::new();
    let mut queues = Vec::with_capacity(WORKERS);
    for number in 0..WORKERS {
        let (queue, calls) = mpsc::channel(QUEUE_PER_WORKER);
        queues.push(queue);
        let worker =
            Worker { target, is_h2: number % 2 == 1, sender: None, remembered: Arc::clone(&remembered) };
        workers.spawn(worker.work(calls));
    }
    let mut summary = Summary::default();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut ticks = interval(Duration::from_secs(1) / rate_per_s.clamp(1, RATE_MAX_PER_S));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut turn = 0;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let call = Call::next(&mut random, &remembered);
        turn = (turn + 1) % WORKERS;
        if !offer(&queues, turn, call) {
            summary.skipped += 1;
        }
    }
    drop(queues);
    while let Some(done) = workers.join_next().await {
        // A worker that panicked has counted nothing that could be added.
        if let Ok(part) = done {
            summary.merge(&part);
        }
    }
    summary
}

/// Gives the call to the first worker from `turn` on that has room.
fn offer(queues: &[mpsc::Sender<Call>], turn: usize, mut call: Call) -> bool {
    for step in 0..queues.len() {
        match queues[(turn + step) % queues.len()].try_send(call) {
            Ok(()) => return true,
            Err(refused) => call = refused.into_inner(),
        }
    }
    false
}

/// Ids of payments that were made, the oldest forgotten first.
#[derive(Default)]
struct Remembered(Mutex<VecDeque<String>>);

impl Remembered {
    fn add(&self, id: String) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() == REMEMBERED_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
    }

    /// One of them, or a payment every ledger begins with.
    fn any(&self, random: &mut fastrand::Rng) -> String {
        let pick = random.usize(..REMEMBERED_MAX);
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.is_empty() { "pay_000001".to_owned() } else { ids[pick % ids.len()].clone() }
    }
}

/// One call to make.
#[derive(Debug)]
struct Call {
    method: Method,
    path: String,
    body: Option<String>,
    /// Distinguishes this call from all others of the run.
    key: u64,
}

impl Call {
    /// Three quarters reads; more of v2 than of v1; now and then a mistake.
    fn next(random: &mut fastrand::Rng, remembered: &Remembered) -> Self {
        let kind = random.u8(..100);
        let key = random.u64(..);
        let payment = remembered.any(random);
        let account = format!("acc_100{}", random.u8(1..=3));
        let minor = random.i64(100..=5_000);
        let get = |path: String| (Method::GET, path, None);
        let post = |path: String, body: String| (Method::POST, path, Some(body));
        let (method, path, body) = match kind {
            0..12 => get(format!("/v1/payments/{payment}")),
            12..20 => get(format!("/v1/accounts/{account}")),
            20..26 => get("/v1/banks".to_owned()),
            26..30 => get("/v1/payments?limit=5".to_owned()),
            30..48 => get(format!("/v2/payments/{payment}")),
            48..58 => get(format!("/v2/accounts/{account}")),
            58..66 => get("/v2/banks".to_owned()),
            66..72 => get("/v2/payments?limit=5".to_owned()),
            72..74 => get(format!("/v2/payments/{payment}/events?count=2&interval_ms=50")),
            74..79 => post(
                "/v1/payments".to_owned(),
                format!(
                    r#"{{"account":"{account}","amount":{minor},"currency":"ZAR","reference":"traffic"}}"#
                ),
            ),
            79..90 => post("/v2/payments".to_owned(), payment_v2(&account, minor)),
            90..93 => post(format!("/v2/payments/{payment}/refunds"), r#"{"reason":"returned"}"#.to_owned()),
            93..95 => post(format!("/v1/payments/{payment}/refunds"), r#"{"amount":50}"#.to_owned()),
            95..98 => post(format!("/v2/payments/{payment}:cancel"), "{}".to_owned()),
            98 => get("/v2/payments/pay_unknown".to_owned()),
            _ => get("/v2/nowhere".to_owned()),
        };
        Self { method, path, body, key }
    }

    fn request(self, target: SocketAddr, is_h2: bool) -> Option<Request<Full<Bytes>>> {
        let uri = if is_h2 { format!("http://{target}{}", self.path) } else { self.path };
        let mut request = Request::builder().method(self.method).uri(uri);
        if !is_h2 {
            request = request.header(header::HOST, target.to_string());
        }
        request = request.header(header::USER_AGENT, HeaderValue::from_static("payments-traffic"));
        if self.body.is_some() {
            request = request
                .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .header("idempotency-key", format!("traffic-{:016x}", self.key));
        }
        request.body(Full::from(self.body.unwrap_or_default())).ok()
    }
}

fn payment_v2(account: &str, minor: i64) -> String {
    let value = crate::Money { minor, currency: crate::Currency::Zar }.decimal();
    format!(
        r#"{{"source_account":"{account}","amount":{{"value":"{value}","currency":"ZAR"}},"reference":"traffic"}}"#
    )
}

struct Worker {
    target: SocketAddr,
    is_h2: bool,
    sender: Option<Sender>,
    remembered: Arc<Remembered>,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Worker {
    async fn work(mut self, mut calls: mpsc::Receiver<Call>) -> Summary {
        let mut summary = Summary::default();
        while let Some(call) = calls.recv().await {
            summary.sent += 1;
            match timeout(CALL_TIMEOUT, self.call(call)).await {
                Ok(Some(status)) => *summary.by_status.entry(status).or_insert(0) += 1,
                Ok(None) | Err(_) => {
                    summary.failed += 1;
                    // Whatever state the connection is in, the next call gets a new one.
                    self.sender = None;
                }
            }
        }
        summary
    }

    /// The status of a whole answer.
    async fn call(&mut self, call: Call) -> Option<u16> {
        let creates = call.method == Method::POST && call.path.ends_with("/payments");
        let request = call.request(self.target, self.is_h2)?;
        let response = self.connected().await?.send(request).await.ok()?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await.ok()?.to_bytes();
        if creates && status == 201 {
            let id = serde_json::from_slice::<serde_json::Value>(&body).ok();
            if let Some(id) = id.as_ref().and_then(|payment| payment.get("id")?.as_str()) {
                self.remembered.add(id.to_owned());
            }
        }
        Some(status)
    }

    async fn connected(&mut self) -> Option<&mut Sender> {
        let usable = match &mut self.sender {
            // An idle connection that was closed meanwhile is noticed here in most cases.
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.sender = Some(self.connect().await.ok()?);
        }
        self.sender.as_mut()
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.target).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // The connection's task ends with its sender; its error is seen by the call it breaks.
        Ok(if self.is_h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::H1(sender)
        })
    }
}

impl Sender {
    async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::H1(sender) => sender.ready().await,
            Self::H2(sender) => sender.ready().await,
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<Incoming>> {
        match self {
            Self::H1(sender) => sender.send_request(request).await,
            Self::H2(sender) => sender.send_request(request).await,
        }
    }
}
