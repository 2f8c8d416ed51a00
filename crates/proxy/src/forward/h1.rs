//! One exchange over an HTTP/1.1 connection to an upstream: the request out, the answer in.
//!
//! The exchange is driven by the task of its request and knows at each moment how far it got ([`Reached`]):
//! whether it may be repeated, and whether it has to be finished, depends on nothing else. A connection goes
//! back to the pool only after an exchange that ended clean on both sides.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode};
use mainstay_core::clock::MonoMs;
use mainstay_wire::{BodyDecoder, Decoded, Framing, HeadLimits, HeadScan, ResponseFault, ResponseHead, Side};
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;

use super::upgrade;
use crate::fill::{READ_BYTES, READ_BYTES_LARGE, poll_fill};
use crate::request::{BodyError, Piece, RequestBody};
use crate::stream::Stream;

/// Interim responses (1xx) that one answer may be preceded by.
const INTERIM_MAX: u32 = 8;
/// Pieces up to this size are copied behind the head, so that they leave in one write.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// Room for a head that an idle connection keeps.
const OUTPUT_KEPT: usize = 2 * 1024;

/// A connection to an endpoint.
pub struct H1Connection {
    stream: Stream,
    input: BytesMut,
    /// The head, and small pieces of the body, as bytes to write.
    output: Vec<u8>,
    scan: HeadScan,
    read_bytes: usize,
    /// When it was opened.
    pub opened: MonoMs,
    permit: OwnedSemaphorePermit,
}

impl H1Connection {
    /// A fresh connection, which holds its place under the endpoint's cap.
    pub fn new(stream: Stream, permit: OwnedSemaphorePermit, opened: MonoMs) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            scan: HeadScan::default(),
            read_bytes: READ_BYTES,
            opened,
            permit,
        }
    }

    /// True while an idle connection has neither ended nor sent anything unasked.
    pub fn is_alive(&mut self) -> bool {
        self.stream.is_silent()
    }

    /// Bytes to be written, to append a head to.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The bytes, what has been read of them already, and the place under the cap.
    pub fn into_parts(self) -> (Stream, BytesMut, OwnedSemaphorePermit) {
        (self.stream, self.input, self.permit)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_fill(&mut self.stream, &mut self.input, &mut self.read_bytes, cx)
    }
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Not a byte has left.
    Nothing,
    /// Some bytes have left: the application may have seen the request.
    Some,
    /// All of it has left.
    Whole,
}

