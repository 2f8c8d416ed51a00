//! The admin API, health and metrics on a listener of their own, and the client that the command line uses.
//!
//! Rules of this room:
//! - It knows the engine only through [`mainstay_core::port::Engine`], what is kept only through
//!   [`mainstay_core::catalogue::Catalogue`], and runs on the control side's own runtime: whatever happens here, no
//!   request of the data plane waits for it.
//! - The listener is on loopback, or speaks TLS alone. Whoever can open a connection to it is still nobody: admin
//!   paths ask for the token, and a browser that was tricked into calling is refused by its `Host` and `Origin` headers.
//! - Certificates are somebody else's: [`TlsSource`] gives what rustls needs, for each connection anew.
//! - Connections, heads, bodies, waits and the shutdown are bounded; the numbers stand in [`limits`].
//! - Every refusal is a problem document made in the module `problem`; handlers only say which one.

mod authorize;
mod body;
mod caller;
mod calls;
mod catalogue;
pub mod client;
mod fields;
mod guard;
pub mod limits;
mod loopback;
pub mod oauth;
mod password;
mod problem;
mod query;
mod routes;
mod secure;
mod serve;
pub mod token;
mod tokens;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;

pub use secure::TlsSource;
pub use serve::{Parts, serve};
pub use token::{Token, TokenError};

/// Where the control side listens and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// The address of the listener; without TLS it must be on loopback. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// It will speak TLS.
    pub tls: bool,
    /// The file that holds the admin token, made at the first start.
    pub token_file: PathBuf,
}

/// Opens the control listener.
///
/// # Errors
/// `InvalidInput` when the address is not on loopback and there is no TLS, else what the system says about the address.
pub async fn bind(config: &ControlConfig) -> io::Result<TcpListener> {
    if !config.tls {
        loopback::require(config.listen)?;
    }
    TcpListener::bind(config.listen).await
}
