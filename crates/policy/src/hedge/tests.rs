//! When a hedge is due, and how many there are.

use std::collections::VecDeque;

use mainstay_core::clock::MonoMs;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{After, Hedge, HedgePlan};
use crate::deadline::Recent;

fn hedge(after: After, max_ratio: f64) -> Hedge {
    Hedge::new(HedgePlan { after, max_ratio }, MonoMs(0))
}

#[test]
fn it_is_due_after_the_p95_once_that_is_known() {
    let (hedge, recent) = (hedge(After::P95, 1.0), Recent::new());
    assert_eq!(hedge.after_us(&recent, MonoMs(0)), None);
    for n in 0..20 {
        recent.record(MonoMs(0), if n == 0 { 900_000 } else { 1_000 });
    }
    assert_eq!(hedge.after_us(&recent, MonoMs(100)), recent.p95_us(MonoMs(100)));
    assert!(hedge.after_us(&recent, MonoMs(100)).is_some_and(|us| us.abs_diff(1_000) <= 63));
}

#[test]
fn a_fixed_time_needs_no_samples() {
    for (ms, us) in [(0, 0), (30, 30_000), (u64::MAX, u64::MAX)] {
        assert_eq!(hedge(After::Ms(ms), 1.0).after_us(&Recent::new(), MonoMs(0)), Some(us));
    }
}

#[test]
fn one_in_twenty() {
    let hedge = hedge(After::P95, 0.05);
    for n in 1..=1_000_u64 {
        hedge.request(MonoMs(n));
        assert_eq!(hedge.may(MonoMs(n)), n % 20 == 0, "after {n}");
        assert!(!hedge.may(MonoMs(n)));
    }
}

#[test]
fn without_requests_or_with_a_ratio_of_nothing_there_are_none() {
    assert!(!hedge(After::P95, 1.0).may(MonoMs(0)));
    for max_ratio in [0.0, -1.0, f64::NAN] {
        let hedge = hedge(After::P95, max_ratio);
        hedge.request(MonoMs(0));
        assert!(!hedge.may(MonoMs(0)));
    }
}

#[test]
fn what_is_ten_seconds_old_does_not_count() {
    let hedge = hedge(After::P95, 0.5);
    hedge.request(MonoMs(999));
    hedge.request(MonoMs(999));
    assert!(hedge.may(MonoMs(5_000)), "a second of ten");
    // The requests are gone, the hedge is not.
    hedge.request(MonoMs(10_000));
    hedge.request(MonoMs(10_000));
    assert!(!hedge.may(MonoMs(14_999)));
    // Now the hedge is gone as well.
    assert!(hedge.may(MonoMs(15_000)));
}

#[test]
fn threads_together_stay_below_the_ratio() {
    const THREADS: u64 = 4;
    const EACH: u64 = 10_000;
    let hedge = hedge(After::P95, 0.1);
    let sent: u64 = std::thread::scope(|scope| {
        let work = || {
            let mut sent = 0;
            for _ in 0..EACH {
                hedge.request(MonoMs(0));
                sent += u64::from(hedge.may(MonoMs(0)));
            }
            sent
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sent, THREADS * EACH / 10);
}

proptest! {
    #[test]
    fn it_agrees_with_a_list(
        percent in 0..=100_u64,
        steps in proptest::collection::vec((0..2_000_u64, 0..12_u32, 0..4_u32), 1..150),
    ) {
        let hedge = hedge(After::P95, percent as f64 / 100.0);
        let (mut requests, mut hedges) = (VecDeque::new(), VecDeque::new());
        let mut now_ms = 0;
        for (step_ms, begun, wanted) in steps {
            now_ms += step_ms;
            let second = now_ms / 1_000;
            requests.retain(|of| of + 10 > second);
            hedges.retain(|of| of + 10 > second);
            for _ in 0..begun {
                hedge.request(MonoMs(now_ms));
                requests.push_back(second);
            }
            for _ in 0..wanted {
                let fits = (hedges.len() as u64 + 1) * 100 <= percent * requests.len() as u64;
                prop_assert_eq!(hedge.may(MonoMs(now_ms)), fits, "at {}", now_ms);
                if fits {
                    hedges.push_back(second);
                    prop_assert!(hedges.len() <= requests.len());
                }
            }
        }
    }
}
