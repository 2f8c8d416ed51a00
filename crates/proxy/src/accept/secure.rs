//! The TLS handshake of a client's connection.
//!
//! It has as long as a request head has (`limits.header_timeout`); what is no handshake, or comes to nothing, ends
//! the connection and is counted. A connection keeps the certificates that it began with.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio_rustls::TlsAcceptor;

use super::connection::{ConnCx, Interrupt, Phase};
use super::h1;
use crate::stream::{Plain, Stream};
use crate::tls;
use crate::tls::server::{Handshaken, ServerTls};

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Agreed.
    Well,
    /// The client spoke something else, accepted nothing that is offered, or showed a certificate that does not hold.
    Failed,
    /// It was not over in time.
    TimedOut,
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// HTTP/1.1, or nothing was said.
    Http1,
    /// HTTP/2.
    H2,
}

fn count(conn: &ConnCx, ended: Ended) {
    conn.worker.cells.inc(conn.listener_metrics().handshakes[ended as usize]);
}

/// Waits for one step, for as long as a head may take.
async fn within_time<T>(conn: &ConnCx, step: impl Future<Output = io::Result<T>>) -> Result<T, Ended> {
    let mut step = pin!(step);
    poll_fn(|cx| {
        if let Poll::Ready(done) = step.as_mut().poll(cx) {
            return Poll::Ready(done.map_err(|_| Ended::Failed));
        }
        match conn.poll_interrupt(cx) {
            Some(Interrupt::Slow) => Poll::Ready(Err(Ended::TimedOut)),
            Some(Interrupt::Stuck) => Poll::Ready(Err(Ended::Failed)),
            // One who has come before the drain is still served; the time for a handshake is bounded anyway.
            Some(Interrupt::Close | Interrupt::Park) | None => Poll::Pending,
        }
    })
    .await
}

/// Shakes hands. `None`: the connection is to end.
pub async fn handshake(conn: &Rc<ConnCx>, plain: Plain, set: &ServerTls) -> Option<(Stream, Agreed)> {
    let side = set.current();
    conn.enter(Phase::Head);
    // Found out before the handshake begins: what rustls says to such a client is an alert, which reads as garbage.
    let is_text = within_time(conn, poll_fn(|cx| plain.poll_begins_as_text(cx))).await;
    if is_text == Ok(true) {
        count(conn, Ended::Failed);
        h1::refuse(conn, plain.into(), "This listener speaks TLS. Use https:// to reach it.").await;
        return None;
    }
    let accepted = match is_text {
        Ok(_) => within_time(conn, TlsAcceptor::from(Arc::clone(&side.config)).accept(plain)).await,
        Err(ended) => Err(ended),
    };
    count(conn, accepted.as_ref().err().copied().unwrap_or(Ended::Well));
    let stream = accepted.ok()?;
    let session = stream.get_ref().1;
    let agreed = if session.alpn_protocol() == Some(tls::H2) { Agreed::H2 } else { Agreed::Http1 };
    conn.secured(Handshaken::of(session, side));
    conn.enter(Phase::Idle);
    Some((Stream::Client(Box::new(stream)), agreed))
}
