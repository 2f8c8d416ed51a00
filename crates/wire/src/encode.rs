//! Everything that is sent, in its one canonical spelling: HTTP/1.1, lower-case names, CRLF.
//!
//! Functions append to a `Vec<u8>` or `BytesMut`. No input can break out of its place: methods, names,
//! values and statuses are types that cannot hold a line end, and a target is escaped where needed.

use bytes::BufMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::class::QUERY;
use crate::framing::Framing;
use crate::trailer::may_be_trailer;

/// Ends a head, after its last field.
pub const HEAD_END: &[u8] = b"\r\n";

/// Stands after the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a request line. `target` is a path with or without query, or `*`.
///
/// A byte that cannot stand in a target (space, control, `#`, non-ASCII) is percent-encoded, so that whatever
/// a caller puts together stays one target; an empty target becomes `/`.
pub fn encode_request_line(out: &mut impl BufMut, method: &Method, target: &str) {
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    if target.is_empty() {
        out.put_u8(b'/');
    }
    let mut rest = target.as_bytes();
    while !rest.is_empty() {
        let (good, others) = rest.split_at(QUERY.run(rest));
        out.put_slice(good);
        rest = others;
        if let [byte, others @ ..] = others {
            put_escaped(out, *byte);
            rest = others;
        }
    }
    out.put_slice(b" HTTP/1.1\r\n");
}

fn put_escaped(out: &mut impl BufMut, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.put_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Appends a status line with the registered reason phrase, or with none.
pub fn encode_status_line(out: &mut impl BufMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// Appends one field line.
pub fn encode_field(out: &mut impl BufMut, name: &HeaderName, value: &HeaderValue) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

/// Appends the one field that frames the body; nothing where no field is needed. Fields of the received
/// message that frame it must not be sent beside it.
pub fn encode_framing(out: &mut impl BufMut, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            let mut digits = [0u8; 20];
            out.put_slice(b"content-length: ");
            out.put_slice(write_number(&mut digits, length, 10));
            out.put_slice(b"\r\n");
        }
    }
}

/// Appends the size line of a chunk of `len` bytes; the data and [`CHUNK_END`] follow it.
///
/// `len` must not be 0, which would end the body: a caller skips empty data. Nothing is written for it.
pub fn encode_chunk_start(out: &mut impl BufMut, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    if len > 0 {
        let mut digits = [0u8; 20];
        out.put_slice(write_number(&mut digits, len as u64, 16));
        out.put_slice(b"\r\n");
    }
}

/// Ends a chunked body with its trailers. Fields that may not be trailers are left out.
pub fn encode_last_chunk(out: &mut impl BufMut, trailers: &HeaderMap) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_be_trailer(name)) {
        encode_field(out, name, value);
    }
    out.put_slice(b"\r\n");
}

/// Writes a number to the end of `digits` and returns that part.
fn write_number(digits: &mut [u8; 20], mut number: u64, base: u64) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_target_cannot_break_out_of_its_line() {
        for (target, sent) in [
            ("/a?b=c", "/a?b=c"),
            ("*", "*"),
            ("", "/"),
            ("/a b", "/a%20b"),
            ("/a HTTP/1.1\r\nX: y\r\n\r\n", "/a%20HTTP/1.1%0D%0AX:%20y%0D%0A%0D%0A"),
            ("/#\0\u{7f}\u{e9}", "/%23%00%7F%C3%A9"),
        ] {
            let line = written(|out| encode_request_line(out, &Method::GET, target));
            assert_eq!(line, format!("GET {sent} HTTP/1.1\r\n"));
        }
    }

    #[test]
    fn canonical_spellings() {
        let status = |code| written(|out| encode_status_line(out, StatusCode::from_u16(code).unwrap()));
        assert_eq!(status(404), "HTTP/1.1 404 Not Found\r\n");
        assert_eq!(status(599), "HTTP/1.1 599 \r\n");
        let framing = |framing| written(|out| encode_framing(out, framing));
        assert_eq!(framing(Framing::Length(0)), "content-length: 0\r\n");
        assert_eq!(framing(Framing::Length(u64::MAX)), "content-length: 18446744073709551615\r\n");
        assert_eq!(framing(Framing::Chunked), "transfer-encoding: chunked\r\n");
        assert_eq!(framing(Framing::None), "");
        assert_eq!(framing(Framing::UntilClose), "");
        assert_eq!(written(|out| encode_chunk_start(out, 1)), "1\r\n");
        assert_eq!(written(|out| encode_chunk_start(out, usize::MAX)), "ffffffffffffffff\r\n");
    }

    #[test]
    fn trailers_are_filtered_on_the_way_out_too() {
        let mut trailers = HeaderMap::new();
        for name in ["content-length", "server-timing", "host", "x-user-id"] {
            trailers.append(name, HeaderValue::from_static("1"));
        }
        assert_eq!(written(|out| encode_last_chunk(out, &trailers)), "0\r\nserver-timing: 1\r\n\r\n");
        assert_eq!(written(|out| encode_last_chunk(out, &HeaderMap::new())).as_bytes(), LAST_CHUNK);
    }
}
