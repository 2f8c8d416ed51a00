//! What can be wrong with a connection to an upstream, over real sockets: each fault has its own answer, and nothing is left of
//! it afterwards.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use futures_util::future::join_all;
use mainstay_testkit::fault::{Arrival, Cut, FaultProxy, Faults, Way};
use mainstay_testkit::upstream::{Gate, Reply, Upstream};

use super::causes::{Owed, is_owed};
use super::sockets::{Faulty, ONCE, World, get, post, text};
use crate::setup::{Client, serving, until};

/// How something goes wrong.
type Breaks = fn(&Faulty);

const REFUSED: Owed = (502, "upstream_refused", "connection_refused", false);
const RESET: Owed = (502, "upstream_reset", "connection_terminated", false);
const MALFORMED: Owed = (502, "upstream_malformed", "http_protocol_error", false);
const TOO_LARGE: Owed = (502, "upstream_too_large", "http_response_header_section_size", false);
const NO_CONNECTION: Owed = (504, "upstream_connect_timeout", "connection_timeout", false);
const TIMEOUT: Owed = (504, "upstream_timeout", "http_response_timeout", false);

fn arrives(arrival: Arrival) -> Faults {
    Faults { arrival, ..Faults::default() }
}

fn says(faulty: &Faulty, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    faulty.upstream.script(move |_| Reply::raw(bytes.clone()));
}

/// The safe and the unsafe request meet the same fault, each with an engine of its own; all of them at the same time.
async fn each_is_owed(path: &str, rows: &[(&str, Breaks, Owed)]) {
    let requests = [get(path), post(path)];
    let all = rows.iter().flat_map(|row| requests.iter().map(move |request| (row, request)));
    let each = all.map(|((name, breaks, owed), request)| async move {
        let faulty = Faulty::start(ONCE).await;
        breaks(&faulty);
        let answer = faulty.world.ask(request).await;
        is_owed(&answer, *owed);
        assert!(faulty.upstream.log().requests.len() <= 1, "{name}: it was sent twice");
        faulty.recovers().await;
    });
    join_all(each).await;
}

