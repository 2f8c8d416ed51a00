//! A value of any shape, as JSON.

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Number, Value};

use crate::decode::{Decode, Decoder, substitute};
use crate::diagnostic::Report;

/// A fixed answer is short; a larger one is a page.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A mapping, a list or a text, as JSON text. Keys keep their order. Plain scalars mean what they mean in JSON; what
/// was substituted is a text.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody(pub(crate) String);

impl Decode for JsonBody {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<JsonBody> {
        let value = json_of(node, cx)?;
        if !matches!(value, Value::Object(_) | Value::Array(_) | Value::String(_)) {
            let at = cx.place(node.span());
            let report = Report::error("wrong_type", &at, "expected a mapping, a list or a text");
            cx.report(report.help("quotes make a text of it"));
            return None;
        }
        let text = value.to_string();
        if text.len() > BODY_BYTES_MAX {
            let at = cx.place(node.span());
            cx.report(Report::error("out_of_range", &at, "out of range: expected at most 64KiB of JSON"));
            return None;
        }
        Some(JsonBody(text))
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "array", "string"] })
    }
}

fn json_of(node: &Node, cx: &mut Decoder<'_>) -> Option<Value> {
    if node.is_mapping() {
        let read = |(key, value): &(mainstay_openapi::tree::Key, Node)| {
            cx.within(&key.text, |cx| json_of(value, cx)).map(|value| (key.text.clone(), value))
        };
        // All are read, so that each missing variable is told.
        let entries: Vec<_> = node.entries().iter().map(read).collect();
        return entries.into_iter().collect::<Option<Map<_, _>>>().map(Value::Object);
    }
    if node.is_sequence() {
        let items: Vec<_> = node.items().iter().map(|item| json_of(item, cx)).collect();
        return items.into_iter().collect::<Option<_>>().map(Value::Array);
    }
    if node.is_null() {
        return Some(Value::Null);
    }
    if let Some(word) = node.as_bool() {
        return Some(Value::Bool(word));
    }
    if let Some(number) = node.plain_text().and_then(|text| text.parse::<Number>().ok()) {
        return Some(Value::Number(number));
    }
    substitute::scalar(node, "a value", cx).map(|scalar| Value::String(scalar.text))
}
