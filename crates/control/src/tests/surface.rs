use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::{Fake, Reload, SECRET, Server, head};

#[tokio::test]
async fn a_refused_reload_says_why_and_changes_nothing() {
    let problems = r#"[{"severity":"error","code":"unknown_key","line":3}]"#;
    let engine = Fake { reload: Mutex::new(Reload::Refused(problems)), ..Fake::default() };
    let server = Server::start(engine).await;
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "configuration_refused"));
    assert_eq!(answer.json()["problems"], json!([{"severity": "error", "code": "unknown_key", "line": 3}]));

    *server.engine.reload.lock().unwrap() = Reload::Refused("[nonsense");
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));

    *server.engine.reload.lock().unwrap() = Reload::Panics;
    for _ in 0..2 {
        let answer = server.admin("POST", "/admin/v1/reload").await;
        assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
    }

    *server.engine.reload.lock().unwrap() = Reload::Works;
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!(answer.status, 200, "a failed reload does not stand in the way of the next: {answer:?}");
    assert_eq!(answer.json(), json!({"generation": 1, "digest": "digest-1"}));
}

#[tokio::test]
async fn a_configuration_that_never_stands_still_is_not_mixed() {
    let server = Server::start(Fake { config_changes: AtomicU64::new(3), ..Fake::default() }).await;
    let answer = server.admin("GET", "/admin/v1/config").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["retry_after_s"], 1);

    server.engine.config_changes.store(2, Ordering::SeqCst);
    let answer = server.admin("GET", "/admin/v1/config").await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "generation": 5, "digest": "digest-5", "operations": {"payments/v1/pay": {"auth": "none"}}
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn health_and_metrics_are_open() {
    let server = Server::start(Fake { unready: true, ..Fake::default() }).await;
    let answer = server.ask(&head("GET /readyz", "")).await;
    assert_eq!(answer.status, 503);
    let notes = json!(["upstream payments: no endpoint answers"]);
    assert_eq!(answer.json(), json!({"ready": false, "notes": notes}));
    assert_eq!(server.ask(&head("GET /livez", "")).await.status, 200, "unready is alive");

    let server = Server::start(Fake::default()).await;
    let answer = server.ask(&head("GET /readyz", "")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ready": true, "notes": notes})));
    let answer = server.ask(&head("GET /livez", "")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"live": true})));
    let answer = server.ask(&head("GET /metrics", "")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "mainstay_settling 0\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));

    let answer = server.ask(&head("HEAD /metrics", "")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("content-length"), Some("20"));
}

#[tokio::test]
async fn the_token_opens_the_lists() {
    let server = Server::start(Fake::default()).await;
    let versions = json!({"items": [{
        "api": "payments", "version": "v1", "state": "deprecated", "deprecated": "2026-01-01T00:00:00Z",
        "successor": "v2", "callers": [{"caller": "acme", "requests": 7}], "others": 2,
    }]});
    let upstreams = json!({"items": [{"upstream": "payments", "endpoints": [{
        "endpoint": "127.0.0.1:9001", "addresses": ["127.0.0.1:9001"],
        "connections": 3, "connections_max": 100, "in_flight": 1,
        "health": "healthy", "latency_ms": 1.5, "weight": 1,
    }], "breakers": [], "retry_budget": 10.0}]});
    let rows = [
        ("/admin/v1/versions", versions),
        ("/admin/v1/upstreams", upstreams),
        ("/admin/v1/requests/known", json!({"request_id": "known", "status": 200})),
        ("/admin/v1/requests/a%20b%2Fc", json!({"request_id": "a b/c"})),
    ];
    for (path, expected) in rows {
        let answer = server.admin("GET", path).await;
        assert_eq!((answer.status, answer.json()), (200, expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "{path}");
    }
    let lower = format!("Authorization: bearer   {SECRET}\r\n");
    assert_eq!(server.ask(&head("GET /admin/v1/config", &lower)).await.status, 200, "schemes have no case");
}
