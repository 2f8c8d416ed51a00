//! `examples/embedded.rs`, as a user would run it: an axum router behind the engine in one process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::run::{Process, get, request};

/// The example itself, which cargo builds beside the binary whenever it builds this crate's tests.
fn start(folder: &Path) -> (Process, SocketAddr) {
    let program = Path::new(env!("CARGO_BIN_EXE_mainstay")).with_file_name("examples").join("embedded");
    assert!(program.exists(), "cargo build -p mainstay --example embedded makes {}", program.display());
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).args(["127.0.0.1:0", "127.0.0.1:0"]);
    let process = Process::start(&mut command);
    let address = process.out_until(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("listening on http://"))?;
        line.parse().ok()
    });
    (process, address)
}

#[test]
fn the_embedded_example_keeps_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, address) = start(folder.path());
    let quote = |pair: &str| get(address, &format!("/v1/quotes/{pair}"));
    let first = quote("EURUSD");
    assert_eq!((first.status, &first.json()["pair"]), (200, &"EURUSD".into()), "{first:?}");
    for part in ["deprecation: @", "sunset: Wed, 01 Jan 2127 ", "x-request-id: "] {
        assert!(first.head.contains(part), "{part}\n{first:?}");
    }
    let unknown = get(address, "/v2/quotes/EURUSD");
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &"unknown_version".into()));

    let post = |body: &str| {
        let head =
            "POST /v1/orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n";
        request(address, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let taken = post("{\"pair\":\"EURUSD\"}");
    assert_eq!((taken.status, &taken.json()["accepted"]["pair"]), (200, &"EURUSD".into()), "{taken:?}");
    let large = post(&format!("\"{}\"", "x".repeat(2000)));
    assert_eq!((large.status, &large.json()["code"]), (413, &"body_too_large".into()), "{large:?}");

    let long = quote(&"x".repeat(600));
    assert_eq!((long.status, &long.json()["code"]), (414, &"uri_too_long".into()), "{long:?}");

    // A panic is its own request's matter, and so is a handler that takes too long.
    let panicked = get(address, "/v1/panic");
    assert_eq!((panicked.status, &panicked.json()["code"]), (502, &"local_service_failed".into()));
    let event = process.event("local_service_failed", 1);
    assert_eq!(
        (&event["cause"], &event["service"]),
        (&"a panic: a defect".into(), &"quotes".into()),
        "{event}"
    );
    assert_eq!(quote("GBPUSD").status, 200);
    let slow = get(address, "/v1/slow");
    assert_eq!((slow.status, &slow.json()["code"]), (504, &"deadline_exceeded".into()), "{slow:?}");
    assert_eq!(quote("GBPUSD").status, 200);

    process.signal(Signal::INT);
    assert_eq!(process.code(), 0, "{}", process.err());
    assert!(process.out().ends_with("ended: Drained\n"), "{}", process.out());
}
