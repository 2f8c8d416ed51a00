//! A new process in the place of the old one, and sockets that a service manager brings.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::clients::Clients;
use crate::run::{
    Engine, GUARD, Held, Payments, Process, answer, ask, connect, folder_with, forward_to, get, mainstay,
    until,
};

/// An engine whose program lies in its own folder, where another release can be put in its place.
fn replaceable(configuration: &str) -> Engine {
    let folder = folder_with(configuration);
    let program = folder.path().join("engine");
    let built = Path::new(env!("CARGO_BIN_EXE_mainstay"));
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).unwrap();
    }
    let mut command = Command::new(program);
    let process = Process::start(command.current_dir(folder.path()).stdin(Stdio::null()).args([
        "run",
        "-c",
        "mainstay.yaml",
    ]));
    Engine::started(process, folder)
}

/// Puts a script in the place of the program.
fn replace_by(engine: &Engine, script: &str) {
    let new = engine.path("new");
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, engine.path("engine")).unwrap();
}

/// A process that another one has started. Dropping it ends it.
struct Successor(Pid);

impl Successor {
    fn of(process: &Process, nth: usize) -> Self {
        let pid = process.event("handed_over", nth)["pid"].as_i64().unwrap();
        Self(Pid::from_raw(pid.try_into().unwrap()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_new_process_takes_over_and_no_client_notices() {
    let payments = Payments::start();
    let mut engine = replaceable(&forward_to(payments.address));
    let clients = Clients::start(engine.address);
    clients.some_more();
    engine.process.signal(Signal::USR2);
    let mut now = Successor::of(&engine.process, 1);
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
    for nth in 2..=4 {
        clients.some_more();
        // The new process answers on the control listener, and is handed over in its turn.
        assert_eq!(get(engine.control, "/readyz").status, 200);
        now.signal(Signal::USR2);
        let next = Successor::of(&engine.process, nth);
        until(|| test_kill_process(now.0).is_err());
        now = next;
    }
    clients.some_more();
    clients.stop();
    assert_eq!(engine.ask(&["reload"]).code, 0);
}

#[test]
fn what_runs_is_finished_by_the_old_process() {
    let held = Held::start();
    let mut engine = replaceable(&forward_to(held.address));
    let mut client = connect(engine.address);
    client.write_all(b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    held.arrived();
    engine.process.signal(Signal::USR2);
    let _new = Successor::of(&engine.process, 1);
    assert_eq!(engine.process.event("draining", 1)["reason"], "hand-over");
    held.release();
    let answer = answer(&mut client);
    assert_eq!((answer.status, &*answer.body), (201, "done"), "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
}

/// Says all that a new process says, and ends when it should accept.
const ENDS_WHEN_IT_SHOULD_SERVE: &str = r#"#!/usr/bin/env python3
import os, socket
line = socket.socket(fileno=os.dup(0))
while b'"all"' not in line.recv(4096):
    pass
line.send(b'{"say":"ready"}')
assert b'"yours"' in line.recv(4096)
"#;

/// It ends only when it is ended: what lies unread in the line at an end overtakes what was said before.
const SPEAKS_ANOTHER_LANGUAGE: &str = r#"#!/usr/bin/env python3
import socket
line = socket.socket(fileno=0)
while b'"all"' not in line.recv(4096):
    pass
line.send(b'hello')
line.recv(4096)
"#;

#[test]
fn a_new_process_that_does_not_get_there_changes_nothing() {
    let payments = Payments::start();
    let mut engine = replaceable(&forward_to(payments.address));
    let clients = Clients::start(engine.address);
    let mut failed = 0;
    let mut fails = |engine: &Engine, because: &str| {
        failed += 1;
        engine.process.signal(Signal::USR2);
        let event = engine.process.event("handover_failed", failed);
        assert!(event["cause"].as_str().unwrap().contains(because), "{event}");
        clients.some_more();
        assert_eq!(get(engine.control, "/readyz").status, 200);
        let counted = format!("mainstay_handovers_failed_total {failed}");
        assert!(engine.control("/metrics").body.contains(&counted), "{counted}");
    };
    // A configuration that does not load is not replaced by the last good one: that is what serves already.
    let good = engine.configuration();
    engine.configure(&good.replace("workers", "wrokers"));
    fails(&engine, "it has ended; standard error says why");
    assert!(engine.process.err().contains("wrokers"), "{}", engine.process.err());
    engine.configure(&good);
    replace_by(&engine, "#!/bin/sh\nexit 3\n");
    fails(&engine, "it has ended");
    replace_by(&engine, ENDS_WHEN_IT_SHOULD_SERVE);
    fails(&engine, "it has ended");
    replace_by(&engine, SPEAKS_ANOTHER_LANGUAGE);
    fails(&engine, "another release");
    fs::remove_file(engine.path("engine")).unwrap();
    fails(&engine, "does not start");
    clients.stop();
    engine.process.signal(Signal::TERM);
    assert_eq!(engine.process.code(), 0, "{}", engine.process.err());
}

#[test]
fn told_to_end_while_a_new_process_loads_both_end() {
    let payments = Payments::start();
    let mut engine = replaceable(&forward_to(payments.address));
    replace_by(&engine, "#!/bin/sh\necho $$ > child\nexec sleep 1000\n");
    engine.process.signal(Signal::USR2);
    let child = engine.path("child");
    until(|| fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n')));
    let child = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    // Ended with the test, should it go on.
    let child = Successor(Pid::from_raw(child).unwrap());
    engine.process.signal(Signal::TERM);
    assert_eq!(engine.process.code(), 0, "{}", engine.process.err());
    // It is there until whoever inherits it has asked how it ended.
    until(|| test_kill_process(child.0).is_err());
}

#[test]
fn a_unix_socket_stays_where_it_is() {
    let payments = Payments::start();
    let configuration = forward_to(payments.address)
        .replace("listen: 127.0.0.1:0\n  workers", "listen: [127.0.0.1:0, \"unix:in.sock\"]\n  workers");
    let mut engine = replaceable(&configuration);
    let path = engine.path("in.sock");
    let asks = |path: &PathBuf| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream
            .write_all(b"GET /v1/payments/pay_none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    };
    asks(&path);
    engine.process.signal(Signal::USR2);
    let new = Successor::of(&engine.process, 1);
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
    asks(&path);
    new.signal(Signal::TERM);
    until(|| !path.exists());
}

/// The socket of a service manager, and what it was told.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(GUARD)).unwrap();
        Self(socket)
    }

    fn told(&self) -> String {
        let mut text = [0; 256];
        let length = self.0.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim_end().to_owned()
    }
}

#[test]
fn a_service_manager_is_told_how_things_stand() {
    let payments = Payments::start();
    let folder = folder_with(&forward_to(payments.address));
    let manager = Manager::at(&folder.path().join("notify"));
    let mut command = mainstay(folder.path());
    command.env("NOTIFY_SOCKET", folder.path().join("notify")).env("INVOCATION_ID", "1");
    let process = Process::start(command.args(["run", "-c", "mainstay.yaml"]));
    let mut engine = Engine::started(process, folder);
    assert_eq!(manager.told(), "READY=1");
    engine.process.signal(Signal::HUP);
    assert!(manager.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(manager.told(), "READY=1");
    engine.process.signal(Signal::USR2);
    let new = Successor::of(&engine.process, 1);
    // The manager must not take the end of its main process for the end of the service: it learns of another one first.
    let mut told = [manager.told(), manager.told()];
    told.sort();
    assert_eq!(told, [format!("MAINPID={}", new.0.as_raw_pid()), "READY=1".to_owned()]);
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
    new.signal(Signal::TERM);
    assert_eq!(manager.told(), "STOPPING=1");
}

#[test]
fn a_manager_that_would_take_it_for_the_end_is_a_reason_to_refuse() {
    let folder = folder_with(&forward_to(SocketAddr::from(([127, 0, 0, 1], 9))));
    let mut command = mainstay(folder.path());
    command.env("INVOCATION_ID", "1").env_remove("NOTIFY_SOCKET");
    let engine = Engine::started(Process::start(command.args(["run", "-c", "mainstay.yaml"])), folder);
    engine.process.signal(Signal::USR2);
    let failed = engine.process.event("handover_failed", 1);
    assert!(failed["cause"].as_str().unwrap().contains("Type=notify"), "{failed}");
    assert_eq!(engine.control("/readyz").status, 200);
    engine.stop();
}

/// Starts a program with a socket as `sd_listen_fds(3)` says: as descriptor 3.
const ACTIVATE: &str = r"
import fcntl, os, sys
given = fcntl.fcntl(0, fcntl.F_DUPFD, 10)
os.dup2(given, 3, inheritable=True)
os.environ['LISTEN_FDS'] = '1'
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(sys.argv[1], sys.argv[1:])
";

fn activated(folder: tempfile::TempDir, socket: TcpListener) -> (Process, tempfile::TempDir) {
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_mainstay"), "run", "-c", "mainstay.yaml"]);
    command.current_dir(folder.path()).stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
    (Process::start(&mut command), folder)
}

#[test]
fn sockets_of_a_service_manager_are_served_and_not_bound_again() {
    let payments = Payments::start();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Whoever connects before the engine is there waits.
    let mut early = connect(address);
    early.write_all(b"GET /v1/payments/pay_none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let configuration =
        forward_to(payments.address).replace("127.0.0.1:0\n  workers", &format!("{address}\n  workers"));
    let (process, folder) = activated(folder_with(&configuration), socket);
    assert_eq!(answer(&mut early).status, 404);
    let mut engine = Engine::started(process, folder);
    assert_eq!(engine.get("/v1/payments/pay_none").status, 404);
    // They are handed on like any other.
    let clients = Clients::start(address);
    engine.process.signal(Signal::USR2);
    let _new = Successor::of(&engine.process, 1);
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
    clients.some_more();
    clients.stop();
}

#[test]
fn a_socket_that_nobody_would_serve_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let folder = folder_with(&forward_to(SocketAddr::from(([127, 0, 0, 1], 9))));
    let (mut process, _folder) = activated(folder, socket);
    assert_eq!(process.code(), 1);
    let says = format!("handed over {address}, which neither server.listen nor control.listen names");
    assert!(process.err().contains(&says), "{}", process.err());
}

#[test]
fn the_mark_of_a_hand_over_alone_is_an_error() {
    let folder = folder_with(&forward_to(SocketAddr::from(([127, 0, 0, 1], 9))));
    let mut process = Process::start(mainstay(folder.path()).env("MAINSTAY_HANDOVER", "1").args(["run"]));
    assert_eq!(process.code(), 1);
    assert!(process.err().contains("MAINSTAY_HANDOVER is set"), "{}", process.err());
    // Other commands do not look at it.
    assert_eq!(ask(folder.path(), &["check", "mainstay.yaml"]).code, 0);
}

/// As an old process that lets go of a socket, and then is not there to hear that the new one serves.
#[test]
fn a_new_process_that_may_not_serve_after_all_takes_no_path_away() {
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    };
    use std::os::fd::AsFd;
    let folder = folder_with(
        &forward_to(SocketAddr::from(([127, 0, 0, 1], 9)))
            .replace("listen: 127.0.0.1:0\n  workers", "listen: \"unix:in.sock\"\n  workers"),
    );
    let path = folder.path().join("in.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    let say = |text: &str, beside: &[std::os::fd::BorrowedFd<'_>]| {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(beside.is_empty() || control.push(SendAncillaryMessage::ScmRights(beside)));
        let packet = [std::io::IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg(&ours, &packet, &mut control, SendFlags::empty()).unwrap();
    };
    say(r#"{"say":"sockets","listener":"unix:in.sock"}"#, &[listener.as_fd()]);
    say(r#"{"say":"all"}"#, &[]);
    let mut command = mainstay(folder.path());
    command.env("MAINSTAY_HANDOVER", "1").stdin(Stdio::from(theirs)).args(["run", "-c", "mainstay.yaml"]);
    let mut process = Process::start(&mut command);
    // The command holds the other end as well, as long as it lives.
    drop(command);
    let mut said = [0; 64];
    let (length, _) = rustix::net::recv(&ours, &mut said[..], rustix::net::RecvFlags::empty()).unwrap();
    assert_eq!(&said[..length], br#"{"say":"ready"}"#);
    say(r#"{"say":"yours"}"#, &[]);
    drop(ours);
    assert_eq!(process.code(), 1, "{}", process.err());
    assert!(process.err().contains("the old process has not handed over"), "{}", process.err());
    assert!(path.exists(), "the old process still listens there");
    drop(listener);
}

/// In front of a service, for whoever has a key.
fn for_keys(service: SocketAddr) -> String {
    forward_to(service).replace("auth: none", "auth: api_key")
}

/// The status that a key is answered with.
fn status_with(engine: &Engine, key: &str) -> u16 {
    let mut stream = connect(engine.address);
    let head =
        format!("GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    answer(&mut stream).status
}

/// A key of a consumer, made by command, that the data plane knows.
fn key_of(engine: &Engine, consumer: &str) -> String {
    let made = engine.ask(&["key", "create", "--consumer", consumer, "--output", "json"]);
    assert_eq!(made.code, 0, "{made:?}");
    let key = made.json()["key"].as_str().unwrap().to_owned();
    until(|| status_with(engine, &key) == 200);
    key
}

/// One process at a time has the files: the old one gives them up, and what it told nobody about is no failure.
#[test]
fn the_catalogue_goes_over_too() {
    let payments = Payments::start();
    let mut engine = replaceable(&for_keys(payments.address));
    assert_eq!(engine.ask(&["consumer", "create", "acme", "--name", "Acme"]).code, 0);
    let key = key_of(&engine, "acme");
    engine.process.signal(Signal::USR2);
    let _new = Successor::of(&engine.process, 1);
    assert_eq!(engine.process.ended(), 0, "{}", engine.process.err());
    assert!(!engine.process.err().contains("catalogue_unavailable"), "{}", engine.process.err());
    assert_eq!(status_with(&engine, &key), 200);
    key_of(&engine, "acme");
    assert_eq!(engine.ask(&["audit", "verify"]).code, 0);
}

#[test]
fn a_catalogue_that_nobody_took_is_taken_back() {
    let payments = Payments::start();
    let engine = replaceable(&for_keys(payments.address));
    assert_eq!(engine.ask(&["consumer", "create", "acme", "--name", "Acme"]).code, 0);
    let key = key_of(&engine, "acme");
    replace_by(&engine, ENDS_WHEN_IT_SHOULD_SERVE);
    engine.process.signal(Signal::USR2);
    engine.process.event("handover_failed", 1);
    assert_eq!(status_with(&engine, &key), 200);
    until(|| engine.ask(&["consumer", "list"]).code == 0);
    key_of(&engine, "acme");
    assert!(!engine.process.err().contains("catalogue_unavailable"), "{}", engine.process.err());
}
