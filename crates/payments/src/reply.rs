//! Answers: where their bytes come from, and the body that hands them to hyper, slowly or cut short where a fault says so.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep};

use crate::faults::SlowBody;
use crate::link::Link;
use crate::problem::Problem;
use crate::stats::Stats;

/// Made bodies are cut from this block: byte `i` of a body is byte `i % BLOCK_BYTES` of it, whatever its pieces are.
static BLOCK: [u8; BLOCK_BYTES] = block();
const BLOCK_BYTES: usize = 64 * 1024;

const fn block() -> [u8; BLOCK_BYTES] {
    const ALPHABET: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
    let mut block = [0; BLOCK_BYTES];
    let mut i = 0;
    while i < BLOCK_BYTES {
        block[i] = ALPHABET[i % 26];
        i += 1;
    }
    block
}

/// Where the bytes of an answer come from.
pub(crate) enum Source {
    Full(Bytes),
    /// So many bytes of the block, with a known length.
    Made {
        left: u64,
        offset: usize,
    },
    /// The same in pieces and without a known length.
    Pieces {
        left: u64,
        piece: u64,
        offset: usize,
    },
    Events(Events),
}

impl Source {
    pub(crate) fn empty() -> Self {
        Self::Full(Bytes::new())
    }

    pub(crate) fn made(count: u64) -> Self {
        Self::Made { left: count, offset: 0 }
    }

