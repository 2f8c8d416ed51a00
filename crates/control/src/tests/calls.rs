use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use super::bounds::SHORT;
use super::{Fake, Reload, SECRET, Server, head, soon};
use crate::calls::CHANGING;
use crate::limits::Limits;
use crate::routes::table;

/// The results that were told, with what every event of a call has.
fn results(server: &Server) -> Vec<String> {
    let told = |event: &Value| {
        assert_eq!(event["event"], "admin_call", "{event}");
        assert_eq!(event["call"], "POST /admin/v1/reload", "{event}");
        assert_eq!(event["caller"], "127.0.0.1", "{event}");
        assert_eq!(event["request_id"].as_str().unwrap().len(), 36, "{event}");
        assert!(!event.to_string().contains(SECRET), "{event}");
        event["result"].as_str().unwrap().to_owned()
    };
    server.events().iter().map(told).collect()
}

#[test]
fn every_route_that_changes_something_is_listed() {
    // A question that needs a body, and changes nothing.
    let asks = |path: &str| path == "/admin/v1/authorize";
    let changing = table().into_iter().filter(|route| route.method != "get" && !asks(route.path));
    let changing: BTreeSet<_> =
        changing.map(|route| format!("{} {}", route.method.to_uppercase(), route.path)).collect();
    assert_eq!(changing, CHANGING.into_iter().map(str::to_owned).collect());
}

#[tokio::test]
async fn a_call_that_is_refused_leaves_an_event() {
    let server = Server::start(Fake::default()).await;
    let token = format!("Authorization: Bearer {SECRET}\r\n");
    let refused = [
        (String::new(), "unauthenticated"),
        ("Authorization: Bearer wrong\r\n".to_owned(), "unauthenticated"),
        (format!("{token}Origin: https://evil.example\r\n"), "origin_refused"),
        (format!("{token}Host: localhost\r\n"), "bad_host"),
        (format!("{token}Expect: 100-continue\r\nContent-Length: 99999\r\n"), "body_too_large"),
    ];
    let mut expected = Vec::new();
    for (lines, code) in refused {
        let answer = server.ask(&head("POST /admin/v1/reload", &lines)).await;
        assert_eq!(answer.problem(), code);
        expected.push(code);
        assert_eq!(results(&server), expected);
    }
    let events = server.events();
    let last = server.ask(&head("POST /admin/v1/reload", "")).await;
    let id = last.header("x-request-id").unwrap();
    assert_eq!(server.events()[events.len()]["request_id"], id, "the id is the caller's");
}

#[tokio::test]
async fn a_call_that_was_let_in_says_how_it_ended() {
    let server = Server::start(Fake::default()).await;
    let ends = [
        (Reload::Works, "ok"),
        (Reload::Refused("[]"), "configuration_refused"),
        (Reload::Panics, "internal"),
    ];
    for (reload, _) in &ends {
        *server.engine.reload.lock().unwrap() = reload.clone();
        server.admin("POST", "/admin/v1/reload").await;
    }
    assert_eq!(results(&server), ends.map(|(_, result)| result));
}

#[tokio::test]
async fn a_call_whose_caller_gave_up_says_how_it_ended() {
    let engine = Fake { reload: Mutex::new(Reload::Waits), ..Fake::default() };
    let server = Server::within(Limits { request: SHORT, ..Limits::default() }, engine).await;
    assert_eq!(server.admin("POST", "/admin/v1/reload").await.problem(), "deadline_exceeded");
    soon(server.engine.reload_begun.notified()).await;
    assert_eq!(results(&server), [""; 0], "it has begun, and nobody knows yet");
    assert_eq!(server.admin("POST", "/admin/v1/reload").await.problem(), "deadline_exceeded");
    assert_eq!(results(&server), ["deadline_exceeded"], "this one never began");
    *server.engine.reload.lock().unwrap() = Reload::Works;
    server.engine.release.notify_one();
    assert_eq!(server.admin("POST", "/admin/v1/reload").await.status, 200);
    assert_eq!(results(&server), ["deadline_exceeded", "ok", "ok"]);
}

#[tokio::test]
async fn what_only_reads_or_leads_nowhere_leaves_none() {
    let server = Server::start(Fake::default()).await;
    for (method, path) in [
        ("GET", "/admin/v1/config"),
        ("GET", "/metrics"),
        ("GET", "/admin/v1/reload"),
        ("POST", "/admin/v1/nothing"),
        ("POST", "/livez"),
    ] {
        server.admin(method, path).await;
    }
    assert_eq!(results(&server), [""; 0]);
}
