//! What a client can throw at the engine.

use crate::setup::{Config, Setup, payments};

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").filter_map(|part| part.get(..3)).filter(|s| s.parse::<u16>().is_ok()).collect()
}

#[tokio::test]
async fn bytes_that_are_no_request_never_reach_the_upstream() {
    let service = payments();
    let setup = Setup::start(&Config { operation: "body: 64KiB", ..Config::default() }, service.addr).await;
    let long_field = format!("GET /v1/x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let long_target = format!("GET /v1/{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000));
    let many = format!("GET /v1/x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    let rows: &[(&str, &str, &str)] = &[
        (
            "POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
            "malformed_request",
        ),
        (
            "POST /v1/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            "400",
            "malformed_request",
        ),
        ("GET /v1/echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", "bad_host"),
        ("GET /v1/echo HTTP/1.1\r\n\r\n", "400", "bad_host"),
        ("GET /v1/echo HTTP/1.1\nHost: a\n\n", "400", "malformed_request"),
        ("GET /v1/../echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400", "ambiguous_path"),
        ("GET /v1/a%2fb HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400", "ambiguous_path"),
        (
            "POST /v1/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "501",
            "not_implemented",
        ),
        (
            "POST /v1/echo HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx",
            "417",
            "expectation_failed",
        ),
        ("GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400", "malformed_request"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "501", "not_implemented"),
        (&long_field, "431", "headers_too_large"),
        (&many, "431", "headers_too_large"),
        (&long_target, "414", "uri_too_long"),
        (
            "POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nabc",
            "413",
            "body_too_large",
        ),
    ];
    for (bytes, status, code) in rows {
        let answer = setup.exchange(bytes).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
            "{bytes:.80}\n{answer}"
        );
        assert!(answer.contains("x-request-id: "), "{answer}");
    }
    assert_eq!(service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_until_the_malformed_one() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let good = "GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = setup.exchange(&format!("{}GET /x HTTP/9\r\n\r\n{good}", good.repeat(49))).await;
    let mut expected = vec!["200"; 49];
    expected.push("400");
    assert_eq!(statuses(&answer), expected, "{answer}");
    assert_eq!(service.stats().requests_total(), 49);
    setup.engine.stop().await;
}
