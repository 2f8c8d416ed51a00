//! One spelling for each path.

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused. The sentence never repeats what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRefusal(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoSlash,
    DotSegment,
    EscapedSlash,
    Backslash,
    Control,
    NonAscii,
    InvalidUtf8,
    InvalidEscape,
    Fragment,
    Query,
}

impl PathRefusal {
    /// A sentence that says what is ambiguous, for the client.
    pub fn detail(&self) -> &'static str {
        match self.0 {
            Reason::NoSlash => "The path does not begin with a slash.",
            Reason::DotSegment => {
                "The path has a segment `.` or `..`, plain or escaped; send the path it stands for."
            }
            Reason::EscapedSlash => "The path has an escaped slash, which servers read in different ways.",
            Reason::Backslash => {
                "The path has a backslash, plain or escaped, which some servers read as a slash."
            }
            Reason::Control => "The path has a control character, plain or escaped.",
            Reason::NonAscii => "The path has characters outside ASCII that are not percent-encoded.",
            Reason::InvalidUtf8 => "The escapes in the path are not valid UTF-8.",
            Reason::InvalidEscape => {
                "The path has a `%` that two hexadecimal digits do not follow; write `%25`."
            }
            Reason::Fragment => {
                "The path has a `#`; fragments are not sent to servers, and as data it is `%23`."
            }
            Reason::Query => "The path has a `?` of its own; as data it is `%3F`.",
        }
    }
}

impl fmt::Display for PathRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for PathRefusal {}

/// What a byte means in a path.
#[derive(Clone, Copy)]
enum Class {
    /// Stands for itself.
    Plain,
    /// As plain, but may make a dot segment.
    Dot,
    Percent,
    /// Printable, but no character of a path (RFC 3986, 3.3): gets escaped.
    Escape,
    Refuse(Reason),
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refuse(Reason::NonAscii); 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'/' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                Class::Plain
            }
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b'\\' => Class::Refuse(Reason::Backslash),
            b'#' => Class::Refuse(Reason::Fragment),
            b'?' => Class::Refuse(Reason::Query),
            0..=0x1f | 0x7f => Class::Refuse(Reason::Control),
            _ => Class::Escape,
        };
        byte += 1;
    }
    classes
};

/// The plain bytes alone: the loop over a usual path looks at nothing else.
const IS_PLAIN: [bool; 256] = {
    let mut is_plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_plain[byte] = matches!(CLASSES[byte], Class::Plain);
        byte += 1;
    }
    is_plain
};

/// The canonical form of `raw`, a path without its query; borrowed when `raw` is in that form already.
///
/// - Escapes of unreserved characters (letters, digits, `-._~`; RFC 3986, 2.3) are decoded.
/// - All other escapes are kept as data, with upper-case digits; so are `;` and what follows it. Nothing is decoded
///   twice: `%252e` stays.
/// - Printable characters that a path cannot hold (space, `"<>^{|}` and the backquote) are escaped.
/// - Empty segments and a trailing slash are kept; it is routing that decides about them.
///
/// # Errors
/// Dot segments in any spelling (also with parameters, `..;x`, which some servers strip first), an escaped slash, a
/// backslash in any spelling, control characters in any spelling (U+0080 to U+009F included), raw bytes outside
/// ASCII, escapes that are not UTF-8 or not hexadecimal, `#`, `?`, and a path that does not begin with `/`.
pub fn canonical_path(raw: &[u8]) -> Result<Cow<'_, str>, PathRefusal> {
    if raw.first() != Some(&b'/') {
        return Err(PathRefusal(Reason::NoSlash));
    }
    let mut at = 0;
    while let Some(plain) = raw[at..].iter().position(|byte| !IS_PLAIN[usize::from(*byte)]) {
        at += plain;
        match CLASSES[usize::from(raw[at])] {
            // There is a byte before: the first one is a slash.
            Class::Dot if raw[at - 1] == b'/' && is_dot_segment(&raw[at..]) => {
                return Err(PathRefusal(Reason::DotSegment));
            }
            Class::Plain | Class::Dot => at += 1,
            Class::Percent | Class::Escape => return rewritten(raw),
            Class::Refuse(reason) => return Err(PathRefusal(reason)),
        }
    }
    // Only ASCII came through; the check costs a fraction of the pass above and cannot fail.
    std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| PathRefusal(Reason::NonAscii))
}

