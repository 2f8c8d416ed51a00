//! Thousands of connections of random, mutated and spliced requests, against an engine with a recording upstream.
//!
//! What is sent is made from a seed and the connection's number, and a failure shows both. What must hold: the engine
//! lives and nothing panics; every answer that begins is well-formed as far as it comes; the upstream gets nothing but
//! well-formed requests, of which at most the last one on a connection is cut off; afterwards nothing is left open, and a
//! normal request is served.

mod answers;
mod input;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::differential::recorder::{READINGS, Request, STRICT, requests};
use crate::setup::{Config, GUARD, Setup, serving};

const CONNECTIONS: u64 = 6_000;
const CLIENTS: u64 = 8;
/// Only decides when a client stops waiting for more and says that it sends no more: no outcome depends on it.
const PATIENCE: Duration = Duration::from_millis(10);

/// Every byte that came to the upstream, by connection.
type Recorded = Arc<Mutex<HashMap<usize, Vec<u8>>>>;

/// An upstream that answers each whole request, in one way after another, and keeps its connections open.
fn upstream() -> (SocketAddr, Recorded) {
    const ANSWERS: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx-trailer: a\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
    ];
    let recorded = Recorded::default();
    let (all, count) = (Arc::clone(&recorded), AtomicU64::new(0));
    let address = serving(move |number, mut stream| {
        let (mut bytes, mut buffer, mut answered) = (Vec::new(), [0; 16_384], 0);
        'connection: while let Ok(read @ 1..) = stream.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..read]);
            // Before it is answered: who has the answer finds the request here.
            all.lock().unwrap().entry(number).or_default().extend_from_slice(&buffer[..read]);
            let whole = requests(&bytes, STRICT).iter().filter(|request| request.is_whole).count();
            while answered < whole {
                answered += 1;
                let which = count.fetch_add(1, Ordering::Relaxed) as usize % ANSWERS.len();
                if stream.write_all(ANSWERS[which]).is_err() || which == 4 {
                    break 'connection;
                }
            }
        }
    });
    (address, recorded)
}

/// One connection of a client; everything that came back.
fn converse(address: SocketAddr, input: &input::Input) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut from = 0;
    for &until in &input.cuts {
        if stream.write_all(&input.bytes[from..until]).is_err() {
            // Refused; what was answered is still there to be read.
            break;
        }
        from = until;
    }
    if input.leaves {
        return answer;
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    if stream.read_to_end(&mut answer).is_err() {
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(GUARD)).unwrap();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

/// Says what is wrong with a request that came to the upstream.
fn ill_formed(request: &Request) -> Option<&'static str> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let words: Vec<&str> = request.line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Some("the request line") };
    if !token(method) || !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Some("method or target");
    }
    let is_value = |value: &str| value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'));
    if !request.fields.iter().all(|(name, value)| token(name) && is_value(value)) {
        return Some("a field");
    }
    let count =
        |name: &str| request.fields.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)).count();
    if count("host") != 1 || count("content-length") + count("transfer-encoding") > 1 {
        return Some("host or framing");
    }
    None
}

/// Checks what came over one connection to the upstream; how many requests were whole.
fn check_upstream(seed: u64, bytes: &[u8]) -> usize {
    let [first, others @ ..] = READINGS.map(|reading| requests(bytes, reading));
    for other in others {
        assert_eq!(first, other, "seed {seed}, read in two ways: {}", bytes.escape_ascii());
    }
    let whole = first.iter().filter(|request| request.is_whole);
    for request in whole.clone() {
        assert_eq!(ill_formed(request), None, "seed {seed}: {}", bytes.escape_ascii());
    }
    whole.count()
}

/// One round of connections, and everything that must hold during it and after it.
async fn round(seed: u64, connections: u64) {
    let (address, recorded) = upstream();
    let config = Config { server: ", limits: { body: 4KiB, header_bytes: 4KiB }", ..Config::default() };
    let setup = Setup::start(&config, address).await;
    let (engine, refused) = (setup.address(), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let refused = Arc::clone(&refused);
            std::thread::spawn(move || {
                for number in (client..connections).step_by(CLIENTS as usize) {
                    let input = input::Input::new(seed, number);
                    let answer = converse(engine, &input);
                    let wrong = answers::ill_formed(&answer);
                    let (sent, came) = (input.bytes.escape_ascii(), answer.escape_ascii());
                    assert_eq!(wrong, None, "seed {seed}, connection {number}\nsent {sent}\ncame {came}");
                    refused.fetch_add(u64::from(answer.starts_with(b"HTTP/1.1 4")), Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(|| clients.into_iter().for_each(|client| client.join().unwrap()))
        .await
        .unwrap();
    for gauge in [
        "mainstay_connections",
        "http_server_active_requests",
        "mainstay_settling",
        "mainstay_upstream_in_flight",
    ] {
        setup.until_metric(gauge, 0.0).await;
    }
    let answer = setup.get("/v1/normal").await;
    assert!(answers::ill_formed(answer.as_bytes()).is_none() && answer.starts_with("HTTP/1.1 "), "{answer}");
    let events = std::fs::read_to_string(setup.folder.path().join("events.log")).unwrap();
    assert!(!events.contains("worker_panicked"), "seed {seed}: {events}");
    setup.engine.stop().await;
    let whole: usize = recorded.lock().unwrap().values().map(|bytes| check_upstream(seed, bytes)).sum();
    let refused = refused.load(Ordering::Relaxed);
    assert!(whole as u64 > connections / 8, "only {whole} requests were forwarded");
    assert!(refused > connections / 20, "only {refused} connections began with a refusal");
}

#[tokio::test]
async fn whatever_comes_the_engine_lives_and_both_sides_read_whole_messages() {
    round(1, CONNECTIONS).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn whatever_comes_with_many_seeds() {
    for seed in 2..40 {
        round(seed, CONNECTIONS).await;
    }
}
