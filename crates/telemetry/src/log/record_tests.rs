use mainstay_core::clock::UnixMs;
use mainstay_core::{ProblemCode, Stage, Trail};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::record::{AccessRecord, FIELDS, LogFormat, LogPlan, UnknownField, write_record};

fn line(record: &AccessRecord<'_>, plan: &LogPlan) -> String {
    let mut out = b"before\n".to_vec();
    write_record(&mut out, record, plan);
    let text = String::from_utf8(out).unwrap();
    let line = text.strip_prefix("before\n").unwrap().strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.to_owned()
}

fn parsed(record: &AccessRecord<'_>, plan: &LogPlan) -> Value {
    let line = line(record, plan);
    serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"))
}

fn full<'a>(trail: &'a Trail) -> AccessRecord<'a> {
    AccessRecord {
        ts: UnixMs(1_801_476_000_007),
        node: Some("edge-1"),
        region: Some("eu"),
        config: Some("3f2a11bc90de"),
        request_id: "0188-1",
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        method: "POST",
        route: Some("/payments/v1/payments/{id}:cancel"),
        api: Some("payments"),
        owner: Some("team-pay"),
        version: Some("v1"),
        operation: Some("cancelPayment"),
        mode: Some("live"),
        consumer: Some("acme"),
        key_id: Some("key_1"),
        client_id: Some("client_1"),
        auth_method: Some("api_key"),
        client: Some([192, 0, 2, 7].into()),
        status: 502,
        problem: Some(ProblemCode::UpstreamReset),
        duration_us: 12_345,
        upstream_us: Some(1_000),
        upstream: Some(("payments", "127.0.0.1:9001")),
        attempts: Some(2),
        degraded: Some("upstream"),
        bytes_in: 483,
        bytes_out: u64::MAX,
        aborted: Some("client"),
        trail: Some(trail),
    }
}

fn trail() -> Trail {
    let mut trail = Trail::default();
    trail.add(Stage::Connect, "pool: \"busy\"");
    trail.add(Stage::Send, "reset");
    trail
}

#[test]
fn a_redacted_field_must_exist() {
    let check = |names: &[&str]| LogPlan::new(LogFormat::Json, names).map(|_| ());
    assert_eq!(check(&["client", "cookie"]), Err(UnknownField("cookie".into())));
    assert_eq!(check(&["Client"]), Err(UnknownField("Client".into())));
    assert!(check(&["bogus"]).unwrap_err().to_string().contains("request_id"));
    assert_eq!(check(FIELDS), Ok(()));
}

#[test]
fn what_is_absent_is_left_out() {
    let record = AccessRecord { request_id: "r", method: "GET", ..AccessRecord::default() };
    let expected = json!({
        "ts": "1970-01-01T00:00:00.000Z", "request_id": "r", "method": "GET", "duration_ms": 0.0, "bytes_in": 0,
        "bytes_out": 0,
    });
    assert_eq!(parsed(&record, &LogPlan::default()), expected);
    assert_eq!(
        line(&record, &LogPlan::new::<&str>(LogFormat::Text, &[]).unwrap()),
        "1970-01-01T00:00:00.000Z - GET - 0.000ms request_id=r bytes_in=0 bytes_out=0"
    );
}

#[test]
fn every_field_is_written_in_the_order_of_the_contract() {
    let trail = trail();
    let expected = json!({
        "ts": "2027-02-01T10:00:00.007Z", "node": "edge-1", "region": "eu", "config": "3f2a11bc90de",
        "request_id": "0188-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "method": "POST",
        "route": "/payments/v1/payments/{id}:cancel", "api": "payments", "owner": "team-pay", "version": "v1",
        "operation": "cancelPayment", "mode": "live", "consumer": "acme", "key_id": "key_1",
        "client_id": "client_1", "auth_method": "api_key", "client": "192.0.2.7", "status": 502, "problem": "upstream_reset",
        "duration_ms": 12.345, "upstream_ms": 1.0, "upstream": "payments 127.0.0.1:9001", "attempts": 2, "degraded": "upstream",
        "bytes_in": 483, "bytes_out": u64::MAX, "aborted": "client",
        "trail": [{"stage": "connect", "reason": "pool: \"busy\""}, {"stage": "send", "reason": "reset"}],
    });
    let seen = parsed(&full(&trail), &LogPlan::default());
    assert_eq!(seen, expected);
    let names: Vec<_> = seen.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, FIELDS);
}

/// A trail is bounded, and whoever reads one that is full sees that it goes on.
#[test]
fn what_a_trail_left_out_is_counted_in_both_forms() {
    let mut trail = Trail::default();
    for _ in 0..mainstay_core::trail::ENTRIES_MAX + 5 {
        trail.add(Stage::Send, "again");
    }
    let record = AccessRecord { trail: Some(&trail), ..AccessRecord::default() };
    let check = |record: &AccessRecord<'_>, entries: usize, left_out: usize| {
        let shown = parsed(record, &LogPlan::default())["trail"].as_array().unwrap().clone();
        assert_eq!(shown.len(), entries + 1);
        assert_eq!(shown[entries], json!({ "left_out": left_out }));
        let text = line(record, &LogPlan::new::<&str>(LogFormat::Text, &[]).unwrap());
        assert!(text.contains(&format!("{left_out} more\"")), "{text}");
    };
    check(&record, mainstay_core::trail::ENTRIES_MAX, 5);
    let counted = trail.only_counted();
    check(&AccessRecord { trail: Some(&counted), ..record }, 0, mainstay_core::trail::ENTRIES_MAX + 5);
}

