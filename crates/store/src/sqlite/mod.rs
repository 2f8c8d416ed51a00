//! A catalogue in a set of files beside each other: one process, one writer, readers beside it.
//!
//! `mainstay.db` names `mainstay.db`, `-wal`, `-shm` and `mainstay.db.lock`. The write-ahead log lets readers see one moment
//! while the writer goes on; `synchronous=FULL` makes a commit outlive a power cut. All changes go to one thread, which
//! commits those of several callers with one write to the disk.

mod connect;
mod readers;
#[cfg(test)]
mod tests;
mod tx;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::catalogue::{Revision, StoreError};
use mainstay_core::clock::Clock;
use tokio::sync::{RwLock, RwLockReadGuard, watch};

use crate::db::{Backend, Operation, RowVisitor};
use crate::lock::FileLock;
use crate::ops::upkeep::Migrate;
use crate::schema::{Schema, for_sqlite};
use crate::store::Database;
use readers::Readers;
pub use writer::Commits;
use writer::Writer;

/// How long a caller waits for the writer.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// A store in files.
pub type SqliteStore = Database<Sqlite>;

/// How to open a store in files.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file; the others lie beside it.
    pub path: PathBuf,
    /// The schemas that this release works on.
    pub schema: Schema,
    /// What date it is.
    pub clock: Clock,
    /// The most pages of 4 KiB that the file may have; `None`: as many as the disk holds.
    pub pages_max: Option<u32>,
}

impl SqliteOptions {
    /// With this release's schema and the machine's clock.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), schema: Schema::CURRENT, clock: Clock::System, pages_max: None }
    }
}

/// The database behind a [`SqliteStore`].
#[derive(Debug)]
pub struct Sqlite {
    options: SqliteOptions,
    /// Operations hold it for reading while they run; a hand-over waits for them.
    running: RwLock<Option<Running>>,
    revision: watch::Sender<Revision>,
}

/// What there is while this process has the files.
#[derive(Debug)]
struct Running {
    readers: Readers,
    /// `None`: opened to be read beside the process that has the files.
    writer: Option<Writer>,
}

impl SqliteStore {
    /// Takes the files, and makes them when there are none.
    ///
    /// # Errors
    /// [`StoreError::Locked`]: another process has them. [`StoreError::SchemaTooNew`] and [`StoreError::SchemaTooOld`]:
    /// another release's. [`StoreError::Damaged`]: no store, or not what was written.
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let store = Self::not_yet(options);
        store.backend.take().await?;
        Ok(store)
    }

    /// Names the files, and leaves them alone until [`SqliteStore::take_back`].
    pub fn not_yet(options: SqliteOptions) -> Self {
        let clock = options.clock.clone();
        let backend =
            Sqlite { options, running: RwLock::new(None), revision: watch::Sender::new(Revision(0)) };
        Self { backend, clock }
    }

    /// Opens files that another process has, to be read alone: each answer is of one moment, and the other one goes on.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], but for [`StoreError::Locked`]; [`StoreError::Unavailable`] also when there are no files.
    pub async fn beside(options: SqliteOptions) -> Result<Self, StoreError> {
        let store = Self::not_yet(options.clone());
        let opened = blocking(move || {
            let first = connect::reader(&options)?;
            connect::accept(&first, &options.schema)?;
            Ok(Running { readers: Readers::new(options, None), writer: None })
        });
        *store.backend.running.write().await = Some(opened.await?);
        Ok(store)
    }

    /// Finishes what was begun, closes the files and gives the lock up, so that another process can take them. Until
    /// [`SqliteStore::take_back`], every call is answered [`StoreError::Unavailable`].
    pub async fn hand_over(&self) {
        let mut place = self.backend.running.write().await;
        let Some(running) = place.take() else { return };
        running.readers.finish().await;
        // The writer's thread ends when it has done what was asked of it; that may take a write to the disk.
        let _ = tokio::task::spawn_blocking(move || drop(running)).await;
    }

    /// Takes the files again, because the other process failed.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn take_back(&self) -> Result<(), StoreError> {
        self.backend.take().await
    }

    /// How many operations were committed with how many transactions, since the start.
    pub async fn commits(&self) -> Commits {
        let running = self.backend.running.read().await;
        let writer = running.as_ref().and_then(|running| running.writer.as_ref());
        writer.map(Writer::commits).unwrap_or_default()
    }
}

impl Running {
    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::Unavailable {
            cause: "its files were opened to be read beside the process that has them".to_owned(),
        })
    }
}

impl Sqlite {
    async fn take(&self) -> Result<(), StoreError> {
        let mut running = self.running.write().await;
        if running.is_some() {
            return Ok(());
        }
        let (options, revision) = (self.options.clone(), self.revision.clone());
        let taken = blocking(move || {
            let lock = Arc::new(FileLock::take(&options.path)?);
            let connection = connect::writer(&options)?;
            revision.send_replace(connect::revision(&connection)?);
            let readers = Readers::new(options.clone(), Some(Arc::clone(&lock)));
            let writer = Writer::start(connection, options, lock, revision)?;
            Ok(Running { readers, writer: Some(writer) })
        });
        *running = Some(taken.await?);
        Ok(())
    }

    async fn running(&self) -> Result<RwLockReadGuard<'_, Running>, StoreError> {
        RwLockReadGuard::try_map(self.running.read().await, Option::as_ref).map_err(|_| {
            StoreError::Unavailable { cause: "its files are not open in this process".to_owned() }
        })
    }
}

impl Backend for Sqlite {
    async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.running().await?.readers.read(operation).await
    }

    async fn write<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let running = self.running().await?;
        match tokio::time::timeout(WRITE_WITHIN, running.writer()?.write(operation)).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::Unavailable { cause: "the disk takes too long to write".to_owned() }),
        }
    }

    async fn stream<'a>(
        &'a self,
        statements: &'a [&'static str],
        visit: &'a mut RowVisitor<'a>,
    ) -> Result<(), StoreError> {
        self.running().await?.readers.stream(statements.to_vec(), visit).await
    }

    async fn changed(&self, since: Revision) {
        let mut revision = self.revision.subscribe();
        // The sender lives as long as this does.
        let _ = revision.wait_for(|now| *now > since).await;
    }

    async fn migrate(&self) -> Result<(u32, u32), StoreError> {
        let running = self.running().await?;
        running.writer()?.write(Migrate { schema: self.options.schema, dialect: for_sqlite }).await
    }

    fn schema(&self) -> Schema {
        self.options.schema
    }

    fn place(&self) -> String {
        format!("sqlite:{}", self.options.path.display())
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StoreError::Unavailable { cause: format!("a thread of the store ended: {error}") })
    })
}
