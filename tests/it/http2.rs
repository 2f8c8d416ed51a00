//! HTTP/2 of clients: what is refused, what is bounded, and what has begun is finished here as well.

use std::io::Write;
use std::sync::mpsc::sync_channel;

use mainstay_testkit::upstream::{Reply, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Ended, Frames, GOAWAY, HEADERS, INITIAL_WINDOW, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use crate::setup::{
    ByHand, Client, Config, GUARD, Setup, blocking, payments, read_all, read_until, scripted, serving_h2,
    until,
};

const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn fields_that_say_two_things_never_reach_the_upstream() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let target = [(":method", "GET"), (":scheme", "http"), (":path", "/v1/echo")];
    let authority = (":authority", "a");
    let with = |more: &[(&'static str, &'static str)]| [&target[..], more].concat();
    let refused: &[(&[_], &str)] = &[
        (&[authority, ("host", "b")], "bad_host"),
        (&[authority, ("host", "a"), ("host", "a")], "bad_host"),
        (&[], "bad_host"),
        (&[(":authority", "a b")], ""),
        (&[(":authority", "user@a")], ""),
        (&[authority, ("content-l\"ngth", "2")], "malformed_request"),
        (&[authority, ("x", " a")], "malformed_request"),
        (&[authority, ("x", "a ")], "malformed_request"),
        (&[authority, ("x", "\ta")], "malformed_request"),
        (&[authority, ("x", "a\t")], "malformed_request"),
    ];
    let mut client = Frames::connect(setup.address(), &[]).await;
    let mut stream = 1;
    for (more, code) in refused {
        let ended = client.ask(stream, &with(more)).await;
        match &ended {
            Ended::Answered(false, body) => assert!(body.contains(code), "{more:?} {body}"),
            Ended::Reset(PROTOCOL_ERROR) => assert_eq!(*code, "", "{more:?}"),
            _ => panic!("{more:?} {ended:?}"),
        }
        stream += 2;
    }
    let malformed = [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("Upper", "x"),
        ("a b", "x"),
        ("a:b", "x"),
        ("", "x"),
        ("x", "a\r\nb: c"),
        ("x", "a\0b"),
        (":path", "/v1/other"),
        (":unknown", "x"),
    ];
    for field in malformed {
        // Some are errors of the connection, which is then gone.
        let mut client = Frames::connect(setup.address(), &[]).await;
        let ended = client.ask(1, &with(&[authority, field])).await;
        let is_refused = matches!(ended, Ended::Reset(PROTOCOL_ERROR))
            || ended == Ended::Gone && !client.goaways.is_empty();
        assert!(is_refused, "{field:?} {ended:?}");
    }
    assert_eq!(service.stats().requests_total(), 0);
    let ended = client.ask(stream, &with(&[authority, ("host", "A"), ("te", "trailers")])).await;
    assert!(matches!(ended, Ended::Answered(true, _)), "{ended:?}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn heads_that_http_1_refuses_are_refused() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let long = "M".repeat(33);
    let post = |method, more: (&'static str, &'static str)| {
        [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/v1/echo"), more]
    };
    let rows = [
        (post("POST", ("expect", "tea")), "expectation_failed"),
        (post("POST", ("expect", "100-continue, tea")), "expectation_failed"),
        (post(&long, ("x", "y")), "not_implemented"),
    ];
    let mut client = Frames::connect(setup.address(), &[]).await;
    for (n, (head, code)) in rows.iter().enumerate() {
        let ended = client.ask(1 + 2 * n as u32, head).await;
        assert!(ended.refusal().contains(code), "{head:?} {ended:?}");
    }
    assert_eq!(service.stats().requests_total(), 0);
    let known = client.ask(7, &post("POST", ("expect", "100-Continue"))).await;
    assert!(matches!(known, Ended::Answered(true, _)), "{known:?}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn odd_targets_and_methods_are_refused_like_those_of_http_1() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let ask = |path| [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    let rows = [
        ("/v1/../echo", Some("ambiguous_path")),
        ("/v1/a%2fb", Some("ambiguous_path")),
        ("/v1/\u{e9}", Some("ambiguous_path")),
        ("*", Some("malformed_request")),
        ("v1/echo", None),
        ("", None),
        ("http://b/v1/echo", None),
    ];
    for (path, expected) in rows {
        let mut client = Frames::connect(setup.address(), &[]).await;
        let ended = client.ask(1, &ask(path)).await;
        let code = match &ended {
            Ended::Answered(false, body) => {
                body.split("\"code\":\"").nth(1).and_then(|b| b.split('"').next())
            }
            Ended::Reset(PROTOCOL_ERROR) => None,
            _ => panic!("{path} {ended:?}"),
        };
        assert_eq!(code, expected, "{path}");
    }
    let mut client = Frames::connect(setup.address(), &[]).await;
    let connect = [(":method", "CONNECT"), (":authority", "a:80")];
    assert!(client.ask(1, &connect).await.refusal().contains("not_implemented"));
    let no_path = [(":method", "GET"), (":scheme", "http"), (":authority", "a")];
    assert_eq!(client.ask(3, &no_path).await, Ended::Reset(PROTOCOL_ERROR));
    assert_eq!(service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn heads_over_the_limits_are_told_like_those_of_http_1() {
    let service = payments();
    let server = ", limits: { header_bytes: 8KiB, headers: 20, uri_bytes: 1KiB }";
    let setup = Setup::start(&Config { server, ..Config::default() }, service.addr).await;
    let (short, long_path) = ("/v1/x".to_owned(), format!("/v1/{}", "p".repeat(1024)));
    let (y, half, far) = ("y".to_owned(), "v".repeat(4096), "v".repeat(12_000));
    let rows = [
        (&long_path, vec![], "uri_too_long"),
        (&short, vec![("x", y.as_str()); 21], "headers_too_large"),
        (&short, vec![("x", half.as_str()); 2], "headers_too_large"),
        // What is far over is not even kept, and h2 answers it by itself.
        (&short, vec![("x", far.as_str()); 2], ""),
    ];
    for (path, more, code) in rows {
        let target = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        let mut client = Frames::connect(setup.address(), &[]).await;
        let ended = client.ask(1, &[&target[..], &more].concat()).await;
        let body = ended.refusal();
        assert!(body.contains(code) && body.is_empty() == code.is_empty(), "{code} {body}");
        // The connection goes on.
        assert!(matches!(client.get(3, "/v1/bytes/1").await, Ended::Answered(true, _)));
    }
    assert_eq!(service.stats().requests_total(), 4);
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_scheme_of_nothing_is_refused() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    let head = [(":method", "GET"), (":scheme", ""), (":authority", "a"), (":path", "/v1/echo")];
    let ended = client.ask(1, &head).await;
    assert!(ended.refusal().contains("malformed_request"), "{ended:?}");
    assert_eq!(service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_preface_without_settings_opens_nothing() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let request = get(1, "/v1/bytes/1");
    // At once, and with the octet that matters in a read of its own.
    for cut in [preface.len(), preface.len() + 2, preface.len() + 9] {
        let bytes = [preface, &request[..]].concat();
        let mut stream = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
        stream.write_all(&bytes[..cut]).await.unwrap();
        // What the engine says first shows that it has read so far.
        let mut settings = [0; 9];
        stream.read_exact(&mut settings).await.unwrap_or_default();
        // It may have closed already.
        let _ = stream.write_all(&bytes[cut..]).await;
        let frames = Frames::on(stream).rest().await;
        assert!(!frames.iter().any(|frame| frame.kind == HEADERS), "cut at {cut}");
    }
    assert_eq!(service.stats().requests_total(), 0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn cookies_in_pieces_go_on_in_one_field() {
    let (upstream, head) = scripted(|mut stream| {
        let head = read_until(&mut stream, "\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        head
    });
    let setup = Setup::start(&Config::default(), upstream).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    let target = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
    let cookies = [("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f"), ("cookie", "g=h")];
    let ended = client.ask(1, &[&target[..], &cookies].concat()).await;
    assert!(matches!(ended, Ended::Answered(true, _)), "{ended:?}");
    let head = head.await.unwrap().to_ascii_lowercase();
    assert!(head.contains("\r\ncookie: a=b; c=d; e=f; g=h\r\n"), "{head}");
    assert_eq!(head.matches("cookie").count(), 1, "{head}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_body_must_be_as_long_as_it_says() {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
    let fields = [&fields[..], &[("content-length", "5")]].concat();
    let data = |flags, data: &[u8]| frame(DATA, flags, 1, data);
    let table = [
        ("less", data(END_STREAM, b"hey")),
        ("more", [data(0, b"hello"), data(END_STREAM, b"!")].concat()),
        // More could come at any time.
        ("no end", data(0, b"hello")),
    ];
    for (name, frames) in table {
        let (upstream, received) = scripted(|mut stream| {
            let mut seen = Vec::new();
            let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
            String::from_utf8_lossy(&seen).into_owned()
        });
        let config = Config { server: ", limits: { body_timeout: 200ms }", ..Config::default() };
        let setup = Setup::start(&config, upstream).await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        client.send(&frames).await;
        match client.ended(1).await {
            Ended::Answered(false, body) if name == "no end" => {
                assert!(body.contains("request_timeout"), "{body}");
            }
            Ended::Reset(PROTOCOL_ERROR) if name != "no end" => {}
            other => panic!("{name}: {other:?}"),
        }
        let received = received.await.unwrap();
        let (head, body) = received.split_once("\r\n\r\n").unwrap_or_default();
        let is_cut = received.is_empty() || head.contains("\ncontent-length: 5") && body.len() < 5;
        assert!(is_cut, "{name}: {received}");
        setup.engine.stop().await;
    }
}

/// Whatever else comes between the last byte and the end.
#[tokio::test]
async fn a_body_that_ends_after_its_last_byte_is_whole() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/upload"),
        ("content-length", "5"),
    ];
    let mut client = Frames::connect(setup.address(), &[]).await;
    let data = |id, flags, data: &[u8]| frame(DATA, flags, id, data);
    let trailers = |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("x-sum", "1")]));
    let ends: [&dyn Fn(u32) -> Vec<u8>; 4] = [
        &|id| data(id, END_STREAM, b"lo"),
        &|id| [data(id, 0, b"lo"), data(id, END_STREAM, b"")].concat(),
        &|id| [data(id, 0, b"lo"), data(id, 0, b""), data(id, END_STREAM, b"")].concat(),
        &|id| [data(id, 0, b"lo"), trailers(id)].concat(),
    ];
    for (nth, end) in (0..).zip(ends) {
        let id = 1 + 2 * nth;
        client.send(&frame(HEADERS, END_HEADERS, id, &block(&post))).await;
        client.send(&data(id, 0, b"hel")).await;
        client.send(&end(id)).await;
        let ended = client.ended(id).await;
        assert!(matches!(&ended, Ended::Answered(true, body) if body.contains('5')), "{nth}: {ended:?}");
    }
    setup.engine.stop().await;
}

/// An upstream of HTTP/1 has all of a request of no bytes with its head, so that waits for the end of the stream.
#[tokio::test]
async fn an_empty_body_must_be_empty() {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
    let fields = [&fields[..], &[("content-length", "0")]].concat();
    let data = |flags, data: &[u8]| frame(DATA, flags, 1, data);
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1")]));
    let table = [
        ("more", data(END_STREAM, b"!"), 0),
        ("more, and no end", data(0, b"!"), 0),
        ("no end", Vec::new(), 0),
        ("an end", data(END_STREAM, b""), 1),
        ("an end with trailers", trailers, 1),
    ];
    for (name, frames, requests) in table {
        let upstream = Upstream::http1(|_| Reply::ok("ok"));
        let config = Config { server: ", limits: { body_timeout: 200ms }", ..Config::default() };
        let setup = Setup::start(&config, upstream.address).await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        client.send(&frames).await;
        match client.ended(1).await {
            Ended::Answered(false, body) if name == "no end" => {
                assert!(body.contains("request_timeout"), "{body}");
            }
            Ended::Reset(PROTOCOL_ERROR) if name.starts_with("more") => {}
            Ended::Answered(true, _) if requests == 1 => {}
            other => panic!("{name}: {other:?}"),
        }
        setup.engine.stop().await;
        let heads: Vec<_> = upstream.log().requests.iter().map(|r| format!("{r:?}").to_lowercase()).collect();
        assert_eq!(heads.len(), requests, "{name}: {heads:?}");
    }
}

#[tokio::test]
async fn a_stream_over_the_cap_is_refused_and_fits_again_later() {
    let mut upstream = ByHand::start();
    let setup = Setup::start(&Config::default(), upstream.address).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    let mut held = Vec::new();
    for n in 0..100 {
        client.send(&get(1 + 2 * n, "/v1/x")).await;
        held.push(upstream.asked().await);
    }
    assert_eq!(client.get(201, "/v1/x").await, Ended::Reset(REFUSED_STREAM));
    assert!(upstream.is_quiet());
    held.remove(0).ok();
    assert_eq!(client.ended(1).await, Ended::Answered(true, "ok".into()));
    client.send(&get(203, "/v1/x")).await;
    upstream.asked().await.ok();
    assert_eq!(client.ended(203).await, Ended::Answered(true, "ok".into()));
    setup.engine.stop().await;
}

/// Sends a flood until the engine has ended the connection, and gives the error code of its GOAWAY. Answers of other
/// connections come meanwhile.
async fn flood(setup: &Setup, first: &[u8], next: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let client = Frames::connect(setup.address(), &[]).await;
    let (reading, mut writing) = client.stream.into_split();
    let mut client = Client::connect(setup.address()).await;
    let flooding = async {
        let _ = writing.write_all(first).await;
        for round in 0..200 {
            let bytes: Vec<u8> = (0..500).flat_map(|n| next(round * 500 + n)).collect();
            if writing.write_all(&bytes).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let others = async {
        for _ in 0..20 {
            let answer = client.get("/v1/bytes/1").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    };
    let goaway = async {
        let mut reading = tokio::io::BufReader::new(reading);
        loop {
            let mut head = [0; 9];
            reading.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            reading.read_exact(&mut payload).await.ok()?;
            if head[3] == GOAWAY {
                return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
    };
    let (goaway, (), ()) = tokio::time::timeout(GUARD, async { tokio::join!(goaway, flooding, others) })
        .await
        .expect("the flood ends");
    goaway
}

#[tokio::test]
async fn floods_end_and_hurt_nobody_else() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    // A connection that is closed while much of the flood is unread may end before its GOAWAY is read.
    let is_ended = |goaway: Option<u32>| goaway.is_none_or(|code| code == ENHANCE_YOUR_CALM);
    let id = |n: u32| 1 + 2 * n;
    let rapid_reset =
        |n| [get(id(n), "/v1/bytes/1"), frame(RST_STREAM, 0, id(n), &CANCEL.to_be_bytes())].concat();
    assert!(is_ended(flood(&setup, &[], rapid_reset).await), "rapid reset");
    // The client makes the engine reset its own streams (MadeYouReset).
    let overflow = 0x7fff_ffff_u32.to_be_bytes();
    let made = |n| [get(id(n), "/v1/bytes/1"), frame(WINDOW_UPDATE, 0, id(n), &overflow)].concat();
    assert!(is_ended(flood(&setup, &[], made).await), "resets that the engine is made to send");
    let open = frame(HEADERS, 0, 1, &block(&[(":method", "GET")]));
    let field = block(&[("x", "y")]);
    assert!(is_ended(flood(&setup, &open, |_| frame(CONTINUATION, 0, 1, &field)).await), "continuation");
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/upload")];
    let open = frame(HEADERS, END_HEADERS, 1, &block(&post));
    assert!(is_ended(flood(&setup, &open, |_| frame(DATA, 0, 1, &[])).await), "empty data");
    setup.until_metric("mainstay_floods_total flood=\"streams\"", 4.0).await;
    assert_eq!(setup.event("client_floods").await["flood"], "streams");
    setup.engine.stop().await;
}

/// Each of these has to be answered, and the client does not read: not even a goodbye holds the engine up.
#[tokio::test]
async fn floods_that_want_answers_nobody_reads_are_stopped() {
    let service = payments();
    let config = Config { server: ", limits: { body_timeout: 500ms }", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    for (name, bytes) in [("PING", frame(PING, 0, 0, &[0; 8])), ("SETTINGS", frame(SETTINGS, 0, 0, &[]))] {
        let mut client = Frames::connect(setup.address(), &[]).await;
        let bytes = bytes.repeat(1000);
        let flooding = async { while client.stream.write_all(&bytes).await.is_ok() {} };
        tokio::time::timeout(GUARD, flooding).await.unwrap_or_else(|_| panic!("{name} is not stopped"));
        assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    }
    let none = || setup.engine.handle.shared.connections.load(std::sync::atomic::Ordering::Relaxed) == 0;
    until("no connection", none).await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_client_that_grants_no_window_loses_its_streams_and_holds_up_no_other() {
    let service = payments();
    let server = ", limits: { body_timeout: 1s }";
    let config = Config { server, log: "access.log", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    let mut stalled = Frames::connect(setup.address(), &[(INITIAL_WINDOW, 0)]).await;
    stalled.send(&get(1, "/v1/bytes/3000000")).await;
    // A body of the engine's own counts as well.
    stalled.send(&get(3, "/nowhere")).await;
    service.stats().until(|s| s.in_flight > 0 || s.completed > 0 || s.cut_short > 0).await;
    let mut other = Frames::connect(setup.address(), &[]).await;
    assert!(
        matches!(other.get(1, "/v1/bytes/60000").await, Ended::Answered(true, body) if body.len() == 60_000)
    );
    let mut reset = [stalled.reset().await, stalled.reset().await];
    reset.sort_unstable();
    assert_eq!(reset, [(1, CANCEL), (3, CANCEL)]);
    until("both requests are over", || setup.metric("http_server_active_requests") == 0.0).await;
    let log = setup.log();
    assert_eq!(log.matches("\"aborted\":\"client\"").count(), 2, "{log}");
    // The connection itself is well, and its window can be opened.
    stalled.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
    assert!(matches!(stalled.get(5, "/v1/bytes/10").await, Ended::Answered(true, _)));
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_at_all_loses_its_connection() {
    let service = payments();
    let config = Config { server: ", limits: { body_timeout: 300ms }", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    let all = [(INITIAL_WINDOW, 0x7fff_ffff)];
    let mut client = Frames::connect(setup.address(), &all).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
    for n in 0..4 {
        client.send(&get(1 + 2 * n, "/v1/bytes/50000000")).await;
    }
    service.stats().until(|s| s.in_flight > 0).await;
    let shared = &setup.engine.handle.shared;
    let load = |count: &std::sync::atomic::AtomicUsize| count.load(std::sync::atomic::Ordering::Relaxed);
    until("the connection is given up", || load(&shared.connections) == 0).await;
    until("its requests are over", || load(&shared.requests) == 0).await;
    assert!(
        service.stats().completed() == 0,
        "50 MB were read from the service for a client that reads nothing"
    );
    setup.engine.stop().await;
}

/// Guards against: a connection that was told to go away stayed for ever, because its client answered pings but never took
/// the last bytes.
#[tokio::test]
async fn a_connection_that_was_told_to_go_ends_although_its_client_does_not_take_the_rest() {
    let service = payments();
    let server = ", limits: { body_timeout: 1s, idle_timeout: 300ms }";
    let setup = Setup::start(&Config { server, ..Config::default() }, service.addr).await;
    let mut client = Frames::connect(setup.address(), &[(INITIAL_WINDOW, 1)]).await;
    // One byte of window is enough for the engine's part to be over; the other nine stay behind.
    client.send(&get(1, "/v1/bytes/10")).await;
    let frames = client.rest().await;
    assert!(frames.iter().any(|f| f.kind == GOAWAY));
    assert!(!frames.iter().any(|f| f.kind == DATA && f.flags & END_STREAM != 0));
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_reset_cancels_what_is_safe_and_lets_the_rest_settle() {
    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let (upstream, closed) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        arrived.send(()).unwrap();
        read_all(&mut stream)
    });
    let config = Config { log: "access.log", ..Config::default() };
    let setup = Setup::start(&config, upstream).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    client.send(&get(1, "/v1/x")).await;
    blocking(move || wait_for_arrival.recv().unwrap()).await;
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
    assert_eq!(closed.await.unwrap(), "");
    let record = setup.record("\"GET\"").await;
    assert_eq!(
        (record["status"].as_u64(), record["aborted"].as_str()),
        (Some(499), Some("client")),
        "{record}"
    );
    setup.engine.stop().await;

    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let (left, wait_for_leave) = sync_channel::<()>(1);
    let (upstream, answered) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\nhi");
        arrived.send(()).unwrap();
        wait_for_leave.recv().unwrap();
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")
    });
    let setup = Setup::start(&config, upstream).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/x"),
        ("content-length", "2"),
    ];
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&post))).await;
    client.send(&frame(DATA, END_STREAM, 1, b"hi")).await;
    blocking(move || wait_for_arrival.recv().unwrap()).await;
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
    setup.until_metric("mainstay_settling", 1.0).await;
    left.send(()).unwrap();
    answered.await.unwrap().expect("the connection to the upstream still stands");
    let record = setup.record("\"POST\"").await;
    assert_eq!(
        (record["status"].as_u64(), record["aborted"].as_str()),
        (Some(201), Some("client")),
        "{record}"
    );
    setup.engine.stop().await;
}

#[tokio::test]
async fn drain_and_age_say_goaway_and_what_runs_is_finished() {
    for server in ["", ", limits: { connection_age: 1s }"] {
        let mut upstream = ByHand::start();
        let setup = Setup::start(&Config { server, ..Config::default() }, upstream.address).await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        client.send(&get(1, "/v1/x")).await;
        let asked = upstream.asked().await;
        let Setup { engine, folder: _folder } = setup;
        let mut engine = Some(engine);
        let draining = server.is_empty().then(|| tokio::spawn(engine.take().unwrap().shut_down("test")));
        while let Some(next) = client.next().await
            && next.kind != GOAWAY
        {
            assert_eq!(next.stream, 0);
        }
        asked.ok();
        assert_eq!(client.ended(1).await, Ended::Answered(true, "ok".into()), "{server}");
        assert!(client.rest().await.iter().all(|frame| frame.stream == 0), "{server}");
        match draining {
            Some(draining) => assert!(draining.await.unwrap(), "drained"),
            None => engine.unwrap().stop().await,
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_and_long_ones_pass_in_every_combination() {
    for upstream in ["", ", protocol: h2"] {
        let service = payments();
        let setup = Setup::start(&Config { upstream, ..Config::default() }, service.addr).await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        let Ended::Answered(true, body) = client.get(1, "/v1/bytes/60000").await else {
            panic!("{upstream}")
        };
        assert_eq!(body.len(), 60_000);
        let Ended::Answered(true, body) = client.get(3, "/v1/chunks/5/1000").await else {
            panic!("{upstream}")
        };
        assert_eq!(body.len(), 5_000);
        let head =
            [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/bytes/60000")];
        assert_eq!(client.ask(5, &head).await, Ended::Answered(true, String::new()), "{upstream}");
        // A problem has no body for HEAD either.
        let nowhere = [(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/nowhere")];
        assert_eq!(client.ask(7, &nowhere).await, Ended::Answered(false, String::new()), "{upstream}");
        let answer =
            setup.exchange("HEAD /v1/bytes/60000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{upstream} {answer}");
        assert!(answer.contains("content-length: 60000\r\n"), "{upstream} {answer}");
        let answer = setup.get("/v1/bytes/3000000").await;
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 3_000_000, "{upstream}");
        setup.engine.stop().await;
    }
}

/// The first byte of POST is also that of the preface of HTTP/2.
#[tokio::test]
async fn a_protocol_is_recognised_however_its_bytes_arrive() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let mut client = Client::connect(setup.address()).await;
    client.0.set_nodelay(true).unwrap();
    for byte in
        "POST /v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".split("").filter(|b| !b.is_empty())
    {
        client.send(byte).await;
        tokio::task::yield_now().await;
    }
    assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    let mut client = Client::connect(setup.address()).await;
    client.0.set_nodelay(true).unwrap();
    for byte in "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".split("").filter(|b| !b.is_empty()) {
        client.send(byte).await;
        tokio::task::yield_now().await;
    }
    let mut client = Frames::on(client.0);
    client.send(&frame(SETTINGS, 0, 0, &[])).await;
    assert!(matches!(client.get(1, "/v1/bytes/1").await, Ended::Answered(true, _)));
    // A preface that is none in the end is a malformed request, and has an answer.
    let answer = setup.exchange("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 ") && answer.contains("\"code\":"), "{answer}");
    assert_eq!(service.stats().requests_total(), 2);
    setup.engine.stop().await;
}

/// Invariant 6 towards an HTTP/2 upstream, whose connection carries others as well.
#[tokio::test]
async fn over_an_http_2_upstream_a_stream_is_cancelled_or_settled_and_the_connection_kept() {
    let (tell, mut told) = tokio::sync::mpsc::channel(16);
    let (release, released) = tokio::sync::mpsc::channel::<()>(1);
    let released = std::sync::Arc::new(tokio::sync::Mutex::new(released));
    let upstream = serving_h2(None, move |connection, _, mut body| {
        let (tell, released) = (tell.clone(), std::sync::Arc::clone(&released));
        async move {
            tell.send((connection, None)).await.unwrap();
            let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
            let reset = tokio::select! {
                reset = reset => Some(u32::from(reset.unwrap())),
                () = async { released.lock().await.recv().await.unwrap() } => None,
            };
            if reset.is_none() {
                body.send_data("ok".into(), true).unwrap();
            }
            tell.send((connection, reset)).await.unwrap();
        }
    })
    .await;
    let config = Config { upstream: ", protocol: h2", log: "access.log", ..Config::default() };
    let text = config.text(upstream).replace("workers: 2", "workers: 1");
    let setup = Setup::start_text(&text, mainstay_core::clock::Clock::System).await;
    let mut next =
        async || tokio::time::timeout(GUARD, told.recv()).await.expect("the upstream tells").unwrap();

    let mut leaves = Client::connect(setup.address()).await;
    leaves.send("GET /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: left-a-get\r\n\r\n").await;
    assert_eq!(next().await, (0, None));
    drop(leaves);
    assert_eq!(next().await, (0, Some(CANCEL)));
    assert_eq!(setup.record("left-a-get").await["aborted"], "client");

    let mut leaves = Client::connect(setup.address()).await;
    leaves.send("POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: left-a-post\r\n\r\n").await;
    assert_eq!(next().await, (0, None));
    drop(leaves);
    setup.until_metric("mainstay_settling", 1.0).await;
    release.send(()).await.unwrap();
    assert_eq!(next().await, (0, None), "not reset");
    let record = setup.record("left-a-post").await;
    assert_eq!((&record["status"], &record["aborted"]), (&200.into(), &"client".into()), "{record}");
    assert!(record["trail"].to_string().contains("settle"), "{record}");
    setup.engine.stop().await;
}
