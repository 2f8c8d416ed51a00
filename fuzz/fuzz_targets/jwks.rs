//! Key sets: no panic, bounded, and a private key is never taken for a public one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_core::clock::MonoMs;
use mainstay_identity::jwks::{Decision, KeySet, Keys, SET_KEYS_MAX, SourcePlan, max_age_s};
use mainstay_identity::jwt::Algorithm;

fuzz_target!(|text: &[u8]| {
    let read = KeySet::parse(text);
    let keys = Keys::new(SourcePlan::default());
    let max_age = std::str::from_utf8(text).ok().and_then(max_age_s);
    assert!(keys.begin(MonoMs(1)));
    let taken = keys.succeeded(text, max_age, MonoMs(1));
    assert_eq!(read.is_ok(), taken.is_ok());
    let Ok((set, notes)) = read else {
        assert!(matches!(keys.decide(Some("a"), Algorithm::Es256, MonoMs(1)), Decision::Refuse(_)));
        return;
    };
    assert!((1..=SET_KEYS_MAX).contains(&set.len()) && notes.len() <= SET_KEYS_MAX + 1);
    for algorithm in Algorithm::ALL {
        let found = set.find(None, algorithm).is_ok();
        let decided = matches!(keys.decide(None, algorithm, MonoMs(1)), Decision::Verify(_));
        assert_eq!(found, decided, "{algorithm:?}");
    }
});
