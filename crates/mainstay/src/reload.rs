//! A running engine, as the control side and the command line see it: ask, and reload.
//!
//! A reload is compiled beside the data plane and swapped in with one store; running requests keep their
//! snapshot. Anything that does not load, or that a running process cannot change, leaves the old one serving.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_config::checked::{Checked, ListenAddress, Listener};
use mainstay_config::{ListenPlaces, Options, Outcome, Problem, Published};
use mainstay_core::catalogue::Consumer;
use mainstay_core::clock::UnixMs;
use mainstay_core::port::{self, Json, Loaded, PortFuture, Readiness, ReloadRefused};
use mainstay_proxy::accept::door::{Doors, Gate};
use mainstay_proxy::forward::health;
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::{Cells, Counter, Event, EventLog, LogWriter, Recent, Registry};

use crate::compose::StartError;
use crate::handover::{HandoverError, Inherited};
use crate::lower::{Locals, Surroundings};
use crate::memory::Memory;
use crate::{compose, introspection, key_sets, last_good, listen, lower, report};

/// Where a configuration is loaded from, and how.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The file; of a text at hand the name by which problems call it, in the folder that its files are relative to.
    pub path: PathBuf,
    text: Option<Arc<Mutex<Arc<str>>>>,
}

impl Loader {
    /// Loads from a file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, text: None }
    }

    /// Loads from a text, whose names of files are relative to `folder`.
    pub fn from_text(text: &str, folder: &Path) -> Self {
        Self { path: folder.join("<text>"), text: Some(Arc::new(Mutex::new(Arc::from(text)))) }
    }

    /// True when there is a file.
    pub fn has_file(&self) -> bool {
        self.text.is_none()
    }

    /// Puts another text into its place and gives back the one before; `None`: it comes from a file.
    pub(crate) fn exchange(&self, text: &Arc<str>) -> Option<Arc<str>> {
        let place = self.text.as_ref()?;
        let mut held = place.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::replace(&mut held, Arc::clone(text)))
    }

    /// Loads now. `published` dates may only move later.
    pub fn load(&self, published: &Published, now: UnixMs) -> Outcome {
        let options = Options { published: published.clone(), now_s: now.seconds(), ..Options::default() };
        let mut outcome = match &self.text {
            None => mainstay_config::load(&self.path, &options),
            Some(text) => {
                let text = Arc::clone(&text.lock().unwrap_or_else(PoisonError::into_inner));
                mainstay_config::load_text(&self.path, &text, &options)
            }
        };
        lower::permissions::look(&mut outcome);
        outcome
    }
}

/// A running engine.
pub struct Handle {
    /// What the workers share.
    pub shared: Arc<EngineShared>,
    /// Operational events.
    pub events: EventLog,
    /// The access log.
    pub log: LogWriter,
    registry: Arc<Registry>,
    recent: Arc<Recent>,
    doors: Arc<Doors>,
    loader: Option<Loader>,
    locals: Locals,
    resolver: Resolver,
    state: Mutex<State>,
    reloading: tokio::sync::Mutex<()>,
    ready: AtomicBool,
    control: Mutex<Cells>,
    reloads_ok: Counter,
    reloads_refused: Counter,
    /// Loads of changed certificate files.
    pub(crate) certificates: Results,
    /// Loads of policies that had changed.
    pub(crate) policies: Results,
    /// Hand-overs that came to nothing.
    handovers_failed: Counter,
    /// `server.limits.memory`.
    pub(crate) memory: Arc<Memory>,
}

/// One counter for each way something can end.
#[derive(Clone, Copy)]
pub(crate) struct Results {
    pub(crate) loaded: Counter,
    pub(crate) refused: Counter,
}

/// Where an engine comes from.
pub(crate) struct Origin {
    pub(crate) checked: Checked,
    pub(crate) published: Published,
    pub(crate) loader: Option<Loader>,
    pub(crate) locals: Locals,
    pub(crate) resolver: Resolver,
}

struct State {
    checked: Arc<Checked>,
    published: Published,
    generation: u64,
}

