//! An HTTP/1 connection of a client: requests in, answers out, one after the other.
//!
//! All buffers are ours, so that an idle connection costs nothing but its socket (its buffers are given back), an answer
//! can be given before the body has arrived, and what is left of that body is never read as a request.
//! Reading serves three who never run at the same time on one task: the loop that waits for a head, the body of
//! the request that runs, and the watch for a client that leaves while its request runs.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mainstay_core::ProblemCode;
use mainstay_wire::{BodyDecoder, Decoded, Framing, HeadLimits, HeadScan, Refusal, RequestHead, Side};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::connection::{ConnCx, Interrupt, Phase};
use super::linger;
use crate::context::RequestCx;
use crate::fields::Seen;
use crate::fill::{READ_BYTES, poll_fill};
use crate::forward::upgrade::Tunnel;
use crate::lifecycle;
use crate::plan::ServerPlan;
use crate::request::{BodyError, Piece, Request, RequestBody, wanted_within};
use crate::respond::body::OutBody;
use crate::respond::h1 as write;
use crate::respond::trailers;
use crate::stream::Stream;

/// Bytes that may wait behind a running request: the next requests of a client that pipelines.
const PIPELINED_BYTES_MAX: usize = 64 * 1024;
/// How long the end of a TLS session may take to be told.
const FAREWELL_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// What is written at once before the socket is asked to take it.
pub const WRITE_BYTES: usize = 64 * 1024;

/// The socket with its buffers.
pub struct H1Io {
    stream: Stream,
    input: BytesMut,
    output: Vec<u8>,
    written: usize,
    scan: HeadScan,
    decoder: Option<BodyDecoder>,
    /// `100 Continue` is owed before the body is waited for.
    owes_continue: bool,
    read_bytes: usize,
}

impl H1Io {
    /// A connection whose first bytes have been read already.
    pub fn new(stream: Stream, first: BytesMut) -> Self {
        Self {
            stream,
            input: first,
            output: Vec::new(),
            written: 0,
            scan: HeadScan::default(),
            decoder: None,
            owes_continue: false,
            read_bytes: READ_BYTES,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_fill(&mut self.stream, &mut self.input, &mut self.read_bytes, cx)
    }

    /// Bytes to be written, to append to.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes that are still to be written.
    pub fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what is there, then `extra` behind it.
    pub fn poll_write(&mut self, extra: &mut Bytes, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() || !extra.is_empty() {
            let head = &self.output[self.written..];
            let n = if head.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_write(cx, extra))?
            } else if extra.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_write(cx, head))?
            } else {
                let parts = [io::IoSlice::new(head), io::IoSlice::new(extra)];
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = n.min(self.output.len() - self.written);
            self.written += of_head;
            extra.advance(n - of_head);
        }
        self.output.clear();
        self.written = 0;
        // Over TLS what was written may still lie in the session.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Gives the buffers back while nothing happens.
    fn park(&mut self) {
        if self.input.is_empty() && self.output.is_empty() {
            self.input = BytesMut::new();
            self.output = Vec::new();
            self.read_bytes = READ_BYTES;
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                return Poll::Ready(None);
            };
            match decoder.decode(&mut self.input) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
                Ok(Decoded::Done) => return Poll::Ready(None),
                Ok(Decoded::NeedMore) => {}
                Err(fault) => return Poll::Ready(Some(Err(BodyError::Malformed(fault.detail())))),
            }
            if self.owes_continue {
                self.owes_continue = false;
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if self.unwritten() > 0 && self.poll_write(&mut Bytes::new(), cx)?.is_pending() {
                return Poll::Pending;
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyError::Gone))),
                Ok(_) => {}
            }
        }
    }

    /// Ready when the client has closed its side or the connection broke. What it sends meanwhile is kept, up
    /// to a bound; behind a body that has not been read nothing can be seen.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.decoder.as_ref().is_some_and(|d| !d.is_done()) {
            return Poll::Pending;
        }
        while self.input.len() < PIPELINED_BYTES_MAX {
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Whether the body of the request has been taken whole; what is here already is skipped without waiting.
    fn skip_rest_of_body(&mut self) -> bool {
        let Some(decoder) = &mut self.decoder else {
            return true;
        };
        loop {
            match decoder.decode(&mut self.input) {
                Ok(Decoded::Data(_) | Decoded::Trailers(_)) => {}
                Ok(Decoded::Done) => return true,
                Ok(Decoded::NeedMore) | Err(_) => return false,
            }
        }
    }
}

