//! A small payments service: upstream of the demo, the examples and the tests.
//!
//! It is real where a caller can see it: accounts hold money, payments debit them, refunds give back no more than was
//! paid, and every refusal is an RFC 9457 problem. It is small everywhere else: one process, one [`Ledger`] in memory,
//! any number of [`Service`] instances over it, each on its own address.
//!
//! Rules of this room:
//! - Money is an integer of minor units inside ([`Money`]), and a decimal string or an integer outside. No floats.
//! - The service knows no idempotency keys. A request that arrives twice acts twice, and [`Stats::effects`] says so:
//!   that is how a caller in front of it proves that nothing was sent twice.
//! - Everything that can go wrong on purpose is in [`faults`], and can be switched while requests are running.
//! - `/v1` and `/v2` differ in shape, not in what they do. `/echo`, `/bytes/{n}`, `/chunks/{n}/{size}`, `/upload`,
//!   `/slow/{ms}` and `/healthz` answer under both prefixes and without one; `/_faults` and `/_stats` only without.
//! - Both HTTP/1.1 and HTTP/2 (cleartext, prior knowledge) are spoken on the same port.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use mainstay_payments::{Ledger, Service};
//!
//! let any_port = "127.0.0.1:0".parse().expect("an address");
//! let running = Service::start(Ledger::new(), any_port, "payments-a")?;
//! running.faults().status(http::StatusCode::SERVICE_UNAVAILABLE, 30);
//! assert_eq!(running.stats().effects(), 0);
//! running.stop().await;
//! # std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```

mod money;
mod problem;

mod ledger;

mod api;
mod route;
mod shape;
mod utility;

pub mod faults;
mod gate;
mod link;
mod reply;
mod stats;

mod admin;
mod service;

pub mod traffic;

#[cfg(test)]
mod tests;

pub use faults::{FaultSettings, Faults};
pub use ledger::{Account, Ledger, NewPayment, Payment, PaymentStatus, Refund, Refusal};
pub use money::{Currency, Money};
pub use service::{Running, Service};
pub use stats::{Stats, StatsView};

use std::net::SocketAddr;

/// The OpenAPI 3.0.3 document of version 1. Its paths carry no `/v1`; the service serves them under it.
pub const OPENAPI_V1: &str = include_str!("../openapi/payments-v1.yaml");

/// The OpenAPI 3.1.0 document of version 2. Its paths carry no `/v2`; the service serves them under it.
pub const OPENAPI_V2: &str = include_str!("../openapi/payments-v2.yaml");

/// Five commands to try against an engine that serves both versions at `engine`: an old version, a new one, a stream,
/// and two mistakes. They need nothing but `curl` and the payments every [`Ledger`] starts with.
#[must_use]
pub fn sample_curl(engine: SocketAddr) -> Vec<String> {
    let create =
        r#"{"source_account":"acc_1001","amount":{"value":"12.50","currency":"ZAR"},"reference":"tea"}"#;
    vec![
        format!("curl -i http://{engine}/v1/payments/pay_000001"),
        format!("curl -i http://{engine}/v2/payments -H 'Content-Type: application/json' -d '{create}'"),
        format!("curl -N 'http://{engine}/v2/payments/pay_000001/events?count=3&interval_ms=500'"),
        format!("curl -i http://{engine}/v2/paymnets"),
        format!("curl -i -X DELETE http://{engine}/v2/banks"),
    ]
}
