//! W3C Trace Context (level 1): reading, passing on and beginning a trace.
//!
//! A `traceparent` from outside says which trace a request belongs to, and is passed on with a span id of our
//! own. Its *sampled* flag would let any client decide what is recorded, so by default it is not believed
//! ([`FromOutside::Ignored`]). A `tracestate` is passed on only beside a valid `traceparent`, as it came, and
//! only within [`TRACESTATE_BYTES_MAX`] ([`keeps_tracestate`]); otherwise it is dropped as a whole, because a
//! list cut in the middle misleads its vendors. More than one `traceparent` is none: the caller checks that.

use std::fmt;

use mainstay_core::random::hex;

/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const SPAN_ID: std::ops::Range<usize> = 36..52;
const SAMPLED: u8 = 1;

/// Longest `tracestate` that is passed on, over all its header fields: what the recommendation asks for at least.
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Most list members (section 3.3.1.1).
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// What becomes of the sampled flag that came from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromOutside {
    /// Our own decision holds.
    #[default]
    Ignored,
    /// A request that was sampled outside is sampled here; others as we decide.
    Trusted,
}

/// A `traceparent`, kept as its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// Reads a header value without blanks around it. A version after 00 is read by the fields that 00 has.
    /// Nothing for version ff, for ids that are all zero, for upper-case hex, or for anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (text, rest) = value.split_first_chunk::<LENGTH>()?;
        let version = &text[..2];
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let dashed = text[2] == b'-' && text[35] == b'-' && text[52] == b'-';
        if !dashed || ![version, &text[TRACE_ID], &text[SPAN_ID], &text[53..]].iter().all(|part| is_hex(part))
        {
            return None;
        }
        let ended = rest.is_empty() || (version != b"00" && rest[0] == b'-');
        let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
        if version == b"ff" || !ended || zero(&text[TRACE_ID]) || zero(&text[SPAN_ID]) {
            return None;
        }
        let mut parent = Self(*text);
        let sampled = nibble(text[54]) & SAMPLED;
        // Passed on as the version we speak, with the one flag that it knows.
        parent.0[..2].copy_from_slice(b"00");
        parent.0[53] = b'0';
        parent.0[54] = b'0' + sampled;
        Some(parent)
    }

    /// A new trace, from three times 64 random bits.
    pub fn fresh(random: [u64; 3], sampled: bool) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        push_hex(&mut text[3..19], random[0]);
        push_hex(&mut text[19..35], not_zero(random[1]));
        push_hex(&mut text[SPAN_ID], not_zero(random[2]));
        text[54] = b'0' + u8::from(sampled);
        Self(text)
    }

    /// The same trace with a span of our own, from 64 random bits. `ours` is whether we would sample it.
    #[must_use]
    pub fn child(&self, random: u64, outside: FromOutside, ours: bool) -> Self {
        let mut child = *self;
        push_hex(&mut child.0[SPAN_ID], not_zero(random));
        let sampled = ours || (outside == FromOutside::Trusted && self.sampled());
        child.0[54] = b'0' + u8::from(sampled);
        child
    }

    /// The header's value.
    pub fn write(&self) -> [u8; LENGTH] {
        self.0
    }

    /// The header's value as text.
    pub fn as_str(&self) -> &str {
        self.part(0..LENGTH)
    }

    /// The trace id, 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.part(TRACE_ID)
    }

    /// The span id (the header's parent id), 16 hex digits.
    pub fn span_id(&self) -> &str {
        self.part(SPAN_ID)
    }

    /// The sampled flag.
    pub fn sampled(&self) -> bool {
        self.0[54] == b'1'
    }

    fn part(&self, range: std::ops::Range<usize>) -> &str {
        std::str::from_utf8(&self.0[range]).expect("only hex digits and dashes")
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({})", self.as_str())
    }
}

/// Whether the `tracestate` fields of a request are passed on; `parent` is what its `traceparent` was read as.
pub fn keeps_tracestate<'a>(
    parent: Option<&TraceParent>,
    fields: impl IntoIterator<Item = &'a [u8]>,
) -> bool {
    let (mut bytes, mut members, mut printable) = (0, 0, true);
    for field in fields {
        // Fields of one name are joined by a comma.
        bytes += field.len() + usize::from(members > 0);
        members += 1 + memchr::memchr_iter(b',', field).count();
        printable &= field.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    }
    parent.is_some()
        && printable
        && members <= TRACESTATE_MEMBERS_MAX
        && (1..=TRACESTATE_BYTES_MAX).contains(&bytes)
}

