//! Key sets by URL: down, slow, wrong, elsewhere, flooded with keys that nobody has.

use mainstay_proxy::forward::resolve::{Pace, Resolver};
use serde_json::json;

use super::provider::{Mood, Provider};
use super::{Desk, Key, PATIENCE, good, refused, set};
use crate::setup::until;

const LOCAL: &str = "  outbound: { allow: [127.0.0.0/8] }\n";
/// Longer than anything here takes.
const PATIENT: &str = "  outbound: { allow: [127.0.0.0/8], wait: 10s }\n";

#[tokio::test]
async fn keys_are_fetched_once_and_everybody_uses_them() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::set(&set(&[&key])));
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    for _ in 0..5 {
        assert!(good(&desk.read(&key.token(&json!({}))).await));
    }
    assert_eq!(provider.fetches(), 1);
    let heads = provider.heads();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /jwks.json?v=1 http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {}\r\n", provider.addr)) && !head.contains("authorization"),
        "{head}"
    );
    let issuer = "issuer=\"https://id.example.com\"";
    assert_eq!(desk.setup.metric(&format!("mainstay_key_set_loads_total {issuer} result=\"ok\"")), 1.0);
    assert_eq!(desk.setup.metric(&format!("mainstay_key_set_keys {issuer}")), 1.0);
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_503_and_never_401() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::Down);
    let desk = Desk::open(&provider.url(), "", LOCAL).await;
    let event = desk.setup.event("key_set_failed").await;
    assert_eq!(event["issuer"], "https://id.example.com");
    // Good or forged: nobody can tell, so nobody is told that it is wrong.
    for token in [key.token(&json!({})), Key::new("a").token(&json!({}))] {
        refused(&desk.read(&token).await, 503, "identity_unavailable");
    }
    // What needs no key is told apart all the same.
    refused(&desk.read(&key.token(&json!({ "aud": "other" }))).await, 401, "invalid_credentials");
    refused(&desk.read(&key.token(&json!({ "exp": 1_000_000 }))).await, 401, "credentials_expired");
    assert!(desk.live.heads().is_empty(), "nothing fails open");
    let metric = "mainstay_key_set_loads_total issuer=\"https://id.example.com\" result=\"failed\"";
    assert!(desk.setup.metric(metric) >= 1.0);
    provider.set_mood(Mood::set(&set(&[&key])));
    desk.until(&key.token(&json!({})), 200).await;
    desk.setup.event("key_set_recovered").await;
}

#[tokio::test]
async fn what_is_no_key_set_is_a_failure_of_the_provider() {
    let elsewhere = Provider::start(Mood::set(&set(&[&Key::new("a")])));
    let redirect = format!("Location: http://{}/jwks.json\r\n", elsewhere.addr);
    let huge = "x".repeat(50 << 20);
    let rows = [
        ("status 500", Mood::text("500 Internal Server Error", "", "{\"keys\":[]}"), "500"),
        ("redirect", Mood::text("302 Found", &redirect, ""), "302"),
        ("html", Mood::text("200 OK", "Content-Type: text/html\r\n", "<html>sign in</html>"), "JSON"),
        ("huge", Mood::text("200 OK", "", &huge), "larger"),
        ("no keys", Mood::set("{\"keys\":[]}"), "no key"),
        ("empty", Mood::set(""), "JSON"),
        ("shared secret", Mood::set("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"), "no key"),
        ("no http", Mood::Answer(std::sync::Arc::new(b"SSH-2.0-x\r\n".to_vec())), "no HTTP"),
        (
            "cut",
            Mood::Answer(std::sync::Arc::new(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec())),
            "HTTP",
        ),
    ];
    for (name, mood, why) in rows {
        let provider = Provider::start(mood);
        let desk = Desk::open(&provider.url(), "", LOCAL).await;
        let event = desk.setup.event("key_set_failed").await;
        let cause = event["cause"].as_str().unwrap();
        assert!(cause.contains(why), "{name}: {cause}");
        refused(&desk.read(&Key::new("a").token(&json!({}))).await, 503, "identity_unavailable");
    }
    assert_eq!(elsewhere.fetches(), 0, "nobody was sent on");
}

#[tokio::test]
async fn a_slow_provider_is_waited_for_and_not_too_long() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::Silent);
    let desk = Desk::open(&provider.url(), "", "  outbound: { allow: [127.0.0.0/8], wait: 50ms }\n").await;
    refused(&desk.read(&key.token(&json!({}))).await, 503, "identity_unavailable");
    drop(desk);

    let provider = Provider::start(Mood::Silent);
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    let token = key.token(&json!({}));
    let (provider_too, text) = (provider.clone(), set(&[&key]));
    let opened = async {
        until("the fetch", || !provider_too.heads().is_empty()).await;
        provider_too.set_mood(Mood::set(&text));
    };
    let (first, second, ()) = tokio::join!(desk.read(&token), desk.read(&token), opened);
    assert!(good(&first) && good(&second), "{first}{second}");
    assert_eq!(provider.fetches(), 1, "however many wait");
}

