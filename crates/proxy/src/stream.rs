//! A connection's bytes, whatever carries them.
//!
//! Enumerations and not trait objects, because each read and write goes through them.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::{client, server};

/// A connection.
pub enum Stream {
    /// As it is.
    Plain(Plain),
    /// A client's, over TLS.
    Client(Box<server::TlsStream<Plain>>),
    /// To an upstream, over TLS.
    Upstream(Box<client::TlsStream<Plain>>),
}

/// What carries bytes unchanged.
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// Within the process, bounded both ways.
    Memory(DuplexStream),
    /// To a service within the process, which is told when this end goes.
    Local(DuplexStream, Held),
}

/// What one direction to a service within the process holds before its writer waits.
const LOCAL_BYTES: usize = 64 * 1024;

/// Held while the engine has its end of a connection to a service within the process. The end of the bytes alone would
/// not do: a server that waits for its handler does not read, so it would not see it.
pub struct Held(#[expect(dead_code, reason = "only its end says something")] oneshot::Sender<Infallible>);

/// The other end of a connection within the process.
pub struct LocalEnd {
    /// Its bytes.
    pub bytes: DuplexStream,
    /// Ends, with an error, when the engine has let go of its end.
    pub left: oneshot::Receiver<Infallible>,
}

impl Plain {
    /// True when what comes first begins as a request in plain text does. It is not taken. Of a unix socket that cannot
    /// be said.
    pub fn poll_begins_as_text(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Self::Tcp(tcp) = self else { return Poll::Ready(Ok(false)) };
        let mut byte = [0];
        let peeked = std::task::ready!(tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
        Poll::Ready(Ok(peeked == 1 && byte[0].is_ascii_uppercase()))
    }

    /// A connection to a service within the process, and the service's end of it.
    pub fn local() -> (Self, LocalEnd) {
        let (near, far) = tokio::io::duplex(LOCAL_BYTES);
        let (held, left) = oneshot::channel();
        (Self::Local(near, Held(held)), LocalEnd { bytes: far, left })
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Memory(_) | Self::Local(..) => Poll::Ready(Ok(())),
        }
    }
}

impl Stream {
    /// Pending while there is certainly nothing to read. Ready says only that reading may be tried.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (plain, wants_bytes) = match self {
            Self::Plain(plain) => (plain, true),
            Self::Client(tls) => {
                let (plain, session) = tls.get_ref();
                (plain, session.wants_read())
            }
            Self::Upstream(tls) => {
                let (plain, session) = tls.get_ref();
                (plain, session.wants_read())
            }
        };
        // A session that wants no bytes has some for us.
        if wants_bytes { plain.poll_read_ready(cx) } else { Poll::Ready(Ok(())) }
    }

    /// True while the other side has neither ended nor sent anything that is ours to read.
    pub fn is_silent(&mut self) -> bool {
        if let Self::Plain(Plain::Tcp(tcp)) = self {
            let read = tcp.try_read(&mut [0]);
            return matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        }
        // Whoever uses the stream next leaves a waker of its own.
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut [0])).is_pending()
    }

    /// Has the connection end with a reset for as long as its orderly end would look like the end of an answer.
    pub fn end_with_reset(&self, with_reset: bool) {
        let plain = match self {
            Self::Plain(plain) => plain,
            Self::Client(tls) => tls.get_ref().0,
            Self::Upstream(tls) => tls.get_ref().0,
        };
        if let Plain::Tcp(tcp) = plain {
            // A failure means that the connection is gone already.
            let _ = socket2::SockRef::from(tcp).set_linger(with_reset.then_some(std::time::Duration::ZERO));
        }
    }

    /// True when an end without a farewell is a fault: over TLS it could be somebody else's doing.
    pub fn ends_with_farewell(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

impl From<TcpStream> for Plain {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Plain {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl From<DuplexStream> for Plain {
    fn from(memory: DuplexStream) -> Self {
        Self::Memory(memory)
    }
}

impl<T: Into<Plain>> From<T> for Stream {
    fn from(plain: T) -> Self {
        Self::Plain(plain.into())
    }
}

/// Passes every call on to what is inside.
macro_rules! pass_on {
    ($outer:ident: $($variant:ident)*) => {
        impl AsyncRead for $outer {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner, ..) => Pin::new(inner).poll_read(cx, buf),)*
                }
            }
        }

        impl AsyncWrite for $outer {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(inner, ..) => Pin::new(inner).poll_write(cx, buf),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(inner, ..) => Pin::new(inner).poll_write_vectored(cx, bufs),)*
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $(Self::$variant(inner, ..) => inner.is_write_vectored(),)*
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner, ..) => Pin::new(inner).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(inner, ..) => Pin::new(inner).poll_shutdown(cx),)*
                }
            }
        }
    };
}

pass_on!(Plain: Tcp Unix Memory Local);
pass_on!(Stream: Plain Client Upstream);
