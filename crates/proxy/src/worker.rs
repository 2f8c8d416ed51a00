//! One thread of the data plane: its runtime, its state, its clocks.
//!
//! Everything in a [`Worker`] belongs to one thread and needs no lock. What all workers share is in
//! [`EngineShared`]. Tasks are spawned here and nowhere else, so that each is counted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use mainstay_core::ScopeNames;
use mainstay_core::clock::{Clock, MonoMs, UnixMs};
use mainstay_core::random::Random;
use mainstay_identity::index::Index;
use mainstay_telemetry::{Cells, Event, EventLog, LogQueue, RecentRing};
use rustc_hash::FxHashMap;
use tokio::runtime::RuntimeMetrics;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::accept::callers::CallerCounts;
use crate::accept::connection::ConnCx;
use crate::accept::door::Opened;
use crate::accept::forwarder::UntrustedForwarder;
use crate::accept::listener::Reserve;
use crate::accept::socket::Passed;
use crate::caught;
use crate::forward::pool::LocalUpstream;
use crate::known::KnownKeys;
use crate::metrics::CommonMetrics;
use crate::plan::Snapshot;
use crate::tokens::KnownTokens;

/// How often connections are looked at: idle, slow and aged ones.
pub const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// Decisions that a worker remembers, of some hundred bytes each.
const DECISIONS_MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("more than none");

/// Messages that may wait for a worker.
const INBOX: usize = 1024;

/// What all workers share.
pub struct EngineShared {
    /// The configuration that serves.
    pub snapshot: ArcSwap<Snapshot>,
    /// Each worker's door.
    pub workers: Vec<WorkerPort>,
    /// Client connections, engine-wide.
    pub connections: AtomicUsize,
    /// Requests under way, engine-wide.
    pub requests: AtomicUsize,
    /// Client connections by address. Sharded so that accepting on many workers does not queue.
    pub per_client: [Mutex<HashMap<IpAddr, usize>>; 16],
    /// The descriptor by which clients are told that there are no more.
    pub reserve: Reserve,
    /// Bytes of request bodies that are held because a policy reads them, engine-wide.
    pub body_bytes: AtomicUsize,
    /// Set once: no new connections, finish what runs.
    pub is_draining: AtomicBool,
    /// Set while resident memory is over its limit: new requests are refused.
    pub is_out_of_memory: AtomicBool,
    /// Set before draining begins: `server.health_path` tells load balancers to look elsewhere.
    pub is_leaving: AtomicBool,
    /// Callers of deprecated versions.
    pub callers: CallerCounts,
    /// Operational events.
    pub events: EventLog,
    /// The date.
    pub clock: Clock,
    /// Everyone who is known. Replaced as a whole when it has to be loaded again.
    pub known: ArcSwap<Index>,
    /// Numbers of scopes, for as long as the process lives.
    pub scopes: Arc<ScopeNames>,
    /// Cells that are not tied to an operation.
    pub metrics: CommonMetrics,
    /// When the engine started; monotonic times count from here, on every thread.
    pub epoch: Instant,
}

impl EngineShared {
    /// What `workers` workers share, and the other end of each one's door.
    pub fn new(
        snapshot: Arc<Snapshot>,
        workers: usize,
        events: EventLog,
        clock: Clock,
        known: Arc<Index>,
        metrics: CommonMetrics,
    ) -> (Self, Vec<mpsc::Receiver<Message>>) {
        let door = || {
            let (inbox, receiver) = mpsc::channel(INBOX);
            (WorkerPort { inbox, load: AtomicUsize::new(0), runtime: OnceLock::new() }, receiver)
        };
        let (workers, inboxes) = (0..workers).map(|_| door()).unzip();
        let shared = Self {
            snapshot: ArcSwap::new(snapshot),
            workers,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            per_client: Default::default(),
            reserve: Reserve::default(),
            body_bytes: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
            is_out_of_memory: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            callers: CallerCounts::default(),
            events,
            clock,
            scopes: Arc::clone(known.scope_names()),
            known: ArcSwap::new(known),
            metrics,
            epoch: Instant::now(),
        };
        (shared, inboxes)
    }

