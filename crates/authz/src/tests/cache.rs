//! A cached decision is the one that would be made.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{AuthMethod, Caller, Mode, Principal};
use proptest::prelude::*;

use super::{NOON, built, caller, file, inputs, long, policies, principal, shown};
use crate::{Body, Cache, CacheCounts, Input, Inputs, Policies, decide};

fn small() -> Cache {
    Cache::new(NonZeroUsize::new(100).unwrap())
}

fn ask(
    cache: &mut Cache,
    policies: &Policies,
    operation: &str,
    who: &Principal,
    path: &[(&str, &str)],
    now: UnixMs,
) -> String {
    let scopes = ScopeNames::default();
    let address = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let input = Input { path, body: &Body::None, address, scopes: &scopes };
    let plan = policies.find("payments", "v1", operation).unwrap();
    let cached = cache.decide(policies, plan, who, &input, now);
    assert_eq!(cached, decide(plan, who, &input, now), "as without the cache");
    shown(&cached)
}

const TEXT: &str = r#"
    @id("group") permit(principal in Group::"g", action == Action::"getPayment", resource);
    @id("level") permit(principal, action == Action::"getPayment", resource) when { principal has level && principal.level > 3 };
    @id("plan") permit(principal, action == Action::"getPayment", resource) when { principal.plan == "gold" };
    @id("own") permit(principal, action == Action::"getPayment", resource) when { principal has consumer && resource.path.id == principal.consumer };
    @id("list") permit(principal, action == Action::"listPayments", resource) when { context.hour == 13 };"#;

#[test]
fn whatever_policies_read_makes_another_decision() {
    let policies = policies(&[("payments", TEXT)]);
    let mut cache = small();
    let mut get = |who: &Caller, id: &str| {
        ask(&mut cache, &policies, "getPayment", &principal(who.clone()), &[("id", id)], NOON)
    };
    let acme = caller();
    assert_eq!(get(&acme, "1"), "no permit");
    // The same generation throughout: tokens of one person may say different things of her.
    assert_eq!(get(&Caller { groups: Arc::from(["g".into()]), ..acme.clone() }, "1"), "permit group");
    assert_eq!(
        get(&Caller { attributes: Arc::new([("level".to_owned(), long(5))].into()), ..acme.clone() }, "1"),
        "permit level"
    );
    assert_eq!(get(&Caller { plan: Some("gold".into()), ..acme.clone() }, "1"), "permit plan");
    assert_eq!(get(&acme, "acme"), "permit own");
    assert_eq!(get(&Caller { consumer: Some("other".into()), ..acme.clone() }, "acme"), "no permit");
    assert_eq!(
        get(&Caller { user: Some("acme".into()), consumer: None, ..acme.clone() }, "acme"),
        "no permit"
    );
    assert_eq!(get(&Caller { user: Some("x".into()), ..acme.clone() }, "acme"), "permit own");
    assert_eq!(
        get(&Caller { user: Some("x".into()), consumer: Some("b".into()), ..acme.clone() }, "acme"),
        "no permit"
    );
    assert_eq!(get(&acme, "1"), "no permit");
    assert_eq!(cache.counts().hits, 0, "each of them was another question");
}

#[test]
fn what_is_the_same_is_remembered() {
    let policies = policies(&[("payments", TEXT)]);
    let mut cache = small();
    let acme = caller();
    for generation in [1, 1, 2, 2, 1] {
        let who = principal(Caller { generation, ..acme.clone() });
        assert_eq!(ask(&mut cache, &policies, "getPayment", &who, &[("id", "1")], NOON), "no permit");
    }
    assert_eq!(cache.counts(), CacheCounts { hits: 3, misses: 2, entries: 2 });
    // How it was proved, for what mode, and with what scopes is context: nothing that these policies could have read.
    let other = Caller { method: AuthMethod::Jwt, mode: Mode::Test, key_id: Some("k".into()), ..acme };
    ask(&mut cache, &policies, "getPayment", &principal(other), &[("id", "1")], UnixMs(0));
    assert_eq!(cache.counts().hits, 4);
}

