//! Tools of tests: an engine without sockets, and what stands on its two sides.
//!
//! - [`rig`]: one worker of the engine on the caller's own runtime, its connections in memory. With tokio's paused
//!   time, timeouts are tested to the millisecond and without waiting.
//! - [`memory`]: a client and upstreams that know bytes and nothing of the engine: they must be able to disagree
//!   with it.

pub mod memory;
pub mod rig;
