//! Request heads: from the first byte of the method to the empty line.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{HeaderValue, Method};

use crate::class::{CR, LF, PATH, QUERY, SP, TOKEN};
use crate::field::{Span, build};
use crate::framing::{Framing, Noted};
use crate::host::Authority;
use crate::limits::{EMPTY_LINES_MAX, HeadLimits, METHOD_BYTES_MAX};
use crate::refusal::Refusal;
use crate::scan::{HeadScan, Stage, VERSION_PREFIX, is_exhausted, window_bytes};
use crate::target::{self, Target};

/// A request's head that has passed every check.
pub struct RequestHead {
    pub method: Method,
    pub target: Target,
    /// HTTP/1.0 rather than 1.1.
    pub http10: bool,
    /// All fields in the order they came, hop-by-hop ones and framing included. Values are slices of the head.
    pub headers: HeaderMap,
    /// Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client wants the connection to go on after the answer.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body. Only with a body, only in HTTP/1.1.
    pub expect_continue: bool,
    /// `Connection` names `upgrade` and there is an `Upgrade` field. Only in HTTP/1.1.
    pub upgrade: bool,
    /// Length of the head as it was received.
    pub head_bytes: usize,
}

/// Without the values of fields and the query: they may be secrets.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = f.debug_struct("RequestHead");
        head.field("method", &self.method).field("target", &self.target).field("http10", &self.http10);
        head.field("fields", &self.headers.len()).field("framing", &self.framing);
        head.field("keep_alive", &self.keep_alive).field("expect_continue", &self.expect_continue);
        head.field("upgrade", &self.upgrade).field("head_bytes", &self.head_bytes).finish()
    }
}

