//! A version walked through its life, and the share of a brownout counted.

use proptest::{prop_assert, proptest};

use super::{Brownout, Decision, LifecyclePlan, decide};

const SERVE: Decision = Decision::Serve { deprecated: false };
const DEPRECATED: Decision = Decision::Serve { deprecated: true };

fn brownout(retry_after_s: u32) -> Decision {
    Decision::Brownout { retry_after_s }
}

fn plan(deprecated_s: Option<i64>, sunset_s: Option<i64>, windows: &[(i64, i64, f64)]) -> LifecyclePlan {
    let window = |&(from_s, until_s, share)| Brownout { from_s, until_s, share };
    LifecyclePlan { deprecated_s, sunset_s, brownouts: windows.iter().map(window).collect() }
}

#[track_caller]
fn check(plan: &LifecyclePlan, rows: &[(i64, Decision)]) {
    for (now_s, expected) in rows {
        assert_eq!(decide(plan, *now_s, b"req-1"), *expected, "at {now_s} of {plan:?}");
    }
}

#[test]
fn retired_is_final_and_begins_with_the_second() {
    check(
        &plan(None, Some(100), &[(90, 200, 1.0)]),
        &[
            (99, brownout(101)),
            (100, Decision::Retired),
            (150, Decision::Retired),
            (i64::MAX, Decision::Retired),
        ],
    );
    check(
        &plan(Some(200), Some(100), &[]),
        &[(99, SERVE), (100, Decision::Retired), (200, Decision::Retired)],
    );
}

#[test]
fn a_whole_life() {
    let whole =
        plan(Some(1_000), Some(9_000), &[(2_000, 2_900, 1.0), (3_000, 3_060, 0.0), (4_000, 4_001, 1.0)]);
    check(
        &whole,
        &[
            (i64::MIN, SERVE),
            (999, SERVE),
            (1_000, DEPRECATED),
            (1_999, DEPRECATED),
            (2_000, brownout(900)),
            (2_899, brownout(1)),
            (2_900, DEPRECATED),
            (3_030, DEPRECATED),
            (4_000, brownout(1)),
            (4_001, DEPRECATED),
            (8_999, DEPRECATED),
            (9_000, Decision::Retired),
        ],
    );
}

#[test]
fn without_dates_nothing_happens() {
    check(&LifecyclePlan::default(), &[(i64::MIN, SERVE), (0, SERVE), (i64::MAX, SERVE)]);
}

#[test]
fn overlapping_windows_are_waited_out_together() {
    let overlapping =
        plan(None, None, &[(0, 1_000, 0.0), (10, 20, 1.0), (15, 100, 1.0), (i64::MAX - 1, i64::MAX, 1.0)]);
    check(
        &overlapping,
        &[(9, SERVE), (10, brownout(10)), (15, brownout(85)), (99, brownout(1)), (100, SERVE)],
    );
    check(
        &plan(None, None, &[(i64::MIN, i64::MAX, 1.0)]),
        &[(i64::MIN, brownout(u32::MAX)), (0, brownout(u32::MAX))],
    );
}

#[test]
fn the_share_is_kept_for_every_kind_of_id() {
    let kinds: [fn(u32) -> String; 4] = [
        |n| format!("req-{n}"),
        |n| n.to_string(),
        |n| format!("0195f3a0-{:04x}-7000-8000-{:012x}", n >> 4, u64::from(n) * 77),
        |n| "x".repeat(n as usize % 97) + &n.to_string(),
    ];
    for (kind, id) in kinds.iter().enumerate() {
        for share in [0.0, 0.01, 0.1, 0.5, 0.9, 1.0] {
            let plan = plan(None, None, &[(0, 10, share)]);
            let refused = (0..10_000).filter(|n| decide(&plan, 5, id(*n).as_bytes()) != SERVE).count();
            // Four standard deviations of a fair draw; none at all for 0 and 1.
            let tolerance = 4.0 * (10_000.0 * share * (1.0 - share)).sqrt();
            let off = (refused as f64 - 10_000.0 * share).abs();
            assert!(off <= tolerance, "kind {kind}: {refused} of 10,000 at {share}");
        }
    }
}

/// The choice is part of the contract: a change of the hash must be seen.
#[test]
fn the_choice_of_these_ids_does_not_change() {
    // The fractions were worked out from the module's text, outside this code: 0.936769, 0.510295, 0.256829.
    for (id, not_at, at) in
        [(&b""[..], 0.936769, 0.936770), (&b"a"[..], 0.510294, 0.510295), (&b"req-1"[..], 0.256829, 0.256830)]
    {
        let refused = |share| decide(&plan(None, None, &[(0, 10, share)]), 5, id) != SERVE;
        assert!(!refused(not_at) && refused(at), "{id:?}");
    }
}

proptest! {
    #[test]
    fn refused_at_one_share_is_refused_at_every_larger(id in "[ -~]{0,40}", a in 0.0..=1.0, b in 0.0..=1.0) {
        let (small, large) = if a < b { (a, b) } else { (b, a) };
        let refused = |share| decide(&plan(None, None, &[(0, 10, share)]), 5, id.as_bytes()) != SERVE;
        prop_assert!(!refused(small) || refused(large));
        prop_assert!(!refused(0.0) && refused(1.0));
    }
}
