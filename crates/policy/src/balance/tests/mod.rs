//! Who gets a request, who is left out, and for how long.

mod choice;
mod eject;
mod health;
mod latency;
mod shares;

use std::sync::Arc;

use mainstay_core::clock::MonoMs;
use mainstay_core::random::Random;

use super::{Balance, Change, EjectPlan, EndpointState, Health, Pool, PoolPlan};

/// Any time will do, but not 0.
const START: MonoMs = MonoMs(1_000_000);

const EJECT: EjectPlan =
    EjectPlan { consecutive_failures: 3, time_ms: 1_000, time_max_ms: 6_000, share_max: 0.5 };

fn after(ms: u64) -> MonoMs {
    MonoMs(START.0 + ms)
}

fn plan(balance: Balance) -> PoolPlan {
    PoolPlan { balance, slow_start_ms: 0, panic_below: 0.0, eject: Some(EJECT) }
}

fn pool_of(plan: PoolPlan, weights: &[u32]) -> Pool {
    Pool::new(plan, weights.iter().map(|weight| Arc::new(EndpointState::new(*weight))).collect())
}

/// Fails as often as it takes to be ejected, and says for how long.
#[track_caller]
fn eject(pool: &Pool, index: usize, now: MonoMs) -> u64 {
    for _ in 1..EJECT.consecutive_failures {
        assert_eq!(pool.failed(index, now, 0.0), None);
    }
    match pool.failed(index, now, 0.0) {
        Some(Change::Ejected { for_ms }) => for_ms,
        other => panic!("not ejected: {other:?}"),
    }
}

fn make_unhealthy(pool: &Pool, index: usize, now: MonoMs) {
    assert_eq!(pool.endpoints()[index].checked(false, 1, 1, now), Some(Change::BecameUnhealthy));
}

/// How often each endpoint is picked, with nothing in flight.
fn counts(pool: &Pool, now: MonoMs, picks: usize) -> Vec<usize> {
    let random = Random::seeded(7);
    let mut counts = vec![0; pool.endpoints().len()];
    for _ in 0..picks {
        let choice = pool.pick(now, random.bits(), Some(random.bits()), 0).expect("somebody is eligible");
        counts[choice.index] += 1;
    }
    counts
}
