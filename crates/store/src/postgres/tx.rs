//! A transaction of PostgreSQL.

use deadpool_postgres::{PoolError, Transaction};
use mainstay_core::catalogue::{Revision, StoreError};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::follow::CHANNEL;
use crate::db::{Row, Tx, Value};

/// Why a transaction was not committed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// It stood in the way of another one, and may be tried again.
    pub(super) again: bool,
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, again: false }
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl From<PoolError> for Failed {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            other => {
                StoreError::Unavailable { cause: format!("no connection to PostgreSQL: {other}") }.into()
            }
        }
    }
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refused) = error.as_db_error() else {
            // The outer text only says that something went wrong with the connection.
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let cause = format!("PostgreSQL: {error}{}", source.unwrap_or_default());
            return StoreError::Unavailable { cause }.into();
        };
        let code = refused.code();
        let said = format!("PostgreSQL: {} ({})", refused.message(), code.code());
        let again = *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED;
        let error = match &code.code()[..2] {
            "23" => StoreError::Conflict { what: format!("it does not fit what is stored: {said}") },
            // Data corrupted, index corrupted; undefined tables and columns.
            "XX" | "42" => StoreError::Damaged { what: said },
            _ => StoreError::Unavailable { cause: said },
        };
        Self { error, again }
    }
}

/// A transaction that is open on a connection.
pub(super) struct PostgresTx<'c> {
    pub(super) transaction: Transaction<'c>,
    now: i64,
    /// An operation sees an error without this; whoever runs it looks here.
    again: bool,
}

impl<'c> PostgresTx<'c> {
    pub(super) fn new(transaction: Transaction<'c>, now: i64) -> Self {
        Self { transaction, now, again: false }
    }

    /// What an operation's error means to who runs it.
    pub(super) fn failed(&self, error: StoreError) -> Failed {
        Failed { error, again: self.again }
    }

    fn note<R>(&mut self, answer: Result<R, tokio_postgres::Error>) -> Result<R, StoreError> {
        answer.map_err(|error| {
            let failed = Failed::from(error);
            self.again |= failed.again;
            failed.error
        })
    }
}

impl Tx for PostgresTx<'_> {
    async fn rows(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let answer = async {
            let statement = self.transaction.prepare_cached(sql).await?;
            self.transaction.query(&statement, &by_reference(&statement, params)).await
        };
        let answer = answer.await;
        self.note(answer)?.iter().map(read).collect()
    }

    async fn run(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        let answer = async {
            let statement = self.transaction.prepare_cached(sql).await?;
            self.transaction.execute(&statement, &by_reference(&statement, params)).await
        };
        let answer = answer.await;
        self.note(answer)
    }

    async fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        let answer = self.transaction.batch_execute(sql).await;
        self.note(answer)
    }

    async fn announce(&mut self, revision: Revision) -> Result<(), StoreError> {
        let payload = revision.0.to_string();
        // It is sent when the transaction is committed, and not otherwise.
        self.rows("SELECT pg_notify($1, $2)", &[Value::from(CHANNEL), Value::from(payload)]).await.map(drop)
    }

    fn now(&self) -> i64 {
        self.now
    }
}

/// What the driver takes: nothing needs to know its type too.
fn by_reference<'p>(statement: &Statement, params: &'p [Value]) -> Vec<&'p (dyn ToSql + Sync)> {
    let types = statement.params().iter();
    let pairs = params.iter().zip(types);
    pairs
        .map(|(value, ty)| match value {
            Value::Int(number) => number as &(dyn ToSql + Sync),
            Value::Text(text) => text,
            Value::Null if *ty == Type::INT8 => &None::<i64>,
            Value::Null => &None::<String>,
        })
        .collect()
}

/// The columns of a row, as owned values.
pub(super) fn read(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let mut values = Vec::with_capacity(row.len());
    for (position, column) in row.columns().iter().enumerate() {
        let value = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(position).map(Value::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(position).map(|n| Value::from(n.map(i64::from))),
            Type::VOID => Ok(Value::Null),
            _ => row.try_get::<_, Option<&str>>(position).map(Value::from),
        };
        values.push(value.map_err(|error| StoreError::Damaged { what: format!("a column: {error}") })?);
    }
    Ok(Row(values))
}
