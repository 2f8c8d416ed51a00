//! Each fault, seen from outside: what the client gets and whether the ledger has changed.

use std::io::ErrorKind;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use super::{Client, PAY_V1, PAY_V2, raw, request, soon, start};
use crate::faults::{FaultSettings, ResetFault, ResetPoint};
use crate::{Ledger, Service};

fn pay_raw() -> String {
    format!(
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{PAY_V1}",
        PAY_V1.len()
    )
}

async fn cut_at(at: ResetPoint, effects: u64, said: impl Fn(&[u8]) -> bool) {
    let running = start();
    running.faults().reset(at, 100);
    let (bytes, end) = raw(&running, &pay_raw()).await;
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset), "{at:?}");
    assert!(said(&bytes), "{at:?}: {}", String::from_utf8_lossy(&bytes));
    assert_eq!(running.stats().effects(), effects, "{at:?}");
    soon(running.stats().until(|view| view.connections_open == 0 && view.in_flight == 0)).await;
    assert_eq!((running.stats().requests("POST /v1/payments"), running.stats().cut_short() <= 1), (1, true));
    running.faults().reset(at, 0);
    assert_eq!(Client::h1(&running).await.post("/v1/payments", PAY_V1).await.status, 201);
}

#[tokio::test]
async fn a_connection_is_reset_where_it_says() {
    let half = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        head.starts_with("HTTP/1.1 201") && body.len() == length.parse::<usize>().expect("a number") / 2
    };
    cut_at(ResetPoint::OnArrival, 0, <[u8]>::is_empty).await;
    cut_at(ResetPoint::BeforeHead, 1, <[u8]>::is_empty).await;
    cut_at(ResetPoint::InHead, 1, |bytes| bytes == b"HTTP/1.").await;
    cut_at(ResetPoint::MidBody, 1, half).await;
}

#[tokio::test]
async fn a_kept_connection_can_die_at_a_later_request() {
    let running = start();
    let reset = ResetFault { at: ResetPoint::OnArrival, percent: 100, reused_only: true, stream_only: false };
    running.faults().set(FaultSettings { reset: Some(reset), ..FaultSettings::default() }).expect("in range");
    let mut client = Client::h1(&running).await;
    assert_eq!(client.post("/v1/payments", PAY_V1).await.status, 201);
    client.try_post("/v1/payments", PAY_V1).await.err().expect("the second is reset");
    assert_eq!(running.stats().effects(), 1);
}

#[tokio::test]
async fn on_http2_the_connection_or_the_stream_is_reset() {
    for at in [ResetPoint::OnArrival, ResetPoint::BeforeHead, ResetPoint::InHead, ResetPoint::MidBody] {
        for stream_only in [false, true] {
            let running = start();
            let mut client = Client::h2(&running).await;
            assert_eq!(client.get("/v2/banks").await.status, 200);
            let reset = ResetFault { at, percent: 100, reused_only: false, stream_only };
            running
                .faults()
                .set(FaultSettings { reset: Some(reset), ..FaultSettings::default() })
                .expect("in range");
            client.try_post("/v2/payments", PAY_V2).await.err().expect("it is cut");
            assert_eq!(running.stats().effects(), u64::from(at != ResetPoint::OnArrival), "{at:?}");
            running.faults().clear().expect("the port was open");
            let survives = stream_only && at != ResetPoint::InHead;
            assert_eq!(client.try_get("/v2/banks").await.is_ok(), survives, "{at:?} {stream_only}");
        }
    }
}

#[tokio::test]
async fn garbage_is_no_http() {
    let running = start();
    running.faults().garbage(100);
    let (bytes, end) = raw(&running, &pay_raw()).await;
    assert!(end.is_ok() && bytes.starts_with(b"\x16\x03\x01"), "{bytes:?}");
    Client::h2(&running).await.try_get("/v2/banks").await.err().expect("no frame begins like that");
    assert_eq!(running.stats().effects(), 1);
}

#[tokio::test]
async fn a_share_of_requests_gets_the_status() {
    let running = start();
    running.faults().status(http::StatusCode::SERVICE_UNAVAILABLE, 30);
    let mut client = Client::h1(&running).await;
    let mut refused = Vec::new();
    for _ in 0..10 {
        let reply = client.post("/v1/payments", PAY_V1).await;
        refused.push(reply.status.as_u16() == 503);
        assert!(reply.status == 201 || reply.json()["code"] == "switched_fault");
    }
    assert_eq!(refused, [false, false, false, true, false, false, true, false, false, true]);
    assert_eq!(running.stats().effects(), 7);

    let settings = r#"{"status":{"code":500,"after_effect":true,"retry_after_s":3},"path_prefix":"/v2"}"#;
    running.faults().set(serde_json::from_str(settings).expect("settings")).expect("in range");
    let reply = client.post("/v2/payments", PAY_V2).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (500, Some("3")));
    assert_eq!(client.post("/v1/payments", PAY_V1).await.status, 201);
    assert_eq!(running.stats().effects(), 9);
}

