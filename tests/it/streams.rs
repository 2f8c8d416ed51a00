//! Bodies on their way: events pass one by one, nobody is sent more than he takes, old clients can tell where an answer
//! ends.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, WINDOW_UPDATE, block, frame, get};
use crate::setup::{ByHand, Client, Config, GUARD, Setup, payments, read_head, serving, serving_h2};

/// A while without a byte taken counts as full. On a slow machine that is too soon, and never too late.
const FULL_AFTER: Duration = Duration::from_millis(500);

/// The text of a stream's DATA so far, until it contains `wanted`.
async fn data_until(client: &mut Frames, wanted: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(wanted) {
        let next = client.next().await.expect("the connection stands");
        if next.kind == DATA {
            seen.push_str(&String::from_utf8_lossy(&next.payload));
        }
    }
    seen
}

#[tokio::test]
async fn an_event_does_not_wait_for_the_next_one() {
    const FIRST: &str = "data: 1\n\n";
    const SECOND: &str = "data: 2\n\n";
    for upstream in ["", ", protocol: h2"] {
        // The upstream holds the second event back until the client has the first.
        let (seen, wait_until_seen) = mpsc::channel::<()>(1);
        let wait_until_seen = std::sync::Arc::new(tokio::sync::Mutex::new(wait_until_seen));
        let address = if upstream.is_empty() {
            serving(move |_, mut stream| {
                while read_head(&mut stream).is_some() {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                    stream.write_all(format!("{head}9\r\n{FIRST}\r\n").as_bytes()).unwrap();
                    wait_until_seen.blocking_lock().blocking_recv().unwrap();
                    stream.write_all(format!("9\r\n{SECOND}\r\n0\r\n\r\n").as_bytes()).unwrap();
                }
            })
        } else {
            serving_h2(None, move |_, _, mut body| {
                let wait_until_seen = std::sync::Arc::clone(&wait_until_seen);
                async move {
                    body.send_data(Bytes::from_static(FIRST.as_bytes()), false).unwrap();
                    wait_until_seen.lock().await.recv().await.unwrap();
                    body.send_data(Bytes::from_static(SECOND.as_bytes()), true).unwrap();
                }
            })
            .await
        };
        let setup = Setup::start(&Config { upstream, ..Config::default() }, address).await;
        let mut client = Client::connect(setup.address()).await;
        client.send_get("/v1/x").await;
        let so_far = client.until(FIRST).await;
        assert!(
            so_far.contains("content-type: text/event-stream") && !so_far.contains("content-length"),
            "{so_far}"
        );
        seen.send(()).await.unwrap();
        client.until(SECOND).await;
        client.until("0\r\n\r\n").await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        client.send(&get(1, "/v1/x")).await;
        data_until(&mut client, FIRST).await;
        seen.send(()).await.unwrap();
        data_until(&mut client, SECOND).await;
        setup.engine.stop().await;
    }
}

/// Far more than four socket buffers and every window hold, and far below what is sent.
const BOUND: usize = WHOLE / 2;
const WHOLE: usize = 256 << 20;

