//! Opaque tokens of another server, which is asked about each (RFC 7662).

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use mainstay_core::clock::Clock;
use mainstay_proxy::forward::resolve::Resolver;
use serde_json::{Value, json};

use super::{ISSUER, Key, Service, good, now_s, refused, set};
use crate::setup::{Setup, read_head, serving, until};

const SECRET: &str = "s3cret/of:the+engine";

/// A server that says of each token what it was told to, and of others that they are not active.
#[derive(Clone)]
struct Server {
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Bodies by token; one without a status line gets 200.
    answers: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
    is_silent: Mutex<bool>,
    changed: Condvar,
}

impl Server {
    fn start() -> Self {
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let addr = serving(move |_, mut stream| {
            let Some(head) = read_head(&mut stream) else { return };
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            let mut body = vec![0; length];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let body = String::from_utf8(body).unwrap();
            shared.asked.lock().unwrap().push(format!("{head}{body}"));
            let silent = shared.is_silent.lock().unwrap();
            drop(shared.changed.wait_while(silent, |is_silent| *is_silent).unwrap());
            let token = body.strip_prefix("token=").and_then(|rest| rest.split('&').next()).unwrap_or("");
            let answers = shared.answers.lock().unwrap();
            let text = answers.get(token).cloned().unwrap_or_else(|| json!({ "active": false }).to_string());
            drop(answers);
            let answer = match text.strip_prefix("HTTP/1.1 ") {
                Some(_) => text,
                None => format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                ),
            };
            let _ = stream.write_all(answer.as_bytes());
        });
        Self { addr, state }
    }

    fn say(&self, token: &str, answer: &Value) {
        self.say_text(token, &answer.to_string());
    }

    fn say_text(&self, token: &str, text: &str) {
        self.state.answers.lock().unwrap().insert(token.to_owned(), text.to_owned());
    }

    fn be_silent(&self, is_silent: bool) {
        *self.state.is_silent.lock().unwrap() = is_silent;
        self.state.changed.notify_all();
    }

    fn asked(&self) -> Vec<String> {
        self.state.asked.lock().unwrap().clone()
    }
}

fn of_acme() -> Value {
    json!({ "active": true, "client_id": "acme", "scope": "payments:read", "exp": now_s() + 600 })
}

struct Desk {
    setup: Setup,
    live: Service,
    /// Of an issuer of JSON Web Tokens beside the servers.
    key: Key,
}

