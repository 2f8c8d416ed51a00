//! Clients that mean no good, many of them: what they cost, and what others notice of them.
//!
//! Two engines stand in front of one service. One is flooded, and a client asks both in turns, so that whatever else this
//! machine does slows both down. The runs of every day are small; `--long` has the real ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::clock::monotonic;
use rustix::process::{Pid, Resource, Rlimit};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::run::{Engine, GUARD, Payments, answer, connect, forward_to, until};

/// Requests of the client that means well, to each engine.
const REQUESTS: usize = 300;
/// A neighbour on this machine may spoil a comparison; one that is not spoilt is enough.
const ROUNDS_MAX: usize = 20;
/// What memory may grow by for other reasons than connections.
const SLACK_KIB: u64 = 6 * 1024;

/// What is opened many times and then left alone.
struct Burden {
    name: &'static str,
    /// What each connection sends.
    sends: Vec<u8>,
    /// The receive buffer of the client, where the engine is to be held up.
    receives_max: Option<usize>,
    /// What an engine may hold for each.
    each_kib_max: u64,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that are not indexed. None is longer than 126 bytes.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.bytes());
        }
    }
    bytes
}

fn head(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)])
}

fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

fn burdens() -> Vec<Burden> {
    let http2 = |settings: &[u8], more: &[u8]| [PREFACE, &frame(SETTINGS, 0, 0, settings), more].concat();
    vec![
        Burden { name: "idle, never used", sends: Vec::new(), receives_max: None, each_kib_max: 4 },
        Burden {
            name: "idle after a request",
            sends: b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            receives_max: None,
            each_kib_max: 6,
        },
        Burden {
            name: "slow heads",
            sends: b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nX: ".to_vec(),
            receives_max: None,
            each_kib_max: 16,
        },
        Burden {
            name: "slow bodies",
            sends: b"POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx".to_vec(),
            receives_max: None,
            each_kib_max: 64,
        },
        Burden {
            name: "slow readers",
            sends: b"GET /v1/bytes/20000000 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            receives_max: Some(4096),
            each_kib_max: 256,
        },
        Burden { name: "HTTP/2, idle", sends: http2(&[], &[]), receives_max: None, each_kib_max: 64 },
        Burden {
            name: "HTTP/2, window of 0",
            sends: http2(&[0, 4, 0, 0, 0, 0], &get_frame(1, "/v1/bytes/20000000")),
            receives_max: None,
            each_kib_max: 1280,
        },
    ]
}

#[test]
fn connections_that_lie_there_are_a_small_burden() {
    for burden in burdens() {
        carry(&burden, 150);
    }
}

#[test]
#[ignore = "5,000 connections of each kind"]
fn thousands_of_connections_that_lie_there_are_a_small_burden() {
    for burden in burdens() {
        // Those that hold a connection to the service as well.
        let few = ["bodies", "readers", "window"].iter().any(|with| burden.name.contains(with));
        carry(&burden, if few { 1000 } else { 5000 });
    }
}

/// Two engines before one service.
struct Pair {
    flooded: Engine,
    calm: Engine,
    _service: Payments,
}

impl Pair {
    fn start() -> Self {
        let service = Payments::start();
        let limits = "limits: { connections_per_client: 20000, header_timeout: 10m, body_timeout: 10m, idle_timeout: 10m }";
        let configuration = forward_to(service.address)
            .replace("workers: 2\n", &format!("workers: 2\n  health_path: /healthz\n  {limits}\n"))
            .replace("\"] }\n", "\"], pool: { connections_max: 5000 }, timeouts: off }\n");
        let configuration = format!("{configuration}telemetry: {{ log: {{ output: none }} }}\n");
        let pair = Self {
            flooded: Engine::start(&configuration),
            calm: Engine::start(&configuration),
            _service: service,
        };
        pair.compare();
        until(|| sum(&pair.flooded, "mainstay_connections{", "") == 0);
        pair
    }

