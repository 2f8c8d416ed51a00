//! Whether an attempt that failed is made again, and when.
//!
//! Retrying hides single failures. It also multiplies load exactly when an upstream can bear it least: three attempts
//! for every request turn an upstream that is 10 % too slow into one that gets three times what it cannot do, and keep
//! it there. A fixed number of attempts cannot know the difference between one bad connection and a dead upstream. The
//! share of requests that are attempted again can: so there are both, attempts per request *and* a budget per upstream.
//!
//! # One failure ([`decide()`])
//! The rules in their order; the first that does not hold is the reason given:
//! 1. The **cause** is one of the configured ones ([`Causes`]). A time-out of the attempt counts as 504, an answer that
//!    is not HTTP as 502, and a request that provably was not processed (an HTTP/2 stream that was refused, a pooled
//!    connection that was dead before a byte left) as `connect`.
//! 2. It **may happen twice**: its method is safe (RFC 9110, 9.2.1), or the failed attempt cannot have reached the
//!    application, or it carries an idempotency key and the upstream honours keys. That PUT and DELETE are idempotent by
//!    their definition (9.2.2) is not relied on: services that move money often keep to it less than they should.
//! 3. Its **body** is still whole.
//! 4. **Attempts** are left; the first one counts.
//! 5. The **wait** ends before the deadline. Nothing was sent, and it was the first attempt: no wait, because another
//!    endpoint is a better answer than patience. Otherwise exponential with full jitter: evenly between 0 and
//!    `base * 2^(attempt - 1)`, of which no more than `max`; clients that failed together do not come back together.
//!    If the upstream said `Retry-After`, the wait is at least that; where it does not fit into what is left there is
//!    no retry, since an earlier one would be what the upstream asked not to get. A request without a deadline waits
//!    `max` for it at most.
//! 6. The **budget** has a token. It is asked last: a token is never taken for an attempt that is not made.
//!
//! # All of them ([`Budget`])
//! Every first attempt of a request deposits `ratio` of a token, and every further one (retry, hedge, alternate
//! upstream) takes a whole one. Deposits are kept for 10 s, in whole seconds, the current one included; the oldest are
//! taken first. Beside them `floor` tokens a second trickle in, of which a second's worth is kept (and one in any case,
//! unless the floor is 0), so that an upstream with one request a minute gets its retries too. One is there from the
//! start. So however many of `N` requests fail in `T` seconds, further attempts are at most
//! `ratio * N + floor * T + 1`.
//!
//! Deposits count in steps of 0.0001 tokens, rounded down, and end at 200,000 tokens a second. To deposit is a load and
//! an addition; to withdraw takes a lock if there is something to be had, and ten loads if not.

mod budget;
mod decide;
mod plan;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use decide::{Asked, Cause, Failure, Verdict, Why, decide};
pub use plan::{BudgetPlan, Causes, RetryPlan};
