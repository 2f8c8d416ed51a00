//! Who is let in with a token, as what, and what goes on; keys in a file.

use serde_json::{Value, json};

use super::{Desk, Key, b64, claims, good, now_s, refused, set};
use crate::setup::until;

async fn desk(key: &Key) -> Desk {
    Desk::open("jwks.json", &set(&[key]), "").await
}

#[tokio::test]
async fn a_token_lets_in_and_says_who_it_is() {
    let key = Key::new("a");
    let desk = desk(&key).await;
    let token = key.token(&json!({ "azp": "app-1", "client_id": "acme" }));
    let lies = "X-Consumer-Id: evil\r\nX-Auth-Method: none\r\nX-Request-Id: request-1\r\n";
    for _ in 0..3 {
        let fields = format!("Authorization: bearer {token}\r\n{lies}");
        assert!(good(&desk.ask("GET /v1/payments/7", &fields).await));
        let heads = desk.live.heads();
        let head = heads[0].to_ascii_lowercase();
        for wanted in ["x-consumer-id: acme\r\n", "x-consumer-plan: pro\r\n", "x-auth-method: jwt\r\n"] {
            assert!(head.contains(wanted), "{head}");
        }
        assert!(!head.contains("evil") && !head.contains("authorization") && !heads[0].contains(&token));
    }
    let record = desk.setup.record("request-1").await;
    let expected = [("mode", "live"), ("consumer", "acme"), ("client_id", "acme"), ("auth_method", "jwt")];
    for (field, value) in expected {
        assert_eq!(record[field], value, "{record}");
    }
    assert_eq!(desk.setup.metric("mainstay_authenticated_total method=\"jwt\""), 3.0);
    let known = |cache: &str| desk.setup.metric(&format!("mainstay_tokens_verified_total cache=\"{cache}\""));
    // Two workers: each verifies it once.
    assert_eq!(known("hit") + known("miss"), 3.0);
    assert!((1.0..=2.0).contains(&known("miss")));
    // The plan that the token names counts more than the file's.
    assert!(good(&desk.read(&key.token(&json!({ "tier": "free" }))).await));
    assert!(desk.live.heads()[0].to_ascii_lowercase().contains("x-consumer-plan: free\r\n"));
}

#[tokio::test]
async fn a_token_is_nowhere_but_with_its_owner() {
    let key = Key::new("a");
    let desk = desk(&key).await;
    let token = key.token(&json!({}));
    let forged = Key::new("a").token(&json!({ "jti": "forged" }));
    for token in [&token, &forged] {
        desk.read(token).await;
    }
    let (_, audit) = desk.admin("GET", "audit", &Value::Null).await;
    let folder = desk.setup.folder.path();
    let events = std::fs::read_to_string(folder.join("events.log")).unwrap();
    let metrics = mainstay_core::port::Engine::metrics(&desk.setup.port());
    let everything =
        [desk.setup.log(), events, metrics, audit.to_string(), desk.live.heads().concat()].concat();
    for token in [&token, &forged] {
        for part in token.split('.').skip(1) {
            assert!(!everything.contains(part));
        }
    }
}

