//! One suite for every kind of store, then what each has of its own. PostgreSQL is used where `MAINSTAY_TEST_POSTGRES` names a
//! server; `cargo xtask test` starts one.
#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod backup;
mod conformance;
mod postgres;
mod rig;
mod samples;
mod schema;
mod seal;
mod snapshot;
mod sqlite;