#[tokio::test]
async fn keys_that_were_good_outlive_their_provider() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::set(&set(&[&key])));
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    assert!(good(&desk.read(&key.token(&json!({}))).await));
    provider.set_mood(Mood::Down);
    assert!(good(&desk.read(&key.token(&json!({ "jti": "another" }))).await));
    // Two tokens at once are refused, whatever can be said of either.
    let both = format!("Authorization: Bearer {}\r\n", key.token(&json!({}))).repeat(2);
    refused(&desk.ask("GET /v1/payments/7", &both).await, 400, "conflicting_credentials");
}

#[tokio::test]
async fn a_flood_of_keys_that_nobody_has_costs_the_provider_nothing() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::set(&set(&[&key])));
    let began = tokio::time::Instant::now();
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    assert!(good(&desk.read(&key.token(&json!({}))).await));
    for number in 0..200 {
        let header = json!({ "alg": "EdDSA", "kid": format!("unknown-{number}") });
        let token = key.sign(&header, &super::claims(&json!({})));
        refused(&desk.read(&token).await, 401, "invalid_credentials");
    }
    // The one at the start, and one in ten seconds at most, however slow this machine is.
    assert!(provider.fetches() as u64 <= 1 + began.elapsed().as_secs() / 10, "{}", provider.fetches());
}

/// Takes ten seconds, because a key that was not there is not asked for again before.
#[tokio::test]
async fn a_new_key_is_found_although_nobody_announced_it() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let provider = Provider::start(Mood::set(&set(&[&old])));
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    assert!(good(&desk.read(&old.token(&json!({}))).await));
    provider.set_mood(Mood::set(&set(&[&old, &new])));
    desk.until(&new.token(&json!({})), 200).await;
    assert!(good(&desk.read(&old.token(&json!({}))).await), "both, while both are there");
    desk.setup.event("key_set_changed").await;
    assert_eq!(provider.fetches(), 2);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_not_asked() {
    let provider = Provider::start(Mood::set(&set(&[&Key::new("a")])));
    let port = provider.addr.port();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"] {
        let desk = Desk::open(&format!("https://{host}:{port}/k"), "", "").await;
        let event = desk.setup.event("key_set_failed").await;
        assert!(event["cause"].as_str().unwrap().contains("no public address"), "{event}");
        refused(&desk.read(&Key::new("a").token(&json!({}))).await, 503, "identity_unavailable");
    }
    // One address of several is enough: which of them would be connected to is for nobody to guess.
    let answer = format!("127.0.0.1:{port}").parse().unwrap();
    let mixed = vec!["192.0.2.1:1".parse().unwrap(), answer];
    let ask = move |_: &str, _| -> mainstay_proxy::forward::resolve::Lookup {
        let mixed = mixed.clone();
        Box::pin(async move { Ok(mixed) })
    };
    let resolver = || Resolver::new(ask.clone(), Pace::default());
    let rebound = "  outbound: { allow: [192.0.2.0/24] }\n";
    let desk = Desk::open_with("https://id.example.com/k", "", rebound, PATIENCE, resolver()).await;
    let event = desk.setup.event("key_set_failed").await;
    assert!(event["cause"].as_str().unwrap().contains("127.0.0.1 is no public address"), "{event}");
    assert_eq!(provider.fetches(), 0, "nobody was even connected to");
    // Without TLS even a public address has to be allowed by name.
    let public = |_: &str, _| -> mainstay_proxy::forward::resolve::Lookup {
        Box::pin(async move { Ok(vec!["1.1.1.1:1".parse().unwrap()]) })
    };
    let resolver = Resolver::new(public, Pace::default());
    let desk = Desk::open_with("http://id.example.com/k", "", LOCAL, PATIENCE, resolver).await;
    let event = desk.setup.event("key_set_failed").await;
    assert!(event["cause"].as_str().unwrap().contains("1.1.1.1 is asked without TLS"), "{event}");
}

#[tokio::test]
async fn a_reload_keeps_what_was_fetched() {
    let key = Key::new("a");
    let provider = Provider::start(Mood::set(&set(&[&key])));
    let desk = Desk::open(&provider.url(), "", PATIENT).await;
    let token = key.token(&json!({}));
    assert!(good(&desk.read(&token).await));
    provider.set_mood(Mood::Down);
    let path = desk.setup.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("audiences: [payments]", "audiences: [others]")).unwrap();
    desk.setup.engine.handle.reload_now().await.unwrap();
    // Also a token that was verified before: the configuration has changed.
    refused(&desk.read(&token).await, 401, "invalid_credentials");
    assert!(good(&desk.read(&key.token(&json!({ "aud": "others" }))).await));
    assert_eq!(provider.fetches(), 1);
}
