//! Rows of tokens that are not accepted, and of those that are; vectors of RFC 7515 and RFC 8037.

mod claims;
mod headers;
mod own;
mod signatures;
mod vectors;

use std::sync::Arc;

use mainstay_core::catalogue::Consumer;
use mainstay_core::clock::UnixMs;
use serde_json::{Value, json};

use super::*;
use crate::index::Change;
use crate::test_keys::{ED, OTHER, P256, P384, RSA, b64, key_of, set, unsigned};

const ISSUER: &str = "https://id.example.com";
/// 2027-01-15, in seconds.
const NOW_S: i64 = 1_800_000_000;
const NOW: UnixMs = UnixMs(NOW_S * 1000);

fn plan(issuer: &str) -> IssuerPlan {
    IssuerPlan {
        issuer: issuer.into(),
        audiences: vec!["payments".into(), "refunds".into()],
        algorithms: Algorithm::ALL.to_vec(),
        clock_skew_ms: 30_000,
        types: TypeRule::Any,
        subject: Subject::Claims {
            consumer_claim: "client_id".into(),
            plan_claim: None,
            mode_claim: None,
            is_known_only: false,
        },
    }
}

fn issuers() -> Issuers {
    Issuers::new(vec![plan(ISSUER), plan("https://other.example.com")])
}

fn keys() -> KeySet {
    let all = [RSA.jwk("rsa"), P256.jwk("p256"), P384.jwk("p384"), ED.jwk("ed")];
    KeySet::parse(set(&all).as_bytes()).unwrap().0
}

fn index() -> Index {
    let index = Index::new(Arc::default());
    index.scope_names().give(["payments:read", "payments:write"]).unwrap();
    for (id, suspended) in [("acme", false), ("suspended", true)] {
        index.apply(Change::Consumer(&Consumer {
            id: id.to_owned(),
            name: String::new(),
            plan: Some("pro".to_owned()),
            groups: vec!["partners".to_owned()],
            attributes: Default::default(),
            suspended,
            created_at: 0,
        }));
    }
    index
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "payments", "client_id": "acme", "sub": "acme",
        "iat": NOW_S - 60, "exp": NOW_S + 600, "scope": "payments:read openid",
    })
}

/// The claims with some replaced; `null` takes one out.
fn with(changes: Value) -> Value {
    let (mut claims, Value::Object(changes)) = (claims(), changes) else { panic!("an object") };
    for (name, value) in changes {
        match value {
            Value::Null => claims.as_object_mut().unwrap().shift_remove(&name),
            value => claims.as_object_mut().unwrap().insert(name, value),
        };
    }
    claims
}

/// A token that is signed rightly.
fn signed(claims: &Value) -> String {
    P256.token(Algorithm::Es256, r#"{"alg":"ES256","kid":"p256"}"#, &claims.to_string())
}

fn verify_with(
    token: &str,
    issuers: &Issuers,
    keys: &KeySet,
    index: &Index,
) -> Result<Verified, TokenRefusal> {
    prepare(token.as_bytes(), issuers, NOW)?.verify(keys, index)
}

fn verify(token: &str) -> Result<Verified, TokenRefusal> {
    verify_with(token, &issuers(), &keys(), &index())
}

fn check(what: &str, token: &str, expected: Result<(), TokenRefusal>) {
    assert_eq!(verify(token).map(|_| ()), expected, "{what}");
}
