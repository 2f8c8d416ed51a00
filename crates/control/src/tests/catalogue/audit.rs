use std::sync::Arc;

use mainstay_core::catalogue::change::Verified;
use serde_json::json;

use super::{Between, Desk, Fake, conforms, text};

#[tokio::test]
async fn each_change_leaves_one_record_with_who_and_what() {
    let desk = Desk::open().await;
    assert_eq!(desk.verified().await, 0);
    let made = desk.consumer("acme").await;
    let changes = [
        ("PATCH /admin/v1/consumers/acme", json!({ "plan": "gold" }), "consumer.update"),
        ("POST /admin/v1/consumers/acme/keys", json!({}), "key.create"),
        ("POST /admin/v1/consumers/acme/keys", json!({ "sha256": "5a".repeat(32) }), "key.import"),
        ("PATCH /admin/v1/keys/KEY", json!({ "scopes": ["a"] }), "key.restrict"),
        ("PATCH /admin/v1/keys/KEY", json!({ "expires_in": "1d" }), "key.expire"),
        ("POST /admin/v1/keys/KEY/rotate", json!({}), "key.rotate"),
        ("DELETE /admin/v1/keys/KEY", json!({}), "key.revoke"),
        ("POST /admin/v1/tokens", json!({ "name": "x", "role": "viewer" }), "admin_token.create"),
        ("DELETE /admin/v1/tokens/TOKEN", json!({}), "admin_token.revoke"),
        ("DELETE /admin/v1/consumers/acme", json!({}), "consumer.delete"),
    ];
    let (mut key, mut token) = (String::new(), String::new());
    let mut expected = vec![("consumer.create".to_owned(), made.header("x-request-id").unwrap().to_owned())];
    for (call, body, action) in changes {
        // Refused: nothing is written of it.
        let stale = call.starts_with("PATCH") || call.starts_with("DELETE");
        if stale {
            let call = call.replace("KEY", &key).replace("TOKEN", &token);
            assert_eq!(desk.change_if("\"0\"", &call, &body).await.status, 412, "{call}");
        }
        let call = call.replace("KEY", &key).replace("TOKEN", &token);
        let answer = desk.change(&call, &body).await;
        assert!(answer.status < 300, "{call} {answer:?}");
        match action {
            "key.create" => key = text(&answer.json(), "id"),
            "admin_token.create" => token = text(&answer.json(), "id"),
            _ => {}
        }
        expected.push((action.to_owned(), answer.header("x-request-id").unwrap().to_owned()));
        assert_eq!(desk.verified().await, expected.len() as u64, "the chain is whole after {call}");
    }
    let mut told = desk.all("/admin/v1/audit", 3).await;
    told.iter().for_each(|record| conforms("AuditRecord", record));
    told.reverse();
    let seen: Vec<_> = told.iter().map(|r| (text(r, "action"), text(&r["actor"], "request_id"))).collect();
    assert_eq!(seen, expected, "oldest first");
    for (record, number) in told.iter().zip(1..) {
        assert_eq!(record["number"], number);
        assert_eq!(
            (&record["actor"]["id"], &record["actor"]["address"]),
            (&json!("token_file"), &json!("127.0.0.1"))
        );
    }
    assert_eq!((told[0].get("before"), &told[0]["after"]["id"]), (None, &json!("acme")));
    assert_eq!((&told[1]["before"]["plan"], &told[1]["after"]["plan"]), (&json!(null), &json!("gold")));
    assert_eq!(told.last().unwrap().get("after"), None);
}

#[tokio::test]
async fn the_audit_is_asked_for_a_kind_or_a_record() {
    let desk = Desk::open().await;
    for id in ["a", "b", "c"] {
        desk.consumer(id).await;
    }
    desk.key("b", &json!({})).await;
    let count = |path: &'static str| async { desk.all(path, 500).await.len() };
    assert_eq!(count("/admin/v1/audit").await, 4);
    for (query, found) in
        [("kind=consumer", 3), ("kind=key", 1), ("id=b", 1), ("kind=key&id=b", 0), ("kind=user", 0)]
    {
        let answer = desk.get(&format!("/admin/v1/audit?{query}")).await;
        assert_eq!(answer.json()["items"].as_array().unwrap().len(), found, "{query}");
    }
    for query in
        ["kind=keys", "kind=", "cursor=x", "cursor=-1", "actor=x", "id=a&id=b", "limit=0", "limit=501"]
    {
        let refused = desk.get(&format!("/admin/v1/audit?{query}")).await;
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid_value"), "{query}");
        let name = query.split('=').next().unwrap();
        assert_eq!(refused.json()["errors"][0]["parameter"], name, "{query}");
    }
}

#[tokio::test]
async fn a_broken_chain_is_told() {
    let desk = Desk::behind(Fake::default(), |store| {
        let why = "its hash does not fit".to_owned();
        Arc::new(Between { verdict: Some(Verified::Broken { number: 7, why }), ..Between::new(store) })
    })
    .await;
    let told = desk.get("/admin/v1/audit/verify").await;
    conforms("Verdict", &told.json());
    assert_eq!(told.json(), json!({ "ok": false, "number": 7, "why": "its hash does not fit" }));
}
