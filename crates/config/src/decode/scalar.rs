//! Values that are one scalar: numbers with a range, durations, sizes, dates, words, texts.
//!
//! A range is part of the type, so that the message, the schema and the documentation cannot differ. Messages never
//! contain the value: it may have come out of a secret, and the line is shown anyway.

use std::time::Duration;

use mainstay_core::units::{self, UnitError};
use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::{Decode, Decoder, substitute};
use crate::diagnostic::Report;

/// Why a text is no such value.
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }
}

/// A value that is written as one scalar.
pub(crate) trait Scalar: Clone + Sized {
    /// What is expected, such as "a duration".
    const WHAT: &'static str;

    /// Reads it. `plain`: it stood without quotes, or was substituted.
    fn read(text: &str, plain: bool) -> Result<Self, Refusal>;

    fn schema() -> Value;
}

impl<T: Scalar> Decode for T {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<T> {
        let scalar = substitute::scalar(node, T::WHAT, cx)?;
        match T::read(&scalar.text, scalar.plain) {
            Ok(value) => Some(value),
            Err(refusal) => {
                let mut report = Report::error(refusal.code, &scalar.at, refusal.message);
                report.help = refusal.help;
                if let Some(written) = scalar.written {
                    // Help may repeat a part of the value.
                    report.help = None;
                    report.message = format!("the value of `{written}` does not fit: {}", report.message);
                }
                cx.report(report);
                None
            }
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        Schema::try_from(T::schema()).unwrap_or_default()
    }
}

/// A schema of a string by pattern, which also lets a substitution stand.
pub(crate) fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!(r"{pattern}|\$\{{") })
}

/// A schema of something that is no string, which also lets a substitution stand.
pub(crate) fn substitutable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{" }] })
}

fn unit_error(code: &'static str) -> impl Fn(UnitError) -> Refusal {
    move |error| Refusal::new(code, error.0)
}

fn in_range<T: PartialOrd + Copy>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, Refusal> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let message = format!("out of range: expected {} to {}", show(min), show(max));
    Err(Refusal::new("out_of_range", message))
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    /// As a length or count; the ranges of this file's users fit every platform.
    pub(crate) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn small(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Scalar for Int<MIN, MAX> {
    const WHAT: &'static str = "a whole number";

    fn read(text: &str, plain: bool) -> Result<Self, Refusal> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !plain {
            let refusal = Refusal::new("bad_number", format!("expected a whole number from {MIN} to {MAX}"));
            return Err(if digits { refusal.help("write it without quotes") } else { refusal });
        }
        // Digits that do not fit are too many in any case.
        in_range(text.parse().unwrap_or(u64::MAX), MIN, MAX, |value| value.to_string()).map(Int)
    }

    fn schema() -> Value {
        let mut schema = substitutable(&json!({ "type": "integer", "minimum": MIN, "maximum": MAX }));
        schema["description"] = json!(format!("Range {MIN} to {MAX}."));
        schema
    }
}

/// A duration; the range is in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting<const MIN_MS: u64, const MAX_MS: u64>(pub(crate) Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Scalar for Lasting<MIN_MS, MAX_MS> {
    const WHAT: &'static str = "a duration";

    fn read(text: &str, _plain: bool) -> Result<Self, Refusal> {
        let value = units::parse_duration(text).map_err(unit_error("bad_duration"))?;
        let (min, max) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
        in_range(value, min, max, units::show_duration).map(Lasting)
    }

    fn schema() -> Value {
        let show = |ms| units::show_duration(Duration::from_millis(ms));
        let mut schema = pattern("^[0-9]+(ms|s|m|h|d)$");
        schema["description"] = json!(format!("Range {} to {}.", show(MIN_MS), show(MAX_MS)));
        schema
    }
}

/// A size; the range is in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    const WHAT: &'static str = "a size";

    fn read(text: &str, _plain: bool) -> Result<Self, Refusal> {
        let value = units::parse_size(text).map_err(unit_error("bad_size"))?;
        in_range(value, MIN, MAX, units::show_size).map(Size)
    }

    fn schema() -> Value {
        let mut schema = pattern("^[0-9]+(B|KiB|MiB|GiB)$");
        let (min, max) = (units::show_size(MIN), units::show_size(MAX));
        schema["description"] = json!(format!("Range {min} to {max}."));
        schema
    }
}

/// A rate a second; the range is in whole numbers an hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate<const MIN_PER_H: u64, const MAX_PER_H: u64>(pub(crate) f64);

impl<const MIN_PER_H: u64, const MAX_PER_H: u64> Rate<MIN_PER_H, MAX_PER_H> {
    fn range() -> (f64, f64) {
        (MIN_PER_H as f64 / 3600.0, MAX_PER_H as f64 / 3600.0)
    }
}

impl<const MIN_PER_H: u64, const MAX_PER_H: u64> Scalar for Rate<MIN_PER_H, MAX_PER_H> {
    const WHAT: &'static str = "a rate";

    fn read(text: &str, _plain: bool) -> Result<Self, Refusal> {
        let value = units::parse_rate(text).map_err(unit_error("bad_rate"))?;
        let (min, max) = Self::range();
        in_range(value, min, max, units::show_rate).map(Rate)
    }

    fn schema() -> Value {
        let mut schema = pattern("^[0-9]+/[smh]$");
        let (min, max) = Self::range();
        schema["description"] =
            json!(format!("Range {} to {}.", units::show_rate(min), units::show_rate(max)));
        schema
    }
}

/// A date or a time, as Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date(pub(crate) i64);

impl Scalar for Date {
    const WHAT: &'static str = "a date";

