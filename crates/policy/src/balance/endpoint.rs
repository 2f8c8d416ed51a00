//! What all workers know together about one endpoint.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::clock::MonoMs;

use super::EjectPlan;
use super::latency::PeakEwma;

/// What is thought of an endpoint; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It gets requests.
    Healthy,
    /// Requests to it failed; it is left out for a while.
    Ejected,
    /// Active checks say so, whatever requests say.
    Unhealthy,
}

/// Something to log and to count. Each happens once, and is reported to one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Failures in a row: left out for so long.
    Ejected {
        /// The time drawn, chance included.
        for_ms: u64,
    },
    /// The time of an ejection is over.
    Returned,
    /// Failed checks in a row.
    BecameUnhealthy,
    /// Good checks in a row.
    BecameHealthy,
}

/// One endpoint, shared by all workers and by every pool that names it: it survives a reload that keeps the endpoint.
#[derive(Debug)]
pub struct EndpointState {
    weight: u32,
    identity: u64,
    verdict: Verdict,
    /// Written with each request, so on a cache line that readers of the verdict do not share.
    traffic: Traffic,
}

/// Read with each request, written when something changes.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Verdict {
    /// [`UNHEALTHY`], and below it the millisecond in which an ejection ends (0: none). Written under `history`.
    out: AtomicU64,
    /// When it became healthy: slow start counts from here. 0: it has always been.
    since_ms: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// When the last of them was.
    failed_ms: AtomicU64,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Traffic {
    in_flight: AtomicU32,
    latency: PeakEwma,
}

/// What only rare transitions need.
#[derive(Debug, Default)]
struct History {
    /// How many times the time of the next ejection is doubled.
    doublings: u32,
    checks_good: u32,
    checks_bad: u32,
}

const UNHEALTHY: u64 = 1 << 63;

/// From here on, further failures make an endpoint no less attractive.
const FAILURES_WEIGHED_MAX: u32 = 10;
/// After so long without another one, a failure is forgiven where the load is compared.
const FAILURE_FADES_MS: u64 = 1_000;

/// The share that a slow start begins with.
const SLOW_START_FIRST: f64 = 0.1;

impl EndpointState {
    /// An endpoint that has no identity but its place in the pool. A weight of 0 counts as 1.
    pub fn new(weight: u32) -> Self {
        Self::identified(weight, 0)
    }

    /// With an identity (a hash of its address, not 0): with [`super::Balance::Hash`], keys stay with an endpoint
    /// although others before it in the list come and go.
    pub fn identified(weight: u32, identity: u64) -> Self {
        Self { weight: weight.max(1), identity, verdict: Verdict::default(), traffic: Traffic::default() }
    }

    /// It joins a pool that serves already, so it starts slowly. Not for the endpoints of a new pool: all of them equally
    /// slow are none of them slow.
    pub fn joined(&self, now: MonoMs) {
        self.verdict.since_ms.store(now.0.max(1), Ordering::Relaxed);
    }

    /// A request is about to be sent. Each call is followed by one of [`EndpointState::end`].
    pub fn begin(&self) {
        self.traffic.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// That request is over, however it ended.
    pub fn end(&self) {
        let before = self.traffic.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "an end without a begin");
    }

    /// How long an answer took, or a failure that was slow (a timeout). Never a fast failure: what refuses at once would
    /// look like the best endpoint of all.
    pub fn observe(&self, us: u64, now: MonoMs) {
        self.traffic.latency.observe(us, now);
    }

    /// It answered well: failures are counted from the start. Also reports the end of an ejection, once.
    pub fn answered(&self, now: MonoMs) -> Option<Change> {
        // Nearly always a read of a line that nobody writes.
        if self.verdict.failures.load(Ordering::Relaxed) != 0 {
            self.verdict.failures.store(0, Ordering::Relaxed);
        }
        self.returned(now)
    }

    /// Reports the end of an ejection, once. The endpoint gets requests again without this call; it is for who logs and
    /// counts, now and then.
    pub fn returned(&self, now: MonoMs) -> Option<Change> {
        if !is_over(self.verdict.out.load(Ordering::Relaxed), now) {
            return None;
        }
        let _history = self.history();
        let out = self.verdict.out.load(Ordering::Relaxed);
        if !is_over(out, now) {
            return None;
        }
        self.verdict.out.store(out & UNHEALTHY, Ordering::Release);
        Some(Change::Returned)
    }

    /// The result of an active check.
    pub fn checked(&self, ok: bool, healthy_after: u32, unhealthy_after: u32, now: MonoMs) -> Option<Change> {
        let mut history = self.history();
        if ok {
            history.checks_bad = 0;
            history.checks_good = history.checks_good.saturating_add(1);
        } else {
            history.checks_good = 0;
            history.checks_bad = history.checks_bad.saturating_add(1);
        }
        let out = self.verdict.out.load(Ordering::Relaxed);
        let is_unhealthy = out & UNHEALTHY != 0;
        if is_unhealthy && history.checks_good >= healthy_after.max(1) {
            self.become_healthy(out, now);
            return Some(Change::BecameHealthy);
        }
        if !is_unhealthy && history.checks_bad >= unhealthy_after.max(1) {
            self.verdict.out.store(out | UNHEALTHY, Ordering::Release);
            return Some(Change::BecameUnhealthy);
        }
        None
    }

