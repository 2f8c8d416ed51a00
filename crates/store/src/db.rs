//! What both kinds of database have in common: values, rows, transactions, and work that is done within one.
//!
//! An [`Operation`] is written once, as if a database were at hand that answers later. PostgreSQL does; SQLite answers at
//! once, so that its writer can run an operation without a runtime.

use std::future::Future;

use mainstay_core::catalogue::{Revision, StoreError};

use crate::schema::Schema;

/// What a column holds. Everything is a whole number or a text: hashes are hex digits, records are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    /// Numbers of ours count from 1; the other half of the range is not reached in the life of a store.
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Values for the `$1`, `$2` ... of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Value::from($value)),*] };
}
pub(crate) use params;

/// What a statement returned for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        self.opt_int(column)?.ok_or_else(|| wrong_column(column, "a number"))
    }

    pub(crate) fn unsigned(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|_| wrong_column(column, "a number from 0 on"))
    }

    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match self.0.get(column) {
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(Value::Null) => Ok(None),
            _ => Err(wrong_column(column, "a number")),
        }
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.opt_text(column)?.ok_or_else(|| wrong_column(column, "a text"))
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            _ => Err(wrong_column(column, "a text")),
        }
    }
}

fn wrong_column(column: usize, expected: &str) -> StoreError {
    StoreError::Damaged { what: format!("column {column} of a row is not {expected}") }
}

/// A transaction in which an operation works.
pub(crate) trait Tx: Send {
    /// The rows that a statement returns.
    fn rows(
        &mut self,
        sql: &'static str,
        params: &[Value],
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// How many rows a statement changed.
    fn run(
        &mut self,
        sql: &'static str,
        params: &[Value],
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Statements that make or alter tables.
    fn script(&mut self, sql: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Wakes everybody who follows changes, when this transaction is committed.
    fn announce(&mut self, revision: Revision) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The date, the same for the whole transaction.
    fn now(&self) -> i64;

    /// The first row that a statement returns.
    fn row(
        &mut self,
        sql: &'static str,
        params: &[Value],
    ) -> impl Future<Output = Result<Option<Row>, StoreError>> + Send {
        async move { Ok(self.rows(sql, params).await?.into_iter().next()) }
    }
}

/// Work within one transaction. It may be done again when the transaction could not be committed.
pub(crate) trait Operation: Send + Sync + 'static {
    type Output: Send + 'static;

    /// An error rolls back what was done.
    fn run<T: Tx>(&self, tx: &mut T) -> impl Future<Output = Result<Self::Output, StoreError>> + Send;
}

/// A database.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Runs an operation that changes nothing.
    fn read<O: Operation>(&self, operation: O) -> impl Future<Output = Result<O::Output, StoreError>> + Send;

    /// Runs an operation and commits it.
    fn write<O: Operation>(&self, operation: O)
    -> impl Future<Output = Result<O::Output, StoreError>> + Send;

    /// Hands the rows of these statements to `visit`, with the statement's position, all as of one moment.
    fn stream<'a>(
        &'a self,
        statements: &'a [&'static str],
        visit: &'a mut RowVisitor<'a>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'a;

    /// Returns when the catalogue has probably gone past this revision.
    fn changed(&self, since: Revision) -> impl Future<Output = ()> + Send;

    /// Brings the schema up to the newest, and returns the old and the new version.
    fn migrate(&self) -> impl Future<Output = Result<(u32, u32), StoreError>> + Send;

    /// The schemas that this release works on.
    fn schema(&self) -> Schema;

    /// Where it is, without a password.
    fn place(&self) -> String;
}

/// Takes rows as they come.
pub(crate) type RowVisitor<'a> = dyn FnMut(usize, Row) -> Result<(), StoreError> + Send + 'a;
