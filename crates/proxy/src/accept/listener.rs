//! Sockets are accepted, counted, and spread over the workers.
//!
//! Each worker listens on its own socket of each address (`SO_REUSEPORT`). The kernel spreads connections by hash,
//! which for a few long-lived ones is no spread at all, so a worker with clearly more than the least loaded one
//! passes a new connection on. When descriptors run out, a reserve is given up to accept, answer 503 and close:
//! a client is told, and the accept loop does not spin.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use mainstay_telemetry::Event;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::connection::{self, ConnCx, ConnPermit, ConnRefused};
use super::door::Gate;
use super::socket::{BACKLOG, Listening, Passed};
use super::{linger, proxied};
use crate::stream::Plain;
use crate::worker::{Message, Worker};

/// Refused connections that are answered at a time; more are closed at once.
const REFUSALS_MAX: usize = 64;
/// How long is waited after a failure that will not go away by itself.
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts until the door is closed.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listener: Listening,
    name: Arc<str>,
    mut gate: watch::Receiver<Gate>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            // Who is held stays in the kernel's queue, for this process or for another one.
            at = other_than(&mut gate, Gate::Open) => {
                if at == Gate::Closed || other_than(&mut gate, Gate::Held).await == Gate::Closed {
                    return take_last(&worker, &listener, &name).await;
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // One that came by the reserve's descriptor must not keep it: nobody after it could be told.
            Ok((stream, peer)) if worker.shared.reserve.restore() => place(&worker, stream, peer, &name),
            Ok((stream, _)) => refuse_last(&worker, stream, &name),
            Err(error) => failed(&worker, &listener, &name, &error).await,
        }
    }
}

