//! The HTTP/1 wire format as pure functions and state machines over bytes. Of WebSocket and HTTP/2 it knows where a frame
//! begins ([`websocket`], [`http2`]).
//!
//! One parser reads what clients send and what upstreams answer; everything that goes out is written
//! anew by [`encode`], so bytes never pass from one side to the other as they came.
//!
//! Rules of this room:
//! - No I/O, no clock, no task. A caller appends bytes to a `BytesMut` and asks for the next thing.
//! - One interpretation. What two parsers could read in two ways is refused, never repaired.
//! - Each byte is looked at once, however the input is cut: progress lives in [`HeadScan`] and
//!   [`BodyDecoder`]. The verdict does not depend on the cuts.
//! - A refusal comes with the first byte that settles it. Its text never contains bytes of the peer.
//! - Every length has a limit: [`HeadLimits`] for heads, the constants in [`limits`] for the rest.
//! - Nothing is copied: header values, target and body data are slices of the buffer they arrived in.
//!
//! # What is refused
//!
//! In a request (the code is that of [`Refusal::code`]; the connection ends with the answer):
//!
//! | input | code | where it is written |
//! |---|---|---|
//! | bare CR or bare LF anywhere in a head or in chunk framing | `malformed_request` | RFC 9112 2.2, 7.1 |
//! | more than two empty lines before the request line, a space before the method | `malformed_request` | RFC 9112 2.2, 3 |
//! | a method that is no token or has a lower-case letter | `malformed_request` | RFC 9110 9.1 |
//! | a method of more than 32 bytes, CONNECT | `not_implemented` | RFC 9112 3, 3.2.3 |
//! | a version other than HTTP/1.1 and HTTP/1.0, no version | `malformed_request` | RFC 9112 2.3 |
//! | raw `#`, space, control or non-ASCII byte in the target; raw `"<>\^{}` or backtick in the path | `ambiguous_path` | RFC 9112 3.2, RFC 3986 3.3 |
//! | `*` without OPTIONS, authority-form, another scheme than http(s) | `malformed_request` | RFC 9112 3.2.3, 3.2.4 |
//! | a target over the limit | `uri_too_long` | RFC 9112 3 |
//! | field name that is no token, empty name, space before the colon, line without colon | `malformed_request` | RFC 9112 5, 5.1 |
//! | folded line, space before the first field | `malformed_request` | RFC 9112 2.2, 5.2 |
//! | NUL or another control byte (except HTAB) in a value | `malformed_request` | RFC 9110 5.5 |
//! | too many fields, too many bytes of head | `headers_too_large` | RFC 6585 5 |
//! | Host missing (1.1), twice, not `host[:port]`, unlike the absolute-form authority | `bad_host` | RFC 9112 3.2, RFC 9110 4.2.4, 7.2 |
//! | Content-Length that is not one plain decimal number below 2^64, or stands twice | `malformed_request` | RFC 9112 6.3 |
//! | Transfer-Encoding with Content-Length, in HTTP/1.0, twice, malformed, chunked not last | `malformed_request` | RFC 9112 6.1, 6.3 |
//! | any other transfer coding | `not_implemented` | RFC 9112 6.1 |
//! | the names `content_length` and `transfer_encoding` | `malformed_request` | read as framing by some CGI stacks |
//! | HTTP/1.0 POST, PUT or PATCH without Content-Length | `malformed_request` | RFC 1945 8.3 |
//! | an expectation other than 100-continue | `expectation_failed` | RFC 9110 10.1.1 |
//! | chunk size with sign, space, `0x`, more than 16 digits; no CRLF after the data | `malformed_request` | RFC 9112 7.1 |
//! | more than 4 KiB of chunk extensions in a body | `malformed_request` | RFC 9112 7.1.1 |
//!
//! Responses are read with the same strictness; every fault is a [`ResponseFault`]. Besides: a status
//! outside 100 to 599, framing of a body on 1xx and 204 (a length of 0 is tolerated and removed), any transfer
//! coding but a single `chunked`. Trailer fields that must not be trailers (RFC 9110 6.5.1) are dropped.

mod body;
mod class;
mod connection;
pub mod encode;
mod field;
mod framing;
mod host;
pub mod http2;
pub mod limits;
pub mod proxy_protocol;
mod refusal;
mod request;
mod response;
mod scan;
mod target;
mod text;
mod trailer;
pub mod websocket;

#[cfg(test)]
mod properties;

pub use body::{BodyDecoder, BodyFault, Decoded, Side};
pub use connection::connection_tokens;
pub use encode::{
    CHUNK_END, HEAD_END, LAST_CHUNK, encode_chunk_start, encode_field, encode_framing, encode_last_chunk,
    encode_request_line, encode_status_line,
};
pub use field::is_field_name;
pub use framing::Framing;
pub use host::Authority;
pub use limits::HeadLimits;
pub use refusal::{Refusal, ResponseFault};
pub use request::{RequestHead, take_request_head};
pub use response::{ResponseHead, take_response_head};
pub use scan::HeadScan;
pub use target::Target;
pub use text::Text;
pub use trailer::may_be_trailer;
