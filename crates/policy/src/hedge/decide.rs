//! One slow request.

use mainstay_core::clock::MonoMs;

use super::{After, HedgePlan};
use crate::deadline::Recent;
use crate::retry::{Budget, BudgetPlan};

/// How many hedges an upstream still gets; shared by all workers.
#[derive(Debug)]
pub struct Hedge {
    after: After,
    /// Deposits of requests and their expiry are the same thing as those of retries.
    allowed: Budget,
}

impl Hedge {
    pub fn new(plan: HedgePlan, now: MonoMs) -> Self {
        let allowed = Budget::new(BudgetPlan { ratio: plan.max_ratio, floor_per_s: 0.0 }, now);
        Self { after: plan.after, allowed }
    }

    /// How long to wait for the first attempt; `None`: too little is known.
    pub fn after_us(&self, recent: &Recent, now: MonoMs) -> Option<u64> {
        match self.after {
            After::P95 => recent.p95_us(now),
            After::Ms(ms) => Some(ms.saturating_mul(1000)),
        }
    }

    /// A request's first attempt, hedged or not.
    pub fn request(&self, now: MonoMs) {
        self.allowed.deposit(now);
    }

    /// Whether there may be one more hedge now; it counts as made.
    pub fn may(&self, now: MonoMs) -> bool {
        self.allowed.withdraw(now)
    }
}