impl Handle {
    pub(crate) fn new(
        origin: Origin,
        registry: Arc<Registry>,
        events: EventLog,
        log: LogWriter,
        recent: Arc<Recent>,
        doors: Arc<Doors>,
        shared: Arc<EngineShared>,
    ) -> Arc<Self> {
        let Origin { checked, mut published, loader, locals, resolver } = origin;
        published.merge(&mainstay_config::published_of(&checked));
        let reloads = |result| {
            registry.counter("mainstay_reloads_total", "Reloads of the configuration.", &[("result", result)])
        };
        let certificates = |result| {
            let help = "Loads of certificate files that had changed.";
            registry.counter("mainstay_certificate_loads_total", help, &[("result", result)])
        };
        let policies = |result| {
            let help = "Loads of policies that had changed.";
            registry.counter("mainstay_policy_loads_total", help, &[("result", result)])
        };
        let help = "Hand-overs to a new process that came to nothing; this one serves on.";
        let handovers_failed = registry.counter("mainstay_handovers_failed_total", help, &[]);
        let memory = Memory::new(checked.server.limits.memory);
        memory.observe(&registry);
        let handle = Arc::new(Self {
            memory,
            handovers_failed,
            reloads_ok: reloads("ok"),
            reloads_refused: reloads("refused"),
            certificates: Results { loaded: certificates("loaded"), refused: certificates("refused") },
            policies: Results { loaded: policies("loaded"), refused: policies("refused") },
            control: Mutex::new(registry.worker()),
            shared,
            events,
            log,
            registry,
            recent,
            doors,
            loader,
            locals,
            resolver,
            state: Mutex::new(State { checked: Arc::new(checked), published, generation: 1 }),
            reloading: tokio::sync::Mutex::new(()),
            ready: AtomicBool::new(false),
        });
        handle.remember();
        handle
    }

    /// Answers `/readyz` from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Which configuration serves.
    pub fn loaded_now(&self) -> Loaded {
        let state = self.state();
        Loaded { generation: state.generation, digest: lower::short_digest(&state.checked).to_owned() }
    }

    /// The configuration that serves.
    pub fn checked(&self) -> Arc<Checked> {
        Arc::clone(&self.state().checked)
    }

    /// Says that this is what serves now, though no reload brought it.
    pub(crate) fn replace_checked(&self, checked: Checked) {
        self.state().checked = Arc::new(checked);
        self.remember();
    }

