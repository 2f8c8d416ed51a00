//! Rows for one failure, a model and threads for the budget of all of them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mainstay_core::clock::MonoMs;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{Asked, Budget, BudgetPlan, Cause, Causes, Failure, RetryPlan, Verdict, Why, decide};

const PLAN: RetryPlan = RetryPlan {
    attempts_max: 3,
    on: Causes::ALL,
    backoff_base_ms: 100,
    backoff_max_ms: 1_000,
    honours_key: false,
};
const HONOURS: RetryPlan = RetryPlan { honours_key: true, ..PLAN };

const GET: Asked = Asked { safe: true, has_key: false, replayable: true };
/// Of any unsafe method, idempotent or not.
const POST: Asked = Asked { safe: false, ..GET };
const POST_WITH_KEY: Asked = Asked { has_key: true, ..POST };

const fn failure(cause: Cause) -> Failure {
    let delivered = !matches!(cause, Cause::Connect | Cause::Unprocessed);
    Failure { cause, delivered, retry_after_ms: None }
}

const RESET: Failure = failure(Cause::Reset);

/// With 10 s left, a jitter of a half, and a budget.
fn verdict(plan: &RetryPlan, attempt: u32, failure: &Failure, asked: &Asked) -> Verdict {
    decide(plan, attempt, failure, asked, Some(10_000), 0.5, || true)
}

fn again(after_ms: u64) -> Verdict {
    Verdict::Again { after_ms }
}

#[test]
fn only_listed_causes_are_tried_again() {
    let rows = [
        (Cause::Connect, Some("connect")),
        (Cause::Unprocessed, Some("connect")),
        (Cause::Reset, Some("reset")),
        (Cause::Malformed, Some("502")),
        (Cause::Status(502), Some("502")),
        (Cause::Status(503), Some("503")),
        (Cause::Status(504), Some("504")),
        (Cause::Timeout, Some("504")),
        (Cause::Status(500), None),
        (Cause::Status(501), None),
        (Cause::Status(429), None),
        (Cause::Status(200), None),
    ];
    for (cause, needed) in rows {
        assert_eq!(cause.word(), needed);
        for word in Causes::WORDS {
            let mut on = Causes::default();
            assert!(on.insert(word));
            let plan = RetryPlan { on, ..PLAN };
            let stopped = verdict(&plan, 1, &failure(cause), &GET) == Verdict::Stop(Why::CauseNotListed);
            assert_eq!(stopped, needed != Some(word), "{cause:?} with {word}");
        }
        let plan = RetryPlan { on: Causes::default(), ..PLAN };
        assert_eq!(verdict(&plan, 1, &failure(cause), &GET), Verdict::Stop(Why::CauseNotListed));
    }
}

#[test]
fn words_are_the_configurations() {
    let mut on = Causes::default();
    for word in ["", "500", "Connect", "connect ", "timeout"] {
        assert!(!on.insert(word) && !on.has(word), "{word}");
    }
    assert_eq!(on, Causes::default());
    for word in Causes::WORDS {
        assert!(!on.has(word) && on.insert(word) && on.has(word), "{word}");
    }
    assert_eq!(on, Causes::ALL);
}

#[test]
fn what_may_have_happened_is_not_sent_again_unless_that_is_harmless() {
    let stop = Verdict::Stop(Why::MayHaveHappened);
    let undelivered = Failure { delivered: false, ..RESET };
    // Says of itself that nothing was sent, and is not believed.
    let doubtful = Failure { delivered: true, ..failure(Cause::Connect) };
    for (plan, asked, failure, expected) in [
        (&PLAN, POST, RESET, stop),
        (&PLAN, POST, failure(Cause::Timeout), stop),
        (&PLAN, POST, failure(Cause::Malformed), stop),
        (&PLAN, POST, failure(Cause::Status(503)), stop),
        (&PLAN, POST, doubtful, stop),
        (&PLAN, POST_WITH_KEY, RESET, stop),
        (&HONOURS, POST, RESET, stop),
        (&HONOURS, POST_WITH_KEY, RESET, again(50)),
        (&HONOURS, POST_WITH_KEY, failure(Cause::Status(503)), again(50)),
        (&PLAN, POST, undelivered, again(50)),
        (&PLAN, POST, failure(Cause::Connect), again(0)),
        (&PLAN, POST, failure(Cause::Unprocessed), again(0)),
        (&PLAN, GET, RESET, again(50)),
    ] {
        assert_eq!(verdict(plan, 1, &failure, &asked), expected, "{asked:?} after {failure:?}");
    }
}

