use std::collections::BTreeSet;

use mainstay_core::catalogue::{Actor, Catalogue, Change};
use mainstay_core::clock::UnixMs;
use serde_json::json;

use super::{Desk, NOW_MS, SECRET, conforms, soon, text};
use crate::caller::role_name;
use crate::routes::{Access, table};

#[tokio::test]
async fn a_token_is_made_used_and_revoked() {
    let desk = Desk::open().await;
    let body = json!({ "name": "deploy", "role": "operator", "expires_in": "1d" });
    let made = desk.change("POST /admin/v1/tokens", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    conforms("MadeToken", &made.json());
    let (id, token) = (text(&made.json(), "id"), text(&made.json(), "token"));
    assert_eq!(made.header("location"), Some(format!("/admin/v1/tokens/{id}").as_str()));
    assert!(token.len() == 48 && token.starts_with("mat_"), "256 random bits");

    let used = desk.call(&token, "POST /admin/v1/consumers", "", r#"{"id":"acme"}"#).await;
    assert_eq!(used.status, 201, "{used:?}");
    let told = desk.get("/admin/v1/audit?kind=consumer").await.json();
    assert_eq!(told["items"][0]["actor"]["id"], json!(id), "the audit names the token");

    let shown = desk.get(&format!("/admin/v1/tokens/{id}")).await.json();
    conforms("Token", &shown);
    assert_eq!(shown, desk.get("/admin/v1/tokens").await.json()["items"][0]);
    desk.clock.set(UnixMs(NOW_MS + 86_400_000));
    let late = desk.call(&token, "GET /admin/v1/consumers", "", "").await;
    assert_eq!((late.status, late.problem().as_str()), (401, "unauthenticated"), "{late:?}");
    assert!(late.header("www-authenticate").unwrap().contains("invalid_token"), "{late:?}");
    desk.clock.set(UnixMs(NOW_MS));

    let revoked = desk.change(&format!("DELETE /admin/v1/tokens/{id}"), &json!({})).await;
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")), "{revoked:?}");
    let after = desk.call(&token, "GET /admin/v1/consumers", "", "").await;
    assert_eq!(after.status, 401, "at once: {after:?}");
    assert_eq!(desk.verified().await, 3);
}

/// Every route of the table with every role: what the table says is what happens.
#[tokio::test]
async fn each_role_does_what_it_may_and_no_more() {
    let desk = Desk::open().await;
    let (_, viewer) = desk.token("viewer", &[]).await;
    let (_, operator) = desk.token("operator", &[]).await;
    let (_, owner) = desk.token("owner", &[]).await;
    let (_, limited) = desk.token("operator", &["payments"]).await;
    let rank = |role: &str| ["viewer", "operator", "owner"].iter().position(|r| *r == role).unwrap();
    for route in table().into_iter().filter(|route| route.path.starts_with("/admin/v1/")) {
        let (needed, takes_limited) = match route.access {
            Access::Token(role) => (role_name(role), false),
            Access::Limited(role) => (role_name(role), true),
            access => panic!("{}: {access:?}", route.path),
        };
        let call = format!("{} {}", route.method.to_uppercase(), route.path.replace("{id}", "nobody"));
        for (token, role) in [(&viewer, "viewer"), (&operator, "operator"), (&owner, "owner")] {
            let answer = desk.call(token, &call, "", "").await;
            let refused = rank(role) < rank(needed);
            assert_eq!(answer.status == 403, refused, "{role} {call}: {answer:?}");
            if refused {
                assert_eq!(answer.problem(), "permission_missing");
                assert_eq!(answer.json()["permission"], needed, "{call}");
                assert!(answer.json()["detail"].as_str().unwrap().contains(needed), "{answer:?}");
            }
        }
        let answer = desk.call(&limited, &call, "", "").await;
        let refused = answer.status == 403 && answer.json()["permission"] != "other_apis";
        assert_eq!(refused, !takes_limited, "limited {call}: {answer:?}");
    }
}

#[tokio::test]
async fn a_limited_token_keeps_to_its_apis() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, limited) = desk.token("operator", &["payments"]).await;
    let mut ids = Vec::new();
    for apis in [json!(["payments"]), json!(["accounts"]), json!([]), json!(["accounts", "payments"])] {
        let body = json!({ "apis": apis }).to_string();
        let made = desk.call(&limited, "POST /admin/v1/consumers/acme/keys", "", &body).await;
        let within = apis == json!(["payments"]);
        assert_eq!(made.status, if within { 201 } else { 403 }, "{apis} {made:?}");
        ids.push((text(&desk.key("acme", &json!({ "apis": apis })).await, "id"), within));
    }
    for (id, within) in &ids {
        let status = if *within { 200 } else { 403 };
        for (call, body) in [
            (format!("GET /admin/v1/keys/{id}"), ""),
            (format!("PATCH /admin/v1/keys/{id}"), r#"{"scopes":["a"]}"#),
            (format!("DELETE /admin/v1/keys/{id}"), ""),
        ] {
            let answer = desk.call(&limited, &call, "", body).await;
            assert_eq!(answer.status, status, "{call} {answer:?}");
        }
        let wider = format!("PATCH /admin/v1/keys/{id}");
        for apis in [r#"{"apis":[]}"#, r#"{"apis":["payments","accounts"]}"#] {
            assert_eq!(desk.call(&limited, &wider, "", apis).await.status, 403, "{apis}");
        }
        let rotate = format!("POST /admin/v1/keys/{id}/rotate");
        let answer = desk.call(&limited, &rotate, "", "").await;
        assert_eq!(answer.status, if *within { 409 } else { 403 }, "it is revoked by now: {answer:?}");
    }
    let listed = desk.call(&limited, "GET /admin/v1/consumers/acme/keys", "", "").await.json();
    let seen: BTreeSet<_> =
        listed["items"].as_array().unwrap().iter().map(|key| key["apis"].to_string()).collect();
    assert_eq!(seen, BTreeSet::from([r#"["payments"]"#.to_owned()]));

    let (_, elsewhere) = desk.token("viewer", &["accounts"]).await;
    for (token, seen) in [(elsewhere, 0), (limited, 1)] {
        let versions = desk.call(&token, "GET /admin/v1/versions", "", "").await.json();
        assert_eq!(versions["items"].as_array().unwrap().len(), seen, "{versions}");
    }
}

#[tokio::test]
async fn a_token_that_another_node_revoked_opens_nothing() {
    let desk = Desk::open().await;
    let (id, token) = desk.token("viewer", &[]).await;
    assert_eq!(desk.call(&token, "GET /admin/v1/plans", "", "").await.status, 200);
    let by = Actor { id: "elsewhere".to_owned(), address: None, request_id: None };
    desk.store.apply(Change::RevokeAdminToken { id }, by, None).await.unwrap();
    let refused = async {
        while desk.call(&token, "GET /admin/v1/plans", "", "").await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
}

#[tokio::test]
async fn what_cannot_be_a_token_is_refused() {
    let desk = Desk::open().await;
    let rows = [
        (json!({ "role": "viewer" }), "/name"),
        (json!({ "name": "x" }), "/role"),
        (json!({ "name": "x", "role": "root" }), "/role"),
        (json!({ "name": "x", "role": "Owner" }), "/role"),
        (json!({ "name": "x", "role": "owner", "apis": ["payments"] }), "/apis"),
        (json!({ "name": "x", "role": "viewer", "apis": ["nothing"] }), "/apis"),
        (json!({ "name": "x", "role": "viewer", "expires_in": "0s" }), "/expires_in"),
        (json!({ "name": "", "role": "viewer" }), "/name"),
        (json!({ "name": "x", "role": "viewer", "token": "mine" }), "/token"),
    ];
    for (body, pointer) in rows {
        let refused = desk.change("POST /admin/v1/tokens", &body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid_value"), "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let unknown = desk.call(&"x".repeat(48), "GET /admin/v1/plans", "", "").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (401, "unauthenticated"), "{unknown:?}");
    assert_eq!(desk.call(SECRET, "GET /admin/v1/plans", "", "").await.status, 200);
}

#[tokio::test]
async fn a_question_about_what_somebody_may_do_is_passed_on_and_kept_within_the_tokens_apis() {
    let desk = Desk::open().await;
    let (_, viewer) = desk.token("viewer", &[]).await;
    let (_, limited) = desk.token("viewer", &["payments"]).await;
    let call = "POST /admin/v1/authorize";
    let about =
        |api: &str, more: &str| format!(r#"{{"api":"{api}","version":"v1","operation":"pay"{more}}}"#);
    for (token, api, more, status) in [
        (&limited, "accounts", "", 403),
        (&limited, "payments", r#","user":"alice""#, 403),
        (&viewer, "payments", r#","mode":"loud""#, 422),
        (&viewer, "payments", r#","path":{"id":7}"#, 422),
        (&viewer, "payments", r#","version":"v1""#, 400),
        (&limited, "payments", "", 200),
        (&viewer, "accounts", r#","user":"alice""#, 200),
    ] {
        let answer = desk.call(token, call, "", &about(api, more)).await;
        assert_eq!(answer.status, status, "{api} {more} {answer:?}");
    }
    let answer = desk.call(&viewer, call, "", r#"{"api":"a","version":"v1","operation":"other"}"#).await;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/operation");
}
