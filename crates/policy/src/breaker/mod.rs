//! Whether an upstream is asked at all: a circuit breaker.
//!
//! An upstream that fails most of its calls is not helped by more of them, and whoever waits for one learns nothing
//! from a time-out that a refusal would not have told at once. So calls are counted, and when too many of them are bad
//! there are none for a while; then a few show whether it is over.
//!
//! # The states
//! - **Closed**: every call is admitted, and counted when it is done: failed or not, slow or not (it took
//!   [`BreakerPlan::slow_call_us`] or longer, however it ended). The window is `window_ms` in ten parts, the current
//!   one included. When a call is done and there are `requests_min` calls or more in the window, of which the failed are
//!   `failure_ratio` or more, or the slow `slow_ratio` or more, the breaker opens. One bad call at least is needed,
//!   whatever the ratios are.
//! - **Open**: every call is refused, with the time that is left. It lasts `open_ms`, give or take a tenth; twice as
//!   long as the last time after each half-open that failed; never longer than `open_max_ms`. The tenth keeps the
//!   breakers of many engines from probing in step.
//! - **HalfOpen**: it begins with the first call that comes when the time is over. `probes` calls are admitted, not one
//!   more, however many wait; the others are refused. When that many have succeeded, the breaker closes and its window
//!   is empty. If one fails, or is slow, it opens again. A call that is cancelled proves nothing: its place goes to
//!   another one.
//!
//! A breaker that was closed for a whole window begins with `open_ms` again when it next opens; one that opens sooner
//! stays open as long as the last time.
//!
//! # Generations
//! Each state that begins is a new generation, and a call belongs to the one that admitted it. When it is done in
//! another one it changes nothing: a call that was sent before the breaker opened says nothing about the probes, and one
//! that hung through all of it does not open it again.
//!
//! # Shared by workers
//! What is asked most costs least: to admit a call while closed is one load; to finish a good one there, when none was
//! bad in the window, is three loads and an addition. While calls of several workers are being counted, some that failed
//! may look as if they had not, never the other way round. Transitions take a lock. A [`Pass`] must come back, by
//! [`Breaker::done`] or [`Breaker::cancelled`], from a guard that also runs when the call is dropped: the place of a
//! probe that never comes back stays taken.
//!
//! What is a failure is for the caller to say; an answer that blames the client (4xx) is none.

mod machine;
mod phase;
mod plan;
#[cfg(test)]
mod tests;

pub use machine::{Breaker, Change, Counts, Pass, Refused, State};
pub use plan::BreakerPlan;
