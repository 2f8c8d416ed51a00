//! What policies read of a body: fields by name, or a refusal.
//!
//! A field is what its pointer says (RFC 6901), of the type that the configuration says, or it is not there. `null` is not
//! there. Anything in between could be one thing here and another one at the upstream, and is [`Unreadable`], which denies
//! wherever a policy reads the field:
//! - another type than the configured one; a whole number written `1.0` or `1e2`, one beyond ±(2^53 - 1), a decimal with more
//!   than four digits after the point or more than fifteen that count, a negative zero;
//! - a key on the way to it, or its own, that is there in another spelling of upper and lower case (`Amount` beside or
//!   instead of `amount`): some parsers take one for the other;
//! - something on the way to it that is no object;
//! - a text with a zero character, which some take for its end.

use std::fmt;
use std::sync::Arc;

use crate::inputs::{BodyField, FieldKind};
use crate::strict::{Object, Value};

/// A prepared field.
#[derive(Clone, Debug)]
pub struct Field {
    name: Arc<str>,
    /// The pointer's segments, unescaped.
    segments: Vec<Segment>,
    kind: FieldKind,
}

#[derive(Clone, Debug)]
struct Segment {
    name: String,
    folded: String,
}

impl Field {
    /// Prepares a field that the configuration names.
    pub fn new(field: &BodyField) -> Self {
        let segment = |text: &str| {
            let name = text.replace("~1", "/").replace("~0", "~");
            Segment { folded: folded(&name), name }
        };
        Self {
            name: field.name.as_str().into(),
            segments: field.at.split('/').skip(1).map(segment).collect(),
            kind: field.kind,
        }
    }

    /// What policies call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn read(&self, document: &Value<'_>) -> Result<Option<FieldValue>, Unreadable> {
        let mut at = document;
        for segment in &self.segments {
            let next = match at {
                Value::Object(object) => {
                    if has_variant(object, segment) {
                        return Err(Unreadable::CaseVariant);
                    }
                    object.get(&segment.name)
                }
                Value::List(items) => item(items, &segment.name)?,
                Value::Null => None,
                _ => return Err(Unreadable::NoObject),
            };
            let Some(next) = next else { return Ok(None) };
            at = next;
        }
        self.value(at)
    }

    fn value(&self, value: &Value<'_>) -> Result<Option<FieldValue>, Unreadable> {
        Ok(Some(match (self.kind, value) {
            (_, Value::Null) => return Ok(None),
            (FieldKind::Bool, Value::Bool(value)) => FieldValue::Bool(*value),
            (FieldKind::Long, Value::Number(number)) => {
                FieldValue::Long(number.long().map_err(|why| Unreadable::Number(why.text()))?)
            }
            (FieldKind::Decimal, Value::Number(number)) => {
                FieldValue::Decimal(number.decimal().map_err(|why| Unreadable::Number(why.text()))?)
            }
            (FieldKind::String, Value::Text(text)) if text.contains('\0') => {
                return Err(Unreadable::ZeroCharacter);
            }
            (FieldKind::String, Value::Text(text)) => FieldValue::Text(text.as_ref().to_owned()),
            _ => return Err(Unreadable::OtherType(value.kind())),
        }))
    }
}

/// The item of an array that a pointer's segment means.
fn item<'v, 'a>(items: &'v [Value<'a>], segment: &str) -> Result<Option<&'v Value<'a>>, Unreadable> {
    let is_index =
        segment == "0" || (!segment.starts_with('0') && segment.bytes().all(|b| b.is_ascii_digit()));
    match segment.parse::<usize>() {
        Ok(index) if is_index => Ok(items.get(index)),
        _ => Err(Unreadable::NoObject),
    }
}

fn has_variant(object: &Object<'_>, segment: &Segment) -> bool {
    object.iter().any(|(key, _)| {
        // Most keys are told apart by their length or first letter; folding the rest is worth it.
        key != segment.name && may_fold_alike(key, &segment.name) && folded(key) == segment.folded
    })
}

/// Whether two texts could be the same but for the case. Letters outside of ASCII may change their length.
fn may_fold_alike(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() { one.eq_ignore_ascii_case(other) } else { true }
}

/// The text with the case of its letters taken out, as far as any parser does: `ſ` is an `s`, the Kelvin sign a `k`.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A whole number.
    Long(i64),
    /// A decimal as Cedar writes it.
    Decimal(String),
    /// A text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
}

/// Why a field is neither there nor not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is of this type, and not of the configured one.
    OtherType(&'static str),
    /// A number that not everybody reads alike.
    Number(&'static str),
    /// A key differs from a wanted one by case alone.
    CaseVariant,
    /// On the way to it stands something that has no members.
    NoObject,
    /// A text with a zero character in it.
    ZeroCharacter,
    /// There is a body, and it is no JSON that was read.
    NotRead,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherType(kind) => write!(f, "it is {kind}"),
            Self::Number(why) => f.write_str(why),
            Self::CaseVariant => f.write_str("a key differs from it by upper and lower case alone"),
            Self::NoObject => f.write_str("what should hold it is no object"),
            Self::ZeroCharacter => f.write_str("it contains a zero character"),
            Self::NotRead => f.write_str("the body could not be read as JSON"),
        }
    }
}

/// What policies may know of a request's body.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// The request has none, not a byte: no field is there.
    #[default]
    None,
    /// It was read; fields that are not named are not there.
    Fields(Fields),
    /// There is one, and it is not JSON, or compressed, or too large: every field denies that a policy reads.
    Unreadable,
}

/// The fields of a body that was read.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(Arc<str>, Result<FieldValue, Unreadable>)>);

impl Body {
    /// Reads these fields of a document.
    pub fn read(document: &Value<'_>, fields: &[Field]) -> Self {
        let read = |field: &Field| {
            let value = field.read(document).transpose()?;
            Some((Arc::clone(&field.name), value))
        };
        Self::Fields(Fields(fields.iter().filter_map(read).collect()))
    }

    /// Takes fields by the names that policies have for them, for who asks without a whole body.
    pub fn named(fields_by_name: &Object<'_>, fields: &[Field]) -> Self {
        let read = |field: &Field| {
            let value = field.value(fields_by_name.get(&field.name)?).transpose()?;
            Some((Arc::clone(&field.name), value))
        };
        Self::Fields(Fields(fields.iter().filter_map(read).collect()))
    }

    /// The field of this name; `None`: it is not there.
    pub fn get(&self, name: &str) -> Option<Result<&FieldValue, Unreadable>> {
        match self {
            Self::None => None,
            Self::Unreadable => Some(Err(Unreadable::NotRead)),
            Self::Fields(Fields(fields)) => {
                let (_, value) = fields.iter().find(|(known, _)| **known == *name)?;
                Some(value.as_ref().map_err(|why| *why))
            }
        }
    }

    /// What is there, with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Result<FieldValue, Unreadable>)> {
        let fields = match self {
            Self::Fields(Fields(fields)) => fields.as_slice(),
            Self::None | Self::Unreadable => &[],
        };
        fields.iter().map(|(name, value)| (name.as_ref(), value))
    }
}
