//! Whatever happens in whatever order, the promises hold.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn never_401_without_an_answer_and_never_two_fetches(
        steps in proptest::collection::vec((0..5_u8, 0..20_000_u64), 0..60),
    ) {
        let plan = SourcePlan::default();
        let (keys, mut now) = (Keys::new(plan), MonoMs(1));
        let text = set(&[P256.jwk("a")]);
        let (mut under_way, mut last_good) = (None::<MonoMs>, None::<MonoMs>);
        for (step, ms) in steps {
            now = MonoMs(now.0 + ms);
            let is_usable = last_good.is_some_and(|at| now.since(at) < plan.keep_ms);
            match step {
                0 => {
                    let known = keys.decide(Some("a"), Algorithm::Es256, now);
                    prop_assert_eq!(matches!(known, Decision::Verify(_)), is_usable);
                    prop_assert!(!matches!(known, Decision::Refuse(Refusal::Token(_))));
                }
                1 => match keys.decide(Some("x"), Algorithm::Es256, now) {
                    Decision::Verify(_) => prop_assert!(false, "a key that is not there"),
                    Decision::Refuse(refusal) if refusal.code().status() == 401 => {
                        let age = last_good.map(|at| now.since(at));
                        prop_assert!(age.is_some_and(|age| age < plan.unknown_key_every_ms));
                    }
                    Decision::Refuse(_) | Decision::Fetch(_) => {}
                },
                2 => {
                    let running = under_way.is_some_and(|at| now.since(at) < plan.fetch_timeout_ms);
                    let begun = keys.begin(now);
                    prop_assert!(!(running && begun), "two at a time");
                    if begun {
                        under_way = Some(now);
                    }
                }
                3 => {
                    prop_assert!(keys.succeeded(text.as_bytes(), Some(ms), now).is_ok());
                    (under_way, last_good) = (None, Some(now));
                }
                _ => {
                    keys.failed(now);
                    under_way = None;
                }
            }
        }
    }

    #[test]
    fn any_text_is_read(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(KeySet::parse(&text).is_err());
    }
}
