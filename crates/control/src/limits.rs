//! How much the control side takes on, in one place.

use std::time::Duration;

/// Open connections; further ones wait in the kernel's queue until one closes.
pub const CONNECTIONS_MAX: usize = 64;
/// TLS handshakes under way; where there are more, the oldest ends.
pub const HANDSHAKES_MAX: usize = 64;
/// From the accept to the end of the TLS handshake, and of the wait for a place among the connections.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Header fields of a request.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes beyond [`BODY_BYTES_MAX`] that are read and dropped so that the refusal reaches the client: closing with
/// unread input makes the kernel reset the connection, which discards the answer.
pub const DISCARD_BYTES_MAX: usize = 256 * 1024;
/// From the end of the last exchange (or from the connect) to the end of the next head.
pub const HEAD_MAX: Duration = Duration::from_secs(10);
/// From the end of a head to the answer, the request's body included.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);
/// From the end of one head to the end of the next: [`REQUEST_MAX`], [`HEAD_MAX`] and 20 s to read the answer. A
/// client that does not read is cut off here.
pub const EXCHANGE_MAX: Duration = Duration::from_secs(60);
/// From the shutdown to the end, answers under way included.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Changes under way at once: they go on when the caller leaves, so connections do not bound them. Further ones wait.
pub const CHANGES_MAX: usize = 64;

/// The limits of one server: tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) handshakes: usize,
    pub(crate) handshake: Duration,
    pub(crate) head: Duration,
    pub(crate) request: Duration,
    pub(crate) exchange: Duration,
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            handshakes: HANDSHAKES_MAX,
            handshake: HANDSHAKE_MAX,
            head: HEAD_MAX,
            request: REQUEST_MAX,
            exchange: EXCHANGE_MAX,
            drain: DRAIN_MAX,
        }
    }
}