#[test]
fn text_has_the_same_and_forges_nothing() {
    let trail = trail();
    let plan = LogPlan::new::<&str>(LogFormat::Text, &[]).unwrap();
    assert_eq!(
        line(&full(&trail), &plan),
        "2027-02-01T10:00:00.007Z 502 POST /payments/v1/payments/{id}:cancel 12.345ms node=edge-1 region=eu \
         config=3f2a11bc90de request_id=0188-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 api=payments \
         owner=team-pay version=v1 operation=cancelPayment mode=live consumer=acme key_id=key_1 \
         client_id=client_1 auth_method=api_key client=192.0.2.7 problem=upstream_reset \
         upstream_ms=1.000ms upstream=\"payments 127.0.0.1:9001\" attempts=2 degraded=upstream bytes_in=483 \
         bytes_out=18446744073709551615 aborted=client trail=\"connect: pool: \\\"busy\\\"; send: reset\""
    );
    let check = |method: &str, written: &str| {
        let record = AccessRecord { method, ..AccessRecord::default() };
        let line = line(&record, &plan);
        assert!(line.contains(&format!(" - {written} - ")), "{line}");
    };
    check("", "\"\"");
    check("A B", "\"A B\"");
    check("A\r\n2027", "\"A\\r\\n2027\"");
    check("\u{1b}[2J", "\"\\u{1b}[2J\"");
    check("\u{9b}2J", "\"\\u{9b}2J\"");
    check("a\u{2028}b", "\"a\\u{2028}b\"");
    check("status=200", "\"status=200\"");
    check("Ä", "\"Ä\"");
}

#[test]
fn redaction_replaces_values_that_are_there() {
    let trail = trail();
    let plan = LogPlan::new(LogFormat::Json, FIELDS).unwrap();
    let all = parsed(&full(&trail), &plan);
    assert!(all.as_object().unwrap().values().all(|value| value == "[redacted]"), "{all}");
    let absent = parsed(&AccessRecord::default(), &plan);
    assert!(absent.get("client").is_none(), "{absent}");
    let plan = LogPlan::new(LogFormat::Text, &["client", "route"]).unwrap();
    let text = line(&full(&trail), &plan);
    assert!(text.contains(" POST [redacted] ") && text.contains(" client=[redacted] "), "{text}");
    assert!(!text.contains("192.0.2.7") && !text.contains("{id}"), "{text}");
}

#[test]
fn sampling_never_leaves_out_what_is_not_plain() {
    let plain = AccessRecord { status: 200, ..AccessRecord::default() };
    let failed = AccessRecord { status: 500, ..AccessRecord::default() };
    let check = |share: f64, record: &AccessRecord<'_>, random: u64, wanted: bool| {
        let plan = LogPlan::default().sample_success(share);
        assert_eq!(plan.wants(record, random), wanted, "{share} {random}");
    };
    for random in [0, 1, u64::MAX / 2, u64::MAX] {
        check(0.0, &plain, random, false);
        check(0.0, &failed, random, true);
        check(f64::NAN, &failed, random, true);
        check(1.0, &plain, random, true);
    }
    check(0.25, &plain, u64::MAX / 5, true);
    check(0.25, &plain, u64::MAX / 3, false);
}

#[test]
fn addresses() {
    for address in ["0.0.0.0", "255.255.255.255", "10.20.3.4", "::1", "2001:db8::ff", "::ffff:10.0.0.1"] {
        let record = AccessRecord { client: Some(address.parse().unwrap()), ..AccessRecord::default() };
        assert_eq!(parsed(&record, &LogPlan::default())["client"], address);
    }
}

proptest! {
    #[test]
    fn any_text_reads_back(method: String, route in ".{0,40}", control in "[\\x00-\\x20\"\\\\]{0,8}", us: u64) {
        let mut trail = Trail::default();
        trail.add(Stage::Route, control.clone());
        let record = AccessRecord {
            method: &method,
            route: Some(&route),
            upstream: Some((&control, &method)),
            duration_us: us,
            trail: Some(&trail),
            ..AccessRecord::default()
        };
        let value = parsed(&record, &LogPlan::default());
        prop_assert_eq!(value["method"].as_str(), Some(method.as_str()));
        prop_assert_eq!(value["route"].as_str(), Some(route.as_str()));
        let upstream = format!("{control} {method}");
        prop_assert_eq!(value["upstream"].as_str(), Some(upstream.as_str()));
        prop_assert_eq!(value["trail"][0]["reason"].as_str(), Some(control.as_str()));
        // Compared as text: a reader may round so many digits.
        let duration = format!(",\"duration_ms\":{}.{:03},", us / 1000, us % 1000);
        prop_assert!(line(&record, &LogPlan::default()).contains(&duration));
        let text = line(&record, &LogPlan::new::<&str>(LogFormat::Text, &[]).unwrap());
        prop_assert!(text.chars().all(|c| !c.is_control()));
    }

    #[test]
    fn strings_are_written_as_serde_json_does(text: String) {
        let record = AccessRecord { method: &text, ..AccessRecord::default() };
        let line = line(&record, &LogPlan::default());
        let written: String = serde_json::to_string(&text).unwrap();
        // The two short forms that we do not use mean the same.
        let written = written.replace("\\b", "\\u0008").replace("\\f", "\\u000c");
        if !text.contains('\\') {
            prop_assert!(line.contains(&written), "{} in {}", written, line);
        }
    }
}
