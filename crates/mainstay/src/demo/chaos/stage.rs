//! Where scenes are played: the services that fail, the clients that go on calling, and a look at the engine meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_payments::Running;
use tokio::time::{Instant, sleep};

use super::clients::{Clients, Kind, Load, Outcome, Traffic};
use super::engine::{Asked, LogLine, Metrics, Upstream};
use super::tally::Tally;
use super::{ChaosError, Ground};

/// How often the engine is asked how its upstreams are.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A scene that waits for something that does not happen ends all the same, and says so.
const SCENE_MAX: Duration = Duration::from_secs(20);
/// How long the last lines of a scene may take to the access log.
const LOG_LOOKS: u32 = 50;

/// What lasts over all scenes.
pub(super) struct Stage<'g> {
    pub(super) ground: Ground<'g>,
    pub(super) began: Instant,
    /// Each scene's title and figures.
    pub(super) rows: Vec<(&'static str, Tally, Tally)>,
    /// Every payment that was asked for.
    pub(super) payments: Vec<Outcome>,
    asked: Asked,
    clients: Arc<Clients>,
}

/// A scene that is being played.
pub(super) struct Scene {
    title: &'static str,
    traffic: Traffic,
    began: Instant,
    before: Metrics,
    log_from: u64,
    effects_before: u64,
    states: BTreeMap<String, String>,
    changes: Vec<Change>,
    waiting_most: u64,
}

/// Something that was seen to change at the engine.
pub(super) struct Change {
    /// Since the scene began.
    pub(super) after: Duration,
    /// An endpoint's address, or `breaker of UPSTREAM`.
    pub(super) subject: String,
    pub(super) state: String,
    pub(super) ejected_for_ms: Option<u64>,
}

/// How things are at a moment of a scene.
pub(super) struct Glance<'a> {
    pub(super) outcomes: &'a [Outcome],
    pub(super) states: &'a BTreeMap<String, String>,
    pub(super) changes: &'a [Change],
}

/// A scene that is over.
pub(super) struct Played {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) changes: Vec<Change>,
    pub(super) log: Vec<LogLine>,
    /// Changes of the books, as the services counted them.
    pub(super) effects: u64,
    /// The most that were seen to wait for a place at once.
    pub(super) waiting_most: u64,
    pub(super) began: Instant,
    before: Metrics,
    after: Metrics,
}

impl<'g> Stage<'g> {
    pub(super) fn set(ground: Ground<'g>) -> Result<Self, ChaosError> {
        let asked = Asked::at(ground.control, ground.folder)?;
        let clients = Clients::of(ground.engine);
        let (rows, payments) = (Vec::new(), Vec::new());
        Ok(Self { ground, began: Instant::now(), rows, payments, asked, clients })
    }

