//! What keeps answers coming when an upstream fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `upstreams.*.balance`: which endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// The better of two at random, by latency and requests in flight.
    LeastLoaded,
    RoundRobin,
    /// By the value of this request header, in lower case.
    HashHeader(String),
    /// By the value of this parameter of the path.
    HashPath(String),
    /// By consumer; by client address until there are consumers.
    HashConsumer,
}

/// `upstreams.*.retries`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retries {
    /// 1 to 10, the first included.
    pub attempts_max: u32,
    pub on: RetryOn,
    pub backoff_base: Duration,
    /// At least the base.
    pub backoff_max: Duration,
    /// What a first attempt deposits, 0 to 1; a further one takes 1.
    pub budget_ratio: f64,
    /// Further attempts a second that are always allowed, from 0.
    pub budget_floor: f64,
    /// Bytes of a request body that are kept for a further attempt, up to 16 MiB.
    pub replay_body: usize,
    /// The upstream does a thing once that comes twice with one idempotency key.
    pub honours_idempotency_key: bool,
}

/// `upstreams.*.retries.on`: after which failures another attempt is made. At least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOn {
    pub connect: bool,
    pub reset: bool,
    /// 502
    pub bad_gateway: bool,
    /// 503
    pub unavailable: bool,
    /// 504
    pub gateway_timeout: bool,
}

/// `upstreams.*.hedge`: a second attempt beside a slow first one, for safe methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hedge {
    pub after: HedgeAfter,
    /// Above 0, to 1: hedges for each request.
    pub max_ratio: f64,
}

/// `upstreams.*.hedge.after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HedgeAfter {
    /// What 95 of 100 recent requests took.
    P95,
    After(Duration),
}

/// `upstreams.*.breaker`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    pub window: Duration,
    /// Calls in the window below which nothing is concluded, at least 1.
    pub requests_min: u32,
    /// Above 0, to 1.
    pub failure_ratio: f64,
    /// What counts as slow; `None`: nothing does.
    pub slow_call: Option<Duration>,
    /// Above 0, to 1.
    pub slow_ratio: f64,
    pub open: Duration,
    /// At least `open`.
    pub open_max: Duration,
    /// At least 1.
    pub probes: u32,
    pub scope: BreakerScope,
}

/// `upstreams.*.breaker.scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakerScope {
    Upstream,
    /// Each operation has one of its own.
    Operation,
}

/// `upstreams.*.eject`: an endpoint that fails is left out for a while, but never the last healthy one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eject {
    /// At least 1.
    pub consecutive_failures: u32,
    pub time: Duration,
    /// At least `time`.
    pub time_max: Duration,
    /// 0 to 1: how many of the endpoints may be left out at once.
    pub share_max: f64,
}

/// `upstreams.*.health`: endpoints are asked how they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub probe: HealthProbe,
    pub interval: Duration,
    /// Shorter than `interval`.
    pub timeout: Duration,
    /// At least 1.
    pub healthy_after: u32,
    /// At least 1.
    pub unhealthy_after: u32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthProbe {
    Http {
        /// With its query, where it has one; ready to be sent.
        path: String,
        /// Ranges of good answers, both ends included. At least one, each within 200 to 599.
        statuses: Vec<(u16, u16)>,
    },
    /// `grpc.health.v1.Health/Check`. The upstream speaks HTTP/2.
    Grpc {
        /// Empty: the server as a whole.
        service: String,
    },
    /// Whether a connection stands, with TLS where the endpoint has it.
    Tcp,
}

/// `upstreams.*.concurrency`: how much is sent at once, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    pub limit: ConcurrencyLimit,
    /// What an adaptive limit never exceeds; at least a fixed one.
    pub max: u32,
    /// How many may wait; 0: nobody.
    pub queue: u32,
    pub queue_wait: Duration,
}

/// `upstreams.*.concurrency.limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConcurrencyLimit {
    /// Found from latencies.
    Adaptive,
    /// At least 1.
    Fixed(u32),
}

/// An entry of `upstreams.*.fallback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fallback {
    /// An old answer. Does nothing until there is a cache.
    Stale,
    /// The name of another upstream, which exists; following these never leads back.
    Upstream(String),
    Respond(Respond),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Respond {
    /// Only where nothing was sent, so that it may say that nothing happened; else always.
    pub when_undelivered: bool,
    /// 200 to 599.
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// JSON text; `None`: no content. Never with a status that cannot have any.
    pub body: Option<String>,
}

/// `priority` of an operation: who is refused first when there is too much. From the last to be refused to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

/// `server.limits.memory`: resident memory of the engine above which new requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryLimit {
    /// 90 % of the limit of the control group, where there is one.
    Auto,
    Off,
    Bytes(u64),
}
