//! What the tests share: the binary as a child process, plain HTTP exchanges, and services to stand in front of.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use mainstay_payments::{Ledger, Service};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A guard only: nothing waits this long unless it is broken.
pub(crate) const GUARD: Duration = Duration::from_secs(30);

/// A command of the binary, in a folder.
pub(crate) fn mainstay(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// What a command that ends by itself has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end, which it has to reach by itself.
#[track_caller]
pub(crate) fn ask(folder: &Path, arguments: &[&str]) -> Answer {
    let mut process = Process::start(mainstay(folder).args(arguments));
    let code = process.code();
    Answer { code, out: process.out(), err: process.err() }
}

/// What a process has written to one of its outputs so far.
#[derive(Clone, Default)]
struct Output(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    text: String,
    ended: bool,
}

impl Output {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let writer = output.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let read = source.read(&mut bytes).unwrap_or(0);
                let (written, changed) = &*writer.0;
                let mut written = written.lock().unwrap();
                written.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                written.ended = read == 0;
                changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        output
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Waits until `found` sees what it looks for.
    #[track_caller]
    fn until<T>(&self, found: impl Fn(&str) -> Option<T>) -> T {
        self.until_or_end(found).unwrap_or_else(|| panic!("the process has ended:\n{}", self.text()))
    }

    /// The same; nothing when the process ends without it.
    #[track_caller]
    fn until_or_end<T>(&self, found: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (written, changed) = &*self.0;
        let mut written = written.lock().unwrap();
        loop {
            if let Some(found) = found(&written.text) {
                return Some(found);
            }
            if written.ended {
                return None;
            }
            let (next, waited) = changed.wait_timeout(written, GUARD).unwrap();
            if waited.timed_out() {
                let text = next.text.clone();
                drop(next);
                panic!("not in time:\n{text}");
            }
            written = next;
        }
    }

    #[track_caller]
    fn until_end(&self) {
        let (written, changed) = &*self.0;
        let written = written.lock().unwrap();
        let (written, waited) = changed.wait_timeout_while(written, GUARD, |w| !w.ended).unwrap();
        // A panic with the lock in hand would hide itself behind another one, of the reader.
        let text = written.text.clone();
        drop(written);
        assert!(!waited.timed_out(), "the process goes on:\n{text}");
    }
}

/// A process of the binary that goes on until it is told to end. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    out: Output,
    err: Output,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Output::of(child.stdout.take().unwrap());
        let err = Output::of(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// As `mainstay ... | true`: nobody reads its standard output.
    pub(crate) fn start_unheard(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = Output::of(std::io::empty());
        let err = Output::of(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, once the process has ended by itself.
    #[track_caller]
    pub(crate) fn code(&mut self) -> i32 {
        self.out.until_end();
        self.err.until_end();
        self.child.wait().unwrap().code().expect("an exit code, not a signal")
    }

    /// The exit code, once the process has ended by itself, whoever else goes on writing to its outputs.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        let mut ended = None;
        until(|| {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.and_then(|status| status.code()).expect("an exit code, not a signal")
    }

    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    pub(crate) fn err(&self) -> String {
        self.err.text()
    }

    /// Waits for a text on standard output.
    #[track_caller]
    pub(crate) fn out_until<T>(&self, found: impl Fn(&str) -> Option<T>) -> T {
        self.out.until(found)
    }

    /// True once it serves, false when it has ended instead.
    #[track_caller]
    pub(crate) fn started(&mut self) -> bool {
        self.err.until_or_end(|text| events(text).into_iter().find(|e| e["event"] == "started")).is_some()
    }

    /// Waits for the nth event of a kind on standard error, from 1.
    #[track_caller]
    pub(crate) fn event(&self, name: &str, nth: usize) -> Value {
        self.err.until(|text| events(text).into_iter().filter(|e| e["event"] == name).nth(nth - 1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events among the lines of standard error. A line that is not whole yet is none.
fn events(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A running engine, with the folder of its configuration.
pub(crate) struct Engine {
    pub(crate) process: Process,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) control: SocketAddr,
}

impl Engine {
    /// Starts `mainstay run` and reads from its `started` event where it listens, as a user would.
    #[track_caller]
    pub(crate) fn start(configuration: &str) -> Self {
        let folder = folder_with(configuration);
        Self::start_in(folder)
    }

    #[track_caller]
    pub(crate) fn start_in(folder: tempfile::TempDir) -> Self {
        Self::started(Process::start(mainstay(folder.path()).args(["run", "-c", "mainstay.yaml"])), folder)
    }

    /// One that was started in its folder by other means. Of several listeners the first one is asked.
    #[track_caller]
    pub(crate) fn started(process: Process, folder: tempfile::TempDir) -> Self {
        let started = process.event("started", 1);
        let address = |key: &str| started[key].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        Self { address: address("listen"), control: address("control"), process, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn configuration(&self) -> String {
        std::fs::read_to_string(self.path("mainstay.yaml")).unwrap()
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.path("mainstay.yaml"), text).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Exchange {
        get(self.address, path)
    }

    pub(crate) fn control(&self, path: &str) -> Exchange {
        get(self.control, path)
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.path("mainstay.token")).unwrap().trim_end().to_owned()
    }

    /// A command that asks this engine.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answer {
        let admin = format!("http://{}", self.control);
        let here = ["--admin", &admin, "--token-file", "mainstay.token"];
        ask(self.folder.path(), &[arguments, &here].concat())
    }

    /// SIGTERM, and everything is finished.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.code(), 0, "{}", self.process.err());
    }
}

pub(crate) fn folder_with(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mainstay.yaml"), configuration).unwrap();
    folder
}

/// A configuration that forwards everything below `/v1` to one upstream.
pub(crate) fn forward_to(upstream: SocketAddr) -> String {
    format!(
        "server:\n  listen: 127.0.0.1:0\n  workers: 2\n\
         control: {{ listen: 127.0.0.1:0 }}\n\
         upstreams:\n  up: {{ endpoints: [\"http://{upstream}\"] }}\n\
         apis:\n  pay:\n    defaults: {{ auth: none }}\n    versions:\n      v1:\n        upstream: up\n        \
         operations:\n          \"* /{{*rest}}\": {{}}\n"
    )
}

/// A parsed answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Exchange {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Exchange {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, bytes: &str) -> Exchange {
    let mut stream = connect(address);
    stream.write_all(bytes.as_bytes()).unwrap();
    answer(&mut stream)
}

/// Everything until the other side closes.
pub(crate) fn answer(stream: &mut TcpStream) -> Exchange {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Exchange::parse(&String::from_utf8_lossy(&bytes))
}

/// Asks again until the answer is what is waited for.
#[track_caller]
pub(crate) fn until(mut happened: impl FnMut() -> bool) {
    let (stop, stopped) = sync_channel::<()>(1);
    let (timed_out, guard) = sync_channel(1);
    std::thread::spawn(move || {
        let in_time = stopped.recv_timeout(GUARD).is_ok();
        // Nobody listens when the test has gone on.
        let _ = timed_out.try_send(in_time);
    });
    while !happened() {
        assert!(guard.try_recv() != Ok(false), "not in time");
        std::thread::yield_now();
    }
    let _ = stop.try_send(());
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// The payments service in this process, until it is dropped.
pub(crate) struct Payments {
    pub(crate) address: SocketAddr,
    _stop: SyncSender<()>,
}

impl Payments {
    pub(crate) fn start() -> Self {
        let (addressed, address) = sync_channel(1);
        let (stop, stopped) = sync_channel::<()>(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let running = Service::start(Ledger::new(), any_port(), "payments").unwrap();
                addressed.send(running.addr).unwrap();
                // Ends when the sender is dropped.
                let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
                drop(running);
            });
        });
        Self { address: address.recv_timeout(GUARD).unwrap(), _stop: stop }
    }
}

/// An upstream that takes one request and answers it with 201 when it is told to.
pub(crate) struct Held {
    pub(crate) address: SocketAddr,
    arrived: Receiver<()>,
    release: SyncSender<()>,
}

impl Held {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let (arrive, arrived) = sync_channel(1);
        let (release, released) = sync_channel::<()>(1);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&mut stream);
            arrive.send(()).unwrap();
            if released.recv().is_ok() {
                stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone").unwrap();
            }
        });
        Self { address, arrived, release }
    }

    pub(crate) fn arrived(&self) {
        self.arrived.recv_timeout(GUARD).expect("a request");
    }

    pub(crate) fn release(&self) {
        self.release.send(()).unwrap();
    }
}

fn read_head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        seen.push(byte[0]);
    }
}
