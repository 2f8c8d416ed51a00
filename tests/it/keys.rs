//! API keys at the data plane: who is let in, what goes on, and how fast a change counts.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use mainstay_core::clock::Clock;
use serde_json::{Value, json};

use crate::setup::{GUARD, OK, Setup, exchange, read_head, serving};

/// An api with a read and a write, keys asked for, a sandbox in the first version only.
fn config(live: SocketAddr, sandbox: SocketAddr) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2, trusted_proxies: [127.0.0.1] }}
control: {{ listen: 127.0.0.1:0 }}
stores: {{ state: sqlite:mainstay.db }}
plans: {{ pro: {{ priority: high }} }}
consumers: [{{ id: filed, plan: pro }}]
upstreams: {{ up: {{ endpoints: [\"http://{live}\"] }}, box: {{ endpoints: [\"http://{sandbox}\"] }} }}
apis:
  pay:
    defaults: {{ auth: api_key }}
    versions:
      v1:
        upstream: up
        sandbox: box
        operations:
          \"GET /payments/{{id}}\": {{ scopes: payments:read }}
          \"POST /payments\": {{ scopes: [payments:read, payments:write] }}
          \"GET /open\": {{ auth: none }}
      v2:
        upstream: up
        lifecycle: {{ deprecated: 2026-01-01 }}
        operations: {{ \"GET /payments/{{id}}\": {{}} }}
  other:
    base_path: /other
    defaults: {{ auth: api_key }}
    versions: {{ v1: {{ upstream: up, operations: {{ \"GET /x\": {{}} }} }} }}
telemetry: {{ log: {{ output: access.log }} }}
"
    )
}

/// An upstream that answers everything, and remembers the heads of what came.
struct Service {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    gate: Arc<Gate>,
}

impl Service {
    fn start() -> Self {
        let (heads, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Gate::default()));
        let (seen, passed) = (Arc::clone(&heads), Arc::clone(&gate));
        let addr = serving(move |_, mut stream| {
            while let Some(head) = read_head(&mut stream) {
                seen.lock().unwrap().push(head);
                passed.pass();
                if stream.write_all(OK).is_err() {
                    break;
                }
            }
        });
        Self { addr, heads, gate }
    }

    /// No answer leaves until what is given back is dropped.
    fn hold(&self) -> Held {
        *self.gate.is_shut.lock().unwrap() = true;
        Held(Arc::clone(&self.gate))
    }

    /// What has come since the last time that somebody asked.
    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

/// What answers pass on their way out.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let shut = self.is_shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |is_shut| *is_shut).unwrap());
    }
}

/// Keeps a gate shut.
struct Held(Arc<Gate>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.is_shut.lock().unwrap() = false;
        self.0.opened.notify_all();
    }
}

/// An engine with a live upstream and a sandbox.
struct Desk {
    setup: Setup,
    live: Service,
    sandbox: Service,
}

impl Desk {
    async fn open() -> Self {
        Self::start(|text| text).await
    }

    async fn open_with_server(server: &str) -> Self {
        Self::start(|text| text.replace("workers: 2", &format!("workers: 2{server}"))).await
    }

    async fn start(change: impl FnOnce(String) -> String) -> Self {
        let (live, sandbox) = (Service::start(), Service::start());
        let setup = Setup::start_text(&change(config(live.addr, sandbox.addr)), Clock::System).await;
        Self { setup, live, sandbox }
    }

    /// The admin API, as whoever has the token file.
    async fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = std::fs::read_to_string(self.setup.folder.path().join("mainstay.token")).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /admin/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        let answer = exchange(self.setup.engine.control, request.into_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn consumer(&self, id: &str) {
        let (status, answer) =
            self.admin("POST", "consumers", &json!({"id": id, "name": id, "plan": "pro"})).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// A new key, once the data plane knows it.
    async fn key(&self, consumer: &str, what: Value) -> (String, String) {
        let (status, made) = self.admin("POST", &format!("consumers/{consumer}/keys"), &what).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().unwrap().to_owned();
        self.until(&key, "GET /other/v1/x", |answer| !answer.starts_with("HTTP/1.1 401 ")).await;
        (made["id"].as_str().unwrap().to_owned(), key)
    }

    async fn until(&self, key: &str, line: &str, is_it: impl Fn(&str) -> bool) -> String {
        let asked = async {
            loop {
                let answer = self.ask(line, &format!("X-API-Key: {key}\r\n")).await;
                if is_it(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, asked).await.expect("the data plane knows in time")
    }

    async fn ask(&self, line: &str, fields: &str) -> String {
        self.setup.exchange(&format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n")).await
    }
}

#[track_caller]
fn refused(answer: &str, status: u16, code: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], code, "{answer}");
    let has_challenge = head.to_ascii_lowercase().contains("\r\nwww-authenticate: ");
    assert!(has_challenge || status != 401, "401 says how to do it right: {answer}");
    problem
}

#[tokio::test]
async fn a_key_of_the_catalogue_lets_in_and_says_who_it_is() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (id, key) = desk.key("acme", json!({"scopes": ["payments:read"]})).await;
    desk.live.heads();
    for field in [format!("X-API-Key: {key}\r\n"), format!("Authorization: Bearer {key}\r\n")] {
        // Nobody but the engine says who calls.
        let lies = "X-Consumer-Id: evil\r\nX_Consumer_Id: evil\r\nX-Auth-Method: none\r\nX-Request-Id: request-1\r\n";
        let answer = desk.ask("GET /v1/payments/7", &format!("{field}{lies}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let heads = desk.live.heads();
        let head = heads[0].to_ascii_lowercase();
        for wanted in ["x-consumer-id: acme\r\n", "x-consumer-plan: pro\r\n", "x-auth-method: api_key\r\n"] {
            assert!(head.contains(wanted), "{head}");
        }
        assert!(!head.contains("evil") && !heads[0].contains(&key), "{head}");
        assert!(!head.contains("authorization") && !head.contains("x-api-key"), "{head}");
    }
    let record = desk.setup.record("request-1").await;
    for (field, value) in
        [("mode", "live"), ("consumer", "acme"), ("key_id", &*id), ("auth_method", "api_key")]
    {
        assert_eq!(record[field], value, "{record}");
    }
    assert!(!desk.setup.log().contains(&key));
    assert!(desk.setup.metric("mainstay_authenticated_total method=\"api_key\"") >= 2.0);
    // What asks for nobody is nobody's business: the credentials are the service's own.
    let answer = desk.ask("GET /v1/open", "Authorization: Basic abc\r\nX-API-Key: theirs\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = desk.live.heads().remove(0).to_ascii_lowercase();
    assert!(
        head.contains("authorization: basic abc\r\n") && head.contains("x-api-key: theirs\r\n"),
        "{head}"
    );
    assert!(!head.contains("x-consumer-id"), "{head}");
}

#[tokio::test]
async fn whoever_proves_nothing_is_told_how_and_nothing_is_sent() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({"scopes": ["payments:read"]})).await;
    desk.live.heads();
    let longer = format!("{key}x");
    let changed = format!("{}{}", &key[..20], key[20..].chars().rev().collect::<String>());
    let unknown = "msk_live_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf2Yqit9";
    let huge = "a".repeat(20_000);
    let rows: &[(&str, String, u16, &str)] = &[
        ("", String::new(), 401, "unauthenticated"),
        ("", "Authorization: Basic dTpw\r\n".into(), 401, "unauthenticated"),
        ("", format!("X-API-Key: {unknown}\r\n"), 401, "invalid_credentials"),
        ("", format!("X-API-Key: {longer}\r\n"), 401, "malformed_key"),
        ("", format!("X-API-Key: {changed}\r\n"), 401, "malformed_key"),
        ("", format!("X-API-Key: {}\r\n", key.to_uppercase()), 401, "invalid_credentials"),
        ("", "X-API-Key: not-one-of-ours\r\n".into(), 401, "invalid_credentials"),
        ("", format!("X-API-Key: {huge}\r\n"), 401, "invalid_credentials"),
        ("", format!("X-API-Key: {key}\r\nX-API-Key: {key}\r\n"), 400, "conflicting_credentials"),
        (
            "",
            format!("X-API-Key: {key}\r\nAuthorization: Bearer {unknown}\r\n"),
            400,
            "conflicting_credentials",
        ),
        ("?api_key=x", format!("X-API-Key: {key}\r\n"), 400, "key_in_query"),
        ("?a=1&X-Api-Key=x", format!("X-API-Key: {key}\r\n"), 400, "key_in_query"),
        ("?token=msk_live_x", String::new(), 400, "key_in_query"),
    ];
    for (query, fields, status, code) in rows {
        let answer = desk.ask(&format!("GET /v1/payments/7{query}"), fields).await;
        refused(&answer, *status, code);
        assert!(!answer.contains(&key), "what was presented is not repeated: {answer}");
    }
    assert_eq!(desk.live.heads(), Vec::<String>::new(), "nobody was asked");
}

#[tokio::test]
async fn a_key_is_for_what_it_was_made_for() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, reader) = desk.key("acme", json!({"scopes": ["payments:read"]})).await;
    let (_, elsewhere) = desk.key("acme", json!({"scopes": ["payments:read"], "apis": ["other"]})).await;
    let (_, office) =
        desk.key("acme", json!({"scopes": ["payments:read"], "addresses": ["192.0.2.0/24"]})).await;
    desk.live.heads();
    let post = "POST /v1/payments";
    let answer = desk.ask(post, &format!("X-API-Key: {reader}\r\nContent-Length: 0\r\n")).await;
    let problem = refused(&answer, 403, "permission_missing");
    assert_eq!(problem["permission"], "payments:write");
    assert!(
        answer.contains("error=\"insufficient_scope\", scope=\"payments:read payments:write\""),
        "{answer}"
    );
    let answer = desk.ask("GET /v1/payments/7", &format!("X-API-Key: {elsewhere}\r\n")).await;
    refused(&answer, 403, "permission_missing");
    let answer = desk.ask("GET /v1/payments/7", &format!("X-API-Key: {office}\r\n")).await;
    refused(&answer, 403, "address_not_allowed");
    assert_eq!(desk.live.heads(), Vec::<String>::new());
    let from = "X-Forwarded-For: 192.0.2.9\r\n";
    let answer = desk.ask("GET /v1/payments/7", &format!("X-API-Key: {office}\r\n{from}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_test_key_reaches_the_sandbox_and_nothing_else() {
    // A sandbox that could be replaced by the live upstream, if anybody did so.
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({"mode": "test", "scopes": ["payments:read"]})).await;
    assert!(key.starts_with("msk_test_"));
    let (field, _) = (format!("X-API-Key: {key}\r\n"), desk.live.heads());
    let answer = desk.ask("GET /v1/payments/7", &field).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!((desk.sandbox.heads().len(), desk.live.heads().len()), (1, 0));
    let answer = desk.ask("GET /v2/payments/7", &field).await;
    refused(&answer, 403, "no_sandbox");
    assert_eq!((desk.sandbox.heads().len(), desk.live.heads().len()), (0, 0));
}

#[tokio::test]
async fn a_revoked_key_and_a_suspended_consumer_are_refused_within_two_seconds() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (id, key) = desk.key("acme", json!({})).await;
    let (_, other) = desk.key("acme", json!({})).await;
    let began = tokio::time::Instant::now();
    let (status, _) = desk.admin("DELETE", &format!("keys/{id}"), &Value::Null).await;
    assert!((200..300).contains(&status), "{status}");
    let answer = desk.until(&key, "GET /other/v1/x", |answer| answer.starts_with("HTTP/1.1 401 ")).await;
    refused(&answer, 401, "invalid_credentials");
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    let answer = desk.ask("GET /other/v1/x", &format!("X-API-Key: {other}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "the other one is as good as before: {answer}");
    let (status, answer) = desk.admin("PATCH", "consumers/acme", &json!({"suspended": true})).await;
    assert_eq!(status, 200, "{answer}");
    desk.until(&other, "GET /other/v1/x", |answer| answer.starts_with("HTTP/1.1 401 ")).await;
}

#[tokio::test]
async fn what_is_known_outlives_the_engine() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("filed", json!({"scopes": ["payments:read"]})).await;
    let Desk { setup: Setup { engine, folder }, live, sandbox: _sandbox } = desk;
    assert!(engine.shut_down("test").await);
    let engine = crate::setup::start_from(folder.path().join("mainstay.yaml"), Clock::System).await;
    let setup = Setup { engine, folder };
    live.heads();
    let answer = setup
        .exchange(&format!(
            "GET /v1/payments/7 HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(live.heads()[0].to_ascii_lowercase().contains("x-consumer-id: filed\r\n"));
}

/// The hash of a key is in the database, and the key is nowhere.
#[tokio::test]
async fn a_key_is_nowhere_but_with_its_owner() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({})).await;
    let metrics = mainstay_core::port::Engine::metrics(&desk.setup.port());
    let (_, audit) = desk.admin("GET", "audit", &Value::Null).await;
    assert!(audit["items"].as_array().is_some_and(|items| items.len() >= 2), "{audit}");
    let folder = desk.setup.folder.path().to_owned();
    let Desk { setup: Setup { engine, folder: _keep }, .. } = desk;
    engine.shut_down("test").await;
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut seen = 0;
    let mut texts =
        vec![("metrics".into(), metrics.into_bytes()), ("audit".into(), audit.to_string().into_bytes())];
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        texts.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        seen += 1;
    }
    assert!(seen >= 4, "configuration, log, events and database are there");
    for (name, bytes) in texts {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains(&key) && !text.to_ascii_lowercase().contains(&hex), "{name}");
    }
}

#[tokio::test]
async fn who_guesses_is_not_looked_at_for_a_while_and_others_are() {
    let desk = Desk::open_with_server(", preauth: { rate: 1/s, burst: 3 }").await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({})).await;
    let good = format!("X-API-Key: {key}\r\nX-Forwarded-For: 198.51.100.7\r\n");
    // Good ones are no attempts, however many they are.
    for _ in 0..20 {
        let answer = desk.ask("GET /other/v1/x", &good).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let guess = |n: u32| format!("X-API-Key: guess-{n:020}\r\nX-Forwarded-For: 198.51.100.7\r\n");
    let mut limited = None;
    for n in 0..20 {
        let answer = desk.ask("GET /other/v1/x", &guess(n)).await;
        if answer.starts_with("HTTP/1.1 429 ") {
            limited = Some(answer);
            break;
        }
        refused(&answer, 401, "invalid_credentials");
    }
    let limited = limited.expect("three at once, and one a second");
    let problem = refused(&limited, 429, "too_many_attempts");
    assert!(problem["retry_after_s"].as_u64().is_some_and(|s| (1..=60).contains(&s)), "{problem}");
    assert!(limited.to_ascii_lowercase().contains("\r\nretry-after: "), "{limited}");
    let other = format!("X-API-Key: {key}\r\nX-Forwarded-For: 198.51.100.8\r\n");
    let answer = desk.ask("GET /other/v1/x", &other).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "another address is not held back: {answer}");
    let answer = desk.ask("GET /v1/open", "X-Forwarded-For: 198.51.100.7\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "who is asked for nothing cannot guess: {answer}");
}

#[tokio::test]
async fn an_engine_whose_store_another_one_holds_does_not_start() {
    let desk = Desk::open().await;
    let text = std::fs::read_to_string(desk.setup.config_path()).unwrap();
    std::fs::write(desk.setup.folder.path().join("second.yaml"), text).unwrap();
    let loaded =
        mainstay::compose::load_for_start(desk.setup.folder.path().join("second.yaml"), Clock::System);
    let Ok(loaded) = loaded else { panic!("the configuration is good") };
    let error = mainstay::compose::Engine::start(loaded.start).await.err().expect("the files are taken");
    assert!(error.to_string().contains("mainstay.db"), "{error}");
}

#[tokio::test]
async fn who_still_calls_a_deprecated_version_is_known_by_name() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({})).await;
    let answer = desk.ask("GET /v2/payments/7", &format!("X-API-Key: {key}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    refused(&desk.ask("GET /v2/payments/7", "").await, 401, "unauthenticated");
    let metric = "mainstay_deprecated_requests_total consumer=\"acme\"";
    assert_eq!(desk.setup.metric(metric), 1.0, "who is not let in is no caller");
}

/// What the log says of a request's turn is not asked here: the plan's priority shows in who waits.
#[tokio::test]
async fn a_plan_says_whose_turn_comes_first_unless_the_operation_does() {
    let text = "concurrency: { limit: 1, queue: 8, queue_wait: 20s }";
    let desk = Desk::start(|config| {
        config
            .replace("up: { endpoints", &format!("up: {{ {text}, endpoints"))
            .replace("plans: { pro", "plans: { low: { priority: low }, pro")
            .replace("\"GET /open\": { auth: none }", "\"GET /open\": { auth: none, priority: critical }")
    })
    .await;
    desk.consumer("acme").await;
    let (_, key) = desk.key("acme", json!({"scopes": ["payments:read"]})).await;
    let held = desk.live.hold();
    let address = desk.setup.address();
    let send = |line: &'static str, fields: String| {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n").into_bytes();
        tokio::spawn(exchange(address, bytes))
    };
    let mine = format!("X-API-Key: {key}\r\n");
    let mut sent = vec![send("GET /v1/payments/1", mine.clone())];
    desk.setup.until_metric("mainstay_upstream_in_flight upstream=\"up\"", 1.0).await;
    sent.push(send("GET /v1/payments/2", mine));
    desk.setup.until_metric("mainstay_upstream_queue_depth upstream=\"up\" priority=\"high\"", 1.0).await;
    sent.push(send("GET /v1/open", String::new()));
    desk.setup.until_metric("mainstay_upstream_queue_depth upstream=\"up\" priority=\"critical\"", 1.0).await;
    drop(held);
    for answer in sent {
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}
