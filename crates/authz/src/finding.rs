//! What is wrong with policies, told so that who wrote them can put it right.

use std::path::PathBuf;

use serde::Serialize;

/// How much a finding matters. Only errors keep policies from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policies are refused, all of them: half a set of rules is another set of rules.
    Error,
    /// They can be used, but somebody will probably regret it.
    Warning,
}

/// One thing that is wrong with the policies, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it keeps the policies from being used.
    pub severity: Severity,
    /// Stable, in `snake_case`.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// As it was handed in; empty where no file is meant.
    pub file: PathBuf,
    /// From 1; 0 where no line is meant.
    pub line: u32,
    /// From 1, in characters; 0 where no line is meant.
    pub column: u32,
    /// How many characters of the line are meant, at least one.
    #[serde(skip)]
    pub length: u32,
    /// The line, as it stands in the file.
    #[serde(skip)]
    pub source_line: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    /// An error without a place.
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            file: PathBuf::new(),
            line: 0,
            column: 0,
            length: 1,
            source_line: None,
            help: None,
        }
    }

    /// The same, as a warning.
    pub(crate) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The same, with what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same, at these bytes of this file.
    pub(crate) fn at(mut self, source: &Source<'_>, begin: usize, length: usize) -> Self {
        let place = source.place(begin, length);
        self.file = source.path.into();
        (self.line, self.column, self.length) = (place.line, place.column, place.length);
        self.source_line = Some(place.text.to_owned());
        self
    }

    /// Whether it keeps the policies from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A file that findings point into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
}

struct Place<'a> {
    line: u32,
    column: u32,
    length: u32,
    text: &'a str,
}

/// Longer lines are shown up to here: nobody reads a line of a megabyte.
const LINE_BYTES_MAX: usize = 400;

impl Source<'_> {
    /// Where these bytes stand. Offsets come from a foreign parser, so none is trusted to lie between characters.
    fn place(&self, begin: usize, length: usize) -> Place<'_> {
        let begin = self.text.floor_char_boundary(begin);
        let end = self.text.ceil_char_boundary(begin.saturating_add(length).min(self.text.len()));
        let line_begin = self.text[..begin].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[begin..].find('\n').map_or(self.text.len(), |at| begin + at);
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let line = self.text.as_bytes()[..line_begin].iter().filter(|byte| **byte == b'\n').count();
        let shown = self.text.floor_char_boundary(line_end.min(line_begin + LINE_BYTES_MAX));
        Place {
            line: u32::try_from(line + 1).unwrap_or(u32::MAX),
            column: count(&self.text[line_begin..begin]) + 1,
            length: count(&self.text[begin..end.clamp(begin, line_end)]).max(1),
            text: self.text[line_begin..shown].trim_end_matches('\r'),
        }
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, at: usize) -> u32 {
        self.place(at, 1).line
    }
}

/// The nearest of these names, if one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let near = names.into_iter().map(|known| (distance(name, known), known));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, known)| known)
}

/// How many characters have to be put in, taken out or exchanged; names are short.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (index, right) in other.iter().enumerate() {
            let exchanged = diagonal + usize::from(left != *right);
            diagonal = row[index + 1];
            row[index + 1] = exchanged.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