    /// The 99th percentile of both after a round in which a client asks them in turns.
    fn compare(&self) -> [Duration; 2] {
        // Two connections each: one for each worker.
        let mut clients =
            [&self.flooded, &self.calm].map(|engine| [connect(engine.address), connect(engine.address)]);
        let mut took = [Vec::new(), Vec::new()];
        for nth in 0..REQUESTS {
            for (clients, took) in clients.iter_mut().zip(&mut took) {
                let began = monotonic();
                ask(&mut clients[nth % 2]);
                took.push(began.elapsed());
            }
        }
        took.map(|mut took| {
            took.sort_unstable();
            took[REQUESTS * 99 / 100 - 1]
        })
    }

    /// Others notice nothing: in one round at least their p99 is within `factor` of that of the calm engine.
    #[track_caller]
    fn is_unmoved(&self, name: &str, factor: f64) -> [Duration; 2] {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let both = self.compare();
            if both[0].as_secs_f64() <= both[1].as_secs_f64() * factor {
                return both;
            }
            seen.push(both);
        }
        panic!("{name}: the p99 of others is over {factor} x in every round: {seen:?}");
    }

    /// Everything has been given back.
    #[track_caller]
    fn is_over(&self, before: usize) {
        for gauge in [
            "mainstay_connections{",
            "http_server_active_requests",
            "mainstay_upstream_in_flight",
            "mainstay_settling",
        ] {
            until(|| sum(&self.flooded, gauge, "") == 0);
        }
        until(|| {
            sum(&self.flooded, "mainstay_pool_connections{", "idle") as usize + before
                >= descriptors(&self.flooded)
        });
    }
}

/// The sum of a gauge over its series with a label.
fn sum(engine: &Engine, name: &str, label: &str) -> u64 {
    let metrics = engine.control("/metrics").body;
    let series = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// A request whose answer is a byte.
fn ask(client: &mut TcpStream) {
    client.write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") || seen.ends_with(b"\r\n\r\n") {
        let read = client.read(&mut bytes).unwrap();
        assert!(read > 0, "cut off after {:?}", String::from_utf8_lossy(&seen));
        seen.extend(&bytes[..read]);
    }
    assert!(seen.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&seen));
}

fn proc_file(engine: &Engine, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/{name}", engine.process.id())).unwrap()
}

