//! One accepted connection as hyper sees it: a TCP stream that can be told to misbehave.
//!
//! hyper answers correctly or not at all. What it cannot do (half a head, bytes that are no HTTP, a TCP reset, a close that
//! nobody announced) is done below it: a request's handler leaves an [`Order`] in the [`Link`], and the stream carries it out at
//! the next read or write. So faults can hit any request of a connection that is kept alive, not only the first.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// What an answer becomes that is no HTTP: it fits neither version.
const GARBAGE: &[u8] = b"\x16\x03\x01\x00\x2a this is no answer\r\n\r\n";
/// How much of an answer's head gets out before a reset in it. Less than a status line, and than a frame's header.
const HEAD_BYTES: usize = 7;

/// What the stream does next, apart from its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    /// Let so many bytes out, then reset.
    CutHead(usize),
    /// Send garbage from this offset on, then close.
    Garbage(usize),
    /// Once all that has been answered is flushed, behave as if the client had closed.
    CloseWhenFlushed,
    Closed,
    /// Every read and write fails, and dropping the stream resets the connection.
    Reset,
}

/// What a connection's stream and its requests share.
pub(crate) struct Link {
    /// Of the connection, from 1.
    pub(crate) number: u64,
    served: AtomicU64,
    written: AtomicU64,
    state: Mutex<State>,
    /// Asks the connection's task for a GOAWAY.
    pub(crate) go_away: Notify,
}

struct State {
    order: Order,
    reader: Option<Waker>,
    /// Bodies that wait until what they have given is written.
    after_write: Vec<Waker>,
}

impl Link {
    pub(crate) fn new(number: u64) -> Self {
        let state = State { order: Order::None, reader: None, after_write: Vec::new() };
        Self {
            number,
            served: AtomicU64::new(0),
            written: AtomicU64::new(0),
            state: Mutex::new(state),
            go_away: Notify::new(),
        }
    }

    /// Counts a request; the first is 1.
    pub(crate) fn next_request(&self) -> u64 {
        self.served.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn reset(&self) {
        self.order(Order::Reset);
    }

    pub(crate) fn reset_in_head(&self) {
        self.order(Order::CutHead(HEAD_BYTES));
    }

    pub(crate) fn answer_garbage(&self) {
        self.order(Order::Garbage(0));
    }

    pub(crate) fn close_when_flushed(&self) {
        self.order(Order::CloseWhenFlushed);
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Ready once at least `bytes` have been written on the connection.
    pub(crate) fn poll_written(&self, bytes: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if self.written() >= bytes {
            return Poll::Ready(());
        }
        state.after_write.push(cx.waker().clone());
        Poll::Pending
    }

    fn order(&self, order: Order) {
        let mut state = self.state();
        // Nothing follows a reset or a close.
        if matches!(state.order, Order::Reset | Order::Closed) {
            return;
        }
        state.order = order;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn current(&self) -> Order {
        self.state().order
    }

    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::AcqRel);
        for waker in self.state().after_write.drain(..) {
            waker.wake();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream: `first` are bytes that were read to tell the protocol.
pub(crate) struct LinkStream {
    inner: TcpStream,
    first: Bytes,
    link: std::sync::Arc<Link>,
}

impl LinkStream {
    pub(crate) fn new(inner: TcpStream, first: Bytes, link: std::sync::Arc<Link>) -> Self {
        Self { inner, first, link }
    }

    fn reset_error() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, "reset by a switched fault")
    }

    /// Carries out an order instead of a write; `None` if there is none.
    fn poll_order(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Option<Poll<io::Result<usize>>> {
        match self.link.current() {
            Order::None | Order::CloseWhenFlushed | Order::Closed => None,
            Order::Reset => Some(Poll::Ready(Err(Self::reset_error()))),
            Order::CutHead(left) => Some(self.poll_cut_head(cx, &buf[..left.min(buf.len())], left)),
            Order::Garbage(from) => Some(self.poll_garbage(cx, from)),
        }
    }

    fn poll_cut_head(&mut self, cx: &mut Context<'_>, buf: &[u8], left: usize) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.link.wrote(n);
        self.link.order(if n >= left { Order::Reset } else { Order::CutHead(left - n) });
        Poll::Ready(Ok(n))
    }

    fn poll_garbage(&mut self, cx: &mut Context<'_>, mut from: usize) -> Poll<io::Result<usize>> {
        while from < GARBAGE.len() {
            from += ready!(Pin::new(&mut self.inner).poll_write(cx, &GARBAGE[from..]))?;
            self.link.order(Order::Garbage(from));
        }
        // An orderly close: the garbage shall arrive. hyper takes the error as the end of the connection.
        Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "garbage was sent instead of an answer")))
    }
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..n]);
            self.first.advance(n);
            return Poll::Ready(Ok(()));
        }
        {
            let mut state = self.link.state();
            match state.order {
                Order::Reset => return Poll::Ready(Err(Self::reset_error())),
                Order::Closed => return Poll::Ready(Ok(())),
                _ => state.reader = Some(cx.waker().clone()),
            }
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(ordered) = self.poll_order(cx, buf) {
            return ordered;
        }
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.link.wrote(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
        if let Some(ordered) = self.poll_order(cx, first) {
            return ordered;
        }
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.link.wrote(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        // hyper flushes when its own buffer is empty: everything that was answered is out.
        if self.link.current() == Order::CloseWhenFlushed {
            self.link.order(Order::Closed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        if self.link.current() == Order::Reset {
            // Fails only on a socket that is gone already.
            drop(self.inner.set_zero_linger());
        }
    }
}
