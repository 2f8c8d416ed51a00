//! What scripts of other origins may do, what OPTIONS and HEAD say, and which methods a resource has.

use crate::setup::{Config, Setup, payments, scripted};

const OURS: &str = "https://shop.example";

const RULES: &str = "    cors: { origins: [\"https://shop.example\"], credentials: true, expose: [x-total], headers: [x-trace], max_age: 1m }\n";

async fn start(api: &'static str) -> (mainstay_payments::Running, Setup) {
    let service = payments();
    let config = Config { api, ..Config::default() };
    let operations = "\"GET /bytes/{n}\": {}, \"POST /echo\": {} }";
    let text = config
        .text(service.addr)
        .replace("          \"* /{*rest}\": {  }", &format!("          {{ {operations}"));
    (service, Setup::start_text(&text, mainstay_core::clock::Clock::System).await)
}

/// The head of an answer, in lower case, as lines.
fn lines(answer: &str) -> Vec<String> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.to_ascii_lowercase().lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(answer: &str, line: &str) {
    assert!(lines(answer).iter().any(|l| l == line), "no {line}\n{answer}");
}

#[track_caller]
fn has_no_cors(answer: &str) {
    assert!(!lines(answer).iter().any(|l| l.starts_with("access-control-")), "{answer}");
}