    /// Milliseconds since the engine started.
    pub fn mono_ms(&self) -> MonoMs {
        MonoMs(self.epoch.elapsed().as_millis() as u64)
    }

    /// Reports a panic.
    pub fn panicked(&self, worker: usize, ended: &str, request_id: &str, cause: &str) {
        self.events.emit(&Event::WorkerPanicked { worker: worker as u64, ended, request_id, cause });
    }

    /// The counter of a client address.
    pub fn per_client(&self, address: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let bits = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() >> 64,
        };
        let shard = ((bits ^ (bits >> 7) ^ (bits >> 17)) & 15) as usize;
        self.per_client[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How others reach a worker.
pub struct WorkerPort {
    /// Bounded; a full inbox means that the message is handled by the sender itself or dropped.
    pub inbox: mpsc::Sender<Message>,
    /// Client connections of this worker, and HTTP/2 streams beside the first.
    pub load: AtomicUsize,
    /// What its runtime tells of itself, once it runs.
    pub runtime: OnceLock<RuntimeMetrics>,
}

impl WorkerPort {
    /// Tasks that have not ended: listeners, connections, requests that settle.
    pub fn tasks(&self) -> usize {
        self.runtime.get().map_or(0, RuntimeMetrics::num_alive_tasks)
    }
}

/// What a worker can be asked to do.
pub enum Message {
    /// Serve a connection that another worker accepted.
    Serve(Passed, Option<IpAddr>, Arc<str>),
    /// Accept on this socket.
    Listen(Opened),
    /// Give back one idle connection to this endpoint: another worker is at the cap.
    ReleaseIdle(Arc<crate::forward::endpoint::EndpointShared>),
}

/// One worker's state.
pub struct Worker {
    /// Index into [`EngineShared::workers`].
    pub index: usize,
    /// What all share.
    pub shared: Arc<EngineShared>,
    /// Metric cells of this thread.
    pub cells: Cells,
    /// The access log's queue of this thread.
    pub log: LogQueue,
    /// Requests that `explain --request-id` may ask about.
    pub recent: RecentRing,
    /// Request ids, jitter, sampling.
    pub random: Random,
    /// Detects a proxy that should be trusted.
    pub forwarder: UntrustedForwarder,
    /// Keys that this worker has found.
    pub known_keys: RefCell<KnownKeys>,
    /// Tokens that this worker has verified.
    pub known_tokens: RefCell<KnownTokens>,
    /// Decisions of policies that this worker has made.
    pub decisions: RefCell<mainstay_authz::Cache>,
    /// The newest snapshot this worker has seen.
    local: RefCell<Rc<LocalSnapshot>>,
    /// Connections, for the sweep.
    pub connections: RefCell<Vec<Weak<ConnCx>>>,
    /// Requests that run on without a client.
    pub settling: Cell<usize>,
    /// Connections that are being refused.
    pub refusals: Cell<usize>,
    /// The time of the last sweep.
    swept: Cell<MonoMs>,
}

/// A snapshot with this worker's own live state beside it.
pub struct LocalSnapshot {
    /// The snapshot.
    pub plan: Arc<Snapshot>,
    /// This worker's connections, indexed like [`Snapshot::upstreams`].
    pub upstreams: Vec<Rc<LocalUpstream>>,
}

impl Worker {
    /// A worker that serves the current snapshot.
    pub fn new(
        index: usize,
        shared: Arc<EngineShared>,
        cells: Cells,
        log: LogQueue,
        recent: RecentRing,
        random: Random,
    ) -> Self {
        let local =
            RefCell::new(Rc::new(local_snapshot(shared.snapshot.load_full(), None, shared.workers.len())));
        Self {
            index,
            shared,
            cells,
            log,
            recent,
            random,
            forwarder: UntrustedForwarder::default(),
            known_keys: RefCell::default(),
            known_tokens: RefCell::default(),
            decisions: RefCell::new(mainstay_authz::Cache::new(DECISIONS_MAX)),
            local,
            connections: RefCell::default(),
            settling: Cell::new(0),
            refusals: Cell::new(0),
            swept: Cell::new(MonoMs(0)),
        }
    }

    /// The snapshot for a new request. The check is one load of a pointer that is rarely written.
    pub fn snapshot(&self) -> Rc<LocalSnapshot> {
        let current = self.shared.snapshot.load();
        let mut local = self.local.borrow_mut();
        if !std::ptr::eq(Arc::as_ptr(&current), Arc::as_ptr(&local.plan)) {
            let workers = self.shared.workers.len();
            let new = Rc::new(local_snapshot(Arc::clone(&current), Some(&local), workers));
            let old = std::mem::replace(&mut *local, new);
            let goes_on = |old| local.upstreams.iter().flat_map(|u| &u.endpoints).any(|e| Rc::ptr_eq(e, old));
            for endpoint in old.upstreams.iter().flat_map(|u| &u.endpoints).filter(|e| !goes_on(e)) {
                endpoint.retire(self);
            }
        }
        Rc::clone(&local)
    }

    /// Milliseconds since the engine started.
    pub fn mono_ms(&self) -> MonoMs {
        self.shared.mono_ms()
    }

    /// The same at a moment that is known.
    pub fn mono_at(&self, at: Instant) -> MonoMs {
        MonoMs(self.mono_us(at) / 1000)
    }

    /// Microseconds from the engine's start to a moment.
    pub fn mono_us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.shared.epoch).as_micros() as u64
    }

