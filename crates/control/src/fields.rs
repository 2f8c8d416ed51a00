//! Bodies of changes: one JSON object, read field by field, so that everything wrong with it is told at once.
//!
//! A field that stands twice is refused, because the next reader might take the other one; so is one that nobody knows,
//! because it was meant to do something.

use std::collections::BTreeMap;
use std::fmt;

use mainstay_core::ProblemCode;
use mainstay_core::principal::{Attribute, Attributes};
use mainstay_core::units::{parse_date, parse_duration};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::problem::{FieldError, Refusal};

/// A hundred years: later than that is a mistake.
const EXPIRES_IN_MAX_MS: i64 = 36_500 * 86_400_000;

/// What a body says about one field, as a merge patch (RFC 7396) means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patch<T> {
    /// Nothing.
    Keep,
    /// `null`: back to what it is without.
    Clear,
    /// This.
    Set(T),
}

impl<T> Patch<T> {
    /// For a record that is new: without is without.
    pub(crate) fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// For a record that is there.
    pub(crate) fn onto(self, old: &mut T)
    where
        T: Default,
    {
        match self {
            Self::Keep => {}
            Self::Clear => *old = T::default(),
            Self::Set(value) => *old = value,
        }
    }
}

/// A body that is being read.
pub(crate) struct Fields {
    given: Map<String, Value>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads a body; an empty one is an object without fields.
    pub(crate) fn of(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |why: String| Refusal::new(ProblemCode::MalformedBody, why);
        let given = if body.is_empty() {
            Map::new()
        } else {
            match serde_json::from_slice::<Strict>(body) {
                Ok(Strict(Value::Object(given))) => given,
                Ok(_) => return Err(malformed("The body is JSON, but not an object.".to_owned())),
                Err(error) => return Err(malformed(format!("The body cannot be read as JSON: {error}."))),
            }
        };
        Ok(Self { given, known: Vec::new(), errors: Vec::new() })
    }

