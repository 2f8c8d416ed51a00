use mainstay_core::principal::{AuthMethod, Mode};

use super::*;
use TokenRefusal as R;

#[test]
fn issuers_are_compared_byte_for_byte() {
    for iss in [
        json!("https://id.example.com/"),
        json!("https://ID.example.com"),
        json!("http://id.example.com"),
        json!("https://id.example.com:443"),
        json!("https://id.example.com.evil.example"),
        json!("https://id.example.co"),
        json!(["https://id.example.com"]),
        json!(""),
        json!(1),
        Value::Null,
    ] {
        check("issuer", &signed(&with(json!({ "iss": iss.clone() }))), Err(R::Issuer));
    }
    // Signed with the keys of an issuer, said to be of another whose keys are others.
    let other = signed(&with(json!({ "iss": "https://other.example.com" })));
    let others_keys = KeySet::parse(set(&[OTHER.jwk("p256")]).as_bytes()).unwrap().0;
    let verified = verify_with(&other, &issuers(), &others_keys, &index());
    assert_eq!(verified.map(|_| ()), Err(R::Signature), "the same kid in two issuers is two keys");
}

#[test]
fn audiences() {
    for (aud, expected) in [
        (json!("payments"), Ok(())),
        (json!("refunds"), Ok(())),
        (json!(["x", "payments"]), Ok(())),
        (json!("payment"), Err(R::Audience)),
        (json!("payments2"), Err(R::Audience)),
        (json!("Payments"), Err(R::Audience)),
        (json!("x payments"), Err(R::Audience)),
        (json!(""), Err(R::Audience)),
        (json!([]), Err(R::Audience)),
        (json!(["pay", "ments"]), Err(R::Audience)),
        (json!([["payments"]]), Err(R::Claim)),
        (json!(["payments", 1]), Err(R::Claim)),
        (json!({ "payments": true }), Err(R::Claim)),
        (json!(1), Err(R::Claim)),
        (Value::Null, Err(R::Audience)),
    ] {
        check(&aud.to_string(), &signed(&with(json!({ "aud": aud }))), expected);
    }
    let none = Issuers::new(vec![IssuerPlan { audiences: vec![], ..plan(ISSUER) }]);
    let verified = verify_with(&signed(&claims()), &none, &keys(), &index());
    assert_eq!(verified.map(|_| ()), Err(R::Audience), "an issuer without audiences");
}

