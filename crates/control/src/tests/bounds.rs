use std::future::pending;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, Fake, Reload, SECRET, Server, head, soon};
use mainstay_core::clock::Clock;
use mainstay_telemetry::{EventClock, EventLog, Output, Registry};

use crate::limits::Limits;
use crate::{ControlConfig, Parts};

const KEPT_OPEN: &str = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// One answer on a connection that stays open.
async fn exchange(stream: &mut TcpStream) -> Answer {
    stream.write_all(KEPT_OPEN.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(end) = text.find("\r\n\r\n") {
            let parsed = Answer::parse(&bytes);
            let length: usize = parsed.header("content-length").unwrap().parse().unwrap();
            if bytes.len() == end + 4 + length {
                return parsed;
            }
        }
        assert_ne!(soon(stream.read_buf(&mut bytes)).await.unwrap(), 0, "closed after {bytes:?}");
    }
}

/// Whether the server ends the connection, with or without a reset.
pub(super) async fn ends(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match soon(stream.read_to_end(&mut rest)).await {
        Ok(_) => rest,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn further_connections_wait_for_room() {
    let server = Server::within(Limits { connections: 2, ..Limits::default() }, Fake::default()).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    exchange(&mut first).await;
    exchange(&mut second).await;
    let mut third = server.connect().await;
    third.write_all(KEPT_OPEN.as_bytes()).await.unwrap();
    // If there were room, the third would be answered in one of these many turns.
    for _ in 0..50 {
        exchange(&mut second).await;
    }
    let waiting = third.try_read(&mut [0_u8; 16]).unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    assert_eq!(server.engine.readiness_asked.load(Ordering::SeqCst), 52);
    drop(first);
    assert_eq!(answer(&mut third).await.status, 200, "room was made");
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let server = Server::within(Limits { head: SHORT, ..Limits::default() }, Fake::default()).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").await.unwrap();
    ends(&mut slow).await;
    let mut idle = server.connect().await;
    exchange(&mut idle).await;
    assert_eq!(ends(&mut idle).await, b"", "after an exchange too");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    // More than the socket buffers of both sides hold, so that the answer cannot be written.
    let metrics = Some("mainstay_settling 0\n".repeat(1_000_000));
    let limits = Limits { connections: 1, exchange: SHORT, ..Limits::default() };
    let server = Server::within(limits, Fake { metrics, ..Fake::default() }).await;
    let mut greedy = server.connect().await;
    greedy.write_all(head("GET /metrics", "").as_bytes()).await.unwrap();
    soon(greedy.readable()).await.unwrap();
    let next = server.ask(&head("GET /livez", "")).await;
    assert_eq!(next.status, 200, "its place is free again");
}

#[tokio::test]
async fn an_engine_that_never_answers_is_a_504() {
    let server = Server::within(Limits { request: SHORT, ..Limits::default() }, Fake::default()).await;
    let answer = server.admin("GET", "/admin/v1/requests/never").await;
    assert_eq!((answer.status, answer.problem().as_str()), (504, "deadline_exceeded"));
}

#[tokio::test]
async fn a_body_that_never_arrives_is_a_408() {
    let server = Server::within(Limits { request: SHORT, ..Limits::default() }, Fake::default()).await;
    let lines = format!("Authorization: Bearer {SECRET}\r\nContent-Length: 5\r\n");
    let answer = server.ask(&(head("POST /admin/v1/reload", &lines) + "ab")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "request_timeout"));
    assert_eq!(server.engine.generation.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_large_body_is_a_413() {
    let server = Server::start(Fake::default()).await;
    let token = format!("Authorization: Bearer {SECRET}\r\n");
    let over = "x".repeat(64 * 1024 + 1);
    let declared = format!("{token}Content-Length: {}\r\n", over.len());
    let chunked = format!("{token}Transfer-Encoding: chunked\r\n");
    let waiting = format!("{token}Expect: 100-continue\r\nContent-Length: 1000000\r\n");
    let refused = [
        head("POST /admin/v1/reload", &declared) + &over,
        head("POST /admin/v1/reload", &chunked) + &format!("{:x}\r\n{over}\r\n0\r\n\r\n", over.len()),
        head("POST /admin/v1/reload", &waiting),
    ];
    for request in refused {
        let answer = server.ask(&request).await;
        assert_eq!((answer.status, answer.problem().as_str()), (413, "body_too_large"));
    }
    // Cut off mid-way when it goes on and on; whether the answer still gets through is up to the client's kernel.
    let mut endless = server.connect().await;
    endless.write_all(head("POST /admin/v1/reload", &chunked).as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{over}\r\n", over.len());
    soon(async { while endless.write_all(chunk.as_bytes()).await.is_ok() {} }).await;
    assert_eq!(server.engine.generation.load(Ordering::SeqCst), 0, "nothing was reloaded");

    let exact = format!("{token}Content-Length: {}\r\n", over.len() - 1);
    let answer = server.ask(&(head("POST /admin/v1/reload", &exact) + &over[1..])).await;
    assert_eq!(answer.status, 200, "64 KiB are allowed");
}

#[tokio::test]
async fn a_reload_outlives_its_caller_and_runs_alone() {
    let engine = Fake { reload: Mutex::new(Reload::Waits), ..Fake::default() };
    let server = Server::within(Limits { request: SHORT, ..Limits::default() }, engine).await;
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!((answer.status, answer.problem().as_str()), (504, "deadline_exceeded"));
    soon(server.engine.reload_begun.notified()).await;

    *server.engine.reload.lock().unwrap() = Reload::Works;
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!(answer.status, 504, "the first is still under way");
    assert_eq!(server.engine.generation.load(Ordering::SeqCst), 0);

    server.engine.release.notify_one();
    let answer = server.admin("POST", "/admin/v1/reload").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["generation"], 2, "the first has finished, the second never began");
}

#[tokio::test]
async fn a_shutdown_lets_answers_finish_and_closes_the_rest() {
    let engine = Fake { reload: Mutex::new(Reload::Waits), ..Fake::default() };
    // Timers so long that none of them can be what closes the connections.
    let long = Duration::from_secs(600);
    let limits = Limits { head: long, drain: long, exchange: long, ..Limits::default() };
    let mut server = Server::within(limits, engine).await;
    let (mut fresh, mut idle, mut busy) =
        (server.connect().await, server.connect().await, server.connect().await);
    exchange(&mut idle).await;
    let token = format!("Authorization: Bearer {SECRET}\r\n");
    let reload = format!("POST /admin/v1/reload HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
    busy.write_all(reload.as_bytes()).await.unwrap();
    soon(server.engine.reload_begun.notified()).await;

    server.stop();
    assert_eq!(ends(&mut fresh).await, b"");
    assert_eq!(ends(&mut idle).await, b"");
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing new is taken");
    assert!(!server.task.is_finished());
    server.engine.release.notify_one();
    let answer = answer(&mut busy).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    soon(&mut server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut server = Server::within(Limits { drain: SHORT, ..Limits::default() }, Fake::default()).await;
    let mut stuck = server.connect().await;
    let token = format!("Authorization: Bearer {SECRET}\r\n");
    stuck.write_all(head("GET /admin/v1/requests/never", &token).as_bytes()).await.unwrap();
    server.ask(&head("GET /livez", "")).await;
    server.stop();
    soon(&mut server.task).await.unwrap().unwrap();
    assert_eq!(ends(&mut stuck).await, b"");
}

#[tokio::test]
async fn the_listener_stays_on_loopback() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let config =
            ControlConfig { listen: listen.parse().unwrap(), tls: false, token_file: "unused".into() };
        assert_eq!(crate::bind(&config).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{listen}");
    }
    // A listener that somebody else has bound; this one is never opened, so nobody can reach it.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"0.0.0.0:0".parse::<SocketAddr>().unwrap()).unwrap();
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let token = Server::start(Fake::default()).await.token.clone();
    let events = EventLog::start(Output::None, &Registry::new(), EventClock::system()).unwrap();
    let engine = Arc::new(Fake::default());
    let parts = Parts { tls: None, token, engine, catalogue: None, events, clock: Clock::System };
    let served = crate::serve(listener, parts, pending());
    assert_eq!(soon(served).await.unwrap_err().kind(), ErrorKind::InvalidInput);

    let config =
        ControlConfig { listen: "127.0.0.1:0".parse().unwrap(), tls: false, token_file: "unused".into() };
    assert!(crate::bind(&config).await.is_ok());
}
