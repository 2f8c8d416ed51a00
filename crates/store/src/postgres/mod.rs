//! A catalogue in PostgreSQL, for many nodes.
//!
//! Every change takes the row of the state first, so changes are committed one after the other, in the order of their
//! revisions. A commit notifies all nodes (`LISTEN`); each also asks for the revision every second, because a notification
//! can be lost with its connection. Every statement, connection and wait has a bound; a server that is away is
//! [`StoreError::Unavailable`], and is found again when it is back.

mod connect;
mod follow;
mod tx;

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use mainstay_core::catalogue::{Revision, StoreError};
use mainstay_core::clock::Clock;
use tokio::sync::watch;
use tokio_postgres::IsolationLevel;

use crate::db::{Backend, Operation, RowVisitor};
use crate::ops::upkeep::Migrate;
use crate::schema::{Schema, for_postgres};
use crate::store::Database;
use follow::Follower;
use tx::{Failed, PostgresTx, read};

/// How long a call takes at most, with all its attempts.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How often a transaction is tried that stood in the way of another one.
const ATTEMPTS_MAX: u32 = 5;
/// Rows that are fetched at once when everything is read.
const PART_ROWS: i32 = 1000;

/// A store in PostgreSQL.
pub type PostgresStore = Database<Postgres>;

/// How to open a store in PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// The schemas that this release works on.
    pub schema: Schema,
    /// What date it is.
    pub clock: Clock,
    /// Connections besides the one that listens.
    pub connections_max: usize,
}

impl std::fmt::Debug for PostgresOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// With this release's schema, the machine's clock and eight connections.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), schema: Schema::CURRENT, clock: Clock::System, connections_max: 8 }
    }
}

/// The database behind a [`PostgresStore`].
pub struct Postgres {
    options: PostgresOptions,
    pool: Pool,
    place: String,
    revision: watch::Sender<Revision>,
    /// Ends with this.
    _follower: Follower,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and makes the schema when the database has none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the server does not answer. [`StoreError::SchemaTooNew`] and
    /// [`StoreError::SchemaTooOld`]: the schema is another release's. [`StoreError::Invalid`]: the URL cannot be used.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self::not_yet(options)?;
        let Postgres { options, pool, revision, .. } = &store.backend;
        let opening = async {
            let mut client = connect::client(pool).await?;
            connect::prepare(&mut client, &options.schema).await
        };
        revision.send_replace(within(opening).await?);
        Ok(store)
    }

    /// Says where the database is, and does not wait for it. A database without a schema gets none.
    ///
    /// # Errors
    /// [`StoreError::Invalid`]: the URL cannot be used.
    pub fn not_yet(options: PostgresOptions) -> Result<Self, StoreError> {
        let config = connect::config(&options.url)?;
        let pool = connect::pool(&config, options.connections_max)?;
        let revision = watch::Sender::new(Revision(0));
        let follower = Follower::start(config.clone(), pool.clone(), revision.clone());
        let (place, clock) = (connect::place(&config), options.clock.clone());
        let backend = Postgres { options, pool, place, revision, _follower: follower };
        Ok(Self { backend, clock })
    }
}

impl Postgres {
    /// One attempt at a transaction.
    async fn transaction<O: Operation>(&self, operation: &O, writes: bool) -> Result<O::Output, Failed> {
        let mut client = connect::client(&self.pool).await?;
        let transaction = client.build_transaction().read_only(!writes).start().await?;
        let mut tx = PostgresTx::new(transaction, self.options.clock.now().0);
        connect::check_schema(&mut tx, &self.options.schema).await?;
        match operation.run(&mut tx).await {
            Ok(output) => {
                tx.transaction.commit().await?;
                Ok(output)
            }
            Err(error) => Err(tx.failed(error)),
        }
    }

    async fn call<O: Operation>(&self, operation: O, writes: bool) -> Result<O::Output, StoreError> {
        let attempts = async {
            let mut attempt = 1;
            loop {
                match self.transaction(&operation, writes).await {
                    Err(Failed { again: true, .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
                    other => return other.map_err(|failed| failed.error),
                }
            }
        };
        let answer = within(attempts).await;
        if matches!(answer, Err(StoreError::Unavailable { .. })) {
            // Connections that look alive may lead to a server that is not.
            self.pool.retain(|_, _| false);
        }
        answer
    }

    async fn read_all<'a>(
        &'a self,
        mut client: Object,
        statements: &'a [&'static str],
        visit: &'a mut RowVisitor<'a>,
    ) -> Result<(), StoreError> {
        let moment =
            client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = within(async { moment.start().await.map_err(Failed::from) }).await?;
        let mut tx = PostgresTx::new(transaction, 0);
        within(connect::check_schema(&mut tx, &self.options.schema)).await?;
        for (position, sql) in statements.iter().enumerate() {
            let portal = within(async { tx.transaction.bind(*sql, &[]).await.map_err(Failed::from) }).await?;
            loop {
                let part = tx.transaction.query_portal(&portal, PART_ROWS);
                let rows = within(async { part.await.map_err(Failed::from) }).await?;
                let last = rows.len() < usize::try_from(PART_ROWS).unwrap_or(usize::MAX);
                for row in &rows {
                    visit(position, read(row)?)?;
                }
                if last {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Backend for Postgres {
    async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.call(operation, false).await
    }

    async fn write<O: Operation>(&self, operation: O) -> Result<O::Output, StoreError> {
        self.call(operation, true).await
    }

    async fn stream<'a>(
        &'a self,
        statements: &'a [&'static str],
        visit: &'a mut RowVisitor<'a>,
    ) -> Result<(), StoreError> {
        let client = within(connect::client(&self.pool)).await?;
        self.read_all(client, statements, visit).await
    }

    async fn changed(&self, since: Revision) {
        let mut revision = self.revision.subscribe();
        // The sender lives as long as this does.
        let _ = revision.wait_for(|now| *now > since).await;
    }

    async fn migrate(&self) -> Result<(u32, u32), StoreError> {
        // Not bounded as a call is: a table may be large. Its statements have bounds of their own.
        let mut client = within(connect::client(&self.pool)).await?;
        let schema = self.options.schema;
        Ok(connect::migrate(&mut client, Migrate { schema, dialect: for_postgres }).await?)
    }

    fn schema(&self) -> Schema {
        self.options.schema
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// Gives up on a server that takes connections and does not answer.
async fn within<R, E: Into<StoreError>>(work: impl Future<Output = Result<R, E>>) -> Result<R, StoreError> {
    match tokio::time::timeout(CALL_WITHIN, work).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => {
            let cause = format!("PostgreSQL did not answer within {} s", CALL_WITHIN.as_secs());
            Err(StoreError::Unavailable { cause })
        }
    }
}
