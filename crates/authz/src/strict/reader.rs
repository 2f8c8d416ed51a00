//! The reader: one pass over the bytes, no lookahead beyond a character, recursion bounded by `depth_max`.

use std::borrow::Cow;

use super::number::Number;
use super::value::{Object, Value};
use super::{Limits, Malformed, Why};

/// Up to here keys are compared each with each; above, they are sorted.
const COMPARED_MAX: usize = 16;

pub(super) fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<Value<'a>, Malformed> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return Err(Malformed { at: error.valid_up_to(), why: Why::NotUtf8 }),
    };
    if text.starts_with('\u{feff}') {
        return Err(Malformed { at: 0, why: Why::ByteOrderMark });
    }
    let mut reader = Reader { text, at: 0, limits, values: 0 };
    reader.skip_space();
    if reader.at == text.len() {
        return reader.fail(Why::Empty);
    }
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at == text.len() { Ok(value) } else { reader.fail(Why::Trailing) }
}

struct Reader<'a, 'l> {
    text: &'a str,
    at: usize,
    limits: &'l Limits,
    values: usize,
}

impl<'a> Reader<'a, '_> {
    fn fail<T>(&self, why: Why) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, why })
    }

    /// The character has no place here, or there is none.
    fn unexpected<T>(&self) -> Result<T, Malformed> {
        self.fail(if self.at < self.text.len() { Why::Unexpected } else { Why::Incomplete })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over this byte if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        self.values += 1;
        if self.values > self.limits.values_max {
            return self.fail(Why::TooManyValues);
        }
        match self.peek() {
            Some(b'{' | b'[') if depth >= self.limits.depth_max => self.fail(Why::TooDeep),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => Ok(Value::Number(self.number()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.unexpected(),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Malformed> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.fail(Why::Unexpected);
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.eat(b']') {
            return Ok(Value::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            if self.eat(b']') {
                return Ok(Value::List(items));
            }
            if !self.eat(b',') {
                return self.unexpected();
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        let begin = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.eat(b'}') {
            return Ok(Value::Object(Object(members)));
        }
        loop {
            self.skip_space();
            members.push(self.member(depth)?);
            self.skip_space();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return self.unexpected();
            }
        }
        if has_duplicate(&members) {
            return Err(Malformed { at: begin, why: Why::DuplicateKey });
        }
        Ok(Value::Object(Object(members)))
    }

    fn member(&mut self, depth: usize) -> Result<(Cow<'a, str>, Value<'a>), Malformed> {
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        let key = self.string()?;
        // A parser in C would see a shorter key, perhaps one that a policy asks for.
        if key.contains('\0') {
            return self.fail(Why::ZeroInKey);
        }
        self.skip_space();
        if !self.eat(b':') {
            return self.unexpected();
        }
        self.skip_space();
        Ok((key, self.value(depth)?))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let begin = self.at;
        self.plain()?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(&self.text[begin..self.at - 1]));
        }
        let mut owned = self.text[begin..self.at].to_owned();
        while !self.eat(b'"') {
            owned.push(self.escape()?);
            let begin = self.at;
            self.plain()?;
            owned.push_str(&self.text[begin..self.at]);
        }
        Ok(Cow::Owned(owned))
    }

    /// Steps to the next quote or backslash.
    fn plain(&mut self) -> Result<(), Malformed> {
        loop {
            match self.peek() {
                Some(b'"' | b'\\') => return Ok(()),
                Some(0..=0x1f) => return self.fail(Why::ControlCharacter),
                Some(_) => self.at += 1,
                None => return self.fail(Why::Incomplete),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            Some(_) => return self.fail(Why::BadEscape),
            None => return self.fail(Why::Incomplete),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// From the `u` of an escape: one character, which may take two escapes.
    fn unicode(&mut self) -> Result<char, Malformed> {
        let begin = self.at - 1;
        let alone = Malformed { at: begin, why: Why::LoneSurrogate };
        self.at += 1;
        let unit = self.hex()?;
        let code = match unit {
            0xd800..=0xdbff => {
                if !(self.eat(b'\\') && self.eat(b'u')) {
                    return Err(alone);
                }
                match self.hex()? {
                    low @ 0xdc00..=0xdfff => 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(alone),
                }
            }
            _ => unit,
        };
        char::from_u32(code).ok_or(alone)
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else { return self.fail(Why::Incomplete) };
            let Some(digit) = char::from(byte).to_digit(16) else { return self.fail(Why::BadEscape) };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number<'a>, Malformed> {
        let begin = self.at;
        self.eat(b'-');
        if self.eat(b'0') {
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.fail(Why::BadNumber);
            }
        } else {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        let has_exponent = self.eat(b'e') || self.eat(b'E');
        if has_exponent {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let text = &self.text[begin..self.at];
        if text.len() > self.limits.number_bytes_max {
            return Err(Malformed { at: begin, why: Why::NumberTooLong });
        }
        // The largest float has 309 digits; shorter ones without an exponent are below it.
        let may_overflow = has_exponent || text.len() > 308;
        if may_overflow && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(Malformed { at: begin, why: Why::NumberTooLarge });
        }
        Ok(Number(text))
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Malformed> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > begin {
            return Ok(());
        }
        self.fail(if self.at < self.text.len() { Why::BadNumber } else { Why::Incomplete })
    }
}

fn has_duplicate(members: &[(Cow<'_, str>, Value<'_>)]) -> bool {
    if members.len() <= COMPARED_MAX {
        let mut rest = members;
        while let Some(((key, _), after)) = rest.split_first() {
            if after.iter().any(|(other, _)| other == key) {
                return true;
            }
            rest = after;
        }
        return false;
    }
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}