/// TLS that fails, or never comes about, is told as such, and leaves as little behind as any other connection.
#[tokio::test]
async fn tls_that_fails_or_never_comes_about() {
    let tls: Owed = (502, "upstream_tls", "tls_protocol_error", false);
    let rows: [(&str, Faults, Owed); 4] = [
        ("nothing but silence from what speaks no TLS", Faults::default(), NO_CONNECTION),
        ("reset in the handshake", Faults::cut_request(40, Cut::Reset), tls),
        ("closed in the handshake", Faults::cut_request(40, Cut::Close), tls),
        ("silence", Faults::blackhole(), NO_CONNECTION),
    ];
    for (name, faults, owed) in rows {
        let upstream = Upstream::http1(|_| Reply::ok("ok"));
        let network = FaultProxy::start(upstream.address);
        network.set(faults);
        let over_tls = text(&[network.address], ONCE).replace("\"http://", "\"https://");
        let world = World::start(&over_tls).await;
        for request in [get("/v1/quick/x"), post("/v1/quick/x")] {
            let answer = world.ask(&request).await;
            assert!(answer.contains(owed.1), "{name}: {answer}");
            is_owed(&answer, owed);
        }
        assert_eq!(upstream.log().requests.len(), 0, "{name}");
        network.clear();
        world.nothing_left(&[&network]).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn no_connection_or_one_that_breaks_before_the_answer() {
    let rows: [(&str, Breaks, Owed); 6] = [
        ("refused", |f| f.network.refuse(), REFUSED),
        ("closed on arrival", |f| f.network.set(arrives(Arrival::Close)), RESET),
        ("reset before the head", |f| f.network.set(Faults::cut_answer(0, Cut::Reset)), RESET),
        ("reset in the head", |f| f.network.set(Faults::cut_answer(20, Cut::Reset)), RESET),
        ("closed in the head", |f| f.network.set(Faults::cut_answer(20, Cut::Close)), RESET),
        ("half-closed in the head", |f| f.network.set(Faults::cut_answer(20, Cut::HalfClose)), RESET),
    ];
    each_is_owed("/v1/x", &rows).await;
}

/// Whether the reset comes before the connection is seen to stand is nobody's choice. It is refused then, and not unreachable.
#[tokio::test]
async fn a_connection_that_is_reset_on_arrival() {
    for request in [get("/v1/x"), post("/v1/x")] {
        for _ in 0..5 {
            let faulty = Faulty::start(ONCE).await;
            faulty.network.set(arrives(Arrival::Reset));
            let answer = faulty.world.ask(&request).await;
            is_owed(&answer, if answer.contains("\"upstream_refused\"") { REFUSED } else { RESET });
            assert_eq!(faulty.upstream.log().requests.len(), 0);
            faulty.recovers().await;
        }
    }
}

#[tokio::test]
async fn answers_that_are_none() {
    let rows: [(&str, Breaks, Owed); 7] = [
        ("garbage", |f| f.network.set(Faults::cut_answer(0, garbage())), MALFORMED),
        ("garbage in the head", |f| f.network.set(Faults::cut_answer(17, garbage())), MALFORMED),
        (
            "two lengths",
            |f| says(f, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"),
            MALFORMED,
        ),
        ("a negative length", |f| says(f, "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"), MALFORMED),
        ("a length beside chunks", |f| says(f, BOTH), MALFORMED),
        (
            "a head that is too large",
            |f| says(f, format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(1 << 20))),
            TOO_LARGE,
        ),
        ("interim answers without end", |f| says(f, "HTTP/1.1 103 X\r\n\r\n".repeat(10_000)), MALFORMED),
    ];
    each_is_owed("/v1/x", &rows).await;
}

const BOTH: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

fn garbage() -> Cut {
    Cut::Garbage(b"\x16\x03\x01 no answer\r\n\r\n".to_vec())
}

/// A full backlog is what a blackhole looks like before a connection stands; the others let it stand.
#[tokio::test]
async fn answers_that_come_too_late() {
    let rows: [(&str, Breaks, Owed); 5] = [
        ("a blackhole for handshakes", |f| f.network.fill_backlog(), NO_CONNECTION),
        ("accepted, then silence", |f| f.network.set(Faults::blackhole()), TIMEOUT),
        ("no answer", |f| f.upstream.script(|_| Reply::hold()), TIMEOUT),
        ("a minute late", |f| f.network.set(Faults::slow(Duration::from_secs(60))), TIMEOUT),
        (
            "a byte a second",
            |f| f.network.set(Faults { to_client: trickling(), ..Faults::default() }),
            TIMEOUT,
        ),
    ];
    each_is_owed("/v1/quick/x", &rows).await;
}

fn trickling() -> Way {
    Way { bytes_per_s: Some(1), ..Way::default() }
}

/// What has begun to reach the client ends for it as it ended for the engine: visibly too early.
#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
    let at = (whole.len() - 6) as u64;
    for cut in [Cut::Reset, Cut::Close, Cut::HalfClose] {
        let faulty = Faulty::start(ONCE).await;
        says(&faulty, whole);
        faulty.network.set(Faults::cut_answer(at, cut.clone()));
        let answer = faulty.world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-length: 10\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n0123") || answer.ends_with("\r\n\r\n"), "{cut:?}: {answer}");
        assert_eq!(faulty.upstream.log().requests.len(), 1, "{cut:?}");
        faulty.recovers().await;
    }
    // Chunks that stop, or that are followed by something else.
    for rest in ["", "x\r\n", "5\r\nhe"] {
        let faulty = Faulty::start(ONCE).await;
        says(&faulty, format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n{rest}"));
        let answer = faulty.world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("0\r\n\r\n"), "{rest:?}: {answer}");
        faulty.recovers().await;
    }
}

/// One that is longer than what comes ends too early; one that is shorter ends there, and the rest is nobody's answer.
#[tokio::test]
async fn a_wrong_length_is_nobody_elses_trouble() {
    let faulty = Faulty::start(ONCE).await;
    says(&faulty, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort");
    let answer = faulty.world.get("/v1/x").await;
    assert!(answer.ends_with("\r\n\r\nshort"), "{answer}");
    faulty.recovers().await;

    let faulty = Faulty::start(ONCE).await;
    says(
        &faulty,
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    );
    for _ in 0..10 {
        let answer = faulty.world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }
    assert_eq!(faulty.upstream.log().opened, 10, "no such connection serves twice");
    faulty.recovers().await;
}

/// The end of an answer that has no length is the end of its connection. While that does not come, `idle` ends it, and not
/// as if it were whole.
#[tokio::test]
async fn a_connection_that_does_not_close_does_not_hold_its_client() {
    let late = Way { close_delay: Duration::from_secs(60), ..Way::default() };
    let faulty = Faulty::start(ONCE).await;
    says(&faulty, "HTTP/1.1 200 OK\r\n\r\nall there is");
    faulty.network.set(Faults { to_client: late, ..Faults::default() });
    let answer = faulty.world.get("/v1/quick/x").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("all there is"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    faulty.recovers().await;
}

/// The client of an answer that comes a byte a second leaves, and so does the engine.
#[tokio::test]
async fn an_answer_that_trickles_is_passed_on_and_let_go_of_with_its_client() {
    let gate = Gate::new();
    let faulty = Faulty::start(ONCE).await;
    let (held, body) = (gate.clone(), "a".repeat(10_000));
    faulty.upstream.script(move |_| Reply::ok(body.clone()).pause_at(1, &held));
    let mut client = Client::connect(faulty.world.setup.address()).await;
    client.send_get("/v1/x").await;
    client.until("\r\n\r\na").await;
    faulty.network.set(Faults { to_client: trickling(), ..Faults::default() });
    gate.open();
    client.until("a").await;
    drop(client);
    // The rest would take hours.
    until("the request is let go of", || faulty.world.setup.metric("mainstay_upstream_in_flight") == 0.0)
        .await;
    faulty.recovers().await;
}

/// What never ends is read to a bound and no further: the upstream finds that nobody listens.
#[tokio::test]
async fn heads_and_trailers_without_end_are_left() {
    let begins = [
        ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 502 ", "x-field: value\r\n"),
        ("HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 502 ", "value"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
            "HTTP/1.1 200 ",
            "x-field: value\r\n",
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n1;x=", "HTTP/1.1 200 ", "value"),
    ];
    for (begin, status, more) in begins {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let address = serving(move |_, mut stream: TcpStream| {
            let mut said = stream.write_all(begin.as_bytes());
            while said.is_ok() {
                said = stream.write_all(more.as_bytes());
            }
            tell.send(()).unwrap();
        });
        let world = World::start(&text(&[address], ONCE)).await;
        let answer = world.get("/v1/x").await;
        assert!(answer.starts_with(status), "{begin:?}: {answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{begin:?}: {answer}");
        until("the upstream is left", || told.try_recv().is_ok()).await;
        world.nothing_left(&[]).await;
        world.stop().await;
    }
}

/// No handshake comes about at one of two endpoints: whatever the method, the other one has the request.
#[tokio::test]
async fn a_blackhole_for_handshakes_is_gone_around() {
    let (lost, fine) = (Faulty::start(ONCE).await, Upstream::http1(|_| Reply::ok("ok")));
    lost.network.fill_backlog();
    let keys = format!("{}, balance: round_robin, eject: off", super::sockets::RETRIES);
    let world = World::start(&text(&[lost.network.address, fine.address], &keys)).await;
    world.until_budget(8.0).await;
    for _ in 0..2 {
        for request in [get("/v1/quick/x"), post("/v1/quick/x")] {
            let answer = world.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    assert_eq!(fine.log().requests.len(), 4);
    assert_eq!(world.setup.metric("mainstay_retries_total cause=\"connect\""), 2.0);
    world.nothing_left(&[]).await;
    world.stop().await;
    lost.recovers().await;
}
