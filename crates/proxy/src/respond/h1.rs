//! An answer in the form of HTTP/1.1: framing is decided here and written once.

use std::cell::RefCell;
use std::io::Write as _;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http::response::Parts;

use super::body::OutBody;

/// How a client can tell where the body ends (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutFraming {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// When the connection closes: for clients of HTTP/1.0.
    UntilClose,
}

/// Pieces up to this size are copied behind what waits to be written, so that they leave in one write.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// How this answer's body is framed.
pub fn framing(head: &Parts, body: &OutBody, http10: bool, head_only: bool) -> OutFraming {
    if head_only || matches!(head.status.as_u16(), 101 | 204 | 304) {
        return OutFraming::None;
    }
    match body.length() {
        Some(length) => OutFraming::Length(length),
        None if http10 => OutFraming::UntilClose,
        None => OutFraming::Chunked,
    }
}

/// Writes status line and fields.
pub fn head(out: &mut Vec<u8>, head: &Parts, framing: OutFraming, keep_alive: bool, http10: bool) {
    mainstay_wire::encode_status_line(out, head.status);
    for (name, value) in &head.headers {
        if !is_framing(name, framing) {
            mainstay_wire::encode_field(out, name, value);
        }
    }
    match framing {
        OutFraming::None | OutFraming::UntilClose => {}
        OutFraming::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        OutFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    } else if http10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if !head.headers.contains_key(header::DATE) {
        out.extend_from_slice(b"date: ");
        write_date(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// An answer without a body keeps its `Content-Length`: it says how long the body would be (RFC 9110, 8.6).
fn is_framing(name: &HeaderName, framing: OutFraming) -> bool {
    *name == header::TRANSFER_ENCODING
        || *name == header::CONNECTION
        || (*name == header::CONTENT_LENGTH && framing != OutFraming::None)
}

/// Adds a piece; what is too large to be copied comes back to be written from where it is.
pub fn piece(out: &mut Vec<u8>, data: Bytes, framing: OutFraming) -> Bytes {
    if framing == OutFraming::Chunked {
        mainstay_wire::encode_chunk_start(out, data.len());
        // The end of a chunk stands behind it, so a chunk is always copied; upstream reads bound its size.
        out.extend_from_slice(&data);
        out.extend_from_slice(mainstay_wire::CHUNK_END);
        return Bytes::new();
    }
    if data.len() <= COPY_BYTES_MAX {
        out.extend_from_slice(&data);
        return Bytes::new();
    }
    data
}

/// Ends the body, with trailers where there are any and the framing has a place for them.
pub fn end(out: &mut Vec<u8>, framing: OutFraming, trailers: Option<&HeaderMap>) {
    match (framing, trailers) {
        (OutFraming::Chunked, Some(trailers)) => mainstay_wire::encode_last_chunk(out, trailers),
        (OutFraming::Chunked, None) => out.extend_from_slice(mainstay_wire::LAST_CHUNK),
        _ => {}
    }
}

thread_local! {
    /// The date changes once a second, so it is formatted once a second.
    static DATE: RefCell<(i64, [u8; 29])> = const { RefCell::new((i64::MIN, [b' '; 29])) };
}

fn write_date(out: &mut Vec<u8>) {
    let now_s = mainstay_core::clock::Clock::System.now().seconds();
    DATE.with_borrow_mut(|(at, text)| {
        if *at != now_s {
            let since = std::time::Duration::from_secs(now_s.max(0) as u64);
            let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + since);
            let _ = (&mut text[..]).write_all(date.as_bytes());
            *at = now_s;
        }
        out.extend_from_slice(&text[..]);
    });
}
