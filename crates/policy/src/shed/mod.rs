//! How many requests an upstream has at once, who waits for a place, and who is refused.
//!
//! An upstream that gets more than it can do becomes slow for everybody, and the work that is thrown away when clients
//! give up makes it slower still. So there is a **limit** of requests at once; whoever comes above it **waits** in a
//! bounded queue for a bounded time, and whoever does not fit there is **refused** at once, which costs nobody
//! anything.
//!
//! # The limit
//! It is a number, or adaptive: found from latencies, between [`LIMIT_MIN`] and `max`. Each window (100 ms and
//! 20 samples at least) the mean latency is compared with a long-term one that follows downwards fast and upwards slowly.
//! Latency that grows is a queue that grows somewhere behind us, so the limit is multiplied by long / short (between
//! a half and 1, with a tolerance of a half), and gets its square root added, which is the queue that is let stand there.
//! The new limit counts for a fifth. It grows only if it was in use: a quiet upstream proves nothing about what it can do.
//! An upstream that times out or says that it is overloaded takes a tenth off. There is no probe that would throttle
//! everybody to measure a latency without load: instead the long-term latency forgets upwards, slowly while the limit is
//! in full use (an hour of overload must not become the new normal, and an upstream that has become slower by itself must
//! not be throttled for ever), faster while it is not.
//! (The gradient is that of Netflix' concurrency-limits; the rules for growth and drops are those of TCP.)
//!
//! # The queue
//! - A place that becomes free goes to the highest [`Priority`](mainstay_core::Priority). Within one, to the oldest; but once the queue has not
//!   been empty for half of `queue_wait`, to the **newest**: in an overload the oldest are those whose clients are
//!   about to give up, and serving them in order means that everybody is served too late.
//! - A full queue lets somebody of a higher priority in by pushing the newest of the lowest priority out.
//! - One caller has at most half of the queue (one place at least), so that nobody can fill it alone.
//!
//! # Priorities
//! While nothing is scarce they mean nothing. Once somebody has had to wait within the last second the classes get different
//! shares of the limit, rounded up: `low` enters while less than 80 % of it is in use, `normal` 95 %, `high` and `critical`
//! all. So `low` waits or is refused before `critical` ever waits. That room is kept although nobody may come for it: an overload
//! of `normal` alone leaves a twentieth of the limit idle, one of `low` alone a fifth.
//!
//! # Places are neither lost nor doubled
//! `in_flight` is what was admitted minus what has left, whatever happens between. A waiter is taken out of the queue
//! exactly once: by a place that becomes free, by being pushed out, or by giving up ([`Gate::give_up`] says whether a
//! place had come first; then that place must be left).
//!
//! # Cost
//! Below the limit: one compare-and-swap to enter, one subtraction to leave, and two additions for the sample of an
//! adaptive limit. The lock is taken when somebody waits.

mod gate;
mod limit;
mod plan;
mod queue;
mod rate;
#[cfg(test)]
mod tests;

pub use gate::{Asked, Gate, Queued, Why};
pub use limit::LIMIT_MIN;
pub use plan::{LimitPlan, ShedPlan};
pub use queue::Ticket;
pub use rate::Rate;