    /// Active checks were switched off, so what they said holds no longer.
    pub fn unchecked(&self, now: MonoMs) -> Option<Change> {
        let mut history = self.history();
        (history.checks_good, history.checks_bad) = (0, 0);
        let out = self.verdict.out.load(Ordering::Relaxed);
        if out & UNHEALTHY == 0 {
            return None;
        }
        self.become_healthy(out, now);
        Some(Change::BecameHealthy)
    }

    /// Under the lock. An ejection goes on: checks say that it lives, not that its answers are good.
    fn become_healthy(&self, out: u64, now: MonoMs) {
        let until_ms = out & !UNHEALTHY;
        self.verdict.since_ms.store(until_ms.max(now.0).max(1), Ordering::Relaxed);
        self.verdict.failures.store(0, Ordering::Relaxed);
        self.verdict.out.store(until_ms, Ordering::Release);
    }

    /// What is thought of it now.
    #[inline]
    pub fn health(&self, now: MonoMs) -> Health {
        let out = self.verdict.out.load(Ordering::Acquire);
        if out <= now.0 {
            Health::Healthy
        } else if out & UNHEALTHY != 0 {
            Health::Unhealthy
        } else {
            Health::Ejected
        }
    }

    /// Milliseconds until an ejection ends; `None` when it is not ejected.
    pub fn ejected_for_ms(&self, now: MonoMs) -> Option<u64> {
        let until_ms = self.verdict.out.load(Ordering::Relaxed) & !UNHEALTHY;
        (until_ms > now.0).then(|| until_ms - now.0)
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u32 {
        self.traffic.in_flight.load(Ordering::Relaxed)
    }

    /// The peak EWMA as of the last sample; `None` before the first.
    pub fn ewma_us(&self) -> Option<u64> {
        self.traffic.latency.last_us()
    }

    /// The same, decayed until now.
    #[inline]
    pub(super) fn latency_us(&self, now: MonoMs) -> Option<f64> {
        self.traffic.latency.at(now)
    }

    /// Its share in relation to the others.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.verdict.failures.load(Ordering::Relaxed)
    }

    /// By how much failures in a row make it look busier. Half as much with every second that goes by: whoever is never asked
    /// cannot show that it works again.
    #[inline]
    pub(super) fn failure_factor(&self, now: MonoMs) -> f64 {
        let failures = self.failures().min(FAILURES_WEIGHED_MAX);
        if failures == 0 {
            return 1.0;
        }
        let age_ms = now.0.saturating_sub(self.verdict.failed_ms.load(Ordering::Relaxed));
        let faded = u32::try_from(age_ms / FAILURE_FADES_MS).unwrap_or(u32::MAX);
        f64::from(1_u32 << failures.saturating_sub(faded))
    }

    /// From a tenth to 1: how much of its usual share it gets.
    #[inline]
    pub(super) fn slow_start_factor(&self, now: MonoMs, slow_start_ms: u64) -> f64 {
        if slow_start_ms == 0 {
            return 1.0;
        }
        let since_ms = self.verdict.since_ms.load(Ordering::Relaxed);
        let age_ms = now.0.saturating_sub(since_ms);
        if since_ms == 0 || age_ms >= slow_start_ms {
            return 1.0;
        }
        SLOW_START_FIRST + (1.0 - SLOW_START_FIRST) * (age_ms as f64 / slow_start_ms as f64)
    }

    /// Counts a failure, and says how many there were in a row.
    pub(super) fn count_failure(&self, now: MonoMs) -> u32 {
        self.verdict.failed_ms.store(now.0, Ordering::Relaxed);
        self.verdict.failures.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Leaves it out from now on, and says for how long.
    pub(super) fn eject(&self, plan: &EjectPlan, now: MonoMs, jitter: f64) -> u64 {
        let mut history = self.history();
        let since_ms = self.verdict.since_ms.load(Ordering::Relaxed);
        history.forgive(plan, now.0.saturating_sub(since_ms));
        let time_ms = eject_time_ms(plan, history.doublings);
        if time_ms < plan.time_max_ms {
            history.doublings += 1;
        }
        let for_ms = time_ms.saturating_add((time_ms as f64 * 0.1 * jitter.clamp(0.0, 1.0)) as u64).max(1);
        let until_ms = now.0.saturating_add(for_ms) & !UNHEALTHY;
        let unhealthy = self.verdict.out.load(Ordering::Relaxed) & UNHEALTHY;
        self.verdict.since_ms.store(until_ms, Ordering::Relaxed);
        self.verdict.failures.store(0, Ordering::Relaxed);
        self.verdict.out.store(unhealthy | until_ms, Ordering::Release);
        for_ms
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.verdict.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Goes back a step for each time that it was healthy for as long as the ejection of that step takes.
    fn forgive(&mut self, plan: &EjectPlan, mut healthy_ms: u64) {
        while self.doublings > 0 {
            let step_ms = eject_time_ms(plan, self.doublings - 1).max(1);
            if healthy_ms < step_ms {
                break;
            }
            healthy_ms -= step_ms;
            self.doublings -= 1;
        }
    }
}

/// Without the part of chance.
fn eject_time_ms(plan: &EjectPlan, doublings: u32) -> u64 {
    plan.time_ms.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX)).min(plan.time_max_ms)
}

/// There was an ejection, and its time has come.
fn is_over(out: u64, now: MonoMs) -> bool {
    let until_ms = out & !UNHEALTHY;
    until_ms != 0 && until_ms <= now.0
}
