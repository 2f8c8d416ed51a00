//! What was secret once is in the one answer that gave it out, and nowhere else.

use std::fmt::Write as _;

use mainstay_identity::key::sha256;
use serde_json::json;

use super::{Desk, SECRET, text};

#[tokio::test]
async fn a_secret_is_in_one_answer_and_nowhere_else() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let key = desk.key("acme", &json!({})).await;
    let path = format!("/admin/v1/keys/{}", text(&key, "id"));
    let rotated = desk.change(&format!("POST {path}/rotate"), &json!({})).await.json();
    let (token_id, token) = desk.token("owner", &[]).await;
    let imported = sha256(b"issued elsewhere").to_hex();
    desk.key("acme", &json!({ "sha256": imported })).await;
    let secrets = [text(&key, "key"), text(&rotated, "key"), token.clone(), SECRET.to_owned()];

    let mut said = String::new();
    let mut calls = Vec::new();
    for path in
        ["consumers", "consumers/acme", "consumers/acme/keys", "tokens", "audit", "audit/verify", "config"]
    {
        calls.push((format!("GET /admin/v1/{path}"), String::new()));
    }
    calls.push((format!("GET {path}"), String::new()));
    calls.push((format!("GET /admin/v1/tokens/{token_id}"), String::new()));
    // Presented where it does not belong.
    for secret in &secrets {
        calls.push((format!("GET /admin/v1/keys/{secret}?x={secret}"), String::new()));
        calls.push((
            "PATCH /admin/v1/consumers/acme".to_owned(),
            json!({ "plan": 1, "x": secret }).to_string(),
        ));
    }
    calls.push((format!("PATCH {path}"), json!({ "scopes": ["a"] }).to_string()));
    calls.push((format!("DELETE {path}"), String::new()));
    calls.push(("GET /admin/v1/audit".to_owned(), String::new()));
    calls.push((format!("DELETE /admin/v1/tokens/{token_id}"), String::new()));
    for (call, body) in calls {
        let answer = desk.call(&token, &call, "", &body).await;
        // A refusal may say what was asked for; only the caller sees it.
        if !call.contains("?x=") {
            write!(said, "{answer:?}").unwrap();
        }
    }
    write!(said, "{:?}", desk.call(&token, "GET /admin/v1/tokens", "", "").await).unwrap();
    write!(said, "{:?}", desk.get("/metrics").await).unwrap();
    for event in desk.server.events() {
        write!(said, "{event}").unwrap();
    }
    assert!(said.contains("admin_call") && said.contains("key.rotate"), "{said}");
    let mut hashes: Vec<_> = secrets.iter().map(|secret| sha256(secret.as_bytes()).to_hex()).collect();
    hashes.push(imported);
    for secret in secrets.iter().chain(&hashes) {
        assert!(!said.contains(secret.as_str()), "{secret} in {said}");
    }
    desk.store.hand_over().await;
    for entry in std::fs::read_dir(desk.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}
