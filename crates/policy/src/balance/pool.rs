//! The endpoints of an upstream, and the choice of one of them.

use std::sync::{Arc, Mutex};

use mainstay_core::clock::MonoMs;

use super::round_robin::Turns;
use super::{Balance, EndpointState, Health, PoolPlan};

/// The endpoints of an upstream and how they share its requests. A reload makes a new one, of the same endpoints.
#[derive(Debug)]
pub struct Pool {
    pub(super) plan: PoolPlan,
    pub(super) endpoints: Vec<Arc<EndpointState>>,
    /// Fewer healthy ones than this is panic.
    healthy_min: usize,
    turns: Turns,
    /// What each endpoint draws its numbers from, for [`Balance::Hash`].
    pub(super) seeds: Box<[u64]>,
    /// Ejections, one after the other.
    pub(super) ejecting: Mutex<()>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which endpoint of the pool.
    pub index: usize,
    /// Health was ignored: too few endpoints are healthy, or only ejected ones are left.
    pub panic: bool,
}

impl Pool {
    /// Prepares the choice among these.
    pub fn new(plan: PoolPlan, endpoints: Vec<Arc<EndpointState>>) -> Self {
        let count = endpoints.len();
        let enough = |healthy: &usize| *healthy as f64 / count as f64 >= plan.panic_below;
        let healthy_min = (0..count).find(enough).unwrap_or(count);
        let turns = match plan.balance {
            Balance::RoundRobin => Turns::new(&endpoints.iter().map(|e| e.weight()).collect::<Vec<_>>()),
            Balance::LeastLoaded | Balance::Hash => Turns::default(),
        };
        let seeds = endpoints.iter().enumerate().map(|(index, endpoint)| match endpoint.identity() {
            0 => index as u64 + 1,
            identity => identity,
        });
        let seeds = seeds.collect();
        Self { plan, endpoints, healthy_min, turns, seeds, ejecting: Mutex::new(()) }
    }

    /// As it was given.
    pub fn plan(&self) -> &PoolPlan {
        &self.plan
    }

    /// As they were given.
    pub fn endpoints(&self) -> &[Arc<EndpointState>] {
        &self.endpoints
    }

    /// How many are healthy.
    pub fn healthy(&self, now: MonoMs) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.health(now) == Health::Healthy).count()
    }

    /// True when so few are healthy that health is ignored.
    pub fn is_in_panic(&self, now: MonoMs) -> bool {
        self.healthy(now) < self.healthy_min
    }

    /// The endpoint for a request. `random` are fresh random bits, `hash` is what [`Balance::Hash`] goes by, and bit `i` of
    /// `tried` says that this request has been at endpoint `i` (of 64; later ones always count as untried).
    pub fn pick(&self, now: MonoMs, random: u64, hash: Option<u64>, tried: u64) -> Option<Choice> {
        let eligible = self.survey(now, tried)?;
        let index = match self.plan.balance {
            _ if eligible.count == 1 => eligible.nth(0),
            Balance::LeastLoaded => eligible.least_loaded(random),
            Balance::RoundRobin => self.turns.take(&eligible, random),
            Balance::Hash => eligible.rendezvous(hash.unwrap_or(random)),
        };
        Some(Choice { index, panic: eligible.worst != Health::Healthy })
    }

    /// Counts once, and says who is eligible.
    fn survey(&self, now: MonoMs, tried: u64) -> Option<Eligible<'_>> {
        // By health, and by whether this request has been there.
        let mut counts = [[0_usize; 2]; 3];
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            counts[rank(endpoint.health(now))][usize::from(was_tried(tried, index))] += 1;
        }
        let [healthy, ejected, unhealthy] = counts.map(|[untried, tried]| untried + tried);
        let worst = if healthy < self.healthy_min {
            Health::Unhealthy
        } else if healthy > 0 {
            Health::Healthy
        } else if ejected > 0 {
            Health::Ejected
        } else {
            return None;
        };
        let all = [healthy, ejected, unhealthy];
        let count: usize = all[..=rank(worst)].iter().sum();
        let untried: usize = counts[..=rank(worst)].iter().map(|[untried, _]| untried).sum();
        let eligible = Eligible { pool: self, now, tried, worst, untried_only: untried > 0, count };
        Some(if untried > 0 { Eligible { count: untried, ..eligible } } else { eligible })
    }
}

/// Who may get a request.
pub(super) struct Eligible<'a> {
    pub(super) pool: &'a Pool,
    pub(super) now: MonoMs,
    tried: u64,
    /// The worst health that is let in.
    worst: Health,
    untried_only: bool,
    /// How many there are, at least 1.
    pub(super) count: usize,
}

impl Eligible<'_> {
    /// True when every endpoint of the pool is eligible.
    #[inline]
    pub(super) fn is_everybody(&self) -> bool {
        self.count == self.pool.endpoints.len()
    }

    /// True when this one is.
    #[inline]
    pub(super) fn has(&self, index: usize) -> bool {
        let is_fresh = !self.untried_only || !was_tried(self.tried, index);
        is_fresh && rank(self.pool.endpoints[index].health(self.now)) <= rank(self.worst)
    }

    /// All of them.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.pool.endpoints.len()).filter(|index| self.has(*index))
    }

    /// The one with this number, from 0 to below `count`.
    #[inline]
    pub(super) fn nth(&self, number: usize) -> usize {
        if self.is_everybody() {
            return number;
        }
        // Others change health meanwhile: there may be fewer than were counted, or nobody.
        self.indices().take(number + 1).last().unwrap_or(number)
    }

    /// How much of its usual share an endpoint gets now.
    #[inline]
    pub(super) fn slow_start_factor(&self, index: usize) -> f64 {
        // In panic everybody is needed.
        if self.worst != Health::Healthy {
            return 1.0;
        }
        self.pool.endpoints[index].slow_start_factor(self.now, self.pool.plan.slow_start_ms)
    }
}

#[inline]
fn was_tried(tried: u64, index: usize) -> bool {
    index < 64 && tried >> index & 1 == 1
}

/// From best to worst.
#[inline]
fn rank(health: Health) -> usize {
    match health {
        Health::Healthy => 0,
        Health::Ejected => 1,
        Health::Unhealthy => 2,
    }
}
