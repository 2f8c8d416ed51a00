//! How the two versions spell the same things: v1 flat with integers of minor units, v2 nested with decimal strings.
//!
//! Reading a body reports everything that is wrong with it at once, each with a JSON pointer. Unknown fields are refused,
//! as the documents say (`additionalProperties: false`): a misspelt `reference` must not be lost in silence.

use serde_json::{Map, Value, json};

use crate::ledger::{Account, BANK_DEFAULT, BANKS, NewPayment, Payment, Refund};
use crate::money::{AMOUNT_MAX_MINOR, Currency, Money};
use crate::problem::{FieldError, Problem};
use crate::route::Version;

/// The longest reference or reason, in characters.
const TEXT_MAX_CHARS: usize = 140;
const CURRENCIES: &str = "one of EUR, JPY, KWD, USD, ZAR";

pub(crate) fn account(version: Version, account: &Account) -> Value {
    match version {
        Version::V1 => json!({
            "id": account.id, "holder": account.holder, "balance": account.balance.minor,
            "currency": account.balance.currency.code(),
        }),
        Version::V2 => json!({
            "id": account.id, "holder": { "name": account.holder }, "balance": money(account.balance), "status": "open",
        }),
    }
}

pub(crate) fn payment(version: Version, payment: &Payment) -> Value {
    match version {
        Version::V1 => json!({
            "id": payment.id(), "account": payment.account, "bank": payment.bank, "amount": payment.amount.minor,
            "currency": payment.amount.currency.code(), "refunded": payment.refunded.minor,
            "state": payment.status.as_str(), "reference": payment.reference, "created": payment.created_at.as_second(),
        }),
        Version::V2 => json!({
            "id": payment.id(), "source_account": payment.account, "destination": { "bank": payment.bank },
            "amount": money(payment.amount), "refunded": money(payment.refunded), "status": payment.status.as_str(),
            "reference": payment.reference, "created_at": payment.created_at.to_string(),
        }),
    }
}

pub(crate) fn refund(version: Version, refund: &Refund) -> Value {
    match version {
        Version::V1 => json!({
            "id": refund.id(), "payment": refund.payment_id(), "amount": refund.amount.minor,
            "currency": refund.amount.currency.code(), "reason": refund.reason, "created": refund.created_at.as_second(),
        }),
        Version::V2 => json!({
            "id": refund.id(), "payment_id": refund.payment_id(), "amount": money(refund.amount), "reason": refund.reason,
            "created_at": refund.created_at.to_string(),
        }),
    }
}

pub(crate) fn banks(version: Version) -> Value {
    let banks =
        BANKS.iter().map(|(code, name, country)| json!({ "code": code, "name": name, "country": country }));
    list(version, banks.collect(), None)
}

/// An array in v1; a page with a cursor in v2.
pub(crate) fn list(version: Version, items: Vec<Value>, next: Option<&str>) -> Value {
    match version {
        Version::V1 => Value::Array(items),
        Version::V2 => json!({ "items": items, "next": next }),
    }
}

/// What one server-sent event carries.
pub(crate) fn event(version: Version, payment: &Payment) -> Value {
    match version {
        Version::V1 => {
            json!({ "payment": payment.id(), "state": payment.status.as_str(), "refunded": payment.refunded.minor })
        }
        Version::V2 => {
            json!({ "payment_id": payment.id(), "status": payment.status.as_str(), "refunded": money(payment.refunded) })
        }
    }
}

fn money(money: Money) -> Value {
    json!({ "value": money.decimal(), "currency": money.currency.code() })
}

pub(crate) fn read_payment(version: Version, body: &[u8]) -> Result<NewPayment, Problem> {
    let object = object(body)?;
    let mut fields = Fields { object: &object, base: "", errors: Vec::new() };
    let (account, bank, amount) = match version {
        Version::V1 => {
            fields.only(&["account", "amount", "currency", "bank", "reference"]);
            (fields.required_text("account"), fields.bank(), fields.flat_amount())
        }
        Version::V2 => {
            fields.only(&["source_account", "amount", "destination", "reference"]);
            let bank = fields.nested("destination", "/destination", |destination| {
                destination.only(&["bank"]);
                destination.bank()
            });
            let amount = match object.get("amount") {
                Some(_) => fields.nested("amount", "/amount", decimal_amount),
                None => fields.missing("amount", "an object with `value` and `currency`"),
            };
            (fields.required_text("source_account"), bank, amount)
        }
    };
    let reference = fields.text("reference");
    let bank = bank.unwrap_or_else(|| BANK_DEFAULT.to_owned());
    match (account, amount) {
        (Some(account), Some(amount)) if fields.errors.is_empty() => {
            Ok(NewPayment { account, bank, amount, reference })
        }
        _ => Err(Problem::fields(fields.errors)),
    }
}

