//! Readers: connections of their own, each of which sees one moment while the writer goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::catalogue::StoreError;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::connect::{self, check_schema};
use super::tx::{SqliteTx, failed, now_or_never, read};
use super::{SqliteOptions, blocking};
use crate::db::{Operation, Row, RowVisitor};
use crate::lock::FileLock;

const READERS_MAX: usize = 4;
/// How long a caller waits for one of them.
const READER_WITHIN: Duration = Duration::from_secs(10);
/// Rows that cross from the reading thread at once, and how many such parts are on the way.
const PART_ROWS: usize = 512;
const PARTS_MAX: usize = 4;

/// A few connections that are opened when they are needed.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    options: SqliteOptions,
    idle: Mutex<Vec<Connection>>,
    /// Who reads has the files, unless another process has and this one reads beside it.
    _lock: Option<Arc<FileLock>>,
}

impl Readers {
    pub(super) fn new(options: SqliteOptions, lock: Option<Arc<FileLock>>) -> Self {
        let shared = Shared { options, idle: Mutex::default(), _lock: lock };
        Self { shared: Arc::new(shared), places: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    pub(super) async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        let (place, shared) = (self.place().await?, Arc::clone(&self.shared));
        blocking(move || {
            let answer = shared.with_snapshot(|tx| now_or_never(operation.run(tx)));
            drop(place);
            answer
        })
        .await
    }

    /// Reads in a thread of its own, and hands rows over in parts, so that few of them are in memory.
    pub(super) async fn stream<'a>(
        &self,
        statements: Vec<&'static str>,
        visit: &'a mut RowVisitor<'a>,
    ) -> Result<(), StoreError> {
        let (place, shared) = (self.place().await?, Arc::clone(&self.shared));
        let (parts, mut coming) = mpsc::channel(PARTS_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            let outcome = shared.with_snapshot(|tx| read_parts(tx, &statements, &parts));
            drop(place);
            outcome
        });
        let mut visited = Ok(());
        while let Some((statement, rows)) = coming.recv().await {
            visited = rows.into_iter().try_for_each(|row| visit(statement, row));
            if visited.is_err() {
                // The thread has nobody to send to any more and ends; it has the files until then.
                break;
            }
        }
        drop(coming);
        let read = reading.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { cause: format!("a thread of the store ended: {error}") })
        });
        visited.and(read)
    }

    /// Waits until nobody reads any more, those included whose callers have gone.
    pub(super) async fn finish(&self) {
        let all = u32::try_from(READERS_MAX).unwrap_or(1);
        let _ = tokio::time::timeout(READER_WITHIN, self.places.acquire_many(all)).await;
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let busy = || StoreError::Unavailable { cause: "all readers of the store are busy".to_owned() };
        let place = tokio::time::timeout(READER_WITHIN, Arc::clone(&self.places).acquire_owned()).await;
        place.map_err(|_| busy())?.map_err(|_| busy())
    }
}

impl Shared {
    fn with_snapshot<R>(
        &self,
        work: impl FnOnce(&mut SqliteTx<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| connect::reader(&self.options), Ok)?;
        let now = self.options.clock.now().0;
        let mut tx = SqliteTx { connection: &mut connection, now, announced: None };
        tx.batch("BEGIN")?;
        let answer = check_schema(&mut tx, &self.options.schema).and_then(|()| work(&mut tx));
        // A connection that cannot end its transaction is closed, which ends it.
        tx.batch("COMMIT")?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        answer
    }
}

type Part = (usize, Vec<Row>);

fn read_parts(
    tx: &mut SqliteTx<'_>,
    statements: &[&'static str],
    parts: &mpsc::Sender<Part>,
) -> Result<(), StoreError> {
    let gone = || StoreError::Unavailable { cause: "nobody reads on".to_owned() };
    for (position, sql) in statements.iter().enumerate() {
        let mut statement = tx.connection.prepare_cached(sql).map_err(|error| failed(&error))?;
        let columns = statement.column_count();
        let mut found = statement.query([]).map_err(|error| failed(&error))?;
        let mut part = Vec::with_capacity(PART_ROWS);
        while let Some(row) = found.next().map_err(|error| failed(&error))? {
            part.push(read(row, columns).map_err(|error| failed(&error))?);
            if part.len() == PART_ROWS {
                let full = std::mem::replace(&mut part, Vec::with_capacity(PART_ROWS));
                parts.blocking_send((position, full)).map_err(|_| gone())?;
            }
        }
        parts.blocking_send((position, part)).map_err(|_| gone())?;
    }
    Ok(())
}
