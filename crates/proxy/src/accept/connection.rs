//! A client's connection: which protocol it speaks, what phase it is in, when it has to end.
//!
//! No connection has timers of its own. It notes its phase and since when; the worker's sweep compares that
//! with the limits every 100 ms and, when something is due, leaves an [`Interrupt`] and wakes the task. A
//! request in the fast case therefore costs two stores.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use mainstay_core::clock::MonoMs;
use mainstay_telemetry::Gauge;
use mainstay_wire::Authority;
use tokio::io::AsyncReadExt;

use super::secure::{self, Agreed};
use super::{h1, h2};
use crate::metrics::ListenerMetrics;
use crate::plan::ServerPlan;
use crate::stream::{Plain, Stream};
use crate::tls::server::Handshaken;
use crate::worker::{EngineShared, SWEEP_EVERY, Worker};

/// What a connection is doing, as far as time limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests, or before the first byte.
    Idle,
    /// Idle, and its buffers have been given back.
    Parked,
    /// A head has begun to arrive.
    Head,
    /// A request runs.
    Busy,
    /// A request runs, and its client takes no more bytes of the answer.
    Stalled,
    /// It was told to end, and no request runs.
    Leaving,
}

/// What a connection has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing has happened for a while: give the buffers back.
    Park,
    /// The phase has lasted too long.
    Slow,
    /// End as soon as nothing runs: drain or age.
    Close,
    /// The socket has taken nothing for too long, whatever was to be written: end at once.
    Stuck,
}

/// After so much silence a connection's buffers are given back, and one that is to end is closed.
const SILENT_AFTER_MS: u64 = 500;

/// One connection.
pub struct ConnCx {
    /// Where it runs.
    pub worker: Rc<Worker>,
    /// The other end's address; none over a unix socket.
    pub peer: Option<IpAddr>,
    /// Its address as text, which every request passes on.
    pub peer_text: Rc<str>,
    /// The address it came in on.
    pub listener: Arc<str>,
    /// What a handshake has settled; empty without TLS.
    pub tls: OnceCell<Box<Handshaken>>,
    opened: MonoMs,
    phase: Cell<Phase>,
    since: Cell<MonoMs>,
    interrupt: Cell<Option<Interrupt>>,
    /// Bytes that the client had not taken when they were last looked at.
    unwritten: Cell<usize>,
    /// Since when the socket has taken nothing of what is to be written.
    blocked_since: Cell<Option<MonoMs>>,
    /// Set once it has to end after what runs.
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    _permit: ConnPermit,
}

impl ConnCx {
    /// A connection that was accepted and counted.
    pub fn new(worker: Rc<Worker>, peer: Option<IpAddr>, listener: Arc<str>, permit: ConnPermit) -> Rc<Self> {
        let now = worker.swept_ms();
        let conn = Rc::new(Self {
            peer_text: peer.map_or_else(String::new, |peer| peer.to_string()).into(),
            peer,
            listener,
            tls: OnceCell::new(),
            opened: now,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            interrupt: Cell::new(None),
            unwritten: Cell::new(0),
            blocked_since: Cell::new(None),
            closing: Cell::new(false),
            waker: RefCell::new(None),
            _permit: permit,
            worker,
        });
        conn.worker.connections.borrow_mut().push(Rc::downgrade(&conn));
        conn
    }

    /// The cells of its listener.
    pub fn listener_metrics(&self) -> ListenerMetrics {
        self.worker.shared.metrics.of_listener(&self.worker.snapshot().plan.server, &self.listener)
    }

    /// Its TLS handshake is over.
    pub fn secured(&self, handshaken: Handshaken) {
        let _ = self.tls.set(Box::new(handshaken));
    }

