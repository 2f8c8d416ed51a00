//! When failures leave an endpoint out, and for how long.

use std::thread;

use super::{Balance, Change, EJECT, EjectPlan, Health, PoolPlan, START, after, eject, make_unhealthy};
use super::{plan, pool_of};

#[test]
fn only_failures_in_a_row_count() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    for _ in 0..10 {
        assert_eq!(pool.failed(0, START, 0.0), None);
        assert_eq!(pool.failed(0, START, 0.0), None);
        assert_eq!(pool.endpoints()[0].failures(), 2);
        assert_eq!(pool.endpoints()[0].answered(START), None);
    }
    assert_eq!(eject(&pool, 0, START), 1_000);
    assert_eq!(pool.endpoints()[0].health(START), Health::Ejected);
    assert_eq!(pool.endpoints()[0].ejected_for_ms(after(400)), Some(600));
    assert_eq!(pool.endpoints()[0].ejected_for_ms(after(1_000)), None);
}

#[test]
fn failures_of_what_was_under_way_do_not_count() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    eject(&pool, 0, START);
    for ms in 0..100 {
        assert_eq!(pool.failed(0, after(ms), 0.0), None);
    }
    assert_eq!(pool.endpoints()[0].failures(), 0, "counted when it was out already");
    assert_eq!(eject(&pool, 0, after(1_000)), 2_000);
    assert_eq!(pool.failed(7, START, 0.0), None, "there is no such endpoint");
}

#[test]
fn without_a_plan_nobody_is_ejected() {
    for eject in [None, Some(EjectPlan { share_max: 0.0, ..EJECT })] {
        let pool = pool_of(PoolPlan { eject, ..plan(Balance::LeastLoaded) }, &[1, 1]);
        for _ in 0..100 {
            assert_eq!(pool.failed(0, START, 0.0), None);
        }
        assert_eq!(pool.healthy(START), 2);
    }
}

/// How many of a pool can be ejected when all fail.
#[track_caller]
fn check_share(endpoints: usize, share_max: f64, expected: usize) {
    let eject = Some(EjectPlan { share_max, ..EJECT });
    let pool = pool_of(PoolPlan { eject, ..plan(Balance::LeastLoaded) }, &vec![1; endpoints]);
    for index in 0..endpoints {
        for _ in 0..2 * EJECT.consecutive_failures {
            pool.failed(index, START, 0.0);
        }
    }
    let ejected = endpoints - pool.healthy(START);
    assert_eq!(ejected, expected, "of {endpoints} at {share_max}");
}

#[test]
fn the_share_is_kept_and_small_pools_work() {
    check_share(1, 1.0, 0);
    check_share(2, 0.01, 1);
    check_share(2, 1.0, 1);
    check_share(3, 0.1, 1);
    check_share(3, 0.66, 1);
    check_share(3, 0.67, 2);
    check_share(3, 1.0, 2);
    check_share(4, 0.2, 0);
    check_share(4, 0.25, 1);
    check_share(4, 0.5, 2);
    check_share(10, 0.3, 3);
    check_share(10, 0.7, 7);
    check_share(100, 0.29, 29);
    check_share(5, 1.0, 4);
}

#[test]
fn the_last_healthy_one_stays_whoever_took_the_others() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1, 1]);
    make_unhealthy(&pool, 1, START);
    make_unhealthy(&pool, 2, START);
    for _ in 0..100 {
        assert_eq!(pool.failed(0, START, 0.0), None);
    }
    // It fails on; as soon as another one is healthy, its next failures count.
    pool.endpoints()[2].checked(true, 1, 1, START);
    let changes: Vec<Change> = (0..3).filter_map(|_| pool.failed(0, START, 0.0)).collect();
    assert_eq!(changes, [Change::Ejected { for_ms: 1_000 }]);
}

#[test]
fn time_grows_while_it_fails_and_shrinks_while_it_does_not() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    let mut now = START;
    for expected_ms in [1_000, 2_000, 4_000, 6_000, 6_000, 6_000] {
        assert_eq!(eject(&pool, 0, now), expected_ms);
        now.0 += expected_ms;
    }
    // Healthy for a little less than the step before would have taken, it has gained nothing.
    now.0 += 3_999;
    assert_eq!(eject(&pool, 0, now), 6_000);
    now.0 += 6_000 + 4_000;
    assert_eq!(eject(&pool, 0, now), 4_000);
    now.0 += 4_000 + 4_000 + 2_000;
    assert_eq!(eject(&pool, 0, now), 2_000);
    now.0 += 2_000 + 1_000_000;
    assert_eq!(eject(&pool, 0, now), 1_000);
}

#[test]
fn chance_adds_up_to_a_tenth() {
    for (jitter, expected_ms) in [(0.0, 1_000), (0.5, 1_050), (0.999_999, 1_099), (f64::NAN, 1_000)] {
        let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
        let changes: Vec<Change> = (0..3).filter_map(|_| pool.failed(0, START, jitter)).collect();
        assert_eq!(changes, [Change::Ejected { for_ms: expected_ms }]);
    }
}

#[test]
fn the_return_is_reported_once_by_whoever_sees_it_first() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    let endpoint = &pool.endpoints()[0];
    assert_eq!(endpoint.returned(START), None);
    eject(&pool, 0, START);
    // What was under way is answered well: that does not end the ejection.
    assert_eq!(endpoint.answered(after(500)), None);
    assert_eq!(endpoint.health(after(999)), Health::Ejected);
    assert_eq!(endpoint.answered(after(1_000)), Some(Change::Returned));
    assert_eq!(endpoint.returned(after(1_000)), None);
    assert_eq!(endpoint.health(after(1_000)), Health::Healthy);
}

#[test]
fn clocks_that_differ_by_a_little_do_no_harm() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    eject(&pool, 0, START);
    let earlier = super::MonoMs(START.0 - 5);
    assert_eq!(pool.endpoints()[0].health(earlier), Health::Ejected);
    assert_eq!(pool.failed(0, earlier, 0.0), None);
    assert_eq!(pool.endpoints()[0].answered(earlier), None);
    assert_eq!(pool.pick(earlier, 0, None, 0).map(|choice| choice.index), Some(1));
}

/// Guards the lock: each of two threads ejects one of the last two.
#[test]
fn two_threads_do_not_eject_both() {
    let pool = pool_of(plan(Balance::LeastLoaded), &[1, 1]);
    thread::scope(|scope| {
        // This thread stands in for one that has decided on endpoint 1, and has not ejected it yet.
        let deciding = pool.ejecting.lock().unwrap();
        let other = scope.spawn(|| (0..3).find_map(|_| pool.failed(0, START, 0.0)));
        while pool.endpoints()[0].failures() < 3 && !other.is_finished() {
            thread::yield_now();
        }
        // Time for the other thread to go wrong, if it does not wait.
        for _ in 0..1_000 {
            thread::yield_now();
        }
        pool.endpoints()[1].eject(&EJECT, START, 0.0);
        drop(deciding);
        assert_eq!(other.join().unwrap(), None, "the last one was ejected");
    });
    assert_eq!(pool.healthy(START), 1);
}
