//! Numbers as they were written, and what may be made of them without guessing.

/// A whole number beyond this one is another one to a parser that has floats only (RFC 8259, section 6).
const LONG_MAX: i64 = (1 << 53) - 1;
/// Every decimal with so many digits survives a 64-bit float; the next one need not.
const SIGNIFICANT_DIGITS_MAX: usize = 15;
/// What Cedar's `decimal` keeps after the point.
const DECIMALS_MAX: usize = 4;
/// The largest whole part of Cedar's `decimal`, less one, so that every fraction fits.
const DECIMAL_WHOLE_MAX: i64 = 922_337_203_685_476;

/// A number of a document, checked against JSON's grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a>(pub(super) &'a str);

/// Why a number is no whole number that everybody reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLong {
    /// `1.0`, `1e2`: an integer for some, none for others.
    NotWhole,
    /// Beyond 2^53 - 1 on either side: rounded by whoever has floats only.
    TooLarge,
    /// `-0`: a zero for some, a negative one for others.
    NegativeZero,
}

/// Why a number is no decimal that everybody reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecimal {
    /// `1e2`.
    Exponent,
    /// More than four digits after the point.
    TooFine,
    /// More than fifteen digits that count, or beyond what a decimal holds.
    TooLarge,
    /// `-0`, `-0.0`.
    NegativeZero,
}

impl NoLong {
    /// What is wrong, as the end of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotWhole => "it is not written as a whole number",
            Self::TooLarge => "it is too large to be read alike by everybody",
            Self::NegativeZero => "it is a negative zero",
        }
    }
}

impl NoDecimal {
    /// What is wrong, as the end of a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Exponent => "it is written with an exponent",
            Self::TooFine => "it has more than four digits after the point",
            Self::TooLarge => "it has too many digits to be read alike by everybody",
            Self::NegativeZero => "it is a negative zero",
        }
    }
}

impl<'a> Number<'a> {
    /// The characters it was written with.
    pub const fn text(&self) -> &'a str {
        self.0
    }

    /// The whole number it is, within ±(2^53 - 1), written without point and exponent.
    ///
    /// # Errors
    /// Parsers would read it in more than one way.
    pub fn long(&self) -> Result<i64, NoLong> {
        if self.0.contains(['.', 'e', 'E']) {
            return Err(NoLong::NotWhole);
        }
        if self.0 == "-0" {
            return Err(NoLong::NegativeZero);
        }
        match self.0.parse::<i64>() {
            Ok(value) if (-LONG_MAX..=LONG_MAX).contains(&value) => Ok(value),
            _ => Err(NoLong::TooLarge),
        }
    }

    /// The decimal it is, as Cedar writes one: with a point, and one to four digits after it.
    ///
    /// # Errors
    /// Parsers would read it in more than one way, or Cedar cannot hold it.
    pub fn decimal(&self) -> Result<String, NoDecimal> {
        if self.0.contains(['e', 'E']) {
            return Err(NoDecimal::Exponent);
        }
        let (whole, fraction) = self.0.split_once('.').unwrap_or((self.0, "0"));
        if fraction.len() > DECIMALS_MAX {
            return Err(NoDecimal::TooFine);
        }
        let digits = || whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit);
        let significant = digits().skip_while(|digit| *digit == b'0').count();
        if significant == 0 && whole.starts_with('-') {
            return Err(NoDecimal::NegativeZero);
        }
        // A fraction that was not written is not one of the digits that somebody has to keep.
        let written = if self.0.contains('.') { significant } else { significant.saturating_sub(1) };
        let fits = whole.parse::<i64>().is_ok_and(|whole| whole.abs() <= DECIMAL_WHOLE_MAX);
        if written > SIGNIFICANT_DIGITS_MAX || !fits {
            return Err(NoDecimal::TooLarge);
        }
        Ok(format!("{whole}.{fraction}"))
    }
}