    /// True for a request with a host that this connection was not made for.
    pub fn is_misdirected(&self, authority: Option<&Authority>) -> bool {
        match (self.tls.get(), authority) {
            (Some(tls), Some(authority)) => tls.is_misdirected(authority.host()),
            _ => false,
        }
    }

    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.swept_ms());
        if self.interrupt.get() != Some(Interrupt::Close) {
            self.interrupt.set(None);
        }
    }

    /// Begins a phase unless a request or a head is under way.
    pub fn enter_if_idle(&self, phase: Phase) {
        if matches!(self.phase.get(), Phase::Idle | Phase::Parked) {
            self.enter(phase);
        }
    }

    /// Notes how many bytes wait for the client; 0: it has taken all. Only silence counts, not slowness.
    pub fn note_unwritten(&self, bytes: usize) {
        if bytes > 0 && (self.phase.get() != Phase::Stalled || bytes != self.unwritten.get()) {
            self.unwritten.set(bytes);
            self.enter(Phase::Stalled);
        } else if bytes == 0 && self.phase.get() == Phase::Stalled {
            self.enter(Phase::Busy);
        }
    }

    /// Notes whether the socket would take nothing of what was to be written. For connections on which writing is
    /// not part of one request.
    pub fn note_blocked(&self, blocked: bool) {
        if !blocked {
            self.blocked_since.set(None);
        } else if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.worker.mono_ms()));
        }
    }

    /// What has to be done now, if anything. Remembers who to wake.
    pub fn poll_interrupt(&self, cx: &Context<'_>) -> Option<Interrupt> {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        if self.interrupt.get() == Some(Interrupt::Close) {
            self.interrupt.get()
        } else {
            self.interrupt.take()
        }
    }

    /// True once so much time has passed since the last request that hardly another is on its way.
    pub fn is_silent(&self) -> bool {
        match self.phase.get() {
            Phase::Idle => self.worker.swept_ms().since(self.since.get()) >= SILENT_AFTER_MS,
            Phase::Parked => true,
            Phase::Head | Phase::Busy | Phase::Stalled | Phase::Leaving => false,
        }
    }

    /// True when this connection shall not take another request.
    pub fn wants_close(&self) -> bool {
        self.closing.get() || self.worker.is_draining()
    }

    fn interrupt(&self, what: Interrupt) {
        self.interrupt.set(Some(what));
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Compares the phase with the limits. Phases began up to a sweep later than noted, and none ends early.
    pub fn sweep(&self, now: MonoMs, server: &ServerPlan, draining: bool) {
        let lasted = |since| u128::from(now.since(since)).saturating_sub(SWEEP_EVERY.as_millis());
        let aged =
            server.connection_age.is_some_and(|age| u128::from(now.since(self.opened)) >= age.as_millis());
        if draining || aged {
            let is_new = !self.closing.replace(true);
            // A client that has just had an answer may be sending its next request, which a close would lose. It is
            // answered, and told in that answer that the connection ends.
            let is_due = match self.phase.get() {
                Phase::Idle => lasted(self.since.get()) >= u128::from(SILENT_AFTER_MS),
                Phase::Parked => true,
                Phase::Head | Phase::Busy | Phase::Stalled | Phase::Leaving => false,
            };
            if is_new || is_due {
                self.interrupt(Interrupt::Close);
                return;
            }
        }
        let silence_ms = server.body_timeout.as_millis();
        if self.blocked_since.get().is_some_and(|since| lasted(since) >= silence_ms) {
            self.interrupt(Interrupt::Stuck);
            return;
        }
        let lasted_ms = lasted(self.since.get());
        match self.phase.get() {
            Phase::Idle if lasted_ms >= server.idle_timeout.as_millis() => self.interrupt(Interrupt::Slow),
            Phase::Idle if lasted_ms >= u128::from(SILENT_AFTER_MS) => {
                self.phase.set(Phase::Parked);
                self.interrupt(Interrupt::Park);
            }
            Phase::Parked if lasted_ms >= server.idle_timeout.as_millis() => self.interrupt(Interrupt::Slow),
            Phase::Stalled | Phase::Leaving if lasted_ms >= silence_ms => self.interrupt(Interrupt::Slow),
            Phase::Head if lasted_ms >= server.header_timeout.as_millis() => self.interrupt(Interrupt::Slow),
            Phase::Idle | Phase::Parked | Phase::Head | Phase::Busy | Phase::Stalled | Phase::Leaving => {}
        }
    }
}

/// A place among the engine's connections; given back when the connection ends.
pub struct ConnPermit {
    shared: Arc<EngineShared>,
    worker: usize,
    client: Option<IpAddr>,
}

/// Which cap was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnRefused {
    /// `limits.connections`.
    Engine,
    /// `limits.connections_per_client`.
    Client,
}