/// The amount (`None`: all that is left) and the reason of a refund. v1 leaves the currency to the payment, which `currency`
/// is; v2 names it.
pub(crate) fn read_refund(
    version: Version,
    body: &[u8],
    currency: Currency,
) -> Result<(Option<Money>, Option<String>), Problem> {
    let object = object(body)?;
    let mut fields = Fields { object: &object, base: "", errors: Vec::new() };
    fields.only(&["amount", "reason"]);
    let amount = match (version, object.get("amount")) {
        (_, None) => None,
        (Version::V1, Some(_)) => fields.minor("amount").map(|minor| Money { minor, currency }),
        (Version::V2, Some(_)) => fields.nested("amount", "/amount", decimal_amount),
    };
    let reason = fields.text("reason");
    if fields.errors.is_empty() { Ok((amount, reason)) } else { Err(Problem::fields(fields.errors)) }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::malformed_body("The body is JSON, but no object.")),
        Err(error) => Err(Problem::malformed_body(format!("The body is not JSON: {error}."))),
    }
}

/// One object of a body and what has been found wrong with it so far.
struct Fields<'v> {
    object: &'v Map<String, Value>,
    base: &'static str,
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    fn wrong<T>(&mut self, name: &str, message: impl Into<String>, expected: &str) -> Option<T> {
        let pointer = format!("{}/{}", self.base, name.replace('~', "~0").replace('/', "~1"));
        self.errors.push(FieldError {
            pointer: Some(pointer),
            parameter: None,
            message: message.into(),
            expected: expected.to_owned(),
        });
        None
    }

    fn missing<T>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.wrong(name, format!("`{name}` is missing"), expected)
    }

    fn only(&mut self, known: &[&str]) {
        let object = self.object;
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.wrong::<()>(name, format!("`{name}` is not a field of this object"), &known.join(", "));
        }
    }

    /// An optional string; `null` is absent.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.object.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.chars().count() <= TEXT_MAX_CHARS => Some(text.clone()),
            Some(_) => self.wrong(
                name,
                format!("`{name}` is no string, or too long"),
                "a string of at most 140 characters",
            ),
        }
    }

    fn required_text(&mut self, name: &str) -> Option<String> {
        match self.object.get(name) {
            None | Some(Value::Null) => self.missing(name, "a string"),
            Some(_) => self.text(name),
        }
    }

    fn bank(&mut self) -> Option<String> {
        let code = self.text("bank")?;
        if BANKS.iter().any(|bank| bank.0 == code) {
            return Some(code);
        }
        self.wrong("bank", format!("there is no bank `{code}`"), "a code from /banks")
    }

    fn currency(&mut self) -> Option<Currency> {
        let code = self.required_text("currency")?;
        Currency::parse(&code)
            .or_else(|| self.wrong("currency", format!("`{code}` is not dealt in"), CURRENCIES))
    }

    fn minor(&mut self, name: &str) -> Option<i64> {
        const EXPECTED: &str = "a whole number of minor units from 1 to 1000000000000";
        match self.object.get(name) {
            None => self.missing(name, EXPECTED),
            Some(value) => match value.as_i64().filter(|minor| (1..=AMOUNT_MAX_MINOR).contains(minor)) {
                Some(minor) => Some(minor),
                None => self.wrong(name, format!("`{name}` is {value}"), EXPECTED),
            },
        }
    }

    fn flat_amount(&mut self) -> Option<Money> {
        let (minor, currency) = (self.minor("amount"), self.currency());
        Some(Money { minor: minor?, currency: currency? })
    }

    /// Reads a field that is an object itself; absent is `None` without an error.
    fn nested<T>(
        &mut self,
        name: &str,
        base: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.object.get(name) {
            None => None,
            Some(Value::Object(object)) => {
                let mut inner = Fields { object, base, errors: Vec::new() };
                let value = read(&mut inner);
                self.errors.append(&mut inner.errors);
                value
            }
            Some(_) => self.wrong(name, format!("`{name}` is no object"), "an object"),
        }
    }
}

