//! The keys of issuers: read, held, and said when to be fetched. Nothing here fetches.
//!
//! [`KeySet`] is what a text says. [`Keys`] is what is held of one issuer, and a state machine about it:
//!
//! | what is held | a token with a key in it | a token with another `kid` |
//! |---|---|---|
//! | nothing yet, or too old ([`Freshness::Never`], [`Freshness::TooOld`]) | fetch, wait; failed: 503 | the same |
//! | fresh, or stale and usable | verified at once | fetch, wait; fetched without it: 401; failed: 503 |
//!
//! - **Single flight**: however many tokens ask, one fetch is under way ([`Keys::begin`] says yes to one).
//! - **Rate**: after a fetch that succeeded, an unknown `kid` is 401 at once for [`SourcePlan::unknown_key_every_ms`]; a
//!   flood of them costs the issuer one fetch in that time. After one that failed, the next is not begun
//!   before the backoff is over, and whoever needs it is 503 until then, with a `Retry-After`.
//! - **Prefetch**: a set is fetched again when four fifths of its time are over (`Cache-Control: max-age`, bounded by
//!   [`SourcePlan::refresh_min_ms`] and [`SourcePlan::refresh_max_ms`]), so that requests meet a fetch only at the start and at
//!   a rotation that was not announced.
//! - **Last good set**: kept for [`SourcePlan::keep_ms`] after it was fetched, whatever the issuer answers since. A failed
//!   fetch never makes a good token 401; an answer that is no usable set is a failed fetch.
//!
//! Times are [`mainstay_core::clock::MonoMs`]: ages are durations, and a step of the wall clock must not
//! make keys old. The glue calls, on the control side: [`Keys::next_due`] for its timer, [`Keys::begin`] before it fetches, then
//! [`Keys::succeeded`] or [`Keys::failed`], after which it wakes whoever waits; and in a worker: [`Keys::decide`], and
//! after a wait [`Keys::after_wait`].

mod cache_control;
mod keys;
mod set;
#[cfg(test)]
mod tests;

pub use cache_control::max_age_s;
pub use keys::{Decision, Freshness, Keys, SourcePlan, Wait};
pub use set::{KeyNote, KeySet, PublicKey, SET_BYTES_MAX, SET_KEYS_MAX, SetError};
