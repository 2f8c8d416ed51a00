//! Lists and maps of named entries.

use std::marker::PhantomData;

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Decode, Decoder, Field, Spanned, State, spanned};
use crate::diagnostic::Report;

/// A list; a list of one may be written as the plain value.
#[derive(Clone, Debug)]
pub(crate) struct List<T>(pub(crate) Vec<Spanned<T>>);

impl<T: Decode> Decode for List<T> {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<List<T>> {
        if !node.is_sequence() {
            return spanned(node, cx).map(|item| List(vec![item]));
        }
        let items: Vec<Option<Spanned<T>>> = node
            .items()
            .iter()
            .enumerate()
            .map(|(index, item)| cx.within(&index.to_string(), |cx| spanned(item, cx)))
            .collect();
        // A list that lost an item would pass for one that never had it.
        items.into_iter().collect::<Option<Vec<_>>>().map(List)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut item = T::schema(generator);
        let description = item.remove("description");
        let mut schema = json_schema!({ "anyOf": [item.clone(), { "type": "array", "items": item }] });
        if let Some(description) = description {
            schema.insert("description".into(), description);
        }
        schema
    }
}

/// How the names of a map are written.
pub(crate) trait Naming: Clone + std::fmt::Debug {
    /// What a name looks like, for the message.
    const WHAT: &'static str;
    /// The same as a regular expression.
    const PATTERN: &'static str;

    fn fits(name: &str) -> bool;
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub(crate) name: Spanned<String>,
    pub(crate) value: Field<T>,
}

/// Entries by name, in the order of the file.
#[derive(Clone, Debug)]
pub(crate) struct Map<N, T> {
    pub(crate) entries: Vec<Entry<T>>,
    /// An entry was left out because of its name, which has been reported.
    pub(crate) has_lost: bool,
    naming: PhantomData<N>,
}

impl<N, T> Default for Map<N, T> {
    fn default() -> Map<N, T> {
        Map { entries: Vec::new(), has_lost: false, naming: PhantomData }
    }
}

impl<N, T> Map<N, T> {
    pub(crate) fn get(&self, name: &str) -> Option<&Entry<T>> {
        self.entries.iter().find(|entry| entry.name.value == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.iter().map(|entry| entry.name.value.as_str())
    }
}

impl<N: Naming, T: Decode> Decode for Map<N, T> {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Map<N, T>> {
        if !node.is_mapping() {
            cx.expected(node, "a mapping of names");
            return None;
        }
        let mut map = Map::default();
        for (key, child) in node.entries() {
            cx.within(&key.text, |cx| {
                let at = cx.place(key.span());
                let state = match spanned(child, cx) {
                    Some(value) => State::Given(value),
                    None => State::Unreadable,
                };
                if N::fits(&key.text) {
                    let name = Spanned { value: key.text.clone(), at, written: None };
                    map.entries.push(Entry { name, value: Field { state, default: None } });
                } else {
                    map.has_lost = true;
                    cx.report(Report::error("bad_name", &at, format!("`{}` is no {}", key.text, N::WHAT)));
                }
            });
        }
        Some(map)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let value = T::schema(generator);
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": N::PATTERN },
            "additionalProperties": value,
        })
    }
}
