//! Bodies: cuts data out of the received bytes without copying, and finds where the body ends.
//!
//! Chunks are a state machine over single bytes of framing, so that input may be cut anywhere. Each state
//! says what the next byte must be; data passes through as slices. After a fault nothing more comes out: the
//! place where the next message begins is not known any more.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use crate::class::{CR, LF, value_run};
use crate::field::{FieldScan, build};
use crate::framing::Framing;
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX,
};
use crate::refusal::FieldFault;
use crate::trailer::may_be_trailer;

/// Who sent the body. It decides what a fault is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The body of a client's request.
    Request,
    /// The body of an upstream's response.
    Response,
}

/// What came out of the received bytes.
#[derive(Debug)]
pub enum Decoded {
    /// Data of the body, never empty.
    Data(Bytes),
    /// The trailer section, without what must not be in one. Comes once, after all data, only if not empty.
    Trailers(HeaderMap),
    /// The body has ended; what is left in the buffer is not part of it.
    Done,
    /// All received bytes are used up.
    NeedMore,
}

/// Why a body cannot be read to its end. Its connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyFault {
    side: Side,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Malformed(&'static str),
    TooLarge(&'static str),
    Truncated,
}

impl BodyFault {
    /// The problem code, as in the table of problems.
    pub fn code(&self) -> &'static str {
        match (self.side, self.kind) {
            (Side::Request, Kind::Malformed(_) | Kind::Truncated) => "malformed_request",
            (Side::Request, Kind::TooLarge(_)) => "headers_too_large",
            (Side::Response, Kind::Malformed(_)) => "upstream_malformed",
            (Side::Response, Kind::TooLarge(_)) => "upstream_too_large",
            (Side::Response, Kind::Truncated) => "upstream_reset",
        }
    }

    /// A sentence that says what exactly is wrong.
    pub fn detail(&self) -> &'static str {
        match self.kind {
            Kind::Malformed(detail) | Kind::TooLarge(detail) => detail,
            Kind::Truncated => "The connection was closed before the body was complete.",
        }
    }

    /// Whether the peer just went away, having sent nothing wrong.
    pub fn is_truncated(&self) -> bool {
        self.kind == Kind::Truncated
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for BodyFault {}

#[derive(Clone, Copy, Debug)]
enum State {
    /// `left` bytes of a body of known length.
    Length,
    UntilClose,
    /// Digits of a chunk's size; `left` is the number so far.
    Size {
        digits: u8,
    },
    Extension,
    SizeLineFeed,
    /// `left` bytes of a chunk.
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    Done,
    Failed(Kind),
}

/// Finds the end of one body. One is made for each message.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    side: Side,
    left: u64,
    extension_bytes_left: usize,
    trailers: FieldScan,
    trailers_at: usize,
}

impl BodyDecoder {
    /// A decoder at the first byte of the body. For a request [`Framing::UntilClose`] means no body, as no
    /// request can have such a one.
    pub fn new(framing: Framing, side: Side) -> Self {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size { digits: 0 }, 0),
            Framing::UntilClose if side == Side::Request => (State::Done, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        let extension_bytes_left = CHUNK_EXTENSION_BYTES_MAX;
        Self { state, side, left, extension_bytes_left, trailers: FieldScan::default(), trailers_at: 0 }
    }

    /// Whether the body has ended well: the connection is at the beginning of the next message.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes that are still to come, where that is known (length framing).
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length => Some(self.left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes what can be taken from `buf` without copying. Call again until it says [`Decoded::NeedMore`] or
    /// [`Decoded::Done`]; bytes after the end of the body are never touched.
    ///
    /// # Errors
    /// Framing that is wrong or over a limit. Data returned before it stands, but the body is not whole: what
    /// it was forwarded to must be aborted, not completed. The same fault is returned from then on.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyFault> {
        let decoded = self.step(buf);
        if let Err(kind) = decoded {
            self.state = State::Failed(kind);
        }
        decoded.map_err(|kind| BodyFault { side: self.side, kind })
    }