impl Desk {
    async fn open(servers: &[&Server], more: &str) -> Self {
        let live = Service::start();
        let servers = servers.iter().enumerate().map(|(number, server)| {
            format!(
                "\n    - {{ issuer: old-{number}, url: \"http://{}/introspect\", client_id: engine, client_secret: \"{SECRET}\"{more} }}",
                server.addr
            )
        });
        let servers: String = servers.collect();
        let config = format!(
            "server: {{ listen: 127.0.0.1:0, workers: 2, preauth: off }}
control: {{ listen: 127.0.0.1:0 }}
stores: {{ state: sqlite:mainstay.db }}
consumers: [{{ id: acme }}]
auth:
  jwt: {{ issuers: [{{ issuer: \"{ISSUER}\", jwks: jwks.json, audiences: [payments] }}] }}
  outbound: {{ allow: [127.0.0.0/8] }}
  introspection:{servers}
upstreams: {{ up: {{ endpoints: [\"http://{}\"] }} }}
apis:
  pay:
    defaults: {{ auth: [api_key, introspection] }}
    versions:
      v1:
        upstream: up
        operations:
          \"GET /payments/{{id}}\": {{ scopes: payments:read }}
          \"POST /payments\": {{ scopes: payments:write }}
          \"GET /key\": {{ auth: api_key }}
          \"GET /signed\": {{ auth: jwt }}
          \"GET /asked\": {{ auth: introspection }}
telemetry: {{ log: {{ output: access.log }} }}
",
            live.addr
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mainstay.yaml");
        std::fs::write(&path, config).unwrap();
        let key = Key::new("k");
        std::fs::write(folder.path().join("jwks.json"), set(&[&key])).unwrap();
        let engine = crate::setup::start_from_with(path, Clock::System, Resolver::default()).await;
        Self { setup: Setup { engine, folder }, live, key }
    }

    async fn ask(&self, line: &str, token: &str) -> String {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        self.setup.exchange(&request).await
    }

    async fn read(&self, token: &str) -> String {
        self.ask("GET /v1/payments/7", token).await
    }
}

#[tokio::test]
async fn a_token_that_its_server_vouches_for_is_asked_about_once() {
    let server = Server::start();
    // As a form carries it.
    server.say("good%7E1", &of_acme());
    let desk = Desk::open(&[&server], "").await;
    for _ in 0..5 {
        assert!(good(&desk.read("good~1").await));
    }
    // Each worker keeps it for itself, and none asks again.
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let head = asked[0].to_ascii_lowercase();
    assert!(head.starts_with("post /introspect http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: basic "), "{head}");
    let pair = "engine:s3cret%2Fof%3Athe%2Bengine";
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(pair)
    };
    assert!(asked[0].contains(&encoded), "{asked:?}");
    assert!(asked[0].ends_with("\r\n\r\ntoken=good%7E1&token_type_hint=access_token"), "{asked:?}");
    let seen = desk.live.heads().join("");
    assert!(
        seen.contains("x-consumer-id: acme\r\n") && seen.contains("x-auth-method: introspection\r\n"),
        "{seen}"
    );
    assert!(!seen.to_ascii_lowercase().contains("authorization"), "the token is the engine's: {seen}");
    refused(&desk.ask("POST /v1/payments", "good~1").await, 403, "permission_missing");
    refused(&desk.ask("GET /v1/key", "good~1").await, 401, "unauthenticated");
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn what_no_server_vouches_for_is_not_let_in() {
    let (first, second) = (Server::start(), Server::start());
    second.say("of-second", &of_acme());
    second.say("stranger", &json!({ "active": true, "client_id": "stranger" }));
    second.say("bound", &json!({ "active": true, "client_id": "acme", "cnf": { "jkt": "x" } }));
    let desk = Desk::open(&[&first, &second], "").await;
    assert!(good(&desk.read("of-second").await), "asked in their order until one vouches");
    for token in ["unknown", "stranger", "bound", "a.b.c"] {
        let answer = desk.read(token).await;
        refused(&answer, 401, "invalid_credentials");
        assert!(answer.contains("error=\"invalid_token\""), "{answer}");
    }
    let before = first.asked().len();
    refused(&desk.read("unknown").await, 401, "invalid_credentials");
    assert_eq!(first.asked().len(), before, "what is not active is remembered for a while");
    assert!(desk.live.heads().len() == 1);
    desk.setup.engine.stop().await;
}

/// A server that fails is 503 and never 401, whatever it says instead of an answer; and it recovers.
#[tokio::test]
async fn a_server_that_fails_is_no_fault_of_the_caller() {
    let server = Server::start();
    let desk = Desk::open(&[&server], "").await;
    let rows = [
        ("html", "<html>active: true</html>"),
        ("status-500", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("status-401", "HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        (
            "redirect",
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        ("cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{\"active\":true"),
        ("twice", r#"{"active":false,"active":true}"#),
        ("text", r#"{"active":"true","client_id":"acme"}"#),
    ];
    for (token, text) in rows {
        server.say_text(token, text);
        refused(&desk.read(token).await, 503, "identity_unavailable");
    }
    let long = format!("{{\"active\":true,\"client_id\":\"acme\",\"x\":\"{}\"}}", "a".repeat(70_000));
    server.say_text("long", &long);
    refused(&desk.read("long").await, 503, "identity_unavailable");
    assert_eq!(desk.live.heads(), Vec::<String>::new());
    desk.setup.event("introspection_failed").await;

    server.say("later", &of_acme());
    assert!(good(&desk.read("later").await));
    desk.setup.event("introspection_recovered").await;
    // What failed is asked about again before long.
    server.say("html", &of_acme());
    let mut answer = String::new();
    for _ in 0..1_000_000 {
        answer = desk.read("html").await;
        if good(&answer) {
            break;
        }
        refused(&answer, 503, "identity_unavailable");
    }
    assert!(good(&answer), "{answer}");
    desk.setup.engine.stop().await;
}

/// Nobody waits longer than was said, and many who wait cost one question.
#[tokio::test]
async fn a_silent_server_is_waited_for_a_bounded_time_and_asked_once() {
    let server = Server::start();
    server.say("slow", &of_acme());
    server.be_silent(true);
    let desk = Desk::open(&[&server], "").await;
    let (one, two, three) = tokio::join!(desk.read("slow"), desk.read("slow"), desk.read("slow"));
    for answer in [one, two, three] {
        refused(&answer, 503, "identity_unavailable");
    }
    assert_eq!(server.asked().len(), 1);
    // What comes late is there for the next.
    server.be_silent(false);
    until("the answer is known", || {
        desk.setup.metric("mainstay_introspections_total result=\"active\"") >= 1.0
    })
    .await;
    let mut answer = desk.read("slow").await;
    while !good(&answer) {
        answer = desk.read("slow").await;
    }
    assert_eq!(server.asked().len(), 1);
    desk.setup.engine.stop().await;
}

/// An answer is not kept past the token's end, and a consumer that is suspended here is out although its server vouches.
#[tokio::test]
async fn an_answer_is_kept_no_longer_than_it_is_good() {
    let server = Server::start();
    let mut brief = of_acme();
    brief["exp"] = json!(now_s() + 2);
    server.say("brief", &brief);
    let desk = Desk::open(&[&server], ", clock_skew: 0s").await;
    assert!(good(&desk.read("brief").await));
    server.say("brief", &json!({ "active": false }));
    let mut answer = desk.read("brief").await;
    while good(&answer) {
        answer = desk.read("brief").await;
    }
    refused(&answer, 401, "invalid_credentials");
    assert_eq!(server.asked().len(), 2);
    desk.setup.engine.stop().await;
}

/// One text may be a JSON Web Token to one operation and a token of a server to another: what is known of it as the one says
/// nothing about it as the other.
#[tokio::test]
async fn a_token_that_is_signed_and_vouched_for_is_each_where_it_is_asked_for() {
    let server = Server::start();
    let desk = Desk::open(&[&server], "").await;
    let token = desk.key.token(&json!({}));
    server.say(&token, &of_acme());
    for _ in 0..2 {
        for path in ["/v1/asked", "/v1/signed"] {
            let answer = desk.ask(&format!("GET {path}"), &token).await;
            assert!(good(&answer), "{path}: {answer}");
        }
    }
    let methods = desk.live.heads().join("");
    let seen = |method: &str| methods.matches(&format!("x-auth-method: {method}\r\n")).count();
    assert_eq!((seen("introspection"), seen("jwt")), (2, 2), "{methods}");
    desk.setup.engine.stop().await;
}
