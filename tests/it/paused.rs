//! Time limits and tunnels, over an engine in memory whose time stands still until nothing else is left to do: exact to the
//! millisecond, and over at once.

use std::time::Duration;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Peer, Scripted, canned};
use mainstay_testkit::rig::Rig;
use tokio::time::Instant;

use crate::frames::{DATA, Frames, INITIAL_WINDOW, RST_STREAM, WINDOW_UPDATE, frame, get};

pub(crate) fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default());
    runtime.unwrap().block_on(test);
}

fn config(server: &str, operation: &str) -> String {
    format!(
        "server: {{ workers: 1{server} }}\nupstreams: {{ up: {{ endpoints: [\"http://127.0.0.1:1\"], retries: off }} }}\n\
         telemetry: {{ log: {{ output: none }} }}\napis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ \
         upstream: up, operations: {{ \"* /{{*rest}}\": {{ {operation} }} }} }} }} }} }}\n"
    )
}

/// An engine with an upstream whose every step is the test's.
fn scripted(server: &str, operation: &str) -> (Rig, Scripted) {
    let (upstream, dial) = Scripted::new();
    (Rig::start(&config(server, operation), Clock::System, Output::None, &dial), upstream)
}

/// Timers go off in the millisecond after their time.
#[track_caller]
fn took(began: Instant, expected_ms: u64) {
    let took_ms = began.elapsed().as_millis() as u64;
    assert!((expected_ms..=expected_ms + 2).contains(&took_ms), "{took_ms} ms, not {expected_ms}");
}

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn each_timeout_ends_when_it_says() {
    let rows = [
        ("timeouts: { attempt: 700ms, total: 3s }", "", 700, "upstream_timeout"),
        ("timeouts: { attempt: 3s, total: 900ms }", "", 900, "deadline_exceeded"),
        ("timeouts: { attempt: off, total: off }", "X-Request-Timeout-Ms: 50\r\n", 50, "deadline_exceeded"),
        (
            "timeouts: { attempt: 3s, total: 40ms }",
            "X-Request-Timeout-Ms: 50000\r\n",
            40,
            "deadline_exceeded",
        ),
    ];
    for (operation, field, expected_ms, code) in rows {
        paused(async {
            let (rig, mut upstream) = scripted("", operation);
            let mut client = rig.connect();
            client.send(GET.replace("Connection", &format!("{field}Connection"))).await;
            let mut service = upstream.accept().await;
            service.read_until("\r\n\r\n").await;
            let began = Instant::now();
            let answer = client.read_to_end().await;
            took(began, expected_ms);
            assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains(code), "{answer}");
        });
    }
}

#[test]
fn the_clients_own_deadline_bounds_the_body_too_and_the_service_is_told_what_is_left() {
    paused(async {
        let (rig, mut upstream) = scripted("", "timeouts: { total: 10s, idle: 30s }");
        let mut client = rig.connect();
        client.send(GET.replace("Connection", "X-Request-Timeout-Ms: 250\r\nConnection")).await;
        let mut service = upstream.accept().await;
        let head = service.read_until("\r\n\r\n").await;
        assert!(head.contains("x-request-deadline-ms: 250\r\n"), "{head}");
        let began = Instant::now();
        service.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await;
        let answer = client.read_to_end().await;
        took(began, 250);
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    });
}

/// The head of the answer to a gRPC call: its status and its fields, a line each.
async fn call(rig: &Rig, path: &str, fields: &[(&str, &str)]) -> String {
    let (mut client, connection) = h2::client::handshake(rig.connect().0).await.unwrap();
    tokio::task::spawn_local(async move {
        // How it ended shows in the answer.
        let _ = connection.await;
    });
    let mut request =
        http::Request::post(format!("http://a{path}")).header("content-type", "application/grpc+proto");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let answer = answer.await.unwrap();
    let fields =
        answer.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    format!("{}\n{}", answer.status().as_u16(), fields.collect::<String>())
}

/// Guards against: a request whose time was up before it began was sent all the same, and only its answer not waited for.
#[test]
fn what_nobody_waits_for_is_not_sent() {
    paused(async {
        let (rig, mut upstream) = scripted("", "timeouts: { total: 10s }");
        let head = call(&rig, "/v1/pay.Pay/Send", &[("grpc-timeout", "0n")]).await;
        assert!(head.contains("grpc-status: 4\n") && head.contains("deadline_exceeded"), "{head}");
        assert!(upstream.is_idle());
    });
}

