//! What upstreams do and remember, as clients see it that know bytes, or a library that is not the engine's.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Gate, Reply, Upstream};
use crate::GUARD;
use crate::memory::Peer;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A request on a connection of its own, and everything that comes, with how it ends.
async fn exchange(upstream: &Upstream, request: &str) -> (String, Option<ErrorKind>) {
    let mut client = connect(upstream.address).await;
    client.write_all(request.as_bytes()).await.unwrap();
    rest(&mut client).await
}

async fn rest(client: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut seen = Vec::new();
    let end = timeout(GUARD, client.read_to_end(&mut seen)).await.expect("an end");
    (String::from_utf8(seen).unwrap(), end.err().map(|error| error.kind()))
}

async fn read(client: &mut TcpStream, wanted: &str) {
    let mut seen = vec![0; wanted.len()];
    timeout(GUARD, client.read_exact(&mut seen)).await.expect("an answer").unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), wanted);
}

#[tokio::test]
async fn a_connection_ends_where_the_script_says() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let reset = Some(ErrorKind::ConnectionReset);
    let ok = || Reply::ok("answer");
    let rows = [
        (Reply::reset(), String::new(), reset),
        (ok().reset_at(0), head.to_owned(), reset),
        (ok().reset_at(3), format!("{head}ans"), reset),
        (ok().header("transfer-encoding", "chunked").reset_at(3), format!("{chunked}3\r\nans\r\n"), reset),
        (Reply::raw("\x16garbage"), "\x16garbage".to_owned(), None),
        (ok().then_close(), format!("{head}answer"), None),
        (
            ok().header("transfer-encoding", "chunked").then_close(),
            format!("{chunked}6\r\nanswer\r\n0\r\n\r\n"),
            None,
        ),
        (Reply::status(304).then_close(), "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(), None),
    ];
    for (reply, seen, end) in rows {
        let shown = format!("{reply:?}");
        let upstream = Upstream::http1(move |_| reply.clone());
        assert_eq!(exchange(&upstream, GET).await, (seen, end), "{shown}");
        upstream.until(|log| log.closed == [0]).await;
    }
}

