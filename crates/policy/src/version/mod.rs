//! Where a version of an api stands in its life, and what that means for one request.
//!
//! A version (or an operation, with a date of its own) is served, then deprecated, then briefly switched off now and
//! then so that those who still call it notice, then retired:
//! - **Deprecated** from `deprecated_s` on. It is served as before. Both dates are announced on every response as
//!   soon as they are configured, also when they lie ahead (`Deprecation`, RFC 9745; `Sunset`, RFC 8594), so the
//!   headers come from the plan and not from the decision.
//! - **Brownout**: in a window, a share of the requests is refused with the time to wait. Which ones depends on the
//!   request id alone, so a decision can be explained afterwards, and a request refused at one share is refused at
//!   every larger one.
//! - **Retired** from `sunset_s` on, that second included, whatever else is configured.
//!
//! The choice: the request id is hashed with FNV-1a (64 bits), its bits are mixed (the finaliser of MurmurHash3), and
//! the upper 53 bits are read as a fraction of 1. The request is refused if the fraction is below the share; so 0
//! refuses none and 1 refuses all. This is part of the contract: `explain` says for a request id what happened to it,
//! also on another node.

mod decide;
mod plan;
#[cfg(test)]
mod tests;

pub use decide::{Decision, decide};
pub use plan::{Brownout, LifecyclePlan};
