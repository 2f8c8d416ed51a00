//! Quantiles against a sorted list, and the gate against its rules.

use std::collections::VecDeque;

use mainstay_core::clock::MonoMs;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{Gate, Recent, SAMPLES_MIN, Verdict};

fn recent(now_ms: u64, samples: impl IntoIterator<Item = u64>) -> Recent {
    let recent = Recent::new();
    for us in samples {
        recent.record(MonoMs(now_ms), us);
    }
    recent
}

/// The smallest value that `percent` of the samples do not exceed.
fn naive(samples: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    (sorted.len() as u64 >= SAMPLES_MIN).then(|| sorted[rank - 1])
}

#[track_caller]
fn check_close(told: Option<u64>, exact: Option<u64>) {
    match (told, exact) {
        (Some(told), Some(exact)) => {
            let off = told.abs_diff(exact) as f64 / exact.max(1) as f64;
            assert!(off <= 0.0625, "{told} for {exact} is {off} off");
        }
        _ => assert_eq!(told, exact),
    }
}

#[test]
fn nineteen_samples_say_nothing_and_twenty_do() {
    for (samples, known) in [(0, false), (19, false), (20, true)] {
        let recent = recent(5_000, (0..samples).map(|_| 1_000));
        assert_eq!(recent.count(MonoMs(5_000)), samples);
        assert_eq!(recent.median_us(MonoMs(5_000)).is_some(), known, "{samples}");
        assert_eq!(recent.p95_us(MonoMs(5_000)).is_some(), known, "{samples}");
    }
}

#[test]
fn every_latency_is_told_within_its_error() {
    let doublings = (0..26).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
    for us in doublings.chain([100, 110, 117, 999, 12_345, 60_000_000, (1 << 26) - 1]) {
        let recent = recent(0, [us; 20]);
        check_close(recent.median_us(MonoMs(0)), Some(us));
        check_close(recent.p95_us(MonoMs(0)), Some(us));
    }
    // What is longer than can be told apart is told as the longest.
    let longest = recent(0, [(1 << 26) - 1; 20]).median_us(MonoMs(0));
    assert_eq!(recent(0, [u64::MAX; 20]).median_us(MonoMs(0)), longest);
}

#[test]
fn median_and_p95_are_of_their_ranks() {
    // Of 100 samples the 50th and the 95th.
    let recent = recent(0, (0..50).map(|_| 100).chain((0..45).map(|_| 1_000)).chain((0..5).map(|_| 9_000)));
    check_close(recent.median_us(MonoMs(0)), Some(100));
    check_close(recent.p95_us(MonoMs(0)), Some(1_000));
}

#[test]
fn samples_are_gone_after_ten_seconds() {
    let recent = recent(3_999, [500; 30]);
    for (now_ms, count) in [(3_999, 30), (12_999, 30), (13_000, 0)] {
        assert_eq!(recent.count(MonoMs(now_ms)), count, "at {now_ms}");
    }
    // The slot is used again for a later second, and the old samples do not come back.
    recent.record(MonoMs(13_500), 500);
    assert_eq!(recent.count(MonoMs(13_500)), 1);
    assert_eq!(recent.count(MonoMs(3_999)), 1, "a clock that lags sees what is there");
}

#[test]
fn a_clock_that_lags_a_little_is_counted_and_one_that_lags_ten_seconds_is_not() {
    let recent = recent(20_001, [500; 30]);
    recent.record(MonoMs(19_998), 500);
    assert_eq!(recent.count(MonoMs(20_001)), 31);
    assert_eq!(recent.count(MonoMs(19_998)), 31, "a second that is ahead counts");
    recent.record(MonoMs(10_001), 500);
    assert_eq!(recent.count(MonoMs(20_001)), 31);
}

#[test]
fn quantiles_are_worked_out_every_hundred_milliseconds() {
    let recent = recent(0, [100; 30]);
    check_close(recent.median_us(MonoMs(0)), Some(100));
    for _ in 0..100 {
        recent.record(MonoMs(50), 8_000);
    }
    check_close(recent.median_us(MonoMs(99)), Some(100));
    check_close(recent.median_us(MonoMs(100)), Some(8_000));
}

const SHORT: Verdict = Verdict::TooShort { median_us: 9_728 };

/// A median told as 9,728 µs at any time below 10 s.
fn slow() -> Recent {
    recent(0, [10_000; 30])
}

#[test]
fn time_enough_goes_and_so_does_what_nothing_is_known_about() {
    let gate = Gate::new();
    for _ in 0..100 {
        assert_eq!(gate.decide(9_728, &slow(), MonoMs(5)), Verdict::Go);
        assert_eq!(gate.decide(0, &recent(0, [10_000; 19]), MonoMs(5)), Verdict::Go);
        assert_eq!(gate.decide(0, &slow(), MonoMs(10_000)), Verdict::Go, "samples are too old");
    }
}

