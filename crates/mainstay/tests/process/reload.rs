//! A running process takes another configuration, or refuses it and says why.

use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::clients::Clients;
use crate::run::{Engine, Payments, ask, folder_with, forward_to, until};

fn with_log(text: &str) -> String {
    format!("{text}telemetry: {{ log: {{ output: access.log }} }}\n")
}

#[test]
fn sighup_refuses_a_bad_file_and_takes_a_good_one() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    let good = engine.configuration();
    engine.configure(&good.replace("upstream: up", "upstream: down"));
    engine.process.signal(Signal::HUP);
    let refused = engine.process.event("reload_refused", 1);
    assert_eq!((&refused["level"], &refused["problems"]), (&"error".into(), &1.into()), "{refused}");
    until(|| engine.process.err().contains("mainstay.yaml:12:19: error: "));
    assert_eq!(engine.get("/v1/bytes/1").status, 200);
    engine.configure(&good.replace("      v1:", "      v7:\n        strip_prefix: true"));
    engine.process.signal(Signal::HUP);
    let reloaded = engine.process.event("config_reloaded", 1);
    assert_eq!(reloaded["generation"], 2, "{reloaded}");
    assert_eq!(engine.get("/v7/echo").status, 200);
    assert_eq!(engine.get("/v1/echo").json()["code"], "unknown_version");
    let metrics = engine.control("/metrics").body;
    let info = format!("mainstay_config_info{{digest={},generation=\"2\"}} 1", reloaded["digest"]);
    for line in
        ["mainstay_reloads_total{result=\"ok\"} 1", "mainstay_reloads_total{result=\"refused\"} 1", &info]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    engine.stop();
}

#[test]
fn sighup_opens_the_log_anew_even_when_the_file_is_bad() {
    let service = Payments::start();
    let engine = Engine::start(&with_log(&forward_to(service.address)));
    let log = |name: &str| std::fs::read_to_string(engine.path(name)).unwrap_or_default();
    engine.get("/v1/bytes/1");
    until(|| log("access.log").ends_with('\n'));
    std::fs::rename(engine.path("access.log"), engine.path("old.log")).unwrap();
    engine.configure("server: [");
    engine.process.signal(Signal::HUP);
    engine.process.event("reload_refused", 1);
    engine.get("/v1/bytes/2");
    until(|| log("access.log").ends_with('\n'));
    assert_eq!((log("old.log").lines().count(), log("access.log").lines().count()), (1, 1));
    engine.stop();
}

#[test]
fn the_command_reloads_and_tells_what_is_wrong() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    let good = engine.configuration();
    let loaded = engine.ask(&["reload"]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    assert!(loaded.out.starts_with("loaded: generation 2, digest "), "{loaded:?}");
    let loaded = engine.ask(&["reload", "--output", "json"]).json();
    assert_eq!(loaded["generation"], 3, "{loaded}");
    assert_eq!(loaded["digest"].as_str().map(str::len), Some(12), "{loaded}");
    engine.configure(&good.replace("upstream: up", "upstream: down"));
    let refused = engine.ask(&["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.out.contains("mainstay.yaml:12:19: "), "{refused:?}");
    let refused = engine.ask(&["reload", "--output", "json"]);
    assert_eq!((refused.code, &refused.json()["problems"][0]["line"]), (1, &12.into()), "{refused:?}");
    // What cannot change while it runs is refused as well, and says so.
    engine.configure(&good.replace("workers: 2", "workers: 3"));
    let refused = engine.ask(&["reload"]);
    assert!(refused.code == 1 && refused.out.contains("restart the engine"), "{refused:?}");
    assert_eq!(engine.get("/v1/bytes/1").status, 200);
    engine.stop();
}

/// The file tells where the engine is; when it has just been spoilt, the last good one does.
#[test]
fn the_engine_is_found_although_its_file_is_broken() {
    let (folder, mut process) = on_a_control_address_of_its_own();
    let versions = ask(folder.path(), &["versions"]);
    assert_eq!(versions.code, 0, "{versions:?}");
    std::fs::write(folder.path().join("mainstay.yaml"), "server:\n  listn: 127.0.0.1:0\n").unwrap();
    let refused = ask(folder.path(), &["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.out.contains("mainstay.yaml:2:3: "), "{refused:?}");
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 0);
    // Nobody is there any more.
    assert_eq!(ask(folder.path(), &["reload"]).code, 3);
}

/// An engine whose configuration names its control port, as configurations do. A port that was free a moment ago may be
/// taken; then another is tried.
fn on_a_control_address_of_its_own() -> (tempfile::TempDir, crate::run::Process) {
    let text = forward_to("127.0.0.1:1".parse().unwrap());
    loop {
        let free = std::net::TcpListener::bind(crate::run::any_port()).unwrap().local_addr().unwrap();
        let folder = folder_with(
            &text.replace("control: { listen: 127.0.0.1:0 }", &format!("control: {{ listen: \"{free}\" }}")),
        );
        let mut process = crate::run::Process::start(crate::run::mainstay(folder.path()).arg("run"));
        if process.started() {
            return (folder, process);
        }
        assert!(process.err().contains("in use"), "{}", process.err());
    }
}

#[test]
fn reloads_that_change_everything_lose_no_request() {
    let payments = [Payments::start(), Payments::start()];
    let engine = Engine::start(&forward_to(payments[0].address));
    let good = engine.configuration();
    let socket = engine.path("in.sock");
    let with_listener = good.replace(
        "listen: 127.0.0.1:0\n  workers",
        &format!("listen: [127.0.0.1:0, \"unix:{}\"]\n  workers", socket.display()),
    );
    let elsewhere = good.replace(&payments[0].address.to_string(), &payments[1].address.to_string());
    let two_endpoints = good.replace(
        &format!("[\"http://{}\"]", payments[0].address),
        &format!("[\"http://{}\", \"http://{}\"]", payments[0].address, payments[1].address),
    );
    let clients = Clients::start(engine.address);
    assert!([&with_listener, &elsewhere, &two_endpoints].iter().all(|changed| ***changed != good));
    for _ in 0..5 {
        for changed in [&with_listener, &elsewhere, &two_endpoints, &good] {
            engine.configure(changed);
            let reloaded = engine.ask(&["reload"]);
            assert_eq!(reloaded.code, 0, "{reloaded:?}");
            clients.some_more();
        }
        assert!(UnixStream::connect(&socket).is_err(), "the listener is gone again");
    }
    engine.process.event("listeners_changed", 2);
    clients.stop();
    engine.stop();
}
