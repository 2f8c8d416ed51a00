//! The authorisation server as a client and a browser meet it: over sockets, under the issuer's host.

mod codes;
mod machines;
mod pages;
mod start;

use std::net::SocketAddr;

use mainstay_core::clock::{Clock, UnixMs};
use serde_json::{Value, json};

use crate::setup::{Setup, exchange, payments};

/// 2026-11-25T00:00:00Z.
const NOW_MS: i64 = 1_795_564_800_000;
const REDIRECT: &str = "https://shop.example/cb";
/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const PASSWORD: &str = "correct horse battery";

fn config(upstream: SocketAddr) -> String {
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2, trusted_proxies: [127.0.0.1] }}
control: {{ listen: 127.0.0.1:0 }}
stores: {{ state: sqlite:mainstay.db }}
auth: {{ oauth: {{ issuer: 'http://127.0.0.1', access_token: 10m, refresh_token: 30d }} }}
upstreams: {{ up: {{ endpoints: [\"http://{upstream}\"] }} }}
apis:
  pay:
    defaults: {{ auth: none }}
    versions: {{ v1: {{ upstream: up, operations: {{ \"* /{{*rest}}\": {{}} }} }} }}
telemetry: {{ log: {{ output: access.log }} }}
"
    )
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        Self { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The error by its name, and that nothing keeps the answer.
    #[track_caller]
    fn error(&self) -> String {
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        text(&self.json(), "error")
    }

    fn cookies(&self) -> String {
        let lines = self.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        lines.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// The value of a hidden field.
    fn hidden(&self, name: &str) -> String {
        let beginning = format!("name=\"{name}\" value=\"");
        let at =
            self.body.find(&beginning).unwrap_or_else(|| panic!("no {name}: {self:?}")) + beginning.len();
        let value = self.body[at..].split('"').next().unwrap();
        value.replace("&amp;", "&").replace("&#39;", "'")
    }

    /// A parameter of the URL that a browser is sent to.
    fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.header("location")?.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn form(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * n)) as usize & 63]);
            out.push(if n <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

/// The claims of a token, unread by anybody who checks.
fn claims(token: &str) -> Value {
    let mut bits = Vec::new();
    for c in token.split('.').nth(1).unwrap().bytes() {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = digits.iter().position(|known| *known == c).unwrap();
        bits.extend((0..6).rev().map(|n| value >> n & 1));
    }
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|b| b.iter().fold(0, |v, bit| v << 1 | *bit as u8)).collect();
    serde_json::from_slice(&bytes).unwrap()
}

/// An engine with an authorisation server, and whoever uses it.
struct Desk {
    setup: Setup,
    clock: Clock,
    _service: mainstay_payments::Running,
}

/// A client that was made.
struct Client {
    id: String,
    secret: String,
}

impl Desk {
    async fn open() -> Self {
        Self::with(|text| text).await
    }

    async fn with(change: impl FnOnce(String) -> String) -> Self {
        let service = payments();
        let clock = Clock::manual(UnixMs(NOW_MS));
        let setup = Setup::start_text(&change(config(service.addr)), clock.clone()).await;
        let desk = Self { setup, clock, _service: service };
        let made = desk.admin("POST", "consumers", &json!({ "id": "acme" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        desk
    }

    fn later(&self, ms: i64) {
        assert!(self.clock.set(UnixMs(self.clock.now().0 + ms)));
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let token = std::fs::read_to_string(self.setup.folder.path().join("mainstay.token")).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /admin/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        );
        Answer::read(&exchange(self.setup.engine.control, request.into_bytes()).await)
    }

    async fn client(&self, body: &Value) -> Client {
        let made = self.admin("POST", "clients", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        let secret = made["client_secret"].as_str().unwrap_or_default().to_owned();
        Client { id: text(&made, "client_id"), secret }
    }

    /// One that acts for itself.
    async fn machine(&self) -> Client {
        let scopes = ["payments:read", "payments:write"];
        let body = json!({ "name": "M", "type": "confidential", "consumer": "acme", "scopes": scopes });
        self.client(&body).await
    }

    /// One that acts for people, and cannot keep a secret.
    async fn app(&self) -> Client {
        let scopes = ["payments:read", "payments:write"];
        let body =
            json!({ "name": "Shop <b>", "type": "public", "redirect_uris": [REDIRECT], "scopes": scopes });
        self.client(&body).await
    }

    async fn alice(&self) {
        let made = self.admin("POST", "users", &json!({ "name": "alice", "password": PASSWORD })).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// A request to the data plane.
    async fn ask(&self, method_and_path: &str, lines: &str, body: &str) -> Answer {
        let request = format!(
            "{method_and_path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Answer::read(&self.setup.exchange(&request).await)
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "").await
    }

    async fn post(&self, path: &str, lines: &str, pairs: &[(&str, &str)]) -> Answer {
        let lines = format!("Content-Type: application/x-www-form-urlencoded\r\n{lines}");
        self.ask(&format!("POST {path}"), &lines, &form(pairs)).await
    }

    async fn token(&self, pairs: &[(&str, &str)]) -> Answer {
        self.post("/oauth/token", "", pairs).await
    }

    /// `grant_type=client_credentials`, with a secret in the body.
    async fn machine_token(&self, client: &Client, more: &[(&str, &str)]) -> Answer {
        let mut pairs = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client.id.as_str()),
            ("client_secret", client.secret.as_str()),
        ];
        pairs.extend(more);
        self.token(&pairs).await
    }

    async fn introspect(&self, asks: &Client, token: &str) -> Value {
        let pairs =
            [("client_id", asks.id.as_str()), ("client_secret", asks.secret.as_str()), ("token", token)];
        let answer = self.post("/oauth/introspect", "", &pairs).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Until the engine has the answer that is waited for from the control side.
    async fn metric(&self, beginning: &str) -> Option<String> {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(self.setup.engine.control, request.into()).await;
        answer.lines().find_map(|line| line.strip_prefix(beginning)).map(|rest| rest.trim().to_owned())
    }

    /// An authorisation request as a client makes it.
    fn authorize_path(client: &Client, more: &str) -> String {
        format!(
            "/oauth/authorize?response_type=code&client_id={}&redirect_uri={}&code_challenge={CHALLENGE}\
             &code_challenge_method=S256&state=xyz{more}",
            client.id,
            encode(REDIRECT)
        )
    }

    /// Alice logs in. Her cookies.
    async fn log_in(&self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let (csrf, request) = (page.hidden("csrf"), page.hidden("request"));
        let pairs = [
            ("action", "login"),
            ("csrf", &csrf),
            ("request", &request),
            ("name", "alice"),
            ("password", PASSWORD),
        ];
        let cookies = format!("Cookie: {}\r\n", page.cookies());
        let answer = self.post("/oauth/authorize", &cookies, &pairs).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        format!("Cookie: {}\r\n", answer.cookies())
    }

    /// Alice has logged in and says yes or no. Where her browser is sent.
    async fn decide(&self, path: &str, cookies: &str, action: &str) -> Answer {
        let page = self.ask(&format!("GET {path}"), cookies, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        let (csrf, request) = (page.hidden("csrf"), page.hidden("request"));
        let pairs = [("action", action), ("csrf", csrf.as_str()), ("request", request.as_str())];
        self.post("/oauth/authorize", cookies, &pairs).await
    }

    /// A code for which Alice has said yes.
    async fn code(&self, client: &Client, more: &str) -> String {
        let path = Self::authorize_path(client, more);
        let cookies = self.log_in(&path).await;
        let answer = self.decide(&path, &cookies, "allow").await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.parameter("code").unwrap_or_else(|| panic!("{answer:?}"))
    }

    async fn exchange_code(&self, client: &Client, code: &str, more: &[(&str, &str)]) -> Answer {
        let mut pairs =
            vec![("grant_type", "authorization_code"), ("client_id", client.id.as_str()), ("code", code)];
        for (name, value) in [("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)] {
            if !more.iter().any(|(other, _)| *other == name) {
                pairs.push((name, value));
            }
        }
        pairs.extend(more);
        self.token(&pairs).await
    }

    async fn refresh(&self, client: &Client, token: &str, more: &[(&str, &str)]) -> Answer {
        let mut pairs = vec![
            ("grant_type", "refresh_token"),
            ("client_id", client.id.as_str()),
            ("refresh_token", token),
        ];
        pairs.extend(more);
        self.token(&pairs).await
    }
}
