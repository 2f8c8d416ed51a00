//! Who gets how much.

use std::sync::Arc;

use super::super::round_robin::smooth_schedule;
use super::{Balance, Change, EndpointState, Pool, PoolPlan, Random, START, after, counts, eject};
use super::{make_unhealthy, plan, pool_of};

#[track_caller]
fn assert_near(counts: &[usize], expected: &[f64], tolerance: f64) {
    let total: usize = counts.iter().sum();
    for (count, share) in counts.iter().zip(expected) {
        let is = *count as f64 / total as f64;
        assert!((is - share).abs() <= tolerance, "{counts:?} where {expected:?} was to come");
    }
}

#[test]
fn turns_follow_weights_and_are_spread() {
    assert_eq!(smooth_schedule(&[1]), [0]);
    assert_eq!(smooth_schedule(&[5, 5]), [0, 1]);
    assert_eq!(smooth_schedule(&[3, 1]), [0, 0, 1, 0]);
    let pool = pool_of(plan(Balance::RoundRobin), &[7, 2, 1]);
    assert_eq!(counts(&pool, START, 100), [70, 20, 10]);
}

/// Guards the share of a lost turn: given to the next in the order, it would double the load of one neighbour.
#[test]
fn the_turns_of_one_that_is_out_go_to_all_others() {
    let pool = pool_of(plan(Balance::RoundRobin), &[1; 4]);
    make_unhealthy(&pool, 1, START);
    assert_eq!(counts(&pool, START, 300), [100, 0, 100, 100]);
    let pool = pool_of(plan(Balance::RoundRobin), &[1000, 2, 1]);
    make_unhealthy(&pool, 0, START);
    assert_eq!(counts(&pool, START, 300), [0, 200, 100]);
}

#[test]
fn the_less_loaded_of_two_wins() {
    /// In flight and latency (0: unknown) of two endpoints, and who wins.
    #[track_caller]
    fn check(weights: [u32; 2], in_flight: [u32; 2], us: [u64; 2], winner: usize) {
        let pool = pool_of(plan(Balance::LeastLoaded), &weights);
        for (index, endpoint) in pool.endpoints().iter().enumerate() {
            (0..in_flight[index]).for_each(|_| endpoint.begin());
            if us[index] > 0 {
                endpoint.observe(us[index], START);
            }
        }
        for random in 0..10 {
            let choice = pool.pick(START, random, None, 0);
            assert_eq!(choice.map(|choice| choice.index), Some(winner), "{weights:?} {in_flight:?} {us:?}");
        }
    }
    check([1, 1], [3, 2], [1_000, 1_000], 1);
    check([1, 1], [3, 0], [1_000, 5_000], 0);
    check([1, 1], [4, 0], [1_000, 4_900], 1);
    check([3, 1], [3, 1], [1_000, 1_000], 0);
    check([1, 3], [1, 4], [1_000, 1_000], 1);
    // Who is unknown counts as fast as the fastest.
    check([1, 1], [1, 0], [1_000, 0], 1);
    check([1, 1], [1, 3], [1_000, 0], 0);
    check([1, 1], [2, 1], [0, 0], 1);
}

#[test]
fn equal_endpoints_share_evenly() {
    for endpoints in [2, 3, 10] {
        let pool = pool_of(plan(Balance::LeastLoaded), &vec![1; endpoints]);
        let share = 1.0 / endpoints as f64;
        assert_near(&counts(&pool, START, 20_000), &vec![share; endpoints], 0.015);
    }
}

