//! What is configured for an upstream when things go wrong: each policy's plan, and its live state beside it.
//!
//! The state is shared by all workers. A reload that leaves a plan as it is keeps its state.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use mainstay_policy::breaker::{Breaker, BreakerPlan};
use mainstay_policy::deadline::Recent;
use mainstay_policy::hedge::{Hedge, HedgePlan};
use mainstay_policy::retry::{Budget, BudgetPlan, Cause, RetryPlan};
use mainstay_policy::shed::{Gate, Rate, ShedPlan};
use mainstay_telemetry::Counter;
use rustc_hash::FxHashMap;

use super::health::HealthPlan;
use super::shed::Waiter;

/// All of them. `None`: off.
pub struct Policies {
    /// When a request is sent again.
    pub retry: Option<RetryLive>,
    /// How many further attempts there may be: retries, fallbacks, and what is sent again because a pooled connection had died,
    /// which is so without retries, too.
    pub budget: BudgetLive,
    /// Longest body that is kept to be sent again, here or to another upstream; 0: nobody would.
    pub replay_bytes_max: usize,
    /// When nothing is sent at all.
    pub breaker: Option<BreakerLive>,
    /// When a second attempt is made beside a slow one.
    pub hedge: Option<HedgeLive>,
    /// How many requests there may be at once.
    pub shed: Option<Arc<ShedLive>>,
    /// How many attempts there may be in a second.
    pub rate: Option<RateLive>,
    /// How its endpoints are asked whether they would serve.
    pub health: Option<HealthPlan>,
    /// What is tried when nothing else helps, in this order.
    pub fallback: Vec<Fallback>,
    /// A key that this upstream honours is honoured by that one too, with the same memory; its index.
    pub shares_idempotency_with: Option<usize>,
    /// Cells.
    pub metrics: PolicyMetrics,
}

/// Retries.
pub struct RetryLive {
    /// When.
    pub plan: RetryPlan,
}

/// The budget of further attempts.
pub struct BudgetLive {
    /// What it is made of.
    pub plan: BudgetPlan,
    /// How many more.
    pub budget: Arc<Budget>,
}

/// The circuit breaker, of the upstream or of each operation at it.
pub struct BreakerLive {
    /// When it opens.
    pub plan: BreakerPlan,
    /// Who has one.
    pub scope: BreakerScope,
}

/// Who has a breaker.
pub enum BreakerScope {
    /// The upstream.
    Upstream(Arc<Breaker>),
    /// Each operation, by [`crate::plan::ForwardPlan::operation`]; its name is what a reload finds it by.
    Operation(FxHashMap<usize, (Arc<str>, Arc<Breaker>)>),
}

impl BreakerLive {
    /// True when each operation has one of its own.
    pub fn is_per_operation(&self) -> bool {
        matches!(self.scope, BreakerScope::Operation(_))
    }

    /// The breaker for an operation.
    pub fn of(&self, operation: usize) -> Option<&Arc<Breaker>> {
        match &self.scope {
            BreakerScope::Upstream(breaker) => Some(breaker),
            BreakerScope::Operation(breakers) => breakers.get(&operation).map(|(_, breaker)| breaker),
        }
    }
}

/// Hedging.
pub struct HedgeLive {
    /// When.
    pub plan: HedgePlan,
    /// How often.
    pub state: Arc<Hedge>,
    /// How long answers of the upstream took.
    pub recent: Arc<Recent>,
}

/// The limit of requests at once, and the queue for a place.
pub struct ShedLive {
    /// How many, and how long a queue.
    pub plan: ShedPlan,
    /// Longest wait.
    pub queue_wait: Duration,
    /// Who is in, and who waits.
    pub gate: Gate<Waiter>,
}

/// `rate_max`.
pub struct RateLive {
    /// Attempts in a second.
    pub per_second: f64,
    /// Longest wait for a turn.
    pub wait_max: Duration,
    /// Whose turn it is.
    pub rate: Arc<Rate>,
}

/// What keeps requests together at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The value of a header field.
    Header(HeaderName),
    /// A parameter of the path; where it stands is in the operation's plan.
    PathSegment,
    /// Who calls.
    Caller,
}

/// What is tried when nothing else helps.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// An answer from the cache that is too old. There is no cache yet.
    Stale,
    /// Another upstream, by its index.
    Upstream(usize),
    /// An answer that the operator has written.
    Respond(Respond),
}

/// An answer that the operator has written.
#[derive(Clone, Debug)]
pub struct Respond {
    /// Only if nothing was sent.
    pub when_undelivered: bool,
    /// Its status.
    pub status: StatusCode,
    /// Its `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// Its body, JSON.
    pub body: bytes::Bytes,
}

/// Cells of an upstream's policies.
#[derive(Clone)]
pub struct PolicyMetrics {
    /// Further attempts, in the order of [`CAUSES`].
    pub retries: [Counter; 8],
    /// Second attempts beside a slow first one.
    pub hedges: Counter,
    /// Second attempts that answered first.
    pub hedges_won: Counter,
    /// Refused because the queue was full.
    pub shed_full: Counter,
    /// Refused because no place became free in time.
    pub shed_wait: Counter,
    /// Refused because of `rate_max`.
    pub shed_rate: Counter,
    /// Answered by another upstream.
    pub degraded_upstream: Counter,
    /// Answered with what the operator has written.
    pub degraded_respond: Counter,
}

/// Labels of [`PolicyMetrics::retries`].
pub const CAUSES: [&str; 8] =
    ["connect", "unprocessed", "reset", "timeout", "malformed", "502", "503", "504"];

fn cause_index(cause: Cause) -> usize {
    match cause {
        Cause::Connect => 0,
        Cause::Unprocessed => 1,
        Cause::Reset => 2,
        Cause::Timeout => 3,
        Cause::Malformed => 4,
        Cause::Status(502) => 5,
        Cause::Status(503) => 6,
        Cause::Status(_) => 7,
    }
}

impl PolicyMetrics {
    /// The cell of further attempts for this cause.
    pub fn retries(&self, cause: Cause) -> Counter {
        self.retries[cause_index(cause)]
    }
}