#[test]
fn a_body_that_is_gone_is_not_sent_again() {
    for asked in [GET, POST_WITH_KEY] {
        let gone = Asked { replayable: false, ..asked };
        assert_eq!(verdict(&HONOURS, 1, &RESET, &gone), Verdict::Stop(Why::BodyGone));
    }
}

#[test]
fn attempts_count_from_the_first() {
    for (attempts_max, attempt, expected) in [
        (0, 1, Verdict::Stop(Why::AttemptsUsedUp)),
        (1, 1, Verdict::Stop(Why::AttemptsUsedUp)),
        (2, 1, again(50)),
        (2, 2, Verdict::Stop(Why::AttemptsUsedUp)),
        (3, 2, again(100)),
        (3, 3, Verdict::Stop(Why::AttemptsUsedUp)),
        (3, u32::MAX, Verdict::Stop(Why::AttemptsUsedUp)),
    ] {
        let plan = RetryPlan { attempts_max, ..PLAN };
        assert_eq!(verdict(&plan, attempt, &RESET, &GET), expected, "{attempt} of {attempts_max}");
    }
}

#[test]
fn waits_double_up_to_the_longest_and_are_spread_whole() {
    let plan = RetryPlan { attempts_max: u32::MAX, ..PLAN };
    for (attempt, jitter, after_ms) in [
        (1, 0.0, 0),
        (1, 0.5, 50),
        (1, 0.999, 99),
        (2, 0.5, 100),
        (3, 0.5, 200),
        (4, 0.5, 400),
        (5, 0.5, 500),
        (64, 0.5, 500),
        (65, 0.999, 999),
        (u32::MAX - 1, 0.5, 500),
    ] {
        let verdict = decide(&plan, attempt, &RESET, &GET, Some(10_000), jitter, || true);
        assert_eq!(verdict, again(after_ms), "attempt {attempt} at {jitter}");
    }
}

#[test]
fn what_was_not_sent_is_tried_elsewhere_at_once_and_then_waits() {
    for cause in [Cause::Connect, Cause::Unprocessed] {
        assert_eq!(verdict(&PLAN, 1, &failure(cause), &GET), again(0));
        assert_eq!(verdict(&PLAN, 2, &failure(cause), &GET), again(100));
    }
}

#[test]
fn the_wait_ends_before_the_deadline() {
    let near = Verdict::Stop(Why::DeadlineTooNear);
    for (left_ms, expected) in [(Some(0), near), (Some(50), near), (Some(51), again(50)), (None, again(50))] {
        assert_eq!(decide(&PLAN, 1, &RESET, &GET, left_ms, 0.5, || true), expected, "{left_ms:?}");
    }
    // Also when there is no wait at all.
    assert_eq!(decide(&PLAN, 1, &failure(Cause::Connect), &GET, Some(0), 0.5, || true), near);
}

#[test]
fn retry_after_is_waited_for_or_there_is_no_retry() {
    let long = Verdict::Stop(Why::RetryAfterTooLong);
    for (retry_after_ms, left_ms, expected) in [
        (2_000, Some(2_001), again(2_000)),
        (2_000, Some(2_000), long),
        (u64::MAX, Some(u64::MAX), long),
        // At once is no sooner than everybody else.
        (0, Some(2_000), again(50)),
        (0, Some(50), Verdict::Stop(Why::DeadlineTooNear)),
        (0, Some(0), long),
        // Without a deadline: as long as the longest wait.
        (1_000, None, again(1_000)),
        (1_001, None, long),
    ] {
        let failure = Failure { retry_after_ms: Some(retry_after_ms), ..failure(Cause::Status(503)) };
        let verdict = decide(&PLAN, 1, &failure, &GET, left_ms, 0.5, || true);
        assert_eq!(verdict, expected, "{retry_after_ms} with {left_ms:?}");
    }
}

