//! What has begun is finished, nothing happens twice, and a dying upstream has a shape.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;

use crate::setup::{Config, Setup, blocking, connect, payments, read_all, read_until, scripted};

const POST: &str = "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok";

fn logging() -> Config {
    Config { log: "access.log", ..Config::default() }
}

#[tokio::test]
async fn an_unsafe_request_settles_when_its_client_leaves() {
    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let (left, wait_for_leave) = sync_channel::<()>(1);
    let (upstream, answered) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\nhi");
        arrived.send(()).unwrap();
        wait_for_leave.recv().unwrap();
        stream.write_all(CREATED)
    });
    let setup = Setup::start(&logging(), upstream).await;
    let address = setup.address();
    blocking(move || {
        let mut stream = connect(address);
        stream.write_all(POST.replace("Host: a", "Host: a\r\nX-Request-Id: settles-1").as_bytes()).unwrap();
        wait_for_arrival.recv().unwrap();
    })
    .await;
    // The upstream answers only once the engine has noticed that the client left.
    setup.until_metric("mainstay_settling", 1.0).await;
    left.send(()).unwrap();
    answered.await.unwrap().expect("the connection to the upstream still stands");
    let record = setup.record("settles-1").await;
    assert_eq!(
        (record["status"].as_u64(), record["aborted"].as_str()),
        (Some(201), Some("client")),
        "{record}"
    );
    assert!(record["trail"].to_string().contains("settle"), "{record}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_safe_request_is_cancelled_when_its_client_leaves() {
    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let (upstream, closed) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        arrived.send(()).unwrap();
        read_all(&mut stream)
    });
    let setup = Setup::start(&logging(), upstream).await;
    let address = setup.address();
    blocking(move || {
        let mut stream = connect(address);
        let get = b"GET /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: cancelled-1\r\n\r\n";
        stream.write_all(get).unwrap();
        wait_for_arrival.recv().unwrap();
    })
    .await;
    assert_eq!(closed.await.unwrap(), "");
    let record = setup.record("cancelled-1").await;
    assert_eq!(
        (record["status"].as_u64(), record["aborted"].as_str()),
        (Some(499), Some("client")),
        "{record}"
    );
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_unsafe_request_settles_when_its_time_is_up_and_its_record_waits() {
    let (told, wait_for_answer) = sync_channel::<()>(1);
    let (upstream, _answered) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\nhi");
        wait_for_answer.recv().unwrap();
        stream.write_all(CREATED)
    });
    let config = Config { operation: "timeouts: { attempt: 100ms, total: 200ms }", ..logging() };
    let setup = Setup::start(&config, upstream).await;
    let post = POST.replace("Host: a", "Host: a\r\nConnection: close\r\nX-Request-Id: timed-out-1");
    let answer = setup.exchange(&post).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("upstream_timeout"), "{answer}");
    assert!(answer.contains("proxy-status: mainstay; error=http_response_timeout"), "{answer}");
    told.send(()).unwrap();
    let record = setup.record("timed-out-1").await;
    assert_eq!(record["status"], 504, "{record}");
    assert!(record["trail"].to_string().contains("the service answered 201"), "{record}");
    setup.engine.stop().await;
}

/// Guards against: letting go of a settling request began to settle it again, without end, until the stack was used up.
#[tokio::test]
async fn stopping_while_something_settles_ends() {
    let (told, wait) = sync_channel::<()>(1);
    let (upstream, _done) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\nhi");
        wait.recv().unwrap();
    });
    let config = Config { operation: "timeouts: { attempt: 100ms, total: 200ms }", ..logging() };
    let setup = Setup::start(&config, upstream).await;
    let post = POST.replace("Host: a", "Host: a\r\nConnection: close\r\nX-Request-Id: cut-off-1");
    assert!(setup.exchange(&post).await.starts_with("HTTP/1.1 504 "));
    let log = setup.folder.path().join("access.log");
    setup.engine.stop().await;
    told.send(()).unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("cut-off-1") && text.contains("the outcome is unknown"), "{text}");
}

/// Each failure is seen once: what further attempts make of it, other tests say.
const ONCE: Config =
    Config { server: "", upstream: ", retries: off", api: "", version: "", operation: "", log: "" };

