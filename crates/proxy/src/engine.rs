//! The data plane as a whole: its threads, their start, their end.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_core::clock::Clock;
use mainstay_core::random::Random;
use mainstay_identity::index::Index;
use mainstay_telemetry::{EventLog, LogQueue, RecentRing, Registry};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};

use crate::accept::door::{Doors, Opened};
use crate::accept::listener;
use crate::caught;
use crate::metrics::CommonMetrics;
use crate::plan::Snapshot;
use crate::worker::{EngineShared, Message, SWEEP_EVERY, Worker};

/// What the data plane is made with.
pub struct Parts {
    /// The configuration it starts with.
    pub snapshot: Arc<Snapshot>,
    /// Metrics.
    pub registry: Arc<Registry>,
    /// Operational events.
    pub events: EventLog,
    /// For each worker its queue of the access log and its ring of recent requests.
    pub seats: Vec<(LogQueue, RecentRing)>,
    /// The date.
    pub clock: Clock,
    /// Everyone who is known; the snapshot was made with its numbers of scopes.
    pub known: Arc<Index>,
}

/// A running data plane.
pub struct DataPlane {
    /// What all workers share.
    pub shared: Arc<EngineShared>,
    /// Its listeners.
    pub doors: Arc<Doors>,
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl DataPlane {
    /// Starts one thread per seat. Nobody is accepted before a door is opened.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let Parts { snapshot, registry, events, seats, clock, known } = parts;
        let workers = seats.len();
        let metrics = CommonMetrics::new(&registry);
        let (shared, inboxes) = EngineShared::new(snapshot, workers, events, clock, known, metrics);
        let shared = Arc::new(shared);
        let stop = watch::Sender::new(false);
        let mut threads = Vec::with_capacity(workers);
        for (index, (inbox, (log, recent))) in inboxes.into_iter().zip(seats).enumerate() {
            let seat = Seat { index, shared: Arc::clone(&shared), inbox, recent, stop: stop.subscribe() };
            let registry = Arc::clone(&registry);
            let reported = Arc::clone(&shared);
            // The others go on; connections and listening sockets of this one end with it.
            let run = move || {
                caught::run(
                    || run_worker(seat, &registry, log),
                    |cause| reported.panicked(index, "worker", "", cause),
                );
            };
            threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(run)?);
        }
        let doors = Arc::new(Doors::new(Arc::clone(&shared)));
        Ok(Self { shared, doors, threads, stop })
    }

    /// Serves another configuration from the next request on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.shared.snapshot.store(snapshot);
    }

    /// Says to load balancers that the engine will drain soon; serves as before.
    pub fn leave(&self) {
        self.shared.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Takes no new connections and asks those there are to end after what runs.
    pub fn drain(&self) {
        self.shared.is_draining.store(true, Ordering::Relaxed);
        self.doors.close_all();
    }

    /// Requests under way, settling ones included, and open connections.
    pub fn running(&self) -> (usize, usize) {
        (self.shared.requests.load(Ordering::Relaxed), self.shared.connections.load(Ordering::Relaxed))
    }

    /// Waits until nothing runs, for `within` at the most. `false`: something still does.
    pub async fn drained(&self, within: Duration) -> bool {
        let drained = async {
            self.doors.closed().await;
            // There is no event for "all counters are zero" that would not cost every request; this runs once.
            while self.running() != (0, 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(within, drained).await.is_ok()
    }

    /// Ends the threads, whatever runs.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// What a worker's thread starts with.
struct Seat {
    index: usize,
    shared: Arc<EngineShared>,
    inbox: mpsc::Receiver<Message>,
    recent: RecentRing,
    stop: watch::Receiver<bool>,
}

fn run_worker(seat: Seat, registry: &Arc<Registry>, log: LogQueue) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let event =
                mainstay_telemetry::Event::ListenerFailed { listener: "worker", cause: &error.to_string() };
            seat.shared.events.emit(&event);
            return;
        }
    };
    let cells = registry.worker();
    // It is set once: each seat has an index of its own.
    let _ = seat.shared.workers[seat.index].runtime.set(runtime.metrics());
    runtime.block_on(async move {
        let Seat { index, shared, mut inbox, recent, mut stop } = seat;
        let worker = Rc::new(Worker::new(index, shared, cells, log, recent, Random::from_os()));
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = stop.wait_for(|s| *s) => return,
                // What panics here ends as any task does; a worker without its loop would accept and never close.
                _ = sweep.tick() => caught::run(|| worker.sweep(), |cause| worker.panicked("sweep", "", cause)),
                Some(message) = inbox.recv() => {
                    caught::run(|| receive(&worker, message), |cause| worker.panicked("message", "", cause));
                }
            }
        }
    });
}

fn receive(worker: &Rc<Worker>, message: Message) {
    match message {
        Message::Listen(Opened { name, socket, gate, done }) => {
            let opened = socket.listen().map(|socket| {
                worker.spawn(listener::run(Rc::clone(worker), socket, name, gate));
            });
            // Who does not wait any more has closed the door.
            let _ = done.send(opened);
        }
        Message::Serve(stream, peer, listener) => listener::take_over(worker, stream, peer, &listener),
        Message::ReleaseIdle(endpoint) => {
            let snapshot = worker.snapshot();
            let local = snapshot
                .upstreams
                .iter()
                .flat_map(|u| &u.endpoints)
                .find(|e| Arc::ptr_eq(&e.shared, &endpoint));
            if let Some(local) = local {
                local.release_one_idle(worker);
            }
        }
    }
}
