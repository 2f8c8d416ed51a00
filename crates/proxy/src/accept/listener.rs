//! Sockets are accepted, counted, and spread over the workers.
//!
//! Each worker listens on its own socket of each address (`SO_REUSEPORT`). The kernel spreads connections by hash,
//! which for a few long-lived ones is no spread at all, so a worker with clearly more than the least loaded one
//! passes a new connection on. When descriptors run out, a reserve is given up to accept, answer 503 and close:
//! a client is told, and the accept loop does not spin.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_telemetry::Event;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{self, ConnCx, ConnPermit, ConnRefused};
use super::linger;
use crate::worker::{Message, Worker};

/// Refused connections that are answered at a time; more are closed at once.
const REFUSALS_MAX: usize = 64;
/// How long is waited after a failure that will not go away by itself.
const PAUSE: Duration = Duration::from_millis(20);
const BACKLOG: i32 = 4096;

/// Binds one socket per worker to an address.
///
/// # Errors
/// The address is in use, by whatever process; or it cannot be bound.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    // With SO_REUSEPORT a second engine of the same user would silently take half of the connections. A bind
    // without it is refused by the kernel as long as anyone listens.
    let address = probe(address)?;
    let sockets = (0..workers).map(|_| bind_shared(address)).collect::<io::Result<Vec<_>>>()?;
    Ok((address, sockets))
}

fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = new_socket(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    // A port of 0 is chosen here, and then bound for each worker.
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no socket address"))
}

fn bind_shared(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Accepts until the engine drains.
pub async fn run(
    worker: Rc<Worker>,
    listener: TcpListener,
    name: Arc<str>,
    mut draining: watch::Receiver<bool>,
) {
    let mut reserve = Reserve::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|d| *d) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                reserve.restore();
                place(&worker, stream, peer, &name);
            }
            Err(error) => failed(&worker, &listener, &name, &mut reserve, &error).await,
        }
    }
}

/// Serves a connection here, or passes it to the least loaded worker.
fn place(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, name: &Arc<str>) {
    let Some(other) = less_loaded(worker) else { return serve(worker, stream, peer, name) };
    let passed = stream.into_std().and_then(|stream| {
        let message = Message::Serve(stream, peer, Arc::clone(name));
        match worker.shared.workers[other].inbox.try_send(message) {
            Ok(()) => Ok(None),
            Err(refused) => match refused.into_inner() {
                Message::Serve(stream, ..) => TcpStream::from_std(stream).map(Some),
                Message::ReleaseIdle(_) => Ok(None),
            },
        }
    });
    if let Ok(Some(stream)) = passed {
        serve(worker, stream, peer, name);
    }
}

/// The worker with the least load, if this one has clearly more: by one while there are few, by a sixteenth
/// when there are many, so that passing on stays the exception.
fn less_loaded(worker: &Worker) -> Option<usize> {
    let workers = &worker.shared.workers;
    let own = workers[worker.index].load.load(Ordering::Relaxed);
    let (least, load) = workers
        .iter()
        .enumerate()
        .map(|(index, port)| (index, port.load.load(Ordering::Relaxed)))
        .min_by_key(|(_, load)| *load)?;
    (own > load + own / 16).then_some(least)
}

/// Takes over a connection that another worker accepted.
pub fn take_over(worker: &Rc<Worker>, stream: StdStream, peer: SocketAddr, name: &Arc<str>) {
    if let Ok(stream) = TcpStream::from_std(stream) {
        serve(worker, stream, peer, name);
    }
}

fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, name: &Arc<str>) {
    let snapshot = worker.snapshot();
    match ConnPermit::take(&worker.shared, worker.index, peer.ip(), &snapshot.plan.server) {
        Ok(permit) => {
            // A failure here means that the peer is gone already; the first read will tell.
            let _ = stream.set_nodelay(true);
            let conn = ConnCx::new(Rc::clone(worker), peer, Arc::clone(name), permit);
            worker.spawn(connection::serve(conn, stream.into()));
        }
        Err(cap) => {
            let (counter, detail) = match cap {
                ConnRefused::Engine => (0, "The gateway has as many connections as it may."),
                ConnRefused::Client => (1, "This client has as many connections as it may."),
            };
            worker.cells.inc(worker.shared.metrics.connections_refused[counter]);
            refuse(worker, stream, detail);
        }
    }
}

/// Answers 503 before a request was read, then closes. Beyond a bound it just closes.
fn refuse(worker: &Rc<Worker>, mut stream: TcpStream, detail: &'static str) {
    let Some(turn) = Turn::take(worker) else { return };
    let answer = crate::respond::problem::before_request(worker, detail);
    worker.spawn(async move {
        let _turn = turn;
        if stream.write_all(&answer).await.is_ok() {
            linger::linger(stream).await;
        }
    });
}

/// One of the refusals that a worker answers at a time.
struct Turn(Rc<Worker>);

impl Turn {
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let running = worker.refusals.get();
        (running < REFUSALS_MAX).then(|| {
            worker.refusals.set(running + 1);
            Self(Rc::clone(worker))
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.refusals.set(self.0.refusals.get() - 1);
    }
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

async fn failed(
    worker: &Rc<Worker>,
    listener: &TcpListener,
    name: &Arc<str>,
    reserve: &mut Reserve,
    error: &io::Error,
) {
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => {
            worker.shared.events.emit(&Event::AcceptFailed { listener: name, cause: &error.to_string() });
            worker.cells.inc(worker.shared.metrics.connections_refused[2]);
            if reserve.give_up()
                && let Ok(Ok((stream, _))) = tokio::time::timeout(PAUSE, listener.accept()).await
            {
                refuse(worker, stream, "The gateway has no descriptor left for another connection.");
            }
            tokio::time::sleep(PAUSE).await;
            reserve.restore();
        }
        // The client went away between its handshake and our accept.
        Some(_)
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
        _ => {
            worker.shared.events.emit(&Event::AcceptFailed { listener: name, cause: &error.to_string() });
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A descriptor kept for the moment when there is no other.
struct Reserve(Option<std::fs::File>);

impl Reserve {
    fn new() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    fn restore(&mut self) {
        if self.0.is_none() {
            self.0 = std::fs::File::open("/dev/null").ok();
        }
    }
}
