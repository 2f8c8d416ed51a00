//! Tokens of other issuers: who issues them, what is fetched, and what operations ask for.

use std::time::Duration;

use mainstay_core::algorithm::Algorithm;
use mainstay_core::principal::AuthMethod;

use super::{check, good};
use crate::checked::{Auth, AuthRule, Forward, KeyPlace};

const URL: &str = "issuer: https://id.example.com, jwks: https://id.example.com/jwks.json";

fn issuer(keys: &str) -> String {
    format!("auth: {{ jwt: {{ issuers: [{{ {keys} }}] }} }}\n")
}

fn asking(auth: &str) -> String {
    format!(
        "apis:\n  a:\n    versions:\n      v1:\n        upstream: up\n        operations:\n          GET /x: {{ auth: {auth} }}\n"
    )
}

#[test]
fn an_issuer_has_a_name_keys_and_audiences() {
    let with = |keys: &str, expected: &[&str]| check(&issuer(keys), expected);
    with(&format!("{URL}, audiences: payments"), &[]);
    with(URL, &["error missing_key 1:26"]);
    with(&format!("{URL}, audiences: []"), &["error empty_list 1:111"]);
    with("issuer: x, audiences: a", &["error missing_key 1:26"]);
    with("jwks: https://h/k, audiences: a", &["error missing_key 1:26"]);
    with(&format!("{URL}, audiences: a, algorithms: []"), &["error empty_list 1:126"]);
    for weak in ["none", "NoNe", "HS256", "HS512"] {
        with(&format!("{URL}, audiences: a, algorithms: {weak}"), &["error weak_algorithm 1:126"]);
    }
    with(&format!("{URL}, audiences: a, algorithms: RSA"), &["error unknown_word 1:126"]);
    with(&format!("{URL}, audiences: a, clock_skew: 10m"), &["error out_of_range 1:126"]);
    with(&format!("{URL}, audiences: a }}, {{ {URL}, audiences: b"), &["error duplicate_entry 1:116"]);

    let checked = good(&issuer(&format!("{URL}?a=1, audiences: a")));
    let found = &checked.identity.issuers[0];
    assert_eq!((found.issuer.as_str(), &*found.audiences), ("https://id.example.com", &["a".to_owned()][..]));
    let KeyPlace::Url(url) = &found.keys else { panic!("{found:?}") };
    assert_eq!(url.to_string(), "https://id.example.com/jwks.json?a=1");
    use Algorithm::{EdDsa, Es256, Rs256};
    assert_eq!(found.algorithms, [Rs256, Es256, EdDsa]);
    assert_eq!(found.consumer_claim, "client_id");
    assert!(found.known_consumers, "nobody is let in whom nobody could suspend, unless that is said");
    assert_eq!(found.clock_skew, Duration::from_secs(30));
    assert_eq!(checked.identity.outbound.wait, Duration::from_millis(500));
}

#[test]
fn keys_come_over_tls_from_a_place_that_is_one() {
    let with = |jwks: &str, expected: &[&str]| {
        check(&issuer(&format!("issuer: a, audiences: b, jwks: '{jwks}'")), expected);
    };
    for good in ["https://h", "https://h:8443/k", "https://[::1]/k", "https://127.0.0.1/k", "https://h?x=1"] {
        with(good, &[]);
    }
    for bad in [
        "ftp://h/k",
        "file:///etc/passwd",
        "https://u:p@h/k",
        "https://h/k#f",
        "https://h/a b",
        "https://",
        "https://h:99999/k",
        "https://2130706433/k",
        "https://0x7f000001/k",
        "https://127.1/k",
    ] {
        with(bad, &["error bad_key_set 1:59"]);
    }
    with("http://h/k", &["error plain_key_set 1:59"]);
    with("jwks.json", &["error missing_file 1:59"]);
    check(
        "auth: { jwt: { issuers: [{ issuer: a, audiences: b, jwks: 'http://10.0.0.1/k' }] }, outbound: { allow: 10.0.0.0/8 } }",
        &[],
    );
    check("auth: { outbound: { allow: [10.0.0.1/8] } }", &["error bad_network 1:29"]);
}

#[test]
fn operations_ask_for_tokens_that_somebody_issues() {
    let issuers = issuer(&format!("{URL}, audiences: a"));
    let with = |auth: &str, expected: &[&str]| check(&format!("{issuers}{}", asking(auth)), expected);
    check(&asking("jwt"), &["error no_issuers 7:27"]);
    check(&asking("{ all: [api_key, jwt] }"), &["error no_issuers 7:27"]);
    with("jwt", &[]);
    with("[api_key, { all: [api_key, jwt] }]", &[]);
    with("{ all: [jwt] }", &["error auth_all_alone 8:34"]);
    with("{ all: [jwt, jwt] }", &["error auth_all_alone 8:34"]);
    with("{ all: [jwt, saml] }", &["error auth_unsupported 8:40"]);
    with("{ any: [jwt] }", &["error auth_unsupported 8:27", "error unknown_key 8:29"]);
    with("[mtls]", &["error auth_unsupported 8:28"]);
    with("[oauth, jwt]", &["error auth_unsupported 8:28"]);

    let checked = good(&format!("{issuers}{}", asking("[jwt, { all: [api_key, jwt] }]")));
    let auth = &checked.apis["a"].versions["v1"].operations[0].auth;
    use AuthMethod::{ApiKey, Jwt};
    assert_eq!(*auth, Auth::Any(vec![AuthRule::One(Jwt), AuthRule::All(vec![ApiKey, Jwt])]));
    assert!(checked.identity.stores.is_some(), "whoever is let in is known");
}

#[test]
fn upstreams_see_no_credentials_unless_that_is_said() {
    let forward = |text: &str| good(text).identity.forward;
    assert_eq!(forward(""), Forward::default());
    assert_eq!(forward("auth: { forward: jwt }"), Forward { jwt: true, api_key: false });
    assert_eq!(forward("auth: { forward: [api_key, jwt] }"), Forward { jwt: true, api_key: true });
    check("auth: { forward: cookie }", &["error unknown_word 1:18"]);
}
