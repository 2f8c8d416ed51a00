//! The table "when SIGTERM comes" of docs/guides/reload-and-shutdown.md, a row after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use mainstay_core::clock::monotonic;
use rustix::process::Signal;

use crate::lists::{guide, rows};
use crate::run::{Engine, GUARD, Payments, answer, any_port, connect, forward_to, until};

const HERE: &str = "crates/mainstay/tests/process/shutdown.rs";
const LIFECYCLE: &str = "crates/mainstay/tests/process/lifecycle.rs";

/// Each row of the table, as it begins, and the tests that show it.
const ROWS: &[(&str, &[(&str, &str)])] = &[
    ("a request waits for its answer", &[(LIFECYCLE, "what_runs_is_finished_before_the_end")]),
    ("an upload arrives", &[(HERE, "an_upload_is_read_to_its_end_and_answered")]),
    (
        "an answer streams",
        &[(HERE, "a_stream_goes_on_to_its_end"), (HERE, "a_stream_that_is_cut_off_is_visibly_broken")],
    ),
    ("a request waits for a connection of the pool", &[(HERE, "who_waits_for_a_connection_gets_one")]),
    ("an unsafe request's client has left", &[(HERE, "what_has_no_client_settles_and_is_recorded")]),
    (
        "an HTTP/1.1 connection lies between two requests",
        &[(HERE, "a_client_between_two_requests_is_not_cut_off"), (HERE, "a_silent_connection_is_closed")],
    ),
    ("an HTTP/2 connection", &[("tests/it/http2.rs", "drain_and_age_say_goaway_and_what_runs_is_finished")]),
    (
        "a TLS handshake or a head is half there",
        &[
            (
                "tests/it/transport.rs",
                "a_handshake_that_is_half_there_is_finished_although_the_engine_drains",
            ),
            (HERE, "a_head_that_is_half_there_is_served"),
            (HERE, "a_head_that_never_comes_holds_nothing_up"),
        ],
    ),
    ("a connection waits to be accepted", &[(HERE, "who_waits_to_be_accepted_is_served")]),
    (
        "a WebSocket is open",
        &[
            (HERE, "a_websocket_is_told_goodbye"),
            (HERE, "another_protocol_is_closed"),
            ("tests/it/paused.rs", "a_goodbye_waits_for_the_end_of_a_frame_and_not_for_ever"),
        ],
    ),
    ("a second SIGTERM comes", &[(LIFECYCLE, "a_second_signal_ends_at_once_with_its_number")]),
];

#[test]
fn every_row_of_the_table_has_a_test() {
    let table = rows(&guide("reload-and-shutdown"), "## Shutdown");
    let table: Vec<&str> =
        table.iter().map(|row| row[0].as_str()).take_while(|row| *row != "exit code").collect();
    assert_eq!(table.len(), ROWS.len(), "{table:?}");
    for (row, (begins, tests)) in table.iter().zip(ROWS) {
        assert!(row.starts_with(begins), "{row}: the list of tests has {begins}");
        for (file, test) in *tests {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("fn {test}() {{")), "{row}: {file} has no test {test}");
        }
    }
}

/// An upstream whose first connection is served by a script, on a thread of its own.
fn scripted(script: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        script(stream);
    });
    address
}

/// Says that something has happened, and waits to be told to go on.
struct Gate {
    happened: SyncSender<()>,
    go: Receiver<()>,
}

/// The other side of a [`Gate`].
struct Keeper {
    happened: Receiver<()>,
    go: SyncSender<()>,
}

fn gate() -> (Gate, Keeper) {
    let (happen, happened) = sync_channel(1);
    let (open, go) = sync_channel(1);
    (Gate { happened: happen, go }, Keeper { happened, go: open })
}

impl Gate {
    fn pass(&self) {
        self.happened.send(()).unwrap();
        // When the test is over, so is this.
        let _ = self.go.recv();
    }
}

impl Keeper {
    fn wait(&self) {
        self.happened.recv_timeout(GUARD).expect("it happens");
    }

    fn open(&self) {
        self.go.send(()).unwrap();
    }
}

fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(wanted.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// An engine whose drain would last for ever, unless what runs is finished.
fn engine(upstream: SocketAddr, drain: &str) -> Engine {
    Engine::start(
        &forward_to(upstream)
            .replace("workers: 2\n", &format!("workers: 2\n  shutdown: {{ drain: {drain} }}\n")),
    )
}

/// Sends SIGTERM, and waits until the drain has begun.
fn drain(engine: &Engine) {
    engine.process.signal(Signal::TERM);
    engine.process.event("draining", 1);
    until(|| TcpStream::connect(engine.address).is_err());
}

/// Everything is finished, and nothing was cut off.
#[track_caller]
fn is_finished(mut engine: Engine) {
    assert_eq!(engine.process.code(), 0, "{}", engine.process.err());
    assert_eq!(engine.process.event("drained", 1)["cut_short"], 0);
}

/// Waits until a series has a value; of its labels one is given.
#[track_caller]
fn until_metric(engine: &Engine, name: &str, label: &str, value: u32) {
    let value = format!(" {value}");
    let is_meant = |line: &str| line.starts_with(name) && line.contains(label) && line.ends_with(&value);
    until(|| engine.control("/metrics").body.lines().any(is_meant));
}

#[test]
fn an_upload_is_read_to_its_end_and_answered() {
    let (gate, keeper) = gate();
    let upstream = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        read_until(&mut stream, "01234");
        gate.happened.send(()).unwrap();
        read_until(&mut stream, "56789");
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone").unwrap();
    });
    let engine = engine(upstream, "1h");
    let mut client = connect(engine.address);
    client.write_all(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234").unwrap();
    keeper.wait();
    drain(&engine);
    client.write_all(b"56789").unwrap();
    let answer = answer(&mut client);
    assert_eq!((answer.status, &*answer.body), (201, "done"), "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    is_finished(engine);
}

/// An upstream that streams, and waits in the middle of it.
fn streaming() -> (SocketAddr, Keeper) {
    let (gate, keeper) = gate();
    let upstream = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}4\r\none\n\r\n").as_bytes()).unwrap();
        gate.pass();
        // Nobody may be there any more.
        let _ = stream.write_all(b"4\r\ntwo\n\r\n0\r\n\r\n");
    });
    (upstream, keeper)
}

#[test]
fn a_stream_goes_on_to_its_end() {
    let (upstream, keeper) = streaming();
    let engine = engine(upstream, "1h");
    let mut client = connect(engine.address);
    client.write_all(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_until(&mut client, "one\n\r\n");
    keeper.wait();
    drain(&engine);
    keeper.open();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "4\r\ntwo\n\r\n0\r\n\r\n");
    is_finished(engine);
}

