//! Problems as text for people and as JSON for scripts.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Problem, Severity};

/// Lines longer than this are shown around the problem only.
const LINE_CHARS_MAX: usize = 400;

/// One paragraph a problem: `file:line:column`, the sentence, the source line with the place underlined, what to do.
pub fn render_text(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let Problem { severity, code, message, file, line, column, key, help, .. } = problem;
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        // Writing to a String cannot fail.
        let _ = match line {
            0 if file.as_os_str().is_empty() => writeln!(text, "{severity}: {message} [{code}]"),
            0 => writeln!(text, "{}: {severity}: {message} [{code}]", file.display()),
            _ => writeln!(text, "{}:{line}:{column}: {severity}: {message} [{code}]", file.display()),
        };
        if let Some(snippet) = snippet(problem) {
            text.push_str(&snippet);
        }
        if !key.is_empty() {
            let _ = writeln!(text, "  key: {key}");
        }
        if let Some(help) = help {
            let _ = writeln!(text, "  help: {help}");
        }
        text.push('\n');
    }
    text
}

fn snippet(problem: &Problem) -> Option<String> {
    let line = problem.source_line.as_deref()?;
    let (shown, span) = excerpt(line, problem.column as usize, problem.length as usize)?;
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let snippet = Snippet::source(shown)
        .line_start(problem.line as usize)
        .annotation(AnnotationKind::Primary.span(span));
    let rendered = Renderer::plain().render(&[Group::with_level(level).element(snippet)]);
    Some(rendered + "\n")
}

/// The part of a line that is worth showing, and the bytes of it to underline.
fn excerpt(line: &str, column: usize, length: usize) -> Option<(String, Range<usize>)> {
    let chars = line.chars().count();
    let start = column.checked_sub(1)?.min(chars);
    let first = if chars > LINE_CHARS_MAX { start.saturating_sub(LINE_CHARS_MAX / 2) } else { 0 };
    let shown: String = line.chars().skip(first).take(LINE_CHARS_MAX).collect();
    let byte_of = |index: usize| shown.char_indices().nth(index).map_or(shown.len(), |(at, _)| at);
    let from = byte_of(start - first);
    let to = byte_of((start - first).saturating_add(length.max(1)));
    Some((shown.clone(), from..to.max(from)))
}

/// `{"ok":false,"problems":[...]}` on one line.
pub fn render_json(problems: &[Problem], ok: bool) -> String {
    serde_json::json!({ "ok": ok, "problems": problems }).to_string()
}

/// The list of problems alone, as a JSON array on one line.
pub fn problems_json(problems: &[Problem]) -> String {
    serde_json::json!(problems).to_string()
}
