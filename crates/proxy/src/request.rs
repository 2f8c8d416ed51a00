//! A request as every stage sees it, whichever protocol brought it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method};
use hyper::body::{Body, Incoming};
use mainstay_wire::Authority;
use tokio::time::{Duration, Instant, Sleep};

use crate::accept::h1::H1Input;
use crate::accept::h2_body::H2Input;
use crate::fields::Seen;
use crate::worker::EngineShared;

/// A request whose head has been read and checked.
pub struct Request {
    /// The method, exactly as it came.
    pub method: Method,
    /// The path as it came, without the query; starts with `/`, or is `*`.
    pub path: Bytes,
    /// The query as it came, without the question mark.
    pub query: Option<Bytes>,
    /// Host and port that the client asked for.
    pub authority: Option<Authority>,
    /// It asks for a host that its connection was not made for (RFC 9110, 7.4).
    pub misdirected: bool,
    /// All fields, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// Which of the fields that concern the engine are among them.
    pub seen: Seen,
    /// It is a gRPC call.
    pub is_grpc: bool,
    /// Until when the whole answer is wanted, its body included, as the client says.
    pub wanted_within: Option<Duration>,
    /// Until when the upstream should have answered, for its information.
    pub deadline: Option<Instant>,
    /// It asks for another protocol (`Connection: upgrade`).
    pub wants_upgrade: bool,
    /// The protocol that it may switch to.
    pub upgrade: Option<Box<str>>,
    /// Its body.
    pub body: RequestBody,
    /// The protocol's name in `Via`: `1.0`, `1.1` or `2`.
    pub protocol: &'static str,
}

/// Why a request's body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than the operation takes.
    TooLarge,
    /// Nothing arrived for `limits.body_timeout`.
    TimedOut,
    /// The framing is broken; what exactly.
    Malformed(&'static str),
    /// The client has left, or has reset the stream.
    Gone,
}

/// A piece of a body.
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// Fields after the last byte.
    Trailers(HeaderMap),
}

/// A request's body: counted, bounded in bytes and in silence, read only when somebody asks for it.
pub struct RequestBody {
    source: Source,
    /// There never was one.
    none: bool,
    /// Its length, where the client has said it.
    pub declared: Option<u64>,
    received: u64,
    bytes_max: u64,
    silence_max: Duration,
    silence: Option<std::pin::Pin<Box<Sleep>>>,
    /// What has been given out, if it is kept. A place of its own: a body is moved often, and mostly there is none.
    kept: Option<Box<Kept>>,
    /// Something has been given out that was not kept.
    lost: bool,
    /// The room that its bytes have among those of all bodies that were read whole.
    room: Option<Box<Room>>,
}

/// What of a body has been given out, kept within a bound, so that it can be given out once more.
#[derive(Default)]
struct Kept {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind the last one, copied together: each would hold on to a whole read buffer.
    tail: BytesMut,
    bytes: usize,
    bytes_max: usize,
    /// So many of the pieces have been given out again.
    given: usize,
}

/// From this size on a piece is kept as it is, and below it is copied.
const KEPT_WHOLE_BYTES_MIN: usize = 4 * 1024;

impl Kept {
    /// False: there is no room for it.
    fn take_in(&mut self, data: &Bytes) -> bool {
        if self.bytes + data.len() > self.bytes_max {
            return false;
        }
        self.bytes += data.len();
        if data.len() < KEPT_WHOLE_BYTES_MIN {
            self.tail.extend_from_slice(data);
        } else {
            self.end_tail();
            self.pieces.push_back(data.clone());
        }
        self.given = self.pieces.len();
        true
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    fn rewind(&mut self) {
        self.end_tail();
        self.given = 0;
    }

    fn again(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.given)?.clone();
        self.given += 1;
        Some(piece)
    }
}

enum Source {
    Empty,
    H1(H1Input),
    /// In a place of its own: it is large, and every request of HTTP/1 moves its body, too.
    H2(Box<H2Input>),
    /// It has been read whole, and these bytes of it have not gone on yet.
    Whole(Bytes),
}

/// Bytes of all bodies together that may be held because somebody reads them whole.
const WHOLE_BYTES_MAX: usize = 256 << 20;

/// Bytes of a body that is held, counted among those of all.
struct Room {
    shared: Arc<EngineShared>,
    bytes: usize,
}

impl Room {
    /// False: all bodies together have as much as they may.
    fn more(&mut self, bytes: usize) -> bool {
        let before = self.shared.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= WHOLE_BYTES_MAX
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body could not be read whole.
pub enum NotWhole {
    /// It ended before its end.
    Broken(BodyError),
    /// There are as many bytes of bodies in memory as there may be.
    NoRoom,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self::new(Source::Empty, Some(0), Duration::MAX)
    }

    /// The body of an HTTP/1 request.
    pub fn h1(input: H1Input, declared: Option<u64>, silence_max: Duration) -> Self {
        Self::new(Source::H1(input), declared, silence_max)
    }

    /// The body of an HTTP/2 request.
    pub fn h2(incoming: Incoming, silence_max: Duration) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let declared = incoming.size_hint().exact();
        Self::new(Source::H2(Box::new(H2Input::new(incoming))), declared, silence_max)
    }

