//! Who is known: the catalogue's records in the data plane's index, from the start on and with every change.
//!
//! The data plane never asks the store. What it knows is loaded before the first request and followed afterwards: a change
//! made anywhere is there within two seconds. While the store cannot be asked, what is known goes on, and its age is a
//! metric and an event.

mod snapshot;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_config::checked::{self, Checked};
use mainstay_core::catalogue::port::{Changes, RecordChange};
use mainstay_core::catalogue::{Catalogue, Kind, Record, Revision, Sealer, Store, StoreError};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_identity::index::{AsOf, Change, Index, Loader};
use mainstay_proxy::worker::EngineShared;
use mainstay_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use mainstay_telemetry::{Event, EventLog, Registry};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::{report, secret_key};
use snapshot::Snapshot;
pub(crate) use snapshot::path_for as snapshot_path_for;

/// How long a change may go unnoticed when nobody tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a store that failed is left alone.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often files are asked for that another process may still have.
const TAKE_BACK_ATTEMPTS: usize = 120;
/// Of an index without a store behind it, which cannot be out of date.
const NEVER: AsOf = AsOf { revision: Revision(0), at: UnixMs(0) };
/// From this age on it is worth a note.
const STALE_FROM_S: i64 = 5;
/// How often it is written down when keys were used last.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// How often what has expired is taken out.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(60);
/// Rows of each table that one transaction takes out.
const CLEAN_UP_ROWS_MAX: u32 = 1000;
/// As many in one batch.
const TOUCH_KEYS_MAX: usize = 1000;

/// The store behind the index, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Keeper {
    store: Option<Arc<dyn Store>>,
    /// Opens and closes what is sealed in it.
    sealer: Option<Arc<dyn Sealer>>,
    /// The same, where it is in files that one process at a time can have.
    files: Option<Arc<SqliteStore>>,
    /// They have been given up, so that nothing of them is followed and nothing is wrong with that.
    given_up: Arc<AtomicBool>,
    /// The files could not be had at the start, and are still to be taken. Held while they are.
    to_be_taken: Arc<Mutex<bool>>,
    /// Why the store was not there at the start.
    missing: Option<StoreError>,
    snapshot: Option<Arc<Snapshot>>,
}

impl Keeper {
    /// Opens what the configuration names; nothing where it names nothing. A store that cannot be had is opened later,
    /// where there is a snapshot to begin with.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is open then.
    pub(crate) async fn open(
        checked: &Checked,
        clock: &Clock,
        snapshot: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let Some(stores) = &checked.identity.stores else { return Ok(Self::default()) };
        let mut keeper = Self::open_store(&stores.catalogue, clock.clone(), snapshot).await?;
        if let (Some(place), Some(store)) = (&stores.secret_key, &keeper.store) {
            let keys = secret_key::load(place)?;
            if keeper.missing.is_none() {
                secret_key::check(&**store, &keys).await?;
            }
            keeper.sealer = Some(Arc::new(keys));
        }
        Ok(keeper)
    }

    async fn open_store(
        store: &checked::Store,
        clock: Clock,
        snapshot: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let snapshot = snapshot.map(|path| Arc::new(Snapshot::new(path)));
        let may_wait = |error: StoreError| match (&snapshot, is_down(&error)) {
            (Some(snapshot), true) if snapshot.exists() => Ok(error),
            _ => Err(error),
        };
        match store {
            checked::Store::Sqlite(path) => {
                let options = SqliteOptions { clock, ..SqliteOptions::new(path) };
                let (files, missing) = match SqliteStore::open(options.clone()).await {
                    Ok(files) => (files, None),
                    Err(error) => (SqliteStore::not_yet(options), Some(may_wait(error)?)),
                };
                let to_be_taken = Arc::new(Mutex::new(missing.is_some()));
                let files = Arc::new(files);
                let store = Some(Arc::clone(&files) as _);
                Ok(Self { store, files: Some(files), to_be_taken, missing, snapshot, ..Self::default() })
            }
            checked::Store::Postgres(url) => {
                let options = PostgresOptions { clock, ..PostgresOptions::new(url) };
                let (store, missing) = match PostgresStore::open(options.clone()).await {
                    Ok(store) => (store, None),
                    Err(error) => (PostgresStore::not_yet(options)?, Some(may_wait(error)?)),
                };
                Ok(Self { store: Some(Arc::new(store)), missing, snapshot, ..Self::default() })
            }
        }
    }

    /// The port, for the admin API.
    pub(crate) fn catalogue(&self) -> Option<Arc<dyn Catalogue>> {
        self.store.clone().map(|store| store as _)
    }

    /// The whole store and what seals in it, for the authorisation server.
    pub(crate) fn sealed(&self) -> Option<(Arc<dyn Store>, Arc<dyn Sealer>)> {
        self.store.clone().zip(self.sealer.clone())
    }

