//! Whether a request may pass, and as what.
//!
//! The order is that of a request's life: [`route`] finds the operation, [`cors`] decides what scripts of other
//! origins may see, [`system`] tells what the engine itself serves who asks, [`version`] applies the lifecycle, [`authenticate`] finds out who calls, [`body`] bounds the body,
//! [`authorize`] decides whether the caller may do this. Stages for limits, validation and idempotency stand between them
//! once they exist; [`crate::lifecycle`] has their places.

pub mod authenticate;
pub mod authorize;
pub mod body;
pub mod cors;
pub mod route;
pub mod system;
pub mod version;