impl ConnPermit {
    /// Takes a place.
    ///
    /// # Errors
    /// When one of the caps is reached; nothing is taken then.
    pub fn take(
        shared: &Arc<EngineShared>,
        worker: usize,
        peer: Option<IpAddr>,
        server: &ServerPlan,
    ) -> Result<Self, ConnRefused> {
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= server.connections_max {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnRefused::Engine);
        }
        shared.workers[worker].load.fetch_add(1, Ordering::Relaxed);
        let mut permit = Self { shared: Arc::clone(shared), worker, client: None };
        permit.count_for(peer, server)?;
        Ok(permit)
    }

    /// Counts the connection for its client, too. Trusted proxies and unix sockets are nobody's in particular.
    ///
    /// # Errors
    /// The client has as many as it may.
    pub fn count_for(&mut self, peer: Option<IpAddr>, server: &ServerPlan) -> Result<(), ConnRefused> {
        let Some(peer) = peer else { return Ok(()) };
        if server.trusted_proxies.iter().any(|net| net.contains(peer)) {
            return Ok(());
        }
        let mut clients = self.shared.per_client(peer);
        let count = clients.entry(peer).or_insert(0);
        if *count >= server.connections_per_client_max {
            return Err(ConnRefused::Client);
        }
        *count += 1;
        drop(clients);
        self.client = Some(peer);
        Ok(())
    }
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.workers[self.worker].load.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut clients = self.shared.per_client(client);
            if let Some(count) = clients.get_mut(&client) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&client);
                }
            }
        }
    }
}

/// The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection until it ends.
pub async fn serve(conn: Rc<ConnCx>, plain: Plain) {
    let metrics = conn.listener_metrics();
    let set = conn.worker.snapshot().plan.server.tls_of(&conn.listener).cloned();
    let (stream, is_h2, first) = match set {
        None => {
            let mut stream = Stream::Plain(plain);
            let Some((is_h2, first)) = first_bytes(&conn, &mut stream).await else { return };
            (stream, is_h2, first)
        }
        Some(set) => {
            let Some((stream, agreed)) = Box::pin(secure::handshake(&conn, plain, &set)).await else {
                return;
            };
            (stream, agreed == Agreed::H2, BytesMut::new())
        }
    };
    let gauge = if is_h2 { metrics.h2 } else { metrics.h1 };
    let _counted = Counted::new(&conn.worker, gauge);
    if is_h2 {
        // Boxed, so that an HTTP/1 connection does not carry the room for it.
        Box::pin(h2::serve(conn, stream, first)).await;
    } else {
        h1::serve(conn, stream, first).await;
    }
}

/// One in a gauge, however the connection ends.
struct Counted(Rc<Worker>, Gauge);

impl Counted {
    fn new(worker: &Rc<Worker>, gauge: Gauge) -> Self {
        worker.cells.gauge_add(gauge, 1);
        Self(Rc::clone(worker), gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.cells.gauge_add(self.1, -1);
    }
}

/// Reads until it is clear which protocol this is. `None`: the connection ended or took too long.
async fn first_bytes(conn: &Rc<ConnCx>, stream: &mut Stream) -> Option<(bool, BytesMut)> {
    let mut first = BytesMut::new();
    poll_fn(|cx| {
        loop {
            if !first.is_empty() {
                let known = first.len().min(PREFACE.len());
                if first[..known] != PREFACE[..known] {
                    return Poll::Ready(Some((false, std::mem::take(&mut first))));
                }
                if known == PREFACE.len() {
                    return Poll::Ready(Some((true, std::mem::take(&mut first))));
                }
                conn.enter_if_idle(Phase::Head);
            }
            match conn.poll_interrupt(cx) {
                Some(Interrupt::Slow | Interrupt::Stuck) => return Poll::Ready(None),
                Some(Interrupt::Close) if conn.is_silent() => return Poll::Ready(None),
                Some(Interrupt::Close | Interrupt::Park) | None => {}
            }
            if first.is_empty() && stream.poll_read_ready(cx).is_pending() {
                // Nothing is allocated for a connection that has not sent anything yet.
                return Poll::Pending;
            }
            first.reserve(8 * 1024);
            match std::task::ready!(pin!(stream.read_buf(&mut first)).poll(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(None),
                Ok(_) => {}
            }
        }
    })
    .await
}

use std::future::Future;