#[tokio::test]
async fn everything_that_came_is_remembered() {
    let upstream = Upstream::http1(|request| match request.nth {
        3 => Reply::status(503).header("retry-after", "1"),
        _ => Reply::ok(format!("{} {}", request.connection, request.nth)),
    });
    let mut client = connect(upstream.address).await;
    client
        .write_all(b"POST /a?b=c HTTP/1.1\r\nX-Name:  value \r\nContent-Length: 5\r\n\r\n12")
        .await
        .unwrap();
    // The head counts before the body is here.
    upstream.until(|log| log.requests.len() == 1 && log.requests[0].body == b"12").await;
    assert!(!upstream.log().requests[0].is_whole);
    client.write_all(b"345").await.unwrap();
    read(&mut client, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n0 1").await;
    client
        .write_all(b"PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n")
        .await
        .unwrap();
    read(&mut client, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n0 2").await;
    client.write_all(GET.as_bytes()).await.unwrap();
    read(&mut client, "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")
        .await;
    let (other, end) = exchange(&upstream, &GET.replace("Host: a", "Connection: close")).await;
    assert!(other.ends_with("1 1") && end.is_none(), "{other}");

    let log = upstream.log();
    let seen: Vec<_> =
        log.requests.iter().map(|r| (r.number, r.connection, r.nth, &*r.method, &*r.path)).collect();
    let expected =
        [(0, 0, 1, "POST", "/a?b=c"), (1, 0, 2, "PUT", "/d"), (2, 0, 3, "GET", "/x"), (3, 1, 1, "GET", "/x")];
    assert_eq!(seen, expected);
    assert_eq!(log.requests[0].header("x-name"), Some("value"));
    assert!(log.requests[..2].iter().all(|request| request.body == b"12345" && request.is_whole));
    assert_eq!((log.opened, log.answered), (2, vec![0, 1, 2, 3]));
}

#[tokio::test]
async fn an_answer_waits_for_its_gate_and_a_body_in_its_middle() {
    let (gate, middle) = (Gate::new(), Gate::new());
    let reply = Reply::ok("answer").after(&gate).pause_at(2, &middle);
    let upstream = Upstream::http1(move |_| reply.clone());
    let mut client = connect(upstream.address).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    upstream.requests(1).await;
    assert_eq!(client.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    gate.open();
    read(&mut client, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nan").await;
    assert!(upstream.log().answered.is_empty());
    middle.open();
    read(&mut client, "swer").await;
    upstream.until(|log| log.answered == [0]).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_every_step() {
    let gate = Gate::new();
    let long = Duration::from_secs(3600);
    let steps = [
        Reply::hold(),
        Reply::ok("x").after(&gate),
        Reply::ok("x").late(long),
        Reply::ok("x").pause_at(0, &gate),
    ];
    for reply in steps {
        let shown = format!("{reply:?}");
        let upstream = Upstream::http1(move |_| reply.clone());
        let mut client = connect(upstream.address).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        upstream.requests(1).await;
        drop(client);
        let log = upstream.until(|log| log.closed == [0]).await;
        assert_eq!((log.cancelled, log.answered), (vec![0], vec![]), "{shown}");
    }
    // In the middle of its own body.
    let upstream = Upstream::http1(|_| Reply::ok("x"));
    let mut client = connect(upstream.address).await;
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1").await.unwrap();
    upstream.requests(1).await;
    drop(client);
    let log = upstream.until(|log| log.closed == [0]).await;
    assert!(log.cancelled == [0] && !log.requests[0].is_whole, "{log:?}");
}

#[tokio::test]
async fn an_early_answer_comes_before_the_body() {
    let upstream = Upstream::http1(|_| Reply::status(413).early());
    let mut client = connect(upstream.address).await;
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1").await.unwrap();
    let (seen, end) = rest(&mut client).await;
    assert!(seen.starts_with("HTTP/1.1 413 ") && end.is_none(), "{seen} {end:?}");
    assert!(!upstream.log().requests[0].is_whole);
    let (seen, _) =
        exchange(&upstream, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.1 413 "), "{seen}");
    upstream.script(|_| Reply::ok("").then_close());
    let mut client = connect(upstream.address).await;
    client.write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").await.unwrap();
    read(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"1").await.unwrap();
    assert!(rest(&mut client).await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn slots_are_a_capacity_that_is_known() {
    let upstream = Upstream::http1(|_| Reply::ok("x"));
    upstream.slots(2, Duration::from_millis(100));
    let (began, dial) = (Instant::now(), upstream.dial());
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mainstay_proxy::stream::Plain::Memory(client) = dial().unwrap() else { panic!("in memory") };
        let mut client = Peer(client);
        client.send(GET).await;
        clients.push(client);
    }
    for (nth, mut client) in clients.into_iter().enumerate() {
        client.read_until("\r\n\r\nx").await;
        let expected_ms = 100 * (1 + nth as u64 / 2);
        let took_ms = began.elapsed().as_millis() as u64;
        assert!((expected_ms..=expected_ms + 5).contains(&took_ms), "{nth}: {took_ms} ms");
    }
    let worked = upstream.until(|log| log.worked.len() == 6).await.worked;
    for (nth, work) in worked.iter().enumerate() {
        let expected_ms = 100 * (nth as u64 / 2);
        let from_ms = (work.from - began).as_millis() as u64;
        assert!((expected_ms..=expected_ms + 5).contains(&from_ms), "{nth}: from {from_ms} ms");
        let took_ms = (work.to - work.from).as_millis();
        assert!((100..=105).contains(&took_ms), "{nth}: {took_ms} ms");
    }
    let mut numbers: Vec<_> = worked.iter().map(|work| work.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_upstream_that_is_dropped_is_gone() {
    let upstream = Upstream::http1(|_| Reply::hold());
    let mainstay_proxy::stream::Plain::Memory(near) = upstream.dial()().unwrap() else { panic!("in memory") };
    let (address, mut client) = (upstream.address, connect(upstream.address).await);
    client.write_all(GET.as_bytes()).await.unwrap();
    upstream.requests(1).await;
    drop(upstream);
    assert_eq!(rest(&mut client).await.0, "");
    assert_eq!(Peer(near).read_to_end().await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

/// A client of the library, and the end of its connection.
async fn h2_client(
    upstream: &Upstream,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (client, connection) = h2::client::handshake(connect(upstream.address).await).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn send(client: &mut SendRequest<Bytes>, path: &str, body: &'static str) -> ResponseFuture {
    let mut ready = client.clone().ready().await.unwrap();
    let request = Request::post(format!("http://a{path}")).body(()).unwrap();
    let (answer, mut stream) = ready.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body.into(), true).unwrap();
    }
    answer
}

/// Status and body, or the code of the error.
async fn outcome(answer: ResponseFuture) -> Result<(u16, String), u32> {
    let code = |error: h2::Error| error.reason().map_or(u32::MAX, u32::from);
    let answer = timeout(GUARD, answer).await.expect("an answer").map_err(code)?;
    let (status, mut body, mut seen) = (answer.status().as_u16(), answer.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        seen.extend(data.map_err(code)?);
    }
    Ok((status, String::from_utf8(seen).unwrap()))
}

#[tokio::test]
async fn streams_are_refused_reset_and_answered_as_the_script_says() {
    let rows = [
        (Reply::refused_stream(), Err(7)),
        (Reply::reset_stream(11), Err(11)),
        (Reply::reset(), Err(2)),
        (Reply::ok("answer").reset_at(3), Err(2)),
        (Reply::ok("answer").header("x-name", "value"), Ok((200, "answer".to_owned()))),
        (Reply::status(503), Ok((503, String::new()))),
    ];
    let expected = rows.clone().map(|(_, expected)| expected);
    let upstream = Upstream::http2(move |request| rows[request.number].0.clone());
    let (mut client, _connection) = h2_client(&upstream).await;
    for (number, expected) in expected.into_iter().enumerate() {
        let answer = send(&mut client, "/a?b", "body").await;
        assert_eq!(outcome(answer).await, expected, "{number}");
    }
    let log = upstream.log();
    let last = &log.requests[5];
    assert_eq!((last.connection, last.nth, &*last.method, &*last.path), (0, 6, "POST", "/a?b"));
    assert!(last.body == b"body" && last.is_whole);
    assert_eq!(log.answered, [4, 5]);
}

#[tokio::test]
async fn a_goaway_excludes_its_own_stream_and_spares_earlier_ones() {
    let gate = Gate::new();
    let held = Reply::ok("held").after(&gate);
    let upstream =
        Upstream::http2(move |request| if request.nth == 1 { held.clone() } else { Reply::go_away() });
    let (mut client, _connection) = h2_client(&upstream).await;
    let first = send(&mut client, "/first", "").await;
    upstream.requests(1).await;
    let second = send(&mut client, "/second", "").await;
    let error = timeout(GUARD, second).await.expect("an end").unwrap_err();
    assert!(
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR),
        "{error:?}"
    );
    gate.open();
    assert_eq!(outcome(first).await, Ok((200, "held".to_owned())));
    assert_eq!(upstream.log().answered, [0]);
}

#[tokio::test]
async fn a_connection_is_closed_in_good_order_after_an_answer() {
    let upstream = Upstream::http2(|_| Reply::ok("last").then_close());
    let (mut client, connection) = h2_client(&upstream).await;
    let answer = send(&mut client, "/x", "").await;
    assert_eq!(outcome(answer).await, Ok((200, "last".to_owned())));
    timeout(GUARD, connection).await.expect("an end").unwrap().unwrap();
    upstream.until(|log| log.closed == [0]).await;
}

#[tokio::test]
async fn a_client_that_gives_a_stream_up_is_noticed() {
    let gate = Gate::new();
    let rows = [Reply::hold(), Reply::ok("x").after(&gate), Reply::ok("x").pause_at(0, &gate), Reply::hold()];
    let upstream = Upstream::http2(move |request| rows[request.number].clone());
    let (mut client, connection) = h2_client(&upstream).await;
    for number in 0..3 {
        let answer = send(&mut client, "/x", "").await;
        upstream.requests(number + 1).await;
        drop(answer);
        upstream.until(|log| log.cancelled.contains(&number)).await;
    }
    // With its connection.
    let _answer = send(&mut client, "/x", "").await;
    upstream.requests(4).await;
    connection.abort();
    let log = upstream.until(|log| log.closed == [0]).await;
    assert_eq!((log.cancelled, log.answered), (vec![0, 1, 2, 3], vec![]));
}

#[tokio::test]
async fn health_is_told_as_grpc_asks() {
    let upstream = Upstream::http2(|request| Reply::grpc_health(request.nth == 1));
    let (mut client, _connection) = h2_client(&upstream).await;
    for status in [1, 2] {
        let answer = send(&mut client, "/grpc.health.v1.Health/Check", "\0\0\0\0\0").await.await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap()[..], [0, 0, 0, 0, 2, 8, status]);
        while body.data().await.is_some() {}
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
}
