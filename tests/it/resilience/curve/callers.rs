//! Callers that know nothing of one another: each asks when its time has come, whatever became of those before.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::setup::GUARD;

/// Addresses that requests come from in turn, so that the half of the queue that one caller may have is nobody's limit.
const ADDRESSES: usize = 16;
/// The operations that are asked for: each class of priority has one.
pub(super) const CLASSES: [&str; 3] = ["critical", "normal", "low"];

/// A request and what became of it.
pub(super) struct Asked {
    /// Its place among all requests, which its path carries to the upstream.
    pub(super) number: usize,
    pub(super) class: &'static str,
    /// When it was to be sent.
    pub(super) due: Instant,
    /// From then to the end of the answer.
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// Of a problem, else empty.
    pub(super) code: String,
    pub(super) retry_after: Option<u64>,
    /// Whether it was the last on its connection.
    closes: bool,
}

/// A load that was put on.
pub(super) struct Load {
    /// When requests were due.
    pub(super) span: Range<Instant>,
    /// How late the latest were sent, but for a hundredth.
    pub(super) late_p99: Duration,
}

/// Idle connections by address.
type Idle = Arc<[Mutex<Vec<Connection>>; ADDRESSES]>;

pub(super) struct Callers {
    engine: SocketAddr,
    random: Rng,
    idle: Idle,
    running: JoinSet<Asked>,
    next: usize,
}

impl Callers {
    pub(super) fn new(engine: SocketAddr, seed: u64) -> Self {
        let idle = Arc::new(std::array::from_fn(|_| Mutex::default()));
        Self { engine, random: Rng::with_seed(seed), idle, running: JoinSet::new(), next: 0 }
    }

    /// Sends so many critical requests a second and so many others, for that long.
    pub(super) async fn load(&mut self, critical: f64, others: f64, length: Duration) -> Load {
        let schedule = schedule(&mut self.random, critical, others, length);
        let began = Instant::now();
        let mut late = Vec::with_capacity(schedule.len());
        for (after, class) in schedule {
            let due = began + after;
            sleep_until(due).await;
            late.push(due.elapsed());
            self.ask(due, class);
        }
        sleep_until(began + length).await;
        Load { span: began..began + length, late_p99: quantile(&mut late, 0.99) }
    }

    fn ask(&mut self, due: Instant, class: &'static str) {
        let (number, engine, idle) = (self.next, self.engine, Arc::clone(&self.idle));
        self.next += 1;
        self.running.spawn(async move {
            let place = number % ADDRESSES;
            let kept = idle[place].lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open([127, 0, 0, 1 + place as u8], engine).await,
            };
            let asked = timeout(GUARD, connection.get(&format!("/v1/{class}/{number}"))).await;
            let answer = asked.unwrap_or_else(|_| panic!("no answer to {class} {number}"));
            if !answer.closes {
                idle[place].lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            Asked { number, class, due, took: due.elapsed(), answer }
        });
    }

    /// Waits for all answers, and closes the connections. Gives their number too.
    pub(super) async fn end(self) -> (Vec<Asked>, usize) {
        let asked = self.running.join_all().await;
        let idle = self.idle.iter().map(|idle| idle.lock().unwrap_or_else(PoisonError::into_inner).len());
        (asked, idle.sum())
    }
}

/// When requests are due, and of which class. Their rates are constant: of each there is one in every interval of its
/// length, at a moment of it that chance has chosen.
fn schedule(random: &mut Rng, critical: f64, others: f64, length: Duration) -> Vec<(Duration, &'static str)> {
    let mut all = Vec::new();
    for (per_second, classes) in [(critical, &CLASSES[..1]), (others, &CLASSES[1..])] {
        for n in 0..(per_second * length.as_secs_f64()) as usize {
            let due = Duration::from_secs_f64((n as f64 + random.f64()) / per_second);
            all.push((due, classes[random.usize(..classes.len())]));
        }
    }
    all.sort_unstable();
    all
}

/// What so large a share of them is not above.
pub(super) fn quantile(of: &mut [Duration], share: f64) -> Duration {
    of.sort_unstable();
    let last = of.len().saturating_sub(1);
    of.get((last as f64 * share) as usize).copied().unwrap_or_default()
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    /// What was read of the answer.
    read: Vec<u8>,
}

impl Connection {
    async fn open(from: [u8; 4], engine: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = socket.connect(engine).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// An answer whose length is declared.
    async fn get(&mut self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await;
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length: usize = field("content-length").expect("a length").parse().unwrap();
        while self.read.len() < head_end + length {
            self.read_more().await;
        }
        let body: Option<serde_json::Value> = serde_json::from_slice(&self.read[head_end..]).ok();
        let code = body.as_ref().and_then(|body| body["code"].as_str());
        let answer = Answer {
            status: head[9..12].parse().unwrap(),
            code: code.unwrap_or_default().to_owned(),
            retry_after: field("retry-after").and_then(|seconds| seconds.parse().ok()),
            closes: field("connection") == Some("close"),
        };
        self.read.clear();
        answer
    }

    async fn read_more(&mut self) {
        assert_ne!(self.stream.read_buf(&mut self.read).await.unwrap(), 0, "it ends within an answer");
    }
}