/// Takes a complete request head off the front of `buf`; `None` until there is one.
///
/// What follows the head stays in `buf`. Empty lines before the request line are removed at once.
///
/// # Errors
/// A [`Refusal`] as soon as the bytes settle it, often before the head is complete. The caller answers it
/// and closes the connection; further calls with the same `scan` are refused.
pub fn take_request_head(
    buf: &mut BytesMut,
    scan: &mut HeadScan,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, Refusal> {
    let taken = take(buf, scan, limits);
    if taken.is_err() {
        scan.refuse();
    }
    taken
}

fn take(
    buf: &mut BytesMut,
    scan: &mut HeadScan,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, Refusal> {
    if scan.stage == Stage::Idle && !skip_empty_lines(buf, scan)? {
        return Ok(None);
    }
    let window = window_bytes(buf.len(), limits.head_bytes_max);
    let complete = scan.at <= window && advance(scan, &buf[..window], limits)?;
    if !complete {
        if is_exhausted(window, limits.head_bytes_max) {
            return Err(Refusal::TooLarge("The request head is longer than this server accepts."));
        }
        return Ok(None);
    }
    let head = buf.split_to(scan.at).freeze();
    let request = assemble(&head, scan)?;
    scan.reset();
    Ok(Some(request))
}

/// Removes empty lines from the front; true when a request line begins.
fn skip_empty_lines(buf: &mut BytesMut, scan: &mut HeadScan) -> Result<bool, Refusal> {
    loop {
        match buf[..] {
            [] => return Ok(false),
            [CR, ..] if scan.empty_lines >= EMPTY_LINES_MAX => {
                return Err(Refusal::Malformed("There are too many empty lines before the request line."));
            }
            [CR] => return Ok(false),
            [CR, LF, ..] => {
                buf.advance(2);
                scan.empty_lines += 1;
            }
            [CR, ..] => {
                return Err(Refusal::Malformed("A carriage return stands alone before the request line."));
            }
            [LF, ..] => {
                return Err(Refusal::Malformed("A bare line feed stands before the request line."));
            }
            _ => {
                scan.stage = Stage::Method;
                return Ok(true);
            }
        }
    }
}

/// Walks over new bytes; true when the head is complete.
fn advance(scan: &mut HeadScan, window: &[u8], limits: &HeadLimits) -> Result<bool, Refusal> {
    loop {
        let stage_done = match scan.stage {
            Stage::Method => method(scan, window)?,
            Stage::Path | Stage::Query => request_target(scan, window, limits.target_bytes_max)?,
            Stage::Version => version(scan, window)?,
            Stage::Fields => return Ok(scan.fields.advance(window, &mut scan.at, limits.fields_max)?),
            Stage::Idle | Stage::Status | Stage::Reason | Stage::StatusLineFeed | Stage::Refused => {
                return Err(Refusal::Malformed("The connection already carried a request that was refused."));
            }
        };
        if !stage_done {
            return Ok(false);
        }
    }
}

fn method(scan: &mut HeadScan, window: &[u8]) -> Result<bool, Refusal> {
    let look_until = window.len().min(METHOD_BYTES_MAX + 1);
    scan.at += TOKEN.run(&window[scan.at..look_until]);
    if scan.at > METHOD_BYTES_MAX {
        return Err(Refusal::NotImplemented("The method is longer than any this server knows."));
    }
    match window.get(scan.at) {
        None => return Ok(false),
        Some(&SP) if scan.at > 0 => {}
        Some(&byte) => return Err(Refusal::Malformed(not_a_method(byte, scan.at))),
    }
    let method = &window[..scan.at];
    if method.iter().any(u8::is_ascii_lowercase) {
        return Err(Refusal::Malformed("The method has a lower-case letter."));
    }
    if method == b"CONNECT" {
        return Err(Refusal::NotImplemented("This server opens no tunnels."));
    }
    scan.line.method_end = scan.at;
    scan.at += 1;
    scan.stage = Stage::Path;
    Ok(true)
}

fn not_a_method(byte: u8, at: usize) -> &'static str {
    match (byte, at) {
        (0x16, 0) => "The bytes look like a TLS handshake, and this port does not speak TLS.",
        (SP, 0) => "There is a space before the method.",
        (CR | LF, _) => "The request line has only one word.",
        _ => "The method has a byte that cannot stand in a method.",
    }
}

fn request_target(scan: &mut HeadScan, window: &[u8], target_bytes_max: usize) -> Result<bool, Refusal> {
    let start = scan.line.method_end + 1;
    if scan.at == start {
        match window.get(start) {
            None => return Ok(false),
            Some(&byte) if !target::may_begin(byte) => return Err(target::bad_beginning(byte)),
            Some(_) => {}
        }
    }
    // One byte more than allowed: it may be the space after the target. Never less than was looked at before,
    // should the limit have become smaller since.
    let look_until = window.len().min(start.saturating_add(target_bytes_max).saturating_add(1)).max(scan.at);
    let class = if scan.stage == Stage::Path { &PATH } else { &QUERY };
    scan.at += class.run(&window[scan.at..look_until]);
    if scan.at - start > target_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    match window.get(scan.at) {
        None => return Ok(false),
        Some(b'?') => {
            scan.line.query_mark = Some(scan.at);
            scan.stage = Stage::Query;
        }
        Some(&SP) => {
            scan.line.target_end = scan.at;
            target::check_form(window, &mut scan.line)?;
            scan.stage = Stage::Version;
        }
        Some(&byte) => return Err(target::forbidden(byte)),
    }
    scan.at += 1;
    Ok(true)
}

fn version(scan: &mut HeadScan, window: &[u8]) -> Result<bool, Refusal> {
    let start = scan.line.target_end + 1;
    while let Some(&byte) = window.get(scan.at) {
        let place = scan.at - start;
        let as_expected = match place {
            0..7 => byte == VERSION_PREFIX[place],
            7 => {
                scan.line.http10 = byte == b'0';
                byte == b'0' || byte == b'1'
            }
            8 => byte == CR,
            _ => byte == LF,
        };
        if !as_expected {
            return Err(not_a_version(byte, place));
        }
        scan.at += 1;
        if place == 9 {
            scan.stage = Stage::Fields;
            return Ok(true);
        }
    }
    Ok(false)
}

fn not_a_version(byte: u8, place: usize) -> Refusal {
    match (place, byte) {
        (0, CR | LF) => Refusal::Malformed("The request line has no version."),
        (0, b'h') | (1..8, _) => Refusal::Malformed("The version is neither HTTP/1.1 nor HTTP/1.0."),
        // Something else than a version begins after the space, so the space is part of what was meant as target.
        (0, _) => target::forbidden(SP),
        (8, LF) => Refusal::Malformed("The request line ends with a bare line feed."),
        (8, _) => Refusal::Malformed("The request line goes on after the version."),
        _ => Refusal::Malformed("A carriage return stands alone after the version."),
    }
}

/// Weighs the fields of a complete head. What makes the end of the message doubtful is refused first.
fn assemble(head: &Bytes, scan: &HeadScan) -> Result<RequestHead, Refusal> {
    let line = &scan.line;
    let http10 = line.http10;
    let method = Method::from_bytes(&head[..line.method_end])
        .map_err(|_| Refusal::Malformed("The method has a byte that cannot stand in a method."))?;
    let mut noted = Noted::default();
    let mut hosts: (Option<Span>, usize) = (None, 0);
    let mut headers = build(head, scan.fields.found(), |name, value, field| {
        if *name == header::HOST {
            hosts = (Some(field.value), hosts.1 + 1);
        } else {
            noted.note(name, value).map_err(Refusal::Malformed)?;
        }
        Ok::<bool, Refusal>(true)
    })?;
    noted.normalise(&mut headers);
    let framing = noted.request(&method, http10)?;
    if hosts.1 > 1 {
        return Err(Refusal::Host("Host stands twice."));
    }
    let authority = authority(head, line.authority, hosts.0, http10)?;
    let expects = expects_continue(&headers)?;
    Ok(RequestHead {
        target: target::cut(head, line, &method, authority),
        method,
        http10,
        headers,
        framing,
        keep_alive: noted.persistent(http10),
        expect_continue: expects && !http10 && framing.has_body(),
        upgrade: noted.upgrade(http10),
        head_bytes: head.len(),
    })
}

/// The authority that counts: that of absolute-form, which Host must repeat (RFC 9112 3.2.2).
fn authority(
    head: &Bytes,
    in_target: Option<Span>,
    host: Option<Span>,
    http10: bool,
) -> Result<Option<Authority>, Refusal> {
    let host = host.map(|value| Authority::parse(value.slice(head))).transpose()?;
    let in_target = in_target.map(|span| Authority::checked(span.slice(head)));
    match (in_target, host) {
        (_, None) if !http10 => Err(Refusal::Host("Host is missing.")),
        (Some(in_target), Some(host)) if in_target != host => {
            Err(Refusal::Host("Host differs from the authority of the request target."))
        }
        (Some(in_target), _) => Ok(Some(in_target)),
        (None, host) => Ok(host),
    }
}

fn expects_continue(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut values = headers.get_all(header::EXPECT).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(Refusal::Expectation),
    }
}

#[cfg(test)]
mod tests;
