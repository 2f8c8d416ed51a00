//! Escaped UTF-16 surrogate pairs, which JSON has and YAML does not.
//!
//! JSON writes a character outside the basic plane as two escapes, `\uD83D\uDE00`; so do some writers of YAML. The
//! YAML scanner refuses each half, as no half is a character. So before scanning, the halves are moved to a private
//! range of the same spelling and length (`\uD...` becomes `\uE...`, U+E800 to U+EFFF), which keeps every column right,
//! and after scanning they are moved back and joined. This is only done when the text has such an escape, and only
//! when nothing else in the text uses that range; both cases are rare, both at once has not been seen.

use std::borrow::Cow;

/// Why escapes cannot be moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RangeInUse;

/// A half without its other half.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoneHalf;

/// The text with surrogate escapes moved, or `None` when it has none.
pub(super) fn hide(text: &str) -> Result<Option<String>, RangeInUse> {
    let bytes = text.as_bytes();
    let halves = escapes(bytes, b'd');
    if halves.is_empty() {
        return Ok(None);
    }
    let spelled_out = ["\\U0000e", "\\U0000E"].iter().any(|spelling| text.contains(spelling));
    if spelled_out || !escapes(bytes, b'e').is_empty() || text.chars().any(is_moved) {
        return Err(RangeInUse);
    }
    let mut moved = bytes.to_vec();
    for at in halves {
        // 'd' to 'e', 'D' to 'E': the case must survive, because outside double quotes this is no escape but text.
        moved[at + 2] += 1;
    }
    // Only ASCII was exchanged for ASCII, so this cannot fail; if it did, the scanner would name the escape.
    Ok(String::from_utf8(moved).ok())
}

/// Moves back what was escaped in a double-quoted scalar.
pub(super) fn reveal_escaped(text: Cow<'_, str>) -> Result<Cow<'_, str>, LoneHalf> {
    if !text.chars().any(is_moved) {
        return Ok(text);
    }
    let mut units = Vec::with_capacity(text.len());
    let mut buffer = [0; 2];
    for c in text.chars() {
        let first = units.len();
        units.extend_from_slice(c.encode_utf16(&mut buffer));
        if is_moved(c) {
            units[first] -= 0x1000;
        }
    }
    String::from_utf16(&units).map(Cow::Owned).map_err(|_| LoneHalf)
}

/// Moves back what was never an escape: the same letters in a scalar of another style.
pub(super) fn reveal_literal(text: Cow<'_, str>) -> Cow<'_, str> {
    let found = escapes(text.as_bytes(), b'e');
    if found.is_empty() {
        return text;
    }
    let mut bytes = text.into_owned().into_bytes();
    for at in found {
        bytes[at + 2] -= 1;
    }
    Cow::Owned(String::from_utf8(bytes).unwrap_or_default())
}

fn is_moved(c: char) -> bool {
    ('\u{e800}'..='\u{efff}').contains(&c)
}

/// Where `\u` stands, followed by `first` (in either case) and a digit of 8 or more. A backslash that is itself
/// escaped starts nothing in double quotes; in other styles the difference is undone by the same rule.
fn escapes(bytes: &[u8], first: u8) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 3 < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        let is_high = matches!(bytes[at + 3], b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F');
        if bytes[at + 1] == b'u' && bytes[at + 2].eq_ignore_ascii_case(&first) && is_high {
            found.push(at);
        }
        at += 2;
    }
    found
}
