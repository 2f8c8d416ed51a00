//! Rows of answers, and what each comes to.

use std::sync::Arc;

use mainstay_core::catalogue::Consumer;
use mainstay_core::principal::Mode;
use serde_json::{Value, json};

use super::*;
use crate::index::Change;

const NOW_S: i64 = 1_800_000_000;
const NOW: UnixMs = UnixMs(NOW_S * 1000);

fn plan() -> ServerPlan {
    ServerPlan {
        issuer: "https://old.example.com".into(),
        audiences: vec!["payments".into()],
        clock_skew_ms: 30_000,
        keep_ms: 60_000,
        subject: Subject::Claims {
            consumer_claim: "client_id".into(),
            plan_claim: None,
            mode_claim: None,
            is_known_only: true,
        },
    }
}

fn consumer(index: &Index, suspended: bool) {
    index.apply(Change::Consumer(&Consumer {
        id: "acme".to_owned(),
        name: String::new(),
        plan: Some("pro".to_owned()),
        groups: Vec::new(),
        attributes: Default::default(),
        suspended,
        created_at: 0,
    }));
}

fn index() -> Index {
    let index = Index::new(Arc::default());
    index.scope_names().give(["payments:read"]).unwrap();
    consumer(&index, false);
    index
}

fn with(changes: Value) -> String {
    let mut answer =
        json!({ "active": true, "client_id": "acme", "aud": "payments", "scope": "payments:read" });
    let Value::Object(changes) = changes else { panic!("an object") };
    for (name, value) in changes {
        answer[name] = value;
    }
    answer.to_string()
}

#[test]
fn what_is_no_answer_is_a_failure_of_the_server_and_not_of_the_caller() {
    for text in [
        "",
        "{}",
        "[]",
        "true",
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":null}"#,
        r#"{"active":true,"active":false}"#,
        r#"{"active":false}x"#,
        "<html>{\"active\":true}</html>",
        r#"{"error":"invalid_client"}"#,
    ] {
        assert_eq!(read(text.as_bytes(), &plan(), NOW).err(), Some(NoAnswer), "{text}");
    }
}

#[test]
fn active_alone_lets_nobody_in() {
    use TokenRefusal::{Audience, Bound, Claim, Expired, Inactive, Issuer, NotYetValid, Type};
    let rows = [
        (json!({ "active": false }), Inactive),
        (json!({ "active": false, "exp": NOW_S + 60 }), Inactive),
        (json!({ "aud": "somebody else" }), Audience),
        (json!({ "aud": null }), Claim),
        (json!({ "iss": "https://another.example.com" }), Issuer),
        (json!({ "iss": 1 }), Issuer),
        (json!({ "exp": NOW_S - 30 }), Expired),
        (json!({ "exp": "soon" }), Claim),
        (json!({ "exp": -1 }), Claim),
        (json!({ "nbf": NOW_S + 31 }), NotYetValid),
        (json!({ "cnf": { "jkt": "x" } }), Bound),
        (json!({ "typ": "Refresh" }), Type),
        (json!({ "at_hash": "x" }), Type),
    ];
    for (changes, refusal) in rows {
        let text = with(changes.clone());
        let found = read(text.as_bytes(), &plan(), NOW).unwrap().map(|_| ());
        assert_eq!(found, Err(refusal), "{changes}");
    }
    let text = json!({ "active": true, "client_id": "acme" }).to_string();
    assert_eq!(read(text.as_bytes(), &plan(), NOW).unwrap().map(|_| ()), Err(Audience));
    let any = ServerPlan { audiences: Vec::new(), ..plan() };
    assert!(read(text.as_bytes(), &any, NOW).unwrap().is_ok());
}

#[test]
fn an_answer_is_kept_until_the_token_ends_and_a_minute_at_the_most() {
    let kept_ms = |changes: Value| {
        let active = read(with(changes).as_bytes(), &plan(), NOW).unwrap().unwrap();
        active.ends_at.0 - NOW.0
    };
    assert_eq!(kept_ms(json!({})), 60_000);
    assert_eq!(kept_ms(json!({ "exp": NOW_S + 5 })), 5_000);
    assert_eq!(kept_ms(json!({ "exp": NOW_S as f64 + 5.5, "iss": "https://old.example.com" })), 5_000);
    assert_eq!(kept_ms(json!({ "exp": NOW_S + 3600 })), 60_000);
    // Within the skew it is good, and not for long.
    assert_eq!(kept_ms(json!({ "exp": NOW_S - 29 })), 1);
}

#[test]
fn who_it_is_is_asked_of_the_index_each_time() {
    let index = index();
    let read = |changes: Value| read(with(changes).as_bytes(), &plan(), NOW).unwrap().unwrap();
    let active = read(json!({}));
    let caller = active.caller(&plan(), &index).unwrap();
    assert_eq!((caller.consumer.as_deref(), caller.plan.as_deref()), (Some("acme"), Some("pro")));
    assert_eq!((caller.method, caller.mode), (AuthMethod::Introspection, Mode::Live));
    assert_eq!(caller.client_id.as_deref(), Some("acme"));
    assert_eq!(index.scope_names().names(&caller.scopes).join(" "), "payments:read");
    consumer(&index, true);
    assert_eq!(active.caller(&plan(), &index).unwrap_err(), TokenRefusal::Suspended);
    let stranger = read(json!({ "client_id": "stranger" }));
    assert_eq!(stranger.caller(&plan(), &index).unwrap_err(), TokenRefusal::Consumer);
    let nobody = read(json!({ "client_id": 7 }));
    assert_eq!(nobody.caller(&plan(), &index).unwrap_err(), TokenRefusal::Claim);
}
