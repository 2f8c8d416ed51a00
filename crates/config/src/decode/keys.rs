//! Sets of keys, declared once.

use mainstay_openapi::tree::{self, Node};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::field::State;
use super::{Decode, Decoder, Field, Spanned};
use crate::diagnostic::{Place, Report, known};

/// Declares a block: a struct of [`Field`]s whose doc comments, names, types and defaults are the decoder, the JSON
/// Schema and the merging of that block.
///
/// ```text
/// keys! {
///     /// How long things may take.
///     pub(crate) struct Timeouts {
///         /// Until a connection stands.
///         connect: Lasting<1, 300_000> = "1s",
///         /// A key without a default.
///         total: OrOff<Lasting<1, 86_400_000>>,
///     }
/// }
/// ```
macro_rules! keys {
    ($(
        $(#[doc = $about:literal])+
        pub(crate) struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty $(= $default:literal)? , )*
        }
    )*) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $field: $crate::decode::Field<$ty>, )*
        }

        impl $name {
            /// The block as if it were not there.
            pub(crate) fn absent() -> Self {
                Self { $( $field: $crate::decode::Field::absent(None$(.or(Some($default)))?), )* }
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(node: &mainstay_openapi::tree::Node, cx: &mut $crate::decode::Decoder<'_>) -> Option<Self> {
                let known = [$( stringify!($field) ),*];
                if !$crate::decode::keys::open_block(node, &known, cx) {
                    return None;
                }
                let mut block = Self::absent();
                $( block.$field.read(stringify!($field), node, cx); )*
                Some(block)
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }

            fn over(&self, under: &Self) -> Self {
                Self { $( $field: self.$field.over(&under.$field), )* }
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut properties = serde_json::Map::new();
                $( $crate::decode::keys::property::<$ty>(
                    &mut properties,
                    generator,
                    stringify!($field),
                    concat!($($doc, "\n"),+),
                    None$(.or(Some($default)))?,
                ); )*
                schemars::json_schema!({
                    "description": $crate::decode::paragraph(concat!($($about, "\n"),+)),
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                })
            }
        }
    )* };
}
pub(crate) use keys;

/// The key that a field name stands for: a keyword of Rust is written `r#for`.
fn key_of(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Whether a node is a mapping; its unknown keys are reported.
pub(crate) fn open_block(node: &Node, known_fields: &[&'static str], cx: &mut Decoder<'_>) -> bool {
    let names: Vec<&str> = known_fields.iter().map(|field| key_of(field)).collect();
    if !node.is_mapping() {
        if node.plain_text() == Some("off") {
            let place = cx.place(node.span());
            let report = Report::error("wrong_type", &place, "this block cannot be switched off as a whole");
            cx.report(report.help(known("", names.iter().copied())));
        } else {
            cx.expected(node, "a mapping");
        }
        return false;
    }
    for (key, _) in node.entries() {
        if !names.contains(&key.text.as_str()) {
            let place = cx.within(&key.text, |cx| cx.place(key.span()));
            let report = Report::error("unknown_key", &place, format!("unknown key `{}`", key.text));
            cx.report(report.help(known(&key.text, names.iter().copied())));
        }
    }
    true
}

impl<T: Decode> Field<T> {
    /// Reads this key of a block.
    pub(crate) fn read(&mut self, field: &'static str, node: &Node, cx: &mut Decoder<'_>) {
        let key = key_of(field);
        let Some(child) = node.get(key) else { return };
        self.state = cx.within(key, |cx| match spanned(child, cx) {
            Some(value) => State::Given(value),
            None => State::Unreadable,
        });
    }
}

/// A value with its place; for a block over several lines that is its first key.
pub(crate) fn spanned<T: Decode>(node: &Node, cx: &mut Decoder<'_>) -> Option<Spanned<T>> {
    let at: Place = cx.place(node.span());
    let written = node.text().filter(|text| text.contains("${")).map(Into::into);
    T::decode(node, cx).map(|value| Spanned { value, at, written })
}

/// Adds one key to the properties of a block's schema.
pub(crate) fn property<T: Decode>(
    properties: &mut Map<String, Value>,
    generator: &mut SchemaGenerator,
    field: &'static str,
    doc: &str,
    default: Option<&'static str>,
) {
    let mut schema: Schema = T::schema(generator);
    let description = paragraph(doc);
    // The range of a type is part of what a reader of the key wants to know.
    let range = schema.remove("description").and_then(|text| text.as_str().map(str::to_owned));
    let description = range.map_or(description.clone(), |range| format!("{description} {range}"));
    let end = [". ", ": "].iter().filter_map(|end| description.find(end)).min().unwrap_or(description.len());
    schema.insert("title".into(), json!(description[..end].trim_end_matches('.')));
    schema.insert("description".into(), json!(description));
    if let Some(text) = default {
        schema.insert("default".into(), default_value(text));
    }
    properties.insert(key_of(field).to_owned(), schema.to_value());
}

/// The lines of a doc comment as one paragraph.
pub(crate) fn paragraph(doc: &str) -> String {
    doc.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn default_value(text: &'static str) -> Value {
    tree::parse(text, &tree::Limits::default()).map_or(Value::Null, |node| json_of(&node))
}

fn json_of(node: &Node) -> Value {
    if node.is_sequence() {
        return node.items().iter().map(json_of).collect();
    }
    let text = node.text().unwrap_or_default();
    let typed = node.plain_text().and_then(|plain| serde_json::from_str::<Value>(plain).ok());
    typed.filter(|value| value.is_number() || value.is_boolean()).unwrap_or_else(|| json!(text))
}