#[tokio::test]
async fn wrong_tokens_are_told_why_and_nothing_is_sent() {
    let key = Key::new("a");
    let desk = desk(&key).await;
    let header = |more: Value| {
        let mut header = json!({ "alg": "EdDSA", "kid": "a" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key.sign(&header, &claims(&json!({})))
    };
    let good_token = key.token(&json!({}));
    let parts: Vec<&str> = good_token.split('.').collect();
    let none = format!("{}.{}.", b64(json!({ "alg": "none" }).to_string()), parts[1]);
    let rows = [
        ("no algorithm", none, "invalid_credentials"),
        ("shared secret", header(json!({ "alg": "HS256" })), "invalid_credentials"),
        ("another algorithm", header(json!({ "alg": "ES256" })), "invalid_credentials"),
        ("key brought along", header(json!({ "jwk": key.jwk() })), "invalid_credentials"),
        ("key named by URL", header(json!({ "jku": "http://127.0.0.1:1/" })), "invalid_credentials"),
        ("critical", header(json!({ "crit": ["x"] })), "invalid_credentials"),
        ("unencoded", header(json!({ "b64": false })), "invalid_credentials"),
        ("path", header(json!({ "kid": "../../etc/passwd" })), "invalid_credentials"),
        ("query", header(json!({ "kid": "' OR 1=1 --" })), "invalid_credentials"),
        ("number", header(json!({ "kid": 7 })), "invalid_credentials"),
        ("zero byte", header(json!({ "kid": "a\u{0}" })), "invalid_credentials"),
        ("ID token", header(json!({ "typ": "id+jwt" })), "invalid_credentials"),
        ("forged", Key::new("a").token(&json!({})), "invalid_credentials"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "invalid_credentials"),
        ("padded", format!("{good_token}="), "invalid_credentials"),
        ("four parts", format!("{good_token}.x"), "invalid_credentials"),
        ("opaque", "abcdef".into(), "invalid_credentials"),
        ("huge", "a".repeat(20_000), "invalid_credentials"),
        ("over", key.token(&json!({ "exp": now_s() - 120 })), "credentials_expired"),
        ("without an end", key.token(&json!({ "exp": null })), "invalid_credentials"),
        ("an end that is a text", key.token(&json!({ "exp": "9999999999" })), "invalid_credentials"),
        ("not yet", key.token(&json!({ "nbf": now_s() + 120 })), "invalid_credentials"),
        ("another audience", key.token(&json!({ "aud": "payments2" })), "invalid_credentials"),
        ("no audience", key.token(&json!({ "aud": null })), "invalid_credentials"),
        ("another issuer", key.token(&json!({ "iss": "https://id.example.com/" })), "invalid_credentials"),
        ("nobody", key.token(&json!({ "client_id": null })), "invalid_credentials"),
        ("a stranger", key.token(&json!({ "client_id": "stranger" })), "invalid_credentials"),
        ("bound", key.token(&json!({ "cnf": { "jkt": "x" } })), "invalid_credentials"),
    ];
    for (name, token, code) in rows {
        let answer = desk.read(&token).await;
        println!("{name}");
        refused(&answer, 401, code);
        assert!(answer.contains("error=\"invalid_token\""), "{name}: {answer}");
        assert!(!answer.contains(&token), "{name}: what was presented is not repeated");
    }
    let answer = desk.ask("GET /v1/payments/7", "").await;
    refused(&answer, 401, "unauthenticated");
    assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
    let ten = format!("Authorization: Bearer {good_token}\r\n").repeat(10);
    refused(&desk.ask("GET /v1/payments/7", &ten).await, 400, "conflicting_credentials");
    refused(
        &desk.ask(&format!("GET /v1/payments/7?access_token={good_token}"), "").await,
        400,
        "key_in_query",
    );
    assert!(desk.live.heads().is_empty(), "nobody was asked");
    // A little apart is no difference.
    let late = key.token(&json!({ "exp": now_s() - 5, "nbf": now_s() - 100 }));
    assert!(good(&desk.read(&late).await));
    let fields = format!("Authorization: Bearer {good_token}\r\nContent-Length: 0\r\n");
    refused(&desk.ask("POST /v1/payments", &fields).await, 403, "permission_missing");
}

#[tokio::test]
async fn a_suspension_counts_for_tokens_that_are_known() {
    let key = Key::new("a");
    let desk = desk(&key).await;
    let (status, _) = desk.admin("POST", "consumers", &json!({ "id": "bank", "name": "Bank" })).await;
    assert_eq!(status, 201);
    let token = key.token(&json!({ "client_id": "bank" }));
    desk.until(&token, 200).await;
    assert!(good(&desk.read(&token).await));
    let began = tokio::time::Instant::now();
    let (status, answer) = desk.admin("PATCH", "consumers/bank", &json!({ "suspended": true })).await;
    assert_eq!(status, 200, "{answer}");
    refused(&desk.until(&token, 401).await, 401, "invalid_credentials");
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
    assert!(good(&desk.read(&key.token(&json!({}))).await), "nobody else");
}

#[tokio::test]
async fn several_together_are_one_consumer() {
    let key = Key::new("a");
    let desk = desk(&key).await;
    let (status, _) = desk.admin("POST", "consumers", &json!({ "id": "bank", "name": "Bank" })).await;
    assert_eq!(status, 201);
    let (acme, bank) = (desk.key("acme").await, desk.key("bank").await);
    let token = format!("Authorization: Bearer {}\r\n", key.token(&json!({})));
    let with = |api_key: &str| format!("X-API-Key: {api_key}\r\n{token}");
    desk.live.heads();
    for path in ["GET /v1/both", "GET /v1/either"] {
        assert!(good(&desk.ask(path, &with(&acme)).await));
        refused(&desk.ask(path, &with(&bank)).await, 400, "conflicting_credentials");
        let forged = Key::new("a").token(&json!({}));
        let fields = format!("X-API-Key: {acme}\r\nAuthorization: Bearer {forged}\r\n");
        refused(&desk.ask(path, &fields).await, 401, "invalid_credentials");
    }
    for alone in [format!("X-API-Key: {acme}\r\n"), token.clone()] {
        refused(&desk.ask("GET /v1/both", &alone).await, 401, "unauthenticated");
        assert!(good(&desk.ask("GET /v1/either", &alone).await));
    }
    for head in desk.live.heads() {
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("authorization") && !head.contains("x-api-key"), "{head}");
    }
}

#[tokio::test]
async fn what_was_used_goes_on_only_if_that_is_said() {
    let key = Key::new("a");
    let desk = Desk::open("jwks.json", &set(&[&key]), "  forward: jwt\n").await;
    let token = key.token(&json!({}));
    assert!(good(&desk.read(&token).await));
    assert!(desk.live.heads()[0].contains(&format!("Bearer {token}\r\n")));
    let api_key = desk.key("acme").await;
    desk.live.heads();
    // A token that nobody has looked at is vouched for by nobody.
    for fields in [
        format!("X-API-Key: {api_key}\r\nAuthorization: Bearer {}\r\n", Key::new("a").token(&json!({}))),
        format!("Authorization: Bearer {api_key}\r\n"),
    ] {
        assert!(good(&desk.ask("GET /v1/key", &fields).await));
        let head = desk.live.heads()[0].to_ascii_lowercase();
        assert!(!head.contains("authorization") && !head.contains("x-api-key"), "{head}");
    }
    let desk = Desk::open("jwks.json", &set(&[&key]), "  forward: api_key\n").await;
    let api_key = desk.key("acme").await;
    desk.live.heads();
    for fields in [format!("X-API-Key: {api_key}\r\n"), format!("Authorization: Bearer {api_key}\r\n")] {
        assert!(good(&desk.ask("GET /v1/key", &fields).await));
        assert!(desk.live.heads()[0].contains(&api_key));
    }
    assert!(good(&desk.read(&token).await));
    assert!(!desk.live.heads()[0].to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn a_test_token_reaches_the_sandbox_and_nothing_else() {
    let key = Key::new("a");
    let desk = Desk::open("jwks.json", &set(&[&key]), "        mode_claim: env\n").await;
    assert!(good(&desk.read(&key.token(&json!({ "env": "test" }))).await));
    assert_eq!((desk.sandbox.heads().len(), desk.live.heads().len()), (1, 0));
    assert!(good(&desk.read(&key.token(&json!({ "env": "live" }))).await));
    assert_eq!((desk.sandbox.heads().len(), desk.live.heads().len()), (0, 1));
    // What does not say which is neither.
    refused(&desk.read(&key.token(&json!({}))).await, 401, "invalid_credentials");
}

#[tokio::test]
async fn whoever_tries_wrong_tokens_is_not_looked_at_for_a_while() {
    let key = Key::new("a");
    let server = ", preauth: { rate: 1/h, burst: 3 }";
    let resolver = mainstay_proxy::forward::resolve::Resolver::default();
    let desk = Desk::open_with("jwks.json", &set(&[&key]), "", server, resolver).await;
    for number in 0..3 {
        let forged = Key::new("a").token(&json!({ "jti": number }));
        refused(&desk.read(&forged).await, 401, "invalid_credentials");
    }
    refused(&desk.read(&key.token(&json!({}))).await, 429, "too_many_attempts");
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let desk = desk(&old).await;
    let file = desk.setup.folder.path().join("jwks.json");
    assert!(good(&desk.read(&old.token(&json!({}))).await));
    refused(&desk.read(&new.token(&json!({}))).await, 401, "invalid_credentials");
    std::fs::write(&file, set(&[&old, &new])).unwrap();
    desk.until(&new.token(&json!({})), 200).await;
    assert!(good(&desk.read(&old.token(&json!({}))).await), "both, while both are there");
    desk.setup.event("key_set_changed").await;
    std::fs::write(&file, "{\"keys\":[").unwrap();
    let event = desk.setup.event("key_set_failed").await;
    assert!(event["cause"].as_str().unwrap().contains("jwks.json"), "{event}");
    assert!(good(&desk.read(&new.token(&json!({}))).await));
    // A token of the key that is gone, verified before: it is not taken any more.
    std::fs::write(&file, set(&[&new])).unwrap();
    desk.until(&old.token(&json!({})), 401).await;
    desk.setup.event("key_set_recovered").await;
    assert!(good(&desk.read(&new.token(&json!({}))).await));
    std::fs::remove_file(&file).unwrap();
    let failed = "mainstay_key_set_loads_total result=\"failed\"";
    until("the file is missed", || desk.setup.metric(failed) >= 2.0).await;
    assert!(good(&desk.read(&new.token(&json!({ "jti": "1" }))).await));
}
