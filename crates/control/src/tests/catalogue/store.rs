//! The store is not there, goes away in the middle, or takes its time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{Between, Desk, Fake, SECRET, Server, dead, soon, text};
use crate::calls::CHANGING;
use crate::catalogue::refused;
use crate::routes::table;

/// Routes that ask the store.
fn asking() -> Vec<String> {
    let words = ["consumers", "keys", "tokens", "audit"];
    let asks = |path: &str| words.iter().any(|word| path.contains(word));
    let routes = table().into_iter().filter(|route| asks(route.path));
    routes.map(|r| format!("{} {}", r.method.to_uppercase(), r.path.replace("{id}", "acme"))).collect()
}

/// A body with which a route gets as far as the store.
fn body(call: &str) -> &'static str {
    match call {
        "POST /admin/v1/consumers" => r#"{"id":"b"}"#,
        "POST /admin/v1/tokens" => r#"{"name":"x","role":"viewer"}"#,
        "PATCH /admin/v1/keys/acme" => r#"{"scopes":[]}"#,
        _ => "",
    }
}

#[tokio::test]
async fn without_a_store_each_route_says_what_to_configure() {
    let server = Server::start(Fake::default()).await;
    assert_eq!(asking().len(), 17);
    for call in asking() {
        let (method, path) = call.split_once(' ').unwrap();
        let answer = server.admin(method, path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{call}");
        assert!(answer.body.contains("stores.catalogue"), "{answer:?}");
    }
    let plans = server.admin("GET", "/admin/v1/plans").await;
    let expected =
        json!({ "items": [{ "plan": "free", "priority": "low" }, { "plan": "gold", "priority": "high" }] });
    assert_eq!((plans.status, plans.json()), (200, expected));
}

#[tokio::test]
async fn a_store_that_dies_is_503_and_comes_back() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, known) = desk.token("owner", &[]).await;
    desk.store.hand_over().await;
    for call in asking() {
        let answer = desk.call(&known, &call, "", body(&call)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (503, "store_unavailable"),
            "{call} {answer:?}"
        );
        assert_eq!(answer.header("retry-after"), Some("2"), "{call}");
    }
    for call in
        ["GET /admin/v1/plans", "GET /admin/v1/versions", "GET /admin/v1/config", "POST /admin/v1/reload"]
    {
        assert_eq!(desk.call(&known, call, "", "").await.status, 200, "the rest goes on: {call}");
    }
    desk.store.take_back().await.unwrap();
    assert_eq!(desk.get("/admin/v1/consumers/acme").await.status, 200);
    assert_eq!(desk.verified().await, 2, "what was refused was not made");
}

/// It may be right: nobody is told that it is wrong.
#[tokio::test]
async fn a_token_that_cannot_be_looked_up_is_not_called_wrong() {
    let desk = Desk::open().await;
    let (_, token) = desk.token("viewer", &[]).await;
    let Desk { server, store, clock, .. } = desk;
    drop(server);
    store.hand_over().await;
    let limits = crate::limits::Limits::default();
    let catalogue: Arc<dyn mainstay_core::catalogue::Catalogue> =
        Arc::<mainstay_store::SqliteStore>::clone(&store);
    let server = Server::with("127.0.0.1:0", None, limits, Fake::default(), Some(catalogue), clock).await;
    let ask = |token: String| {
        let line = format!("Authorization: Bearer {token}\r\n");
        let request = super::super::head("GET /admin/v1/plans", &line);
        let server = &server;
        async move { server.ask(&request).await }
    };
    let unknown = ask(token.clone()).await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (503, "store_unavailable"), "{unknown:?}");
    assert_eq!(ask(SECRET.to_owned()).await.status, 200, "the engine's own needs no store");
    store.take_back().await.unwrap();
    assert_eq!(ask(token).await.status, 200);
    assert_eq!(ask("x".repeat(48)).await.status, 401);
}

#[tokio::test]
async fn a_change_whose_caller_left_is_made_and_told() {
    let mut between = None;
    let desk =
        Desk::behind(Fake::default(), |store| Arc::clone(between.insert(Arc::new(Between::new(store)))))
            .await;
    let between = between.unwrap();
    between.holds.store(true, Ordering::SeqCst);
    let mut stream = desk.server.connect().await;
    let request = format!(
        "POST /admin/v1/consumers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SECRET}\r\n\
         Content-Length: 13\r\n\r\n{{\"id\":\"acme\"}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    soon(between.begun.notified()).await;
    drop(stream);
    between.holds.store(false, Ordering::SeqCst);
    between.release.notify_one();
    let told = async {
        while desk.server.events().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon(told).await;
    let events = desk.server.events();
    assert_eq!(
        (&events[0]["call"], &events[0]["result"]),
        (&json!("POST /admin/v1/consumers"), &json!("ok"))
    );
    assert_eq!(desk.get("/admin/v1/consumers/acme").await.status, 200);
}

/// Every change is told once, under its name in the description, with how it ended. (Of more than ten a second the rest
/// is counted; the audit has them all.)
#[tokio::test]
async fn every_change_leaves_an_event() {
    for calls in CHANGING[1..].chunks(5) {
        let desk = Desk::open().await;
        desk.consumer("acme").await;
        let key = text(&desk.key("acme", &json!({})).await, "id");
        for call in calls {
            let before = desk.server.events().len();
            let id = if call.contains("keys/{id}") { &key } else { "acme" };
            let path = call.replace("{id}", id);
            let answer = desk.call(SECRET, &path, "", body(&path)).await;
            let events = desk.server.events();
            assert_eq!(events.len(), before + 1, "{call}");
            let result = if answer.status < 300 { "ok".to_owned() } else { answer.problem() };
            assert_eq!((&events[before]["call"], &events[before]["result"]), (&json!(call), &json!(result)));
            assert_eq!(events[before]["request_id"], answer.header("x-request-id").unwrap(), "{call}");
        }
    }
}

#[test]
fn what_the_store_says_is_a_sentence() {
    let refusal = refused(dead());
    assert_eq!(refusal.detail, "The store is unavailable: somebody pulled the plug.");
}