    /// Fills an index that nobody reads yet: from the store, or if that is down from the snapshot.
    ///
    /// # Errors
    /// Neither can be read; or the store is empty although the snapshot says that it was not.
    pub(crate) async fn load(
        &self,
        index: Index,
        checked: &Checked,
        clock: &Clock,
        events: &EventLog,
    ) -> Result<Index, StoreError> {
        let begin = |index| {
            let mut loader = Loader::new(index);
            loader.set_file(&report::file_consumers(checked), &[]);
            loader
        };
        let Some(store) = &self.store else { return Ok(begin(index).finish(NEVER)) };
        let from_store = match &self.missing {
            Some(error) => Err(error.clone()),
            None => {
                let mut loader = begin(index.successor());
                let loaded = store.load(&mut |record| put(&mut loader, &record)).await;
                loaded.map(|revision| loader.finish(AsOf { revision, at: clock.now() }))
            }
        };
        match (from_store, &self.snapshot) {
            (Ok(index), Some(snapshot)) if index.as_of().revision == Revision(0) => {
                snapshot.was_nothing(&store.place()).map(|()| index)
            }
            (Err(error), Some(snapshot)) if is_down(&error) => {
                let mut loader = begin(index);
                let info = snapshot.read(&store.place(), &mut |record| put(&mut loader, &record));
                // What is wrong with the snapshot is no help to whoever has to mend the store.
                let Ok(info) = info else { return Err(error) };
                let (age_s, records) = (info.age_ms(clock.now()) / 1000, info.records);
                events.emit(&Event::CatalogueSnapshotUsed { age_s, records, cause: &error.to_string() });
                Ok(loader.finish(AsOf { revision: info.revision, at: UnixMs(info.taken_at) }))
            }
            (loaded, _) => loaded,
        }
    }

    /// Follows the catalogue, and writes last uses down, for as long as the engine lives.
    pub(crate) fn keep(&self, shared: &Arc<EngineShared>, events: &EventLog) {
        tokio::spawn(self.clone().follow(Arc::downgrade(shared), events.clone()));
        tokio::spawn(self.clone().keep_last_used(Arc::downgrade(shared)));
        if let (Some(store), Some(snapshot)) = (&self.store, &self.snapshot) {
            let given_up = Arc::clone(&self.given_up);
            let keep = Arc::clone(snapshot).keep(
                Arc::clone(store),
                given_up,
                Arc::downgrade(shared),
                events.clone(),
            );
            tokio::spawn(keep);
        }
        tokio::spawn(self.clone().clean_up(Arc::downgrade(shared)));
    }

