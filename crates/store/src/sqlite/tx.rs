//! A transaction of SQLite: every answer is there at once.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mainstay_core::catalogue::{Revision, StoreError};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::db::{Row, Tx, Value};

/// The transaction that is open on a connection.
pub(super) struct SqliteTx<'c> {
    pub(super) connection: &'c mut Connection,
    pub(super) now: i64,
    /// The highest revision that was announced.
    pub(super) announced: Option<Revision>,
}

impl SqliteTx<'_> {
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).map_err(|error| failed(&error))
    }

    /// Whether SQLite has rolled back everything by itself, as it does when the disk is full.
    pub(super) fn is_lost(&self) -> bool {
        self.connection.is_autocommit()
    }

    fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, rusqlite::Error> {
        let mut rows = Vec::new();
        let mut statement = self.connection.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut found = statement.query(params_from_iter(params))?;
        while let Some(row) = found.next()? {
            rows.push(read(row, columns)?);
        }
        Ok(rows)
    }

    fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, rusqlite::Error> {
        Ok(self.connection.prepare_cached(sql)?.execute(params_from_iter(params))? as u64)
    }
}

impl Tx for SqliteTx<'_> {
    async fn rows(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.query(sql, params).map_err(|error| failed(&error))
    }

    async fn run(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, StoreError> {
        self.execute(sql, params).map_err(|error| failed(&error))
    }

    async fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        self.batch(sql)
    }

    async fn announce(&mut self, revision: Revision) -> Result<(), StoreError> {
        self.announced = self.announced.max(Some(revision));
        Ok(())
    }

    fn now(&self) -> i64 {
        self.now
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// The columns of a row, as owned values.
pub(super) fn read(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row, rusqlite::Error> {
    let mut values = Vec::with_capacity(columns);
    for column in 0..columns {
        values.push(match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            other => {
                let name = format!("column {column}");
                return Err(rusqlite::Error::InvalidColumnType(column, name, other.data_type()));
            }
        });
    }
    Ok(Row(values))
}

/// Runs an operation that never has to wait.
pub(super) fn now_or_never<R>(work: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(StoreError::Unavailable {
            cause: "an operation waits for something that SQLite does not do".to_owned(),
        }),
    }
}

/// What an error of SQLite means to the caller.
pub(super) fn failed(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged {
            what: format!("{error}; put a copy of the files from before in their place"),
        },
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Conflict { what: format!("it does not fit what is stored: {error}") }
        }
        Some(ErrorCode::DiskFull) => {
            StoreError::Unavailable { cause: format!("there is no room left to write: {error}") }
        }
        Some(_) => StoreError::Unavailable { cause: error.to_string() },
        None => StoreError::Damaged { what: error.to_string() },
    }
}
