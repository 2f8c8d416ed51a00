//! The engine's vocabulary: what crosses the borders between rooms, and nothing that acts.
//!
//! Rules of this room: no I/O, no async runtime, no reading of clocks outside [`clock`], no
//! dependency on any other crate of the workspace. A type belongs here when two crates that must not
//! know each other have to talk about it.

pub mod algorithm;
pub mod catalogue;
pub mod clock;
pub mod port;
pub mod principal;
pub mod priority;
pub mod problem;
pub mod random;
pub mod scopes;
pub mod trail;
pub mod units;

pub use principal::{Caller, Principal};
pub use priority::Priority;
pub use problem::{Problem, ProblemCode};
pub use scopes::{ScopeNames, ScopeSet};
pub use trail::{Stage, Trail};
