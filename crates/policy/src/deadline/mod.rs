//! Whether what is left of a request's time is worth an attempt.
//!
//! A request that has 3 ms left, for an endpoint that takes 40 ms, will be answered with 504 either way. Sent all the
//! same, it costs the upstream a full piece of work that nobody waits for, and it does so when the upstream is slow
//! already. So it is refused at once (504 `deadline_too_short`), and the rules see to it that a memory of slow times
//! cannot keep requests away from an upstream that is fast again:
//!
//! - **What is recent**: the latencies of the last 10 s ([`Recent`]), in whole seconds, the current one included. With
//!   fewer than [`SAMPLES_MIN`] of them nothing is known, and everything goes.
//! - **Go**: what is left is at least the median. Half of the recent attempts were done in that time.
//! - **TooShort**: what is left is below the median.
//! - **Trial**: it is below the median and goes nevertheless. Of 20 such requests one is a trial, and the first that
//!   comes a second or more after the last trial is one in any case: so there is always a sample that can show that
//!   things are better, however few requests there are. The very first is a trial, too.
//!
//! # Quantiles
//! Latencies are counted in buckets, eight to each doubling, so a quantile is told with an error of at most 6.25 %,
//! from 1 µs to 67 s; what takes longer is counted there. A quantile is the smallest value that at least this share of
//! the samples does not exceed. It is worked out at most every [`QUANTILES_EVERY_MS`], by whoever asks first; in
//! between, asking costs two loads and tells what was true up to so long ago.
//!
//! # Shared by workers
//! [`Recent`] and [`Gate`] are atomics alone. A sample that arrives in the instant in which the first one of a new
//! second empties its slot is left out, as is one whose clock is 10 s behind: a quantile can do without them.

mod decide;
mod recent;
#[cfg(test)]
mod tests;

pub use decide::{Gate, Verdict};
pub use recent::{QUANTILES_EVERY_MS, Recent, SAMPLES_MIN};