    /// The unix sockets that the data plane listens on.
    pub fn paths(&self) -> Vec<PathBuf> {
        let path = |listener: &Listener| match &listener.address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Tcp(_) => None,
        };
        self.checked().server.listen.iter().filter_map(path).collect()
    }

    /// Says that another process should have taken over, and has not.
    pub fn handover_failed(&self, error: &HandoverError) {
        self.count(self.handovers_failed);
        self.events.emit(&Event::HandoverFailed { cause: &error.to_string() });
    }

    /// While this is held, no reload begins.
    pub(crate) async fn no_reload(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reloading.lock().await
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).inc(counter);
    }

    /// Loads again and swaps in, or changes nothing.
    ///
    /// # Errors
    /// The problems as `check` reports them.
    pub async fn reload_now(self: &Arc<Self>) -> Result<Loaded, Vec<Problem>> {
        let _one_at_a_time = self.reloading.lock().await;
        self.reload_alone().await
    }

    /// Loads another text in place of the one before. One that is refused is forgotten: the next reload begins with the
    /// one that serves.
    ///
    /// # Errors
    /// As [`Self::reload_now`], and when this engine has a file.
    pub async fn reload_text(self: &Arc<Self>, text: &str) -> Result<Loaded, Vec<Problem>> {
        let _one_at_a_time = self.reloading.lock().await;
        let before =
            self.loader.as_ref().and_then(|loader| Some((loader, loader.exchange(&Arc::from(text))?)));
        let Some((loader, before)) = before else {
            return Err(vec![defect("this engine has a configuration file; change that one and reload")]);
        };
        let result = self.reload_alone().await;
        if result.is_err() {
            loader.exchange(&before);
        }
        result
    }

    async fn reload_alone(self: &Arc<Self>) -> Result<Loaded, Vec<Problem>> {
        let this = Arc::clone(self);
        let result = tokio::task::spawn_blocking(move || this.compile_and_swap()).await;
        let result = result.unwrap_or_else(|_| Err(vec![defect("the reload itself failed")]));
        match &result {
            Ok(loaded) => {
                self.count(self.reloads_ok);
                self.events
                    .emit(&Event::ConfigReloaded { generation: loaded.generation, digest: &loaded.digest });
            }
            Err(problems) => {
                self.count(self.reloads_refused);
                let errors = problems.iter().filter(|p| p.is_error());
                let first = errors.clone().next().map(|p| p.message.clone()).unwrap_or_default();
                self.events.emit(&Event::ReloadRefused { problems: errors.count() as u64, first: &first });
            }
        }
        result
    }

    fn compile_and_swap(&self) -> Result<Loaded, Vec<Problem>> {
        let Some(loader) = &self.loader else {
            return Err(vec![defect("this engine has no configuration file")]);
        };
        let (old, published, generation) = {
            let state = self.state();
            (Arc::clone(&state.checked), state.published.clone(), state.generation + 1)
        };
        let outcome = loader.load(&published, self.shared.clock.now());
        let Some(checked) = outcome.checked else { return Err(outcome.problems) };
        let fixed = fixed_keys(&old, &checked, &loader.path);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        let missing = lower::missing_locals(&checked, &self.locals);
        if !missing.is_empty() {
            return Err(missing.iter().map(|error| error.problem(&loader.path)).collect());
        }
        let current = self.shared.snapshot.load_full();
        let with = Surroundings {
            registry: &self.registry,
            old: Some(&current),
            now: self.shared.clock.now(),
            locals: &self.locals,
            scopes: &self.shared.scopes,
        };
        let snapshot =
            lower::lower(&checked, generation, &with).map_err(|error| vec![error.problem(&loader.path)])?;
        if old.log.output != checked.log.output
            && let Err(error) = self.log.retarget(compose::output(&checked.log.output))
        {
            return Err(vec![defect(&format!("the log output cannot be opened: {error}"))]);
        }
        let changed = Changed::between(&old, &checked);
        let opened = self.bring(&changed.added, &outcome.listen)?;
        let known: Vec<_> = current.upstreams.iter().flat_map(|u| &u.shared.endpoints).collect();
        let fresh: Vec<_> = snapshot
            .upstreams
            .iter()
            .flat_map(|u| &u.shared.endpoints)
            .filter(|e| !known.iter().any(|k| Arc::ptr_eq(k, e)))
            .cloned()
            .collect();
        self.resolver.start(&fresh, &self.events, &tokio::runtime::Handle::current());
        let snapshot = Arc::new(snapshot);
        self.memory.set(checked.server.limits.memory);
        health::start(snapshot.checks(), &self.shared, &tokio::runtime::Handle::current());
        crate::catalogue::reloaded(&self.shared.known.load(), &checked);
        let (shared, registry) = (&self.shared, &self.registry);
        key_sets::start(&checked, &snapshot, shared, registry, &self.events, &self.resolver);
        introspection::start(&checked, &snapshot, shared, registry, &self.events, &self.resolver);
        self.shared.snapshot.store(snapshot);
        // From here on nothing can fail: who comes in by a new listener meets the new configuration.
        opened.let_in();
        self.close(&changed.removed);
        changed.tell(&self.events);
        {
            let mut state = self.state();
            state.published.merge(&mainstay_config::published_of(&checked));
            state.checked = Arc::new(checked);
            state.generation = generation;
        }
        self.tell_unused();
        self.remember();
        Ok(self.loaded_now())
    }

    /// Binds listeners that are new and brings them to the workers, which do not accept there yet.
    fn bring(&self, added: &[ListenAddress], places: &ListenPlaces) -> Result<Brought<'_>, Vec<Problem>> {
        let mut brought = Brought { doors: &self.doors, names: Vec::new() };
        for address in added {
            let refused = |error| vec![places.problem("server.listen", address, &error)];
            let workers = self.shared.workers.len();
            let bound = listen::bind(address, workers, places, &mut Inherited::default());
            let bound = bound.map_err(|error| match error {
                StartError::Bind(problem) => vec![*problem],
                other => vec![defect(&other.to_string())],
            })?;
            let opened = self.doors.open(Arc::clone(&bound.name), bound.sockets, Gate::Held);
            tokio::runtime::Handle::current().block_on(opened).map_err(refused)?;
            brought.names.push(bound.name);
        }
        Ok(brought)
    }

    /// Accepts no more there. Who has come in that way is served on.
    fn close(&self, removed: &[ListenAddress]) {
        for address in removed {
            self.doors.close(&address.to_string());
            if let ListenAddress::Unix(path) = address {
                // Left behind it would only look as if somebody listened.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Says which services of the process nothing is sent to.
    pub(crate) fn tell_unused(&self) {
        for service in lower::unused_locals(&self.checked(), &self.locals) {
            self.events.emit(&Event::LocalServiceUnused { service });
        }
    }

    /// Keeps the configuration that serves on disk.
    fn remember(&self) {
        let Some(loader) = self.loader.as_ref().filter(|loader| loader.has_file()) else { return };
        let (checked, published) = {
            let state = self.state();
            (Arc::clone(&state.checked), state.published.clone())
        };
        let path = last_good::path_for(&loader.path);
        if let Err(error) = last_good::save(&path, &checked, &published, self.shared.clock.now().seconds()) {
            let (path, cause) = (path.display().to_string(), error.to_string());
            self.events.emit(&Event::SnapshotNotSaved { path: &path, cause: &cause });
        }
    }
}

/// Listeners that are on the workers and not open. Dropped before they are, they are closed.
struct Brought<'a> {
    doors: &'a Doors,
    names: Vec<Arc<str>>,
}

impl Brought<'_> {
    fn let_in(mut self) {
        for name in self.names.drain(..) {
            self.doors.release(&name);
        }
    }
}

impl Drop for Brought<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            self.doors.close(name);
        }
    }
}

