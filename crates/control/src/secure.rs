//! TLS on the control listener: handshakes in bounded number and time.
//!
//! A handshake needs no place among the connections, so clients that never finish theirs keep nobody out who does. Where
//! too many are under way the oldest ends: an honest one takes milliseconds, and will hardly be it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::{DISCARD_BYTES_MAX, Limits};

/// What the control listener shows its clients, asked for each connection: certificates change on disk.
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// The handshakes under way.
pub(crate) struct Handshakes {
    source: TlsSource,
    max: usize,
    /// Oldest first. Each ends when its sender is dropped, and is over when its receiver is gone.
    under_way: VecDeque<oneshot::Sender<Infallible>>,
}

impl Handshakes {
    pub(crate) fn new(source: TlsSource, limits: &Limits) -> Self {
        Self { source, max: limits.handshakes, under_way: VecDeque::new() }
    }

    /// Makes room for one more.
    pub(crate) fn next(&mut self) -> Handshake {
        self.under_way.retain(|one| !one.is_closed());
        if self.under_way.len() >= self.max {
            self.under_way.pop_front();
        }
        let (kept, crowded_out) = oneshot::channel();
        self.under_way.push_back(kept);
        Handshake { config: (self.source)(), crowded_out }
    }
}

/// One of them.
pub(crate) struct Handshake {
    config: Arc<ServerConfig>,
    crowded_out: oneshot::Receiver<Infallible>,
}

impl Handshake {
    /// Shakes hands, and takes a place among the connections. `None`: the connection is to end.
    pub(crate) async fn finish(
        self,
        stream: TcpStream,
        permits: Arc<Semaphore>,
        limits: &Limits,
    ) -> Option<(TlsStream<TcpStream>, OwnedSemaphorePermit)> {
        let whole = async {
            match TlsAcceptor::from(self.config).accept(stream).into_fallible().await {
                Ok(stream) => Some((stream, permits.acquire_owned().await.ok()?)),
                Err((_, stream)) => {
                    see_off(stream).await;
                    None
                }
            }
        };
        tokio::select! {
            biased;
            _ = self.crowded_out => None,
            done = timeout(limits.handshake, whole) => done.ok().flatten(),
        }
    }
}

/// Lets the client read why: the alert is sent, but closing with unread input would make the kernel discard it.
async fn see_off(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = stream.take(DISCARD_BYTES_MAX as u64);
    let mut buffer = [0_u8; 4096];
    while rest.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}
