//! Policies at the data plane: who may do what, what two parsers could read in two ways, and how fast a change counts.

mod asked;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mainstay_core::clock::{Clock, UnixMs};
use serde_json::{Value, json};

use crate::setup::{
    GUARD, OK, Setup, at, connect, exchange, read_all, read_head, serving, start_from, until,
};

fn config(upstream: SocketAddr) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2, limits: {{ body: 4KiB, body_timeout: 200ms }} }}
control: {{ listen: 127.0.0.1:0 }}
stores: {{ state: sqlite:mainstay.db }}
permissions: {{ policies: policies, shadow: shadow }}
upstreams: {{ up: {{ endpoints: [\"http://{upstream}\"], retries: {{ honours_idempotency_key: true }} }} }}
apis:
  pay:
    defaults: {{ auth: api_key }}
    versions:
      v1:
        upstream: up
        operations:
          \"POST /payments/{{id}}/refunds\":
            authorize: {{ action: createRefund, body: {{ amount: {{ at: /amount/value, type: long }} }} }}
          \"GET /banks/{{bank}}/accounts\": {{ authorize: {{ action: listAccounts }} }}
          \"POST /notes\": {{ authorize: {{ action: addNote }} }}
  free:
    base_path: /free
    defaults: {{ auth: api_key }}
    versions: {{ v1: {{ upstream: up, operations: {{ \"GET /x\": {{}}, \"POST /x\": {{}} }} }} }}
telemetry: {{ log: {{ output: access.log }} }}
"
    )
}

const REFUNDS: &str = r#"
@id("tellers-refund")
permit (principal is Consumer in Group::"tellers", action == Action::"createRefund", resource)
when { context.body.amount > 0 && context.body.amount <= principal.refund_max };
@id("notes") permit (principal, action == Action::"addNote", resource);
"#;
const BANKS: &str = r#"
@id("banks-read-their-own")
permit (principal is Consumer in Group::"banks", action == Action::"listAccounts", resource)
when { resource.path.bank == principal.bank };
"#;
const NIGHT: &str = r#"
@id("read-only-at-night")
forbid (principal, action, resource)
when { context.hour >= 22 || context.hour < 5 }
unless { action in [Action::"listAccounts"] };
"#;

type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An engine with policies, and an upstream that remembers heads and bodies as they came.
struct Desk {
    setup: Setup,
    came: Requests,
}

fn upstream() -> (SocketAddr, Requests) {
    let came = Requests::default();
    let seen = Arc::clone(&came);
    let address = serving(move |_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            while lower.contains("transfer-encoding: chunked") && !body.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    return;
                }
                body.push(byte[0]);
            }
            let mut seen = seen.lock().unwrap();
            seen.push((head, body));
            // The first of those that ask for it gets no answer.
            let is_to_break = lower.contains("x-break:");
            if is_to_break
                && seen.iter().filter(|(head, _)| head.to_lowercase().contains("x-break:")).count() == 1
            {
                return;
            }
            drop(seen);
            if stream.write_all(OK).is_err() {
                break;
            }
        }
    });
    (address, came)
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Desk {
    async fn open() -> Self {
        Self::open_at(at("2026-11-24T12:00:00Z"), &[]).await
    }

    async fn open_at(now: UnixMs, shadow: &[(&str, &str)]) -> Self {
        let (address, came) = upstream();
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "policies/pay/refunds.cedar", REFUNDS);
        write(folder.path(), "policies/pay/banks.cedar", BANKS);
        write(folder.path(), "policies/_all/night.cedar", NIGHT);
        std::fs::create_dir(folder.path().join("shadow")).unwrap();
        for (file, text) in shadow {
            write(folder.path(), &format!("shadow/{file}"), text);
        }
        write(folder.path(), "mainstay.yaml", &config(address));
        let engine = start_from(folder.path().join("mainstay.yaml"), Clock::manual(now)).await;
        Self { setup: Setup { engine, folder }, came }
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = std::fs::read_to_string(self.setup.folder.path().join("mainstay.token")).unwrap();
        let body = body.to_string();
        let request = format!(
            "{method} /admin/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let answer = exchange(self.setup.engine.control, request.into_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A consumer, and a key of theirs that the data plane knows.
    async fn consumer(&self, id: &str, group: &str, attributes: Value) -> String {
        let consumer = json!({"id": id, "name": id, "groups": [group], "attributes": attributes});
        let (status, answer) = self.admin("POST", "consumers", &consumer).await;
        assert_eq!(status, 201, "{answer}");
        let (status, made) = self.admin("POST", &format!("consumers/{id}/keys"), &json!({})).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().unwrap().to_owned();
        self.until(&key, "GET /free/v1/x", |answer| answer.starts_with("HTTP/1.1 200 ")).await;
        self.came.lock().unwrap().clear();
        key
    }

    async fn until(&self, key: &str, line: &str, is_it: impl Fn(&str) -> bool) -> String {
        let asked = async {
            loop {
                let answer = self.ask(line, key, "", b"").await;
                if is_it(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, asked).await.expect("the data plane knows in time")
    }

    async fn ask(&self, line: &str, key: &str, fields: &str, body: &[u8]) -> String {
        let mut request =
            format!("{line} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n{fields}Connection: close\r\n\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        exchange(self.setup.address(), request).await
    }

    async fn refund(&self, key: &str, body: &[u8]) -> String {
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.ask(REFUND, key, &fields, body).await
    }

    /// Asks without end, and nothing goes wrong.
    async fn keep_asking(&self, line: &str, key: &str) -> Value {
        loop {
            let answer = self.ask(line, key, "", b"").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "the policies before go on: {answer}");
        }
    }

    /// What has come to the upstream since the last time that somebody asked.
    fn came(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.came.lock().unwrap())
    }
}

const REFUND: &str = "POST /v1/payments/p1/refunds";

fn amount(value: &str) -> Vec<u8> {
    format!("{{\"amount\":{{\"value\":{value}}}}}").into_bytes()
}

#[track_caller]
fn refused(answer: &str, status: u16, code: &str) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let problem: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(problem["code"], code, "{answer}");
    problem
}

#[tokio::test]
async fn what_two_parsers_could_read_in_two_ways_never_passes_an_amount() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let utf16: Vec<u8> = "{\"amount\":{\"value\":1}}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100)).into_bytes();
    let malformed: &[&[u8]] = &[
        br#"{"amount":{"value":1,"value":9999}}"#,
        br#"{"amount":{"value":9999,"value":1}}"#,
        br#"{"amount":{"value":1},"amount":{"value":9999}}"#,
        br#"{"amount":{"value":1},"am\u006funt":{"value":9999}}"#,
        br#"{"amount":{"value":1}}{"amount":{"value":9999}}"#,
        br#"{"amount":{"value":1}}x"#,
        b"{\"amount\":{\"value\":1}}\0",
        b"\xef\xbb\xbf{\"amount\":{\"value\":1}}",
        b"{\"amount\":{\"value\":1},\"note\":\"\xff\"}",
        br#"{"amount":{"value":1},"note":"\ud800"}"#,
        br#"{"amount":{"value":1},}"#,
        br#"{"amount":{"value":01}}"#,
        br#"{"amount":{"value":1e400}}"#,
        br#"{"amount":{"value":NaN}}"#,
        b"{/* */\"amount\":{\"value\":1}}",
        b"   ",
        &utf16,
        &deep,
    ];
    for body in malformed {
        let answer = desk.refund(&key, body).await;
        refused(&answer, 400, "malformed_body");
    }
    let undecided: &[&[u8]] = &[
        br#"{"Amount":{"value":1}}"#,
        br#"{"amount":{"value":1},"AMOUNT":{"value":9999}}"#,
        br#"{"amount":{"value":1,"Value":9999}}"#,
        br#"{"amount":{"value":9007199254740993}}"#,
        br#"{"amount":{"value":1e2}}"#,
        br#"{"amount":{"value":-0}}"#,
        br#"{"amount":{"value":1.0}}"#,
        br#"{"amount":{"value":"1"}}"#,
        br#"{"amount":{"value":true}}"#,
        br#"{"amount":{"value":null}}"#,
        br#"{"amount":[{"value":1}]}"#,
        br#"{"amount":1}"#,
        br#"{}"#,
        br#"[]"#,
        b"1",
    ];
    for body in undecided {
        let problem = refused(&desk.refund(&key, body).await, 403, "policy_error");
        assert_eq!(problem["violated_policies"], json!(["tellers-refund"]), "{body:?}");
    }
    let body = amount("1");
    let length = format!("Content-Length: {}\r\n", body.len());
    for fields in [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "",
    ] {
        let answer = desk.ask(REFUND, &key, &format!("{fields}{length}"), &body).await;
        refused(&answer, 403, "policy_error");
    }
    let answer = desk.ask(REFUND, &key, "Content-Length: 0\r\n", b"").await;
    refused(&answer, 403, "policy_error");
    assert!(desk.came().is_empty(), "nothing was sent");
    assert_eq!(desk.setup.metric("mainstay_body_bytes"), 0.0, "nothing is held");
}

#[tokio::test]
async fn a_teller_refunds_up_to_an_amount_and_the_very_bytes_go_on() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let other = desk.consumer("shop", "merchants", json!({"refund_max": 500})).await;
    for (key, value) in [(&key, "501"), (&key, "0"), (&key, "-5"), (&other, "5")] {
        let problem = refused(&desk.refund(key, &amount(value)).await, 403, "policy_denied");
        assert_eq!(problem["permission"], "createRefund");
        assert_eq!(problem.get("violated_policies"), None, "none permits it: {problem}");
    }
    assert!(desk.came().is_empty(), "nothing was sent");
    let odd = b" {\t\"note\" : \"\\u00e9\\/\" ,\r\n \"amount\":{ \"value\" :500 , \"currency\":\"EUR\"}}\n"
        .to_vec();
    for body in [amount("1"), amount("500"), odd] {
        let answer = desk.refund(&key, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let came = desk.came();
        assert_eq!(came.len(), 1);
        assert_eq!(came[0].1, body, "byte for byte");
    }
    let mut chunked = Vec::new();
    for byte in amount("500") {
        chunked.extend_from_slice(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let fields = "Content-Type: application/vnd.x+json; Charset=\"UTF-8\"\r\nTransfer-Encoding: chunked\r\n";
    let answer = desk.ask(REFUND, &key, fields, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (head, body) = desk.came().remove(0);
    assert_eq!(body, amount("500"));
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "its length is known: {head}");
    assert!(desk.setup.metric("mainstay_policy_decisions_total api=\"pay\" result=\"allowed\"") >= 4.0);
    assert!(desk.setup.metric("mainstay_policy_decisions_total api=\"pay\" result=\"denied\"") >= 4.0);
    until("no body is held", || desk.setup.metric("mainstay_body_bytes") == 0.0).await;
}

#[tokio::test]
async fn trailers_behind_a_body_that_is_read_are_dropped_as_ever() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let body = amount("500");
    let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\nx-sum: 7\r\n\r\n");
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n";
    let answer = desk.ask(REFUND, &key, fields, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, came) = desk.came().remove(0);
    assert_eq!(came, body);
}

#[tokio::test]
async fn a_body_that_does_not_come_whole_is_refused_and_nothing_is_sent() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let json = "Content-Type: application/json\r\n";
    let large = format!("{json}Content-Length: 5000\r\n");
    refused(&desk.ask(REFUND, &key, &large, b"").await, 413, "body_too_large");
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    let mut body = b"1388\r\n".to_vec();
    body.extend(vec![b' '; 5000]);
    refused(&desk.ask(REFUND, &key, &chunked, &body).await, 413, "body_too_large");
    let short = format!("{json}Content-Length: 40\r\n");
    refused(&desk.ask(REFUND, &key, &short, b"{\"amount\"").await, 408, "request_timeout");
    assert!(desk.came().is_empty(), "nothing was sent");
    until("no body is held", || desk.setup.metric("mainstay_body_bytes") == 0.0).await;
    // Where no policy reads the body it is not waited for, and may be anything.
    let answer = desk.ask("POST /v1/notes", &key, "Content-Length: 3\r\n", b"{{{").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(desk.came().remove(0).1, b"{{{");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_to_send_its_body() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let address = desk.setup.address();
    let answer = crate::setup::blocking(move || {
        let mut stream = connect(address);
        let body = amount("5");
        let head = format!(
            "{REFUND} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let told = read_head(&mut stream).unwrap();
        assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
        stream.write_all(&body).unwrap();
        read_all(&mut stream)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(desk.came().remove(0).1, amount("5"));
}

#[tokio::test]
async fn a_bank_reads_its_own_accounts_and_a_change_counts_within_two_seconds() {
    let desk = Desk::open().await;
    let key = desk.consumer("north", "banks", json!({"bank": "north"})).await;
    let mine = "GET /v1/banks/north/accounts";
    for other in ["GET /v1/banks/south/accounts", "GET /v1/banks/North/accounts"] {
        refused(&desk.ask(other, &key, "", b"").await, 403, "policy_denied");
    }
    for _ in 0..20 {
        let answer = desk.ask(mine, &key, "", b"").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let began = tokio::time::Instant::now();
    let (status, answer) =
        desk.admin("PATCH", "consumers/north", &json!({"attributes": {"bank": "west"}})).await;
    assert_eq!(status, 200, "{answer}");
    let answer = desk.until(&key, mine, |answer| answer.starts_with("HTTP/1.1 403 ")).await;
    refused(&answer, 403, "policy_denied");
    let (status, answer) =
        desk.admin("PATCH", "consumers/north", &json!({"attributes": {"bank": "north"}, "groups": []})).await;
    assert_eq!(status, 200, "{answer}");
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    // One that has no such attribute is nobody's bank.
    let (status, _) = desk
        .admin("PATCH", "consumers/north", &json!({"attributes": {"bank": null}, "groups": ["banks"]}))
        .await;
    assert_eq!(status, 200);
    let answer = desk.until(&key, mine, |answer| answer.contains("policy_error")).await;
    refused(&answer, 403, "policy_error");
}

#[tokio::test]
async fn at_night_nothing_is_written() {
    let desk = Desk::open_at(at("2026-11-24T23:30:00Z"), &[]).await;
    let answer = desk
        .admin(
            "POST",
            "consumers",
            &json!({"id": "n", "name": "n", "groups": ["banks"], "attributes": {"bank": "n"}}),
        )
        .await;
    assert_eq!(answer.0, 201, "{}", answer.1);
    let (_, made) = desk.admin("POST", "consumers/n/keys", &json!({})).await;
    let key = made["key"].as_str().unwrap();
    let read = "GET /v1/banks/n/accounts";
    desk.until(key, read, |answer| answer.starts_with("HTTP/1.1 200 ")).await;
    let line = "POST /free/v1/x";
    let problem = refused(&desk.ask(line, key, "Content-Length: 0\r\n", b"").await, 403, "policy_denied");
    assert_eq!(problem["violated_policies"], json!(["read-only-at-night"]));
}

#[tokio::test]
async fn shadow_policies_are_reported_and_change_nothing() {
    let shadow = [
        (
            "pay/all.cedar",
            "@id(\"only-small\") permit (principal, action == Action::\"createRefund\", resource) when { context.body.amount < 10 };",
        ),
        ("free/no.cedar", "@id(\"nothing\") forbid (principal, action, resource);"),
    ];
    let desk = Desk::open_at(at("2026-11-24T12:00:00Z"), &shadow).await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let answer = desk.refund(&key, &amount("400")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = desk.ask("GET /free/v1/x", &key, "X-Request-Id: request-1\r\n", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let record = desk.setup.record("request-1").await;
    assert!(
        record["trail"].to_string().contains("shadow policies would deny: forbidden by nothing"),
        "{record}"
    );
    assert!(desk.setup.metric("mainstay_policy_shadow_differs_total api=\"pay\"") >= 1.0);
    // A body that only a shadow policy asks for is refused by nobody.
    refused(&desk.refund(&key, &amount("501")).await, 403, "policy_denied");
}

#[tokio::test]
async fn policies_are_replaced_under_load_and_bad_ones_are_not() {
    let desk = Desk::open().await;
    let key = desk.consumer("north", "banks", json!({"bank": "north"})).await;
    let folder = desk.setup.folder.path().to_owned();
    let line = "GET /v1/banks/north/accounts";
    write(&folder, "policies/pay/banks.cedar", "permit (principal, action == Action::\"noSuch\", resource);");
    let event = tokio::select! {
        event = desk.setup.event("policies_refused") => event,
        event = desk.keep_asking(line, &key) => event,
    };
    assert!(event["cause"].as_str().unwrap().contains("banks.cedar:1:"), "{event}");
    assert_eq!(desk.setup.metric("mainstay_policy_loads_total result=\"refused\""), 1.0);
    let none = BANKS
        .replace("banks-read", "nobody-reads")
        .replace("principal.bank }", "principal.bank && principal.bank == \"never\" }");
    write(&folder, "policies/pay/banks.cedar", &none);
    let answer = desk.until(&key, line, |answer| !answer.starts_with("HTTP/1.1 200 ")).await;
    refused(&answer, 403, "policy_denied");
    desk.setup.event("policies_loaded").await;
    // And a folder that is gone is no folder without rules.
    std::fs::rename(folder.join("policies"), folder.join("away")).unwrap();
    desk.setup.until_metric("mainstay_policy_loads_total result=\"refused\"", 2.0).await;
    refused(&desk.ask(line, &key, "", b"").await, 403, "policy_denied");
}