#[test]
fn the_budget_is_asked_last_and_once() {
    assert_eq!(decide(&PLAN, 1, &RESET, &GET, Some(10_000), 0.5, || false), Verdict::Stop(Why::BudgetSpent));
    let untouched = || panic!("a token was taken for an attempt that is not made");
    let none = RetryPlan { on: Causes::default(), ..PLAN };
    let late = Failure { retry_after_ms: Some(20_000), ..RESET };
    let gone = Asked { replayable: false, ..GET };
    decide(&none, 1, &RESET, &GET, Some(10_000), 0.5, untouched);
    decide(&PLAN, 1, &RESET, &POST, Some(10_000), 0.5, untouched);
    decide(&PLAN, 1, &RESET, &gone, Some(10_000), 0.5, untouched);
    decide(&PLAN, 3, &RESET, &GET, Some(10_000), 0.5, untouched);
    decide(&PLAN, 1, &RESET, &GET, Some(10), 0.5, untouched);
    decide(&PLAN, 1, &late, &GET, Some(10_000), 0.5, untouched);
}

fn budget(ratio: f64, floor_per_s: f64) -> Budget {
    Budget::new(BudgetPlan { ratio, floor_per_s }, MonoMs(0))
}

fn withdrawn(budget: &Budget, now_ms: u64) -> u64 {
    (0..1_000_000).take_while(|_| budget.withdraw(MonoMs(now_ms))).count() as u64
}

#[test]
fn of_a_thousand_requests_two_hundred_are_tried_again() {
    let budget = budget(0.2, 0.0);
    assert_eq!(withdrawn(&budget, 0), 0);
    for n in 0..1_000 {
        budget.deposit(MonoMs(n));
    }
    assert_eq!(budget.level(MonoMs(1_000)), 200.0);
    assert_eq!(withdrawn(&budget, 1_000), 200);
    assert_eq!(budget.level(MonoMs(1_000)), 0.0);
}

#[test]
fn deposits_last_ten_seconds_and_the_oldest_go_first() {
    let budget = budget(0.5, 0.0);
    for now_ms in [500, 500, 3_500, 3_500, 3_500] {
        budget.deposit(MonoMs(now_ms));
    }
    for (now_ms, level) in [(3_500, 2.5), (9_999, 2.5), (10_000, 1.5), (12_999, 1.5), (13_000, 0.0)] {
        assert_eq!(budget.level(MonoMs(now_ms)), level, "at {now_ms}");
    }
    // The token of second 0 is taken, so nothing is lost when that second ends.
    assert!(budget.withdraw(MonoMs(9_000)));
    assert_eq!(budget.level(MonoMs(10_000)), 1.5);
}

#[test]
fn a_token_that_was_not_needed_is_there_for_the_next() {
    let budget = budget(0.2, 1.0);
    assert!(budget.withdraw(MonoMs(0)) && !budget.withdraw(MonoMs(0)));
    budget.put_back(MonoMs(0));
    assert!(budget.withdraw(MonoMs(0)) && !budget.withdraw(MonoMs(0)));
}

#[test]
fn the_floor_is_one_at_the_start_and_trickles_in() {
    for (floor_per_s, rows) in [
        (1.0, &[(0, 1), (999, 0), (1_000, 1), (1_999, 0), (60_000, 1)][..]),
        (10.0, &[(0, 1), (99, 0), (100, 1), (1_000, 9), (60_000, 10)]),
        (0.5, &[(0, 1), (1_999, 0), (2_000, 1), (60_000, 1)]),
        (0.0, &[(0, 0), (60_000, 0)]),
    ] {
        let budget = budget(0.0, floor_per_s);
        for (now_ms, tokens) in rows {
            let level = budget.level(MonoMs(*now_ms));
            assert!(level >= *tokens as f64 && level < *tokens as f64 + 1.0, "{level} at {now_ms}");
            assert_eq!(withdrawn(&budget, *now_ms), *tokens, "{floor_per_s} at {now_ms}");
        }
    }
}

#[test]
fn odd_plans_and_clocks_neither_panic_nor_give_without_end() {
    for (ratio, floor_per_s) in
        [(0.0, 1e-30), (-1.0, -1.0), (f64::NAN, f64::NAN), (f64::INFINITY, 1e300), (1e300, f64::INFINITY)]
    {
        for start_ms in [0, u64::MAX] {
            let plan = BudgetPlan { ratio, floor_per_s };
            let budget = Budget::new(plan, MonoMs(start_ms));
            for now_ms in [start_ms, 0, 5, u64::MAX] {
                budget.deposit(MonoMs(now_ms));
                budget.withdraw(MonoMs(now_ms));
                assert!(budget.level(MonoMs(now_ms)) >= 0.0);
            }
        }
    }
}

