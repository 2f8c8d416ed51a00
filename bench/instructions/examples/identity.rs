//! What knowing who calls costs a request: processor time of user space, in turns with `auth: none` and the very same
//! request. `cargo run --release -p mainstay-bench --example identity`.
//!
//! The least of many rounds counts: what else runs on the machine only ever adds. Keys and tokens are known already, as all but
//! the first of a worker are.

#![expect(clippy::print_stdout, reason = "it is a program that prints its figures")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_bench::{DEFAULTS, Driver, NOW_MS, REQUESTS};
use mainstay_core::catalogue::{ApiKey, Consumer};
use mainstay_core::principal::Mode;
use mainstay_identity::index::Change;
use mainstay_identity::key::sha256;
use mainstay_telemetry::Output;
use mainstay_testkit::rig::Rig;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const ROUNDS: usize = 400;
const RUNS_PER_ROUND: usize = 20;
const KEY: &str = "key_of_a_client_that_was_imported_0123456789_abcdefghijkl";

fn thread_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key set, and a token of it.
fn issued() -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": b64(key.der_bytes()) });
    let now_s = NOW_MS / 1000;
    let claims = json!({
        "iss": "https://id.example.com", "aud": "payments", "sub": "acme", "client_id": "acme",
        "scope": "payments:read payments:write", "iat": now_s, "exp": now_s + 3600, "jti": "0123456789abcdef",
    });
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "a" });
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = key.sign(signed.as_bytes()).expect("a signature");
    (json!({ "keys": [jwk] }).to_string(), format!("{signed}.{}", b64(signature)))
}

/// Who calls, in the catalogue.
fn known(rig: &Rig) {
    let index = rig.shared.known.load();
    index.apply(Change::Consumer(&Consumer {
        id: "acme".to_owned(),
        name: "Acme".to_owned(),
        plan: None,
        groups: vec![],
        attributes: Default::default(),
        suspended: false,
        created_at: 0,
    }));
    index.apply(Change::Key(&ApiKey {
        id: "key_0000000000000000000000".to_owned(),
        consumer: "acme".to_owned(),
        mode: Mode::Live,
        sha256: sha256(KEY.as_bytes()),
        scopes: vec!["payments:read".to_owned()],
        addresses: vec![],
        apis: vec![],
        created_at: 0,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }));
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let (set, token) = issued();
    let jwks = folder.path().join("jwks.json");
    std::fs::write(&jwks, set).expect("written");
    let start = |auth: &str, field: &str| {
        let config = format!(
            "server: {{ workers: 1 }}\nupstreams: {{ up: {{ {DEFAULTS} }} }}\ntelemetry: {{ log: {{ output: none }} }}\n\
             auth: {{ jwt: {{ issuers: [{{ issuer: \"https://id.example.com\", jwks: {}, audiences: payments }}] }} }}\n\
             apis:\n  payments:\n    versions:\n      v1:\n        upstream: up\n        operations:\n          \
             GET /payments/{{id}}: {{ {auth} }}\n",
            jwks.display()
        );
        let request = format!("GET /v1/payments/pay_1 HTTP/1.1\r\nHost: api.example.com\r\n{field}\r\n\r\n");
        Driver::start_text(&config, Output::None, request.into_bytes(), "200", known)
    };
    let key = format!("X-API-Key: {KEY}");
    let bearer = format!("Authorization: Bearer {token}");
    let mut drivers = [
        ("key, not asked for", "auth: none", &key),
        ("key and scopes", "auth: api_key, scopes: payments:read", &key),
        ("token, not asked for", "auth: none", &bearer),
        ("token and scopes", "auth: jwt, scopes: payments:read", &bearer),
    ]
    .map(|(name, auth, field)| (name, start(auth, field), i64::MAX));
    for _ in 0..ROUNDS {
        for (_, driver, least_ns) in &mut drivers {
            let began = thread_ns();
            for _ in 0..RUNS_PER_ROUND {
                driver.run();
            }
            *least_ns = (*least_ns).min(thread_ns() - began);
        }
    }
    let requests = (RUNS_PER_ROUND * REQUESTS) as f64;
    for pair in drivers.chunks(2) {
        for (name, _, least_ns) in pair {
            let (each, more) = (*least_ns as f64 / requests, (least_ns - pair[0].2) as f64 / requests);
            println!("{name:22} {each:8.0} ns a request, {more:+6.0} ns");
        }
    }
}