fn resident_kib(engine: &Engine) -> u64 {
    let status = proc_file(engine, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(engine: &Engine) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", engine.process.id())).unwrap().count()
}

/// Time on a processor so far.
fn used(engine: &Engine) -> Duration {
    let stat = proc_file(engine, "stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on Linux, whatever the kernel's own clock.
    Duration::from_millis(ticks * 10)
}

fn open(address: SocketAddr, receives_max: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(max) = receives_max {
        socket.set_recv_buffer_size(max).unwrap();
    }
    socket.connect(&SockAddr::from(address)).unwrap();
    socket.into()
}

#[expect(clippy::print_stdout, reason = "a long test's numbers are its report")]
fn report(text: &str) {
    println!("{text}");
}

fn carry(burden: &Burden, count: usize) {
    let pair = Pair::start();
    let (fds, kib) = (descriptors(&pair.flooded), resident_kib(&pair.flooded));
    let opened = |_| {
        let mut stream = open(pair.flooded.address, burden.receives_max);
        stream.write_all(&burden.sends).unwrap();
        stream
    };
    let held: Vec<TcpStream> = (0..count).map(opened).collect();
    // Of those that asked before, some may have been counted that were about to be closed.
    until(|| descriptors(&pair.flooded) + 8 >= fds + count);
    if burden.sends.starts_with(b"GET /v1/bytes/2") || burden.sends.ends_with(b"/v1/bytes/20000000") {
        until(|| sum(&pair.flooded, "http_server_active_requests", "") as usize == count);
    }
    let [flooded, calm] = pair.is_unmoved(burden.name, 1.2);
    let grown = resident_kib(&pair.flooded).saturating_sub(kib);
    let bound = burden.each_kib_max * count as u64 + SLACK_KIB;
    report(&format!(
        "{}: {count} connections, {grown} KiB more, {:.1} KiB each, p99 of others {flooded:?}, without {calm:?}",
        burden.name,
        grown as f64 / count as f64
    ));
    assert!(grown <= bound, "{}: {grown} KiB for {count} connections", burden.name);
    drop(held);
    pair.is_over(fds);
    pair.flooded.stop();
}

/// What is sent again and again for as long as it is taken, on a new connection when one ends.
struct Flood {
    name: &'static str,
    /// After the preface.
    begins: Vec<u8>,
    /// The nth piece, from 0.
    piece: fn(u32) -> Vec<u8>,
    /// From how many connections at once others notice nothing of it, where flood and engine share two cores. What has to be
    /// worked off, and is not ended, costs others more when it comes from many.
    connections: usize,
}

/// Enough that most of it is sent before the engine has had enough.
const PIECES: u32 = 400;

fn id(n: u32) -> u32 {
    2 * n + 1
}

const MANY: usize = 8;

fn floods() -> Vec<Flood> {
    let post = frame(HEADERS, END_HEADERS, 1, &head("POST", "/v1/upload"));
    vec![
        Flood {
            name: "rapid reset",
            connections: MANY,
            begins: Vec::new(),
            piece: |n| [get_frame(id(n), "/v1/bytes/1"), frame(RST_STREAM, 0, id(n), &[0, 0, 0, 8])].concat(),
        },
        Flood {
            name: "resets that the engine is made to send",
            connections: 1,
            begins: Vec::new(),
            piece: |n| {
                [get_frame(id(n), "/v1/bytes/1"), frame(WINDOW_UPDATE, 0, id(n), &[0x7f, 0xff, 0xff, 0xff])]
                    .concat()
            },
        },
        Flood {
            name: "CONTINUATION",
            connections: MANY,
            begins: frame(HEADERS, 0, 1, &block(&[(":method", "GET")])),
            piece: |_| frame(CONTINUATION, 0, 1, &block(&[("x", "y")])),
        },
        Flood { name: "empty DATA", connections: MANY, begins: post, piece: |_| frame(DATA, 0, 1, &[]) },
        Flood {
            name: "SETTINGS",
            connections: MANY,
            begins: Vec::new(),
            piece: |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        },
        Flood { name: "PING", connections: MANY, begins: Vec::new(), piece: |_| frame(PING, 0, 0, &[0; 8]) },
        Flood {
            name: "PRIORITY",
            connections: MANY,
            begins: Vec::new(),
            piece: |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]),
        },
        Flood {
            // An entry of 4,000 bytes in the table, then named 16,000 times with a byte each: 64 MB in a frame.
            name: "header compression bomb",
            connections: 1,
            begins: Vec::new(),
            piece: |n| {
                let entry = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'a'; 4000]].concat();
                let block = [head("GET", "/v1/bytes/1"), entry, vec![0xbe; 12_000]].concat();
                frame(HEADERS, END_HEADERS | END_STREAM, id(n), &block)
            },
        },
        Flood {
            name: "windows by a byte",
            connections: MANY,
            begins: Vec::new(),
            piece: |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        },
    ]
}

#[test]
fn floods_are_no_matter_for_others() {
    let pair = Pair::start();
    for flood in floods() {
        withstand(&pair, &flood, 1, 1);
    }
    pair.flooded.stop();
}

#[test]
#[ignore = "every flood from several connections at once, for many rounds"]
fn floods_from_many_connections_are_no_matter_for_others() {
    for flood in floods() {
        let pair = Pair::start();
        withstand(&pair, &flood, flood.connections, 3);
        pair.flooded.stop();
    }
}

