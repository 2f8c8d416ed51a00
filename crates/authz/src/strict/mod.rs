//! JSON that every parser reads alike, or a refusal.
//!
//! A policy that looks at a body decides about what it read; the upstream acts on what *it* read. Where two honest parsers
//! may disagree about a document, one of them can be shown a small amount and the other a large one. So what is read
//! here is the common ground of all of them and nothing beside it, and the very bytes that were checked are forwarded.
//!
//! Refused anywhere in a document:
//! - anything but UTF-8, a byte order mark, bytes after the value, comments, trailing commas, single quotes, `NaN` and
//!   `Infinity`, leading zeros, raw control characters: not JSON (RFC 8259);
//! - the same key twice in an object, compared after its escapes are resolved: some take the first, some the last;
//! - a surrogate without its other half: some replace it, some refuse it, some keep it;
//! - a zero character in a key: for some the key ends there;
//! - a number that no 64-bit float can hold (`1e400`): an infinity for some, an error for others;
//! - more nesting, more values or longer numbers than [`Limits`] say.
//!
//! What a *number* or a *key* may look like where a policy depends on it is stricter still: [`Number::long`],
//! [`Number::decimal`], the body's fields.
//!
//! Time is linear in the bytes but for the sorting of large objects' keys; memory is bounded by [`Limits::values_max`].
//!
//! ```
//! use mainstay_authz::strict::{self, Limits, Why};
//!
//! let document = strict::check(br#"{"amount":{"value":1250}}"#, &Limits::DEFAULT).unwrap();
//! let amount = document.get("amount").and_then(|amount| amount.get("value")).unwrap();
//! assert_eq!(amount.as_number().unwrap().long(), Ok(1250));
//!
//! let twice = strict::check(br#"{"amount":1,"am\u006funt":1000000}"#, &Limits::DEFAULT);
//! assert_eq!(twice.unwrap_err().why, Why::DuplicateKey);
//! ```

mod number;
mod reader;
mod value;

use std::fmt;

pub use number::{NoDecimal, NoLong, Number};
pub use value::{Object, Value};

/// What one document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Arrays and objects within one another.
    pub depth_max: usize,
    /// Values of every kind together; what is kept of each takes some tens of bytes.
    pub values_max: usize,
    /// Characters of one number.
    pub number_bytes_max: usize,
}

impl Limits {
    /// Enough for what people write, and a few megabytes at the very most.
    pub const DEFAULT: Self = Self { depth_max: 64, values_max: 100_000, number_bytes_max: 512 };
}

/// Reads one document, or says where it is not one that everybody reads alike.
///
/// # Errors
/// See the module.
pub fn check<'a>(body: &'a [u8], limits: &Limits) -> Result<Value<'a>, Malformed> {
    reader::read(body, limits)
}

/// Why a document is refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How many bytes before it were fine. For a key that is there twice: where its object begins.
    pub at: usize,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is nothing but white space.
    Empty,
    /// A byte order mark before it.
    ByteOrderMark,
    /// Not UTF-8.
    NotUtf8,
    /// It ends in the middle.
    Incomplete,
    /// A character that has no place there.
    Unexpected,
    /// Something follows the value.
    Trailing,
    /// A key is twice in an object.
    DuplicateKey,
    /// A zero character in a key.
    ZeroInKey,
    /// Half a surrogate pair.
    LoneSurrogate,
    /// An escape that JSON does not know.
    BadEscape,
    /// A control character that is not escaped.
    ControlCharacter,
    /// A number with a leading zero, a bare point, and the like.
    BadNumber,
    /// A number that becomes infinite.
    NumberTooLarge,
    /// A number with too many characters.
    NumberTooLong,
    /// Too many arrays and objects within one another.
    TooDeep,
    /// Too many values.
    TooManyValues,
}

impl Why {
    /// What is wrong, as the end of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "it is empty",
            Self::ByteOrderMark => "it begins with a byte order mark",
            Self::NotUtf8 => "it is not UTF-8",
            Self::Incomplete => "it ends too early",
            Self::Unexpected => "a character has no place there",
            Self::Trailing => "something follows the JSON value",
            Self::DuplicateKey => "an object has the same key twice",
            Self::ZeroInKey => "a key contains a zero character",
            Self::LoneSurrogate => "half a surrogate pair stands alone",
            Self::BadEscape => "an escape is unknown",
            Self::ControlCharacter => "a control character is not escaped",
            Self::BadNumber => "a number is not written as JSON demands",
            Self::NumberTooLarge => "a number is too large",
            Self::NumberTooLong => "a number has too many digits",
            Self::TooDeep => "it is nested too deeply",
            Self::TooManyValues => "it has too many values",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.why.text(), self.at)
    }
}

impl std::error::Error for Malformed {}
