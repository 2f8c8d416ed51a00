//! JSON Web Tokens of an identity provider: who is let in, and what happens while its keys cannot be had.

mod callers;
mod fetching;
mod introspection;
mod provider;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_core::clock::Clock;
use mainstay_proxy::forward::resolve::Resolver;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::setup::{GUARD, OK, Setup, exchange, read_head, serving};

const ISSUER: &str = "https://id.example.com";

/// Waiting for something to be so is many attempts, which are nobody's attack.
const PATIENCE: &str = ", preauth: off";

/// A key of an identity provider.
struct Key(KeyPair, &'static str);

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn new(id: &'static str) -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).unwrap(), id)
    }

    fn jwk(&self) -> Value {
        let x = b64(self.0.der_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.1, "x": x, "use": "sig" })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.0.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature))
    }

    /// A token of these claims, beside what every good one has.
    fn token(&self, more: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.1 });
        self.sign(&header, &claims(more))
    }
}

fn now_s() -> i64 {
    Clock::System.now().seconds()
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "payments", "sub": "s", "client_id": "acme", "scope": "payments:read other",
        "iat": now_s() - 10, "exp": now_s() + 600,
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// An upstream that remembers the heads of what came.
#[derive(Clone)]
struct Service {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start() -> Self {
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let addr = serving(move |_, mut stream| {
            while let Some(head) = read_head(&mut stream) {
                seen.lock().unwrap().push(head);
                if stream.write_all(OK).is_err() {
                    break;
                }
            }
        });
        Self { addr, heads }
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

/// An engine that takes tokens, with what is behind it.
struct Desk {
    setup: Setup,
    live: Service,
    sandbox: Service,
}

impl Desk {
    /// `jwks`: a URL, or a name of a file, which gets the text. `auth`: more of that block.
    async fn open(jwks: &str, text: &str, auth: &str) -> Self {
        Self::open_with(jwks, text, auth, PATIENCE, Resolver::default()).await
    }

    async fn open_with(jwks: &str, text: &str, auth: &str, server: &str, resolver: Resolver) -> Self {
        let (live, sandbox) = (Service::start(), Service::start());
        let config = format!(
            "server: {{ listen: 127.0.0.1:0, workers: 2{server} }}
control: {{ listen: 127.0.0.1:0 }}
stores: {{ state: sqlite:mainstay.db }}
plans: {{ pro: {{ priority: high }}, free: {{}} }}
consumers: [{{ id: acme, plan: pro }}]
auth:
  jwt:
    issuers:
      - issuer: {ISSUER}
        jwks: {jwks}
        audiences: [payments]
        plan_claim: tier
{auth}
upstreams: {{ up: {{ endpoints: [\"http://{}\"] }}, box: {{ endpoints: [\"http://{}\"] }} }}
apis:
  pay:
    defaults: {{ auth: jwt }}
    versions:
      v1:
        upstream: up
        sandbox: box
        operations:
          \"GET /payments/{{id}}\": {{ scopes: payments:read }}
          \"POST /payments\": {{ scopes: [payments:read, payments:write] }}
          \"GET /either\": {{ auth: [api_key, jwt] }}
          \"GET /both\": {{ auth: {{ all: [api_key, jwt] }} }}
          \"GET /key\": {{ auth: api_key }}
telemetry: {{ log: {{ output: access.log }} }}
",
            live.addr, sandbox.addr
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mainstay.yaml"), config).unwrap();
        if !text.is_empty() {
            std::fs::write(folder.path().join(jwks), text).unwrap();
        }
        let path = folder.path().join("mainstay.yaml");
        let engine = crate::setup::start_from_with(path, Clock::System, resolver).await;
        Self { setup: Setup { engine, folder }, live, sandbox }
    }

    async fn ask(&self, line: &str, fields: &str) -> String {
        self.setup.exchange(&format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n")).await
    }

    /// A payment, with this token.
    async fn read(&self, token: &str) -> String {
        self.ask("GET /v1/payments/7", &format!("Authorization: Bearer {token}\r\n")).await
    }

    /// Asks until the answer has this status.
    async fn until(&self, token: &str, status: u16) -> String {
        let asked = async {
            loop {
                let answer = self.read(token).await;
                if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, asked).await.unwrap_or_else(|_| panic!("never {status}"))
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

    /// A new key of a consumer.
    async fn key(&self, consumer: &str) -> String {
        let what = json!({ "scopes": ["payments:read"] });
        let (status, made) = self.admin("POST", &format!("consumers/{consumer}/keys"), &what).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().unwrap().to_owned();
        let asked = async {
            while !good(&self.ask("GET /v1/key", &format!("X-API-Key: {key}\r\n")).await) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(GUARD, asked).await.expect("the data plane knows in time");
        key
    }
}

fn good(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

#[track_caller]
fn refused(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], code, "{answer}");
    let has = |field: &str| head.to_ascii_lowercase().contains(&format!("\r\n{field}: "));
    assert!(has("www-authenticate") || status != 401, "401 says how to do it right: {answer}");
    assert!(has("retry-after") || status != 503, "503 says when to come back: {answer}");
}
