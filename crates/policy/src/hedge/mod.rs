//! Whether a request that takes long is sent a second time, to see which answer comes first.
//!
//! Of a hundred requests a few take far longer than the rest, for reasons that the same request elsewhere would not
//! meet: a pause of that process, a full queue, a lost packet. A second attempt after the time that most take cuts the
//! tail at the cost of a few requests more. When *all* are slow it would double the load instead; so it has a cap of
//! its own, besides the retry budget that pays for it.
//!
//! - **When**: after the recent 95th percentile ([`After::P95`]), or a fixed time. With too few samples to have a
//!   percentile, not at all.
//! - **How many**: a hedge is sent only if those of the last 10 s, this one included, are at most `max_ratio` of the
//!   requests of the last 10 s (whole seconds, the current one included). So with a ratio of 0.05 there
//!   is none among the first nineteen.
//! - **What**: safe methods only, and the loser is cancelled. That is for the caller to see to, as is a token of the
//!   [retry budget](crate::retry::Budget).

mod decide;
mod plan;
#[cfg(test)]
mod tests;

pub use decide::Hedge;
pub use plan::{After, HedgePlan};
