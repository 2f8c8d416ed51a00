//! The data plane: bytes become requests, requests pass stages, answers come back, records are written.
//!
//! The tree is the way of a request: [`accept`], [`admit`], [`forward`], [`respond`]; [`lifecycle`] is that way in one
//! function. One thread per core, each with its own runtime and connections ([`worker`], [`engine`]); what a request
//! is served by is compiled beforehand ([`plan`]).
//!
//! Rules of this room: futures are `!Send` and stay on their worker; nothing waits for the control side; every
//! queue, buffer and wait has a bound; policies decide elsewhere, here is where it is done. This crate knows
//! neither configuration files nor stores nor the admin API.

pub mod accept;
pub mod admit;
pub mod caught;
pub mod client;
pub mod context;
pub mod engine;
pub mod fields;
pub mod fill;
pub mod forward;
pub mod grpc;
pub mod introspection;
pub mod known;
pub mod lifecycle;
pub mod metrics;
pub mod plan;
pub mod request;
pub mod respond;
pub mod stream;
pub mod tls;
pub mod tokens;
pub mod worker;
