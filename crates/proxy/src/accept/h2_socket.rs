//! What lies between hyper and the socket of an HTTP/2 connection.
//!
//! It gives hyper first what was read before hyper was there. It looks at the frames that pass by: the first one has to be
//! SETTINGS, and a client that sends too many of those which nothing has called for ([`FrameBudget`]) loses the connection.
//! hyper has no way to be told so. Its socket breaks then, and this end of the real one says goodbye by itself.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use mainstay_wire::http2::{FrameBudget, FrameScan, HEADERS, SETTINGS, calm_down};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::connection::ConnCx;
use super::linger;
use crate::stream::Stream;

/// The socket of a connection whose client floods it.
pub(super) struct Flooded {
    stream: Stream,
    /// The last one that hyper may have seen.
    last_stream: u32,
    /// A frame to the client was cut off, and whatever follows would be read as its rest.
    cut_off: bool,
}

impl Flooded {
    /// Says why, and closes so that it can be read.
    pub(super) async fn end(self) {
        let Self { mut stream, last_stream, cut_off } = self;
        let told = async {
            if !cut_off {
                // Who does not take it loses the connection all the same.
                let _ = stream.write_all(&calm_down(last_stream)).await;
            }
            linger::linger(&mut stream).await;
        };
        let _ = tokio::time::timeout(linger::LASTS_MAX, told).await;
    }
}

/// Where the socket goes when its client floods it.
pub(super) type FloodedSlot = Rc<Cell<Option<Flooded>>>;

/// A connection's socket, some bytes of which have been read before. Notes when it takes no bytes.
pub(super) struct Socket {
    first: Bytes,
    stream: Stream,
    conn: Rc<ConnCx>,
    received: FrameScan,
    sent: FrameScan,
    budget: FrameBudget,
    last_stream: u32,
    has_begun: bool,
    flooded: FloodedSlot,
}

impl Socket {
    /// After `first` comes what the stream has.
    pub(super) fn new(first: Bytes, stream: Stream, conn: &Rc<ConnCx>, flooded: &FloodedSlot) -> Self {
        Self {
            first,
            stream,
            received: FrameScan::of_client(),
            sent: FrameScan::of_server(),
            budget: FrameBudget::new(conn.worker.swept_ms()),
            last_stream: 0,
            has_begun: false,
            conn: Rc::clone(conn),
            flooded: Rc::clone(flooded),
        }
    }

    /// Looks at what has come, before hyper does.
    fn check(&mut self, new: &[u8]) -> io::Result<()> {
        let now = self.conn.worker.swept_ms();
        let (before, mut is_preface, mut is_flood) = (self.last_stream, true, false);
        self.received.advance(new, |head| {
            // The connection preface goes on with SETTINGS (RFC 9113, 3.4), where h2 takes any frame.
            is_preface &= self.has_begun || head.kind == SETTINGS;
            self.has_begun = true;
            is_flood |= !self.budget.received(head, now);
            if head.kind == HEADERS {
                self.last_stream = self.last_stream.max(head.stream);
            }
        });
        if is_flood {
            self.give_up(before);
        }
        if is_preface && !is_flood { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Leaves hyper with a stream that is closed.
    fn give_up(&mut self, last_stream: u32) {
        let stream = std::mem::replace(&mut self.stream, tokio::io::duplex(1).0.into());
        let cut_off = !self.sent.is_between_frames();
        self.flooded.set(Some(Flooded { stream, last_stream, cut_off }));
    }

    fn noted(
        &mut self,
        written: Poll<io::Result<usize>>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.conn.note_blocked(written.is_pending());
        let Poll::Ready(Ok(mut left)) = written else { return written };
        for buf in bufs {
            let n = left.min(buf.len());
            left -= n;
            self.sent.advance(&buf[..n], |head| self.budget.sent(head));
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.first.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..n]);
            self.first.advance(n);
        }
        Poll::Ready(self.check(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(written, &[io::IoSlice::new(buf)])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(written, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}