/// Writes an answer of [`WHOLE`] bytes until nothing is taken any more, and tells how much was.
async fn endless_upstream(is_h2: bool, taken: mpsc::Sender<usize>) -> SocketAddr {
    if is_h2 {
        return serving_h2(None, move |_, _, mut body| {
            let taken = taken.clone();
            async move {
                let mut sent = 0;
                while sent < WHOLE {
                    body.reserve_capacity(1 << 16);
                    let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
                    let Ok(Some(Ok(room))) = tokio::time::timeout(FULL_AFTER, room).await else { break };
                    body.send_data(Bytes::from(vec![b'x'; room]), false).unwrap();
                    sent += room;
                }
                taken.send(sent).await.unwrap();
                std::future::pending::<()>().await;
            }
        })
        .await;
    }
    serving(move |_, mut stream| {
        read_head(&mut stream).unwrap();
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n").as_bytes()).unwrap();
        stream.set_write_timeout(Some(FULL_AFTER)).unwrap();
        let (piece, mut sent) = ([b'x'; 1 << 16], 0);
        while sent < WHOLE
            && let Ok(n) = stream.write(&piece)
        {
            sent += n;
        }
        taken.blocking_send(sent).unwrap();
        // Keeps the connection until the engine lets go of it.
        read_head(&mut stream);
    })
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_its_upstream_over_every_protocol() {
    for (client_is_h2, upstream_is_h2) in [(false, true), (true, false), (true, true)] {
        let (tell, mut taken) = mpsc::channel(1);
        let address = endless_upstream(upstream_is_h2, tell).await;
        let upstream = if upstream_is_h2 { ", protocol: h2" } else { "" };
        let setup = Setup::start(&Config { upstream, ..Config::default() }, address).await;
        let (mut h1, mut h2);
        if client_is_h2 {
            h2 = Frames::connect(setup.address(), &[]).await;
            h2.send(&get(1, "/v1/x")).await;
        } else {
            h1 = Client::connect(setup.address()).await;
            h1.send_get("/v1/x").await;
        }
        let taken =
            tokio::time::timeout(GUARD, taken.recv()).await.expect("the upstream is held up").unwrap();
        assert!(taken < BOUND, "{client_is_h2} {upstream_is_h2}: {taken} bytes");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_up_its_client() {
    for upstream in ["", ", protocol: h2"] {
        let address = if upstream.is_empty() {
            serving(|_, mut stream| {
                read_head(&mut stream);
                std::thread::park();
            })
        } else {
            serving_h2(None, |_, unread, body| async move {
                std::future::pending::<()>().await;
                drop((unread, body));
            })
            .await
        };
        let operation = "body: 1GiB, timeouts: off";
        let setup = Setup::start(&Config { upstream, operation, ..Config::default() }, address).await;
        let mut client = Client::connect(setup.address()).await;
        client.send(&format!("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: {WHOLE}\r\n\r\n")).await;
        let (piece, mut sent) = ([b'x'; 1 << 16], 0);
        while sent < WHOLE {
            let writing = tokio::io::AsyncWriteExt::write(&mut client.0, &piece);
            let Ok(written) = tokio::time::timeout(FULL_AFTER, writing).await else { break };
            sent += written.unwrap();
        }
        assert!(sent < BOUND, "{upstream} {sent} bytes");

        // Over HTTP/2 the window says it: what is not taken is not granted again.
        let mut client = Frames::connect(setup.address(), &[]).await;
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&post))).await;
        let (mut granted, mut sent) = (65_535, 0);
        while sent < WHOLE {
            while granted >= 16_384 {
                client.send(&frame(DATA, 0, 1, &piece[..16_384])).await;
                granted -= 16_384;
                sent += 16_384;
            }
            let Ok(next) = tokio::time::timeout(FULL_AFTER, client.next()).await else { break };
            let next = next.expect("the connection stands");
            if next.kind == WINDOW_UPDATE && next.stream == 1 {
                granted += u32::from_be_bytes(next.payload.try_into().unwrap()) as usize;
            }
        }
        assert!(sent < BOUND, "{upstream} {sent} bytes over HTTP/2");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn chunks_pass_whole_and_what_stands_beside_them_does_not() {
    for upstream in ["", ", protocol: h2"] {
        let service = payments();
        let setup = Setup::start(&Config { upstream, ..Config::default() }, service.addr).await;
        let head = "POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nTrailer: x-consumer-id\r\nTransfer-Encoding: chunked";
        let body = "4;ext=\"a;b\"\r\nsome\r\n1;x\r\n-\r\n4\r\nbody\r\n0;last\r\nX-Consumer-Id: root\r\nContent-Length: 3\r\n\r\n";
        let answer = setup.exchange(&format!("{head}\r\n\r\n{body}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"some-body\""),
            "{upstream} {answer}"
        );
        for gone in ["root", "x-consumer-id", "ext", "\"te\""] {
            assert!(!answer.contains(gone), "{upstream} {gone}\n{answer}");
        }
        assert!(answer.contains("\"trailers\":null"), "{answer}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn fields_behind_an_answer_do_not_pass() {
    for upstream in ["", ", protocol: h2"] {
        let address = if upstream.is_empty() {
            serving(|_, mut stream| {
                while read_head(&mut stream).is_some() {
                    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-late\r\n\r\n2\r\nok\r\n0\r\n\
                                  x-late: 1\r\naccess-control-allow-origin: *\r\n\r\n";
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            })
        } else {
            serving_h2(None, |_, _, mut body| async move {
                body.send_data(Bytes::from_static(b"ok"), false).unwrap();
                let late = [("x-late", "1"), ("access-control-allow-origin", "*")];
                let late = late.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
                body.send_trailers(http::HeaderMap::from_iter(late)).unwrap();
            })
            .await
        };
        let setup = Setup::start(&Config { upstream, ..Config::default() }, address).await;
        let answer = setup.get("/v1/x").await;
        assert!(answer.ends_with("ok\r\n0\r\n\r\n") && !answer.contains("late"), "{upstream} {answer}");
        let mut client = Frames::connect(setup.address(), &[]).await;
        client.send(&get(1, "/v1/x")).await;
        let (mut heads, mut ended) = (0, false);
        while !ended {
            let next = client.next().await.expect("the connection stands");
            heads += u32::from(next.stream == 1 && next.kind == HEADERS);
            ended = next.stream == 1 && next.flags & END_STREAM != 0;
        }
        assert_eq!(heads, 1, "{upstream}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn metadata_behind_a_call_passes_but_for_what_could_be_taken_for_more() {
    let address = serving_h2(None, |_, _, mut body| async move {
        body.send_data(Bytes::from_static(b"\0\0\0\0\x02ok"), false).unwrap();
        let late =
            [("grpc-status", "5"), ("grpc-message", "gone"), ("retry-info-bin", "AA"), ("x-user-id", "root")];
        let late = late.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        body.send_trailers(http::HeaderMap::from_iter(late)).unwrap();
    })
    .await;
    let setup = Setup::start(&Config { upstream: ", protocol: h2", ..Config::default() }, address).await;
    let tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let call = http::Request::post("http://a/v1/pay.Pay/Send")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, _) = client.send_request(call.body(()).unwrap(), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let message = body.data().await.unwrap().unwrap();
    assert_eq!(message, &b"\0\0\0\0\x02ok"[..]);
    body.flow_control().release_capacity(message.len()).unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().expect("trailers");
    assert_eq!(trailers["grpc-status"], "5");
    assert_eq!(trailers["grpc-message"], "gone");
    assert_eq!(trailers["retry-info-bin"], "AA");
    assert!(!trailers.contains_key("x-user-id"));
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_can_tell_where_its_answer_ends() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    // Of unknown length: until the connection closes, never in chunks.
    let answer = setup.exchange("GET /v1/chunks/3/1000 HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    assert_eq!(body.len(), 3000);
    // It closes unless the client asks to keep it, which an answer of known length allows.
    let answer = setup.exchange("GET /v1/bytes/10 HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("connection: close") && answer.contains("content-length: 10\r\n"), "{answer}");
    let mut client = Client::connect(setup.address()).await;
    for _ in 0..2 {
        client.send("GET /v1/bytes/10 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = client.answer().await;
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    }
    client.send("GET /v1/chunks/3/1000 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(rest.contains("connection: close") && rest.len() > 3000, "{rest:.300}");
    setup.engine.stop().await;

    // No interim response, which such a client would take for the answer. Its body is waited for once the head is out.
    let mut upstream = ByHand::start();
    let setup = Setup::start(&Config::default(), upstream.address).await;
    let mut client = Client::connect(setup.address()).await;
    client.send("POST /v1/x HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    let asked = upstream.asked().await;
    assert!(asked.head.contains("via: 1.0 mainstay"), "{}", asked.head);
    client.send("hi").await;
    asked.ok();
    assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}

/// The upstream is asked in HTTP/1.1 whatever the client speaks, with the body framed as it came.
#[tokio::test]
async fn a_body_keeps_its_framing_on_its_way() {
    let mut upstream = ByHand::start();
    let setup = Setup::start(&Config::default(), upstream.address).await;
    let rows = [
        ("GET /v1/x HTTP/1.0\r\nHost: a\r\n\r\n", "GET /v1/x HTTP/1.1", None),
        ("DELETE /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /v1/x HTTP/1.1", None),
        ("POST /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "POST /v1/x HTTP/1.1", Some("content-length: 0")),
    ];
    for (request, line, framing) in rows {
        let mut client = Client::connect(setup.address()).await;
        client.send(request).await;
        let asked = upstream.asked().await;
        assert!(asked.head.starts_with(line), "{}", asked.head);
        let framed =
            asked.head.lines().find(|l| l.starts_with("content-length") || l.starts_with("transfer-"));
        assert_eq!(framed, framing, "{}", asked.head);
        asked.ok();
        assert!(client.answer().await.ends_with("ok"));
    }
    let mut client = Frames::connect(setup.address(), &[]).await;
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&post))).await;
    let asked = upstream.asked().await;
    assert!(asked.head.contains("\r\ntransfer-encoding: chunked\r\n"), "{}", asked.head);
    client.send(&frame(DATA, END_STREAM, 1, b"")).await;
    drop(asked);
    setup.engine.stop().await;
}