    /// The peer closed its side. Good news only for a body that ends so, or has ended.
    ///
    /// # Errors
    /// The body is not complete, or was faulty before.
    pub fn end_of_input(&mut self) -> Result<(), BodyFault> {
        let kind = match self.state {
            State::Done => return Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                return Ok(());
            }
            State::Failed(kind) => kind,
            _ => Kind::Truncated,
        };
        self.state = State::Failed(kind);
        Err(BodyFault { side: self.side, kind })
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Decoded, Kind> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::Done),
                State::Failed(kind) => return Err(kind),
                State::Length => return Ok(self.data(buf, State::Done)),
                State::Data => return Ok(self.data(buf, State::DataReturn)),
                State::UntilClose if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
                State::Trailers => return self.trailers(buf),
                State::Size { .. }
                | State::Extension
                | State::SizeLineFeed
                | State::DataReturn
                | State::DataLineFeed => {
                    if !self.chunk_framing(buf).map_err(Kind::Malformed)? {
                        return Ok(Decoded::NeedMore);
                    }
                }
            }
        }
    }

    fn data(&mut self, buf: &mut BytesMut, after: State) -> Decoded {
        if buf.is_empty() {
            return Decoded::NeedMore;
        }
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        self.left -= take as u64;
        if self.left == 0 {
            self.state = after;
        }
        Decoded::Data(buf.split_to(take).freeze())
    }

    /// Consumes the bytes between chunks; true when data or trailers are due.
    fn chunk_framing(&mut self, buf: &mut BytesMut) -> Result<bool, &'static str> {
        let mut at = 0;
        while let Some(&byte) = buf.get(at) {
            match self.state {
                State::Size { digits } => self.size(byte, digits)?,
                State::Extension => {
                    let run = value_run(&buf[at..]);
                    self.extension_bytes_left = self
                        .extension_bytes_left
                        .checked_sub(run)
                        .ok_or("The chunk extensions are longer than accepted.")?;
                    at += run;
                    match buf.get(at) {
                        None => break,
                        Some(&CR) => self.state = State::SizeLineFeed,
                        Some(&LF) => return Err("A chunk size line ends with a bare line feed."),
                        Some(_) => return Err("A chunk extension has a control byte."),
                    }
                }
                State::SizeLineFeed if byte != LF => {
                    return Err("A carriage return stands alone after a chunk size.");
                }
                State::SizeLineFeed => {
                    self.state = if self.left == 0 { State::Trailers } else { State::Data }
                }
                State::DataReturn if byte == CR => self.state = State::DataLineFeed,
                State::DataLineFeed if byte == LF => self.state = State::Size { digits: 0 },
                State::DataReturn | State::DataLineFeed => {
                    return Err("The data of a chunk is not followed by CR LF.");
                }
                State::Length
                | State::UntilClose
                | State::Data
                | State::Trailers
                | State::Done
                | State::Failed(_) => break,
            }
            at += 1;
        }
        buf.advance(at);
        Ok(matches!(self.state, State::Data | State::Trailers))
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<(), &'static str> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(_), _) if digits == CHUNK_SIZE_DIGITS_MAX => {
                return Err("A chunk size has too many digits.");
            }
            (Some(digit), _) => {
                // At most 16 digits: nothing is shifted out.
                self.left = self.left << 4 | u64::from(digit);
                self.state = State::Size { digits: digits + 1 };
            }
            (None, CR | b';' | LF) if digits == 0 => return Err("A chunk size is missing."),
            (None, CR) => self.state = State::SizeLineFeed,
            (None, b';') => self.state = State::Extension,
            (None, LF) => return Err("A chunk size line ends with a bare line feed."),
            (None, _) => return Err("A chunk size is not a plain hexadecimal number."),
        }
        Ok(())
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Decoded, Kind> {
        let window = buf.len().min(TRAILER_BYTES_MAX);
        if !self
            .trailers
            .advance(&buf[..window], &mut self.trailers_at, TRAILER_FIELDS_MAX)
            .map_err(kind_of)?
        {
            if window == TRAILER_BYTES_MAX {
                return Err(Kind::TooLarge("The trailer section is longer than accepted."));
            }
            return Ok(Decoded::NeedMore);
        }
        let section = buf.split_to(self.trailers_at).freeze();
        let fields =
            build(&section, self.trailers.found(), |name, _, _| Ok::<_, FieldFault>(may_be_trailer(name)))
                .map_err(kind_of)?;
        self.state = State::Done;
        Ok(if fields.is_empty() { Decoded::Done } else { Decoded::Trailers(fields) })
    }
}

fn kind_of(fault: FieldFault) -> Kind {
    match fault {
        FieldFault::Malformed(detail) => Kind::Malformed(detail),
        FieldFault::TooLarge(detail) => Kind::TooLarge(detail),
    }
}

#[cfg(test)]
mod tests;