impl From<io::Error> for BodyError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The request side of a connection, as the running request's body reads it.
pub struct H1Input(Rc<RefCell<H1Io>>);

impl H1Input {
    /// The next piece of the body.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        self.0.borrow_mut().poll_piece(cx)
    }
}

/// What waiting for a head came to.
enum Next {
    Head(Box<RequestHead>),
    Refused(Refusal),
    HeadTimedOut,
    Close,
}

/// Serves a connection until it ends.
pub async fn serve(conn: Rc<ConnCx>, stream: Stream, first: BytesMut) {
    let io = Rc::new(RefCell::new(H1Io::new(stream, first)));
    loop {
        let keep = match next_head(&conn, &io).await {
            Next::Head(head) => {
                // Boxed, because a connection's task is kept while it is idle and must then be small.
                Box::pin(serve_one(&conn, &io, *head)).await
            }
            Next::Refused(refusal) => {
                let answer = lifecycle::refuse_bytes(&conn, refusal.code(), refusal.detail());
                write_answer(&conn, &io, answer, AnswerTo::refused()).await;
                Keep::Linger
            }
            Next::HeadTimedOut => {
                let answer = lifecycle::refuse_bytes(
                    &conn,
                    "request_timeout",
                    "The request head did not arrive in time.",
                );
                write_answer(&conn, &io, answer, AnswerTo::refused()).await;
                Keep::Linger
            }
            Next::Close => Keep::Close,
        };
        match keep {
            Keep::Open => {}
            Keep::Close => return farewell(io).await,
            Keep::Linger => break,
            Keep::Switch(tunnel) => {
                if let Ok(io) = Rc::try_unwrap(io) {
                    let H1Io { stream, input, .. } = io.into_inner();
                    Box::pin(tunnel.run(conn, stream, input)).await;
                }
                return;
            }
        }
    }
    linger_on(io).await;
}

/// Answers bytes that are no request with 400, and closes.
pub async fn refuse(conn: &Rc<ConnCx>, stream: Stream, detail: &'static str) {
    let io = Rc::new(RefCell::new(H1Io::new(stream, BytesMut::new())));
    let answer = lifecycle::refuse_bytes(conn, ProblemCode::MalformedRequest.code(), detail);
    write_answer(conn, &io, answer, AnswerTo::refused()).await;
    linger_on(io).await;
}

/// Says that the connection ends, where the other side would otherwise have to think that it was cut off.
async fn farewell(io: Rc<RefCell<H1Io>>) {
    if let Ok(io) = Rc::try_unwrap(io)
        && let mut stream = io.into_inner().stream
        && stream.ends_with_farewell()
    {
        // Whoever does not take it has left.
        let _ = tokio::time::timeout(FAREWELL_MAX, Box::pin(stream.shutdown())).await;
    }
}

async fn linger_on(io: Rc<RefCell<H1Io>>) {
    if let Ok(io) = Rc::try_unwrap(io) {
        linger::linger(io.into_inner().stream).await;
    }
}

enum Keep {
    /// The next request may come.
    Open,
    /// Everything was read: closing loses nothing.
    Close,
    /// Something was left unread: close so that the client can still read its answer.
    Linger,
    /// It goes on in another protocol.
    Switch(Box<Tunnel>),
}

fn head_limits(server: &ServerPlan) -> HeadLimits {
    HeadLimits {
        head_bytes_max: server.header_bytes_max,
        fields_max: server.headers_max,
        target_bytes_max: server.uri_bytes_max,
    }
}

async fn next_head(conn: &Rc<ConnCx>, io: &Rc<RefCell<H1Io>>) -> Next {
    // Only what is needed of the snapshot: an idle connection must not keep an old one alive.
    let limits = head_limits(&conn.worker.snapshot().plan.server);
    conn.enter(Phase::Idle);
    poll_fn(|cx| {
        let io = &mut *io.borrow_mut();
        loop {
            match mainstay_wire::take_request_head(&mut io.input, &mut io.scan, &limits) {
                Ok(Some(head)) => return Poll::Ready(Next::Head(Box::new(head))),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
            }
            let mid_head = io.scan.is_mid_head() || !io.input.is_empty();
            if mid_head {
                conn.enter_if_idle(Phase::Head);
            }
            match conn.poll_interrupt(cx) {
                Some(Interrupt::Slow) if mid_head => return Poll::Ready(Next::HeadTimedOut),
                Some(Interrupt::Slow) if !mid_head => return Poll::Ready(Next::Close),
                Some(Interrupt::Close) if !mid_head && conn.is_silent() => return Poll::Ready(Next::Close),
                Some(Interrupt::Park) => io.park(),
                Some(_) | None => {}
            }
            match ready!(io.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Next::Close),
                Ok(_) => {}
            }
        }
    })
    .await
}