/// Deposits by second in steps of 0.0001, and the floor as a bucket of tokens.
struct Model {
    step: u64,
    seconds: BTreeMap<u64, u64>,
    floor_per_s: u64,
    /// In thousandths of a token.
    floor_level: u64,
    at_ms: u64,
}

impl Model {
    fn at(&mut self, now_ms: u64) {
        self.seconds.retain(|second, _| second + 10 > now_ms / 1_000);
        let held_max = 1_000 * self.floor_per_s;
        let come = (now_ms - self.at_ms) * self.floor_per_s;
        self.floor_level = (self.floor_level + come).min(held_max);
        self.at_ms = now_ms;
    }

    fn withdraw(&mut self) -> bool {
        if self.seconds.values().sum::<u64>() >= 10_000 {
            let mut missing = 10_000;
            for kept in self.seconds.values_mut() {
                let part = missing.min(*kept);
                *kept -= part;
                missing -= part;
            }
            return true;
        }
        let enough = self.floor_level >= 1_000;
        self.floor_level -= if enough { 1_000 } else { 0 };
        enough
    }
}

proptest! {
    #[test]
    fn the_budget_agrees_with_its_model(
        percent in 0..=100_u64,
        // Rates whose tokens are whole milliseconds apart, which is what the model counts in.
        floor_per_s in proptest::sample::select(vec![0_u64, 1, 2, 4, 5, 10, 20]),
        steps in proptest::collection::vec((0..1_500_u64, 0..6_u32, 0..6_u32), 1..120),
    ) {
        let budget = budget(percent as f64 / 100.0, floor_per_s as f64);
        let floor_level = if floor_per_s == 0 { 0 } else { 1_000 };
        let step = percent * 100;
        let mut model = Model { step, seconds: BTreeMap::new(), floor_per_s, floor_level, at_ms: 0 };
        let (mut now_ms, mut requests, mut further) = (0, 0, 0);
        for (step_ms, deposits, withdrawals) in steps {
            now_ms += step_ms;
            model.at(now_ms);
            for _ in 0..deposits {
                budget.deposit(MonoMs(now_ms));
                *model.seconds.entry(now_ms / 1_000).or_default() += model.step;
            }
            requests += u64::from(deposits);
            for _ in 0..withdrawals {
                let given = budget.withdraw(MonoMs(now_ms));
                prop_assert_eq!(given, model.withdraw(), "at {}", now_ms);
                further += u64::from(given);
            }
            let held = model.seconds.values().sum::<u64>() as f64 / 1e4 + model.floor_level as f64 / 1e3;
            prop_assert!((budget.level(MonoMs(now_ms)) - held).abs() < 1e-6);
            // In hundredths of milliseconds, to stay with whole numbers.
            let allowed = percent * requests * 1_000 + floor_per_s * now_ms * 100 + 100_000;
            prop_assert!(further * 100_000 <= allowed, "{} for {} in {} ms", further, requests, now_ms);
        }
    }

    #[test]
    fn threads_together_stay_within_the_budget(
        ratio in 0.0..1.0_f64,
        floor_per_s in 0.0..20.0_f64,
        threads in 2..5_usize,
        step_ms in 0..40_u64,
    ) {
        const EACH: u64 = 300;
        let budget = budget(ratio, floor_per_s);
        let clock = AtomicU64::new(0);
        // Every request fails and is tried as often as the budget lets it, by threads that see the time differently.
        let work = || {
            let mut further = 0_u64;
            for n in 0..EACH {
                let now_ms = if n % 5 == 0 { clock.fetch_add(step_ms, Relaxed) } else { clock.load(Relaxed) };
                budget.deposit(MonoMs(now_ms));
                further += u64::from(budget.withdraw(MonoMs(now_ms.saturating_sub(n % 3))));
            }
            further
        };
        let further: u64 = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let (requests, seconds) = (threads as u64 * EACH, clock.load(Relaxed) as f64 / 1e3);
        let allowed = ratio * requests as f64 + floor_per_s * seconds + 1.0;
        prop_assert!(further as f64 <= allowed + 1e-6, "{} of {}", further, allowed);
        // Nothing is lost either where no deposit grew old: what was not given is still there.
        if seconds < 9.0 && step_ms == 0 {
            let rest = withdrawn(&budget, 0);
            let floor = u64::from(floor_per_s > 0.0);
            let steps = (ratio * 1e4 + 1e-6) as u64 * requests;
            prop_assert_eq!(further + rest, steps / 10_000 + floor);
        }
    }
}
