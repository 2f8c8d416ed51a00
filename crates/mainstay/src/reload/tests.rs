//! A running engine with a defect: a snapshot that the check could never have let pass.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use mainstay_core::clock::Clock;
use mainstay_payments::{Ledger, Service};
use mainstay_telemetry::Output;

use super::*;
use crate::compose::{Engine, Start, load_for_start};

/// Only a failing test waits this long.
const GUARD: Duration = Duration::from_secs(20);

/// One request and its answer, on a connection that stays open where the engine leaves it open.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let (mut seen, mut byte) = (Vec::new(), [0]);
    let head = loop {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
        if seen.ends_with(b"\r\n\r\n") {
            break String::from_utf8(seen).unwrap();
        }
    };
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream
}

#[tokio::test]
async fn a_panic_in_a_request_costs_that_request_alone() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let service = Service::start(Ledger::new(), any, "a").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.yaml");
    // One worker, so that every connection is on the thread where the panic happens.
    let text = format!(
        "server: {{ listen: 127.0.0.1:0, workers: 1 }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [\"http://{}\"] }} }}\n\
         apis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ \
         \"* /{{*rest}}\": {{}} }} }} }} }} }}\ntelemetry: {{ log: {{ output: access.log }} }}\n",
        service.addr
    );
    std::fs::write(&path, text).unwrap();
    let loaded = load_for_start(path, Clock::System).unwrap_or_else(|p| panic!("{p:?}"));
    let events = folder.path().join("events.log");
    let engine = Engine::start(Start { events: Output::File(events.clone()), ..loaded.start }).await.unwrap();
    let handle = Arc::clone(&engine.handle);
    let event_log = handle.events.clone();
    let good = handle.shared.snapshot.load_full();
    let with = Surroundings {
        registry: &handle.registry,
        old: Some(&good),
        now: Clock::System.now(),
        locals: &Locals::default(),
        scopes: &mainstay_core::ScopeNames::default(),
    };
    let mut broken = lower::lower(&handle.checked(), 2, &with).unwrap();
    // Its routes still name the upstream by its place, where there is nothing now.
    broken.upstreams.clear();

    let address = engine.listen[0];
    let asked = tokio::task::spawn_blocking(move || {
        let get = "GET /v1/bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut bystander = connect(address);
        assert!(ask(&mut bystander, get).starts_with("HTTP/1.1 200 "));
        handle.shared.snapshot.store(Arc::new(broken));
        for request in [get, "POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"] {
            let mut stream = connect(address);
            let answer = ask(&mut stream, request);
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            for part in
                ["application/problem+json", "\"code\":\"internal\"", "x-request-id: ", "connection: close"]
            {
                assert!(answer.contains(part), "{part}\n{answer}");
            }
            assert!(!answer.contains("index"), "the panic's message is for the log: {answer}");
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is not used again");
        }
        handle.shared.snapshot.store(good);
        assert!(ask(&mut bystander, get).starts_with("HTTP/1.1 200 "), "the others do not notice");
        assert!(ask(&mut connect(address), get).starts_with("HTTP/1.1 200 "), "the worker goes on");
        assert!(handle.registry.render().contains("mainstay_problems_total{code=\"internal\"} 2\n"));
    });
    tokio::time::timeout(GUARD, asked).await.expect("in time").unwrap();
    assert!(engine.shut_down("test").await, "nothing is counted as running any more");
    let seen = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert_eq!(seen.matches("\"problem\":\"internal\"").count(), 2, "{seen}");
    assert_eq!(seen.matches("\"aborted\":\"engine\"").count(), 2, "{seen}");
    assert!(event_log.flush(GUARD));
    let seen = std::fs::read_to_string(&events).unwrap();
    assert_eq!(seen.matches("\"event\":\"worker_panicked\"").count(), 2, "{seen}");
    assert!(seen.contains("\"ended\":\"request\"") && seen.contains("index out of bounds"), "{seen}");
}
