//! Distinguished names, compared by what they say and not by how it is written (RFC 4514).

use std::fmt;

use x509_cert::der::{Encode as _, Tag, Tagged as _};
use x509_cert::name::Name;

/// A name: parts, the most specific first, each of one attribute or of several in order of their types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DistinguishedName(Vec<Vec<Attribute>>);

/// An attribute's type as numbers, and its value.
type Attribute = (String, Value);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Text(String),
    /// Of a type that is no text, encoded.
    Der(Vec<u8>),
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing in it: that would be everybody's.
    Empty,
    /// A part is not `TYPE=value`.
    NoValue,
    /// A type is neither one of the known names nor numbers.
    UnknownType,
    /// A character that must be escaped is not, or an escape is none.
    Escape,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::NoValue => "expected parts such as CN=value, with commas between",
            Self::UnknownType => {
                "the type of an attribute is not known: write it as numbers, such as 2.5.4.3"
            }
            Self::Escape => {
                "in a value, \" + , ; < > \\ and a space or # at its begin are written with \\ before"
            }
        })
    }
}

impl std::error::Error for NameError {}

/// RFC 4514, section 3, and two more that certificates have.
const TYPES: [(&str, &str); 11] = [
    ("CN", "2.5.4.3"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("C", "2.5.4.6"),
    ("STREET", "2.5.4.9"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("serialNumber", "2.5.4.5"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

impl DistinguishedName {
    /// Reads an RFC 4514 string. Spaces before a type are allowed, as in `CN=a, O=b`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (mut parts, mut part, mut rest) = (Vec::new(), Vec::new(), text);
        if text.trim().is_empty() {
            return Err(NameError::Empty);
        }
        loop {
            let (name, after) = rest.split_once('=').ok_or(NameError::NoValue)?;
            let (value, end) = value(after)?;
            part.push((type_numbers(name.trim())?, value));
            let separator = after[end..].chars().next();
            if separator != Some('+') {
                parts.push(sorted(std::mem::take(&mut part)));
            }
            match separator {
                None => return Ok(Self(parts)),
                Some(_) => rest = &after[end + 1..],
            }
        }
    }

    /// A certificate's name. `None`: a value in it cannot be read.
    pub(super) fn of(name: &Name) -> Option<Self> {
        let mut parts = Vec::new();
        for rdn in name.iter_rdn() {
            let mut part = Vec::new();
            for attribute in rdn.iter() {
                let bytes = attribute.value.value();
                let value = match attribute.value.tag() {
                    Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
                        Value::Text(String::from_utf8(bytes.to_vec()).ok()?)
                    }
                    Tag::BmpString => Value::Text(utf16(bytes)?),
                    _ => Value::Der(attribute.value.to_der().ok()?),
                };
                part.push((attribute.oid.to_string(), value));
            }
            parts.push(sorted(part));
        }
        parts.reverse();
        Some(Self(parts))
    }
}

fn sorted(mut part: Vec<Attribute>) -> Vec<Attribute> {
    part.sort();
    part
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    if rest.is_empty() { String::from_utf16(&units).ok() } else { None }
}

fn type_numbers(name: &str) -> Result<String, NameError> {
    if let Some((_, numbers)) = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok((*numbers).to_owned());
    }
    let is_number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    if name.contains('.') && name.split('.').all(is_number) {
        Ok(name.to_owned())
    } else {
        Err(NameError::UnknownType)
    }
}

/// Reads a value up to an unescaped `,` or `+` or the end, and says where that is.
fn value(text: &str) -> Result<(Value, usize), NameError> {
    if let Some(hex) = text.strip_prefix('#') {
        let end = hex.find([',', '+']).unwrap_or(hex.len());
        return Ok((Value::Der(bytes(&hex[..end])?), end + 1));
    }
    if text.starts_with(' ') {
        return Err(NameError::Escape);
    }
    let (mut value, mut at) = (Vec::new(), 0);
    let mut ends_with_space = false;
    while let Some(&byte) = text.as_bytes().get(at) {
        match byte {
            b',' | b'+' => break,
            b'"' | b';' | b'<' | b'>' | 0 => return Err(NameError::Escape),
            b'\\' => {
                let (escaped, length) = escape(&text.as_bytes()[at + 1..])?;
                value.push(escaped);
                at += length;
                ends_with_space = false;
            }
            byte => {
                value.push(byte);
                ends_with_space = byte == b' ';
            }
        }
        at += 1;
    }
    if ends_with_space {
        return Err(NameError::Escape);
    }
    let value = String::from_utf8(value).map_err(|_| NameError::Escape)?;
    Ok((Value::Text(value), at))
}

/// What stands behind a backslash: a byte, and how many characters say it.
fn escape(after: &[u8]) -> Result<(u8, usize), NameError> {
    match after {
        [special @ (b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b' ' | b'#' | b'='), ..] => {
            Ok((*special, 1))
        }
        [high, low, ..] => Ok((hex_byte(*high, *low)?, 2)),
        _ => Err(NameError::Escape),
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, NameError> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err(NameError::Escape);
    }
    pairs.iter().map(|[high, low]| hex_byte(*high, *low)).collect()
}

fn hex_byte(high: u8, low: u8) -> Result<u8, NameError> {
    let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NameError::Escape);
    Ok((digit(high)? * 16 + digit(low)?) as u8)
}
