//! Amounts of money as integers of minor units, and their decimal spelling.
//!
//! A decimal is accepted in one spelling per amount: no sign, no exponent, no leading zero, and either no fraction or
//! exactly as many digits as the currency has. `12.5` for rand is refused rather than guessed at.

use std::fmt;

/// The largest amount of one payment, in minor units. Sums of all payments a ledger keeps stay far inside an `i64`.
pub(crate) const AMOUNT_MAX_MINOR: i64 = 1_000_000_000_000;

/// A currency the service deals in (ISO 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Currency {
    Eur,
    Jpy,
    Kwd,
    Usd,
    Zar,
}

impl Currency {
    pub const ALL: [Self; 5] = [Self::Eur, Self::Jpy, Self::Kwd, Self::Usd, Self::Zar];

    /// The alphabetic code, as it stands in documents and answers.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Jpy => "JPY",
            Self::Kwd => "KWD",
            Self::Usd => "USD",
            Self::Zar => "ZAR",
        }
    }

    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|currency| currency.code() == code)
    }

    /// How many digits of the minor unit there are: 2 for most, none for yen, 3 for dinar.
    #[must_use]
    pub fn decimals(self) -> usize {
        match self {
            Self::Jpy => 0,
            Self::Kwd => 3,
            Self::Eur | Self::Usd | Self::Zar => 2,
        }
    }

    fn minor_per_major(self) -> i64 {
        match self.decimals() {
            0 => 1,
            3 => 1_000,
            _ => 100,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units of a currency: 1250 of ZAR is R 12.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

impl Money {
    /// Reads a decimal such as `12.50`; `None` for any other spelling and above 10^12 minor units.
    #[must_use]
    pub fn parse_decimal(text: &str, currency: Currency) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if fraction.len() == currency.decimals() && !fraction.is_empty() => {
                (whole, fraction)
            }
            Some(_) => return None,
            None => (text, ""),
        };
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty()
            || whole.len() > 13
            || leading_zero
            || !digits_only(whole)
            || !digits_only(fraction)
        {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let minor = whole.checked_mul(currency.minor_per_major())?.checked_add(fraction)?;
        (minor <= AMOUNT_MAX_MINOR).then_some(Self { minor, currency })
    }

    /// The decimal spelling, always with all digits of the minor unit: `12.50`, `-0.05`, `1250` for yen.
    #[must_use]
    pub fn decimal(self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let (minor, per_major) = (self.minor.unsigned_abs(), self.currency.minor_per_major().unsigned_abs());
        match self.currency.decimals() {
            0 => format!("{sign}{minor}"),
            width => format!("{sign}{}.{:0width$}", minor / per_major, minor % per_major),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AMOUNT_MAX_MINOR, Currency, Money};

    fn check(text: &str, currency: Currency, minor: Option<i64>) {
        assert_eq!(Money::parse_decimal(text, currency).map(|money| money.minor), minor, "{text} {currency}");
    }

    #[test]
    fn one_spelling_per_amount() {
        for text in [
            "", ".", "12.", ".50", "12.5", "12.500", "-1.00", "+1.00", "01.00", "1e2", "1,00", " 1.00",
            "٣.00",
        ] {
            check(text, Currency::Zar, None);
        }
        for text in ["1.0", "1.", "1.00"] {
            check(text, Currency::Jpy, None);
        }
        check("10000000000.01", Currency::Zar, None);
        check("99999999999999999999", Currency::Jpy, None);

        check("12.50", Currency::Zar, Some(1_250));
        check("12", Currency::Zar, Some(1_200));
        check("0.05", Currency::Eur, Some(5));
        check("0", Currency::Usd, Some(0));
        check("1250", Currency::Jpy, Some(1_250));
        check("1.005", Currency::Kwd, Some(1_005));
        check("10000000000.00", Currency::Zar, Some(AMOUNT_MAX_MINOR));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for currency in Currency::ALL {
            assert_eq!(Currency::parse(currency.code()), Some(currency));
            for minor in [0, 1, 9, 10, 99, 100, 101, 999, 1_000, 123_456_789, AMOUNT_MAX_MINOR] {
                let money = Money { minor, currency };
                assert_eq!(Money::parse_decimal(&money.decimal(), currency), Some(money));
            }
        }
        assert_eq!(Money { minor: -5, currency: Currency::Zar }.decimal(), "-0.05");
        assert_eq!(Currency::parse("zar"), None);
    }
}
