//! Start, readiness, drain and end of a process, and what its exit code says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use crate::run::{
    Engine, Held, Payments, Process, answer, any_port, ask, connect, folder_with, forward_to, get, mainstay,
    until,
};

const POST: &str = "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// An engine in front of `held`, with a request that is under way there.
fn engine_with_request(held: &Held, shutdown: &str) -> (Engine, TcpStream) {
    let configuration = forward_to(held.address)
        .replace("workers: 2\n", &format!("workers: 2\n  health_path: /healthz\n  shutdown: {shutdown}\n"));
    let engine = Engine::start(&configuration);
    let mut client = connect(engine.address);
    client.write_all(POST.as_bytes()).unwrap();
    held.arrived();
    (engine, client)
}

#[test]
fn a_second_signal_ends_at_once_with_its_number() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let held = Held::start();
        let (mut engine, mut client) = engine_with_request(&held, "{ drain: 1h }");
        engine.process.signal(Signal::TERM);
        assert_eq!(engine.process.event("draining", 1)["requests"], 1);
        engine.process.signal(signal);
        assert_eq!(engine.process.code(), code, "{}", engine.process.err());
        assert_eq!(client.read(&mut [0; 16]).unwrap_or(0), 0, "the request was cut off");
    }
}

#[test]
fn a_drain_that_is_cut_short_is_told() {
    let held = Held::start();
    let (mut engine, _client) = engine_with_request(&held, "{ drain: 100ms }");
    engine.process.signal(Signal::INT);
    assert_eq!(engine.process.code(), 1);
    assert_eq!(engine.process.event("draining", 1)["reason"], "SIGINT");
    assert_eq!(engine.process.event("drained", 1)["cut_short"], 1);
}

