//! When failures of requests leave an endpoint out.

use std::sync::PoisonError;

use mainstay_core::clock::MonoMs;

use super::{Change, EjectPlan, Health, Pool};

/// A share that was computed as a fraction still reaches its whole number.
const ROUNDING: f64 = 1e-9;

impl Pool {
    /// A request to this endpoint failed in a way that speaks against the endpoint.
    pub fn failed(&self, index: usize, now: MonoMs, jitter: f64) -> Option<Change> {
        let endpoint = self.endpoints.get(index)?;
        if endpoint.health(now) != Health::Healthy {
            return None;
        }
        let failures = endpoint.count_failure(now);
        let plan = self.plan.eject.as_ref()?;
        // Where the pool allows no ejection, it is asked again only after as many failures.
        if !failures.is_multiple_of(plan.consecutive_failures.max(1)) {
            return None;
        }
        self.eject(plan, index, now, jitter)
    }

    fn eject(&self, plan: &EjectPlan, index: usize, now: MonoMs, jitter: f64) -> Option<Change> {
        // Two threads must not each eject one of the last two.
        let _one_at_a_time = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = &self.endpoints[index];
        // Another thread may have been faster.
        let is_healthy = endpoint.health(now) == Health::Healthy;
        let allowed = is_healthy && self.may_eject(plan, index, now);
        allowed.then(|| Change::Ejected { for_ms: endpoint.eject(plan, now, jitter) })
    }

    fn may_eject(&self, plan: &EjectPlan, index: usize, now: MonoMs) -> bool {
        if plan.share_max <= 0.0 {
            return false;
        }
        let others = self.endpoints.iter().enumerate().filter(|(other, _)| *other != index);
        let (mut healthy, mut ejected) = (0_usize, 0_usize);
        for (_, other) in others {
            // One that is unhealthy and ejected is no loss to the pool by ejection.
            match other.health(now) {
                Health::Healthy => healthy += 1,
                Health::Ejected => ejected += 1,
                Health::Unhealthy => {}
            }
        }
        let share_kept = (ejected + 1) as f64 <= plan.share_max * self.endpoints.len() as f64 + ROUNDING;
        let first_of_few = ejected == 0 && self.endpoints.len() <= 3;
        healthy > 0 && (share_kept || first_of_few)
    }
}