#[test]
fn what_looks_at_the_context_is_never_remembered() {
    for condition in [
        "context.hour == 13",
        "context == context",
        "(if true then context else context).hour == 13",
        "context has body && context.hour == 13",
        "{\"c\": context}.c.hour == 13",
        "[context].isEmpty() || context.mode == \"live\"",
        "context.body == {}",
    ] {
        let text = format!(
            "@id(\"p\") permit(principal, action == Action::\"listPayments\", resource) when {{ {condition} }};"
        );
        let Ok(policies) = Policies::build(&inputs(&[("payments", &text)])) else { continue };
        let plan = policies.find("payments", "v1", "listPayments").unwrap();
        assert!(!plan.is_cacheable(), "{condition}");
        let mut cache = small();
        for now in [NOON, NOON, UnixMs(0)] {
            ask(&mut cache, &policies, "listPayments", &principal(caller()), &[], now);
        }
        assert_eq!(cache.counts(), CacheCounts::default(), "{condition}");
    }
    // A shadow policy that looks is enough: its answer is reported with the other.
    let shadow = "permit(principal, action, resource) when { context.hour == 13 };";
    let text = "permit(principal, action, resource);";
    let both = Inputs { shadow: vec![file("payments", shadow)], ..inputs(&[("payments", text)]) };
    assert!(!built(&both).find("payments", "v1", "listPayments").unwrap().is_cacheable());
    assert!(policies(&[("payments", text)]).find("payments", "v1", "listPayments").unwrap().is_cacheable());
}

#[test]
fn other_policies_make_other_decisions() {
    let mut cache = small();
    let who = principal(caller());
    for (effect, expected) in [("permit", "permit p"), ("forbid", "forbid p"), ("permit", "permit p")] {
        let text = format!("@id(\"p\") {effect}(principal, action, resource);");
        let policies = policies(&[("payments", &text)]);
        for _ in 0..2 {
            assert_eq!(ask(&mut cache, &policies, "listPayments", &who, &[], NOON), expected);
        }
    }
    assert_eq!(cache.counts().hits, 3);
}

#[test]
fn it_is_bounded() {
    let policies = policies(&[("payments", TEXT)]);
    let mut cache = small();
    let who = principal(caller());
    for n in 0..10_000 {
        ask(&mut cache, &policies, "getPayment", &who, &[("id", &n.to_string())], NOON);
    }
    assert!(cache.counts().entries <= 100, "{:?}", cache.counts());
}

#[test]
fn only_the_path_that_is_read_is_in_the_key() {
    let policies = policies(&[("payments", "permit(principal, action, resource);")]);
    let mut cache = small();
    let who = principal(caller());
    for id in ["1", "2", "3"] {
        ask(&mut cache, &policies, "getPayment", &who, &[("id", id)], NOON);
    }
    assert_eq!(cache.counts(), CacheCounts { hits: 2, misses: 1, entries: 1 });
}

proptest! {
    /// Whatever is asked in whatever order, it is what would be decided without a cache (`ask` compares).
    #[test]
    fn a_cache_changes_nothing(asked in prop::collection::vec((0..3usize, 0..3usize, any::<bool>(), 0..3u64, any::<bool>()), 1..60)) {
        static POLICIES: LazyLock<Policies> = LazyLock::new(|| policies(&[("payments", TEXT)]));
        let mut cache = Cache::new(NonZeroUsize::new(4).unwrap());
        for (who, id, has_group, generation, has_level) in asked {
            let groups = if has_group { Arc::from(["g".into()]) } else { Arc::from([]) };
            let level = has_level.then(|| ("level".to_owned(), long(5)));
            let caller = Caller {
                consumer: Some(["a", "b", "c"][who].into()),
                attributes: Arc::new(level.into_iter().collect()),
                groups,
                generation,
                ..caller()
            };
            ask(&mut cache, &POLICIES, "getPayment", &principal(caller), &[("id", ["a", "b", "x"][id])], NOON);
        }
    }
}