async fn serve_one(conn: &Rc<ConnCx>, io: &Rc<RefCell<H1Io>>, head: RequestHead) -> Keep {
    conn.enter(Phase::Busy);
    let seen = Seen::of(&head.headers);
    let to = AnswerTo {
        http10: head.http10,
        head_only: head.method == http::Method::HEAD,
        keep_alive: head.keep_alive,
        takes_trailers: seen.has(Seen::HOP) && trailers::are_taken(&head.headers),
    };
    let body = begin_body(conn, io, &head);
    let (path, query) =
        (head.target.path.into_bytes(), head.target.query.map(mainstay_wire::Text::into_bytes));
    let request = Request {
        method: head.method,
        path,
        query,
        is_grpc: false,
        wanted_within: wanted_within(seen, &head.headers),
        deadline: None,
        wants_upgrade: head.upgrade,
        upgrade: None,
        misdirected: conn.is_misdirected(head.target.authority.as_ref()),
        authority: head.target.authority,
        seen,
        headers: head.headers,
        body,
        protocol: if head.http10 { "1.0" } else { "1.1" },
    };
    let answer = answer_or_leave(conn, io, request).await;
    match answer {
        Some(answer) => write_answer(conn, io, answer, to).await,
        None => Keep::Close,
    }
}

/// The answer; `None` when the client left before there was one.
async fn answer_or_leave(
    conn: &Rc<ConnCx>,
    io: &Rc<RefCell<H1Io>>,
    request: Request,
) -> Option<http::Response<OutBody>> {
    let mut serving = pin!(lifecycle::serve_request(Rc::clone(conn), request));
    poll_fn(|cx| {
        if let Poll::Ready(answer) = serving.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        io.borrow_mut().poll_gone(cx).map(|()| None)
    })
    .await
}

