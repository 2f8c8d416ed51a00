use mainstay_core::clock::MonoMs;
use proptest::{prop_assert, proptest};

use super::{After, Hedge, HedgePlan};
use crate::deadline::Recent;

#[test]
fn the_percentile_needs_samples_and_a_fixed_time_does_not() {
    let (recent, now) = (Recent::new(), MonoMs(1_000));
    let by_percentile = Hedge::new(HedgePlan { after: After::P95, max_ratio: 0.05 }, now);
    let fixed = Hedge::new(HedgePlan { after: After::Ms(30), max_ratio: 0.05 }, now);
    assert_eq!((by_percentile.after_us(&recent, now), fixed.after_us(&recent, now)), (None, Some(30_000)));
    for n in 1..=100 {
        recent.record(now, n * 1000);
    }
    let after = by_percentile.after_us(&recent, MonoMs(1_200)).unwrap();
    assert!((86_000..=106_000).contains(&after), "{after}");
    assert_eq!(by_percentile.after_us(&recent, MonoMs(12_000)), None, "long ago says nothing");
}

#[test]
fn no_request_no_hedge() {
    let hedge = Hedge::new(HedgePlan { after: After::P95, max_ratio: 1.0 }, MonoMs(0));
    assert!(!hedge.may(MonoMs(5_000)));
}

proptest! {
    #[test]
    fn never_more_than_the_ratio_of_the_last_ten_seconds(
        steps in proptest::collection::vec((0..300_u64, 0..3_u8), 1..400),
        ratio in 0.01..1.0_f64,
    ) {
        let hedge = Hedge::new(HedgePlan { after: After::P95, max_ratio: ratio }, MonoMs(0));
        let (mut now, mut requests, mut hedges) = (0, Vec::new(), Vec::new());
        for (step_ms, hedged) in steps {
            now += step_ms;
            hedge.request(MonoMs(now));
            requests.push(now);
            for _ in 0..hedged {
                if hedge.may(MonoMs(now)) {
                    hedges.push(now);
                }
            }
            let recent = requests.iter().filter(|at| **at + 10_000 >= now).count() as f64;
            let hedged = hedges.iter().filter(|at| **at + 9_000 > now).count() as f64;
            prop_assert!(hedges.len() as f64 <= ratio * requests.len() as f64 + 1e-3);
            // What is deposited in a second may be spent up to nine seconds later.
            prop_assert!(hedged <= 2.0 * ratio * recent + 2.0, "{hedged} of {recent}");
        }
    }
}