fn nibble(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => hex - b'a' + 10,
    }
}

fn not_zero(random: u64) -> u64 {
    random.max(1)
}

fn push_hex(text: &mut [u8], bits: u64) {
    text.copy_from_slice(&hex(bits));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_no_traceparent() {
        let bad = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.extra",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ];
        for value in bad {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn what_is_one_and_how_it_goes_on() {
        let check = |value: &str, sampled: bool| {
            let parent = TraceParent::parse(value.as_bytes()).unwrap();
            assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736", "{value}");
            assert_eq!(parent.span_id(), "00f067aa0ba902b7", "{value}");
            assert_eq!(parent.sampled(), sampled, "{value}");
            assert!(parent.as_str().starts_with("00-") && parent.as_str().len() == LENGTH, "{value}");
        };
        check(GOOD, true);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", false);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0f", true);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
        check("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings", true);
    }

    #[test]
    fn a_flag_from_outside_counts_only_where_it_is_trusted() {
        use FromOutside::{Ignored, Trusted};
        let sampled = TraceParent::parse(GOOD.as_bytes()).unwrap();
        let unsampled = TraceParent::fresh([1, 2, 3], false);
        let check = |parent: TraceParent, outside, ours, expected| {
            let child = parent.child(0xabcd, outside, ours);
            assert_eq!(child.sampled(), expected, "{parent:?} {outside:?} {ours}");
            assert_eq!((child.trace_id(), child.span_id()), (parent.trace_id(), "000000000000abcd"));
        };
        check(sampled, Ignored, false, false);
        check(sampled, Ignored, true, true);
        check(sampled, Trusted, false, true);
        check(unsampled, Trusted, false, false);
        check(unsampled, Trusted, true, true);
        assert_eq!(FromOutside::default(), Ignored);
    }

    #[test]
    fn tracestate_needs_a_parent_and_stays_small() {
        let parent = TraceParent::parse(GOOD.as_bytes());
        let check = |parent: Option<&TraceParent>, fields: &[&[u8]], kept| {
            assert_eq!(keeps_tracestate(parent, fields.iter().copied()), kept, "{fields:?}");
        };
        check(None, &[b"a=1"], false);
        check(parent.as_ref(), &[], false);
        check(parent.as_ref(), &[b""], false);
        check(parent.as_ref(), &[&[b'a'; 513]], false);
        check(parent.as_ref(), &[&[b'a'; 256], &[b'b'; 256]], false);
        check(parent.as_ref(), &[b"a=\x7f"], false);
        check(parent.as_ref(), &[b"a=\xc3\xa9"], false);
        check(parent.as_ref(), &[",".repeat(32).as_bytes()], false);
        check(parent.as_ref(), &[",".repeat(31).as_bytes()], true);
        check(parent.as_ref(), &[&[b'a'; 256], &[b'b'; 255]], true);
        check(parent.as_ref(), &[b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], true);
    }

    proptest! {
        #[test]
        fn what_we_write_reads_back(random: [u64; 3], span: u64, sampled: bool) {
            let fresh = TraceParent::fresh(random, sampled);
            prop_assert_eq!(TraceParent::parse(&fresh.write()), Some(fresh));
            let child = fresh.child(span, FromOutside::Ignored, sampled);
            prop_assert_eq!(TraceParent::parse(&child.write()), Some(child));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..55_usize, byte: u8) {
            TraceParent::parse(&bytes);
            let mut text = GOOD.as_bytes().to_vec();
            text[at] = byte;
            if let Some(parent) = TraceParent::parse(&text) {
                prop_assert_eq!(TraceParent::parse(&parent.write()), Some(parent));
            }
        }
    }

    #[test]
    fn ids_are_never_zero() {
        let fresh = TraceParent::fresh([0, 0, 0], false);
        assert_eq!(TraceParent::parse(&fresh.write()), Some(fresh));
    }
}
