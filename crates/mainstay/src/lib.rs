//! The Mainstay API engine, as a library and as the binary around it.
//!
//! Here everything meets: configuration is lowered to a plan ([`lower`]), the parts are put together and
//! started ([`compose`]), changed while they run ([`reload`]), replaced by a new process ([`handover`]), remembered on disk ([`last_good`]). The command line
//! is [`cli`]. The library sets no allocator and installs no signal handler; the binary does both.

pub mod certificates;
pub mod cli;
pub mod compose;
pub mod demo;
pub mod explain;
pub mod handover;
pub mod last_good;
mod listen;
pub mod lower;
pub mod reload;
pub mod report;

pub use mainstay_config::{Problem, Published};
pub use mainstay_telemetry::Output;