/// Who waits in the queue when the door closes would be reset with it.
async fn take_last(worker: &Rc<Worker>, listener: &Listening, name: &Arc<str>) {
    let mut is_fresh = false;
    // Bounded, because clients may come faster than they are accepted.
    for _ in 0..2 * BACKLOG {
        match listener.accept().now_or_never() {
            Some(Ok((stream, peer))) => {
                is_fresh = false;
                serve(worker, stream, peer, name);
            }
            Some(Err(_)) => return,
            None if is_fresh => return,
            // Either the queue is empty, or this task has had its turn: asked again in the next one, it is clear which.
            None => {
                is_fresh = true;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Waits until the gate is not as it was. One without a door is closed.
async fn other_than(gate: &mut watch::Receiver<Gate>, was: Gate) -> Gate {
    gate.wait_for(|at| *at != was).await.map_or(Gate::Closed, |at| *at)
}

/// Serves a connection here, or passes it to the least loaded worker.
fn place(worker: &Rc<Worker>, plain: Plain, peer: Option<IpAddr>, name: &Arc<str>) {
    let Some(other) = less_loaded(worker) else { return serve(worker, plain, peer, name) };
    let Ok(passed) = Passed::from_plain(plain) else { return };
    let message = Message::Serve(passed, peer, Arc::clone(name));
    if let Err(refused) = worker.shared.workers[other].inbox.try_send(message)
        && let Message::Serve(passed, ..) = refused.into_inner()
    {
        take_over(worker, passed, peer, name);
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
pub(crate) fn take_over(worker: &Rc<Worker>, passed: Passed, peer: Option<IpAddr>, name: &Arc<str>) {
    if let Ok(plain) = passed.into_plain() {
        serve(worker, plain, peer, name);
    }
}

fn serve(worker: &Rc<Worker>, plain: Plain, peer: Option<IpAddr>, name: &Arc<str>) {
    let snapshot = worker.snapshot();
    let server = &snapshot.plan.server;
    if server.listener(name).is_some_and(|listener| listener.proxy_protocol) {
        return serve_proxied(worker, plain, peer, name, server.header_timeout);
    }
    match ConnPermit::take(&worker.shared, worker.index, peer, server) {
        Ok(permit) => {
            let conn = ConnCx::new(Rc::clone(worker), peer, Arc::clone(name), permit);
            worker.spawn(connection::serve(conn, plain));
        }
        Err(cap) => refuse_at(worker, plain, name, cap),
    }
}

/// Whose connection it is, is known only after its first bytes. Until then it counts for nobody, but for the engine.
fn serve_proxied(
    worker: &Rc<Worker>,
    mut plain: Plain,
    peer: Option<IpAddr>,
    name: &Arc<str>,
    within: Duration,
) {
    let snapshot = worker.snapshot();
    let place = ConnPermit::take(&worker.shared, worker.index, None, &snapshot.plan.server);
    let mut permit = match place {
        Ok(permit) => permit,
        Err(cap) => return refuse_at(worker, plain, name, cap),
    };
    let (worker, name) = (Rc::clone(worker), Arc::clone(name));
    worker.clone().spawn(async move {
        let Some(client) = proxied::client_of(&mut plain, peer, within).await else {
            worker.cells.inc(worker.shared.metrics.connections_refused[3]);
            return;
        };
        if let Err(cap) = permit.count_for(client, &snapshot.plan.server) {
            return refuse_at(&worker, plain, &name, cap);
        }
        drop(snapshot);
        let conn = ConnCx::new(worker, client, name, permit);
        connection::serve(conn, plain).await;
    });
}

fn refuse_at(worker: &Rc<Worker>, plain: Plain, name: &str, cap: ConnRefused) {
    let (counter, detail) = match cap {
        ConnRefused::Engine => (0, "The gateway has as many connections as it may."),
        ConnRefused::Client => (1, "This client has as many connections as it may."),
    };
    worker.cells.inc(worker.shared.metrics.connections_refused[counter]);
    // Over TLS nothing can be said before a handshake, which a full engine does not begin.
    if worker.snapshot().plan.server.tls_of(name).is_none() {
        refuse(worker, plain, detail, linger::LASTS_MAX);
    }
}

/// Answers 503 before a request was read, then closes. Beyond a bound it just closes.
fn refuse(worker: &Rc<Worker>, mut stream: Plain, detail: &'static str, lingers_max: Duration) {
    let Some(turn) = Turn::take(worker) else { return };
    let answer = crate::respond::problem::before_request(worker, detail);
    worker.spawn(async move {
        let _turn = turn;
        if stream.write_all(&answer).await.is_ok() {
            linger::linger_for(stream, lingers_max).await;
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
const NO_DESCRIPTOR: &str = "The gateway has no descriptor left for another connection.";

async fn failed(worker: &Rc<Worker>, listener: &Listening, name: &Arc<str>, error: &io::Error) {
    let reserve = &worker.shared.reserve;
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => {
            worker.shared.events.emit(&Event::AcceptFailed { listener: name, cause: &error.to_string() });
            if reserve.give_up()
                && let Ok(Ok((stream, _))) = tokio::time::timeout(PAUSE, listener.accept()).await
            {
                refuse_last(worker, stream, name);
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

/// Refuses a connection whose descriptor is the last one, and the next one's, too.
fn refuse_last(worker: &Rc<Worker>, plain: Plain, name: &str) {
    worker.cells.inc(worker.shared.metrics.connections_refused[2]);
    if worker.snapshot().plan.server.tls_of(name).is_none() {
        refuse(worker, plain, NO_DESCRIPTOR, PAUSE);
    }
}

/// A descriptor kept for the moment when there is no other. All workers share it: were it one's own, another one's
/// next connection could take its place for good.
pub struct Reserve(Mutex<Option<File>>);

impl Default for Reserve {
    fn default() -> Self {
        let reserve = Self(Mutex::new(None));
        reserve.restore();
        reserve
    }
}

impl Reserve {
    fn give_up(&self) -> bool {
        self.held().take().is_some()
    }

    /// False when somebody else has it. Where none can be had at all, as without a /dev, nobody has taken it.
    fn restore(&self) -> bool {
        let mut held = self.held();
        if held.is_some() {
            return true;
        }
        match File::open("/dev/null") {
            Ok(file) => {
                *held = Some(file);
                true
            }
            Err(error) => !matches!(error.raw_os_error(), Some(EMFILE | ENFILE)),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