    /// Pieces above the block's 64 KiB are handed out in parts.
    pub(crate) fn pieces(count: u64, size: u64) -> Self {
        Self::Pieces { left: count * size, piece: size, offset: 0 }
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn exact(&self) -> Option<u64> {
        match self {
            Self::Full(bytes) => u64::try_from(bytes.len()).ok(),
            Self::Made { left, .. } => Some(*left),
            Self::Pieces { .. } | Self::Events(_) => None,
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Made { left, .. } | Self::Pieces { left, .. } => *left == 0,
            Self::Events(events) => events.left == 0,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.is_done() {
            return Poll::Ready(None);
        }
        match self {
            Self::Full(bytes) => Poll::Ready(Some(std::mem::take(bytes))),
            Self::Made { left, offset } => Poll::Ready(Some(take_block(left, offset, u64::MAX))),
            Self::Pieces { left, piece, offset } => Poll::Ready(Some(take_block(left, offset, *piece))),
            Self::Events(events) => events.poll_next(cx).map(Some),
        }
    }
}

fn take_block(left: &mut u64, offset: &mut usize, most: u64) -> Bytes {
    let wanted = usize::try_from((*left).min(most)).unwrap_or(usize::MAX);
    let n = wanted.min(BLOCK_BYTES - *offset);
    let piece = Bytes::from_static(&BLOCK[*offset..*offset + n]);
    *left -= u64::try_from(n).unwrap_or(u64::MAX);
    *offset = (*offset + n) % BLOCK_BYTES;
    piece
}

/// Server-sent events: the first at once, each further one an interval later.
pub(crate) struct Events {
    data: String,
    left: u64,
    sent: u64,
    interval: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Events {
    pub(crate) fn new(data: &Value, count: u64, interval_ms: u64) -> Self {
        Self {
            data: data.to_string(),
            left: count,
            sent: 0,
            interval: Duration::from_millis(interval_ms),
            timer: None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
        }
        self.timer = (!self.interval.is_zero()).then(|| Box::pin(sleep(self.interval)));
        self.left -= 1;
        self.sent += 1;
        Poll::Ready(Bytes::from(format!("id: {}\nevent: payment\ndata: {}\n\n", self.sent, self.data)))
    }
}

pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Source> {
    let mut bytes = body.to_string();
    bytes.push('\n');
    let mut response = Response::new(Source::Full(Bytes::from(bytes)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(crate) fn problem(problem: &Problem) -> Response<Source> {
    let mut response = json(problem.status, &problem.to_json());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(allow) = problem.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(retry_after_s) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    response
}

/// The error by which hyper learns that an answer ends here. The stream below does the rest.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by a switched fault")
    }
}

impl std::error::Error for Cut {}

/// Counts a request as in flight until it is dropped, whoever drops it.
pub(crate) struct Flight {
    stats: Arc<Stats>,
    completed: bool,
}

impl Flight {
    pub(crate) fn begin(stats: Arc<Stats>, method_and_path: String) -> Self {
        stats.request_began(method_and_path);
        Self { stats, completed: false }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.stats.request_ended(self.completed);
    }
}

/// The body of an answer.
pub(crate) struct Answer {
    source: Source,
    /// The piece being handed out.
    held: Bytes,
    given: u64,
    pace: Option<Pace>,
    cut: Option<CutBody>,
    link: Arc<Link>,
    close: bool,
    /// Absent for requests that are not counted.
    flight: Option<Flight>,
}

struct Pace {
    bytes: usize,
    interval: Duration,
    next: Option<Pin<Box<Sleep>>>,
}

/// A reset in the middle of a body.
struct CutBody {
    after: u64,
    /// What had been written on the connection before this answer.
    written_before: u64,
    reset_link: bool,
}

impl Answer {
    pub(crate) fn new(source: Source, link: Arc<Link>, flight: Option<Flight>) -> Self {
        let mut answer =
            Self { source, held: Bytes::new(), given: 0, pace: None, cut: None, link, close: false, flight };
        answer.note_end();
        answer
    }

    pub(crate) fn slow(&mut self, fault: SlowBody) {
        self.pace =
            Some(Pace { bytes: fault.bytes, interval: Duration::from_millis(fault.interval_ms), next: None });
    }

    /// Cuts in the middle; of a stream without length, after its first piece.
    pub(crate) fn cut_in_middle(&mut self, reset_link: bool) {
        let after = self.source.exact().map_or(1, |length| length / 2);
        self.cut = Some(CutBody { after, written_before: self.link.written(), reset_link });
    }

    /// The connection is closed, unannounced, once this body is out.
    pub(crate) fn close_link_at_end(&mut self) {
        self.close = true;
    }

    /// Notes that the last byte has been handed over, as soon as that is so: hyper does not ask again then.
    fn note_end(&mut self) {
        if self.source.is_done()
            && self.held.is_empty()
            && self.cut.is_none()
            && let Some(flight) = &mut self.flight
        {
            flight.completed = true;
        }
    }

    /// Waits until what was given before has left, so that the peer has seen it when the end comes.
    fn poll_cut(&self, cut: &CutBody, cx: &Context<'_>) -> Poll<Cut> {
        ready!(self.link.poll_written(cut.written_before + self.given + 1, cx));
        if cut.reset_link {
            self.link.reset();
        }
        Poll::Ready(Cut)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if let Some(cut) = &this.cut
            && this.given >= cut.after
        {
            return this.poll_cut(cut, cx).map(|cut| Some(Err(cut)));
        }
        if this.held.is_empty() {
            match ready!(this.source.poll_next(cx)) {
                Some(piece) => this.held = piece,
                None => return Poll::Ready(None),
            }
        }
        let mut n = this.held.len();
        if let Some(pace) = &mut this.pace {
            if let Some(timer) = &mut pace.next {
                ready!(timer.as_mut().poll(cx));
            }
            pace.next = Some(Box::pin(tokio::time::sleep_until(Instant::now() + pace.interval)));
            n = n.min(pace.bytes);
        }
        // A known length is cut at the byte; a stream where its first piece ends.
        if let (Some(cut), Some(_)) = (&this.cut, this.source.exact()) {
            n = n.min(usize::try_from(cut.after - this.given).unwrap_or(usize::MAX));
        }
        let piece = this.held.split_to(n);
        this.given += u64::try_from(n).unwrap_or(u64::MAX);
        this.note_end();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.held.is_empty() && self.source.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.source.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.close {
            self.link.close_when_flushed();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::{Answer, Link, Source};

    async fn read(source: Source) -> Vec<u8> {
        let answer = Answer::new(source, Link::new(1).into(), None);
        answer.collect().await.expect("no cut").to_bytes().to_vec()
    }

    #[tokio::test]
    async fn made_bodies_are_the_same_in_any_pieces() {
        for (count, size) in [(0, 1), (1, 1), (26, 1), (7, 10_007), (2, 65_536), (3, 100_000)] {
            let whole = read(Source::made(count * size)).await;
            assert_eq!(whole.len() as u64, count * size);
            assert_eq!(read(Source::pieces(count, size)).await, whole);
        }
        assert!(read(Source::made(28)).await.ends_with(b"xyzab"));
    }
}
