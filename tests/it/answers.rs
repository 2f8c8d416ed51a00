//! What an upstream may answer, byte by byte, and what becomes of it.
//!
//! Each row is bytes and the verdict they are owed by RFC 9112 and RFC 9113, where "malformed" leaves a choice that of this
//! engine: nothing is repaired. A malformed answer is 502, or a transfer that is visibly broken when its head has been
//! passed on. And always: that connection carries nobody else's request, nothing leaks, and the record says why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mainstay_core::clock::Clock;
use mainstay_core::port::Engine;

use crate::frames::{Ended, Frames};
use crate::setup::{Config, OK, Setup, blocking, connect, read_head, serving, until};

/// What an upstream does after it has said its piece.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Waits. What is wrong must show without its going away.
    Stays,
    Closes,
    /// Ends with a reset instead of an orderly close.
    Resets,
    /// Says this again and again, for as long as anybody listens.
    Repeats(&'static [u8]),
}

/// What the client is owed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owed {
    /// 502 with this code; the record has this reason.
    Refused(&'static str, &'static str),
    /// A transfer that is visibly not whole; the record has this reason.
    Broken(&'static str),
    /// A whole answer, with this status and this body.
    Passed(u16, &'static str),
    /// What is wrong came behind the last byte of an answer of 200 whose length was known, so that a client of HTTP/1 has it
    /// whole, with this body, and no more. One of HTTP/2 sees it broken. The record has this reason.
    TooLate(&'static str, &'static str),
}

pub(crate) struct Row {
    pub(crate) method: &'static str,
    /// With 0 where HTTP/2 has the number of the stream.
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
    pub(crate) owed: Owed,
    /// Nothing was wrong with the connection: it may be used again.
    pub(crate) may_go_on: bool,
}

pub(crate) const MALFORMED: &str = "upstream_malformed";
pub(crate) const TOO_LARGE: &str = "upstream_too_large";
pub(crate) const RESET: &str = "upstream_reset";
pub(crate) const CUT_OFF: &str = "closed the connection within its answer";
pub(crate) const NO_ANSWER: &str = "closed before an answer";

pub(crate) fn row(method: &'static str, bytes: impl AsRef<[u8]>, then: Then, owed: Owed) -> Row {
    Row { method, bytes: bytes.as_ref().to_vec(), then, owed, may_go_on: false }
}

/// Bytes that are malformed whether or not more of them come.
fn malformed(bytes: impl AsRef<[u8]>, why: &'static str) -> Row {
    row("GET", bytes, Then::Stays, Owed::Refused(MALFORMED, why))
}

/// A head with fields that make it malformed.
fn fields(fields: &str, why: &'static str) -> Row {
    malformed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nabc"), why)
}

/// A chunked body that goes wrong.
fn chunks(body: impl AsRef<[u8]>, why: &'static str) -> Row {
    row("GET", [CHUNKED, body.as_ref()].concat(), Then::Stays, Owed::Broken(why))
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn status_lines() -> Vec<Row> {
    const BEGINS: &str = "does not begin with HTTP/1.1";
    const STATUS: &str = "not a number from 100 to 599";
    let mut rows = vec![
        malformed("HTTP/1.1 99 X\r\n\r\n", STATUS),
        malformed("HTTP/1.1 099 X\r\n\r\n", STATUS),
        malformed("HTTP/1.1 600 X\r\n\r\n", STATUS),
        malformed("HTTP/1.1  200 OK\r\n\r\n", STATUS),
        malformed("HTTP/1.1 2o0 OK\r\n\r\n", STATUS),
        malformed("HTTP/1.1 1000 X\r\n\r\n", "follows the status"),
        malformed("HTTP/1.1 200OK\r\n\r\n", "follows the status"),
        malformed("HTTP/1.1\r\n\r\n", "no space after the version"),
        malformed("HTTP/1.1 200 OK\ncontent-length: 0\n\n", "bare line feed"),
        malformed("HTTP/1.1 200 O\rK\r\n\r\n", "stands alone"),
        malformed("HTTP/1.1 200 O\0K\r\n\r\n", "control byte"),
    ];
    for bytes in [
        &b"HTTP/2.0 200 OK\r\n\r\n"[..],
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/11 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b" HTTP/1.1 200 OK\r\n\r\n",
        // RFC 9112, 2.2, lets a server pass over an empty line before a request, and nobody before a response.
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        // HTTP/0.9 has no head at all.
        b"<html>hello</html>\n",
        b"220 mail.example.com ESMTP ready\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\0\0",
        // A port that speaks TLS answers plain bytes with an alert; one that speaks HTTP/2 with its settings.
        b"\x15\x03\x03\0\x02\x02\x0a",
        b"\0\0\0\x04\0\0\0\0\0",
    ] {
        rows.push(malformed(bytes, BEGINS));
    }
    rows
}

fn framings() -> Vec<Row> {
    let mut rows = vec![
        fields("Content-Length: 3\r\nTransfer-Encoding: chunked", "together"),
        fields("Transfer-Encoding: chunked\r\nContent-Length: 3", "together"),
        fields("Content-Length: 3\r\nContent-Length: 4", "twice"),
        fields("Content-Length: 3\r\nContent-Length: 3", "twice"),
        fields("Content-Length:", "empty"),
        fields("Content-Length: 18446744073709551616", "2^64"),
        fields("Content_Length: 3", "look-alike"),
        fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "twice"),
        fields("Transfer-Encoding: chunked, chunked", "once"),
    ];
    for value in ["+3", "-1", "3, 3", "3, 4", "3,", "0x3", "1_0", "3 3", "3;", "3.0", "\"3\""] {
        rows.push(fields(&format!("Content-Length: {value}"), "number"));
    }
    for value in ["gzip", "identity", "xchunked", "chunked-x", "gzip, chunked"] {
        rows.push(fields(&format!("Transfer-Encoding: {value}"), "only transfer coding"));
    }
    // Where no body may be, none may be announced (RFC 9112, 6.1; RFC 9110, 8.6).
    for status in [103, 204] {
        for field in ["content-length: 3", "transfer-encoding: chunked"] {
            rows.push(malformed(format!("HTTP/1.1 {status} X\r\n{field}\r\n\r\n"), "without body"));
        }
    }
    rows.push(malformed("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"));
    rows
}

fn field_lines() -> Vec<Row> {
    vec![
        // RFC 9112, 5.2: discard it, or replace the fold. What is repaired here is repaired in another way elsewhere.
        fields("X: a\r\n b", "folded"),
        fields("X: a\r\n\tb", "folded"),
        fields(" X: a", "before the first field"),
        fields("X: a\nY: b", "bare line feed"),
        fields("X: a\rY: b", "stands alone"),
        fields("X: a\r\rY: b", "stands alone"),
        fields("X: a\0b", "NUL"),
        fields("X: a\u{7f}b", "control byte"),
        // RFC 9112, 5.1: a proxy removes it before it forwards the message, which this one does not do at all.
        fields("Content-Length : 3", "before its colon"),
        fields("X Y: a", "whitespace in a field name"),
        fields(": a", "empty name"),
        fields("no colon", "whitespace in a field name"),
        fields("nocolon", "no colon"),
        fields("X[0]: a", "cannot stand in a name"),
        fields("X\u{e9}: a", "cannot stand in a name"),
    ]
}

/// Heads without end, or over the limit, and protocols nobody asked for.
fn heads() -> Vec<Row> {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "a".repeat(40_000));
    let too_long = Owed::Refused(TOO_LARGE, "longer than accepted");
    vec![
        row("GET", long, Then::Stays, too_long),
        row("GET", "HTTP/1.1 200 ", Then::Repeats(b"aaaaaaaaaaaaaaaa"), too_long),
        row("GET", "HTTP/1.1 200 OK\r\nx: ", Then::Repeats(b"aaaaaaaaaaaaaaaa"), too_long),
        row("GET", "HTTP/1.1 200 OK\r\n", Then::Repeats(b"aaaaaaaaaaaaaaaa"), too_long),
        row(
            "GET",
            "HTTP/1.1 200 OK\r\n",
            Then::Repeats(b"a: b\r\n"),
            Owed::Refused(TOO_LARGE, "more header fields"),
        ),
        row(
            "GET",
            "",
            Then::Repeats(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
            Owed::Refused(MALFORMED, "too many interim responses"),
        ),
        row(
            "POST",
            "",
            Then::Repeats(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Owed::Refused(MALFORMED, "too many interim responses"),
        ),
        malformed(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            "nobody asked for",
        ),
        malformed("HTTP/1.1 101 Switching Protocols\r\n\r\n", "nobody asked for"),
        row("GET", "", Then::Closes, Owed::Refused(RESET, NO_ANSWER)),
        row("POST", "", Then::Closes, Owed::Refused(RESET, NO_ANSWER)),
        row("POST", "", Then::Resets, Owed::Refused(RESET, NO_ANSWER)),
        row("GET", "HTTP/1.1 20", Then::Closes, Owed::Refused(RESET, NO_ANSWER)),
        row("POST", "HTTP/1.1 200 OK\r\ncontent-le", Then::Closes, Owed::Refused(RESET, NO_ANSWER)),
        row("GET", "HTTP/1.1 200 OK\r\nx: y\r\n\r", Then::Resets, Owed::Refused(RESET, NO_ANSWER)),
        row("GET", "HTTP/1.1 103 Early Hints\r\n\r\n", Then::Closes, Owed::Refused(RESET, NO_ANSWER)),
    ]
}

fn chunked_bodies() -> Vec<Row> {
    let mut rows = vec![
        chunks("\r\nabc", "size is missing"),
        chunks(";x\r\nabc", "size is missing"),
        chunks("00000000000000003\r\nabc", "too many digits"),
        chunks("3\nabc", "bare line feed"),
        chunks("3\rabc", "stands alone"),
        chunks("3\r\nabcXY", "not followed by CR LF"),
        chunks("3\r\nabc\n0\r\n\r\n", "not followed by CR LF"),
        chunks("3\r\nabc\rX", "not followed by CR LF"),
        chunks("3\r\nabcd\r\n0\r\n\r\n", "not followed by CR LF"),
        chunks("3;a\nb\r\nabc", "bare line feed"),
        chunks("3;a\0b\r\nabc", "control byte"),
        chunks(format!("3;{}\r\nabc", "a".repeat(65_536)), "extensions are longer"),
        chunks("0\r\nx: a\n", "bare line feed"),
        chunks("0\r\nx : a\r\n", "before its colon"),
        chunks("0\r\nx: a\r\n b\r\n\r\n", "folded"),
        chunks("0\r\nx\r\n\r\n", "no colon"),
        chunks("0\r\n\rX", "stands alone"),
        row("GET", CHUNKED, Then::Closes, Owed::Broken(CUT_OFF)),
    ];
    for size in ["0x3", "+3", "-3", " 3", "3 ", "3 ;x", "g", "3h", "\u{663}"] {
        rows.push(chunks(format!("{size}\r\nabc\r\n0\r\n\r\n"), "not a plain hexadecimal"));
    }
    for cut in
        ["3", "3\r\n", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0", "0\r\n", "0\r\nx: a\r\n"]
    {
        rows.push(row("GET", [CHUNKED, cut.as_bytes()].concat(), Then::Closes, Owed::Broken(CUT_OFF)));
    }
    for (first, again, why) in [
        ("", &b"0"[..], "too many digits"),
        ("3;", b"aaaaaaaa", "extensions are longer"),
        // Each is short; it is their sum that has an end.
        ("", b"1;aaaaaaaa\r\nx\r\n", "extensions are longer"),
        ("0\r\nx: ", b"aaaaaaaa", "trailer section is longer"),
        ("0\r\n", b"x: a\r\n", "more header fields"),
    ] {
        let bytes = [CHUNKED, first.as_bytes()].concat();
        rows.push(row("GET", bytes, Then::Repeats(again), Owed::Broken(why)));
    }
    rows
}

/// Bodies of a known length, bodies to the end of the connection, and what stands behind an end.
fn other_bodies() -> Vec<Row> {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let five = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let passed = |method, head: &str, behind: &str, status, body| {
        row(method, format!("{head}{behind}"), Then::Stays, Owed::Passed(status, body))
    };
    vec![
        row("GET", five, Then::Closes, Owed::Broken(CUT_OFF)),
        row("GET", format!("{five}hell"), Then::Closes, Owed::Broken(CUT_OFF)),
        row("GET", format!("{five}hell"), Then::Resets, Owed::Broken(CUT_OFF)),
        // Only an orderly close is an end. A reset may have cost some of it.
        row("GET", "HTTP/1.1 200 OK\r\n\r\nhell", Then::Resets, Owed::Broken(CUT_OFF)),
        row("GET", "HTTP/1.1 200 OK\r\n\r\nhello", Then::Closes, Owed::Passed(200, "hello")),
        row("GET", "HTTP/1.0 200 OK\r\n\r\nhello", Then::Closes, Owed::Passed(200, "hello")),
        row("GET", "HTTP/1.1 304 X\r\n\r\n", Then::Closes, Owed::Passed(304, "")),
        passed("GET", five, &format!("hello{POISON}"), 200, "hello"),
        passed("GET", five, "hello\r\n", 200, "hello"),
        passed("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\nx", 200, ""),
        passed("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", POISON, 200, ""),
        // No body may be there, whatever the head says about the one that could be.
        passed("GET", "HTTP/1.1 204 X\r\n\r\n", "hello", 204, ""),
        passed("GET", "HTTP/1.1 304 X\r\ncontent-length: 5\r\n\r\n", "hello", 304, ""),
        passed("GET", "HTTP/1.1 304 X\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n", 304, ""),
        passed("HEAD", five, "hello", 200, ""),
        passed("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "hello", 200, ""),
        passed("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0\r\n\r\n", 200, ""),
        // Said to be the last one of its connection, and so it is.
        passed(
            "GET",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n",
            "hello",
            200,
            "hello",
        ),
        passed("GET", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", "hello", 200, "hello"),
    ]
}

#[tokio::test]
async fn status_lines_that_are_none() {
    play(&status_lines()).await;
}

#[tokio::test]
async fn lengths_that_could_be_read_in_two_ways() {
    play(&framings()).await;
}

#[tokio::test]
async fn field_lines_that_are_none() {
    play(&field_lines()).await;
}

#[tokio::test]
async fn heads_that_have_no_end_or_should_not_be() {
    play(&heads()).await;
}

#[tokio::test]
async fn chunks_that_are_none() {
    play(&chunked_bodies()).await;
}

#[tokio::test]
async fn bodies_that_end_early_or_go_on() {
    play(&other_bodies()).await;
}

/// The upstream and what it has seen.
#[derive(Default)]
pub(crate) struct Stage {
    /// What the next request is answered with; without it, properly.
    next: Mutex<Option<(Vec<u8>, Then)>>,
    /// A connection was used again after what was said on it.
    used_again: AtomicBool,
}

impl Stage {
    pub(crate) fn next(&self) -> Option<(Vec<u8>, Then)> {
        self.next.lock().unwrap().clone()
    }

    pub(crate) fn was_used_again(&self) {
        self.used_again.store(true, Ordering::Relaxed);
    }

    fn answer(&self, mut stream: TcpStream) {
        while read_head(&mut stream).is_some() {
            let Some((bytes, then)) = self.next() else {
                stream.write_all(OK).unwrap();
                continue;
            };
            say(&mut stream, &bytes, then);
            if matches!(then, Then::Closes | Then::Resets) {
                return;
            }
            if read_head(&mut stream).is_some() {
                self.was_used_again();
            }
        }
    }
}

/// Says its piece. The engine may have seen enough before the last byte.
pub(crate) fn say(stream: &mut TcpStream, bytes: &[u8], then: Then) {
    let mut listens = stream.write_all(bytes).is_ok();
    match then {
        Then::Stays | Then::Closes => {}
        Then::Resets => {
            rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).unwrap();
        }
        Then::Repeats(again) => {
            let again = again.repeat(256);
            while listens {
                listens = stream.write_all(&again).is_ok();
            }
        }
    }
}

async fn play(rows: &[Row]) {
    let stage = Arc::new(Stage::default());
    let plays = Arc::clone(&stage);
    let upstream = serving(move |_, stream| plays.answer(stream));
    play_at(rows, &stage, upstream, "").await;
}

/// Plays each row to a client of each protocol.
pub(crate) async fn play_at(rows: &[Row], stage: &Stage, upstream: SocketAddr, protocol: &'static str) {
    let config = Config { upstream: protocol, log: "access.log", ..Config::default() };
    // One worker, so that the next request looks into the same pool.
    let text = config.text(upstream).replace("workers: 2", "workers: 1");
    // What one answer comes to is seen when nothing is tried again, and after many bad ones the next is still asked for.
    let text = text.replace("up: { ", "up: { retries: off, breaker: off, eject: off, ");
    let setup = Setup::start_text(&text, Clock::System).await;
    let mut wrong = Vec::new();
    for (nth, row) in rows.iter().enumerate() {
        for version in ["1.1", "1.0", "2"] {
            let id = format!("row-{nth}-over-{version}.");
            let said: String = String::from_utf8_lossy(&row.bytes).chars().take(120).collect();
            let shown = format!("{id} {} {said:?}", row.method);
            *stage.next.lock().unwrap() = Some((row.bytes.clone(), row.then));
            let got = ask(setup.address(), row.method, version, &id).await;
            *stage.next.lock().unwrap() = None;
            if !got.is(row.owed, version) {
                wrong.push(format!("{:?} was owed, not {got:?}: {shown}", row.owed));
            }
            let record = setup.record(&id).await;
            if !is_recorded(&record, row.owed) {
                wrong.push(format!("the record of {:?}: {shown}\n{record}", row.owed));
            }
            // The next one comes over another connection, which then is the only one there is.
            stage.used_again.store(false, Ordering::Relaxed);
            let next = ask(setup.address(), "GET", version, "next").await;
            assert!(matches!(&next, Got::Whole(200, body) if body == "ok"), "{next:?} after {shown}");
            if stage.used_again.swap(false, Ordering::Relaxed) && !row.may_go_on {
                wrong.push(format!("the connection was used again: {shown}"));
            }
            settled(&setup, &shown).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    setup.engine.stop().await;
}

/// Nothing is under way any more, and of connections there is the one that the last good answer came over.
async fn settled(setup: &Setup, shown: &str) {
    let gauges = [
        ("http_server_active_requests", 0.0),
        ("mainstay_upstream_in_flight", 0.0),
        ("mainstay_settling", 0.0),
        (r#"mainstay_pool_connections state="in_use""#, 0.0),
        (r#"mainstay_pool_connections state="waiting""#, 0.0),
    ];
    until(shown, || {
        gauges.iter().all(|(series, value)| setup.metric(series) == *value)
            && setup.port().upstreams()[0].endpoints[0].connections == 1
    })
    .await;
}

fn is_recorded(record: &serde_json::Value, owed: Owed) -> bool {
    let (status, problem, aborted, why) = match owed {
        Owed::Refused(code, why) => (502, Some(code), None, why),
        Owed::Broken(why) | Owed::TooLate(_, why) => (200, None, Some("upstream"), why),
        Owed::Passed(status, _) => (status, None, None, ""),
    };
    record["status"] == status
        && record.get("problem").and_then(|code| code.as_str()) == problem
        && record.get("aborted").and_then(|who| who.as_str()) == aborted
        && record["trail"].to_string().contains(why)
}

/// What a client can tell.
#[derive(Debug)]
enum Got {
    Whole(u16, String),
    /// It has begun, and is visibly not whole.
    Broken,
    /// The connection ended without an answer.
    Nothing,
}

impl Got {
    fn is(&self, owed: Owed, version: &str) -> bool {
        match (owed, self) {
            (Owed::Refused(code, _), Self::Whole(502, body)) => {
                body.contains(&format!("\"code\":\"{code}\""))
            }
            (Owed::Broken(_), Self::Broken) => true,
            (Owed::TooLate(..), Self::Broken) => version == "2",
            (Owed::TooLate(body, _), Self::Whole(200, text)) => version != "2" && text == body,
            // What the frames of HTTP/2 are read with knows only whether it was 200.
            (Owed::Passed(status, body), Self::Whole(got, text)) => {
                (*got == status || version == "2" && *got == 0) && text == body
            }
            _ => false,
        }
    }
}

async fn ask(address: SocketAddr, method: &'static str, version: &'static str, id: &str) -> Got {
    if version == "2" {
        return ask_h2(address, method, id).await;
    }
    let id = id.to_owned();
    blocking(move || {
        let mut stream = connect(address);
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        write!(
            stream,
            "{method} /v1/x HTTP/{version}\r\nHost: a\r\nX-Request-Id: {id}\r\nConnection: close\r\n{length}\r\n"
        )
        .unwrap();
        let mut bytes = Vec::new();
        let is_reset = stream.read_to_end(&mut bytes).is_err();
        read_answer(&String::from_utf8_lossy(&bytes), is_reset, method == "HEAD")
    })
    .await
}

fn read_answer(text: &str, is_reset: bool, is_head: bool) -> Got {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return if text.is_empty() && !is_reset { Got::Nothing } else { Got::Broken };
    };
    let status: u16 = head.get(9..12).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let whole = if is_head || status == 204 || status == 304 {
        Some(body.to_owned())
    } else if let Some(length) = length {
        (body.len() == length.parse::<usize>().unwrap()).then(|| body.to_owned())
    } else if head.contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        (!is_reset).then(|| body.to_owned())
    };
    whole.map_or(Got::Broken, |body| Got::Whole(status, body))
}

fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, data) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (data == "\r\n").then_some(body);
        }
        body.push_str(data.get(..size)?);
        rest = data.get(size..)?.strip_prefix("\r\n")?;
    }
}

async fn ask_h2(address: SocketAddr, method: &str, id: &str) -> Got {
    let mut client = Frames::connect(address, &[]).await;
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/x"),
        ("x-request-id", id),
    ];
    match client.ask(1, &fields).await {
        Ended::Answered(true, body) => Got::Whole(200, body),
        Ended::Answered(false, body) if body.contains("\"status\":502") => Got::Whole(502, body),
        Ended::Answered(false, body) => Got::Whole(0, body),
        Ended::Reset(_) => Got::Broken,
        Ended::Gone => Got::Nothing,
    }
}
