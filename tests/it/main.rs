//! Integration tests: the engine started as a user would, over real sockets, in front of the payments service.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use mainstay::compose::{Engine, load_for_start};
use mainstay_core::clock::Clock;
use mainstay_payments::{Ledger, Running, Service};

struct Setup {
    engine: Engine,
    service: Running,
    _folder: tempfile::TempDir,
}

async fn start() -> Setup {
    let service = Service::start(Ledger::new(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "a").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2 }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [http://{}] }} }}\n\
         apis:\n  pay:\n    defaults: {{ auth: none, body: 64KiB }}\n    versions:\n      v1:\n        upstream: up\n        \
         operations:\n          \"* /{{*rest}}\": {{}}\ntelemetry: {{ log: {{ output: none }} }}\n",
        service.addr
    );
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, text).unwrap();
    let loaded = load_for_start(path, Clock::System).unwrap();
    let engine = Engine::start(loaded.start).await.unwrap();
    Setup { engine, service, _folder: folder }
}

/// Sends bytes on one connection and reads until the engine closes it.
async fn exchange(address: SocketAddr, bytes: &'static [u8]) -> String {
    let talk = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test]
async fn both_framings_are_refused_and_never_reach_the_upstream() {
    let setup = start().await;
    let bytes = b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = exchange(setup.engine.listen[0], bytes).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed_request"), "{answer}");
    assert_eq!(setup.service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_until_the_malformed_one() {
    let setup = start().await;
    let bytes = b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/bytes/2 HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/9\r\n\r\n";
    let answer = exchange(setup.engine.listen[0], bytes).await;
    let statuses: Vec<_> = answer
        .split("HTTP/1.1 ")
        .filter_map(|part| part.get(..3))
        .filter(|s| s.parse::<u16>().is_ok())
        .collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_and_the_answer_is_read() {
    let setup = start().await;
    let bytes = b"POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nabc";
    let answer = exchange(setup.engine.listen[0], bytes).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    assert_eq!(setup.service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_is_a_502_with_its_own_code() {
    let setup = start().await;
    setup.service.faults().refuse(true).unwrap();
    let bytes = b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(setup.engine.listen[0], bytes).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_refused"), "{answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_idle_engine_drains_whole() {
    let setup = start().await;
    let bytes = b"GET /v1/bytes/5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(exchange(setup.engine.listen[0], bytes).await.starts_with("HTTP/1.1 200 "));
    assert!(setup.engine.shut_down("test").await);
}