    /// Whether the field is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Notes what is wrong with a field.
    pub(crate) fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::pointer(name, message));
    }

    /// A field that only the engine writes.
    pub(crate) fn fixed(&mut self, name: &'static str) {
        if self.given.remove(name).is_some() {
            self.wrong(name, "cannot be changed; leave it out");
        }
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Patch<String> {
        self.read(name, "expected a text", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> Patch<bool> {
        self.read(name, "expected true or false", |value| value.as_bool())
    }

    pub(crate) fn texts(&mut self, name: &'static str) -> Patch<Vec<String>> {
        self.read(name, "expected a list of texts", |value| match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// An object, as the text that is kept of it.
    pub(crate) fn object(&mut self, name: &'static str) -> Patch<String> {
        self.read(name, "expected an object", |value| match value {
            Value::Object(_) => Some(value.to_string()),
            _ => None,
        })
    }

    /// Texts by name.
    pub(crate) fn texts_by_name(&mut self, name: &'static str) -> Patch<BTreeMap<String, String>> {
        self.read(name, "expected an object of texts", |value| match value {
            Value::Object(given) => {
                given.into_iter().map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
            }
            _ => None,
        })
    }

    /// Any JSON; a text stands for itself, and may be JSON that could not be written here.
    pub(crate) fn json(&mut self, name: &'static str) -> Patch<String> {
        self.read(name, "expected JSON", |value| match value {
            Value::String(text) => Some(text),
            value => Some(value.to_string()),
        })
    }

    /// Attributes; `null` within them takes one away, which only a patch can mean.
    pub(crate) fn attributes(&mut self, name: &'static str) -> Patch<Vec<(String, Option<Attribute>)>> {
        let given = self.read(name, "expected an object", |value| match value {
            Value::Object(given) => Some(given),
            _ => None,
        });
        let given = match given {
            Patch::Keep => return Patch::Keep,
            Patch::Clear => return Patch::Clear,
            Patch::Set(given) => given,
        };
        let mut attributes = Vec::new();
        for (attribute, value) in given {
            if value.is_null() {
                attributes.push((attribute, None));
                continue;
            }
            match to_attribute(value) {
                Some(value) => attributes.push((attribute, Some(value))),
                None => self.errors.push(FieldError::pointer(
                    &format!("{name}/{}", escaped(&attribute)),
                    "expected a text, a whole number of 64 bits, true, false, or lists and objects of these",
                )),
            }
        }
        Patch::Set(attributes)
    }

    /// `expires_at` or `expires_in`, as milliseconds since 1970, in whole seconds: as they are shown.
    pub(crate) fn expiry(&mut self, now: i64) -> Patch<i64> {
        let (at, after) = (self.text("expires_at"), self.text("expires_in"));
        let (name, read) = match (at, after) {
            (Patch::Keep, Patch::Keep) => return Patch::Keep,
            (Patch::Set(_), Patch::Set(_)) => {
                self.wrong("expires_in", "stands beside expires_at; one of them says it");
                return Patch::Keep;
            }
            (Patch::Set(at), _) => ("expires_at", parse_date(&at).map(|at_s| at_s.saturating_mul(1000))),
            (_, Patch::Set(after)) => {
                let after = parse_duration(&after).map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
                ("expires_in", after.map(|ms| now.saturating_add(ms).div_euclid(1000) * 1000))
            }
            _ => return Patch::Clear,
        };
        match read {
            Err(error) => self.wrong(name, error.0),
            Ok(at) if at <= now => self.wrong(name, "is not in the future"),
            Ok(at) if at > now.saturating_add(EXPIRES_IN_MAX_MS) => {
                self.wrong(name, "is more than a hundred years away");
            }
            Ok(at) => return Patch::Set(at),
        }
        Patch::Keep
    }

    /// Something that must be there.
    pub(crate) fn required<T: Default>(&mut self, name: &'static str, value: Patch<T>) -> T {
        match value {
            Patch::Set(value) => value,
            Patch::Keep | Patch::Clear => {
                if !self.errors.iter().any(|error| error.is_about(name)) {
                    self.wrong(name, "is missing");
                }
                T::default()
            }
        }
    }

    /// Refuses everything that was wrong, and every field that nobody has asked for.
    pub(crate) fn done(mut self) -> Result<(), Refusal> {
        let known = self.known.join(", ");
        for name in self.given.keys() {
            let message = format!("there is no such field; there are {known}");
            self.errors.push(FieldError::pointer(&escaped(&shortened(name)), message));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.errors)) }
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Patch<T> {
        self.known.push(name);
        match self.given.remove(name) {
            None => Patch::Keep,
            Some(Value::Null) => Patch::Clear,
            Some(value) => read(value).map_or_else(
                || {
                    self.wrong(name, expected);
                    Patch::Keep
                },
                Patch::Set,
            ),
        }
    }
}

/// Attributes of a record that is new.
pub(crate) fn new_attributes(given: Patch<Vec<(String, Option<Attribute>)>>) -> Attributes {
    let given = given.set().unwrap_or_default();
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Attributes of a record that is there.
pub(crate) fn merge_attributes(old: &mut Attributes, given: Patch<Vec<(String, Option<Attribute>)>>) {
    match given {
        Patch::Keep => {}
        Patch::Clear => old.clear(),
        Patch::Set(given) => {
            for (name, value) in given {
                match value {
                    Some(value) => drop(old.insert(name, value)),
                    None => drop(old.remove(&name)),
                }
            }
        }
    }
}

fn to_attribute(value: Value) -> Option<Attribute> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => Attribute::Bool(flag),
        Value::Number(number) => Attribute::Long(number.as_i64()?),
        Value::String(text) => Attribute::Text(text),
        Value::Array(items) => Attribute::List(items.into_iter().map(to_attribute).collect::<Option<_>>()?),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Some((name, to_attribute(value)?)));
            Attribute::Record(fields.collect::<Option<_>>()?)
        }
    })
}

/// As a JSON Pointer writes it (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Enough of a name to recognise it.
fn shortened(name: &str) -> String {
    const CHARS_MAX: usize = 64;
    name.chars().take(CHARS_MAX).collect()
}

/// JSON in which no object has a field twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let Strict(value) = entries.next_value()?;
            if object.contains_key(&name) {
                return Err(de::Error::custom(format_args!("the field {:?} stands twice", shortened(&name))));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}
