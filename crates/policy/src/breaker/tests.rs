//! The breaker walked through its states, against a naive twin, and with a thousand threads at its door.

use std::collections::VecDeque;
use std::sync::Barrier;

use mainstay_core::clock::MonoMs;
use proptest::{prop_assert_eq, proptest};

use super::{Breaker, BreakerPlan, Change, Counts, Pass, Refused, State};

const PLAN: BreakerPlan = BreakerPlan {
    window_ms: 10_000,
    requests_min: 20,
    failure_ratio: 0.5,
    slow_call_us: Some(2_000_000),
    slow_ratio: 0.8,
    open_ms: 5_000,
    open_max_ms: 60_000,
    probes: 3,
};

/// In the middle: the open state lasts as long as planned.
const NO_JITTER: f64 = 0.5;
const QUICK_US: u64 = 1_000;
const SLOW_US: u64 = 2_000_000;

fn pass(breaker: &Breaker, now_ms: u64) -> Pass {
    breaker.admit(MonoMs(now_ms)).unwrap()
}

fn refused(breaker: &Breaker, now_ms: u64) -> u64 {
    breaker.admit(MonoMs(now_ms)).unwrap_err().retry_after_ms
}

/// A whole call.
fn call(breaker: &Breaker, now_ms: u64, failed: bool) -> Option<Change> {
    done(breaker, pass(breaker, now_ms), now_ms, failed)
}

fn done(breaker: &Breaker, pass: Pass, now_ms: u64, failed: bool) -> Option<Change> {
    breaker.done(pass, failed, QUICK_US, MonoMs(now_ms), NO_JITTER)
}

fn opened(failure_ratio: f64, slow_ratio: f64, for_ms: u64) -> Option<Change> {
    Some(Change::Opened { failure_ratio, slow_ratio, for_ms })
}

/// Open from `now_ms` on, for 5 s.
fn open(plan: BreakerPlan, now_ms: u64) -> Breaker {
    let breaker = Breaker::new(plan);
    for _ in 1..PLAN.requests_min {
        assert_eq!(call(&breaker, now_ms, true), None);
    }
    assert_eq!(call(&breaker, now_ms, true), opened(1.0, 0.0, 5_000));
    breaker
}

#[test]
fn it_opens_at_the_threshold_and_not_before() {
    // (calls, failures among them, whether it opens)
    for (calls, failures, opens) in [
        (19, 19, false),
        (20, 9, false),
        (20, 10, true),
        (21, 10, false),
        (1_000, 499, false),
        (1_000, 500, true),
    ] {
        let breaker = Breaker::new(BreakerPlan { requests_min: calls.max(20), ..PLAN });
        // Which of them fail makes no difference: the last of these is a good one.
        let changes: Vec<_> = (0..calls).filter_map(|n| call(&breaker, 0, n < failures)).collect();
        let expected = opened(f64::from(failures) / f64::from(calls), 0.0, 5_000);
        assert_eq!(changes, expected.filter(|_| opens).into_iter().collect::<Vec<_>>(), "{calls} {failures}");
        assert_eq!(breaker.state(MonoMs(0)), if opens { State::Open } else { State::Closed });
    }
}

#[test]
fn ratios_are_what_they_are_written_as() {
    for percent in 1..=100_u32 {
        let failure_ratio: f64 = format!("{}.{:02}", percent / 100, percent % 100).parse().unwrap();
        for (failures, opens) in [(percent - 1, false), (percent, true)] {
            let breaker = Breaker::new(BreakerPlan { requests_min: 100, failure_ratio, ..PLAN });
            let changes = (0..100).filter_map(|n| call(&breaker, 0, n < failures)).count();
            assert_eq!(changes == 1, opens, "{failures} at {failure_ratio}");
        }
    }
}

#[test]
fn good_calls_alone_never_open_it() {
    let breaker = Breaker::new(BreakerPlan { requests_min: 0, failure_ratio: 0.0, slow_ratio: 0.0, ..PLAN });
    for n in 0..1_000 {
        assert_eq!(call(&breaker, n, false), None);
    }
    assert!(call(&breaker, 1_000, true).is_some());
}

#[test]
fn slow_calls_open_it_although_they_succeed() {
    let breaker = Breaker::new(PLAN);
    let slow = |took_us| breaker.done(pass(&breaker, 0), false, took_us, MonoMs(0), NO_JITTER);
    for _ in 0..4 {
        assert_eq!(slow(SLOW_US - 1), None);
    }
    for _ in 0..15 {
        assert_eq!(slow(SLOW_US), None);
    }
    assert_eq!(slow(SLOW_US), opened(0.0, 0.8, 5_000));

    let never = Breaker::new(BreakerPlan { slow_call_us: None, ..PLAN });
    for _ in 0..100 {
        assert_eq!(never.done(pass(&never, 0), false, u64::MAX, MonoMs(0), NO_JITTER), None);
    }
}

