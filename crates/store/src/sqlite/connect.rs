//! Connections to the file, and the schema in it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use mainstay_core::catalogue::{Revision, StoreError};
use rusqlite::{Connection, OpenFlags};

use super::SqliteOptions;
use super::tx::{failed, now_or_never};
use crate::db::Tx;
use crate::schema::{Schema, for_sqlite};
use crate::sql;

/// Says to everybody who looks at the file whose it is: `MNST`.
const APPLICATION_ID: i64 = 0x4d4e_5354;
/// Statements that are kept ready on each connection: all there are.
const STATEMENTS_KEPT: usize = 128;

/// The one connection that writes. Makes the file and the schema when there are none.
pub(super) fn writer(options: &SqliteOptions) -> Result<Connection, StoreError> {
    // SQLite gives the files beside this one the same mode.
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&options.path);
    made.map_err(|error| StoreError::Unavailable { cause: format!("{}: {error}", options.path.display()) })?;
    let mut connection = open(options)?;
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;";
    connection.execute_batch(setup).map_err(|error| failed(&error))?;
    if let Some(pages) = options.pages_max {
        pragma(&connection, "max_page_count", i64::from(pages))?;
    }
    prepare(&mut connection, &options.schema)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn reader(options: &SqliteOptions) -> Result<Connection, StoreError> {
    let connection = open(options)?;
    pragma(&connection, "query_only", 1)?;
    Ok(connection)
}

fn open(options: &SqliteOptions) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.path, flags).map_err(|error| failed(&error))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|error| failed(&error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    pragma(&connection, "trusted_schema", 0)?;
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    connection.pragma_update(None, name, value).map_err(|error| failed(&error))
}

/// Makes the schema of an empty file; accepts or refuses one that is there.
fn prepare(connection: &mut Connection, schema: &Schema) -> Result<(), StoreError> {
    let count = |sql: &str| -> Result<i64, StoreError> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| failed(&error))
    };
    if count("SELECT count(*) FROM sqlite_master")? == 0 {
        let transaction = connection.transaction().map_err(|error| failed(&error))?;
        for statement in schema.steps(0) {
            transaction.execute_batch(&for_sqlite(statement)).map_err(|error| failed(&error))?;
        }
        transaction
            .execute(sql::SET_SCHEMA, [i64::from(schema.newest())])
            .and_then(|_| transaction.pragma_update(None, "application_id", APPLICATION_ID))
            .map_err(|error| failed(&error))?;
        return transaction.commit().map_err(|error| failed(&error));
    }
    accept(connection, schema)
}

/// Accepts or refuses the schema that is there.
pub(super) fn accept(connection: &Connection, schema: &Schema) -> Result<(), StoreError> {
    let count = |sql: &str| -> Result<i64, StoreError> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|error| failed(&error))
    };
    if count("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('state', 'record')")? != 2
    {
        return Err(StoreError::Damaged { what: "the file is a database of something else".to_owned() });
    }
    schema.accept(count(sql::SCHEMA)?).map(drop)
}

/// What the file is at.
pub(super) fn revision(connection: &Connection) -> Result<Revision, StoreError> {
    let revision: i64 =
        connection.query_row(sql::REVISION, [], |row| row.get(0)).map_err(|error| failed(&error))?;
    Ok(Revision(u64::try_from(revision).unwrap_or(0)))
}

/// Refuses to work on a schema that another release has made meanwhile.
pub(super) fn check_schema<T: Tx>(tx: &mut T, schema: &Schema) -> Result<(), StoreError> {
    let row = now_or_never(tx.row(sql::SCHEMA, &[]))?;
    schema.accept(row.map_or(Ok(0), |row| row.int(0))?).map(drop)
}