#[test]
fn what_runs_is_finished_before_the_end() {
    let held = Held::start();
    let (mut engine, mut client) = engine_with_request(&held, "{ drain: 1h }");
    let idle = connect(engine.address);
    engine.process.signal(Signal::TERM);
    until(|| TcpStream::connect(engine.address).is_err());
    let ready = engine.control("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()), "{ready:?}");
    assert_eq!(engine.control("/livez").status, 200);
    held.release();
    let answer = answer(&mut client);
    assert_eq!((answer.status, answer.body.as_str()), (201, "done"));
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert_eq!(engine.process.code(), 0, "{}", engine.process.err());
    assert_eq!(engine.process.event("drained", 1)["cut_short"], 0);
    let record: serde_json::Value = serde_json::from_str(engine.process.out().trim_end()).unwrap();
    assert_eq!((&record["status"], &record["method"]), (&201.into(), &"POST".into()), "{record}");
    drop(idle);
}

#[test]
fn a_delay_serves_on_while_balancers_are_told() {
    let service = Payments::start();
    let configuration = forward_to(service.address)
        .replace("workers: 2\n", "workers: 2\n  health_path: /healthz\n  shutdown: { delay: 10m }\n");
    let mut engine = Engine::start(&configuration);
    assert_eq!((engine.get("/healthz").status, engine.control("/readyz").status), (200, 200));
    engine.process.signal(Signal::TERM);
    engine.process.event("draining", 1);
    assert_eq!((engine.get("/healthz").status, engine.control("/readyz").status), (503, 503));
    assert_eq!(engine.get("/v1/bytes/1").status, 200);
    assert_eq!(engine.control("/livez").status, 200);
    engine.process.signal(Signal::TERM);
    assert_eq!(engine.process.code(), 143);
}

#[test]
fn a_delay_is_waited_for() {
    let configuration =
        forward_to(any_port()).replace("workers: 2\n", "workers: 2\n  shutdown: { delay: 300ms }\n");
    let mut engine = Engine::start(&configuration.replace("127.0.0.1:0\"]", "127.0.0.1:1\"]"));
    engine.process.signal(Signal::TERM);
    assert_eq!(engine.process.code(), 0);
    assert!(engine.process.event("drained", 1)["duration_ms"].as_u64().unwrap() >= 300);
}

#[test]
fn a_taken_address_is_named_with_its_key() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = forward_to(any_port()).replace("127.0.0.1:0\"]", "127.0.0.1:1\"]");
    let rows = [
        (
            "mainstay.yaml:2:11: error: ",
            "server.listen",
            text.replace("  listen: 127.0.0.1:0\n", &format!("  listen: {address}\n")),
        ),
        (
            "mainstay.yaml:4:20: error: ",
            "control.listen",
            text.replace("{ listen: 127.0.0.1:0 }", &format!("{{ listen: \"{address}\" }}")),
        ),
    ];
    for (place, key, configuration) in rows {
        let folder = folder_with(&configuration);
        let refused = ask(folder.path(), &["run"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        for part in [place, &format!("key: {key}"), &address, "in use", "Is another engine running?"] {
            assert!(refused.err.contains(part), "{part}: {refused:?}");
        }
        assert!(!refused.err.contains("\"started\""), "{refused:?}");
    }
    // Other reasons have other remedies.
    for (listen, part) in
        [("192.0.2.1:1", "no interface of this machine"), ("unix:nowhere/s", "the folder of the socket")]
    {
        let text = text.replace("  listen: 127.0.0.1:0\n", &format!("  listen: \"{listen}\"\n"));
        let refused = ask(folder_with(&text).path(), &["run"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        let place = "mainstay.yaml:2:11: error: cannot listen on ";
        assert!(refused.err.contains(place) && refused.err.contains(part), "{listen}: {refused:?}");
    }
}

#[test]
fn a_second_engine_on_the_same_address_is_refused() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    let same = forward_to(service.address)
        .replace("  listen: 127.0.0.1:0\n", &format!("  listen: {}\n", engine.address));
    let second = ask(folder_with(&same).path(), &["run"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("Is another engine running?"), "{second:?}");
    assert_eq!(engine.get("/v1/bytes/1").status, 200);
    engine.stop();
}

#[test]
fn a_bad_configuration_is_named_by_file_line_and_key() {
    let folder = folder_with("server: { listen: 127.0.0.1:0 }\nupstreams:\n  up: { endpoint: [] }\n");
    let refused = ask(folder.path(), &["run"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    for part in ["mainstay.yaml:3:9: error", "key: upstreams.up.endpoint\n", "did you mean `endpoints`?"] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
    let missing = ask(folder.path(), &["run", "-c", "nowhere.yaml"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.err.contains("nowhere.yaml"), "{missing:?}");
}

#[test]
fn a_restart_with_a_broken_file_serves_the_last_good_one_loudly() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    let Engine { mut process, folder, .. } = engine;
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 0);
    std::fs::write(folder.path().join("mainstay.yaml"), "server:\n  listn: 127.0.0.1:0\n").unwrap();
    let engine = Engine::start_in(folder);
    let used = engine.process.event("last_good_used", 1);
    assert_eq!((&used["level"], &used["problems"]), (&"error".into(), &1.into()), "{used}");
    assert!(used["first"].as_str().unwrap().contains("listn"), "{used}");
    assert!(engine.process.err().contains("mainstay.yaml:2:3: error"), "{}", engine.process.err());
    assert_eq!(engine.get("/v1/bytes/1").status, 200);
    assert_eq!(engine.control("/readyz").status, 200);
    let metrics = engine.control("/metrics").body;
    assert!(metrics.contains("mainstay_events_total{event=\"last_good_used\"} 1"), "{metrics}");
    // Without what it remembers the file is all there is.
    let Engine { mut process, folder, .. } = engine;
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 0);
    std::fs::remove_file(folder.path().join("mainstay.last-good.json")).unwrap();
    assert_eq!(ask(folder.path(), &["run"]).code, 1);
}

/// What the engine remembers is a pipe here, so that it is known to be still starting when the signal comes.
#[test]
fn a_signal_during_the_start_is_not_lost_and_kills_nothing() {
    let folder = folder_with(&forward_to("127.0.0.1:1".parse().unwrap()));
    let pipe = folder.path().join("mainstay.last-good.json");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut process = Process::start(mainstay(folder.path()).arg("run"));
    // Opening waits for the other side to read.
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    process.signal(Signal::TERM);
    drop(writer);
    assert_eq!(process.code(), 0, "{}", process.err());
    assert_eq!(process.event("draining", 1)["reason"], "SIGTERM");
}

#[test]
fn a_snapshot_that_cannot_be_kept_is_told_and_stops_nothing() {
    let folder = folder_with(&forward_to("127.0.0.1:1".parse().unwrap()));
    std::fs::create_dir(folder.path().join("mainstay.last-good.json.new")).unwrap();
    let engine = Engine::start_in(folder);
    let told = engine.process.event("snapshot_not_saved", 1);
    assert_eq!(told["level"], "error", "{told}");
    assert_eq!(engine.control("/readyz").status, 200);
    engine.stop();
}

#[test]
fn the_log_of_a_reader_that_has_gone_stops_nothing() {
    let service = Payments::start();
    let folder = folder_with(&forward_to(service.address));
    let mut process = Process::start_unheard(mainstay(folder.path()).arg("run"));
    let started = process.event("started", 1);
    let address = started["listen"].as_str().unwrap().parse().unwrap();
    assert_eq!(get(address, "/v1/bytes/1").status, 200);
    process.event("log_output_failed", 1);
    assert_eq!(get(address, "/v1/bytes/1").status, 200);
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 0);
}
