//! Which endpoints are eligible.

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, prop_assert, prop_assert_eq, proptest};

use super::{Balance, Health, MonoMs, Pool, PoolPlan, Random, START, after, counts, eject, make_unhealthy};
use super::{plan, pool_of};

const ALL: [Balance; 3] = [Balance::LeastLoaded, Balance::RoundRobin, Balance::Hash];

/// Of `weights.len()` endpoints, with these ejected and these unhealthy: who is picked, over many draws.
#[track_caller]
fn check(balance: Balance, health: &str, panic_below: f64, tried: u64, expected: (&[usize], bool)) {
    let pool = pool_of(PoolPlan { panic_below, ..plan(balance) }, &vec![1; health.len()]);
    set_health(&pool, health, START);
    let random = Random::seeded(3);
    let mut seen = vec![];
    for _ in 0..400 {
        let choice = pool.pick(START, random.bits(), Some(random.bits()), tried);
        let choice = choice.unwrap_or_else(|| panic!("{balance:?} {health}: nobody"));
        assert_eq!(choice.panic, expected.1, "{balance:?} {health}");
        seen.push(choice.index);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, expected.0, "{balance:?} {health} tried {tried:b}");
}

/// A letter an endpoint: `h`ealthy, `e`jected (past all limits of the pool), `u`nhealthy.
fn set_health(pool: &Pool, health: &str, now: MonoMs) {
    let eject_plan = super::EJECT;
    for (index, letter) in health.chars().enumerate() {
        match letter {
            'e' => _ = pool.endpoints()[index].eject(&eject_plan, now, 0.0),
            'u' => make_unhealthy(pool, index, now),
            _ => {}
        }
    }
}

#[test]
fn untried_healthy_then_tried_healthy_then_ejected() {
    for balance in ALL {
        check(balance, "h", 0.0, 0b0, (&[0], false));
        check(balance, "h", 0.0, 0b1, (&[0], false));
        check(balance, "hh", 0.0, 0b01, (&[1], false));
        check(balance, "hhh", 0.0, 0b101, (&[1], false));
        check(balance, "hhh", 0.0, 0b111, (&[0, 1, 2], false));
        check(balance, "heu", 0.0, 0b000, (&[0], false));
        // A healthy one again rather than an ejected one for the first time.
        check(balance, "heu", 0.0, 0b001, (&[0], false));
        check(balance, "uee", 0.0, 0b000, (&[1, 2], true));
        check(balance, "uee", 0.0, 0b010, (&[2], true));
        check(balance, "uee", 0.0, 0b110, (&[1, 2], true));
    }
}

#[test]
fn panic_ignores_health_below_the_share_and_not_at_it() {
    for balance in ALL {
        check(balance, "huuu", 0.25, 0, (&[0], false));
        check(balance, "huuu", 0.26, 0, (&[0, 1, 2, 3], true));
        check(balance, "huuu", 0.26, 0b1011, (&[2], true));
        check(balance, "huu", 0.3, 0, (&[0], false));
        check(balance, "uu", 0.3, 0, (&[0, 1], true));
        check(balance, "ee", 0.3, 0, (&[0, 1], true));
        check(balance, "hhhe", 1.0, 0, (&[0, 1, 2, 3], true));
        check(balance, "hhhh", 1.0, 0, (&[0, 1, 2, 3], false));
    }
}

#[test]
fn nobody_is_the_answer_only_when_checks_say_so_of_all() {
    for balance in ALL {
        let pool = pool_of(plan(balance), &[1, 2]);
        make_unhealthy(&pool, 0, START);
        assert!(pool.pick(START, 0, None, 0).is_some());
        make_unhealthy(&pool, 1, START);
        assert_eq!(pool.pick(START, 0, None, 0), None);
        assert_eq!(pool_of(plan(balance), &[]).pick(START, 0, None, 0), None);
    }
}

#[test]
fn an_ejected_one_comes_back_by_itself() {
    let pool = pool_of(plan(Balance::RoundRobin), &[1, 1]);
    let for_ms = eject(&pool, 0, START);
    assert_eq!(counts(&pool, after(for_ms - 1), 10), [0, 10]);
    assert_eq!(counts(&pool, after(for_ms), 10), [5, 5]);
}

#[test]
fn endpoints_beyond_the_64th_count_as_untried() {
    for balance in ALL {
        let pool = pool_of(plan(balance), &[1; 70]);
        let random = Random::seeded(1);
        for _ in 0..200 {
            let choice = pool.pick(START, random.bits(), Some(random.bits()), u64::MAX);
            assert!(choice.is_some_and(|choice| choice.index >= 64));
        }
    }
}

