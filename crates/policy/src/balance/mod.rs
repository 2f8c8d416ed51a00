//! Which endpoint of an upstream a request goes to, and which endpoints are left out for a while.
//!
//! # Health
//! Two observers judge an endpoint, each on its own:
//! - **Active checks** call it `Unhealthy` after `unhealthy_after` failed checks in a row, and healthy again after
//!   `healthy_after` good ones. An endpoint that nobody has checked yet is healthy.
//! - **Passive ejection** watches what becomes of requests. After `consecutive_failures` failures in a row (a good
//!   answer between two of them starts the count again) an endpoint is `Ejected` for `time`. The second ejection in a
//!   row takes twice as long, and so on up to `time_max`; a share of up to a tenth is added by chance, so that endpoints
//!   that fell together do not come back together. An endpoint that stays healthy for as long as its last ejection
//!   was meant to take goes one step back. What fails while it is not healthy is not counted: those requests were under
//!   way when the verdict fell, and prove nothing about the time after it.
//!
//! An ejection ends by itself when its time is over; nothing has to run for it. It happens only if at most `share_max` of
//! the pool would then be ejected, and if another endpoint stays healthy. One of two and one of three may always be
//! ejected, whatever the share comes to (but a share of 0 means none, ever).
//!
//! # Which are eligible
//! 1. Healthy ones that this request has not tried.
//! 2. Healthy ones that it has tried.
//! 3. **Panic**: if the healthy share is below `panic_below`, health is ignored, for so few would break under the
//!    load of all. Untried ones come first here too.
//! 4. If no endpoint is healthy, the ejected ones: ejection alone never leaves a request without an endpoint.
//!
//! What remains is the one case without an answer: all are unhealthy by active checks, and `panic_below` is 0.
//!
//! # Who of them gets it
//! - **Least loaded**: the better of two drawn at random (of two endpoints: of both), by
//!   `peak EWMA x (in flight + 1) / (weight x slow-start factor)`. The peak EWMA jumps to a slower answer at once and
//!   decays towards faster ones with a time constant of 10 s, also while nothing is measured: an endpoint that was
//!   slow once is tried again. Who has no measurement yet counts like the fastest one known: it gets traffic, but
//!   what is in flight to it holds the rest back. Each failure in a row doubles the load (up to 1,024 times), and each second after
//!   the last one takes a doubling back: what fails at once looks idle, and would else draw the traffic of all until it is ejected; and
//!   what is never asked could not show that it works again.
//! - **Round robin**: smooth weighted turns. The turn of one that is not eligible is taken by nobody; the next turn
//!   comes up instead, so that its share goes to all others and not to its neighbour.
//! - **Hash**: weighted rendezvous. Each endpoint draws a number from its identity and the request's hash, and the best
//!   one wins; so if an endpoint goes, only its own keys move. The load is bounded: an endpoint with more than 1.25
//!   times its fair share of what is in flight is passed over.
//!
//! **Slow start**: an endpoint that became healthy or returned gets a tenth of its usual share, growing linearly to all
//! of it over `slow_start`. Panic knows no slow start.
//!
//! # Cost
//! [`Pool::pick`] reads a few atomics of each endpoint; it does not lock, allocate or write (round robin: one
//! counter). A lock is taken when an endpoint is ejected or an active check reports.

mod eject;
mod endpoint;
mod hash;
mod latency;
mod least_loaded;
mod plan;
mod pool;
mod round_robin;
#[cfg(test)]
mod tests;

pub use endpoint::{Change, EndpointState, Health};
pub use plan::{Balance, EjectPlan, PoolPlan};
pub use pool::{Choice, Pool};