/// v2's `{"value":"12.50","currency":"ZAR"}`.
fn decimal_amount(fields: &mut Fields<'_>) -> Option<Money> {
    fields.only(&["value", "currency"]);
    let (text, currency) = (fields.required_text("value"), fields.currency());
    let (text, currency) = (text?, currency?);
    let money = Money::parse_decimal(&text, currency).filter(|money| money.minor > 0);
    money.or_else(|| {
        let expected = match currency.decimals() {
            0 => "a decimal string above 0, such as \"1250\"",
            2 => "a decimal string above 0, such as \"12.50\"",
            _ => "a decimal string above 0, such as \"12.500\"",
        };
        fields.wrong("value", format!("`{text}` is no amount of {currency}"), expected)
    })
}

#[cfg(test)]
mod tests {
    use super::{read_payment, read_refund};
    use crate::money::{Currency, Money};
    use crate::route::Version;

    fn refused(version: Version, body: &str, pointers: &[&str]) {
        let problem = read_payment(version, body.as_bytes()).expect_err(body);
        let found: Vec<_> =
            problem.errors.iter().map(|error| error.pointer.as_deref().unwrap_or("-")).collect();
        assert_eq!(found, pointers, "{body}");
        assert_eq!(problem.status.as_u16(), if pointers.is_empty() { 400 } else { 422 });
    }

    #[test]
    fn every_mistake_of_a_body_is_named_at_once() {
        for body in ["", "{", "[]", "7", "{} {}", "\"x\""] {
            refused(Version::V1, body, &[]);
        }
        refused(Version::V1, "{}", &["/account", "/amount", "/currency"]);
        refused(Version::V1, r#"{"account":"a","amount":12.5,"currency":"ZAR"}"#, &["/amount"]);
        refused(Version::V1, r#"{"account":"a","amount":1e2,"currency":"ZAR"}"#, &["/amount"]);
        refused(Version::V1, r#"{"account":"a","amount":"12","currency":"ZAR"}"#, &["/amount"]);
        refused(
            Version::V1,
            r#"{"account":"a","amount":0,"currency":"zar","bank":"x"}"#,
            &["/bank", "/amount", "/currency"],
        );
        refused(Version::V1, r#"{"account":1,"amount":1,"currency":"ZAR","a/b":1}"#, &["/a~1b", "/account"]);
        refused(Version::V2, "{}", &["/amount", "/source_account"]);
        refused(Version::V2, r#"{"source_account":"a","amount":1250}"#, &["/amount"]);
        let wrong = r#"{"source_account":"a","amount":{"value":12.5,"currency":"ZAR","x":1},"destination":{"bank":"?"}}"#;
        refused(Version::V2, wrong, &["/destination/bank", "/amount/x", "/amount/value"]);
        refused(
            Version::V2,
            r#"{"source_account":"a","amount":{"value":"0","currency":"ZAR"}}"#,
            &["/amount/value"],
        );
    }

    #[test]
    fn both_shapes_say_the_same() {
        let flat = r#"{"account":"a","amount":1250,"currency":"ZAR","bank":"absa","reference":"r"}"#;
        let nested = r#"{"source_account":"a","amount":{"value":"12.50","currency":"ZAR"},"destination":{"bank":"absa"},"reference":"r"}"#;
        let amount = Money { minor: 1_250, currency: Currency::Zar };
        for (version, body) in [(Version::V1, flat), (Version::V2, nested)] {
            let new = read_payment(version, body.as_bytes()).expect(body);
            assert_eq!((&*new.account, &*new.bank, new.amount), ("a", "absa", amount));
            assert_eq!(new.reference.as_deref(), Some("r"));
        }
        for (version, body) in [
            (Version::V1, r#"{"amount":5}"#),
            (Version::V2, r#"{"amount":{"value":"0.05","currency":"ZAR"}}"#),
        ] {
            let (amount, reason) = read_refund(version, body.as_bytes(), Currency::Zar).expect(body);
            assert_eq!((amount.map(|money| money.minor), reason), (Some(5), None));
        }
        assert_eq!(read_refund(Version::V2, b"{}", Currency::Zar).expect("all that is left").0, None);
    }
}
