//! Who calls: API keys, JSON Web Tokens and the index of who is known.
//!
//! Everything here is a function of its inputs: the time ([`mainstay_core::clock::UnixMs`]), randomness and the bytes of
//! a request are handed in, nothing is fetched, nothing waits. What has to be fetched (key sets, answers to introspection)
//! is said as a plan, and its result handed in again.

pub mod cache;
pub mod credentials;
pub mod index;
pub mod introspection;
pub mod jwks;
pub mod jwt;
pub mod key;
pub mod mtls;
pub mod preauth;
pub mod refusal;
#[cfg(test)]
mod test_keys;

pub use refusal::{BearerError, KeyRefusal, Refusal};