#[tokio::test]
async fn each_way_an_upstream_fails_has_its_own_answer() {
    let rows: &[(&str, &[u8], &str, &str)] = &[
        ("GET", b"", "502", "upstream_reset"),
        ("POST", b"", "502", "upstream_reset"),
        ("GET", b"garbage\r\n\r\n", "502", "upstream_malformed"),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "502",
            "upstream_malformed",
        ),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            "502",
            "upstream_malformed",
        ),
        ("GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "502", "upstream_malformed"),
        (
            "GET",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "502",
            "upstream_malformed",
        ),
    ];
    for (method, bytes, status, code) in rows {
        let bytes = bytes.to_vec();
        let (upstream, _done) = scripted(move |mut stream| {
            read_until(&mut stream, "\r\n\r\n");
            stream.write_all(&bytes)
        });
        let setup = Setup::start(&ONCE, upstream).await;
        let head =
            format!("{method} /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let answer = setup.exchange(&head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code), "{answer}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn endless_interim_and_oversized_heads_are_bounded() {
    let rows: &[(Vec<u8>, &str)] = &[
        (b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20), "upstream_malformed"),
        (
            [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 40_000], b"\r\n\r\n".to_vec()].concat(),
            "upstream_too_large",
        ),
    ];
    for (bytes, code) in rows {
        let bytes = bytes.clone();
        let (upstream, _done) = scripted(move |mut stream| {
            read_until(&mut stream, "\r\n\r\n");
            stream.write_all(&bytes)
        });
        let setup = Setup::start(&ONCE, upstream).await;
        let answer = setup.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains(code), "{answer}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_visibly_broken() {
    let rows: &[(&str, &[u8])] = &[
        ("1.1", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
        ("1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("1.0", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    ];
    for (version, bytes) in rows {
        let bytes = bytes.to_vec();
        let (upstream, _done) = scripted(move |mut stream| {
            read_until(&mut stream, "\r\n\r\n");
            stream.write_all(&bytes)
        });
        let setup = Setup::start(&Config::default(), upstream).await;
        let (address, version) = (setup.address(), *version);
        let whole = blocking(move || {
            let mut stream = connect(address);
            stream.write_all(format!("GET /v1/x HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
            let mut seen = Vec::new();
            let ended = std::io::Read::read_to_end(&mut stream, &mut seen);
            ended.is_ok().then(|| String::from_utf8_lossy(&seen).into_owned())
        })
        .await;
        // Either a reset, or fewer bytes than announced, or no last chunk.
        assert!(whole.as_ref().is_none_or(|w| version == "1.1" && !w.ends_with("0\r\n\r\n")), "{whole:?}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_replaced_for_what_is_safe_and_never_sent_twice_for_what_is_not() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    for _ in 0..4 {
        assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    }
    service.reset_connections();
    for _ in 0..4 {
        assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    }
    let before = service.stats().effects();
    let body = r#"{"account":"acc_1001","bank":"fnb","amount":100,"currency":"ZAR","reference":"once"}"#;
    let post = format!(
        "POST /v1/payments HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    service.reset_connections();
    let answer = setup.exchange(&post).await;
    let effects = service.stats().effects() - before;
    assert!(effects <= 1 && (effects == 1) == answer.starts_with("HTTP/1.1 201 "), "{effects} {answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_or_is_unknown_has_its_own_code() {
    let service = payments();
    service.faults().refuse(true).unwrap();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let answer = setup.get("/v1/bytes/1").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_refused"), "{answer}");
    assert!(answer.contains("proxy-status: mainstay; error=connection_refused"), "{answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_drain_finishes_what_runs() {
    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let (go, wait_for_go) = sync_channel::<()>(1);
    let (upstream, _done) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        arrived.send(()).unwrap();
        wait_for_go.recv().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
    });
    let setup = Setup::start(&Config::default(), upstream).await;
    let address: SocketAddr = setup.address();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        stream.write_all(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        read_all(&mut stream)
    });
    blocking(move || wait_for_arrival.recv().unwrap()).await;
    let Setup { engine, folder: _folder } = setup;
    let handle = std::sync::Arc::clone(&engine.handle);
    let drained = tokio::spawn(engine.shut_down("test"));
    while !handle.shared.is_draining.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    let answer = client.await.unwrap();
    assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    assert!(drained.await.unwrap());
}
