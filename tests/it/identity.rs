//! What a client says of itself and may not say: no spelling of it reaches an upstream, over any protocols.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::setup::{Config, Setup, payments};

/// Names that the engine alone vouches for.
const VOUCHED: [&str; 6] = [
    "x-consumer-id",
    "x-consumer-plan",
    "x-auth-method",
    "x-request-deadline-ms",
    "x-forwarded-user",
    "x-real-ip",
];
const FORGED: &str = "forged";

/// Every name with every choice of `-` and `_`.
fn spellings() -> Vec<String> {
    let mut all = Vec::new();
    for name in VOUCHED.into_iter().chain(["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]) {
        let parts: Vec<&str> = name.split('-').collect();
        for mask in 0..1 << (parts.len() - 1) {
            let mut spelling = parts[0].to_owned();
            for (bit, part) in parts[1..].iter().enumerate() {
                spelling.push(if mask & (1 << bit) == 0 { '-' } else { '_' });
                spelling.push_str(part);
            }
            all.push(spelling);
        }
    }
    all.push("forwarded".to_owned());
    all
}

async fn echo_h1(setup: &Setup, fields: &[String]) -> Value {
    // HTTP/1 does not care for case, so each name comes in another one.
    let lines: String = fields.iter().map(|n| format!("{}: {FORGED}\r\n", n.to_uppercase())).collect();
    let answer = setup
        .exchange(&format!("GET /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"))
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|_| {
        // The body came in chunks; there is only one.
        serde_json::from_str(body.lines().nth(1).unwrap()).unwrap()
    })
}

async fn echo_h2(address: SocketAddr, fields: &[String]) -> Value {
    let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut headers = HeaderMap::new();
    for name in fields {
        headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_static(FORGED));
    }
    let mut request = http::Request::get("http://a/v1/echo").body(Full::<Bytes>::default()).unwrap();
    *request.headers_mut() = headers;
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    serde_json::from_slice(&body).unwrap()
}

/// The values of a field at the upstream.
fn values<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = echo["headers"].as_array().unwrap();
    fields.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn no_spelling_of_a_vouched_name_reaches_an_upstream() {
    for upstream in ["", ", protocol: h2"] {
        let service = payments();
        let setup = Setup::start(&Config { upstream, ..Config::default() }, service.addr).await;
        // In parts, because a head may have only so many fields.
        for fields in spellings().chunks(16) {
            for echo in [echo_h1(&setup, fields).await, echo_h2(setup.address(), fields).await] {
                assert!(!echo.to_string().contains(FORGED), "{upstream} {fields:?}\n{echo}");
                assert_eq!(values(&echo, "x-forwarded-for"), ["127.0.0.1"], "{echo}");
                assert_eq!(values(&echo, "x-forwarded-proto"), ["http"], "{echo}");
                assert_eq!(values(&echo, "x-forwarded-host"), ["a"], "{echo}");
            }
        }
        let kept = ["x-consumer-note".to_owned(), "x_custom".to_owned()];
        for echo in [echo_h1(&setup, &kept).await, echo_h2(setup.address(), &kept).await] {
            for name in &kept {
                assert_eq!(values(&echo, name), [FORGED], "{echo}");
            }
        }
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_in_one_spelling() {
    let service = payments();
    let config = Config { server: ", trusted_proxies: [127.0.0.1]", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    let all = spellings();
    let (plain, others): (Vec<String>, Vec<String>) = all.into_iter().partition(|name| !name.contains('_'));
    for echo in [echo_h1(&setup, &plain).await, echo_h2(setup.address(), &plain).await] {
        for name in ["x-forwarded-user", "x-real-ip", "x-forwarded-proto", "x-forwarded-host"] {
            assert_eq!(values(&echo, name), [FORGED], "{echo}");
        }
        assert_eq!(values(&echo, "x-forwarded-for"), [format!("{FORGED}, 127.0.0.1")], "{echo}");
        for name in ["x-consumer-id", "x-consumer-plan", "x-auth-method"] {
            assert!(values(&echo, name).is_empty(), "{echo}");
        }
    }
    for fields in others.chunks(16) {
        for echo in [echo_h1(&setup, fields).await, echo_h2(setup.address(), fields).await] {
            assert!(!echo.to_string().contains(FORGED), "{fields:?}\n{echo}");
        }
    }
    setup.engine.stop().await;
}
