//! An HTTP/2 connection of a client (RFC 9113), by prior knowledge.
//!
//! Framing, flow control and header compression are hyper's and h2's. Here their limits are set, each stream
//! becomes a [`Request`], and the connection is told to go away when it is old or the engine drains.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_wire::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{ConnCx, Interrupt, Phase};
use crate::fields::Seen;
use crate::lifecycle;
use crate::request::{Request, RequestBody};
use crate::respond::body::OutBody;
use crate::stream::Stream;

/// Runs streams on this thread.
#[derive(Clone, Copy)]
pub struct LocalExec;

impl<F: Future + 'static> Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A stream of bytes, some of which have been read before.
struct Rewound {
    first: Bytes,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..n]);
        self.first.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// Streams of one connection that run now.
struct Streams {
    conn: Rc<ConnCx>,
    running: Cell<usize>,
}

/// Counts one stream, in the connection's phase and in the worker's load.
struct StreamGuard(Rc<Streams>);

impl StreamGuard {
    fn begin(streams: &Rc<Streams>) -> Self {
        let running = streams.running.get() + 1;
        streams.running.set(running);
        if running == 1 {
            streams.conn.enter(Phase::Busy);
        } else {
            streams.conn.worker.port().load.fetch_add(1, Ordering::Relaxed);
        }
        Self(Rc::clone(streams))
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let running = self.0.running.get() - 1;
        self.0.running.set(running);
        if running == 0 {
            self.0.conn.enter(Phase::Idle);
        } else {
            self.0.conn.worker.port().load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Serves a connection until it ends.
pub async fn serve(conn: Rc<ConnCx>, stream: Stream, first: BytesMut) {
    let snapshot = conn.worker.snapshot();
    let server = &snapshot.plan.server;
    let mut builder = http2::Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(server.http2_streams_max)
        .initial_stream_window_size(server.http2_window)
        .initial_connection_window_size(server.http2_window.saturating_mul(2))
        .max_header_list_size(u32::try_from(server.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let body_timeout = server.body_timeout;
    drop(snapshot);
    let streams = Rc::new(Streams { conn: Rc::clone(&conn), running: Cell::new(0) });
    let service = hyper::service::service_fn({
        let streams = Rc::clone(&streams);
        move |request| serve_stream(Rc::clone(&streams), request, body_timeout)
    });
    let io = TokioIo::new(Rewound { first: first.freeze(), stream });
    let mut connection = pin!(builder.serve_connection(io, service));
    conn.enter(Phase::Idle);
    let mut told = false;
    poll_fn(|cx| {
        match conn.poll_interrupt(cx) {
            Some(Interrupt::Close | Interrupt::Slow) if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            Some(_) | None => {}
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

async fn serve_stream(
    streams: Rc<Streams>,
    request: http::Request<Incoming>,
    body_timeout: Duration,
) -> Result<http::Response<OutBody>, std::convert::Infallible> {
    let guard = StreamGuard::begin(&streams);
    let conn = Rc::clone(&streams.conn);
    let (parts, incoming) = request.into_parts();
    let authority = match authority(&parts) {
        Ok(authority) => authority,
        Err(detail) => return Ok(lifecycle::refuse_bytes(&conn, "bad_host", detail)),
    };
    let uri = &parts.uri;
    let request = Request {
        path: Bytes::copy_from_slice(uri.path().as_bytes()),
        query: uri.query().map(|q| Bytes::copy_from_slice(q.as_bytes())),
        authority: Some(authority),
        method: parts.method,
        seen: Seen::of(&parts.headers),
        headers: parts.headers,
        body: RequestBody::h2(incoming, body_timeout),
        protocol: "2",
    };
    let mut answer = Box::pin(lifecycle::serve_request(conn, request)).await;
    answer.body_mut().keep(Box::new(guard));
    Ok(answer)
}

/// `:authority`, or `Host`; when both are there they must say the same (RFC 9113, 8.3.1).
fn authority(parts: &http::request::Parts) -> Result<Authority, &'static str> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("There is more than one Host field.");
    }
    let named = parts.uri.authority().map(|a| a.as_str().as_bytes());
    let bytes = match (named, host.map(http::HeaderValue::as_bytes)) {
        (Some(a), Some(h)) if !a.eq_ignore_ascii_case(h) => {
            return Err("Host and :authority say different things.");
        }
        (Some(a), _) => a,
        (None, Some(h)) => h,
        (None, None) => return Err("Neither :authority nor Host is there."),
    };
    Authority::parse(Bytes::copy_from_slice(bytes)).map_err(|refusal| refusal.detail())
}