    /// The time of the last sweep: at most [`SWEEP_EVERY`] behind, and for nothing. For what the sweep itself
    /// compares with limits.
    pub fn swept_ms(&self) -> MonoMs {
        self.swept.get()
    }

    /// The date.
    pub fn unix(&self) -> UnixMs {
        self.shared.clock.now()
    }

    /// Starts a task on this worker.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let (shared, index) = (Arc::clone(&self.shared), self.index);
        tokio::task::spawn_local(caught::task(task, move |cause| shared.panicked(index, "task", "", cause)));
    }

    /// Reports a panic on this worker.
    pub fn panicked(&self, ended: &str, request_id: &str, cause: &str) {
        self.shared.panicked(self.index, ended, request_id, cause);
    }

    /// True once the engine takes no new connections.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.load(Ordering::Relaxed)
    }

    /// This worker's door.
    pub fn port(&self) -> &WorkerPort {
        &self.shared.workers[self.index]
    }

    /// Looks at every connection and every pool. Runs each [`SWEEP_EVERY`].
    pub fn sweep(&self) {
        let now = self.mono_ms();
        self.swept.set(now);
        let snapshot = self.snapshot();
        let draining = self.is_draining();
        self.connections.borrow_mut().retain(|conn| match conn.upgrade() {
            Some(conn) => {
                conn.sweep(now, &snapshot.plan.server, draining);
                true
            }
            None => false,
        });
        for upstream in &snapshot.upstreams {
            upstream.sweep(now, self);
        }
    }
}

/// Binds a snapshot to this worker's connections, keeping those whose endpoint lives on.
fn local_snapshot(plan: Arc<Snapshot>, old: Option<&LocalSnapshot>, workers: usize) -> LocalSnapshot {
    let mut known = FxHashMap::default();
    for upstream in old.iter().flat_map(|o| &o.upstreams) {
        for endpoint in &upstream.endpoints {
            known.insert(Arc::as_ptr(&endpoint.shared), Rc::clone(endpoint));
        }
    }
    let upstreams =
        plan.upstreams.iter().map(|u| Rc::new(LocalUpstream::new(&u.shared, &known, workers))).collect();
    LocalSnapshot { plan, upstreams }
}
