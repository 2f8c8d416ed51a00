//! When a slow request is asked for a second time.
//!
//! A safe request that has waited longer than nearly all others do has most likely met a bad endpoint, a lost packet or a
//! pause, and a second attempt elsewhere will be faster than what is left of the first (Dean and Barroso, "The Tail at
//! Scale", 2013). The price is work that is thrown away, so:
//! - **After** what 95 of 100 recent requests took, or a fixed time. Where fewer than 20 answers are known, nothing is
//!   hedged by percentile.
//! - **At most `max_ratio`** hedges for each request of the last ten seconds. When everything is slow, everything
//!   passes the percentile of a moment ago, and without a cap an overloaded upstream would get twice the load.
//!
//! The caller takes a token of the upstream's retry budget besides: a hedge is a further attempt like any other.

mod decide;
mod plan;
#[cfg(test)]
mod tests;

pub use decide::Hedge;
pub use plan::{After, HedgePlan};