/// Floods from so many connections at once until it is dropped.
struct Flooding {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Flooding {
    fn start(flood: &Flood, address: SocketAddr, connections: usize) -> Self {
        let (stop, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let settings = frame(SETTINGS, 0, 0, &[]);
        let first = [PREFACE, &settings, &flood.begins].concat();
        let pieces: Arc<Vec<u8>> = Arc::new((0..PIECES).flat_map(flood.piece).collect());
        let flooder = |_| {
            let (stop, opened) = (Arc::clone(&stop), Arc::clone(&opened));
            let (first, pieces) = (first.clone(), Arc::clone(&pieces));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    opened.fetch_add(1, Ordering::Relaxed);
                    pour(address, &first, &pieces, &stop);
                }
            })
        };
        let threads = (0..connections).map(flooder).collect();
        Self { stop, opened, threads }
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends and reads until the engine ends the connection.
fn pour(address: SocketAddr, first: &[u8], pieces: &[u8], stop: &AtomicBool) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(GUARD)).unwrap();
    if stream.write_all(first).is_err() {
        return;
    }
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut sink) = (0, [0; 16_384]);
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&pieces[sent..]) {
            Ok(n) => sent = (sent + n) % pieces.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        match stream.read(&mut sink) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return,
        }
    }
}

fn withstand(pair: &Pair, flood: &Flood, connections: usize, rounds: usize) {
    let (fds, kib) = (descriptors(&pair.flooded), resident_kib(&pair.flooded));
    let flooding = Flooding::start(flood, pair.flooded.address, connections);
    let mut shown = [Duration::ZERO; 2];
    for _ in 0..rounds {
        shown = pair.is_unmoved(flood.name, 1.2);
    }
    let grown = resident_kib(&pair.flooded).saturating_sub(kib);
    let opened = flooding.opened.load(Ordering::Relaxed);
    report(&format!(
        "{}: from {connections} at a time, {opened} opened, {grown} KiB more, p99 of others {:?}, without {:?}",
        flood.name, shown[0], shown[1]
    ));
    assert!(grown <= SLACK_KIB + 1024 * connections as u64, "{}: {grown} KiB", flood.name);
    drop(flooding);
    pair.is_over(fds);
}

/// Refused ones are told, the others are served, and nothing turns in circles meanwhile.
#[test]
fn without_descriptors_clients_are_told_and_nothing_spins() {
    // Some that are open now will be closed; that is no matter among so many.
    const MORE: usize = 40;
    let pair = Pair::start();
    let engine = &pair.flooded;
    let mut kept = connect(engine.address);
    ask(&mut kept);
    let pid = Pid::from_raw(engine.process.id().try_into().unwrap()).unwrap();
    let before = rustix::process::getrlimit(Resource::Nofile);
    let few = Rlimit { current: Some((descriptors(engine) + MORE) as u64), maximum: before.maximum };
    rustix::process::prlimit(Some(pid), Resource::Nofile, few).unwrap();
    let (began, cpu) = (monotonic(), used(engine));
    let mut held: Vec<TcpStream> = (0..3 * MORE).map(|_| connect(engine.address)).collect();
    let mut told = 0;
    until(|| {
        let waits = held.len();
        held.retain_mut(|client| !is_told(client));
        told += waits - held.len();
        told >= MORE
    });
    let (lasted, cpu) = (began.elapsed(), used(engine).saturating_sub(cpu));
    report(&format!("{told} are told in {lasted:?}, in which processors work for {cpu:?}"));
    assert!(cpu <= lasted / 2 + Duration::from_millis(100), "it spins: {cpu:?} in {lasted:?}");
    // Who has a connection notices nothing.
    ask(&mut kept);
    drop(held);
    let mut status = 0;
    until(|| {
        let mut client = connect(engine.address);
        client.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        status = answer(&mut client).status;
        status != 503
    });
    assert_eq!(status, 200);
    rustix::process::prlimit(Some(pid), Resource::Nofile, before).unwrap();
}

/// True for a client that has been refused with 503.
fn is_told(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let has_bytes = client.peek(&mut [0]).is_ok();
    client.set_nonblocking(false).unwrap();
    if has_bytes {
        let told = answer(client);
        assert_eq!((told.status, &told.json()["code"]), (503, &"overloaded".into()), "{told:?}");
    }
    has_bytes
}
