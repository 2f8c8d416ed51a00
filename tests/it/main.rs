//! Integration tests: the engine started as a user would, over real sockets, in front of the payments service.

#![expect(clippy::unwrap_used, reason = "a test whose set-up fails has failed")]

mod answers;
mod answers_h2;
mod body;
mod change;
mod control;
mod cors;
mod differential;
mod edge;
mod finish;
mod frames;
mod guards;
mod h2_control;
mod http2;
mod identity;
mod keys;
mod limits;
mod local;
mod oauth;
mod paused;
mod permissions;
mod pool;
mod random;
mod records;
mod resilience;
mod setup;
mod streams;
mod tokens;
mod transport;
mod versions;
