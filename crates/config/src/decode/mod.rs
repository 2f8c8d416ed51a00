//! From the tree to typed keys, without stopping at the first problem.
//!
//! Rules of this room:
//! - A type says how it is written ([`Decode`]); a set of keys is declared once, with the [`keys!`](keys!) macro, and
//!   gets its decoder, its JSON Schema and its merging from that declaration.
//! - A problem is reported where it is met and decoding goes on; what could not be read is `State::Unreadable`, so
//!   that later rules do not complain about it a second time.
//! - Nothing is resolved here: names, files and defaults of other places are the business of `check`.

pub(crate) mod block;
pub(crate) mod collection;
pub(crate) mod field;
pub(crate) mod keys;
pub(crate) mod scalar;
pub(crate) mod substitute;

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_openapi::Position;
use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator};

pub(crate) use block::BlockOrOff;
pub(crate) use collection::{Entry, List, Map, Naming};
pub(crate) use field::{Field, Spanned, State};
pub(crate) use keys::{keys, paragraph, spanned};
pub(crate) use scalar::{Refusal, Scalar};
pub(crate) use substitute::{FILE_BYTES_MAX, Given, Lookup};

use crate::diagnostic::{FileId, Place, Report};

/// A type that can be read from a node.
pub(crate) trait Decode: Clone + Sized {
    /// Reads it. `None`: the reason has been reported, or the key counts as absent.
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Self>;

    /// Its JSON Schema. A `description` in it is added to that of the key.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// This value with `under` beneath it. Scalars and lists replace, blocks merge key by key.
    fn over(&self, _under: &Self) -> Self {
        self.clone()
    }
}

/// What decoding one file needs and finds.
pub(crate) struct Decoder<'a> {
    pub(crate) file: FileId,
    /// The folder of the file: relative names start here.
    pub(crate) dir: PathBuf,
    pub(crate) lookup: &'a dyn Lookup,
    pub(crate) reports: Vec<Report>,
    /// What was substituted, for the digest and for reading again.
    pub(crate) given: Vec<Given>,
    path: Vec<String>,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(file: FileId, dir: PathBuf, lookup: &'a dyn Lookup) -> Decoder<'a> {
        Decoder { file, dir, lookup, reports: Vec::new(), given: Vec::new(), path: Vec::new() }
    }

    /// Where a span of this file is, with the key being read.
    pub(crate) fn place(&self, span: (Position, Position)) -> Place {
        let (start, end) = span;
        // Blocks over several lines are underlined at their first character.
        let length = if start.line == end.line { end.column.saturating_sub(start.column).max(1) } else { 1 };
        let key = Arc::from(self.path.join("."));
        Place { file: self.file, line: start.line, column: start.column, length, key }
    }

    /// Runs `read` with `key` added to the path of keys.
    pub(crate) fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let value = read(self);
        self.path.pop();
        value
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.reports.push(report);
    }

    /// Reports that a node is not what was expected.
    pub(crate) fn expected(&mut self, node: &Node, what: &str) {
        let place = self.place(node.span());
        let report = Report::error("wrong_type", &place, format!("expected {what}, found {}", node.kind()));
        let report = if node.is_null() { report.help("give it a value, or remove the key") } else { report };
        self.report(report);
    }
}