/// Listeners by which two configurations differ. What one of them speaks is no difference: that is looked up for each
/// connection.
struct Changed {
    added: Vec<ListenAddress>,
    removed: Vec<ListenAddress>,
}

impl Changed {
    fn between(old: &Checked, new: &Checked) -> Self {
        let only = |these: &[Listener], those: &[Listener]| {
            let addresses = these.iter().map(|listener| &listener.address);
            addresses.filter(|a| those.iter().all(|other| other.address != **a)).cloned().collect()
        };
        let (old, new) = (&old.server.listen, &new.server.listen);
        Self { added: only(new, old), removed: only(old, new) }
    }

    fn tell(&self, events: &EventLog) {
        let list = |addresses: &[ListenAddress]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        if !self.added.is_empty() || !self.removed.is_empty() {
            events
                .emit(&Event::ListenersChanged { added: &list(&self.added), removed: &list(&self.removed) });
        }
    }
}

fn defect(message: &str) -> Problem {
    Problem::error("internal", message)
}

/// What a running process cannot change. Refused rather than ignored: a key that silently does nothing until the
/// next restart is worse than one that says so.
fn fixed_keys(old: &Checked, new: &Checked, path: &Path) -> Vec<Problem> {
    let mut changed = Vec::new();
    let mut look = |same: bool, key: &'static str| {
        if !same {
            let message = format!("{key} cannot be changed by a reload; restart the engine for it");
            changed.push(Problem::error("restart_needed", &message).at_file(path).for_key(key));
        }
    };
    look(old.server.workers == new.server.workers, "server.workers");
    look(old.control.listen == new.control.listen, "control.listen");
    look(old.control.tls == new.control.tls, "control.tls");
    look(old.control.token_file == new.control.token_file, "control.token_file");
    look(old.identity.stores == new.identity.stores, "stores");
    look(old.identity.oauth == new.identity.oauth, "auth.oauth");
    look(old.server.shutdown_delay == new.server.shutdown_delay, "server.shutdown.delay");
    look(old.server.shutdown_drain == new.server.shutdown_drain, "server.shutdown.drain");
    changed
}

/// The engine as the control side holds it.
pub struct ControlSide(pub Arc<Handle>);

impl port::Engine for ControlSide {
    fn reload(&self) -> PortFuture<'_, Result<Loaded, ReloadRefused>> {
        Box::pin(async move {
            let result = self.0.reload_now().await;
            result.map_err(|problems| ReloadRefused {
                problems: Json(mainstay_config::problems_json(&problems)),
            })
        })
    }

    fn loaded(&self) -> Loaded {
        self.0.loaded_now()
    }

    fn effective_config(&self) -> Json {
        let effective = mainstay_config::effective(&self.0.checked());
        Json(serde_json::to_string(&effective).unwrap_or_else(|_| "{}".into()))
    }

    fn versions(&self) -> Vec<port::VersionReport> {
        report::versions(&self.0.checked(), &self.0.shared.callers, self.0.shared.clock.now())
    }

    fn upstreams(&self) -> Vec<port::UpstreamReport> {
        report::upstreams::upstreams(&self.0.shared.snapshot.load(), self.0.shared.mono_ms())
    }

    fn apis(&self) -> Vec<String> {
        self.0.checked().apis.keys().cloned().collect()
    }

    fn plans(&self) -> Vec<port::PlanReport> {
        report::plans(&self.0.checked())
    }

    fn file_consumers(&self) -> Vec<Consumer> {
        report::file_consumers(&self.0.checked())
    }

    fn authorize(&self, question: &port::Question) -> Result<Json, port::Unanswerable> {
        crate::authorize::authorize(&self.0, question)
    }

    fn request(&self, id: &str) -> PortFuture<'_, Option<Json>> {
        let found = self.0.recent.find(id).map(Json);
        Box::pin(async move { found })
    }

    fn readiness(&self) -> Readiness {
        let mut notes = Vec::new();
        notes.extend(crate::catalogue::stale(&self.0.shared));
        for upstream in &self.0.shared.snapshot.load().upstreams {
            for endpoint in &upstream.shared.endpoints {
                let health = endpoint.state.health(self.0.shared.mono_ms());
                if health != mainstay_policy::balance::Health::Healthy {
                    let display = &endpoint.settings.display;
                    notes.push(format!("upstream {}: {display} is left out ({health:?})", upstream.name));
                }
                if let Some(error) = endpoint.resolved().error {
                    notes.push(format!("upstream {}: {}: {error}", upstream.name, endpoint.settings.display));
                }
            }
        }
        Readiness { ready: self.0.ready.load(Ordering::Relaxed), notes }
    }

    fn problem_type_base(&self) -> String {
        self.0.shared.snapshot.load().problem_type_base.to_string()
    }

    fn metrics(&self) -> String {
        self.0.registry.render()
    }
}

#[cfg(test)]
mod tests;
