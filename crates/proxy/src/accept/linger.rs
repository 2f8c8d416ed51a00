//! Closing so that the client can still read its answer.
//!
//! A socket that is closed while unread bytes lie in its receive buffer sends a reset, and a reset makes the
//! other side throw away what it has not read yet: the answer. So the write side is shut down first, and what
//! still arrives is discarded for a bounded while (RFC 9112, 9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What is discarded at the most.
const BYTES_MAX: usize = 256 * 1024;
/// How long is waited at the most.
pub const LASTS_MAX: Duration = Duration::from_secs(2);

/// Shuts down the write side, discards what arrives, closes.
pub async fn linger(stream: impl AsyncRead + AsyncWrite + Unpin) {
    linger_for(stream, LASTS_MAX).await;
}

/// The same within a time of one's own.
pub async fn linger_for(mut stream: impl AsyncRead + AsyncWrite + Unpin, lasts_max: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        let mut sink = [0_u8; 4096];
        let mut left = BYTES_MAX;
        while left > 0 {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    };
    let _ = tokio::time::timeout(lasts_max, Box::pin(discard)).await;
}
