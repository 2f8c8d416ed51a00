//! YAML or JSON text as a tree whose nodes know their place.
//!
//! JSON is read by the same parser, as the subset of YAML 1.2 that it is; the one gap between the two (an escaped
//! pair of UTF-16 surrogates) is closed in `surrogate.rs`.
//!
//! Rules:
//! - Nothing is typed here. A scalar is its text and whether it stood *plain* (without quotes), because `off` and
//!   `"off"` differ in meaning and only the reader of a key knows which type it wants. [`Node::is_null`],
//!   [`Node::as_bool`] and [`Node::text`] are the three readings every reader needs.
//! - Mapping entries keep the order of the text. A key is a scalar; two keys with the same text in one mapping are an
//!   error (`200` and `"200"` are the same key). `<<` is a key like any other: YAML 1.2 has no merge keys.
//! - Aliases are replaced by a copy of what they name, with the positions of the original. Every copy is counted:
//!   a text that multiplies itself runs into [`Limits`] before it costs memory.
//! - One document a text. An empty text is a null scalar at 1:1. A byte order mark and CRLF are accepted, control
//!   characters are not.
//! - Tags that only restate a core type (`!!str`, `!!int`, ...) are accepted; `!!str` and `!` make a plain scalar
//!   count as quoted. Any other tag is refused.
//!
//! All duplicate keys are reported at once; a syntax error or a limit ends the reading.

mod build;
mod surrogate;
#[cfg(test)]
mod tests;

pub use build::parse;

use crate::Position;

/// Bounds on what one text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the text, and separately the sum of all text copied for aliases, in bytes.
    pub bytes_max: usize,
    /// Nesting of collections; the root is at depth 1. Dropping and copying a tree recurse this deep, so keep it
    /// within a few hundred.
    pub depth_max: usize,
    /// Scalars, sequences and mappings, keys included, after aliases are replaced. A node that carries an anchor
    /// counts twice, because its original is kept for copying.
    pub nodes_max: usize,
}

impl Default for Limits {
    /// 16 MiB, 128 levels, 2,000,000 nodes.
    fn default() -> Limits {
        Limits { bytes_max: 16 << 20, depth_max: 128, nodes_max: 2_000_000 }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// First character. A value left out (`key:` and nothing more) stands just behind its key.
    pub position: Position,
    /// Just behind the last character; for a block collection, the end of its last entry.
    pub end: Position,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `plain`: written without quotes and not as a block (`|`, `>`), so it may mean null, a boolean or a number.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub text: String,
    /// As for scalars.
    pub plain: bool,
    pub position: Position,
    pub end: Position,
}

impl Node {
    /// The value under `key`, if this is a mapping that has it. Linear in the number of entries.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// As [`Node::get`], with the key and its position.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.entries().iter().find(|(k, _)| k.text == key).map(|(k, node)| (k, node))
    }

    /// The entries of a mapping in the order of the text; empty for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; empty for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    pub fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    pub fn is_sequence(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// The text of a scalar, whatever its type; a null is no text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar that stood without quotes.
    pub fn plain_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// Nothing, `~` or `null`, plain (core schema of YAML 1.2).
    pub fn is_null(&self) -> bool {
        matches!(self.plain_text(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// `true` or `false`, plain and in lower case; nothing else is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.plain_text() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        }
    }

    /// What this is, for a message: "a mapping", "a list", "nothing" or "a value".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a value",
        }
    }

    /// Start and end.
    pub fn span(&self) -> (Position, Position) {
        (self.position, self.end)
    }
}

impl Key {
    /// Start and end.
    pub fn span(&self) -> (Position, Position) {
        (self.position, self.end)
    }
}
