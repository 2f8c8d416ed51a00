//! Pure decisions: (plan, state, now, input) -> decision and reason.
//!
//! One folder for each policy, all alike: `mod.rs` says in prose what is decided, `plan.rs` holds what is prepared
//! when the configuration is compiled, `decide.rs` what runs for each request, `tests.rs` the rows that hold the
//! prose to it. What a policy remembers between requests is a file of its own beside them, shared by all workers.
//! Nothing here does I/O, reads a clock or a random source, or knows HTTP types: time, ids and methods are arguments.

pub mod balance;
pub mod breaker;
pub mod deadline;
pub mod hedge;
pub mod retry;
pub mod route;
pub mod shed;
pub mod version;

mod sliding;
