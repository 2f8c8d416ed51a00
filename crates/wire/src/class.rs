//! Byte classes as 256-entry tables, computed at compile time from the grammars of the RFCs.

pub(crate) const CR: u8 = b'\r';
pub(crate) const LF: u8 = b'\n';
pub(crate) const SP: u8 = b' ';
pub(crate) const HTAB: u8 = b'\t';

/// tchar of RFC 9110 5.6.2: methods, field names, list members.
pub(crate) static TOKEN: Class = Class::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// A registered name as we accept it: letters, digits, `-`, `.`, `_`. Percent-encoding and sub-delimiters,
/// which RFC 3986 allows, name no host that exists and would have to be compared in two spellings.
pub(crate) static HOST: Class = Class::alphanumeric_and(b"-._");

/// Path bytes of a request target before any `?`. RFC 3986 3.3 (pchar and `/`) and the three bytes `[]|`,
/// which browsers send as they are.
pub(crate) static PATH: Class = Class::visible_except(b"\"#<>?\\^`{}");

/// Query bytes: what RFC 3986 3.4 allows and the other visible bytes, which browsers do not encode there.
pub(crate) static QUERY: Class = Class::visible_except(b"#");

/// A set of bytes.
pub(crate) struct Class([bool; 256]);

impl Class {
    const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        Self(set_all(table, others, true))
    }

    const fn visible_except(others: &[u8]) -> Self {
        let mut table = [false; 256];
        let mut byte = 0x21;
        while byte < 0x7f {
            table[byte] = true;
            byte += 1;
        }
        Self(set_all(table, others, false))
    }

    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// How many bytes at the start of `bytes` are in the class.
    #[inline]
    pub(crate) fn run(&self, bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| !self.has(*byte)).unwrap_or(bytes.len())
    }

    /// Whether `bytes` is not empty and has only bytes of the class.
    #[inline]
    pub(crate) fn spells(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.run(bytes) == bytes.len()
    }
}

const fn set_all(mut table: [bool; 256], bytes: &[u8], value: bool) -> [bool; 256] {
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] = value;
        index += 1;
    }
    table
}

/// Whether a byte may stand in a field value: HTAB, SP, visible ASCII, obs-text (RFC 9110 5.5).
#[inline]
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == HTAB
}

/// How many bytes at the start of `bytes` may stand in a field value.
///
/// Values are most of a head, so eight bytes are tested at once; the last few, and any group that holds
/// a control byte (the CR at the end, a rare HTAB), are tested singly.
#[inline]
pub(crate) fn value_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        while let Some(group) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            if holds_control(u64::from_ne_bytes(*group)) {
                break;
            }
            at += 8;
        }
        let singly_until = bytes.len().min(at + 8);
        while at < singly_until {
            if !is_value_byte(bytes[at]) {
                return at;
            }
            at += 1;
        }
        if at == bytes.len() {
            return at;
        }
    }
}

/// Whether one of eight bytes is below 0x20 or is 0x7f. Borrows between the bytes can only add marks above
/// a byte that is rightly marked, so the answer for the whole word is exact.
#[inline]
const fn holds_control(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete_as_zero = word ^ (ONES * 0x7f);
    let delete = delete_as_zero.wrapping_sub(ONES) & !delete_as_zero;
    (below_space | delete) & HIGH != 0
}

/// Without the spaces and tabs around it (OWS of RFC 9110 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [SP | HTAB, rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., SP | HTAB] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_run_stops_at_each_control_byte_in_each_place() {
        for byte in 0..=255u8 {
            for place in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[place] = byte;
                let expected = if is_value_byte(byte) { 20 } else { place };
                assert_eq!(value_run(&bytes), expected, "byte {byte:#x} at {place}");
            }
        }
        assert_eq!(value_run(b""), 0);
        assert_eq!(value_run("t\u{e4}b\there, and more \u{20ac}\r".as_bytes()), 23);
    }

    #[test]
    fn classes_hold_what_the_grammars_say() {
        let in_class = |class: &Class| (0..=255u8).filter(|b| class.has(*b)).count();
        assert_eq!(in_class(&TOKEN), 62 + 15);
        assert_eq!(in_class(&HOST), 62 + 3);
        assert_eq!(in_class(&PATH), 94 - 10);
        assert_eq!(in_class(&QUERY), 94 - 1);
        for byte in [0u8, b' ', b'#', 0x7f, 0x80, 0xff] {
            assert!(!PATH.has(byte) && !QUERY.has(byte), "{byte:#x}");
        }
    }

    #[test]
    fn trim_takes_spaces_and_tabs_only() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0bx"), b"\x0bx");
    }
}
