use super::*;

const PLAN: SourcePlan = SourcePlan {
    refresh_min_ms: 60_000,
    refresh_max_ms: 3_600_000,
    keep_ms: 86_400_000,
    unknown_key_every_ms: 10_000,
    retry_min_ms: 1_000,
    retry_max_ms: 60_000,
    fetch_timeout_ms: 5_000,
    wait_ms: 500,
};

const UNKNOWN: Refusal = Refusal::Token(TokenRefusal::UnknownKey);

fn at(s: u64) -> MonoMs {
    MonoMs(1_000_000 + s * 1000)
}

/// What was decided, in a word or two.
fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Verify(_) => "verify",
        Decision::Fetch(_) => "fetch",
        Decision::Refuse(UNKNOWN) => "401",
        Decision::Refuse(Refusal::Unavailable { .. }) => "503",
        Decision::Refuse(_) => "other",
    }
}

fn decide(keys: &Keys, id: &str, now: MonoMs) -> &'static str {
    word(&keys.decide(Some(id), Algorithm::Es256, now))
}

fn waiting(keys: &Keys, id: &str, now: MonoMs) -> Wait {
    let Decision::Fetch(wait) = keys.decide(Some(id), Algorithm::Es256, now) else { panic!("no wait") };
    wait
}

fn after(keys: &Keys, wait: Wait, id: &str, now: MonoMs) -> &'static str {
    word(&keys.after_wait(wait, Some(id), Algorithm::Es256, now))
}

/// A fetch that brings keys with these ids.
fn bring(keys: &Keys, ids: &[&str], now: MonoMs) {
    let all: Vec<_> = ids.iter().map(|id| P256.jwk(id)).collect();
    keys.succeeded(set(&all).as_bytes(), None, now).unwrap();
}

fn with_keys(ids: &[&str]) -> Keys {
    let keys = Keys::new(PLAN);
    assert!(keys.begin(at(0)));
    bring(&keys, ids, at(0));
    keys
}

#[test]
fn down_at_the_start() {
    let keys = Keys::new(PLAN);
    assert_eq!(keys.freshness(at(0)), Freshness::Never);
    assert_eq!(keys.next_due(at(0)), Some(at(0)), "fetched without being asked");
    let wait = waiting(&keys, "a", at(0));
    assert_eq!(wait.wait_ms, 500);
    assert!(keys.begin(at(0)));
    keys.failed(at(0));
    assert_eq!(after(&keys, wait, "a", at(0)), "503");
    // Until the next try nobody waits; the answer says how long.
    let Decision::Refuse(refusal) = keys.decide(Some("a"), Algorithm::Es256, at(0)) else { panic!() };
    assert_eq!(refusal, Refusal::Unavailable { retry_after_s: 1 });
    assert!(!keys.begin(at(0)));
    assert_eq!(keys.next_due(at(0)), Some(at(1)));
    assert!(keys.begin(at(1)));
    keys.failed(at(1));
    assert_eq!(keys.next_due(at(1)), Some(at(3)), "twice as long");
    assert!(keys.begin(at(3)));
    bring(&keys, &["a"], at(3));
    assert_eq!(decide(&keys, "a", at(3)), "verify");
}

#[test]
fn the_backoff_has_an_end() {
    let keys = Keys::new(PLAN);
    let mut now = at(0);
    for _ in 0..100 {
        assert!(keys.begin(now));
        keys.failed(now);
        let due = keys.next_due(now).unwrap();
        assert!(due.since(now) <= PLAN.retry_max_ms && due > now);
        now = due;
    }
}

#[test]
fn one_fetch_at_a_time() {
    let keys = Keys::new(PLAN);
    let waits: Vec<_> = (0..100).map(|_| waiting(&keys, "a", at(0))).collect();
    assert!(keys.begin(at(0)));
    assert!((0..100).all(|_| !keys.begin(at(0))), "a second one");
    assert!(keys.is_refreshing(at(0)));
    assert_eq!(decide(&keys, "a", at(1)), "fetch", "who comes later waits for the same");
    bring(&keys, &["a"], at(1));
    assert!(waits.into_iter().all(|wait| after(&keys, wait, "a", at(1)) == "verify"));
    assert!(!keys.begin(at(1)));
}

#[test]
fn a_fetch_that_never_comes_back_blocks_nobody() {
    let keys = Keys::new(PLAN);
    let wait = waiting(&keys, "a", at(0));
    assert!(keys.begin(at(0)));
    assert_eq!(after(&keys, wait, "a", MonoMs(at(0).0 + 500)), "503", "slow: 60 s");
    assert!(!keys.begin(at(4)));
    assert!(keys.begin(at(5)));
}

#[test]
fn down_later() {
    let keys = with_keys(&["a"]);
    // Four fifths of an hour.
    assert_eq!(keys.next_due(at(0)), Some(at(2880)));
    assert!(!keys.begin(at(2879)));
    assert!(keys.begin(at(2880)));
    let generation = keys.generation(at(2880));
    for text in ["", "<html>", "{\"keys\":[]}"] {
        assert!(keys.succeeded(text.as_bytes(), Some(600), at(2880)).is_err());
        assert_eq!(decide(&keys, "a", at(2880)), "verify", "{text}");
    }
    keys.failed(at(2880));
    assert_eq!(keys.freshness(at(3599)), Freshness::Fresh);
    assert_eq!(keys.freshness(at(3600)), Freshness::Stale);
    assert_eq!(decide(&keys, "a", at(80_000)), "verify", "stale and usable");
    assert_eq!(keys.generation(at(86_399)), generation);
    assert_eq!(decide(&keys, "a", at(86_399)), "verify");
    assert_eq!(keys.freshness(at(86_400)), Freshness::TooOld);
    assert_eq!(keys.generation(at(86_400)), 0, "tokens that were verified with it are not kept either");
    let wait = waiting(&keys, "a", at(86_400));
    assert!(keys.begin(at(86_400)));
    keys.failed(at(86_400));
    assert_eq!(after(&keys, wait, "a", at(86_400)), "503", "never open, never 401");
}

