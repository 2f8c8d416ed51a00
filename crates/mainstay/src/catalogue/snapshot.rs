//! The last good snapshot of the catalogue, on disk: what an engine serves by when its store cannot be had at the start.
//!
//! Every engine with a configuration file keeps one beside it, and writes it again some seconds after a change. What was
//! revoked in the last of them, while the store and the engine went down together, is therefore accepted again until the
//! store is back: the age is an event, a metric and a note of `/readyz`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_core::catalogue::{Record, Revision, Store, StoreError};
use mainstay_core::clock::{Clock, monotonic};
use mainstay_proxy::worker::EngineShared;
use mainstay_store::{SnapshotInfo, load_snapshot, save_snapshot};
use mainstay_telemetry::{Event, EventLog, Registry};
use tokio::time::sleep;

/// How long after a change the snapshot is written at the soonest.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(5);
/// Writing it takes at most one part of so many of the time.
const SNAPSHOT_SHARE: u32 = 20;

/// The last good snapshot: where it is, and how it goes with it.
pub(super) struct Snapshot {
    path: Box<Path>,
    /// The revision that it holds; 0: there is none.
    holds: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
}

/// `mainstay.yaml` -> `mainstay.last-good.catalogue`, beside it.
pub(crate) fn path_for(config: &Path) -> PathBuf {
    config.with_extension("last-good.catalogue")
}

impl Snapshot {
    pub(super) fn new(path: &Path) -> Self {
        let zero = AtomicU64::default;
        Self { path: path.into(), holds: zero(), written: zero(), failed: zero() }
    }

    /// What it knows of the store at that place.
    pub(super) fn read(
        &self,
        store: &str,
        visit: &mut dyn FnMut(Record),
    ) -> Result<SnapshotInfo, StoreError> {
        let info = load_snapshot(&self.path, store, visit)?;
        self.holds.store(info.revision.0, Ordering::Relaxed);
        Ok(info)
    }

    async fn write(&self, store: &dyn Store, clock: &Clock) -> Result<(), StoreError> {
        let saved = save_snapshot(store, &self.path, clock).await;
        let count = if saved.is_ok() { &self.written } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        self.holds.store(saved?.revision.0, Ordering::Relaxed);
        Ok(())
    }

    /// Of an empty store: nobody was known in it before, either. Else every caller would be refused, and the last that is
    /// known of them overwritten.
    pub(super) fn was_nothing(&self, store: &str) -> Result<(), StoreError> {
        match load_snapshot(&self.path, store, &mut drop) {
            Ok(info) if info.revision > Revision(0) => Err(StoreError::Conflict {
                what: format!(
                    "{store} is empty, and was not: {} records of it are in {}. Put its files back, or restore a backup \
                     (mainstay restore FILE); to begin with nothing, remove that file",
                    info.records,
                    self.path.display()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Whether there is one.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Writes the snapshot after changes, for as long as the engine lives.
    pub(super) async fn keep(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        given_up: Arc<AtomicBool>,
        shared: Weak<EngineShared>,
        events: EventLog,
    ) {
        let (mut pause, mut failing) = (Duration::ZERO, false);
        loop {
            sleep(pause).await;
            pause = SNAPSHOT_AFTER;
            let Some(engine) = shared.upgrade() else { return };
            let (revision, clock) = (engine.known.load().as_of().revision, engine.clock.clone());
            drop(engine);
            if revision.0 == self.holds.load(Ordering::Relaxed) || given_up.load(Ordering::Relaxed) {
                continue;
            }
            let began = monotonic();
            let saved = self.write(&*store, &clock).await;
            pause = pause.max(began.elapsed() * SNAPSHOT_SHARE);
            // That the store does not answer is told where it is followed.
            if let Err(error) = &saved
                && !given_up.load(Ordering::Relaxed)
                && !failing
            {
                events.emit(&Event::CatalogueSnapshotFailed { cause: &error.to_string() });
            }
            failing = saved.is_err();
        }
    }

    /// Counts in each scrape how often it was written.
    pub(super) fn observe(self: &Arc<Self>, registry: &Registry) {
        registry.observe_while(Arc::downgrade(self), |snapshot, scrape| {
            let help = "Attempts to write the last good snapshot of the catalogue, by how they ended.";
            for (result, count) in [("written", &snapshot.written), ("failed", &snapshot.failed)] {
                let count = count.load(Ordering::Relaxed);
                scrape.counter("mainstay_catalogue_snapshots_total", help, &[("result", result)], count);
            }
        });
    }
}
