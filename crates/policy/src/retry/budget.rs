//! The tokens of an upstream's further attempts, shared by all workers.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use mainstay_core::clock::MonoMs;

use super::BudgetPlan;
use crate::sliding::Ring;

/// A token, in the steps in which deposits count.
const TOKEN: u64 = 10_000;

/// Deposits of first attempts, and what trickles in beside them; see the module.
#[derive(Debug)]
pub struct Budget {
    deposit: u32,
    /// Deposits by second.
    deposits: Ring,
    /// Held while a token is put together from several seconds: two that each hold a part would both go away.
    taking: Mutex<()>,
    floor: Option<Floor>,
}

impl Budget {
    pub fn new(plan: BudgetPlan, now: MonoMs) -> Self {
        // A product like 0.29 * 10,000 may come out just below the whole number that is meant.
        let deposit = (plan.ratio * TOKEN as f64 + 1e-6).clamp(0.0, f64::from(1 << 30)) as u32;
        let floor = Floor::new(plan.floor_per_s, now);
        Self { deposit, deposits: Ring::new(), taking: Mutex::new(()), floor }
    }

    /// A request's first attempt.
    pub fn deposit(&self, now: MonoMs) {
        self.deposits.add(second(now), self.deposit);
    }

    /// A token for a further attempt. False: it must not be made.
    pub fn withdraw(&self, now: MonoMs) -> bool {
        self.withdraw_deposit(second(now)) || self.floor.as_ref().is_some_and(|floor| floor.withdraw(now))
    }

    /// Gives back a token whose attempt was not made after all.
    pub fn put_back(&self, now: MonoMs) {
        self.deposits.add(second(now), TOKEN as u32);
    }

    /// Tokens that could be withdrawn, for the admin API.
    pub fn level(&self, now: MonoMs) -> f64 {
        self.deposits.sum(second(now)) as f64 / TOKEN as f64
            + self.floor.as_ref().map_or(0.0, |floor| floor.level(now))
    }

    fn withdraw_deposit(&self, second: u32) -> bool {
        if self.deposits.sum(second) < TOKEN {
            return false;
        }
        let _one_at_a_time = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        self.deposits.sum(second) >= TOKEN && self.deposits.take(second, TOKEN)
    }
}

fn second(now: MonoMs) -> u32 {
    (now.0 / 1_000) as u32
}

/// Tokens that come by themselves, as the time at which the next one is due when the bucket is empty.
#[derive(Debug)]
struct Floor {
    /// Between two tokens; rounded up, so that there are never more of them than was said.
    period_ns: u64,
    /// How long before it is due a token may be taken: as long as the others take that the bucket can hold.
    early_ns: u64,
    due_ns: AtomicU64,
}

impl Floor {
    /// None without a rate.
    fn new(per_s: f64, now: MonoMs) -> Option<Self> {
        let period_ns = (per_s > 0.0).then(|| (1e9 / per_s).ceil().clamp(1.0, 1e18) as u64)?;
        let early_ns = 1_000_000_000_u64.saturating_sub(period_ns);
        // One token is there, not all that the bucket can hold.
        let due_ns = AtomicU64::new(nanoseconds(now).saturating_add(early_ns));
        Some(Self { period_ns, early_ns, due_ns })
    }

    fn withdraw(&self, now: MonoMs) -> bool {
        let now_ns = nanoseconds(now);
        let next_ns = |due_ns: u64| due_ns.max(now_ns).saturating_add(self.period_ns);
        let take = |due_ns| (due_ns <= now_ns.saturating_add(self.early_ns)).then(|| next_ns(due_ns));
        self.due_ns.try_update(Relaxed, Relaxed, take).is_ok()
    }

    fn level(&self, now: MonoMs) -> f64 {
        let (now_ns, due_ns) = (nanoseconds(now), self.due_ns.load(Relaxed));
        let kept_ns =
            now_ns.saturating_add(self.early_ns + self.period_ns).saturating_sub(due_ns.max(now_ns));
        kept_ns as f64 / self.period_ns as f64
    }
}

/// 584 years of them fit.
fn nanoseconds(now: MonoMs) -> u64 {
    now.0.saturating_mul(1_000_000)
}
