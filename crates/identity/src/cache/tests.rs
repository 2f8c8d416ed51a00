use std::collections::HashMap;

use mainstay_core::principal::{AuthMethod, Mode};
use proptest::prelude::*;

use super::*;

const NOW: UnixMs = UnixMs(1_000_000);

fn hash(number: u64) -> Sha256 {
    crate::key::sha256(&number.to_be_bytes())
}

fn verified(consumer: &str, ends_at: UnixMs) -> Result<Verified, TokenRefusal> {
    let caller = Caller {
        consumer: Some(consumer.into()),
        user: None,
        plan: None,
        groups: Arc::default(),
        attributes: Arc::default(),
        mode: Mode::Live,
        method: AuthMethod::Jwt,
        key_id: None,
        client_id: None,
        scopes: Arc::default(),
        generation: 0,
    };
    Ok(Verified { caller: Arc::new(caller), ends_at, issuer: 0 })
}

fn cache() -> TokenCache {
    TokenCache::new(CachePlan::default(), [7, 9])
}

const EPOCH: Epoch = Epoch { index: 5, scopes: 2, config: 3 };

#[test]
fn a_good_token_is_known_while_nothing_has_changed() {
    let mut cache = cache();
    let ends_at = UnixMs(NOW.0 + 1000);
    cache.put(&hash(1), EPOCH, Some((1, 40)), &verified("acme", ends_at), NOW);
    let keys = |issuer: usize| if issuer == 1 { 40 } else { 0 };
    for (what, epoch, generation, now, expected) in [
        ("the same", EPOCH, 40, NOW, true),
        ("just before its end", EPOCH, 40, UnixMs(ends_at.0 - 1), true),
        ("its end", EPOCH, 40, ends_at, false),
        ("another key set", EPOCH, 41, NOW, false),
        ("a key set that is too old", EPOCH, 0, NOW, false),
        ("somebody was revoked", Epoch { index: 6, ..EPOCH }, 40, NOW, false),
        ("a scope came", Epoch { scopes: 3, ..EPOCH }, 40, NOW, false),
        ("another configuration", Epoch { config: 4, ..EPOCH }, 40, NOW, false),
    ] {
        let found = cache.get(&hash(1), &epoch, |issuer| keys(issuer) - 40 + generation, now);
        assert_eq!(found.is_some(), expected, "{what}");
    }
    assert!(cache.get(&hash(2), &EPOCH, keys, NOW).is_none());
}

#[test]
fn of_wrong_ones_only_what_stays_wrong_is_known_and_not_for_long() {
    use TokenRefusal as R;
    let mut cache = cache();
    let (keys, later) = (|_| 40, UnixMs(NOW.0 + 10_000));
    for (number, refusal, is_kept) in [
        (0, R::Malformed, true),
        (1, R::Signature, true),
        (2, R::UnknownKey, false),
        (3, R::Expired, false),
        (4, R::NotYetValid, false),
        (5, R::Suspended, false),
        (6, R::Issuer, false),
    ] {
        cache.put(&hash(number), EPOCH, Some((0, 40)), &Err(refusal), NOW);
        let found = cache.get(&hash(number), &EPOCH, keys, NOW).map(|it| it.map(|_| ()));
        assert_eq!(found, is_kept.then_some(Err(refusal)), "{refusal:?}");
        assert!(cache.get(&hash(number), &EPOCH, keys, later).is_none(), "{refusal:?}");
    }
    assert!(cache.get(&hash(1), &EPOCH, |_| 41, NOW).is_none(), "the keys are others now");
    cache.put(&hash(9), EPOCH, None, &Err(R::Malformed), NOW);
    assert!(cache.get(&hash(9), &EPOCH, |_| 41, NOW).is_some(), "no key helps");
}

#[test]
fn nonsense_pushes_no_good_token_out() {
    let mut cache = TokenCache::new(CachePlan { wrong_max: 16, ..CachePlan::default() }, [1, 2]);
    cache.put(&hash(0), EPOCH, Some((0, 1)), &verified("acme", UnixMs(i64::MAX)), NOW);
    for number in 1..10_000 {
        cache.put(&hash(number), EPOCH, None, &Err(TokenRefusal::Malformed), NOW);
    }
    assert!(cache.len().1 <= 16);
    assert!(cache.get(&hash(0), &EPOCH, |_| 1, NOW).is_some());
}

#[test]
fn it_is_bounded_in_bytes() {
    let plan = CachePlan { bytes_max: 100 * ENTRY_BYTES, ..CachePlan::default() };
    let mut cache = TokenCache::new(plan, [1, 2]);
    for number in 0..1000 {
        let consumer = "x".repeat(if number % 2 == 0 { 10 } else { 5000 });
        cache.put(&hash(number), EPOCH, Some((0, 1)), &verified(&consumer, UnixMs(i64::MAX)), NOW);
        assert!(cache.bytes() <= plan.bytes_max && cache.len().0 <= 100);
    }
    assert!(!cache.is_empty());
}

proptest! {
    /// Whatever comes in whatever order, nothing is answered that was not put in for this token.
    #[test]
    fn an_answer_is_the_tokens_own(ops in proptest::collection::vec((0..20_u64, 0..4_u64, any::<bool>()), 0..100)) {
        let (mut cache, mut twin) = (TokenCache::new(CachePlan::default(), [3, 4]), HashMap::new());
        for (number, generation, is_put) in ops {
            if is_put {
                let consumer = format!("{number}-{generation}");
                cache.put(&hash(number), EPOCH, Some((0, generation)), &verified(&consumer, UnixMs(i64::MAX)), NOW);
                twin.insert(number, (generation, consumer));
            } else {
                let expected = twin.get(&number).filter(|(known, _)| *known == generation);
                let found = cache.get(&hash(number), &EPOCH, |_| generation, NOW);
                let found = found.and_then(Result::ok).and_then(|caller| caller.consumer.as_deref());
                prop_assert_eq!(found, expected.map(|(_, consumer)| consumer.as_str()));
            }
        }
    }
}
