//! The parts are put together and started; later they are drained and stopped.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_config::checked::{Checked, Listener, LogOutput};
use mainstay_config::{ListenPlaces, Problem, Published};
use mainstay_control::token::{Token, TokenError};
use mainstay_core::catalogue::StoreError;
use mainstay_core::clock::{Clock, monotonic};
use mainstay_core::units::show_date;
use mainstay_identity::index::Index;
use mainstay_proxy::accept::door::{Doors, Gate};
use mainstay_proxy::engine::{DataPlane, Parts};
use mainstay_proxy::forward::health;
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_telemetry::{Event, EventClock, EventLog, LogWriter, Output, Recent, Registry};

use crate::catalogue::{self, Keeper};
use crate::handover::{self, CONTROL, HandoverError, InheritError, Inherited, Successor};
use crate::listen::{self, ControlServer};
use crate::local::Services;
use crate::lower::{self, LowerError, Surroundings};
use crate::oauth::Mount;
use crate::reload::{Handle, Loader, Origin};
use crate::{introspection, key_sets, last_good, report};

/// What one worker's queue of the access log may hold.
const LOG_QUEUE_BYTES: usize = 1 << 20;
/// How long the log may take to write what is queued at the end.
const LOG_FLUSH_MAX: Duration = Duration::from_secs(5);
/// The same for events: a few lines, but standard error may take none.
const EVENTS_FLUSH_MAX: Duration = Duration::from_secs(1);
/// How long a service within the process may go on with what it does not wait in.
const SERVICES_END_MAX: Duration = Duration::from_secs(5);
/// Descriptors for everything that is no connection.
const DESCRIPTORS_BESIDE: u64 = 64;

/// What an engine is started with, beside its configuration.
pub struct Start {
    /// The configuration.
    pub checked: Checked,
    /// Where it says what to listen on.
    pub places: ListenPlaces,
    /// Dates that were published before; they may only move later.
    pub published: Published,
    /// Where to load the configuration again from; `None`: it cannot be reloaded.
    pub loader: Option<Loader>,
    /// The date.
    pub clock: Clock,
    /// Where events go.
    pub events: Output,
    /// Set when this is the last good configuration because the file is bad.
    pub fell_back: Option<FellBack>,
    /// Services within the process, for `local:NAME` endpoints.
    pub services: Services,
    /// Sockets that the process was started with.
    pub inherited: Inherited,
    /// Who knows the addresses of endpoints that are names.
    pub resolver: Resolver,
}

/// Why an engine starts from its last good configuration.
pub struct FellBack {
    /// When that was loaded, Unix seconds.
    pub loaded_at_s: i64,
    /// Errors that the file has.
    pub problems: usize,
    /// The first of them.
    pub first: String,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("{}", .0.message)]
    Bind(Box<Problem>),
    /// The catalogue.
    #[error("{}{}", doing(.0), help_with(.0))]
    Store(#[from] StoreError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The log's output cannot be opened.
    #[error("cannot open the log output (telemetry.log.output): {0}")]
    Log(io::Error),
    /// Threads cannot be started.
    #[error("cannot start: {0}")]
    Threads(io::Error),
    /// See [`LowerError`].
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// See [`InheritError`].
    #[error(transparent)]
    Inherit(#[from] InheritError),
}

/// What could not be done: the secret key names itself.
fn doing(error: &StoreError) -> String {
    match error {
        StoreError::Invalid { field: "stores.secret_key", why } => format!("stores.secret_key: {why}"),
        other => format!("cannot open the catalogue (stores.catalogue): {other}"),
    }
}

/// What to do about a store that cannot be opened, where its own words do not say so.
fn help_with(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable { .. } => {
            "; start what it is in and see that it can be reached from here, or correct `stores`"
        }
        _ => "",
    }
}

/// A running engine.
pub struct Engine {
    /// What it can be asked.
    pub handle: Arc<Handle>,
    /// The addresses it listens on, ports resolved.
    pub listen: Vec<SocketAddr>,
    /// The control listener's address.
    pub control: SocketAddr,
    /// Whether the admin token was made now.
    pub token_created: bool,
    plane: DataPlane,
    keeper: Keeper,
    services: Services,
    server: ControlServer,
    drain_within: Duration,
    delay: Duration,
}

