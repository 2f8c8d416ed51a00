//! One request that has no answer yet.

use std::sync::{Mutex, PoisonError};

use mainstay_core::clock::MonoMs;

use super::{After, HedgePlan};
use crate::deadline::Recent;
use crate::sliding::Ring;

/// The hedges of an upstream, shared by all workers.
pub struct Hedge {
    plan: HedgePlan,
    /// By second.
    requests: Ring,
    hedges: Ring,
    /// Held from the look at the share to the count of a hedge.
    hedging: Mutex<()>,
}

impl Hedge {
    /// `now` is what other machines of an upstream begin with; this one begins with nothing, whenever that is.
    pub fn new(plan: HedgePlan, _now: MonoMs) -> Self {
        Self { plan, requests: Ring::new(), hedges: Ring::new(), hedging: Mutex::new(()) }
    }

    /// How long after the first attempt the second one is due; none if it is not known yet.
    pub fn after_us(&self, recent: &Recent, now: MonoMs) -> Option<u64> {
        match self.plan.after {
            After::P95 => recent.p95_us(now),
            After::Ms(ms) => Some(ms.saturating_mul(1_000)),
        }
    }

    /// A request's first attempt, hedged or not.
    pub fn request(&self, now: MonoMs) {
        self.requests.add(second(now), 1);
    }

    /// Whether a hedge may be sent; it is counted if so.
    pub fn may(&self, now: MonoMs) -> bool {
        let second = second(now);
        if !self.one_more_fits(second) {
            return false;
        }
        let _one_at_a_time = self.hedging.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = self.one_more_fits(second);
        if fits {
            self.hedges.add(second, 1);
        }
        fits
    }

    fn one_more_fits(&self, second: u32) -> bool {
        let (requests, hedges) = (self.requests.sum(second), self.hedges.sum(second));
        // A quotient, for 1 of 20 is exactly what 0.05 is read as.
        requests > 0 && (hedges + 1) as f64 / requests as f64 <= self.plan.max_ratio
    }
}

fn second(now: MonoMs) -> u32 {
    (now.0 / 1_000) as u32
}
