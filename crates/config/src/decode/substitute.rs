//! `${NAME}` and `${file:path}` in scalars.
//!
//! Substitution happens on a scalar that has been parsed, so a value cannot change the structure of the file. The key
//! decides what the result means: a variable that holds `5s` is a duration where one is expected. `$${` stands for a
//! literal `${`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_openapi::tree::Node;

use super::Decoder;
use crate::diagnostic::{Place, Report};
use crate::store::ReadError;

/// A secret or a setting is short; a larger file is a mistake.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where values come from. `()` knows none.
pub(crate) trait Lookup {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file.
    fn file(&self, path: &Path) -> Result<String, ReadError>;
    /// Whether a missing variable is only worth a warning.
    fn allow_missing(&self) -> bool;
}

impl Lookup for () {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn file(&self, _path: &Path) -> Result<String, ReadError> {
        Err(ReadError::Unreadable("not available here".into()))
    }

    fn allow_missing(&self) -> bool {
        false
    }
}

/// Something that was put in.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) text: String,
    /// The file it came from; none for a variable.
    pub(crate) file: Option<PathBuf>,
}

/// A scalar after substitution.
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// It may mean `off`, a number or a boolean: it stood without quotes, or is typed by its key because something was
    /// substituted.
    pub(crate) plain: bool,
    pub(crate) at: Place,
    pub(crate) written: Option<Arc<str>>,
}

/// The scalar that a node holds. `None`: it holds none, or something could not be substituted; that is reported.
pub(crate) fn scalar(node: &Node, what: &str, cx: &mut Decoder<'_>) -> Option<Scalar> {
    let Some(text) = node.text() else {
        cx.expected(node, what);
        return None;
    };
    let at = cx.place(node.span());
    if !text.contains("${") {
        return Some(Scalar { text: text.to_owned(), plain: node.plain_text().is_some(), at, written: None });
    }
    let expanded = expand(text, &at, cx)?;
    Some(Scalar { text: expanded, plain: true, at, written: Some(Arc::from(text)) })
}

/// Whether a block is switched off: plain `off`, also out of a substitution. `None`: that failed, and is reported.
pub(crate) fn is_off(node: &Node, cx: &mut Decoder<'_>) -> Option<bool> {
    match node.text() {
        Some(text) if text.contains("${") => scalar(node, "`off`", cx).map(|scalar| scalar.text == "off"),
        _ => Some(node.plain_text() == Some("off")),
    }
}

fn expand(text: &str, at: &Place, cx: &mut Decoder<'_>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut complete = true;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            out.push_str(&rest[..start]);
            out.push('{');
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(&rest[..start]);
        let Some(length) = rest[start..].find('}') else {
            let report = Report::error("bad_substitution", at, "`${` without its `}`");
            cx.report(report.help("write `$${` for a literal `${`"));
            return None;
        };
        let name = &rest[start + 2..start + length];
        match value_of(name, at, cx) {
            Some(value) => out.push_str(&value),
            None => complete = false,
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    complete.then_some(out)
}

fn value_of(name: &str, at: &Place, cx: &mut Decoder<'_>) -> Option<String> {
    if let Some(path) = name.strip_prefix("file:") {
        return file_value(path, at, cx);
    }
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let report =
            Report::error("bad_substitution", at, format!("`{name}` is no name of an environment variable"));
        cx.report(report.help("write `${NAME}` with letters, digits and `_`, or `${file:path}`"));
        return None;
    }
    let Some(value) = cx.lookup.variable(name) else {
        let message = format!("the environment variable `{name}` is not set");
        let report = if cx.lookup.allow_missing() {
            Report::warning("env_missing", at, message).help("the key counts as absent in this check")
        } else {
            Report::error("env_missing", at, message).help("set it, or check with `--allow-missing-env`")
        };
        cx.report(report);
        return None;
    };
    cx.given.push(Given { text: value.clone(), file: None });
    Some(value)
}

fn file_value(path: &str, at: &Place, cx: &mut Decoder<'_>) -> Option<String> {
    let path = cx.dir.join(path);
    let shown = path.display();
    let text = match cx.lookup.file(&path) {
        Ok(text) => text,
        Err(error) => {
            let message = match error {
                ReadError::Unreadable(why) => format!("{shown} cannot be read: {why}"),
                ReadError::TooLarge => format!("{shown} has more than {FILE_BYTES_MAX} bytes"),
                ReadError::NotUtf8(_) => format!("{shown} is not UTF-8"),
            };
            cx.report(Report::error("substituted_file", at, message));
            return None;
        }
    };
    cx.given.push(Given { text: text.clone(), file: Some(path) });
    let end = text.trim_end_matches(['\r', '\n']).len();
    Some(text[..end].to_owned())
}