#[test]
fn calls_leave_the_window() {
    let breaker = Breaker::new(PLAN);
    for now_ms in 0..19 {
        assert_eq!(call(&breaker, now_ms, true), None);
    }
    assert_eq!(breaker.counts(MonoMs(9_999)), Counts { calls: 19, failures: 19, slow: 0 });
    assert_eq!(breaker.counts(MonoMs(10_000)), Counts::default());
    assert_eq!(call(&breaker, 10_000, true), None);
    assert_eq!(breaker.counts(MonoMs(10_000)), Counts { calls: 1, failures: 1, slow: 0 });
}

#[test]
fn while_open_it_refuses_with_the_true_time() {
    let breaker = open(PLAN, 1_000);
    for (now_ms, retry_after_ms) in [(1_000, 5_000), (900, 5_100), (3_500, 2_500), (5_999, 1)] {
        assert_eq!(refused(&breaker, now_ms), retry_after_ms, "at {now_ms}");
        assert_eq!(breaker.state(MonoMs(now_ms)), State::Open);
    }
    assert_eq!(breaker.state(MonoMs(6_000)), State::HalfOpen);
    assert!(breaker.admit(MonoMs(6_000)).is_ok());
}

#[test]
fn the_first_call_after_that_begins_the_half_open_state_and_says_so() {
    let breaker = open(PLAN, 0);
    let first = pass(&breaker, 5_000);
    assert_eq!((first.change(), first.is_probe()), (Some(Change::HalfOpened), true));
    let second = pass(&breaker, 5_000);
    assert_eq!((second.change(), second.is_probe()), (None, true));
}

#[test]
fn probes_are_admitted_and_no_more() {
    let breaker = open(PLAN, 0);
    let probes = [(); 3].map(|()| pass(&breaker, 5_000));
    for now_ms in [4_999, 5_000, 500_000] {
        assert!((1..=1_000).contains(&refused(&breaker, now_ms)));
    }
    // A probe that succeeded is not replaced: as many as there are have to.
    let mut changes = Vec::new();
    for probe in probes {
        assert_eq!(breaker.state(MonoMs(5_000)), State::HalfOpen);
        assert!(breaker.admit(MonoMs(5_000)).is_err());
        changes.push(done(&breaker, probe, 5_000, false));
    }
    assert_eq!(changes, [None, None, Some(Change::Closed)]);
    assert_eq!(breaker.state(MonoMs(5_000)), State::Closed);
    assert_eq!(breaker.counts(MonoMs(5_000)), Counts::default(), "the failures of before are forgotten");
}

#[test]
fn a_cancelled_probe_gives_its_place_to_another() {
    let breaker = open(PLAN, 0);
    let [first, second, third] = [(); 3].map(|()| pass(&breaker, 5_000));
    breaker.cancelled(first, MonoMs(5_001));
    let fourth = pass(&breaker, 5_001);
    assert!(breaker.admit(MonoMs(5_001)).is_err());
    assert_eq!(done(&breaker, second, 5_002, false), None);
    assert_eq!(done(&breaker, third, 5_002, false), None);
    assert_eq!(done(&breaker, fourth, 5_002, false), Some(Change::Closed));
}

#[test]
fn one_failed_or_slow_probe_opens_it_for_twice_as_long() {
    for (failed, took_us, expected) in
        [(true, QUICK_US, opened(1.0, 0.0, 10_000)), (false, SLOW_US, opened(0.0, 1.0, 10_000))]
    {
        let breaker = open(PLAN, 0);
        let [first, second] = [(); 2].map(|()| pass(&breaker, 5_000));
        assert_eq!(breaker.done(first, failed, took_us, MonoMs(5_100), NO_JITTER), expected);
        assert_eq!(refused(&breaker, 5_100), 10_000);
        assert_eq!(done(&breaker, second, 5_200, true), None, "the other one comes too late");
        assert_eq!(refused(&breaker, 15_099), 1);
        assert_eq!(pass(&breaker, 15_100).change(), Some(Change::HalfOpened));
    }
}