#[cold]
fn rewritten(raw: &[u8]) -> Result<Cow<'_, str>, PathRefusal> {
    let path = canonical_text(raw)?;
    let bytes = path.as_bytes();
    let hidden =
        bytes.windows(2).enumerate().any(|(at, pair)| pair == b"/." && is_dot_segment(&bytes[at + 1..]));
    if hidden {
        return Err(PathRefusal(Reason::DotSegment));
    }
    match std::str::from_utf8(raw) {
        Ok(raw) if raw == path => Ok(Cow::Borrowed(raw)),
        _ => Ok(Cow::Owned(path)),
    }
}

/// The canonical form of a piece of a path. Dot segments are left to the caller, who knows where segments begin.
pub(super) fn canonical_text(raw: &[u8]) -> Result<String, PathRefusal> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        match CLASSES[usize::from(byte)] {
            Class::Plain | Class::Dot => out.push(char::from(byte)),
            Class::Escape => push_escape(&mut out, byte),
            Class::Refuse(reason) => return Err(PathRefusal(reason)),
            Class::Percent => {
                rest = canonical_escape(rest, &mut out)?;
                continue;
            }
        }
        rest = after;
    }
    Ok(out)
}

/// Whether the segment that `bytes` begins with is one of `.` and `..`, parameters aside.
pub(super) fn is_dot_segment(bytes: &[u8]) -> bool {
    let ([b'.', b'.', behind_dots @ ..] | [b'.', behind_dots @ ..]) = bytes else { return false };
    matches!(behind_dots, [] | [b'/' | b';', ..] | [b'%', b'3', b'B', ..])
}

/// Takes the escaped character that `rest` begins with and returns what follows it.
fn canonical_escape<'a>(rest: &'a [u8], out: &mut String) -> Result<&'a [u8], PathRefusal> {
    let (byte, mut after) = unescape(rest)?;
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        b'/' => return Err(PathRefusal(Reason::EscapedSlash)),
        b'\\' => return Err(PathRefusal(Reason::Backslash)),
        0..=0x1f | 0x7f => return Err(PathRefusal(Reason::Control)),
        0x20..=0x7e => push_escape(out, byte),
        0x80..=0xff => {
            // A character of several bytes must be written out in escapes that follow one another.
            let mut encoded = [byte, 0, 0, 0];
            let length = utf8_length(byte).ok_or(PathRefusal(Reason::InvalidUtf8))?;
            for slot in &mut encoded[1..length] {
                if after.first() != Some(&b'%') {
                    return Err(PathRefusal(Reason::InvalidUtf8));
                }
                (*slot, after) = unescape(after)?;
            }
            let text =
                std::str::from_utf8(&encoded[..length]).map_err(|_| PathRefusal(Reason::InvalidUtf8))?;
            if text.chars().any(char::is_control) {
                return Err(PathRefusal(Reason::Control));
            }
            text.bytes().for_each(|byte| push_escape(out, byte));
        }
    }
    Ok(after)
}

fn unescape(rest: &[u8]) -> Result<(u8, &[u8]), PathRefusal> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match rest {
        [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Ok((high << 4 | low, after)),
            _ => Err(PathRefusal(Reason::InvalidEscape)),
        },
        _ => Err(PathRefusal(Reason::InvalidEscape)),
    }
}

fn utf8_length(first: u8) -> Option<usize> {
    match first {
        0xc2..=0xdf => Some(2),
        0xe0..=0xef => Some(3),
        0xf0..=0xf4 => Some(4),
        _ => None,
    }
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}
