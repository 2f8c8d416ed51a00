//! Login and consent as a browser meets them, and as a page elsewhere would like to.

use serde_json::json;

use super::{Answer, CHALLENGE, Desk, PASSWORD, REDIRECT, encode};

#[track_caller]
fn is_guarded(page: &Answer) {
    let policy = page.header("content-security-policy").unwrap_or_default();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{part}: {page:?}");
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(name), Some(value), "{page:?}");
    }
    assert!(!page.body.contains("<script") && !page.body.contains("Shop <b>"), "{page:?}");
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let desk = Desk::open().await;
    let app = desk.app().await;
    let rest = format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256");
    for query in [
        rest.clone(),
        format!("{rest}&client_id=client_x&redirect_uri={}", encode(REDIRECT)),
        format!("{rest}&client_id={}&redirect_uri={}", app.id, encode("https://evil.example/cb")),
        format!("{rest}&client_id={}&redirect_uri={}", app.id, encode("https://shop.example/cb/")),
        format!("{rest}&client_id={}&redirect_uri={}", app.id, encode("https://shop.example/cbx")),
        format!("{rest}&client_id={}&redirect_uri={}", app.id, encode("https://shop.example:444/cb")),
        format!(
            "{rest}&client_id={}&redirect_uri={}",
            app.id,
            encode("https://shop.example.evil.example/cb")
        ),
        format!("{rest}&client_id={}&redirect_uri={}", app.id, encode("https://shop.example/%63b")),
        format!("{rest}&client_id={0}&client_id={0}", app.id),
    ] {
        let page = desk.get(&format!("/oauth/authorize?{query}")).await;
        assert_eq!((page.status, page.header("location")), (400, None), "{query} {page:?}");
        is_guarded(&page);
    }
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_to_the_client_with_state_and_issuer() {
    let desk = Desk::open().await;
    let app = desk.app().await;
    let to = format!("client_id={}&redirect_uri={}&state=xyz", app.id, encode(REDIRECT));
    for (query, error) in [
        ("response_type=code".to_owned(), "invalid_request"),
        (format!("response_type=code&code_challenge={CHALLENGE}"), "invalid_request"),
        (
            format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=plain"),
            "invalid_request",
        ),
        ("response_type=token".to_owned(), "unsupported_response_type"),
        (
            format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256&scope=admin"),
            "invalid_scope",
        ),
    ] {
        let answer = desk.get(&format!("/oauth/authorize?{to}&{query}")).await;
        assert_eq!(answer.status, 303, "{query} {answer:?}");
        assert!(answer.header("location").unwrap().starts_with(REDIRECT), "{answer:?}");
        assert_eq!(answer.parameter("error").as_deref(), Some(error), "{query}");
        assert_eq!(answer.parameter("state").as_deref(), Some("xyz"));
        assert_eq!(answer.parameter("iss").as_deref(), Some("http%3A%2F%2F127.0.0.1"));
        assert_eq!(answer.parameter("code"), None);
    }
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn a_form_that_was_not_shown_to_this_browser_does_nothing() {
    let desk = Desk::open().await;
    desk.alice().await;
    let app = desk.app().await;
    let path = Desk::authorize_path(&app, "&scope=payments%3Aread");
    let page = desk.get(&path).await;
    is_guarded(&page);
    let (csrf, request, cookies) =
        (page.hidden("csrf"), page.hidden("request"), format!("Cookie: {}\r\n", page.cookies()));
    let login = |csrf: &str| {
        vec![
            ("action", "login".to_owned()),
            ("csrf", csrf.to_owned()),
            ("request", request.clone()),
            ("name", "alice".to_owned()),
            ("password", PASSWORD.to_owned()),
        ]
    };
    let elsewhere = format!("{cookies}Origin: https://evil.example\r\n");
    for (csrf, lines) in [("", cookies.as_str()), ("x", &cookies), (&csrf, ""), (&csrf, &elsewhere)] {
        let pairs = login(csrf);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = desk.post("/oauth/authorize", lines, &pairs).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{csrf} {lines} {answer:?}");
    }
    let cookies = desk.log_in(&path).await;
    let page = desk.ask(&format!("GET {path}"), &cookies, "").await;
    is_guarded(&page);
    assert!(page.body.contains("Shop &lt;b&gt;") && page.body.contains("<li>payments:read</li>"), "{page:?}");
    let (csrf, request) = (page.hidden("csrf"), page.hidden("request"));
    let wider = request.replace("payments%3Aread", "payments%3Awrite");
    assert_ne!(wider, request);
    let elsewhere = format!("{cookies}Origin: null\r\n");
    for (csrf, request, lines) in [
        ("", &request, cookies.as_str()),
        ("x", &request, &cookies),
        (&csrf, &wider, &cookies),
        (&csrf, &request, ""),
        (&csrf, &request, &elsewhere),
    ] {
        let pairs = [("action", "allow"), ("csrf", csrf), ("request", request.as_str())];
        let answer = desk.post("/oauth/authorize", lines, &pairs).await;
        assert_eq!((answer.status, answer.header("location")), (403, None), "{answer:?}");
    }
    let answer = desk.decide(&path, &cookies, "deny").await;
    assert_eq!(answer.parameter("error").as_deref(), Some("access_denied"), "{answer:?}");
    let answer = desk.decide(&path, &cookies, "allow").await;
    assert!(answer.parameter("code").is_some() && answer.parameter("iss").is_some(), "{answer:?}");
    let answer = desk.decide(&path, &cookies, "logout").await;
    assert!(answer.body.contains("name=\"password\""), "{answer:?}");
    let page = desk.ask(&format!("GET {path}"), &cookies, "").await;
    assert!(page.body.contains("name=\"password\""), "the session is over: {page:?}");
    desk.setup.engine.stop().await;
}

async fn try_password(desk: &Desk, path: &str, address: &str, name: &str, password: &str) -> Answer {
    let page = desk.get(path).await;
    let (csrf, request) = (page.hidden("csrf"), page.hidden("request"));
    let pairs =
        [("action", "login"), ("csrf", &csrf), ("request", &request), ("name", name), ("password", password)];
    let lines = format!("Cookie: {}\r\nX-Forwarded-For: {address}\r\n", page.cookies());
    desk.post("/oauth/authorize", &lines, &pairs).await
}

#[tokio::test]
async fn a_wrong_password_says_nothing_and_is_tried_ten_times_wherever_from() {
    let desk = Desk::open().await;
    desk.alice().await;
    let made =
        desk.admin("POST", "users", &json!({ "name": "bob", "password": PASSWORD, "disabled": true })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = Desk::authorize_path(&desk.app().await, "");
    let mut said = Vec::new();
    let long = "x".repeat(300);
    for (name, password) in [("alice", "wrong"), ("alice", &long), ("nobody", PASSWORD), ("bob", PASSWORD)] {
        let answer = try_password(&desk, &path, "203.0.113.1", name, password).await;
        let wrong = answer.body.split("role=\"alert\">").nth(1).and_then(|rest| rest.split('<').next());
        said.push((answer.status, wrong.map(str::to_owned)));
        assert!(!answer.cookies().contains("session"), "{answer:?}");
    }
    assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
    assert_eq!(said[0].0, 403);
    let mut looked_at = 0;
    let refused = loop {
        let address = format!("203.0.113.{}", 10 + looked_at);
        let answer = try_password(&desk, &path, &address, "alice", "wrong").await;
        if answer.status == 429 {
            break answer;
        }
        looked_at += 1;
        // On a slow machine more come in while it runs: one in six seconds.
        assert!(looked_at < 100, "each from an address of its own, and nothing ends it");
    };
    assert!(looked_at >= 8 && refused.header("retry-after").is_some(), "{looked_at} {refused:?}");
    desk.setup.engine.stop().await;
}