#[test]
fn times() {
    for (changes, expected) in [
        // The skew is 30 s: what is 30 s off is still good, what is over it is not.
        (json!({ "exp": NOW_S }), Ok(())),
        (json!({ "exp": NOW_S - 29 }), Ok(())),
        (json!({ "exp": NOW_S - 30 }), Err(R::Expired)),
        (json!({ "exp": NOW_S - 120 }), Err(R::Expired)),
        (json!({ "exp": 0 }), Err(R::Expired)),
        (json!({ "nbf": NOW_S + 30 }), Ok(())),
        (json!({ "nbf": NOW_S + 31 }), Err(R::NotYetValid)),
        (json!({ "nbf": NOW_S + 120 }), Err(R::NotYetValid)),
        (json!({ "iat": NOW_S + 30 }), Ok(())),
        (json!({ "iat": NOW_S + 31 }), Err(R::NotYetValid)),
        (json!({ "iat": NOW_S + 120 }), Err(R::NotYetValid)),
        (json!({ "iat": null }), Ok(())),
        // Fractions of a second are numbers (RFC 7519, section 2); they are taken against the token.
        (json!({ "exp": NOW_S as f64 - 28.5 }), Ok(())),
        (json!({ "exp": NOW_S as f64 - 29.5 }), Err(R::Expired)),
        (json!({ "nbf": NOW_S as f64 + 30.5 }), Err(R::NotYetValid)),
        (json!({ "exp": null }), Err(R::Claim)),
        (json!({ "exp": "1900000000" }), Err(R::Claim)),
        (json!({ "exp": -1 }), Err(R::Claim)),
        (json!({ "exp": true }), Err(R::Claim)),
        (json!({ "exp": [1_900_000_000] }), Err(R::Claim)),
        (json!({ "exp": 1e300 }), Err(R::Claim)),
        (json!({ "exp": u64::MAX }), Err(R::Claim)),
        (json!({ "nbf": "0" }), Err(R::Claim)),
        (json!({ "nbf": -1 }), Err(R::Claim)),
        (json!({ "iat": "0" }), Err(R::Claim)),
        (json!({ "iat": -5.5 }), Err(R::Claim)),
        (json!({ "iat": 1e18 }), Err(R::Claim)),
    ] {
        check(&changes.to_string(), &signed(&with(changes.clone())), expected);
    }
    // A null that stands there is a wrong type, not a missing claim.
    let null = claims().to_string().replace("1800000600", "null");
    let token = P256.token(Algorithm::Es256, r#"{"alg":"ES256","kid":"p256"}"#, &null);
    check("exp: null", &token, Err(R::Claim));
    assert_eq!(verify(&signed(&claims())).unwrap().ends_at, UnixMs((NOW_S + 630) * 1000));
    let cast = |at: i64| prepare(signed(&claims()).as_bytes(), &issuers(), UnixMs(at)).map(|_| ());
    assert_eq!(cast(i64::MAX), Err(R::Expired));
    assert_eq!(cast(i64::MIN), Err(R::NotYetValid));
    assert_eq!(cast(0), Err(R::NotYetValid), "a clock in 1970");
}

#[test]
fn tokens_of_other_kinds() {
    for changes in [
        json!({ "at_hash": "x" }),
        json!({ "c_hash": "x" }),
        json!({ "events": {} }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": "Offline" }),
        json!({ "typ": "Logout" }),
    ] {
        check(&changes.to_string(), &signed(&with(changes.clone())), Err(R::Type));
    }
    check("Keycloak's access token", &signed(&with(json!({ "typ": "Bearer" }))), Ok(()));
    // An ID token's audience is the client.
    check("an ID token", &signed(&with(json!({ "aud": "acme", "nonce": "n" }))), Err(R::Audience));
    check("bound", &signed(&with(json!({ "cnf": { "jkt": "x" } }))), Err(R::Bound));
}

#[test]
fn who_it_is() {
    let caller = verify(&signed(&claims())).unwrap().caller;
    assert_eq!(caller.consumer.as_deref(), Some("acme"));
    assert_eq!(caller.client_id.as_deref(), Some("acme"));
    assert_eq!(caller.plan.as_deref(), Some("pro"));
    assert_eq!(*caller.groups, ["partners".into()]);
    assert_eq!((caller.mode, caller.method), (Mode::Live, AuthMethod::Jwt));
    assert!(caller.user.is_none(), "another issuer's people are not ours");
    let unlisted = verify(&signed(&with(json!({ "client_id": "newcomer" })))).unwrap().caller;
    assert_eq!(unlisted.consumer.as_deref(), Some("newcomer"));
    assert_eq!(unlisted.plan, None);
    for (id, expected) in [
        (json!("suspended"), R::Suspended),
        (json!(""), R::Claim),
        (json!("a b"), R::Consumer),
        (json!("a\nb"), R::Claim),
        (json!("x".repeat(65)), R::Consumer),
        (json!("x".repeat(300)), R::Claim),
        (json!(["acme"]), R::Claim),
        (json!(7), R::Claim),
        (Value::Null, R::Consumer),
    ] {
        check(&id.to_string(), &signed(&with(json!({ "client_id": id }))), Err(expected));
    }
}

#[test]
fn scopes_are_those_of_ours_that_it_names() {
    let index = index();
    for (changes, expected) in [
        (json!({}), vec!["payments:read"]),
        (json!({ "scope": "payments:write payments:read" }), vec!["payments:read", "payments:write"]),
        (json!({ "scope": ["payments:write"] }), vec!["payments:write"]),
        (json!({ "scope": null, "scp": ["payments:write", "x"] }), vec!["payments:write"]),
        (json!({ "scope": null, "scp": "payments:read" }), vec!["payments:read"]),
        (json!({ "scope": "payments:read", "scp": "payments:write" }), vec!["payments:read"]),
        (json!({ "scope": "Payments:read payments:read2 payments:" }), vec![]),
        (json!({ "scope": "" }), vec![]),
        (json!({ "scope": null }), vec![]),
    ] {
        let verified = verify_with(&signed(&with(changes.clone())), &issuers(), &keys(), &index).unwrap();
        let names = index.scope_names().names(&verified.caller.scopes);
        assert_eq!(names, expected.into_iter().map(Arc::from).collect::<Vec<Arc<str>>>(), "{changes}");
    }
    for scope in [json!(1), json!({}), json!(["payments:read", 1]), json!(true)] {
        check(&scope.to_string(), &signed(&with(json!({ "scope": scope }))), Err(R::Claim));
    }
    assert_eq!(index.scope_names().len(), 2, "nobody outside fills the table");
}

#[test]
fn claims_for_plan_and_mode() {
    let subject = Subject::Claims {
        consumer_claim: "tenant".into(),
        plan_claim: Some("tier".into()),
        mode_claim: Some("env".into()),
        is_known_only: true,
    };
    let issuers = Issuers::new(vec![IssuerPlan { subject, ..plan(ISSUER) }]);
    let judge = |changes: Value| {
        let caller = verify_with(&signed(&with(changes)), &issuers, &keys(), &index())?.caller;
        Ok((caller.plan.as_deref().map(str::to_owned), caller.mode))
    };
    let plan = |name: &str| Some(name.to_owned());
    for (changes, expected) in [
        (json!({ "tenant": "acme", "tier": "free", "env": "test" }), Ok((plan("free"), Mode::Test))),
        (json!({ "tenant": "acme", "env": "live" }), Ok((plan("pro"), Mode::Live))),
        (json!({ "tenant": "acme" }), Err(R::Claim)),
        (json!({ "tenant": "acme", "env": "Live" }), Err(R::Claim)),
        (json!({ "tenant": "acme", "env": true }), Err(R::Claim)),
        (json!({ "tenant": "acme", "env": "live", "tier": 1 }), Err(R::Claim)),
        (json!({ "tenant": "newcomer", "env": "live" }), Err(R::Consumer)),
        (json!({ "env": "live" }), Err(R::Consumer)),
    ] {
        assert_eq!(judge(changes.clone()), expected, "{changes}");
    }
}