/// Lets the open state end at `now_ms` and fails its first probe; says how long it is open then.
fn fail_probe(breaker: &Breaker, now_ms: u64, jitter: f64) -> u64 {
    match breaker.done(pass(breaker, now_ms), true, QUICK_US, MonoMs(now_ms), jitter) {
        Some(Change::Opened { for_ms, .. }) => for_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_stays_open_longer_each_time_up_to_the_longest() {
    let breaker = open(PLAN, 0);
    let mut now_ms = 5_000;
    for expected in [10_000, 20_000, 40_000, 60_000, 60_000] {
        let for_ms = fail_probe(&breaker, now_ms, NO_JITTER);
        assert_eq!(for_ms, expected);
        now_ms += for_ms;
    }
    for _ in 0..100 {
        now_ms += fail_probe(&breaker, now_ms, NO_JITTER);
    }
}

#[test]
fn the_time_varies_by_a_tenth_and_not_beyond_the_longest() {
    for (jitter, for_ms) in [(0.0, 9_000), (0.25, 9_500), (0.75, 10_500), (0.999_999, 10_999)] {
        assert_eq!(fail_probe(&open(PLAN, 0), 5_000, jitter), for_ms);
    }
    let plan = BreakerPlan { open_max_ms: 10_000, ..PLAN };
    for (jitter, for_ms) in [(0.0, 9_000), (0.5, 10_000), (0.9, 10_000)] {
        assert_eq!(fail_probe(&open(plan.clone(), 0), 5_000, jitter), for_ms);
    }
}

#[test]
fn a_window_in_peace_makes_the_time_short_again() {
    // (how long it was closed, for how long it opens)
    for (closed_ms, for_ms) in [(9_999, 10_000), (10_000, 5_000)] {
        let breaker = open(PLAN, 0);
        fail_probe(&breaker, 5_000, NO_JITTER);
        let probes = [(); 3].map(|()| pass(&breaker, 15_000));
        for probe in probes {
            done(&breaker, probe, 15_000, false);
        }
        let again_ms = 15_000 + closed_ms;
        for _ in 1..20 {
            assert_eq!(call(&breaker, again_ms, true), None);
        }
        assert_eq!(call(&breaker, again_ms, true), opened(1.0, 0.0, for_ms), "after {closed_ms}");
    }
}

#[test]
fn calls_of_an_earlier_state_change_nothing() {
    let breaker = Breaker::new(PLAN);
    let mut early = [(); 40].map(|()| pass(&breaker, 0)).into_iter();
    for _ in 0..19 {
        assert_eq!(call(&breaker, 0, true), None);
    }
    assert!(call(&breaker, 0, true).is_some());
    let mut late = |now_ms, failed| done(&breaker, early.next().unwrap(), now_ms, failed);
    // Open: they neither prolong nor end it.
    assert_eq!(late(1_000, true), None);
    assert_eq!(refused(&breaker, 1_000), 4_000);
    // Half-open: they are no probes.
    let probes = [(); 3].map(|()| pass(&breaker, 5_000));
    for failed in [true, false, false, false, false] {
        assert_eq!(late(5_000, failed), None);
    }
    assert_eq!(breaker.state(MonoMs(5_000)), State::HalfOpen);
    assert!(breaker.admit(MonoMs(5_000)).is_err(), "and they free no place");
    for probe in probes {
        done(&breaker, probe, 5_000, false);
    }
    // Closed again: they are not counted.
    for _ in 0..30 {
        assert_eq!(late(5_000, true), None);
    }
    assert_eq!(breaker.counts(MonoMs(5_000)), Counts::default());
}

#[test]
fn a_probe_of_an_earlier_half_open_state_gives_no_place_back() {
    let breaker = open(PLAN, 0);
    let [first, second] = [(); 2].map(|()| pass(&breaker, 5_000));
    assert!(done(&breaker, first, 5_000, true).is_some());
    let _probes = [(); 3].map(|()| pass(&breaker, 15_000));
    breaker.cancelled(second, MonoMs(15_000));
    assert!(breaker.admit(MonoMs(15_000)).is_err());
}

#[test]
fn odd_plans_and_clocks_do_not_panic() {
    let odd = BreakerPlan {
        window_ms: 0,
        requests_min: 0,
        failure_ratio: f64::NAN,
        slow_call_us: Some(0),
        slow_ratio: 1e-300,
        open_ms: u64::MAX,
        open_max_ms: u64::MAX,
        probes: u32::MAX,
    };
    for plan in [odd.clone(), BreakerPlan { open_ms: 0, open_max_ms: 0, probes: 0, ..odd }] {
        let breaker = Breaker::new(plan);
        for now_ms in [0, u64::MAX, 3, u64::MAX - 1] {
            if let Ok(pass) = breaker.admit(MonoMs(now_ms)) {
                breaker.done(pass, true, u64::MAX, MonoMs(now_ms), 0.999);
            }
            breaker.counts(MonoMs(now_ms));
            breaker.state(MonoMs(now_ms));
        }
    }
}

#[test]
fn a_thousand_threads_get_exactly_the_probes() {
    const THREADS: usize = 1_000;
    for probes in [1, 3, 10] {
        let breaker = open(BreakerPlan { probes, ..PLAN }, 0);
        let together = Barrier::new(THREADS);
        let admitted: Vec<Pass> = std::thread::scope(|scope| {
            let ask = || {
                together.wait();
                breaker.admit(MonoMs(5_000)).ok()
            };
            let spawn =
                |_| std::thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, ask).unwrap();
            let threads: Vec<_> = (0..THREADS).map(spawn).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(admitted.len(), probes as usize);
        let began = admitted.iter().filter(|pass| pass.change().is_some()).count();
        assert_eq!(began, 1, "one of them says that it half-opened");
        let changes: Vec<_> =
            admitted.into_iter().filter_map(|probe| done(&breaker, probe, 5_000, false)).collect();
        assert_eq!(changes, [Change::Closed]);
    }
}

#[test]
fn threads_that_fail_together_open_it_once() {
    const THREADS: usize = 8;
    for _ in 0..50 {
        let breaker = Breaker::new(PLAN);
        let together = Barrier::new(THREADS);
        let changes: Vec<Change> = std::thread::scope(|scope| {
            let fail = || {
                let passes: Vec<_> = (0..50).map(|_| pass(&breaker, 0)).collect();
                together.wait();
                passes.into_iter().filter_map(|pass| done(&breaker, pass, 0, true)).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(fail)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // A call of another thread may be counted, and that it failed not yet.
        let [Change::Opened { failure_ratio, .. }] = changes[..] else { panic!("{changes:?}") };
        assert!((0.5..=1.0).contains(&failure_ratio), "{failure_ratio}");
    }
}

/// What the module says, with a list of calls and without a thought for cost.
struct Naive {
    plan: BreakerPlan,
    generation: u32,
    state: NaiveState,
    failed_in_a_row: u32,
    closed_at_ms: Option<u64>,
    /// (part of the window, failed, slow)
    calls: VecDeque<(u64, bool, bool)>,
}

#[derive(Clone, Copy, PartialEq)]
enum NaiveState {
    Closed,
    Open { until_ms: u64 },
    HalfOpen { running: u32, succeeded: u32 },
}

impl Naive {
    fn new(plan: BreakerPlan) -> Self {
        Self {
            plan,
            generation: 0,
            state: NaiveState::Closed,
            failed_in_a_row: 0,
            closed_at_ms: None,
            calls: VecDeque::new(),
        }
    }

    fn enter(&mut self, state: NaiveState) {
        self.state = state;
        self.generation += 1;
    }

    /// The generation of the pass, and whether it half-opened.
    fn admit(&mut self, now_ms: u64) -> Result<(u32, bool), Refused> {
        let mut half_opened = false;
        if let NaiveState::Open { until_ms } = self.state {
            if now_ms < until_ms {
                return Err(Refused { retry_after_ms: until_ms - now_ms });
            }
            self.enter(NaiveState::HalfOpen { running: 0, succeeded: 0 });
            half_opened = true;
        }
        if let NaiveState::HalfOpen { running, succeeded } = &mut self.state {
            if *running + *succeeded == self.plan.probes {
                return Err(Refused { retry_after_ms: 1_000 });
            }
            *running += 1;
        }
        Ok((self.generation, half_opened))
    }

    fn done(&mut self, of: u32, failed: bool, took_us: u64, now_ms: u64) -> Option<Change> {
        let slow = self.plan.slow_call_us.is_some_and(|limit_us| took_us >= limit_us);
        if of != self.generation {
            return None;
        }
        match &mut self.state {
            NaiveState::Open { .. } => unreachable!("nothing is admitted while open"),
            NaiveState::Closed => self.done_while_closed(failed, slow, now_ms),
            NaiveState::HalfOpen { .. } if failed || slow => {
                self.failed_in_a_row += 1;
                Some(self.open(f64::from(u8::from(failed)), f64::from(u8::from(slow)), now_ms))
            }
            NaiveState::HalfOpen { running, succeeded } => {
                *running -= 1;
                *succeeded += 1;
                if *succeeded < self.plan.probes {
                    return None;
                }
                self.enter(NaiveState::Closed);
                self.closed_at_ms = Some(now_ms);
                self.calls.clear();
                Some(Change::Closed)
            }
        }
    }

    fn done_while_closed(&mut self, failed: bool, slow: bool, now_ms: u64) -> Option<Change> {
        let part = now_ms / (self.plan.window_ms / 10);
        self.calls.push_back((part, failed, slow));
        let Counts { calls, failures, slow } = self.counts(now_ms);
        let [failure_ratio, slow_ratio] = [failures, slow].map(|bad| bad as f64 / calls as f64);
        let bad = failure_ratio >= self.plan.failure_ratio || slow_ratio >= self.plan.slow_ratio;
        if calls < u64::from(self.plan.requests_min) || !bad {
            return None;
        }
        if self.closed_at_ms.is_none_or(|closed_at_ms| now_ms - closed_at_ms >= self.plan.window_ms) {
            self.failed_in_a_row = 0;
        }
        Some(self.open(failure_ratio, slow_ratio, now_ms))
    }

    fn open(&mut self, failure_ratio: f64, slow_ratio: f64, now_ms: u64) -> Change {
        let doubled = (0..self.failed_in_a_row).fold(self.plan.open_ms, |for_ms, _| for_ms * 2);
        let for_ms = doubled.min(self.plan.open_max_ms);
        self.enter(NaiveState::Open { until_ms: now_ms + for_ms });
        Change::Opened { failure_ratio, slow_ratio, for_ms }
    }

    fn cancelled(&mut self, of: u32) {
        if let NaiveState::HalfOpen { running, .. } = &mut self.state
            && of == self.generation
        {
            *running -= 1;
        }
    }

    fn counts(&mut self, now_ms: u64) -> Counts {
        let part = now_ms / (self.plan.window_ms / 10);
        self.calls.retain(|(of, ..)| of + 10 > part);
        Counts {
            calls: self.calls.len() as u64,
            failures: self.calls.iter().filter(|(_, failed, _)| *failed).count() as u64,
            slow: self.calls.iter().filter(|(.., slow)| *slow).count() as u64,
        }
    }

    fn state(&self, now_ms: u64) -> State {
        match self.state {
            NaiveState::Closed => State::Closed,
            NaiveState::Open { until_ms } if now_ms < until_ms => State::Open,
            _ => State::HalfOpen,
        }
    }
}

proptest! {
    /// Each step: time passes, a call is begun or one of those running ends.
    #[test]
    fn it_agrees_with_its_naive_twin(
        requests_min in 1..8_u32,
        failure_percent in 1..=100_u32,
        slow_percent in 1..=100_u32,
        probes in 1..4_u32,
        failing in 0..=100_u32,
        steps in proptest::collection::vec((0..300_u64, 0..10_u32, 0..1_000_usize, 0..100_u32), 1..400),
    ) {
        let plan = BreakerPlan {
            window_ms: 1_000,
            requests_min,
            failure_ratio: f64::from(failure_percent) / 100.0,
            slow_ratio: f64::from(slow_percent) / 100.0,
            open_ms: 400,
            open_max_ms: 2_000,
            probes,
            ..PLAN
        };
        let (breaker, mut naive) = (Breaker::new(plan.clone()), Naive::new(plan));
        let mut running: Vec<(Pass, u32)> = Vec::new();
        let mut now_ms = 0;
        for (step_ms, what, which, luck) in steps {
            now_ms += step_ms;
            let now = MonoMs(now_ms);
            if what < 5 || running.is_empty() {
                match (breaker.admit(now), naive.admit(now_ms)) {
                    (Ok(pass), Ok((of, half_opened))) => {
                        prop_assert_eq!(pass.change(), half_opened.then_some(Change::HalfOpened));
                        running.push((pass, of));
                    }
                    (admitted, expected) => {
                        prop_assert_eq!(admitted.map(drop), expected.map(drop), "at {}", now_ms);
                    }
                }
            } else {
                let (pass, of) = running.swap_remove(which % running.len());
                if what == 9 {
                    breaker.cancelled(pass, now);
                    naive.cancelled(of);
                } else {
                    let failed = luck < failing;
                    let took_us = if luck % 5 == 0 { SLOW_US } else { QUICK_US };
                    let change = breaker.done(pass, failed, took_us, now, NO_JITTER);
                    prop_assert_eq!(change, naive.done(of, failed, took_us, now_ms), "at {}", now_ms);
                }
            }
            prop_assert_eq!(breaker.state(now), naive.state(now_ms));
            prop_assert_eq!(breaker.counts(now), naive.counts(now_ms));
        }
    }
}