impl Engine {
    /// Starts. Runs on a tokio runtime, which becomes the control side's.
    ///
    /// # Errors
    /// Nothing runs then; see [`StartError`].
    pub async fn start(start: Start) -> Result<Self, StartError> {
        let Start { checked, places, published, loader, clock, events, fell_back, mut services, .. } = start;
        let (mut inherited, resolver) = (start.inherited, start.resolver);
        let registry = Registry::new();
        let known = Index::new(Arc::default());
        let oauth = Mount::default();
        services.add_own(oauth.given(), tokio::runtime::Handle::current());
        let with = Surroundings {
            registry: &registry,
            old: None,
            now: clock.now(),
            locals: services.dialers(),
            scopes: known.scope_names(),
        };
        // Before anything is opened: certificates that cannot be used are no reason to disturb anyone.
        let snapshot = Arc::new(lower::lower(&checked, 1, &with)?);
        let events = EventLog::start(events, &registry, EventClock::system()).map_err(StartError::Log)?;
        let log = LogWriter::start(output(&checked.log.output), LOG_QUEUE_BYTES).map_err(StartError::Log)?;
        log.report_to(&events);
        services.report_to(&events);
        log.observe(&registry);
        let (token, token_created) = Token::load_or_create(&checked.control.token_file)?;
        let control_socket = listen::bind_control(&checked, &places, &mut inherited).await?;
        let workers = checked.server.workers.unwrap_or_else(available_workers);
        let bind = |listener: &Listener| listen::bind(&listener.address, workers, &places, &mut inherited);
        let bound = checked.server.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        inherited.may_serve().await?;
        // Not before: until then another process may have the files.
        let kept = loader.as_ref().filter(|loader| loader.has_file());
        let kept = kept.map(|loader| catalogue::snapshot_path_for(&loader.path));
        let keeper = Keeper::open(&checked, &clock, kept.as_deref()).await?;
        let known = Arc::new(keeper.load(known, &checked, &clock, &events).await?);
        // Not before it was seen what is in the store: this may be the first to write something there.
        oauth.fill(checked.identity.oauth.as_ref(), &keeper, (&clock, &events, &registry)).await?;
        raise_descriptor_limit(&checked, &events);
        let recent = Recent::new();
        let seats = (0..workers).map(|_| (log.worker(), recent.worker())).collect();
        let plane = DataPlane::start(Parts {
            snapshot: Arc::clone(&snapshot),
            registry: Arc::clone(&registry),
            events: events.clone(),
            seats,
            clock: clock.clone(),
            known,
        })
        .map_err(StartError::Threads)?;
        let mut listen = Vec::new();
        for bound in bound {
            listen.extend(bound.address);
            plane.doors.open(bound.name, bound.sockets, Gate::Open).await.map_err(StartError::Threads)?;
        }
        let endpoints: Vec<_> =
            snapshot.upstreams.iter().flat_map(|u| &u.shared.endpoints).cloned().collect();
        resolver.start(&endpoints, &events, &tokio::runtime::Handle::current());
        let (drain_within, delay) = (checked.server.shutdown_drain, checked.server.shutdown_delay);
        let shared = Arc::clone(&plane.shared);
        health::start(snapshot.checks(), &shared, &tokio::runtime::Handle::current());
        report::observe(&registry, &shared);
        catalogue::observe(&registry, &shared, &keeper);
        key_sets::observe(&registry, &shared);
        key_sets::start(&checked, &snapshot, &shared, &registry, &events, &resolver);
        introspection::start(&checked, &snapshot, &shared, &registry, &events, &resolver);
        keeper.keep(&shared, &events);
        let locals = services.dialers().clone();
        let origin = Origin { checked, published, loader, locals, resolver };
        let handle =
            Handle::new(origin, Arc::clone(&registry), events, log, recent, Arc::clone(&plane.doors), shared);
        crate::certificates::observe(&registry, &handle);
        tokio::spawn(crate::certificates::keep_fresh(Arc::downgrade(&handle)));
        crate::policies::observe(&registry, &handle);
        tokio::spawn(crate::policies::keep_fresh(Arc::downgrade(&handle)));
        tokio::spawn(Arc::clone(&handle.memory).watch(Arc::downgrade(&handle.shared)));
        let mut server = ControlServer::new(control_socket, token, Arc::clone(&handle), keeper.catalogue());
        let control = server.address().map_err(StartError::Threads)?;
        server.start().map_err(StartError::Threads)?;
        let engine = Self {
            handle,
            listen,
            control,
            token_created,
            plane,
            keeper,
            services,
            server,
            drain_within,
            delay,
        };
        if let Err(error) = inherited.serving().await {
            // Not `stop`: paths that were listened on before this process came are not its own to remove.
            engine.end().await;
            return Err(error.into());
        }
        engine.announce(workers, fell_back.as_ref());
        Ok(engine)
    }

