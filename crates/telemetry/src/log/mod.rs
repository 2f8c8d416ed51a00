//! The access log: one line for each request, formatted by the worker, written by one thread.
//!
//! A worker formats its line ([`write_record`]) and appends it to a queue of its own ([`LogQueue`]). The
//! writer's thread ([`LogWriter`]) comes by every 20 ms while there is work, swaps each queue's
//! buffer for an empty one and writes it in one piece. So a request costs no system call, lines are never torn
//! between workers, and an output that blocks holds up nobody: a full queue drops the line and counts it.
//!
//! Lines of one worker are in order; those of different workers may stand up to a round apart.

mod json;
mod queue;
mod record;
mod sink;
mod stamp;
mod text;
mod writer;

#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod writer_tests;

pub use queue::LogQueue;
pub use record::{AccessRecord, FIELDS, LogFormat, LogPlan, UnknownField, write_record};
pub use sink::Output;
pub use writer::LogWriter;

pub(crate) use json::{push_float, push_ip, push_string, push_u64};
pub(crate) use stamp::push_stamp;
