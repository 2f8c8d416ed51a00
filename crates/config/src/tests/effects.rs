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
fn what_an_upstream_does_when_it_fails_is_an_effect() {
    let upstream = |keys: &str| {
        format!("upstreams: {{ up: {{ endpoints: http://a:1, {keys} }}, dr: {{ endpoints: http://b:1 }} }}\n")
    };
    let keys_of = |keys: &str| effective(&good(&upstream(keys)))["a v1 GET /x"].clone();
    let keys = keys_of("pool: {}");
    for (key, value) in [
        ("priority", json!("of the plan")),
        ("balance", json!("least_loaded")),
        ("slow_start", json!("10s")),
        ("panic_below", json!(0.3)),
        ("retries.attempts_max", json!(3)),
        ("retries.on", json!(["connect", "reset", "502", "503", "504"])),
        ("retries.backoff.max", json!("1s")),
        ("retries.budget.floor", json!("1/s")),
        ("retries.replay_body", json!("64KiB")),
        ("breaker.open_max", json!("1m")),
        ("breaker.scope", json!("upstream")),
        ("eject.time_max", json!("5m")),
    ] {
        assert_eq!(keys.get(key), Some(&value), "{key}");
    }
    let is_off = |key: &String| {
        ["rate_max", "hedge", "health", "concurrency", "fallback", "shares"]
            .iter()
            .any(|off| key.starts_with(off))
    };
    assert_eq!(keys.keys().find(|key| is_off(key)), None);
    let keys = keys_of(
        "retries: off, breaker: off, eject: off, slow_start: off, rate_max: 30/m, balance: { hash: header:X-A }, hedge: {}, health: { path: /h, status: [204, 300-301] }, concurrency: {}, fallback: [{ upstream: dr }, { respond: { retry_after: 90s, body: { a: 1 } } }], shares_idempotency_with: dr",
    );
    let respond = json!({ "respond": { "when": "undelivered", "status": 503, "retry_after": "90s", "body": { "a": 1 } } });
    for (key, value) in [
        ("retries", json!("off")),
        ("breaker", json!("off")),
        ("eject", json!("off")),
        ("rate_max", json!("30/m")),
        ("balance", json!("hash: header:x-a")),
        ("hedge.after", json!("p95")),
        ("health.path", json!("/h")),
        ("health.status", json!(["204", "300-301"])),
        ("health.interval", json!("5s")),
        ("concurrency.limit", json!("adaptive")),
        ("concurrency.max", json!(512)),
        ("fallback", json!([{ "upstream": "dr" }, respond])),
        ("shares_idempotency_with", json!("dr")),
    ] {
        assert_eq!(keys.get(key), Some(&value), "{key}");
    }
    assert!(!keys.contains_key("slow_start") && !keys.contains_key("retries.on"));
    let fixed = keys_of(
        "concurrency: { limit: 5 }, health: { tcp: true }, hedge: { after: 5ms }, breaker: { slow_call: off }",
    );
    for (key, value) in [
        ("concurrency.limit", json!(5)),
        ("health.tcp", json!(true)),
        ("hedge.after", json!("5ms")),
        ("breaker.slow_call", json!("off")),
    ] {
        assert_eq!(fixed.get(key), Some(&value), "{key}");
    }
    let grpc = keys_of("health: { grpc: '' }, protocol: h2");
    assert_eq!(grpc.get("health.grpc"), Some(&json!("")));
    let told = changes(&upstream("pool: {}"), &upstream("panic_below: 0.5, hedge: { max_ratio: 0.1 }"));
    let expected = [
        "a v1 GET /x: hedge.after absent -> p95",
        "a v1 GET /x: hedge.max_ratio absent -> 0.1",
        "a v1 GET /x: panic_below 0.3 -> 0.5",
    ];
    assert_eq!(told, expected);
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
