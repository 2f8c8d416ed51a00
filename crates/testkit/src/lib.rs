//! Tools of tests: an engine without sockets, and what stands on its two sides.
//!
//! - [`rig`]: one worker of the engine on the caller's own runtime, its connections in memory. With tokio's paused
//!   time, timeouts are tested to the millisecond and without waiting.
//! - [`memory`]: a client and upstreams that know bytes and nothing of the engine: they must be able to disagree
//!   with it.
//! - [`fault`]: a network between engine and upstream that is slow, narrow, silent, refuses, resets or sends garbage.
//! - [`upstream`]: upstreams whose answers are scripted request by request, over sockets and in memory.

use std::time::Duration;

/// A guard only: nothing waits this long unless it is broken.
pub const GUARD: Duration = Duration::from_secs(20);

pub mod fault;
mod line;
pub mod memory;
pub mod rig;
pub mod upstream;