/// The service is told what is left of the call's time, and not what its client began with.
#[test]
fn a_calls_time_is_said_anew() {
    paused(async {
        let (rig, mut upstream) = scripted("", "timeouts: { total: 10s }");
        for (said, left) in [("2S", "2000m"), ("60S", "10000m")] {
            let fields = [("grpc-timeout", said)];
            let asked = call(&rig, "/v1/pay.Pay/Send", &fields);
            let served = async {
                let mut service = upstream.accept().await;
                let head = service.read_until("\r\n\r\n").await;
                assert_eq!(head.matches("grpc-timeout").count(), 1, "{head}");
                assert!(head.contains(&format!("grpc-timeout: {left}\r\n")), "{head}");
                service.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            };
            tokio::join!(asked, served);
        }
    });
}

#[test]
fn a_call_is_refused_in_its_own_words() {
    paused(async {
        let (rig, _upstream) = scripted("", "body: 64KiB");
        let head = call(&rig, "/v7/pay.Pay/Send", &[]).await;
        for part in ["200\n", "content-type: application/grpc\n", "grpc-status: 12\n", "x-request-id"] {
            assert!(head.contains(part), "{part}\n{head}");
        }
    });
}

#[test]
fn a_slow_reader_is_not_a_silent_one() {
    const BODY: usize = 400_000;
    static ANSWER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; BODY]].concat()
    });
    paused(async {
        let text = config(", limits: { body_timeout: 2s }", "timeouts: { total: off, idle: off }");
        let rig = Rig::start(&text, Clock::System, Output::None, &canned(&ANSWER));
        let mut client = Frames::over(rig.connect().0, &[(INITIAL_WINDOW, 16_384)]).await;
        client.send(&get(1, "/v1/x")).await;
        let (mut received, began) = (0, Instant::now());
        while received < BODY {
            let next = client.next().await.expect("the connection stands");
            assert_ne!(next.kind, RST_STREAM, "after {:?}", began.elapsed());
            if next.kind == DATA && !next.payload.is_empty() {
                received += next.payload.len();
                // Slow, but a whole frame's worth in the time that a silence may take; all of it takes much longer.
                tokio::time::sleep(Duration::from_millis(400)).await;
                let more = (next.payload.len() as u32).to_be_bytes();
                let updates = [frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)];
                client.send(&updates.concat()).await;
            }
        }
        assert!(began.elapsed() > Duration::from_secs(10));
    });
}

const UPGRADE: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: a\r\n\r\n";
/// A frame of a client: five bytes of text, masked with zeros.
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
/// The same of a server.
const HOWDY: &[u8] = b"\x81\x05howdy";

/// A tunnel that stands.
async fn tunnel(rig: &Rig, upstream: &mut Scripted) -> (Peer, Peer) {
    let mut client = rig.connect();
    client.send(UPGRADE).await;
    let mut service = upstream.accept().await;
    service.read_until("\r\n\r\n").await;
    service.send(SWITCH).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (client, service)
}

async fn exactly(peer: &mut Peer, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exactly(&mut bytes).await;
    assert_eq!(bytes, expected);
}

#[test]
fn what_a_client_sends_early_waits_for_the_switch() {
    paused(async {
        let (rig, mut upstream) = scripted("", "upgrade: websocket");
        let mut client = rig.connect();
        client.send([UPGRADE.as_bytes(), HELLO].concat()).await;
        let mut service = upstream.accept().await;
        let head = service.read_until("\r\n\r\n").await;
        for part in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-key: k\r\n"] {
            assert!(head.contains(part), "{part}\n{head}");
        }
        // With the switch come the service's first words.
        let nothing = tokio::time::timeout(Duration::from_secs(1), exactly(&mut service, HELLO)).await;
        assert!(nothing.is_err(), "bytes of another protocol left before it was agreed on");
        service.send([SWITCH.as_bytes(), HOWDY].concat()).await;
        let head = client.read_until("\r\n\r\n").await;
        for part in [
            "HTTP/1.1 101 ",
            "connection: upgrade\r\n",
            "upgrade: websocket\r\n",
            "sec-websocket-accept: a\r\n",
        ] {
            assert!(head.contains(part), "{part}\n{head}");
        }
        exactly(&mut client, HOWDY).await;
        exactly(&mut service, HELLO).await;
        // One side's end passes, and the other may go on.
        drop(client);
        assert_eq!(service.read_to_end().await, "");
    });
}

