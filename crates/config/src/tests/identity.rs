//! Stores, ways to prove who one is, plans, consumers, scopes, sandboxes.

use mainstay_core::principal::{Attribute, AuthMethod};

use super::{check, check_files, good};
use crate::checked::{Auth, AuthRule, Priority, Store};

fn operation(keys: &str) -> String {
    format!(
        "apis:\n  a:\n    versions:\n      v1:\n        upstream: up\n        operations:\n          GET /x: {{ {keys} }}\n"
    )
}

fn version(keys: &str) -> String {
    format!(
        "upstreams: {{ up: {{ endpoints: http://a:1 }}, box: {{ endpoints: http://b:1 }} }}\napis: {{ a: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ {keys}, operations: {{ GET /x: {{}} }} }} }} }} }}\n"
    )
}

#[test]
fn operations_ask_for_keys_and_scopes() {
    let with = |keys: &str, expected: &[&str]| check(&operation(keys), expected);
    with("auth: api_key", &[]);
    with("auth: [api_key], scopes: [payments:read, payments:write]", &[]);
    with("auth: none, scopes: payments:read", &["error scopes_without_auth 7:41"]);
    with("auth: api_key, scopes: ['a b']", &["error bad_scope 7:45"]);
    with("auth: api_key, scopes: ['']", &["error bad_scope 7:45"]);
    with("auth: api_key, scopes: ['\"x']", &["error bad_scope 7:45"]);
    with("auth: [api_key, saml]", &["error auth_unsupported 7:37"]);

    let checked = good(&operation("auth: api_key, scopes: [b, a, b]"));
    let operation = &checked.apis["a"].versions["v1"].operations[0];
    assert_eq!(operation.auth, Auth::Any(vec![AuthRule::One(AuthMethod::ApiKey)]));
    assert_eq!(operation.scopes, ["a", "b"]);
    assert_eq!(operation.priority, None, "its caller's plan says");
}

#[test]
fn a_store_is_there_when_somebody_must_be_known() {
    let stores = |text: &str| good(text).identity.stores.map(|stores| stores.catalogue);
    assert_eq!(stores(""), None, "nothing asks for anybody, so no file is made");
    assert_eq!(stores(&operation("auth: api_key")), Some(Store::Sqlite("mainstay.db".into())));
    assert_eq!(stores("stores: { state: sqlite:x.db }"), Some(Store::Sqlite("x.db".into())));
    assert_eq!(
        stores("stores: { catalogue: postgres://u@h/d }"),
        Some(Store::Postgres("postgres://u@h/d".to_owned()))
    );
    for bad in ["mainstay.db", "sqlite:", "sqlite:x/", "mysql://h/d", "sqlite:a?mode=ro"] {
        check(&format!("stores: {{ state: '{bad}' }}"), &["error bad_store 1:18"]);
    }
}

#[test]
fn consumers_of_the_file() {
    let with = |entry: &str, expected: &[&str]| {
        check(&format!("plans: {{ pro: {{ priority: high }} }}\nconsumers: [{{ {entry} }}]"), expected);
    };
    with("id: acme, name: Acme Ltd, plan: pro, groups: [banks]", &[]);
    with("name: Acme Ltd", &["error missing_key 2:13"]);
    with("id: 'a b'", &["error bad_consumer_id 2:19"]);
    with("id: acme, plan: gold", &["error unknown_plan 2:31"]);
    with("id: acme }, { id: acme", &["error duplicate_entry 2:33"]);
    with("id: acme, attributes: { rate: 0.5 }", &["error bad_number 2:45"]);
    with("id: acme, attributes: { rate: }", &["error wrong_type 2:43"]);
    with("id: acme, attributes: 5", &["error wrong_type 2:37"]);

    let checked = good(
        "plans: { pro: { priority: high }, free: {} }\nconsumers: [{ id: acme, plan: pro, attributes: { limit: 500, text: '500', vip: true, regions: [eu, 7], more: { a: 1 } } }]",
    );
    let acme = &checked.identity.consumers[0];
    assert_eq!((acme.name.as_str(), acme.plan.as_deref()), ("acme", Some("pro")));
    assert_eq!(acme.attributes["limit"], Attribute::Long(500));
    assert_eq!(acme.attributes["text"], Attribute::Text("500".to_owned()));
    assert_eq!(acme.attributes["vip"], Attribute::Bool(true));
    let regions = vec![Attribute::Text("eu".to_owned()), Attribute::Long(7)];
    assert_eq!(acme.attributes["regions"], Attribute::List(regions));
    assert_eq!(checked.identity.plans["pro"].priority, Priority::High);
    assert_eq!(checked.identity.plans["free"].priority, Priority::Normal);
}

#[test]
fn a_consumer_is_in_one_file() {
    check_files(
        &[
            ("mainstay.yaml", &super::whole("include: t.yaml\nconsumers: [{ id: acme }]")),
            ("t.yaml", "consumers: [{ id: other }, { id: acme }]"),
        ],
        &["error duplicate_entry t.yaml:1:34"],
    );
}

#[test]
fn test_keys_reach_a_sandbox_and_nothing_live() {
    check(&version("upstream: up"), &[]);
    check(&version("upstream: up, sandbox: box"), &[]);
    check(&version("upstream: up, sandbox: nope"), &["error unknown_upstream 2:81"]);
    check(&version("upstream: up, sandbox: up"), &["error sandbox_is_live 2:81"]);
    let checked = good(&version("upstream: up, sandbox: box"));
    let sandbox = checked.apis["a"].versions["v1"].sandbox.as_ref();
    assert_eq!(sandbox.map(|upstream| upstream.name.as_str()), Some("box"));
}

#[test]
fn the_header_of_keys_means_nothing_else() {
    check("auth: { api_keys: { header: X-Our-Key } }", &[]);
    for taken in ["Authorization", "cookie", "X-Consumer-Id", "x-forwarded-for", "host"] {
        check(&format!("auth: {{ api_keys: {{ header: {taken} }} }}"), &["error bad_header 1:29"]);
    }
    assert_eq!(good("auth: { api_keys: { header: X-Our-Key } }").identity.api_keys.header, "x-our-key");
}

#[test]
fn wrong_credentials_are_limited_unless_that_is_off() {
    let preauth = |text: &str| good(text).server.preauth.map(|limit| (limit.rate_per_s, limit.burst));
    assert_eq!(preauth(""), Some((50.0, 100)));
    assert_eq!(preauth("server: { preauth: { burst: 5 } }"), Some((50.0, 5)));
    assert_eq!(preauth("server: { preauth: off }"), None);
}