#[test]
fn a_flood_of_unknown_keys_costs_one_fetch() {
    let keys = with_keys(&["a"]);
    assert_eq!(decide(&keys, "x", at(1)), "401", "fetched a second ago without it");
    let wait = waiting(&keys, "x", at(10));
    assert_eq!(decide(&keys, "a", at(10)), "verify", "others do not wait");
    assert!(keys.begin(at(10)));
    bring(&keys, &["a"], at(11));
    assert_eq!(after(&keys, wait, "x", at(11)), "401", "fetched without it");
    let mut fetches = 0;
    for ms in 0..9_000 {
        let now = MonoMs(at(11).0 + ms);
        assert_eq!(decide(&keys, &format!("x{ms}"), now), "401");
        fetches += u32::from(keys.begin(now));
    }
    assert_eq!(fetches, 0);
    assert_eq!(decide(&keys, "x", at(21)), "fetch");
}

#[test]
fn an_unknown_key_while_fetching_fails_is_never_401() {
    let keys = with_keys(&["a"]);
    let wait = waiting(&keys, "new", at(20));
    // Two tokens in one request while it fails (CVE-2025-64527).
    let second = waiting(&keys, "new", at(20));
    assert!(keys.begin(at(20)));
    keys.failed(at(20));
    assert_eq!(after(&keys, wait, "new", at(20)), "503");
    assert_eq!(after(&keys, second, "new", at(20)), "503");
    assert_eq!(decide(&keys, "new", at(20)), "503", "not before the next try");
    assert_eq!(decide(&keys, "a", at(20)), "verify");
    let wait = waiting(&keys, "new", at(21));
    assert!(keys.begin(at(21)));
    bring(&keys, &["a", "new"], at(21));
    assert_eq!(after(&keys, wait, "new", at(21)), "verify");
}

#[test]
fn a_rotation_with_overlap() {
    let keys = with_keys(&["old"]);
    let before = keys.generation(at(30));
    bring(&keys, &["old"], at(30));
    assert_eq!(keys.generation(at(30)), before, "the same text is the same set");
    let wait = waiting(&keys, "new", at(60));
    assert!(keys.begin(at(60)));
    bring(&keys, &["old", "new"], at(60));
    assert_ne!(keys.generation(at(60)), before);
    assert_eq!(after(&keys, wait, "new", at(60)), "verify");
    assert_eq!(decide(&keys, "old", at(60)), "verify");
    bring(&keys, &["new"], at(90));
    assert_eq!(decide(&keys, "old", at(91)), "401", "gone with the set that no longer has it");
}

#[test]
fn what_the_issuer_says_of_its_age_is_bounded() {
    for (max_age, due, stale) in [
        (Some(0), 48, 60),
        (Some(1), 48, 60),
        (Some(600), 480, 600),
        (Some(u64::MAX), 2880, 3600),
        (None, 2880, 3600),
    ] {
        let keys = Keys::new(PLAN);
        assert!(keys.begin(at(0)));
        keys.succeeded(set(&[P256.jwk("a")]).as_bytes(), max_age, at(0)).unwrap();
        assert_eq!(keys.next_due(at(0)), Some(at(due)), "{max_age:?}");
        assert_eq!(keys.freshness(MonoMs(at(stale).0 - 1)), Freshness::Fresh, "{max_age:?}");
        assert_eq!(keys.freshness(at(stale)), Freshness::Stale, "{max_age:?}");
    }
}

#[test]
fn a_set_that_is_not_fetched() {
    let of = |id: &str| KeySet::parse(set(&[P256.jwk(id)]).as_bytes()).unwrap().0;
    let keys = Keys::fixed(of("a"), b"a");
    let far = MonoMs(u64::MAX / 2);
    assert_eq!(decide(&keys, "a", far), "verify");
    assert_eq!(decide(&keys, "b", far), "401", "nothing to wait for");
    assert_eq!((keys.next_due(far), keys.begin(far)), (None, false));
    let before = keys.generation(far);
    // Read again, it is the same, and voids nothing.
    assert!(!keys.replace(of("a"), b"a"));
    assert_eq!(keys.generation(far), before);
    assert!(keys.replace(of("b"), b"b"));
    assert_ne!(keys.generation(far), before);
    assert_eq!(decide(&keys, "b", far), "verify");
}

#[test]
fn what_no_newer_set_helps_is_refused_at_once() {
    let keys = with_keys(&["a"]);
    let decision = keys.decide(Some("a"), Algorithm::Rs256, at(100));
    assert!(matches!(decision, Decision::Refuse(Refusal::Token(TokenRefusal::Algorithm))));
    assert!(!keys.begin(at(100)), "no fetch for it");
}
