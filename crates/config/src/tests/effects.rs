//! What two configurations do differently.

use serde_json::json;

use super::good;
use crate::{Change, diff, effective};

fn text(operation: &str, rest: &str) -> String {
    format!(
        "upstreams: {{ up: {{ endpoints: http://a:1 }} }}\n{rest}apis: {{ a: {{ owner: t, defaults: {{ auth: none }}, cors: {{ origins: https://x }}, versions: {{ v1: {{ upstream: up, lifecycle: {{ deprecated: 2026-01-01 }}, operations: {{ GET /x: {{ {operation} }} }} }} }} }} }}\n"
    )
}

fn changes(old: &str, new: &str) -> Vec<String> {
    diff(&effective(&good(old)), &effective(&good(new))).iter().map(Change::to_string).collect()
}

#[test]
fn effects_are_named() {
    let all = effective(&good(&text("body: 2KiB", "")));
    let keys = &all["a v1 GET /x"];
    for (key, value) in [
        ("method", json!("GET")),
        ("template", json!("/v1/x")),
        ("auth", json!("none")),
        ("body", json!("2KiB")),
        ("timeouts.total", json!("10s")),
        ("upstream", json!("up")),
        ("endpoints", json!(["a:1"])),
        ("deprecated", json!("2026-01-01T00:00:00Z")),
        ("cors.origins", json!(["https://x"])),
        ("owner", json!("t")),
    ] {
        assert_eq!(keys.get(key), Some(&value), "{key}");
    }
    assert!(!keys.contains_key("sunset"));
}

#[test]
fn moving_a_key_changes_nothing() {
    let class = "classes: { c: { body: 2KiB, timeouts: { total: 3s } } }\n";
    assert_eq!(changes(&text("body: 2KiB, timeouts: { total: 3s }", ""), &text("class: c", class)), [""; 0]);
}

#[test]
fn differences_and_what_loosens() {
    let old = text("body: 2KiB, timeouts: { total: 3s, idle: off }", "");
    let new = text("body: 3KiB, timeouts: { total: off, idle: 1s }", "");
    assert_eq!(
        changes(&old, &new),
        [
            "a v1 GET /x: body 2KiB -> 3KiB (loosens: larger bodies are accepted)",
            "a v1 GET /x: timeouts.idle off -> 1s",
            "a v1 GET /x: timeouts.total 3s -> off (loosens: it may take longer)",
        ]
    );
    assert_eq!(
        changes(&new, &old),
        [
            "a v1 GET /x: body 3KiB -> 2KiB",
            "a v1 GET /x: timeouts.idle 1s -> off (loosens: it may take longer)",
            "a v1 GET /x: timeouts.total off -> 3s",
        ]
    );
    let origins = old.replace("origins: https://x", "origins: [https://x, https://y], credentials: true");
    let told = changes(&old, &origins);
    assert!(told.len() == 2 && told.iter().all(|change| change.contains("loosens")), "{told:?}");
    let dates = old.replace("deprecated: 2026-01-01", "deprecated: 2026-01-01, sunset: 2027-01-01");
    assert_eq!(changes(&old, &dates), ["a v1 GET /x: sunset absent -> 2027-01-01T00:00:00Z"]);
    let other = old.replace("GET /x", "GET /y");
    assert_eq!(changes(&old, &other), ["a v1 GET /x: gone", "a v1 GET /y: new, GET /v1/y"]);
}
