//! What outlives a process: the catalogue and its audit, in SQLite or PostgreSQL.
//!
//! Rules of this room:
//! - The port is `mainstay_core::catalogue::port`. It is implemented once ([`Database`]), over operations (`ops`) that are
//!   written once, with statements (`sql`) that stand once. A database only runs them in transactions (`db::Backend`).
//! - What is acknowledged is on the disk. A change and its audit record are committed together, or neither is.
//! - Everything is checked (`limits`) before it is written, and what is read is checked against its sum (`encode`).
//! - Nothing on a request's path calls in here, and nothing here waits without a bound.
//! - No secret comes in but sealed ([`Keyring`]) or as its hash.

mod audit;
mod backup;
mod checked_file;
mod db;
mod encode;
pub mod limits;
mod load;
mod lock;
mod ops;
mod postgres;
mod schema;
mod seal;
mod snapshot;
mod sql;
mod sqlite;
mod store;

pub use lock::FileLock;
pub use postgres::{Postgres, PostgresOptions, PostgresStore};
pub use schema::{Migration, Schema};
pub use seal::Keyring;
pub use snapshot::{SnapshotInfo, load_snapshot, save_snapshot};
pub use sqlite::{Commits, Sqlite, SqliteOptions, SqliteStore};
pub use store::Database;
