//! What is wrong with a configuration, told so that the person who wrote it can put it right.
//!
//! Rules of this room:
//! - A problem names its place (file, line, column), the key, and says in one sentence what is wrong; what to do
//!   about it is in `help`.
//! - Codes are stable: scripts and the documentation build on them.
//! - A value that came out of the environment or a file is never quoted; its name is.

mod nearest;
mod render;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

pub(crate) use nearest::{known, nearest};
pub use render::{problems_json, render_json, render_text};

/// How much a problem matters. Only errors keep a configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It can be used, but somebody will probably regret it.
    Warning,
    /// Worth knowing: loosenings, operations that are not served.
    Note,
}

/// One thing that is wrong, or worth knowing, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// Stable, in `snake_case`.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// As reached from the file that was given.
    pub file: PathBuf,
    /// From 1; 0 where no line is meant.
    pub line: u32,
    /// From 1, in characters; 0 where no line is meant.
    pub column: u32,
    /// Such as `apis.payments.versions.v1.upstream`; empty where no key is meant.
    pub key: String,
    /// What to do about it.
    pub help: Option<String>,
    /// How many characters of the line to underline, at least one.
    #[serde(skip)]
    pub length: u32,
    /// The line, as it stands in the file.
    #[serde(skip)]
    pub source_line: Option<String>,
}

impl Problem {
    /// An error without a place, for what is found out after loading.
    pub fn error(code: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            code,
            message: message.into(),
            file: PathBuf::new(),
            line: 0,
            column: 0,
            key: String::new(),
            help: None,
            length: 1,
            source_line: None,
        }
    }

    /// The same problem, of this file.
    #[must_use]
    pub fn at_file(mut self, file: impl Into<PathBuf>) -> Problem {
        self.file = file.into();
        self
    }

    /// The same problem, of this key.
    #[must_use]
    pub fn for_key(mut self, key: impl Into<String>) -> Problem {
        self.key = key.into();
        self
    }

    /// The same problem, with what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Whether this keeps the configuration from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Where in the configuration something stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) file: FileId,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
    pub(crate) key: Arc<str>,
}

impl Place {
    /// The beginning of a file.
    pub(crate) fn start(file: FileId) -> Place {
        Place { file, line: 1, column: 1, length: 1, key: Arc::from("") }
    }

    /// The same place, of another key.
    pub(crate) fn of_key(&self, key: &str) -> Place {
        Place { key: Arc::from(key), ..self.clone() }
    }
}

/// A file in the order in which files were met; what was included first is reported first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(pub(crate) u32);

/// A problem that does not know the name of its file yet.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) severity: Severity,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) at: Place,
}

impl Report {
    pub(crate) fn error(code: &'static str, at: &Place, message: impl Into<String>) -> Report {
        Report { severity: Severity::Error, code, message: message.into(), help: None, at: at.clone() }
    }

    pub(crate) fn warning(code: &'static str, at: &Place, message: impl Into<String>) -> Report {
        Report { severity: Severity::Warning, ..Report::error(code, at, message) }
    }

    pub(crate) fn note(code: &'static str, at: &Place, message: impl Into<String>) -> Report {
        Report { severity: Severity::Note, ..Report::error(code, at, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Report {
        self.help = Some(help.into());
        self
    }
}

/// Sorted by place, each said once, with the name and the line of its file.
pub(crate) fn finish(
    mut reports: Vec<Report>,
    file: impl Fn(FileId, u32) -> (PathBuf, Option<String>),
) -> Vec<Problem> {
    let place = |r: &Report| (r.at.file, r.at.line, r.at.column);
    reports.sort_by(|a, b| {
        let order = place(a).cmp(&place(b)).then((a.severity, a.code).cmp(&(b.severity, b.code)));
        order.then_with(|| a.message.cmp(&b.message))
    });
    reports.dedup_by(|a, b| place(a) == place(b) && a.code == b.code && a.message == b.message);
    let problem = |report: Report| {
        let (path, source_line) = file(report.at.file, report.at.line);
        Problem {
            severity: report.severity,
            code: report.code,
            message: report.message,
            file: path,
            line: report.at.line,
            column: report.at.column,
            key: report.at.key.to_string(),
            help: report.help,
            length: report.at.length,
            source_line,
        }
    };
    reports.into_iter().map(problem).collect()
}