    fn read(text: &str, _plain: bool) -> Result<Self, Refusal> {
        let at = units::parse_date(text).map_err(unit_error("bad_date"))?;
        // HTTP dates have four digits for the year, and none before 1970 can be meant.
        const YEAR_10000_S: i64 = 253_402_300_800;
        if (0..YEAR_10000_S).contains(&at) {
            Ok(Date(at))
        } else {
            Err(Refusal::new("out_of_range", "out of range: expected a date from 1970 to 9999"))
        }
    }

    fn schema() -> Value {
        let mut schema = pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt].+)?$");
        schema["description"] = json!("A date (00:00 UTC of that day) or a time stamp with its zone.");
        schema
    }
}

/// A share, above 0 (or from 0, as `FROM_ZERO` says) to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share<const FROM_ZERO: bool>(pub(crate) f64);

impl<const FROM_ZERO: bool> Scalar for Share<FROM_ZERO> {
    const WHAT: &'static str = "a share";

    fn read(text: &str, plain: bool) -> Result<Self, Refusal> {
        let from = if FROM_ZERO { "from 0" } else { "above 0" };
        let expected = || format!("expected a number {from} to 1, such as 0.1");
        let written = text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let value = text.parse::<f64>().ok().filter(|value| written && plain && value.is_finite());
        let value = value.ok_or_else(|| Refusal::new("bad_number", expected()))?;
        if value > 1.0 || (value <= 0.0 && !FROM_ZERO) {
            return Err(Refusal::new("out_of_range", format!("out of range: {}", expected())));
        }
        Ok(Share(value))
    }

    fn schema() -> Value {
        let bound = if FROM_ZERO { "minimum" } else { "exclusiveMinimum" };
        substitutable(&json!({ "type": "number", bound: 0, "maximum": 1 }))
    }
}

/// `true` or `false`, nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag(pub(crate) bool);

impl Scalar for Flag {
    const WHAT: &'static str = "`true` or `false`";

    fn read(text: &str, plain: bool) -> Result<Self, Refusal> {
        match text {
            "true" if plain => Ok(Flag(true)),
            "false" if plain => Ok(Flag(false)),
            "true" | "false" => {
                Err(Refusal::new("bad_boolean", "expected `true` or `false`").help("write it without quotes"))
            }
            _ => Err(Refusal::new("bad_boolean", "expected `true` or `false`")),
        }
    }

    fn schema() -> Value {
        substitutable(&json!({ "type": "boolean" }))
    }
}

/// A text for people or a file name: not empty, on one line.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub(crate) String);

/// Longer than any name or path that a person writes.
const TEXT_BYTES_MAX: usize = 1024;

impl Scalar for Text {
    const WHAT: &'static str = "a text";

    fn read(text: &str, _plain: bool) -> Result<Self, Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::new("bad_text", "expected a text that is not empty"));
        }
        if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            let message = format!("expected one line of at most {TEXT_BYTES_MAX} bytes");
            return Err(Refusal::new("bad_text", message));
        }
        Ok(Text(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX })
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Declares a type for `WORD` or something else.
macro_rules! or_word {
    ($(#[$about:meta])* $name:ident, $word:literal, strict: $strict:literal) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name<T>(pub(crate) Option<T>);

        impl<T: Scalar> Scalar for $name<T> {
            const WHAT: &'static str = T::WHAT;

            fn read(text: &str, plain: bool) -> Result<Self, Refusal> {
                if text == $word && (plain || !$strict) {
                    return Ok($name(None));
                }
                T::read(text, plain).map(|value| $name(Some(value))).map_err(|refusal| {
                    let message = format!("{}, or `{}`", refusal.message, $word);
                    let refusal = Refusal { message, ..refusal };
                    if text == $word { refusal.help(concat!("write ", $word, " without quotes")) } else { refusal }
                })
            }

            fn schema() -> Value {
                let mut inner = T::schema();
                let description = inner.as_object_mut().and_then(|schema| schema.remove("description"));
                let mut schema = json!({ "anyOf": [inner, { "const": $word }] });
                if let Some(description) = description {
                    schema["description"] = description;
                }
                schema
            }
        }
    };
}

or_word!(
    /// `off`, which is only itself without quotes.
    OrOff, "off", strict: true
);
or_word!(
    /// `auto`: the engine finds out.
    OrAuto, "auto", strict: false
);
or_word!(
    /// `adaptive`: the engine goes by what it sees.
    OrAdaptive, "adaptive", strict: false
);
or_word!(
    /// `p95`: what 95 of 100 recent requests took.
    OrP95, "p95", strict: false
);
or_word!(
    /// `none`: there is none.
    OrNone, "none", strict: false
);

/// Declares a closed set of words.
macro_rules! words {
    ($(#[$about:meta])* pub(crate) enum $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)+ }

        impl $crate::decode::Scalar for $name {
            const WHAT: &'static str = concat!("one of" $(, " `", $word, "`")+);

            fn read(text: &str, _plain: bool) -> Result<Self, $crate::decode::Refusal> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err($crate::decode::scalar::unknown_word(text, &[$($word),+])),
                }
            }

            fn schema() -> serde_json::Value {
                $crate::decode::scalar::substitutable(&serde_json::json!({ "enum": [$($word),+] }))
            }
        }
    };
}
pub(crate) use words;

/// The refusal of a word that is none of `words`.
pub(crate) fn unknown_word(text: &str, words: &[&str]) -> Refusal {
    let refusal = Refusal::new("unknown_word", format!("expected one of {}", words.join(", ")));
    match crate::diagnostic::nearest(text, words.iter().copied()) {
        Some(near) => refusal.help(format!("did you mean `{near}`?")),
        None => refusal,
    }
}