    pub(super) fn service(&self, nth: usize) -> &'g Running {
        &self.ground.services[nth]
    }

    /// Closes the port and resets what is open, as a process that dies does.
    pub(super) fn kill(&self, nth: usize) -> Result<(), ChaosError> {
        self.service(nth).faults().refuse(true)?;
        self.service(nth).reset_connections();
        Ok(())
    }

    /// Ends all faults of all services.
    pub(super) fn heal(&self) -> Result<(), ChaosError> {
        self.ground.services.iter().try_for_each(|service| service.faults().clear())?;
        Ok(())
    }

    /// The clients begin to call.
    pub(super) async fn begin(&mut self, title: &'static str, load: Load) -> Result<Scene, ChaosError> {
        self.title(title);
        let before = self.asked.metrics().await?;
        let mut scene = Scene {
            title,
            traffic: Traffic::start(&self.clients, load),
            began: Instant::now(),
            before,
            log_from: self.asked.log_end(),
            effects_before: self.effects(),
            states: BTreeMap::new(),
            changes: Vec::new(),
            waiting_most: 0,
        };
        scene.note(&self.asked.upstreams().await?);
        scene.changes.clear();
        Ok(scene)
    }

    /// Goes on for the least time, and until it has happened. `false`: it has not.
    pub(super) async fn watch(
        &self,
        scene: &mut Scene,
        least: Duration,
        happened: impl Fn(&Glance<'_>) -> bool,
    ) -> Result<bool, ChaosError> {
        let least = least / self.ground.speed;
        let began = Instant::now();
        loop {
            scene.note(&self.asked.upstreams().await?);
            let has = scene.glance(&happened);
            let passed = began.elapsed();
            if (has && passed >= least) || passed >= SCENE_MAX {
                return Ok(has);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The clients come to an end, and what they saw is told.
    pub(super) async fn end(&mut self, scene: Scene) -> Result<Played, ChaosError> {
        let Scene { title, traffic, began, before, log_from, effects_before, changes, waiting_most, .. } =
            scene;
        let outcomes = traffic.finish().await;
        let after = self.asked.metrics().await?;
        let log = self.log_of(log_from, outcomes.len()).await?;
        let effects = self.effects() - effects_before;
        self.tell_clients(&outcomes);
        self.rows.push((title, Tally::of(&outcomes), Tally::safe(&outcomes)));
        let played = Played { outcomes, changes, log, effects, waiting_most, began, before, after };
        self.payments.extend(played.payments());
        Ok(played)
    }

    /// The scene's lines of the access log, which is written a moment after the answer.
    async fn log_of(&self, from: u64, calls: usize) -> Result<Vec<LogLine>, ChaosError> {
        let mut looks = 0;
        loop {
            let lines = self.asked.log_from(from)?;
            looks += 1;
            if lines.len() >= calls || looks == LOG_LOOKS {
                return Ok(lines);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the engine takes all endpoints for healthy again. How long that was; nothing if it did not happen.
    pub(super) async fn calm(&self) -> Result<Option<Duration>, ChaosError> {
        let began = Instant::now();
        loop {
            let upstreams = self.asked.upstreams().await?;
            if upstreams.iter().flat_map(|upstream| &upstream.endpoints).all(|one| one.health == "healthy") {
                return Ok(Some(began.elapsed()));
            }
            if began.elapsed() >= SCENE_MAX {
                return Ok(None);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn effects(&self) -> u64 {
        self.ground.services.iter().map(|service| service.stats().effects()).sum()
    }
}

impl Scene {
    /// Looks at everything as it is now.
    fn glance(&self, happened: impl Fn(&Glance<'_>) -> bool) -> bool {
        let (states, changes) = (&self.states, &self.changes[..]);
        self.traffic.look(|outcomes| happened(&Glance { outcomes, states, changes }))
    }

    /// Remembers what is not as it was.
    fn note(&mut self, upstreams: &[Upstream]) {
        for upstream in upstreams {
            for endpoint in &upstream.endpoints {
                self.note_one(endpoint.endpoint.clone(), &endpoint.health, endpoint.ejected_for_ms);
            }
            for breaker in &upstream.breakers {
                self.note_one(format!("breaker of {}", upstream.upstream), &breaker.state, None);
            }
            let waiting = upstream.concurrency.iter().flat_map(|places| &places.waiting);
            self.waiting_most = self.waiting_most.max(waiting.map(|class| class.requests).sum());
        }
    }

    fn note_one(&mut self, subject: String, state: &str, ejected_for_ms: Option<u64>) {
        if self.states.get(&subject).is_some_and(|known| known == state) {
            return;
        }
        self.states.insert(subject.clone(), state.to_owned());
        let after = self.began.elapsed();
        self.changes.push(Change { after, subject, state: state.to_owned(), ejected_for_ms });
    }
}

impl Glance<'_> {
    pub(super) fn is(&self, subject: &str, state: &str) -> bool {
        self.states.get(subject).is_some_and(|known| known == state)
    }

    /// How often it was seen to become so.
    pub(super) fn became(&self, subject: &str, state: &str) -> usize {
        self.changes.iter().filter(|change| change.subject == subject && change.state == state).count()
    }

    pub(super) fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes.iter().filter(|outcome| of(outcome)).count()
    }
}

impl Played {
    /// By how much a counter of the engine has grown in the scene.
    pub(super) fn grown(&self, metric: &str, labels: &[(&str, &str)]) -> u64 {
        self.after.grown(&self.before, metric, labels)
    }

    /// The first time that it was seen to become so.
    pub(super) fn first(&self, subject: &str, state: &str) -> Option<&Change> {
        self.changes.iter().find(|change| change.subject == subject && change.state == state)
    }

    /// The payments that were asked for.
    pub(super) fn payments(&self) -> Vec<Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.kind == Kind::Payment).cloned().collect()
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Tally {
        Tally::of_kind(&self.outcomes, kind)
    }
}
