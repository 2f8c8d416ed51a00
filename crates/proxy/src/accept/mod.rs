//! Bytes become a request.
//!
//! In order: a socket is accepted and counted ([`listener`]), its protocol is recognised ([`connection`]), heads are
//! read within limits and checked raw ([`h1`], [`h2`]). What is no request is answered with a problem and has a
//! record of its own. Closing never costs the client its answer ([`linger`]).

pub mod callers;
pub mod connection;
pub mod door;
pub mod forwarder;
pub mod h1;
pub mod h2;
pub mod h2_body;
mod h2_socket;
pub mod linger;
pub mod listener;
pub(crate) mod proxied;
pub mod secure;
pub mod socket;
