//! Response heads: from the first byte of the status line to the empty line.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use crate::class::{CR, LF, SP, value_run};
use crate::field::build;
use crate::framing::{Framing, Noted};
use crate::limits::HeadLimits;
use crate::refusal::ResponseFault;
use crate::scan::{HeadScan, Stage, VERSION_PREFIX, is_exhausted, window_bytes};

/// A response's head that has passed every check.
pub struct ResponseHead {
    pub status: StatusCode,
    /// HTTP/1.0 rather than 1.1.
    pub http10: bool,
    /// All fields in the order they came, hop-by-hop ones and framing included. Values are slices of the head.
    pub headers: HeaderMap,
    pub framing: Framing,
    /// Whether the connection may be used again once the body has ended. False with [`Framing::UntilClose`].
    pub keep_alive: bool,
    /// Length of the head as it was received.
    pub head_bytes: usize,
}

/// Without the values of fields: they may be secrets.
impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = f.debug_struct("ResponseHead");
        head.field("status", &self.status).field("http10", &self.http10);
        head.field("fields", &self.headers.len()).field("framing", &self.framing);
        head.field("keep_alive", &self.keep_alive).field("head_bytes", &self.head_bytes).finish()
    }
}

/// Takes a complete response head off the front of `buf`; `None` until there is one.
///
/// `request_method` is that of the request it answers: the answer to HEAD has no body. Interim responses
/// (1xx) are returned like others, with [`Framing::None`]; the caller counts and skips them, except 101, after
/// which the connection speaks another protocol. `limits.target_bytes_max` is not used.
///
/// # Errors
/// A [`ResponseFault`] as soon as the bytes settle it. The connection must be closed; further calls with the
/// same `scan` fail.
pub fn take_response_head(
    buf: &mut BytesMut,
    scan: &mut HeadScan,
    limits: &HeadLimits,
    request_method: &Method,
) -> Result<Option<ResponseHead>, ResponseFault> {
    let taken = take(buf, scan, limits, request_method);
    if taken.is_err() {
        scan.refuse();
    }
    taken
}

fn take(
    buf: &mut BytesMut,
    scan: &mut HeadScan,
    limits: &HeadLimits,
    request_method: &Method,
) -> Result<Option<ResponseHead>, ResponseFault> {
    if scan.stage == Stage::Idle && !buf.is_empty() {
        scan.stage = Stage::Status;
    }
    let window = window_bytes(buf.len(), limits.head_bytes_max);
    let complete = scan.at <= window && advance(scan, &buf[..window], limits.fields_max)?;
    if !complete {
        if is_exhausted(window, limits.head_bytes_max) {
            return Err(ResponseFault::TooLarge("The response head is longer than accepted."));
        }
        return Ok(None);
    }
    let head = buf.split_to(scan.at).freeze();
    let response = assemble(&head, scan, request_method)?;
    scan.reset();
    Ok(Some(response))
}

/// Walks over new bytes; true when the head is complete.
fn advance(scan: &mut HeadScan, window: &[u8], fields_max: usize) -> Result<bool, ResponseFault> {
    loop {
        let stage_done = match scan.stage {
            Stage::Idle => return Ok(false),
            Stage::Status => status(scan, window)?,
            Stage::Reason => reason(scan, window)?,
            Stage::StatusLineFeed => line_feed(scan, window)?,
            Stage::Fields => return Ok(scan.fields.advance(window, &mut scan.at, fields_max)?),
            Stage::Method | Stage::Path | Stage::Query | Stage::Version | Stage::Refused => {
                return Err(ResponseFault::Malformed("The connection already carried an unusable response."));
            }
        };
        if !stage_done {
            return Ok(false);
        }
    }
}

/// `HTTP/1.x SP 3DIGIT` and the byte after it.
fn status(scan: &mut HeadScan, window: &[u8]) -> Result<bool, ResponseFault> {
    while let Some(&byte) = window.get(scan.at) {
        let line = &mut scan.line;
        match scan.at {
            place @ 0..7 if byte == VERSION_PREFIX[place] => {}
            7 if byte == b'0' || byte == b'1' => line.http10 = byte == b'0',
            0..8 => {
                return Err(ResponseFault::Malformed(
                    "The response does not begin with HTTP/1.1 or HTTP/1.0.",
                ));
            }
            8 if byte == SP => {}
            8 => return Err(ResponseFault::Malformed("There is no space after the version.")),
            9 if matches!(byte, b'1'..=b'5') => line.status = u16::from(byte - b'0'),
            10 | 11 if byte.is_ascii_digit() => line.status = line.status * 10 + u16::from(byte - b'0'),
            9..12 => return Err(ResponseFault::Malformed("The status is not a number from 100 to 599.")),
            _ if byte == SP => scan.stage = Stage::Reason,
            _ if byte == CR => scan.stage = Stage::StatusLineFeed,
            _ => {
                return Err(ResponseFault::Malformed(
                    "Neither a space nor the end of line follows the status.",
                ));
            }
        }
        scan.at += 1;
        if scan.stage != Stage::Status {
            return Ok(true);
        }
    }
    Ok(false)
}

fn reason(scan: &mut HeadScan, window: &[u8]) -> Result<bool, ResponseFault> {
    scan.at += value_run(&window[scan.at..]);
    match window.get(scan.at) {
        None => Ok(false),
        Some(&CR) => {
            scan.at += 1;
            scan.stage = Stage::StatusLineFeed;
            Ok(true)
        }
        Some(&LF) => Err(ResponseFault::Malformed("The status line ends with a bare line feed.")),
        Some(_) => Err(ResponseFault::Malformed("The reason phrase has a control byte.")),
    }
}

fn line_feed(scan: &mut HeadScan, window: &[u8]) -> Result<bool, ResponseFault> {
    match window.get(scan.at) {
        None => Ok(false),
        Some(&LF) => {
            scan.at += 1;
            scan.stage = Stage::Fields;
            Ok(true)
        }
        Some(_) => Err(ResponseFault::Malformed("A carriage return stands alone in the status line.")),
    }
}

fn assemble(head: &Bytes, scan: &HeadScan, request_method: &Method) -> Result<ResponseHead, ResponseFault> {
    let http10 = scan.line.http10;
    let status = StatusCode::from_u16(scan.line.status)
        .map_err(|_| ResponseFault::Malformed("The status is not a number from 100 to 599."))?;
    let mut noted = Noted::default();
    let mut headers = build(head, scan.fields.found(), |name, value, _| {
        noted.note(name, value).map_err(ResponseFault::Malformed)?;
        Ok::<bool, ResponseFault>(true)
    })?;
    noted.normalise(&mut headers);
    let framing = noted.response(status, request_method, http10)?;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // RFC 9110 8.6 forbids it here. Only a 0 gets this far, and it must not travel on.
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(ResponseHead {
        status,
        http10,
        headers,
        framing,
        keep_alive: noted.persistent(http10) && framing != Framing::UntilClose,
        head_bytes: head.len(),
    })
}

#[cfg(test)]
mod tests;
