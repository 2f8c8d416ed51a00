//! JSON and numbers written straight into a byte buffer.

use std::io::Write as _;
use std::net::IpAddr;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What RFC 8259 section 7 wants escaped.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// A JSON string with its quotes.
#[inline]
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_chars(out, text);
    out.push(b'"');
}

/// What stands between the quotes of a JSON string.
#[inline]
pub(super) fn push_chars(out: &mut Vec<u8>, text: &str) {
    // Without an early exit the scan is a few vector instructions; nearly every value is plain.
    if text.bytes().fold(false, |special, byte| special | is_special(byte)) {
        push_escaped(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cold]
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte if byte < 0x20 => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            byte => out.push(byte),
        }
    }
}

#[inline]
pub(crate) fn push_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Microseconds as milliseconds with three decimals.
#[inline]
pub(crate) fn push_ms(out: &mut Vec<u8>, us: u64) {
    push_u64(out, us / 1000);
    let [a, b, c] = three_digits((us % 1000) as u16);
    out.extend_from_slice(&[b'.', a, b, c]);
}

/// A number below 1000 with its leading zeros.
#[inline]
pub(crate) const fn three_digits(n: u16) -> [u8; 3] {
    [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

/// An address without quotes.
#[inline]
pub(crate) fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                push_u64(out, octet.into());
            }
        }
        IpAddr::V6(address) => push_display(out, format_args!("{address}")),
    }
}

/// A finite number; JSON has no others, so they become `null`.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_display(out, format_args!("{value}"));
    } else {
        out.extend_from_slice(b"null");
    }
}

pub(crate) fn push_display(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}