/// The prose of the module, word for word.
fn eligible(health: &str, panic_below: f64, tried: u64) -> (Vec<usize>, bool) {
    let letters: Vec<char> = health.chars().collect();
    let of = |wanted: &str| -> Vec<usize> {
        (0..letters.len()).filter(|index| wanted.contains(letters[*index])).collect()
    };
    let share = of("h").len() as f64 / letters.len() as f64;
    let (among, panic) = match () {
        () if share < panic_below => (of("heu"), true),
        () if !of("h").is_empty() => (of("h"), false),
        () => (of("e"), true),
    };
    let untried: Vec<usize> = among.iter().copied().filter(|index| tried >> index & 1 == 0).collect();
    (if untried.is_empty() { among } else { untried }, panic)
}

proptest! {
    #[test]
    fn the_choice_agrees_with_the_prose(
        balance in prop_oneof![Just(Balance::LeastLoaded), Just(Balance::RoundRobin), Just(Balance::Hash)],
        endpoints in collection::vec(("[hhheu]", 1_u32..5, 0_u32..4), 1..9),
        panic_below in prop_oneof![Just(0.0), 0.0..=1.0],
        tried in any::<u64>(),
        randoms in collection::vec(any::<(u64, Option<u64>)>(), 1..20),
    ) {
        let health: String = endpoints.iter().map(|(letter, ..)| letter.as_str()).collect();
        let weights: Vec<u32> = endpoints.iter().map(|(_, weight, _)| *weight).collect();
        let pool = pool_of(PoolPlan { panic_below, slow_start_ms: 500, ..plan(balance) }, &weights);
        for (endpoint, (_, _, in_flight)) in pool.endpoints().iter().zip(&endpoints) {
            (0..*in_flight).for_each(|_| endpoint.begin());
        }
        set_health(&pool, &health, START);
        let (expected, panic) = eligible(&health, panic_below, tried);
        for (random, hash) in randoms {
            match pool.pick(START, random, hash, tried) {
                Some(choice) => {
                    prop_assert!(expected.contains(&choice.index), "{choice:?} of {expected:?}");
                    prop_assert_eq!(choice.panic, panic);
                }
                None => prop_assert!(expected.is_empty()),
            }
        }
        let healthy = pool.endpoints().iter().filter(|e| e.health(START) == Health::Healthy).count();
        prop_assert_eq!(pool.healthy(START), healthy);
        prop_assert_eq!(pool.is_in_panic(START), panic && (healthy as f64) < panic_below * weights.len() as f64);
    }
}

/// Kept apart from the macro, so that a strategy is read as one.
fn steps() -> impl Strategy<Value = Vec<(usize, u8, u64)>> {
    collection::vec((0_usize..6, 0_u8..8, 0_u64..400), 0..300)
}

proptest! {
    /// Whatever happens to the endpoints, ejection stays within its share, leaves one healthy, and never a request
    /// without an endpoint.
    #[test]
    fn ejection_keeps_its_bounds(count in 1_usize..6, share_max in 0.0..=1.0, steps in steps()) {
        let eject = super::EjectPlan { consecutive_failures: 2, share_max, ..super::EJECT };
        let pool = pool_of(PoolPlan { eject: Some(eject), ..plan(Balance::LeastLoaded) }, &vec![1; count]);
        let mut now = START;
        for (index, what, ms) in steps {
            let index = index % count;
            now.0 += ms;
            let endpoint = &pool.endpoints()[index];
            let change = match what {
                0 => endpoint.answered(now),
                1 => endpoint.checked(true, 1, 1, now),
                2 if ms > 200 => endpoint.checked(false, 1, 1, now),
                _ => pool.failed(index, now, 0.5),
            };
            let health: Vec<Health> = pool.endpoints().iter().map(|e| e.health(now)).collect();
            let ejected = health.iter().filter(|h| **h == Health::Ejected).count();
            if let Some(super::Change::Ejected { for_ms }) = change {
                prop_assert!(health.contains(&Health::Healthy));
                prop_assert!(ejected as f64 <= share_max * count as f64 + 1e-9 || (ejected == 1 && count <= 3));
                prop_assert!((1_000..=6_300).contains(&for_ms));
            }
            let all_unhealthy = health.iter().all(|h| *h == Health::Unhealthy);
            prop_assert_eq!(pool.pick(now, ms, None, 0).is_none(), all_unhealthy);
        }
    }
}