#[tokio::test]
async fn connections_end_after_so_many_answers() {
    for (announce, said) in [(true, Some("close")), (false, None)] {
        let running = start();
        running.faults().close_after(2, announce);
        let mut client = Client::h1(&running).await;
        assert_eq!(client.get("/v1/banks").await.header("connection"), None);
        let last = client.get("/bytes/3000000").await;
        assert_eq!((last.header("connection"), last.body.len()), (said, 3_000_000));
        soon(running.stats().until(|view| view.connections_open == 0)).await;
        client.try_get("/v1/banks").await.err().expect("it is closed");
    }
    let running = start();
    running.faults().close_after(2, false);
    let mut client = Client::h2(&running).await;
    for _ in 0..2 {
        assert_eq!(client.get("/v2/banks").await.status, 200);
    }
    soon(running.stats().until(|view| view.connections_open == 0)).await;
    client.try_get("/v2/banks").await.err().expect("it went away");
}

#[tokio::test]
async fn a_hang_is_silent_until_it_ends() {
    let running = start();
    let [mut h1, mut h2] = Client::both(&running).await;
    assert_eq!(
        (h1.get("/healthz").await.status, h2.get("/healthz").await.status),
        (200.try_into().expect("ok"), 200.try_into().expect("ok"))
    );
    running.faults().hang(true);
    let old = tokio::spawn(async move {
        (h1.post("/v1/payments", PAY_V1).await, h2.post("/v2/payments", PAY_V2).await)
    });
    let mut new = TcpStream::connect(running.addr).await.expect("it still accepts");
    new.write_all(pay_raw().as_bytes()).await.expect("a new connection");
    soon(running.stats().until(|view| view.in_flight == 1 && view.connections_open == 3)).await;
    let mut byte = [0];
    assert_eq!(new.try_read(&mut byte).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    assert_eq!(running.stats().effects(), 0);

    let mut shell = Client::h1(&running).await;
    let reply = shell.send(request("PUT", "/_faults", "{}")).await.expect("a hang leaves the switches alone");
    assert_eq!(reply.status, 200);
    let (first, second) = soon(old).await.expect("no panic");
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    soon(new.read_exact(&mut byte)).await.expect("an answer");
    soon(running.stats().until(|view| view.effects == 3)).await;
}

#[tokio::test]
async fn refusing_closes_the_port_and_leaves_open_connections() {
    let running = start();
    let mut client = Client::h1(&running).await;
    assert_eq!(client.get("/healthz").await.status, 200);
    for _ in 0..3 {
        running.faults().refuse(true).expect("closing cannot fail");
        let error = TcpStream::connect(running.addr).await.expect_err("nothing listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Nobody else gets the port meanwhile, so it can be opened again.
        let taken = Service::start(Ledger::new(), running.addr, "b").err().expect("it is kept");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        assert_eq!(client.get("/healthz").await.status, 200);
        running.faults().refuse(false).expect("nobody took the port");
        assert_eq!(Client::h1(&running).await.get("/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn slots_bound_what_is_done_at_once() {
    let running = start();
    running.faults().slots(2, 20);
    let began = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut client = Client::h1(&running).await;
        calls.spawn(async move { client.get("/v1/banks").await.status.as_u16() });
    }
    assert_eq!(soon(calls.join_all()).await, [200; 6]);
    // Six calls, two at a time, 20 ms each: three rounds.
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn latency_and_slow_bodies_take_their_time() {
    let running = start();
    for mut client in Client::both(&running).await {
        running.faults().latency(20, 5);
        let began = Instant::now();
        assert_eq!(client.get("/healthz").await.status, 200);
        assert!(began.elapsed() >= Duration::from_millis(20));

        running.faults().clear().expect("the port was open");
        running.faults().slow_body(4, 3);
        let began = Instant::now();
        let reply = client.get("/bytes/26").await;
        assert_eq!(
            (&reply.body[..], reply.header("content-length")),
            (&b"abcdefghijklmnopqrstuvwxyz"[..], Some("26"))
        );
        // Seven steps, six intervals.
        assert!(began.elapsed() >= Duration::from_millis(18));
        running.faults().clear().expect("the port was open");
    }
}

#[tokio::test]
async fn faults_are_switched_over_http() {
    let running = start();
    let mut client = Client::h1(&running).await;
    for (body, status) in
        [("{", 400), (r#"{"latency":1}"#, 400), (r#"{"status":{"code":99}}"#, 422), ("[]", 400)]
    {
        let reply = client.send(request("PUT", "/_faults", body)).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), status, "{body}");
    }
    assert_eq!(running.faults().current(), FaultSettings::default());

    let settings = r#"{"status":{"code":503},"slots":{"count":1,"service_ms":0}}"#;
    assert_eq!(client.send(request("PUT", "/_faults", settings)).await.expect("an answer").status, 200);
    assert_eq!(client.get("/v1/banks").await.status, 503);
    let shown = client.get("/_faults").await.json();
    assert_eq!(
        shown["status"],
        json!({ "code": 503, "percent": 100, "after_effect": false, "retry_after_s": null })
    );
    assert_eq!(client.get("/_stats").await.json()["requests"], json!({ "GET /v1/banks": 1 }));

    let settings = r#"{"refuse":true,"garbage_percent":100,"for_ms":1}"#;
    assert_eq!(client.send(request("PUT", "/_faults", settings)).await.expect("an answer").status, 200);
    let ended = async {
        while running.faults().current() != FaultSettings::default() {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
    assert_eq!(Client::h1(&running).await.get("/v1/banks").await.status, 200);
}
