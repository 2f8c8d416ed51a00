//! How much of each thing is accepted: configured limits for heads, fixed ones for what no one configures.

/// Limits of one message head.
///
/// `head_bytes_max` counts from the first byte of the start line to the end of the empty line that ends
/// the head; `fields_max` counts field lines; `target_bytes_max` is for the request target as sent and is
/// not used for responses.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub head_bytes_max: usize,
    pub fields_max: usize,
    pub target_bytes_max: usize,
}

/// Longest method accepted. The longest registered one (UPDATEREDIRECTREF) has 17 bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// Empty lines ignored before a request line: clients exist that end a body with one (RFC 9112 2.2).
pub const EMPTY_LINES_MAX: u8 = 2;

/// Longest host name, as in the DNS.
pub const HOST_BYTES_MAX: usize = 255;

/// Hex digits of a chunk size: as many as an unsigned 64-bit number can have.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of chunk extensions accepted in one body, all chunks together.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the trailer section of one body, its last empty line included.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Fields of the trailer section of one body, those that are dropped included.
pub const TRAILER_FIELDS_MAX: usize = 32;