    fn new(source: Source, declared: Option<u64>, silence_max: Duration) -> Self {
        let none = matches!(source, Source::Empty);
        Self {
            source,
            none,
            declared,
            received: 0,
            bytes_max: u64::MAX,
            silence_max,
            silence: None,
            kept: None,
            lost: false,
            room: None,
        }
    }

    /// True when there is nothing to send at all, and never was.
    pub fn is_empty(&self) -> bool {
        self.none
    }

    /// Sets how many bytes are taken.
    pub fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Keeps up to so many bytes of what is given out, so that the body can be sent again. A body that is known to be
    /// longer is not kept at all.
    pub fn keep(&mut self, bytes_max: usize) {
        if !self.none && self.kept.is_none() && self.declared.is_none_or(|length| length <= bytes_max as u64)
        {
            self.kept = Some(Box::new(Kept { bytes_max, ..Kept::default() }));
        }
    }

    /// Lets go of what was kept: the body will not be sent again.
    pub fn forget(&mut self) {
        if self.kept.take().is_some_and(|kept| kept.bytes > 0) {
            self.lost = true;
        }
    }

    /// True when all of it can still be given out from its first byte.
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    /// Begins again at the first byte. Only for a body that [`is_whole`](Self::is_whole).
    pub fn rewind(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.rewind();
        }
        self.silence = None;
    }

    /// Another body of the same bytes, if all of them have arrived and were kept.
    pub fn copy(&mut self) -> Option<Self> {
        let ended = matches!(self.source, Source::Empty);
        (ended && self.is_whole()).then(|| {
            let mut copy = Self::new(Source::Empty, self.declared, self.silence_max);
            copy.none = self.none;
            copy.received = self.received;
            copy.kept = self.kept.as_mut().map(|kept| {
                kept.end_tail();
                let (pieces, bytes, bytes_max) = (kept.pieces.clone(), kept.bytes, kept.bytes_max);
                Box::new(Kept { pieces, bytes, bytes_max, ..Kept::default() })
            });
            copy
        })
    }

    fn note(&mut self, data: &Bytes) {
        if !self.kept.as_mut().is_some_and(|kept| kept.take_in(data)) {
            self.kept = None;
            self.lost = true;
        }
    }

    /// Reads all of it. Afterwards it gives out those very bytes, and says how many they are. Trailers are
    /// dropped, as they are on their way to any upstream.
    ///
    /// # Errors
    /// See [`NotWhole`].
    pub async fn whole(&mut self, shared: &Arc<EngineShared>) -> Result<Bytes, NotWhole> {
        let mut room = Box::new(Room { shared: Arc::clone(shared), bytes: 0 });
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await {
            match piece.map_err(NotWhole::Broken)? {
                Piece::Data(data) if !room.more(data.len()) => {
                    drop(data);
                    return Err(NotWhole::NoRoom);
                }
                // As it is, unless it is small: that would hold on to a whole read buffer.
                Piece::Data(data)
                    if first.is_empty() && all.is_empty() && data.len() >= KEPT_WHOLE_BYTES_MIN =>
                {
                    first = data;
                }
                Piece::Data(data) => {
                    all.extend_from_slice(&std::mem::take(&mut first));
                    all.extend_from_slice(&data);
                }
                Piece::Trailers(_) => {}
            }
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        self.declared = Some(bytes.len() as u64);
        self.source = Source::Whole(bytes.clone());
        self.room = Some(room);
        (self.received, self.kept, self.lost) = (0, None, false);
        Ok(bytes)
    }

    /// Bytes that have arrived.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        if let Some(data) = self.kept.as_mut().and_then(|kept| kept.again()) {
            return Poll::Ready(Some(Ok(Piece::Data(data))));
        }
        let polled = match &mut self.source {
            Source::Empty => return Poll::Ready(None),
            Source::H1(input) => input.poll_piece(cx),
            Source::H2(input) => input.poll_piece(cx),
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Piece::Data(std::mem::take(bytes))))),
        };
        match polled {
            Poll::Ready(Some(Ok(Piece::Data(data)))) => {
                self.silence = None;
                self.received += data.len() as u64;
                if self.received > self.bytes_max {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                self.note(&data);
                Poll::Ready(Some(Ok(Piece::Data(data))))
            }
            Poll::Ready(other) => {
                self.silence = None;
                // At its end a body lets go of the connection, which may then take the next request.
                if other.is_none() {
                    self.source = Source::Empty;
                }
                Poll::Ready(other)
            }
            Poll::Pending => self.poll_silence(cx),
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let max = self.silence_max;
        let sleep = self.silence.get_or_insert_with(|| {
            let until = Instant::now().checked_add(max).unwrap_or_else(far_future);
            Box::pin(tokio::time::sleep_until(until))
        });
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::TimedOut))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// `X-Request-Timeout-Ms`: how long the client waits for the whole answer. What is no number from 1 to a day is not
/// there.
pub fn wanted_within(seen: Seen, fields: &HeaderMap) -> Option<Duration> {
    const NAME: HeaderName = HeaderName::from_static("x-request-timeout-ms");
    const DAY_MS: u64 = 86_400_000;
    if !seen.has(Seen::X_TIMEOUT) {
        return None;
    }
    let ms: u64 = fields.get(NAME)?.to_str().ok()?.parse().ok()?;
    (1..=DAY_MS).contains(&ms).then(|| Duration::from_millis(ms))
}

/// A day that no timer reaches.
pub fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365 * 30)
}