    fn announce(&self, workers: usize, fell_back: Option<&FellBack>) {
        self.handle.set_ready(true);
        let paths = self.handle.paths();
        let paths = paths.iter().map(|path| format!("unix:{}", path.display()));
        let listen: Vec<_> = self.listen.iter().map(ToString::to_string).chain(paths).collect();
        let loaded = self.handle.loaded_now();
        self.handle.events.emit(&Event::Started {
            listen: &listen.join(" "),
            control: &self.control.to_string(),
            config: &loaded.digest,
            workers: workers as u64,
        });
        if let Some(fell_back) = fell_back {
            self.handle.events.emit(&Event::LastGoodUsed {
                digest: &loaded.digest,
                loaded_at: &show_date(fell_back.loaded_at_s),
                problems: fell_back.problems as u64,
                first: &fell_back.first,
            });
        }
        self.handle.tell_unused();
    }

    /// Not ready, delay, drain, stop. `true`: everything that ran was finished.
    pub async fn shut_down(self, reason: &str) -> bool {
        let drained = self.wind_down(reason, None).await;
        self.stop().await;
        drained
    }

    /// Not ready, delay, drain; all of it in `within`, or in the times that the configuration gives. What is left then is to
    /// [`stop`](Self::stop). `true`: everything that ran was finished.
    pub async fn wind_down(&self, reason: &str, within: Option<Duration>) -> bool {
        let began = monotonic();
        self.handle.set_ready(false);
        self.plane.leave();
        self.say_draining(reason);
        let delay = within.map_or(self.delay, |within| within.min(self.delay));
        tokio::time::sleep(delay).await;
        let drain_within = within.map_or(self.drain_within, |within| within.saturating_sub(delay));
        self.drain(began, drain_within).await
    }

    fn say_draining(&self, reason: &str) {
        let (requests, connections) = self.plane.running();
        let event = Event::Draining { reason, connections: connections as u64, requests: requests as u64 };
        self.handle.events.emit(&event);
    }

    async fn drain(&self, began: std::time::Instant, within: Duration) -> bool {
        self.plane.drain();
        let drained = self.plane.drained(within).await;
        let cut_short = if drained { 0 } else { self.plane.running().0 };
        let duration_ms = began.elapsed().as_millis() as u64;
        self.handle.events.emit(&Event::Drained { duration_ms, cut_short: cut_short as u64 });
        drained
    }

    /// Starts another process, which takes this one's place; see [`crate::handover`]. The process id of the new one;
    /// this one then has to [`leave`](Self::leave).
    ///
    /// # Errors
    /// Nothing has changed: this process serves on, and the new one is gone.
    pub async fn hand_over(&mut self, command: Command) -> Result<u32, HandoverError> {
        let handle = Arc::clone(&self.handle);
        let handed = self.hand_over_to(command).await;
        match &handed {
            Ok(pid) => handle.events.emit(&Event::HandedOver { pid: u64::from(*pid) }),
            Err(error) => handle.handover_failed(error),
        }
        handed
    }

    async fn hand_over_to(&mut self, command: Command) -> Result<u32, HandoverError> {
        handover::is_possible()?;
        let handle = Arc::clone(&self.handle);
        // What the new process loads and what this one serves should not change places meanwhile.
        let _no_reload = handle.no_reload().await;
        let sockets = self.copies().map_err(|error| {
            let why = "the listening sockets cannot be copied";
            HandoverError::new(format!(
                "{why}: {error}. Raise the limit of open files (ulimit -n, LimitNOFILE)"
            ))
        })?;
        let successor = Successor::start(command, &sockets).await?;
        drop(sockets);
        successor.ready().await?;
        // Clients of the data plane wait once its doors are held, so what may take its time comes before: callers of the
        // control listener, and an output that takes nothing. What was not written is written later: both append.
        let mut letting_go = LettingGo {
            server: &mut self.server,
            doors: &self.plane.doors,
            keeper: &self.keeper,
            for_good: false,
        };
        letting_go.server.stop().await;
        let flush = {
            let handle = Arc::clone(&handle);
            move || handle.log.flush(LOG_FLUSH_MAX)
        };
        let _ = tokio::task::spawn_blocking(flush).await;
        letting_go.keeper.close(&handle.shared).await;
        letting_go.doors.hold(true);
        let pid = successor.serve().await?;
        letting_go.for_good = true;
        Ok(pid)
    }

    /// Copies of all listening sockets.
    fn copies(&self) -> io::Result<Vec<(String, Vec<OwnedFd>)>> {
        let doors = self.plane.doors.copies()?.into_iter();
        let mut all: Vec<_> =
            doors.map(|(name, sockets)| (name.to_string(), sockets.into_descriptors())).collect();
        let control = self.handle.checked().control.listen;
        all.push((format!("{CONTROL} {control}"), vec![self.server.copy()?.into()]));
        Ok(all)
    }

    /// Finishes what runs, after another process has taken over. Load balancers are told nothing: for them nothing
    /// has changed. `true`: everything that ran was finished.
    pub async fn leave(self) -> bool {
        let began = monotonic();
        self.say_draining("hand-over");
        let drained = self.drain(began, self.drain_within).await;
        self.end().await;
        drained
    }

