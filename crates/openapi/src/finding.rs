//! What is wrong in a text, and where.

use std::fmt;

/// A place in a text: line and column count from 1, columns in characters (not bytes), a byte order mark at the
/// start of the text not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One problem of a text, made to be shown to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for scripts: `yaml_...` from the tree, `openapi_...` from the document reader.
    pub code: &'static str,
    /// One sentence without a full stop, with the offending name in it.
    pub message: String,
    pub position: Position,
    /// Just behind the last offending character; equal to `position` where nothing can be underlined.
    pub end: Position,
    /// What to do about it, where that is not obvious.
    pub help: Option<String>,
    /// True: the text is usable all the same.
    pub warning: bool,
}

impl Finding {
    /// An error that spans `at` (start, end).
    pub fn error(code: &'static str, at: (Position, Position), message: impl Into<String>) -> Finding {
        Finding { code, message: message.into(), position: at.0, end: at.1, help: None, warning: false }
    }

    /// As [`Finding::error`], for what is usable all the same.
    pub fn warning(code: &'static str, at: (Position, Position), message: impl Into<String>) -> Finding {
        Finding { warning: true, ..Finding::error(code, at, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Finding {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.warning { "warning" } else { "error" };
        write!(f, "{}: {severity}: {} [{}]", self.position, self.message, self.code)
    }
}