fn begin_body(conn: &ConnCx, io: &Rc<RefCell<H1Io>>, head: &RequestHead) -> RequestBody {
    let declared = match head.framing {
        Framing::Length(n) => Some(n),
        Framing::None => Some(0),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut this = io.borrow_mut();
    if declared == Some(0) {
        this.decoder = None;
        this.owes_continue = false;
        return RequestBody::empty();
    }
    this.decoder = Some(BodyDecoder::new(head.framing, Side::Request));
    this.owes_continue = head.expect_continue && !head.http10;
    RequestBody::h1(H1Input(Rc::clone(io)), declared, conn.worker.snapshot().plan.server.body_timeout)
}

/// What the client can take.
#[derive(Clone, Copy)]
struct AnswerTo {
    http10: bool,
    head_only: bool,
    keep_alive: bool,
    takes_trailers: bool,
}

impl AnswerTo {
    /// The bytes were no request: answer and close.
    fn refused() -> Self {
        Self { http10: false, head_only: false, keep_alive: false, takes_trailers: false }
    }
}

async fn write_answer(
    conn: &Rc<ConnCx>,
    io: &Rc<RefCell<H1Io>>,
    answer: http::Response<OutBody>,
    to: AnswerTo,
) -> Keep {
    let (head, mut body) = answer.into_parts();
    // An upload that is still being forwarded belongs to whoever forwards it: the running answer, or a request
    // that is being settled. Skipping bytes here would leave a hole in what the upstream gets.
    let is_forwarding = Rc::strong_count(io) > 1;
    let whole_body_read = !is_forwarding && io.borrow_mut().skip_rest_of_body();
    // After a defect nobody knows in what state the request left its connection.
    let cx: Option<Rc<RequestCx>> = body.context();
    let failed = cx.as_ref().is_some_and(|cx| cx.facts.problem.get() == Some(ProblemCode::Internal));
    let wants_close = conn.wants_close() || failed;
    let framing = write::framing(&head, &body, to.http10, to.head_only);
    let keep = to.keep_alive && whole_body_read && !wants_close && framing != write::OutFraming::UntilClose;
    write::head(io.borrow_mut().output(), &head, framing, keep, to.http10);
    if framing == write::OutFraming::UntilClose {
        // From here on, so that it holds for the end of the process, too.
        io.borrow().stream.end_with_reset(true);
    }
    let sent = if to.head_only || framing == write::OutFraming::None {
        flush(conn, io).await.map_err(|_| Broken::Client)
    } else {
        write_body(conn, io, &mut body, framing, to).await
    };
    if sent.is_ok() && framing == write::OutFraming::UntilClose {
        io.borrow().stream.end_with_reset(false);
    }
    if let (Ok(()), Some(tunnel)) = (&sent, body.take_tunnel()) {
        return Keep::Switch(tunnel);
    }
    finish(cx.as_deref(), &mut body, &sent);
    drop(body);
    match sent {
        Err(_) => Keep::Close,
        Ok(()) if keep => Keep::Open,
        // A client that has said that nothing follows, and from which nothing has come: no reset can take its answer.
        Ok(()) if whole_body_read && !to.keep_alive && io.borrow().input.is_empty() => Keep::Close,
        Ok(()) => Keep::Linger,
    }
}

fn finish(cx: Option<&RequestCx>, body: &mut OutBody, sent: &Result<(), Broken>) {
    match sent {
        Ok(()) => body.complete(),
        Err(Broken::Client) => {
            if let Some(cx) = cx {
                cx.aborted("client");
            }
        }
        Err(Broken::Body) => {}
    }
}

/// Writes everything.
async fn flush(conn: &ConnCx, io: &RefCell<H1Io>) -> io::Result<()> {
    let mut nothing = Bytes::new();
    poll_fn(|cx| poll_write(conn, io, &mut nothing, cx)).await
}

/// Whose fault an answer is that could not be finished.
enum Broken {
    Client,
    Body,
}

async fn write_body(
    conn: &ConnCx,
    io: &Rc<RefCell<H1Io>>,
    body: &mut OutBody,
    framing: write::OutFraming,
    to: AnswerTo,
) -> Result<(), Broken> {
    let mut extra = Bytes::new();
    let mut ended = false;
    let mut broken = false;
    let mut trailers = None;
    poll_fn(|cx| {
        loop {
            // More is taken from the upstream only once the client has taken what was there: back-pressure.
            if !extra.is_empty() || io.borrow().unwritten() >= WRITE_BYTES || ended {
                if ready!(poll_write(conn, io, &mut extra, cx)).is_err() {
                    return Poll::Ready(Err(Broken::Client));
                }
                if ended {
                    return Poll::Ready(if broken { Err(Broken::Body) } else { Ok(()) });
                }
                continue;
            }
            // Nothing is borrowed here: an answer that came early also drives the rest of its request's body,
            // which is read from this connection.
            match body.poll_piece(cx) {
                Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                    extra = write::piece(io.borrow_mut().output(), data, framing);
                }
                Poll::Ready(Some(Ok(Piece::Trailers(found)))) => {
                    trailers = trailers::passed_on(found, false).filter(|_| to.takes_trailers);
                }
                Poll::Ready(Some(Err(_))) => {
                    // The head and what came of the body still go out: to a client that gets nothing at all it looks as if
                    // its request had not arrived, and it may send it again.
                    broken = true;
                    ended = true;
                }
                Poll::Ready(None) => {
                    write::end(io.borrow_mut().output(), framing, trailers.as_ref());
                    ended = true;
                }
                Poll::Pending => {
                    // What is there goes out now: an event must not wait for the next one.
                    if ready!(poll_write(conn, io, &mut extra, cx)).is_err() {
                        return Poll::Ready(Err(Broken::Client));
                    }
                    return io.borrow_mut().poll_gone(cx).map(|()| Err(Broken::Client));
                }
            }
        }
    })
    .await
}

/// Writes what is there. A client that takes nothing for `limits.body_timeout` counts as gone.
fn poll_write(
    conn: &ConnCx,
    io: &RefCell<H1Io>,
    extra: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut io = io.borrow_mut();
    let polled = io.poll_write(extra, cx);
    // Over TLS all of it may lie in the session, which the client does not empty either: then nothing is left here,
    // and it waits for the client all the same.
    let left = if polled.is_pending() { (io.unwritten() + extra.len()).max(1) } else { 0 };
    conn.note_unwritten(left);
    if left > 0 && conn.poll_interrupt(cx) == Some(Interrupt::Slow) {
        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
    }
    polled
}