#[test]
fn too_short_is_refused_but_one_of_twenty_is_tried() {
    let (gate, slow) = (Gate::new(), slow());
    for round in 0..50 {
        assert_eq!(gate.decide(9_727, &slow, MonoMs(9)), Verdict::Trial, "{round}");
        for n in 0..19 {
            assert_eq!(gate.decide(9_727, &slow, MonoMs(9)), SHORT, "{round}: {n}");
        }
    }
}

#[test]
fn one_a_second_is_tried_however_few_there_are() {
    let (gate, slow) = (Gate::new(), slow());
    let rows = [
        (100, Verdict::Trial),
        (101, SHORT),
        (1_099, SHORT),
        (1_100, Verdict::Trial),
        // A clock that lags makes no trial of it.
        (1_099, SHORT),
        (2_099, SHORT),
        (2_100, Verdict::Trial),
        (9_000, Verdict::Trial),
    ];
    for (now_ms, expected) in rows {
        assert_eq!(gate.decide(1, &slow, MonoMs(now_ms)), expected, "at {now_ms}");
    }
}

#[test]
fn what_has_time_enough_is_not_counted_as_refused() {
    let (gate, slow) = (Gate::new(), slow());
    assert_eq!(gate.decide(1, &slow, MonoMs(0)), Verdict::Trial);
    for _ in 0..40 {
        assert_eq!(gate.decide(20_000, &slow, MonoMs(0)), Verdict::Go);
    }
    assert_eq!(gate.decide(1, &slow, MonoMs(0)), SHORT);
}

#[test]
fn threads_lose_no_sample_of_a_second_and_share_the_trials() {
    const THREADS: u64 = 8;
    const EACH: u64 = 5_000;
    let recent = recent(1_000, [10_000; 20]);
    // Whoever asks while the first one works it out hears that nothing is known, and is neither refused nor a trial.
    assert!(recent.median_us(MonoMs(1_000)).is_some());
    let gate = Gate::new();
    let trials: u64 = std::thread::scope(|scope| {
        let work = || {
            let mut trials = 0;
            for _ in 0..EACH {
                recent.record(MonoMs(1_000), 10_000);
                trials += u64::from(gate.decide(1, &recent, MonoMs(1_000)) == Verdict::Trial);
            }
            trials
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(recent.count(MonoMs(1_000)), 20 + THREADS * EACH);
    assert_eq!(trials, THREADS * EACH / 20);
}

proptest! {
    #[test]
    fn quantiles_agree_with_a_sorted_list(
        steps in proptest::collection::vec((0..700_u64, proptest::collection::vec(1..70_000_000_u64, 0..12)), 1..60)
    ) {
        let recent = Recent::new();
        let mut samples = VecDeque::new();
        let mut now_ms = 0;
        for (step_ms, latencies) in steps {
            now_ms += step_ms;
            for us in latencies {
                recent.record(MonoMs(now_ms), us);
                samples.push_back((now_ms / 1_000, us.min((1 << 26) - 1)));
            }
            samples.retain(|(second, _)| second + 10 > now_ms / 1_000);
            prop_assert_eq!(recent.count(MonoMs(now_ms)), samples.len() as u64);
        }
        // So that the quantiles are of all samples.
        now_ms += 100;
        samples.retain(|(second, _)| second + 10 > now_ms / 1_000);
        let latencies: Vec<u64> = samples.iter().map(|(_, us)| *us).collect();
        check_close(recent.median_us(MonoMs(now_ms)), naive(&latencies, 50));
        check_close(recent.p95_us(MonoMs(now_ms)), naive(&latencies, 95));
    }

    #[test]
    fn of_twenty_too_short_one_is_tried_and_one_in_each_second(
        steps in proptest::collection::vec(0..400_u64, 1..300)
    ) {
        let gate = Gate::new();
        let recent = Recent::new();
        let (mut now_ms, mut refused, mut last_trial_ms) = (0, 19, 0);
        for step_ms in steps {
            now_ms += step_ms;
            for _ in 0..20 {
                recent.record(MonoMs(now_ms), 10_000);
            }
            let trial = refused == 19 || now_ms - last_trial_ms >= 1_000;
            let verdict = gate.decide(1, &recent, MonoMs(now_ms));
            prop_assert_eq!(verdict == Verdict::Trial, trial);
            prop_assert!(verdict != Verdict::Go);
            (refused, last_trial_ms) = if trial { (0, now_ms) } else { (refused + 1, last_trial_ms) };
        }
    }
}
