//! Time stamps: RFC 3339 in UTC with milliseconds, the part up to the seconds kept per thread.

use std::cell::Cell;

use mainstay_core::clock::UnixMs;

use super::json::three_digits;

/// `2027-02-01T10:00:00.` and what follows.
const PREFIX: usize = 20;
/// 0000-01-01: four digits of year are all that RFC 3339 has.
const FIRST: i64 = -62_167_219_200;

type Prefix = [u8; PREFIX];

thread_local! {
    /// The last second that was written on this thread, and its text.
    static LAST: Cell<(i64, Prefix)> = const { Cell::new((i64::MIN, [0; PREFIX])) };
}

/// Appends the time. Times before the year 0, or in the last day of 9999 and after, are shown as the nearest there is.
#[inline]
pub(crate) fn push_stamp(out: &mut Vec<u8>, at: UnixMs) {
    let seconds = at.seconds();
    let (second, mut prefix) = LAST.get();
    if second != seconds {
        prefix = prefix_of(seconds);
        LAST.set((seconds, prefix));
    }
    let [a, b, c] = three_digits(at.0.rem_euclid(1000) as u16);
    out.extend_from_slice(&prefix);
    out.extend_from_slice(&[a, b, c, b'Z']);
}

#[cold]
fn prefix_of(seconds: i64) -> Prefix {
    let seconds = seconds.clamp(FIRST, jiff::Timestamp::MAX.as_second());
    let text = jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default();
    let mut prefix = *b"0000-01-01T00:00:00.";
    if let Some(date) = text.as_bytes().get(..PREFIX - 1) {
        prefix[..PREFIX - 1].copy_from_slice(date);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let check = |ms, expected: &str| {
            let mut out = Vec::new();
            push_stamp(&mut out, UnixMs(ms));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        };
        check(i64::MIN, "0000-01-01T00:00:00.192Z");
        check(i64::MAX, "9999-12-30T22:00:00.807Z");
        check(-1, "1969-12-31T23:59:59.999Z");
        check(0, "1970-01-01T00:00:00.000Z");
        check(999, "1970-01-01T00:00:00.999Z");
        check(1_000, "1970-01-01T00:00:01.000Z");
        check(1_801_476_000_007, "2027-02-01T10:00:00.007Z");
        check(1_709_164_799_999, "2024-02-28T23:59:59.999Z");
    }
}
