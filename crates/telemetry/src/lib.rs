//! What the engine tells about itself: metric cells, the access log, events, trace context, recent requests.
//!
//! Rules of this room: nothing here delays a request. A worker writes into memory that is its own (metric
//! cells, a log queue, a ring of recent requests); other threads read, merge and write to files. Whatever is
//! full drops and counts. Label sets and event kinds are closed: what comes from outside never names one.
//! No async runtime, no clock: time comes in as a value.

pub mod event;
pub mod log;
pub mod metrics;
pub mod recent;
pub mod trace;

#[cfg(test)]
mod timing;

pub use event::{Event, EventClock, EventLog};
pub use log::{AccessRecord, LogFormat, LogPlan, LogQueue, LogWriter, Output, write_record};
pub use metrics::{Cells, Counter, Gauge, Histogram, Registry, Scrape};
pub use recent::{Recent, RecentRing};
pub use trace::TraceParent;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks although a holder may have panicked: every critical section of this crate leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