/// Why an exchange failed.
#[derive(Debug)]
pub enum ExchangeError {
    /// The upstream closed or reset the connection.
    Reset,
    /// The upstream said that it has not looked at the request (RFC 9113, 8.7).
    Refused,
    /// Its answer is malformed; what exactly.
    Malformed(&'static str),
    /// Its head is over the limit.
    TooLarge(&'static str),
    /// The client's body could not be read to its end.
    Body(BodyError),
}

impl From<ResponseFault> for ExchangeError {
    fn from(fault: ResponseFault) -> Self {
        match fault {
            ResponseFault::Malformed(detail) => Self::Malformed(detail),
            ResponseFault::TooLarge(detail) => Self::TooLarge(detail),
        }
    }
}

/// A request on its way.
pub struct H1Exchange {
    connection: H1Connection,
    method: Method,
    /// The protocol that may be switched to.
    upgrade: Option<Box<str>>,
    limits: HeadLimits,
    /// How much of the connection's output has left.
    written: usize,
    /// A large piece behind them.
    extra: Bytes,
    body: RequestBody,
    chunked: bool,
    body_ended: bool,
    /// The upstream no longer takes bytes, but may have answered.
    write_failed: bool,
    sent_bytes: u64,
    interim: u32,
    has_head: bool,
    decoder: Option<BodyDecoder>,
    keep_alive: bool,
}

impl H1Exchange {
    /// Begins. The head, complete but for the body, is in the connection's output already.
    pub fn new(
        connection: H1Connection,
        method: Method,
        upgrade: Option<Box<str>>,
        body: RequestBody,
        limits: HeadLimits,
    ) -> Self {
        let chunked = !body.is_empty() && body.declared.is_none();
        Self {
            connection,
            method,
            upgrade,
            limits,
            written: 0,
            extra: Bytes::new(),
            body_ended: body.is_empty(),
            body,
            chunked,
            write_failed: false,
            sent_bytes: 0,
            interim: 0,
            has_head: false,
            decoder: None,
            keep_alive: false,
        }
    }

    /// How far the request got.
    pub fn reached(&self) -> Reached {
        if self.sent_bytes == 0 {
            Reached::Nothing
        } else if self.body_ended && self.written == self.connection.output.len() && self.extra.is_empty() {
            Reached::Whole
        } else {
            Reached::Some
        }
    }

    /// Bytes of the body that have arrived from the client.
    pub fn body_received(&self) -> u64 {
        self.body.received()
    }

    /// Ends here, and gives back the body, and the connection's place under the cap.
    pub fn into_remains(self) -> (RequestBody, OwnedSemaphorePermit) {
        (self.body, self.connection.permit)
    }

    /// The request will not be sent again: what was kept of its body for that goes.
    pub fn forget_body(&mut self) {
        self.body.forget();
    }

    /// The same body once more, if all of it is here.
    pub fn copy_body(&mut self) -> Option<RequestBody> {
        self.body.copy()
    }

    /// True when the whole request is still in our hands and can be sent again.
    pub fn is_whole_here(&self) -> bool {
        self.body.is_whole()
    }

    /// The head of the answer. Drives sending and receiving at once, because an answer may come early.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ExchangeError>> {
        self.poll_send(cx)?;
        loop {
            let connection = &mut self.connection;
            let taken = mainstay_wire::take_response_head(
                &mut connection.input,
                &mut connection.scan,
                &self.limits,
                &self.method,
            )?;
            if let Some(head) = taken {
                if head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(self.switched(head));
                }
                if head.status.is_informational() {
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Poll::Ready(Err(ExchangeError::Malformed("too many interim responses")));
                    }
                    continue;
                }
                if self.reached() == Reached::Nothing {
                    return Poll::Ready(Err(ExchangeError::Malformed("an answer before the request")));
                }
                self.keep_alive = head.keep_alive;
                self.has_head = true;
                self.decoder = Some(BodyDecoder::new(head.framing, Side::Response));
                return Poll::Ready(Ok(head));
            }
            match ready!(connection.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(ExchangeError::Reset)),
                Ok(_) => {}
            }
        }
    }

    /// The upstream speaks another protocol from here on: the one that was asked for, or the answer is malformed.
    fn switched(&mut self, head: ResponseHead) -> Result<ResponseHead, ExchangeError> {
        let agreed = self.upgrade.as_ref().is_some_and(|asked| upgrade::is_agreed(&head.headers, asked));
        if !agreed || self.reached() != Reached::Whole {
            return Err(ExchangeError::Malformed("a switch of protocols that nobody asked for"));
        }
        self.has_head = true;
        Ok(head)
    }

    /// The connection after a switch of protocols.
    pub fn into_switched(self) -> H1Connection {
        self.connection
    }

    /// Sends what can be sent. Errors only when the client's body fails; an upstream that takes no more bytes
    /// may still have answered, so that is found out by reading.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        while !self.write_failed {
            match self.poll_write(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => {
                    self.write_failed = true;
                    return Ok(());
                }
                Poll::Ready(Ok(())) if self.body_ended => return Ok(()),
                Poll::Ready(Ok(())) => {}
            }
            match self.body.poll_piece(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.end_body(),
                Poll::Ready(Some(Ok(piece))) => self.take_piece(piece),
                Poll::Ready(Some(Err(error))) => return Err(ExchangeError::Body(error)),
            }
        }
        Ok(())
    }

    fn take_piece(&mut self, piece: Piece) {
        // Trailers of requests are not passed on: no field is on the allow list yet.
        let Piece::Data(mut data) = piece else { return };
        if self.chunked {
            mainstay_wire::encode_chunk_start(&mut self.connection.output, data.len());
        }
        if data.len() <= COPY_BYTES_MAX {
            self.connection.output.extend_from_slice(&data);
            data.clear();
            if self.chunked {
                self.connection.output.extend_from_slice(mainstay_wire::CHUNK_END);
            }
        }
        self.extra = data;
    }

    fn end_body(&mut self) {
        self.body_ended = true;
        if self.chunked {
            self.connection.output.extend_from_slice(mainstay_wire::LAST_CHUNK);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let H1Connection { stream, output, .. } = &mut self.connection;
        while self.written < output.len() || !self.extra.is_empty() {
            let head = &output[self.written..];
            let n = if self.extra.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, head))?
            } else {
                let parts = [io::IoSlice::new(head), io::IoSlice::new(&self.extra)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &parts))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_bytes += n as u64;
            let of_head = n.min(output.len() - self.written);
            self.written += of_head;
            if n > of_head {
                self.extra.advance(n - of_head);
                if self.extra.is_empty() && self.chunked {
                    output.clear();
                    self.written = 0;
                    output.extend_from_slice(mainstay_wire::CHUNK_END);
                }
            }
        }
        // The head is kept until the answer begins, in case the connection turns out to be dead.
        if !self.body.is_empty() {
            output.clear();
            self.written = 0;
        }
        // Over TLS what was written may still lie in the session.
        Pin::new(stream).poll_flush(cx)
    }

    /// The next piece of the answer's body; `None` at its end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ExchangeError>>> {
        if !self.body_ended || self.written < self.connection.output.len() {
            // The rest of an early answered request still goes out, unless the client's body fails: then the
            // upstream has the answer's last word anyway.
            if self.poll_send(cx).is_err() {
                self.write_failed = true;
            }
        }
        loop {
            let Some(decoder) = &mut self.decoder else { return Poll::Ready(None) };
            match decoder.decode(&mut self.connection.input) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
                Ok(Decoded::Trailers(trailers)) => return Poll::Ready(Some(Ok(Piece::Trailers(trailers)))),
                Ok(Decoded::Done) => {
                    self.decoder = None;
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => {}
                Err(fault) => return Poll::Ready(Some(Err(ExchangeError::Malformed(fault.detail())))),
            }
            match ready!(self.connection.poll_read(cx)) {
                Ok(0) => match decoder.end_of_input() {
                    Ok(()) => {
                        self.decoder = None;
                        self.keep_alive = false;
                        return Poll::Ready(None);
                    }
                    Err(_) => return Poll::Ready(Some(Err(ExchangeError::Reset))),
                },
                Ok(_) => {}
                Err(_) => return Poll::Ready(Some(Err(ExchangeError::Reset))),
            }
        }
    }

    /// True once the head of the answer was taken.
    pub fn has_head(&self) -> bool {
        self.has_head
    }

    /// True when the answer has begun and has no more bytes.
    pub fn is_answered(&self) -> bool {
        self.has_head && self.decoder.as_ref().is_none_or(BodyDecoder::is_done)
    }

    /// The connection, if both sides are clean and it may serve again. Bytes after the end of an answer make it
    /// unusable: they would be read as the answer to somebody else's request.
    pub fn into_clean_connection(self) -> Option<H1Connection> {
        let clean = self.is_answered()
            && self.keep_alive
            && !self.write_failed
            && self.reached() == Reached::Whole
            && self.connection.input.is_empty();
        clean.then(|| {
            let mut connection = self.connection;
            connection.read_bytes = READ_BYTES;
            connection.output.clear();
            connection.output.shrink_to(OUTPUT_KEPT);
            if connection.input.capacity() > READ_BYTES_LARGE {
                connection.input = BytesMut::new();
            }
            connection
        })
    }
}

/// The length of an answer's body, where it is known.
pub fn known_length(framing: Framing) -> Option<u64> {
    match framing {
        Framing::None => Some(0),
        Framing::Length(n) => Some(n),
        Framing::Chunked | Framing::UntilClose => None,
    }
}