async fn ask(setup: &Setup, method: &str, path: &str, fields: &str) -> String {
    let fields: String = fields.split('|').filter(|f| !f.is_empty()).map(|f| format!("{f}\r\n")).collect();
    setup.exchange(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn a_preflight_says_what_a_script_may_send_and_to_others_nothing() {
    let (service, setup) = start(RULES).await;
    let refused = [
        // Another origin, one that only begins like ours, and the origin of a file.
        ("/v1/bytes/1", "Origin: https://evil.example|Access-Control-Request-Method: GET", "204"),
        (
            "/v1/bytes/1",
            "Origin: https://shop.example.evil.example|Access-Control-Request-Method: GET",
            "204",
        ),
        ("/v1/bytes/1", "Origin: http://shop.example|Access-Control-Request-Method: GET", "204"),
        ("/v1/bytes/1", "Origin: null|Access-Control-Request-Method: GET", "204"),
    ];
    for (path, fields, status) in refused {
        let answer = ask(&setup, "OPTIONS", path, fields).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}\n{answer}");
        has_no_cors(&answer);
        has(&answer, "vary: origin");
    }
    // A method that the resource does not have, and a resource that is not there: no success, so no permission.
    for (path, method, status) in [("/v1/bytes/1", "DELETE", "405"), ("/v1/nothing", "GET", "404")] {
        let fields = format!("Origin: {OURS}|Access-Control-Request-Method: {method}");
        let answer = ask(&setup, "OPTIONS", path, &fields).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-allow-methods"), "{answer}");
    }
    let asks = format!(
        "Origin: {OURS}|Access-Control-Request-Method: POST|Access-Control-Request-Headers: x-trace, x-other"
    );
    let answer = ask(&setup, "OPTIONS", "/v1/echo", &asks).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    for line in [
        "access-control-allow-origin: https://shop.example",
        "access-control-allow-credentials: true",
        "access-control-allow-methods: post",
        "access-control-allow-headers: x-trace",
        "access-control-max-age: 60",
        "vary: origin",
        "vary: access-control-request-method",
        "vary: access-control-request-headers",
    ] {
        has(&answer, line);
    }
    assert_eq!(service.stats().requests_total(), 0, "a preflight went on");
    setup.engine.stop().await;
}

#[tokio::test]
async fn answers_can_be_read_by_the_origins_that_are_named_and_refusals_too() {
    let (service, setup) = start(RULES).await;
    let rows = [
        ("GET", "/v1/bytes/1", "200"),
        ("GET", "/v1/nothing", "404"),
        ("GET", "/v9/bytes/1", "404"),
        ("DELETE", "/v1/bytes/1", "405"),
        ("GET", "/v1/%2e%2e/x", "400"),
    ];
    for (method, path, status) in rows {
        let answer = ask(&setup, method, path, &format!("Origin: {OURS}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}\n{answer}");
        has(&answer, "access-control-allow-origin: https://shop.example");
        has(&answer, "access-control-allow-credentials: true");
        has(&answer, "vary: origin");
        let exposed = lines(&answer).into_iter().find(|l| l.starts_with("access-control-expose-headers: "));
        let exposed = exposed.unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("x-total"), "{exposed}");
        for other in ["Origin: https://evil.example", ""] {
            has_no_cors(&ask(&setup, method, path, other).await);
        }
    }
    service.faults().refuse(true).unwrap();
    service.reset_connections();
    let answer = ask(&setup, "GET", "/v1/bytes/1", &format!("Origin: {OURS}")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    has(&answer, "access-control-allow-origin: https://shop.example");
    // A cache must not give an answer without the fields to a script that needs them.
    has(&ask(&setup, "GET", "/v1/bytes/1", "").await, "vary: origin");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_refusal_before_routing_can_be_read_as_well() {
    let mut upstream = crate::setup::ByHand::start();
    let config = Config { api: RULES, server: ", limits: { requests_in_flight: 1 }", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut busy = crate::setup::Client::connect(setup.address()).await;
    busy.send_get("/v1/x").await;
    let asked = upstream.asked().await;
    let answer = ask(&setup, "GET", "/v1/x", &format!("Origin: {OURS}")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("overloaded"), "{answer}");
    has(&answer, "access-control-allow-origin: https://shop.example");
    has_no_cors(&ask(&setup, "GET", "/v1/x", "Origin: https://evil.example").await);
    asked.ok();
    busy.answer().await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn any_origin_comes_without_credentials_and_no_rules_means_no_fields() {
    let (_service, setup) = start("    cors: { origins: ['*'] }\n").await;
    let answer = ask(&setup, "GET", "/v1/bytes/1", "Origin: https://anyone.example").await;
    has(&answer, "access-control-allow-origin: *");
    assert!(
        !answer.contains("allow-credentials") && !lines(&answer).contains(&"vary: origin".into()),
        "{answer}"
    );
    let asks = "Origin: https://anyone.example|Access-Control-Request-Method: POST|Access-Control-Request-Headers: x-any";
    let answer = ask(&setup, "OPTIONS", "/v1/echo", asks).await;
    has(&answer, "access-control-allow-headers: x-any");
    has(&answer, "access-control-max-age: 600");
    setup.engine.stop().await;

    let (_service, setup) = start("").await;
    has_no_cors(&ask(&setup, "GET", "/v1/bytes/1", &format!("Origin: {OURS}")).await);
    has_no_cors(
        &ask(&setup, "OPTIONS", "/v1/echo", &format!("Origin: {OURS}|Access-Control-Request-Method: POST"))
            .await,
    );
    setup.engine.stop().await;
}

/// Guards against: an upstream that allows every origin undid the configuration.
#[tokio::test]
async fn what_an_upstream_says_of_origins_does_not_count() {
    let (upstream, _done) = scripted(|mut stream| {
        crate::setup::read_head(&mut stream);
        let head = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\n\
                    access-control-expose-headers: x-secret\r\nvary: accept\r\ncontent-length: 2\r\n\r\nok";
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    });
    let setup = Setup::start(&Config { api: RULES, ..Config::default() }, upstream).await;
    let answer = ask(&setup, "GET", "/v1/x", "Origin: https://evil.example").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    has_no_cors(&answer);
    has(&answer, "vary: accept");
    setup.engine.stop().await;
}

#[tokio::test]
async fn options_405_and_head_tell_what_a_resource_takes() {
    let (service, setup) = start("").await;
    let answer = ask(&setup, "DELETE", "/v1/bytes/1", "").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("method_not_allowed"), "{answer}");
    has(&answer, "allow: get, head, options");
    let answer = ask(&setup, "OPTIONS", "/v1/bytes/1", "").await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    has(&answer, "allow: get, head, options");
    let answer = ask(&setup, "OPTIONS", "/v1/nothing", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("not_found"), "{answer}");
    let answer = ask(&setup, "OPTIONS", "*", "").await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && answer.contains("allow: "), "{answer}");
    assert_eq!(service.stats().requests_total(), 0);
    let answer = ask(&setup, "HEAD", "/v1/bytes/1234", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    has(&answer, "content-length: 1234");
    // A problem has no body for HEAD either.
    let answer = ask(&setup, "HEAD", "/v1/nothing", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = ask(&setup, "HEAD", "/v1/echo", "").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: OPTIONS, POST\r\n"), "{answer}");
    setup.engine.stop().await;
}
