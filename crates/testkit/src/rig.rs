//! One worker of the engine on the caller's own runtime, without sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use mainstay::lower::{self, Surroundings};
use mainstay::reload::Loader;
use mainstay_core::ScopeNames;
use mainstay_core::clock::Clock;
use mainstay_core::random::Random;
use mainstay_identity::index::Index;
use mainstay_proxy::accept::connection::{ConnCx, ConnPermit, serve};
use mainstay_proxy::forward::endpoint::{EndpointShared, UpstreamShared};
use mainstay_proxy::metrics::{self, CommonMetrics};
use mainstay_proxy::plan::{Snapshot, UpstreamPlan};
use mainstay_proxy::worker::{EngineShared, SWEEP_EVERY, Worker};
use mainstay_telemetry::{EventClock, EventLog, LogWriter, Output, Recent, Registry};
use tokio::io::duplex;

use crate::memory::{Dial, Peer, STREAM_BYTES};

/// Randomness of every rig: the same each time.
const SEED: u64 = 7;
const LOG_QUEUE_BYTES: usize = 1 << 20;
/// The client of [`Rig::connect`].
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One worker, whose upstreams are all reached by one [`Dial`].
pub struct Rig {
    /// What the worker shares with nobody.
    pub shared: Arc<EngineShared>,
    /// Its metrics.
    pub registry: Arc<Registry>,
    /// Its requests, as `explain --request-id` finds them.
    pub recent: Arc<Recent>,
    worker: Rc<Worker>,
    /// The first one of the configuration: its TLS is spoken in memory, too.
    listener: Arc<str>,
    _log: LogWriter,
}

impl Rig {
    /// Starts on the current-thread runtime that this is called on, from the text of a configuration.
    ///
    /// # Panics
    /// When the configuration does not load.
    pub fn start(config: &str, clock: Clock, log: Output, dial: &Dial) -> Self {
        Self::start_each(config, clock, log, &|_endpoint| Arc::clone(dial))
    }

    /// The same, with a way of its own to each endpoint, which is named as in the configuration.
    ///
    /// # Panics
    /// When the configuration does not load.
    pub fn start_each(config: &str, clock: Clock, log: Output, dial: &dyn Fn(&str) -> Dial) -> Self {
        let registry = Registry::new();
        let known = Arc::new(Index::new(Arc::new(ScopeNames::default())));
        let snapshot = Arc::new(snapshot(config, &clock, &registry, known.scope_names(), dial));
        let events =
            EventLog::start(Output::None, &registry, EventClock::system()).expect("no output is opened");
        let first = snapshot.server.listeners.first();
        let listener = Arc::clone(&first.expect("a configuration has a listener").name);
        let metrics = CommonMetrics::new(&registry);
        let (shared, _inboxes) = EngineShared::new(snapshot, 1, events, clock, Arc::clone(&known), metrics);
        let shared = Arc::new(shared);
        let log = LogWriter::start(log, LOG_QUEUE_BYTES).expect("the log's output");
        let recent = Recent::new();
        let worker = Rc::new(Worker::new(
            0,
            Arc::clone(&shared),
            registry.worker(),
            log.worker(),
            recent.worker(),
            Random::seeded(SEED),
        ));
        worker.spawn({
            let worker = Rc::downgrade(&worker);
            async move {
                let mut sweep = tokio::time::interval(SWEEP_EVERY);
                loop {
                    sweep.tick().await;
                    let Some(worker) = worker.upgrade() else { return };
                    worker.sweep();
                }
            }
        });
        Self { shared, registry, recent, worker, listener, _log: log }
    }

    /// A new connection of a client.
    ///
    /// # Panics
    /// When a connection cap is reached.
    pub fn connect(&self) -> Peer {
        let (near, far) = duplex(STREAM_BYTES);
        let snapshot = self.worker.snapshot();
        let permit = ConnPermit::take(&self.shared, 0, Some(CLIENT), &snapshot.plan.server);
        let permit = permit.unwrap_or_else(|cap| panic!("a connection cap is reached: {cap:?}"));
        let conn = ConnCx::new(Rc::clone(&self.worker), Some(CLIENT), Arc::clone(&self.listener), permit);
        self.worker.spawn(serve(conn, far.into()));
        Peer(near)
    }

    /// A sample of `/metrics`: the value of the line that begins with `name_and_labels`.
    pub fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let text = self.registry.render();
        let line = text.lines().find(|line| line.starts_with(name_and_labels))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }
}

fn snapshot(
    config: &str,
    clock: &Clock,
    registry: &Registry,
    scopes: &ScopeNames,
    dial: &dyn Fn(&str) -> Dial,
) -> Snapshot {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, config).expect("the configuration is written");
    let outcome = Loader::new(path).load(&mainstay::Published::default(), clock.now());
    let checked = outcome.checked.unwrap_or_else(|| panic!("{:#?}", outcome.problems));
    let locals = lower::Locals::default();
    let with = Surroundings { registry, old: None, now: clock.now(), locals: &locals, scopes };
    let mut snapshot = lower::lower(&checked, 1, &with).expect("the configuration lowers");
    let upstreams = std::mem::take(&mut snapshot.upstreams).into_iter();
    let in_memory = |plan| {
        let plan = Arc::into_inner(plan).expect("nobody else has the plan yet");
        Arc::new(in_memory(plan, registry, dial))
    };
    snapshot.upstreams = upstreams.map(in_memory).collect();
    snapshot
}

/// The same upstream, reached in memory.
fn in_memory(plan: UpstreamPlan, registry: &Registry, dial: &dyn Fn(&str) -> Dial) -> UpstreamPlan {
    let endpoint = |old: &Arc<EndpointShared>| {
        let cells = metrics::endpoint(registry, &plan.name, &old.settings.display);
        let mut endpoint = EndpointShared::new(Arc::clone(&plan.name), old.settings.clone(), cells);
        endpoint.dialer = Some(dial(&old.settings.display));
        Arc::new(endpoint)
    };
    let endpoints = plan.shared.endpoints.iter().map(endpoint).collect();
    let (pool, hash_on) = (*plan.shared.pool.plan(), plan.shared.hash_on.clone());
    let shared = Arc::new(UpstreamShared::new(Arc::clone(&plan.name), endpoints, pool, hash_on));
    UpstreamPlan { tls: None, shared, ..plan }
}