#[test]
fn a_stream_that_is_cut_off_is_visibly_broken() {
    // For a client of HTTP/1.0 the end of the connection would be the end of the answer, so it has to be a reset.
    for version in ["1.1", "1.0"] {
        let (upstream, _keeper) = streaming();
        let mut engine = engine(upstream, "100ms");
        let mut client = connect(engine.address);
        client.write_all(format!("GET /v1/x HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        read_until(&mut client, "one\n");
        engine.process.signal(Signal::TERM);
        let mut rest = String::new();
        let ended = client.read_to_string(&mut rest);
        assert!(version == "1.1" || ended.is_err(), "HTTP/{version}: {rest:?} looks whole");
        assert!(!rest.contains("0\r\n\r\n"), "HTTP/{version}: {rest:?}");
        assert_eq!(engine.process.code(), 1, "{}", engine.process.err());
        assert_eq!(engine.process.event("drained", 1)["cut_short"], 1);
    }
}

#[test]
fn who_waits_for_a_connection_gets_one() {
    let (gate, keeper) = gate();
    let upstream = scripted(move |mut stream| {
        for _ in 0..2 {
            read_until(&mut stream, "\r\n\r\n");
            gate.pass();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        }
    });
    let pool = ", pool: { connections_max: 1, wait: 1m }, timeouts: off }\n";
    let configuration = forward_to(upstream)
        .replace("\"] }\n", &format!("\"]{pool}"))
        .replace("workers: 2\n", "workers: 1\n  shutdown: { drain: 1h }\n");
    let engine = Engine::start(&configuration);
    let mut clients = [connect(engine.address), connect(engine.address)];
    clients[0].write_all(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    keeper.wait();
    clients[1].write_all(b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until_metric(&engine, "mainstay_pool_connections{", "state=\"waiting\"", 1);
    drain(&engine);
    keeper.open();
    keeper.wait();
    keeper.open();
    for client in &mut clients {
        let answer = answer(client);
        assert_eq!((answer.status, &*answer.body), (200, "ok"), "{answer:?}");
    }
    is_finished(engine);
}

#[test]
fn what_has_no_client_settles_and_is_recorded() {
    let (gate, keeper) = gate();
    let upstream = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\nhi");
        gate.pass();
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone").unwrap();
    });
    let mut engine = engine(upstream, "1h");
    let mut client = connect(engine.address);
    client.write_all(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    keeper.wait();
    drop(client);
    until_metric(&engine, "mainstay_settling", "", 1);
    drain(&engine);
    keeper.open();
    assert_eq!(engine.process.code(), 0, "{}", engine.process.err());
    let record: serde_json::Value = serde_json::from_str(engine.process.out().trim_end()).unwrap();
    assert_eq!((&record["status"], &record["aborted"]), (&201.into(), &"client".into()), "{record}");
}

/// Asks on one connection until the engine says that it ends. A client whose request was on its way may not lose it: only after
/// half a second without one may the connection just end.
#[test]
fn a_client_between_two_requests_is_not_cut_off() {
    let payments = Payments::start();
    let engine = engine(payments.address, "1h");
    let mut client = connect(engine.address);
    let mut told = false;
    for nth in 0.. {
        let since = monotonic();
        let asked = client.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        if head.is_empty() {
            // This machine was too slow for what is to be shown, or the connection was cut off.
            assert!(since.elapsed() >= Duration::from_millis(500), "cut off after {nth} answers: {asked:?}");
            break;
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 1\r\n"), "{head}");
        client.read_exact(&mut byte).unwrap();
        if nth == 20 {
            engine.process.signal(Signal::TERM);
        }
        if head.contains("connection: close\r\n") {
            told = true;
            break;
        }
    }
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert!(told);
    is_finished(engine);
}

#[test]
fn a_silent_connection_is_closed() {
    let payments = Payments::start();
    let engine = engine(payments.address, "1h");
    let mut used = connect(engine.address);
    used.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_until(&mut used, "\r\n\r\n");
    used.read_exact(&mut [0]).unwrap();
    let mut fresh = connect(engine.address);
    until(|| engine.control("/metrics").status == 200);
    engine.process.signal(Signal::TERM);
    for client in [&mut used, &mut fresh] {
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "an orderly end");
    }
    is_finished(engine);
}

/// A client that has sent half a head.
fn half_a_head(engine: &Engine) -> TcpStream {
    let mut client = connect(engine.address);
    client.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHo").unwrap();
    until_metric(engine, "mainstay_connections{", "protocol=\"http1\"", 1);
    client
}

#[test]
fn a_head_that_is_half_there_is_served() {
    let payments = Payments::start();
    let engine = engine(payments.address, "1h");
    let mut client = half_a_head(&engine);
    let mut silent = connect(engine.address);
    silent.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_until(&mut silent, "\r\n\r\n");
    silent.read_exact(&mut [0]).unwrap();
    drain(&engine);
    // Longer than a connection may be silent.
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    client.write_all(b"st: a\r\n\r\n").unwrap();
    let answer = answer(&mut client);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    is_finished(engine);
}

#[test]
fn a_head_that_never_comes_holds_nothing_up() {
    let payments = Payments::start();
    let configuration = forward_to(payments.address)
        .replace("workers: 2\n", "workers: 2\n  shutdown: { drain: 1h }\n  limits: { header_timeout: 1s }\n");
    let engine = Engine::start(&configuration);
    let mut client = half_a_head(&engine);
    engine.process.signal(Signal::TERM);
    let answer = answer(&mut client);
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    is_finished(engine);
}

/// The engine is stopped while clients connect, so that they are known to wait in the queue when the signal comes.
#[test]
fn who_waits_to_be_accepted_is_served() {
    let payments = Payments::start();
    let engine = engine(payments.address, "1h");
    engine.process.signal(Signal::STOP);
    let connected = |_| {
        let mut client = connect(engine.address);
        client.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    };
    // More than a task may accept in one go.
    let mut clients: Vec<TcpStream> = (0..600).map(connected).collect();
    engine.process.signal(Signal::TERM);
    engine.process.signal(Signal::CONT);
    for client in &mut clients {
        let answer = answer(client);
        assert_eq!((answer.status, answer.body.len()), (200, 1), "{answer:?}");
    }
    is_finished(engine);
}

/// A tunnel that stands, through an engine that drains.
fn tunnel(protocol: &str) -> (Engine, TcpStream, Keeper) {
    let (gate, keeper) = gate();
    let answer =
        format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n");
    let upstream = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        gate.pass();
    });
    let configuration = forward_to(upstream)
        .replace(": {}\n", &format!(": {{ upgrade: {protocol}, timeouts: {{ idle: off }} }}\n"))
        .replace("workers: 2\n", "workers: 2\n  shutdown: { drain: 1h }\n");
    let engine = Engine::start(&configuration);
    let mut client = connect(engine.address);
    let head = format!("GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n");
    client.write_all(format!("{head}Sec-WebSocket-Key: k\r\n\r\n").as_bytes()).unwrap();
    let head = read_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    keeper.wait();
    engine.process.signal(Signal::TERM);
    (engine, client, keeper)
}

#[test]
fn a_websocket_is_told_goodbye() {
    let (engine, mut client, _keeper) = tunnel("websocket");
    let mut goodbye = Vec::new();
    client.read_to_end(&mut goodbye).unwrap();
    // A close frame, not masked, with 1001 and perhaps words.
    assert_eq!((goodbye[0], &goodbye[2..4]), (0x88, &1001_u16.to_be_bytes()[..]), "{goodbye:x?}");
    is_finished(engine);
}

#[test]
fn another_protocol_is_closed() {
    let (engine, mut client, _keeper) = tunnel("echo");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    is_finished(engine);
}