/// Guards against a sink: what refuses at once is never busy.
#[test]
fn failures_in_a_row_repel() {
    let pool = pool_of(PoolPlan { eject: None, ..plan(Balance::LeastLoaded) }, &[1, 1]);
    let [good, bad] = [0, 1].map(|index| &pool.endpoints()[index]);
    for endpoint in [good, bad] {
        endpoint.observe(1_000, START);
    }
    for _ in 0..40 {
        good.begin();
    }
    for _ in 0..6 {
        assert_eq!(pool.pick(START, 0, None, 0).map(|choice| choice.index), Some(1));
        pool.failed(1, START, 0.0);
    }
    assert_eq!(pool.pick(START, 0, None, 0).map(|choice| choice.index), Some(0));
    // It is bounded, so that it is tried again when what it measured is long ago.
    for _ in 0..100_000 {
        pool.failed(1, START, 0.0);
    }
    good.observe(1_000, after(120_000));
    assert_eq!(pool.pick(after(120_000), 0, None, 0).map(|choice| choice.index), Some(1));
    bad.answered(START);
    assert_eq!(bad.failures(), 0);
}

/// An endpoint that was slow once is not slow for ever.
#[test]
fn a_stale_peak_is_tried_again() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    pool.endpoints()[0].observe(5_000_000, START);
    let mut now = START;
    let mut waited_ms = 0;
    loop {
        pool.endpoints()[1].observe(5_000, now);
        if pool.pick(now, 0, None, 0).is_some_and(|choice| choice.index == 0) {
            break;
        }
        now.0 += 1_000;
        waited_ms += 1_000;
        assert!(waited_ms < 200_000);
    }
    assert!(waited_ms > 30_000, "forgotten after {waited_ms} ms already");
}

fn slow(balance: Balance) -> PoolPlan {
    PoolPlan { slow_start_ms: 10_000, ..plan(balance) }
}

#[test]
fn who_returns_starts_slowly() {
    for balance in [Balance::RoundRobin, Balance::Hash] {
        let pool = pool_of(slow(balance), &[1; 2]);
        let for_ms = eject(&pool, 0, START);
        // Factors 0.1, 0.55 and 1 against 1: the shares of two.
        for (ms, share) in [(0, 0.1 / 1.1), (5_000, 0.55 / 1.55), (10_000, 0.5), (99_000, 0.5)] {
            let counts = counts(&pool, after(for_ms + ms), 20_000);
            assert_near(&counts, &[share, 1.0 - share], 0.015);
        }
    }
}

#[test]
fn slow_start_counts_from_each_way_back() {
    /// The factor of an endpoint with a slow start of 10 s.
    #[track_caller]
    fn check(endpoint: &EndpointState, rows: &[(u64, f64)]) {
        for (ms, expected) in rows {
            let factor = endpoint.slow_start_factor(after(*ms), 10_000);
            assert!((factor - expected).abs() < 1e-9, "{factor} after {ms} ms");
            assert_eq!(endpoint.slow_start_factor(after(*ms), 0), 1.0);
        }
    }
    let endpoint = EndpointState::new(1);
    check(&endpoint, &[(0, 1.0)]);
    endpoint.joined(START);
    check(&endpoint, &[(0, 0.1), (1_000, 0.19), (5_000, 0.55), (9_999, 0.999_91), (10_000, 1.0)]);
    endpoint.checked(false, 1, 1, after(20_000));
    endpoint.checked(true, 1, 1, after(30_000));
    // A thread whose clock is behind sees the start.
    check(&endpoint, &[(29_990, 0.1), (30_000, 0.1), (35_000, 0.55), (40_000, 1.0)]);
    // Healthy by checks while it is ejected: it starts when the ejection ends.
    let for_ms = endpoint.eject(&super::EJECT, after(50_000), 0.0);
    endpoint.checked(false, 1, 1, after(50_001));
    endpoint.checked(true, 1, 1, after(50_002));
    check(&endpoint, &[(50_000 + for_ms, 0.1), (55_000 + for_ms, 0.55)]);
}

#[test]
fn least_loaded_starts_slowly() {
    let pool = pool_of(slow(Balance::LeastLoaded), &[1; 2]);
    for endpoint in pool.endpoints() {
        endpoint.observe(1_000, START);
    }
    pool.endpoints()[0].joined(START);
    for (in_flight, winner) in [(8, 1), (10, 0)] {
        (pool.endpoints()[1].in_flight()..in_flight).for_each(|_| pool.endpoints()[1].begin());
        assert_eq!(pool.pick(START, 0, None, 0).map(|choice| choice.index), Some(winner));
    }
}

