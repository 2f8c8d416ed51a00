//! Durations, sizes, rates and dates as they are written in the configuration.
//!
//! One spelling each: a number, then the unit, without a space. A missing or unknown unit is an error that
//! names the units there are, because `timeout: 30` has been read as milliseconds once too often.

use std::fmt;
use std::time::Duration;

/// Why a text is no such value, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError(pub String);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnitError {}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

fn scaled(text: &str, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text);
    let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
    let expected =
        || format!("expected {what}: a number and one of {}, such as `{example}`", names.join(", "));
    if number.is_empty() {
        return Err(UnitError(expected()));
    }
    if unit.is_empty() {
        return Err(UnitError(format!("the unit is missing: {}", expected())));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError(format!("unknown unit: {}", expected())));
    };
    let value: u64 = number.parse().map_err(|_| UnitError(format!("not a whole number: {}", expected())))?;
    value.checked_mul(*factor).ok_or_else(|| UnitError(format!("too large: {}", expected())))
}

/// `250ms`, `5s`, `10m`, `2h`, `30d`: whole numbers only.
///
/// # Errors
/// A missing or unknown unit, a fraction, or more than `u64` milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    const UNITS: &[(&str, u64)] =
        &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, UNITS, "a duration", "250ms").map(Duration::from_millis)
}

/// `512B`, `64KiB`, `1MiB`, `2GiB`.
///
/// # Errors
/// A missing or unknown unit, a fraction, or more than `u64` bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    const UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    scaled(text, UNITS, "a size", "64KiB")
}

/// `500/s`, `30/m`, `100/h`, as a rate per second.
///
/// # Errors
/// A missing or unknown unit, a fraction, or more than `u64` an hour.
pub fn parse_rate(text: &str) -> Result<f64, UnitError> {
    const UNITS: &[(&str, u64)] = &[("/s", 3600), ("/m", 60), ("/h", 1)];
    scaled(text, UNITS, "a rate", "100/s").map(|per_h| per_h as f64 / 3600.0)
}

/// The shortest exact spelling of a duration in these units.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

/// The shortest exact spelling of a size in these units.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// The shortest exact spelling of a rate per second in these units, to the next whole number an hour.
pub fn show_rate(per_s: f64) -> String {
    let per_h = (per_s * 3600.0).round();
    for (unit, factor) in [("/s", 3600.0), ("/m", 60.0)] {
        if per_h % factor == 0.0 {
            return format!("{:.0}{unit}", per_h / factor);
        }
    }
    format!("{per_h:.0}/h")
}

/// A date (00:00 UTC of that day) or a full RFC 3339 time stamp, as Unix seconds.
///
/// # Errors
/// Anything else, with both forms shown.
pub fn parse_date(text: &str) -> Result<i64, UnitError> {
    let dated = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    dated.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(|_| {
        UnitError("expected a date such as `2027-02-01` or a time such as `2027-02-01T10:00:00Z`".into())
    })
}

/// Unix seconds as RFC 3339.
pub fn show_date(unix_s: i64) -> String {
    jiff::Timestamp::from_second(unix_s).map_or_else(|_| unix_s.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text, ms: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), ms.map(Duration::from_millis), "{text}");
        };
        for bad in ["", "5", "5 s", "5sec", "-5s", "1.5s", "s", "5S", "99999999999999999999s", "５s"] {
            check(bad, None);
        }
        check("250ms", Some(250));
        check("5s", Some(5000));
        check("10m", Some(600_000));
        check("30d", Some(2_592_000_000));
        assert!(parse_duration("30").unwrap_err().0.contains("unit is missing"));
    }

    #[test]
    fn sizes() {
        for bad in ["", "5", "5KB", "5kib", "1.5MiB", "-1B", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
    }

    #[test]
    fn rates() {
        for bad in
            ["", "5", "/s", "5 /s", "5/d", "5/S", "0.5/s", "-1/s", "5s", "5/", "99999999999999999999/s"]
        {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_rate("500/s"), Ok(500.0));
        assert_eq!(parse_rate("30/m"), Ok(0.5));
        assert_eq!(parse_rate("0/h"), Ok(0.0));
        assert!(parse_rate("5").unwrap_err().0.contains("`100/s`"));
        for (text, shown) in
            [("120/m", "2/s"), ("60/h", "1/m"), ("59/h", "59/h"), ("90/m", "90/m"), ("0/h", "0/s")]
        {
            assert_eq!(show_rate(parse_rate(text).unwrap()), shown);
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 999, 1000, 90_000, 3_600_000, 86_400_000, 90_061_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1023, 1024, 65536, 1 << 20, (1 << 30) + 1] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for per_h in [1_u32, 7, 59, 60, 61, 3599, 3600, 7200, 5401, 3_600_000_000] {
            let rate = f64::from(per_h) / 3600.0;
            assert_eq!(parse_rate(&show_rate(rate)), Ok(rate));
        }
    }

    #[test]
    fn dates() {
        for bad in ["2027", "2027-13-01", "01.02.2027", "2027-02-30", "tomorrow", "2027-02-01 10:00"] {
            assert!(parse_date(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_date("1970-01-02"), Ok(86_400));
        assert_eq!(parse_date("1970-01-02T01:00:00+01:00"), Ok(86_400));
        assert_eq!(show_date(86_400), "1970-01-02T00:00:00Z");
    }
}