    async fn follow(self, shared: Weak<EngineShared>, events: EventLog) {
        let Some(store) = self.store.clone() else { return };
        let mut failing = self.missing.is_some();
        loop {
            self.take_if_missing().await;
            let Some(known) = shared.upgrade().map(|shared| shared.known.load_full()) else { return };
            let since = known.as_of().revision;
            // Dropped in time it is no failure: then somebody has to look.
            let _ = timeout(LOOK_EVERY, store.changed(since)).await;
            let Some(engine) = shared.upgrade() else { return };
            let caught_up = catch_up(&*store, &engine, &known, since).await;
            if self.given_up.load(Ordering::Relaxed) {
                drop(engine);
                sleep(AGAIN_AFTER).await;
                continue;
            }
            match caught_up {
                Ok(()) if failing => {
                    failing = false;
                    events.emit(&Event::CatalogueRecovered {});
                }
                Ok(()) => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        events.emit(&Event::CatalogueUnavailable { cause: &error.to_string() });
                    }
                    drop(engine);
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Takes the files that could not be had at the start.
    async fn take_if_missing(&self) {
        let mut to_be_taken = self.to_be_taken.lock().await;
        if let (true, Some(files)) = (*to_be_taken, &self.files) {
            *to_be_taken = files.take_back().await.is_err();
        }
    }

    async fn keep_last_used(self, shared: Weak<EngineShared>) {
        let Some(store) = self.store else { return };
        loop {
            sleep(TOUCH_EVERY).await;
            let Some(known) = shared.upgrade().map(|shared| shared.known.load_full()) else { return };
            touch(&*store, &known).await;
        }
    }

    /// Takes what has expired out of the store. What failed is tried again the next time; nobody waits for it.
    async fn clean_up(self, shared: Weak<EngineShared>) {
        let Some(store) = self.store else { return };
        loop {
            sleep(CLEAN_UP_EVERY).await;
            if shared.strong_count() == 0 {
                return;
            }
            while store.clean_up(CLEAN_UP_ROWS_MAX).await.is_ok_and(|done| done.more) {}
        }
    }

    /// The last thing before the engine ends, or hands over: what is known of last uses is written, and the files are
    /// given up.
    pub(crate) async fn close(&self, shared: &EngineShared) {
        if let Some(store) = &self.store {
            touch(&**store, &shared.known.load_full()).await;
        }
        if let Some(files) = &self.files {
            // Whoever is taking them has finished, and nobody begins.
            *self.to_be_taken.lock().await = false;
            self.given_up.store(true, Ordering::Relaxed);
            files.hand_over().await;
        }
    }

    /// Takes the files again, because nobody else wanted them. Whoever had them may still be ending, so it is tried for
    /// a while; what is wrong then is told where the catalogue is followed.
    pub(crate) async fn take_back(self) {
        let Some(files) = &self.files else { return };
        for _ in 0..TAKE_BACK_ATTEMPTS {
            if files.take_back().await.is_ok() {
                break;
            }
            sleep(AGAIN_AFTER).await;
        }
        self.given_up.store(false, Ordering::Relaxed);
    }
}

/// The store may be had later, and what is known meanwhile is better than nothing. What one has to decide about (another
/// release's schema, files that another process has) is told at once.
pub(crate) fn is_down(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Damaged { .. })
}

/// Takes another configuration's consumers over.
pub(crate) fn reloaded(known: &Index, checked: &Checked) {
    known.set_file(&report::file_consumers(checked), &[]);
}

/// What a person should know when the store has not been read for a while.
pub(crate) fn stale(shared: &EngineShared) -> Option<String> {
    let as_of = shared.known.load().as_of();
    let age_s = (shared.clock.now().0 - as_of.at.0) / 1000;
    (as_of != NEVER && age_s >= STALE_FROM_S)
        .then(|| format!("the catalogue has not been read for {age_s} s; who was known then is known still"))
}

/// Shows in each scrape how much is known, and how old that is.
pub(crate) fn observe(registry: &Registry, shared: &Arc<EngineShared>, keeper: &Keeper) {
    if let Some(snapshot) = &keeper.snapshot {
        snapshot.observe(registry);
    }
    registry.observe_while(Arc::downgrade(shared), |shared, scrape| {
        let known = shared.known.load();
        let sizes = known.sizes();
        let help = "Records of the catalogue that the data plane knows.";
        let kinds = [
            ("key", sizes.keys),
            ("consumer", sizes.consumers),
            ("client", sizes.clients),
            ("user", sizes.users),
        ];
        for (kind, number) in kinds {
            scrape.gauge("mainstay_catalogue_records", help, &[("kind", kind)], number as f64);
        }
        let as_of = known.as_of();
        if as_of != NEVER {
            let age_s = (shared.clock.now().0 - as_of.at.0).max(0) as f64 / 1000.0;
            let help = "How long ago what the data plane knows was last compared with the store.";
            scrape.gauge("mainstay_catalogue_age_seconds", help, &[], age_s);
        }
    });
}

async fn touch(store: &dyn Store, known: &Index) {
    loop {
        let used = known.drain_last_used(TOUCH_KEYS_MAX);
        let last = used.len() < TOUCH_KEYS_MAX;
        let used = used.into_iter().map(|(key, at)| (key, at.0)).collect::<Vec<_>>();
        // What could not be written comes with the next use; nobody waits for it.
        if used.is_empty() || store.touch_keys(used).await.is_err() || last {
            return;
        }
    }
}

async fn catch_up(
    store: &dyn Store,
    shared: &EngineShared,
    known: &Arc<Index>,
    mut since: Revision,
) -> Result<(), StoreError> {
    loop {
        match store.changes(since).await? {
            Changes::Since { revision, more, records } => {
                for change in &records {
                    follow_one(known, change);
                }
                known.set_as_of(AsOf { revision, at: shared.clock.now() });
                since = revision;
                if !more {
                    return Ok(());
                }
            }
            Changes::LoadAgain => return load_again(store, shared, known).await,
        }
    }
}

/// Beside the one that serves, and in its place when it is whole.
async fn load_again(store: &dyn Store, shared: &EngineShared, known: &Arc<Index>) -> Result<(), StoreError> {
    let mut loader = Loader::new(known.successor());
    loader.take_file(known);
    let revision = store.load(&mut |record| put(&mut loader, &record)).await?;
    shared.known.store(Arc::new(loader.finish(AsOf { revision, at: shared.clock.now() })));
    // After the exchange, so that nothing found in the old one is kept.
    shared.known.load().changed();
    Ok(())
}

fn put(loader: &mut Loader, record: &Record) {
    if let Some(change) = change_of(record) {
        loader.apply(change);
    }
}

fn follow_one(known: &Index, change: &RecordChange) {
    match change {
        RecordChange::Changed(record) => {
            if let Some(change) = change_of(record) {
                known.apply(change);
            }
        }
        RecordChange::Removed { kind, id } => {
            let gone = match kind {
                Kind::Consumer => Change::ConsumerGone(id),
                Kind::Key => Change::KeyGone(id),
                Kind::Client => Change::ClientGone(id),
                Kind::User => Change::UserGone(id),
                Kind::SigningKey => Change::SigningKeyGone(id),
                Kind::RevokedToken | Kind::AdminToken => return,
            };
            known.apply(gone);
        }
    }
}

/// Admin tokens are the control side's to follow.
fn change_of(record: &Record) -> Option<Change<'_>> {
    Some(match record {
        Record::Consumer(record) => Change::Consumer(record),
        Record::Key(record) => Change::Key(record),
        Record::Client(record) => Change::Client(record),
        Record::User(record) => Change::User(record),
        Record::SigningKey(record) => Change::SigningKey(record),
        Record::RevokedToken(_) | Record::AdminToken(_) => return None,
    })
}