#[test]
fn a_switch_that_is_refused_or_not_allowed_goes_on_as_http() {
    let rows: [(&str, &str, &str); 4] = [
        ("upgrade: websocket", "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "HTTP/1.1 403 "),
        ("", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 "),
        // Nobody asked for this one.
        ("", SWITCH, "HTTP/1.1 502 "),
        (
            "upgrade: websocket",
            "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            "HTTP/1.1 502 ",
        ),
    ];
    for (operation, said, expected) in rows {
        paused(async {
            let (rig, mut upstream) = scripted("", operation);
            let mut client = rig.connect();
            client.send(UPGRADE).await;
            let mut service = upstream.accept().await;
            let head = service.read_until("\r\n\r\n").await;
            assert_eq!(head.contains("upgrade"), !operation.is_empty(), "{head}");
            service.send(said).await;
            let answer = client.read_until("\r\n\r\n").await;
            assert!(answer.starts_with(expected), "{operation} {answer}");
        });
    }
}

#[test]
fn a_silent_tunnel_is_told_goodbye() {
    paused(async {
        let (rig, mut upstream) = scripted("", "upgrade: websocket, timeouts: { idle: 3s }");
        let (mut client, mut service) = tunnel(&rig, &mut upstream).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        client.send(HELLO).await;
        exactly(&mut service, HELLO).await;
        let began = Instant::now();
        exactly(&mut client, b"\x88\x02\x03\xe9").await;
        took(began, 3000);
        let mut goodbye = [0; 8];
        service.read_exactly(&mut goodbye).await;
        assert_eq!(goodbye[..2], [0x88, 0x82]);
        assert_eq!([goodbye[6] ^ goodbye[2], goodbye[7] ^ goodbye[3]], [0x03, 0xe9]);
        assert_eq!(rig.metric("http_server_active_requests"), Some(1.0));
        // Both answer, and it is over; without an answer it would be two seconds later.
        drop((client, service));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(rig.metric("http_server_active_requests"), Some(0.0));
    });
}

#[test]
fn a_goodbye_waits_for_the_end_of_a_frame_and_not_for_ever() {
    for completes in [true, false] {
        paused(async {
            let (rig, mut upstream) = scripted("", "upgrade: websocket, timeouts: { idle: 3s }");
            let (mut client, mut service) = tunnel(&rig, &mut upstream).await;
            service.send(&HOWDY[..4]).await;
            exactly(&mut client, &HOWDY[..4]).await;
            let began = Instant::now();
            // The client's direction stands between two frames.
            let mut goodbye = [0; 8];
            service.read_exactly(&mut goodbye).await;
            took(began, 3000);
            if completes {
                service.send(&HOWDY[4..]).await;
                exactly(&mut client, &HOWDY[4..]).await;
                exactly(&mut client, b"\x88\x02\x03\xe9").await;
            } else {
                assert_eq!(client.read_to_end().await, "");
                took(began, 5000);
            }
        });
    }
}

#[test]
fn a_drain_ends_a_tunnel() {
    paused(async {
        let (rig, mut upstream) = scripted("", "upgrade: websocket, timeouts: { idle: off }");
        let (mut client, mut service) = tunnel(&rig, &mut upstream).await;
        rig.shared.is_draining.store(true, std::sync::atomic::Ordering::Relaxed);
        exactly(&mut client, b"\x88\x02\x03\xe9").await;
        let mut goodbye = [0; 8];
        service.read_exactly(&mut goodbye).await;
    });
}

#[test]
fn a_drain_leaves_half_a_second_to_the_next_request_of_a_client() {
    const KEPT: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let start = || {
        let dial = canned(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        Rig::start(&config("", ""), Clock::System, Output::None, &dial)
    };
    paused(async {
        let rig = start();
        let (mut asks, mut silent) = (rig.connect(), rig.connect());
        for client in [&mut asks, &mut silent] {
            client.send(KEPT).await;
            client.read_until("\r\n\r\nok").await;
        }
        rig.shared.is_draining.store(true, std::sync::atomic::Ordering::Relaxed);
        let began = Instant::now();
        // Time enough for several looks at each connection.
        tokio::time::sleep(Duration::from_millis(350)).await;
        asks.send(KEPT).await;
        let answer = asks.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(silent.read_to_end().await, "");
        let silence_ms = began.elapsed().as_millis();
        assert!((500..=700).contains(&silence_ms), "{silence_ms} ms");
    });
}
