//! TLS on both sides: certificates from files, kept fresh while the engine runs.
//!
//! - [`pem`]: files become certificates and keys, each failure a sentence that names its file.
//! - [`server`]: a named set of `server.tls`: certificates chosen by SNI, perhaps a CA that clients are checked by.
//! - [`client`]: how an upstream is spoken to: whom to trust, what to show.
//! - [`pinned`]: a server known by its very certificate, for the command line.
//! - [`fresh`]: files that have changed are loaded again; what does not load changes nothing.
//!
//! Rules of this room: rustls with aws-lc-rs, given explicitly and never taken from a process-wide default; TLS 1.2
//! and 1.3 only; no early data, because a replayed request would be a payment made twice. A configuration that
//! has been built is immutable, and a connection keeps the one it began with.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub mod client;
pub mod fresh;
mod names;
pub mod pem;
pub mod pinned;
pub mod server;

/// The one provider of cryptography.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// The protocols spoken.
static VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// HTTP/2 in ALPN (RFC 9113, 3.2).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301, 6).
pub const HTTP11: &[u8] = b"http/1.1";

/// Why TLS cannot be had as configured. One sentence, with the file it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub String);
