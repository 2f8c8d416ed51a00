//! Pure decisions: (plan, state, now, input) -> decision and reason.
//!
//! One folder for each policy, all alike: `mod.rs` says in prose what is decided, `plan.rs` holds what is prepared
//! when the configuration is compiled, `decide.rs` what runs for each request, `tests.rs` the rows that hold the
//! prose to it. Nothing here does I/O, reads a clock or a random source, or knows HTTP types: time, ids and methods
//! are arguments.

pub mod balance;
pub mod route;
pub mod version;
