//! The one writer: a thread that commits what several callers want with one write to the disk.
//!
//! Each operation has a savepoint of its own, so one that is refused takes nobody along. Answers are given after the
//! commit. When a batch cannot be committed as a whole, each operation is tried alone: only the one that does not fit
//! fails.

use std::any::Any;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use mainstay_core::catalogue::{Revision, StoreError};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::SqliteOptions;
use super::connect::check_schema;
use super::tx::{SqliteTx, now_or_never};
use crate::db::Operation;
use crate::lock::FileLock;

/// Operations that wait for the writer; more of them wait for a place.
const WAITING_MAX: usize = 1024;
/// Operations of one commit.
const BATCH_MAX: usize = 256;

/// How many operations were committed with how many transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Transactions, each with one write to the disk that is waited for.
    pub transactions: u64,
    /// Operations in them.
    pub operations: u64,
}

#[derive(Debug, Default)]
struct Counters {
    transactions: AtomicU64,
    operations: AtomicU64,
}

/// Hands operations to the writer's thread, and waits for it to end when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        options: SqliteOptions,
        lock: Arc<FileLock>,
        revision: watch::Sender<Revision>,
    ) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let counters = Arc::<Counters>::default();
        let place = Place::of(&options.path)?;
        let state = Loop { connection, options, place, waiting, revision, counters: Arc::clone(&counters) };
        let run = move || {
            state.run();
            // The connection is closed by now; only then may another process come in.
            drop(lock);
        };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(run).map_err(|error| {
            StoreError::Unavailable { cause: format!("no thread for the store's writer: {error}") }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), counters })
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let stopped = || StoreError::Unavailable { cause: "the store's writer has stopped".to_owned() };
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { operation, answer: None, reply });
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(super) fn commits(&self) -> Commits {
        Commits {
            transactions: self.counters.transactions.load(Ordering::Relaxed),
            operations: self.counters.operations.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without a sender the thread ends when it has done what is waiting.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An operation with somebody who waits for its answer.
trait Job: Send + Any {
    /// Runs it, and keeps the answer. `Err`: what it did has to be rolled back.
    fn run(&mut self, tx: &mut SqliteTx<'_>) -> Result<(), ()>;
    /// Gives the answer, or says why there is none.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Task<O: Operation> {
    operation: O,
    answer: Option<Result<O::Output, StoreError>>,
    reply: oneshot::Sender<Result<O::Output, StoreError>>,
}

impl<O: Operation> Job for Task<O> {
    fn run(&mut self, tx: &mut SqliteTx<'_>) -> Result<(), ()> {
        let answer = now_or_never(self.operation.run(tx));
        let done = answer.as_ref().map(drop).map_err(drop);
        self.answer = Some(answer);
        done
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.answer, committed) {
            // A refusal stands, whether or not the others could be committed.
            (Some(Err(refused)), _) => Err(refused),
            (Some(answer), Ok(())) => answer,
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Unavailable { cause: "it was not run".to_owned() }),
        };
        // Nobody may be waiting any more; what is committed is committed.
        let _ = self.reply.send(answer);
    }
}

struct Loop {
    connection: Connection,
    options: SqliteOptions,
    place: Place,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    revision: watch::Sender<Revision>,
    counters: Arc<Counters>,
}

/// Which file a path leads to. One that was deleted or replaced under a running engine takes commits all the same, and they are
/// gone with the process: so before each commit it is looked whether the path still leads to the file that was opened.
#[derive(Debug, PartialEq, Eq)]
struct Place(u64, u64);

impl Place {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let metadata = std::fs::metadata(path).map_err(|error| StoreError::Unavailable {
            cause: format!("{}: {error}; the engine has to be restarted", path.display()),
        })?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }

    fn check(&self, path: &Path) -> Result<(), StoreError> {
        if Self::of(path)? == *self {
            return Ok(());
        }
        let cause =
            format!("{} was replaced while it was in use; the engine has to be restarted", path.display());
        Err(StoreError::Unavailable { cause })
    }
}

impl Loop {
    fn run(mut self) {
        while let Some(first) = self.waiting.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX {
                let Ok(next) = self.waiting.try_recv() else { break };
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let outcome = self.transaction(&mut batch);
        if outcome.is_err() && batch.len() > 1 {
            for job in batch {
                let mut alone = [job];
                let outcome = self.transaction(&mut alone);
                let [job] = alone;
                job.finish(outcome);
            }
        } else {
            for job in batch {
                job.finish(outcome.clone());
            }
        }
    }

    /// Runs all of them in one transaction. `Err`: nothing of it is there.
    fn transaction(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.place.check(&self.options.path)?;
        let now = self.options.clock.now().0;
        let mut tx = SqliteTx { connection: &mut self.connection, now, announced: None };
        tx.batch("BEGIN IMMEDIATE")?;
        let done = run_all(&mut tx, batch, &self.options).and_then(|done| tx.batch("COMMIT").map(|()| done));
        if let Err(error) = done {
            if !tx.is_lost() {
                tx.batch("ROLLBACK")?;
            }
            return Err(error);
        }
        let (announced, operations) = (tx.announced, done.unwrap_or(0));
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        self.counters.operations.fetch_add(operations, Ordering::Relaxed);
        if let Some(revision) = announced {
            self.revision.send_if_modified(|now| {
                let newer = revision > *now;
                *now = revision.max(*now);
                newer
            });
        }
        Ok(())
    }
}

/// Returns how many succeeded. `Err`: the transaction is of no use any more.
fn run_all(
    tx: &mut SqliteTx<'_>,
    batch: &mut [Box<dyn Job>],
    options: &SqliteOptions,
) -> Result<u64, StoreError> {
    check_schema(tx, &options.schema)?;
    let mut done = 0;
    for job in batch {
        tx.batch("SAVEPOINT job")?;
        let announced = tx.announced;
        match job.run(tx) {
            Ok(()) => {
                done += 1;
                tx.batch("RELEASE job")?;
            }
            Err(()) if tx.is_lost() => {
                let cause = "SQLite rolled the transaction back".to_owned();
                return Err(StoreError::Unavailable { cause });
            }
            Err(()) => {
                tx.announced = announced;
                tx.batch("ROLLBACK TO job; RELEASE job")?;
            }
        }
    }
    Ok(done)
}