    /// Ends at once; what runs is cut off.
    pub async fn stop(self) {
        let paths = self.handle.paths();
        self.end().await;
        for path in paths {
            // Left behind it would only look as if somebody listened; the next start replaces it anyway.
            let _ = std::fs::remove_file(path);
        }
    }

    async fn end(self) {
        let Self { handle, plane, keeper, services, mut server, .. } = self;
        let end = move || {
            plane.stop();
            // After those who ask them: what a service still does is for nobody now.
            services.stop(SERVICES_END_MAX);
        };
        let joined = tokio::task::spawn_blocking(end).await;
        server.stop().await;
        // A worker that panicked has said so already.
        let _ = joined;
        // After the last who could change anything.
        keeper.close(&handle.shared).await;
        let flush = move || {
            handle.log.flush_and_stop(LOG_FLUSH_MAX);
            // Last, because the log's own end may be an event.
            handle.events.flush(EVENTS_FLUSH_MAX);
        };
        // A panic in it has been reported where it happened.
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

/// What another process is to take over is let go of. Unless that was for good, it is taken back at the end.
struct LettingGo<'a> {
    server: &'a mut ControlServer,
    doors: &'a Doors,
    keeper: &'a Keeper,
    for_good: bool,
}

impl Drop for LettingGo<'_> {
    fn drop(&mut self) {
        if !self.for_good {
            self.doors.hold(false);
            // Without descriptors it stays silent; the data plane goes on all the same.
            let _ = self.server.start();
            tokio::spawn(self.keeper.clone().take_back());
        }
    }
}

/// One worker per core that this process may use, cgroup limits included.
pub(crate) fn available_workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The access log's output as telemetry knows it.
pub fn output(output: &LogOutput) -> Output {
    match output {
        LogOutput::Stdout => Output::Stdout,
        LogOutput::None => Output::None,
        LogOutput::File(path) => Output::File(path.clone()),
    }
}

/// Raises the soft limit of open files to the hard one and says so when that is not enough.
fn raise_descriptor_limit(checked: &Checked, events: &EventLog) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        // The old limit stays, and the comparison below says whether that matters.
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let upstream: usize =
        checked.upstreams.values().map(|u| u.endpoints.len() * u.pool.connections_max).sum();
    let needed = checked.server.limits.connections as u64 + upstream as u64 + DESCRIPTORS_BESIDE;
    if current < needed {
        events.emit(&Event::DescriptorLimit { limit: current, needed });
    }
}

/// Loads the configuration for a start, and falls back to the last good one when it is bad.
pub struct Loaded {
    /// What to start with.
    pub start: Start,
    /// Problems that were found; errors among them mean that the last good one is used.
    pub problems: Vec<Problem>,
}

/// Loads for a start.
///
/// # Errors
/// The problems, when there is nothing to fall back to.
pub fn load_for_start(path: PathBuf, clock: Clock) -> Result<Loaded, Vec<Problem>> {
    load_with(Loader::new(path), clock)
}

/// The same, from wherever a loader loads. A text has no last good one on disk.
///
/// # Errors
/// As [`load_for_start`].
pub fn load_with(loader: Loader, clock: Clock) -> Result<Loaded, Vec<Problem>> {
    let kept = loader.has_file().then(|| last_good::path_for(&loader.path));
    let remembered = kept.and_then(|kept| last_good::load(&kept).ok().flatten());
    let published = remembered.as_ref().map(|r| r.published.clone()).unwrap_or_default();
    let outcome = loader.load(&published, clock.now());
    let (checked, places, fell_back) = match (outcome.checked, remembered) {
        (Some(checked), _) => (checked, outcome.listen, None),
        (None, Some(last)) => {
            let errors: Vec<_> = outcome.problems.iter().filter(|p| p.is_error()).collect();
            let first = errors.first().map(|p| p.message.clone()).unwrap_or_default();
            let fell_back = FellBack { loaded_at_s: last.loaded_at_s, problems: errors.len(), first };
            // Nobody knows where in which file that was written.
            (last.checked, ListenPlaces::default(), Some(fell_back))
        }
        (None, None) => return Err(outcome.problems),
    };
    let start = Start {
        checked,
        places,
        published,
        loader: Some(loader),
        clock,
        events: Output::Stderr,
        fell_back,
        services: Services::default(),
        inherited: Inherited::default(),
        resolver: Resolver::default(),
    };
    Ok(Loaded { start, problems: outcome.problems })
}

/// How many requests are under way, for tests and the demo's last line.
pub fn requests_under_way(handle: &Handle) -> usize {
    handle.shared.requests.load(Ordering::Relaxed)
}