#[test]
fn when_all_start_slowly_none_does() {
    let pool = pool_of(slow(Balance::RoundRobin), &[1; 2]);
    pool.endpoints().iter().for_each(|endpoint| endpoint.joined(START));
    assert_near(&counts(&pool, START, 20_000), &[0.5, 0.5], 0.03);
}

fn identified(balance: Balance, identities: &[u64]) -> Pool {
    let endpoints = identities.iter().map(|identity| Arc::new(EndpointState::identified(1, *identity)));
    Pool::new(plan(balance), endpoints.collect())
}

#[test]
fn a_key_stays_and_only_the_keys_of_one_that_goes_move() {
    let before = identified(Balance::Hash, &[10, 20, 30, 40]);
    let without_20 = identified(Balance::Hash, &[10, 30, 40]);
    let random = Random::seeded(5);
    let mut moved = 0;
    for _ in 0..2_000 {
        let key = Some(random.bits());
        let [was, again] = [0; 2].map(|_| before.pick(START, random.bits(), key, 0).unwrap().index);
        assert_eq!(was, again);
        let is = without_20.pick(START, random.bits(), key, 0).unwrap().index;
        if was == 1 {
            moved += 1;
        } else {
            assert_eq!(is, if was == 0 { 0 } else { was - 1 });
        }
    }
    assert!((400..600).contains(&moved), "{moved} of 2,000 were at one of four");
}

#[test]
fn rendezvous_follows_weights() {
    for (weights, expected) in [
        (vec![1, 1, 1], vec![1.0 / 3.0; 3]),
        (vec![5, 3, 2], vec![0.5, 0.3, 0.2]),
        (vec![9, 1], vec![0.9, 0.1]),
    ] {
        let pool = pool_of(plan(Balance::Hash), &weights);
        assert_near(&counts(&pool, START, 20_000), &expected, 0.015);
    }
}

/// Guards the bound: one popular key would otherwise load one endpoint alone.
#[test]
fn one_key_does_not_overload_one_endpoint() {
    let pool = pool_of(plan(Balance::Hash), &[1; 4]);
    for total in 1..=400 {
        let index = pool.pick(START, 0, Some(42), 0).unwrap().index;
        pool.endpoints()[index].begin();
        let fullest = pool.endpoints().iter().map(|e| e.in_flight()).max().unwrap();
        assert!(f64::from(fullest) <= (1.25 * f64::from(total) / 4.0).ceil(), "{fullest} of {total}");
    }
    // When there is room again, the key goes home.
    let home = pool_of(plan(Balance::Hash), &[1; 4]).pick(START, 0, Some(42), 0);
    for endpoint in pool.endpoints() {
        (0..endpoint.in_flight()).for_each(|_| endpoint.end());
    }
    assert_eq!(pool.pick(START, 0, Some(42), 0), home);
}

#[test]
fn a_request_without_a_hash_goes_anywhere() {
    let pool = pool_of(plan(Balance::Hash), &[1; 4]);
    let random = Random::seeded(5);
    let mut counts = vec![0; 4];
    for _ in 0..20_000 {
        counts[pool.pick(START, random.bits(), None, 0).unwrap().index] += 1;
    }
    assert_near(&counts, &[0.25; 4], 0.015);
    assert_eq!(pool.endpoints()[0].returned(START), None::<Change>);
}

/// Guards against: after one failure the other of two looked better for ever, so that nobody asked again.
#[test]
fn failures_fade_so_that_somebody_asks_again() {
    let pool = pool_of(PoolPlan { eject: None, ..plan(Balance::LeastLoaded) }, &[1, 1]);
    for endpoint in pool.endpoints() {
        endpoint.observe(1_000, START);
    }
    for _ in 0..3 {
        pool.failed(0, START, 0.0);
    }
    assert_eq!(counts(&pool, after(2_999), 100)[0], 0);
    assert!(counts(&pool, after(3_000), 100)[0] > 20);
}
