//! What the commands about the catalogue have in common: asking, refusals, pages, tables.

use clap::Args;
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Map, Value, json};

use super::ask::{Session, show, text};
use super::{Common, NO, OutputFormat, complain, say};

/// The most that one page may have.
const PAGE_MAX: usize = 500;

/// Changes something, and prints what it is then.
pub(super) fn change(
    common: &Common,
    (method, path): (Method, &str),
    body: Option<&Value>,
    shown: impl FnOnce(&Value) -> String,
) -> u8 {
    match answered(common, (method, path), body) {
        Ok(value) => {
            show(common, &value, shown);
            0
        }
        Err(code) => code,
    }
}

/// The answer to a call that is a yes, or the exit code of having told the other one.
pub(super) fn answered(
    common: &Common,
    (method, path): (Method, &str),
    body: Option<&Value>,
) -> Result<Value, u8> {
    let (status, value) = Session::open(common)?.ask(method, path, body)?;
    if status.is_success() { Ok(value) } else { Err(refused(common, &value)) }
}

/// Tells a refusal: a program gets the problem as it is, a person what is wrong and what to do.
fn refused(common: &Common, problem: &Value) -> u8 {
    if common.output == OutputFormat::Json {
        say(&format!("{problem}\n"));
        return NO;
    }
    let mut lines = format!("mainstay: {}\n", problem["detail"].as_str().unwrap_or("the engine refused"));
    for error in problem["errors"].as_array().into_iter().flatten() {
        let place = error.get("pointer").or_else(|| error.get("parameter"));
        let place = place.and_then(Value::as_str).unwrap_or_default().trim_start_matches('/');
        lines.push_str(&format!("  {place}: {}\n", text(&error["message"])));
    }
    if let Some(help) = problem["help"].as_str() {
        lines.push_str(&format!("  {help}\n"));
    }
    complain(&lines);
    NO
}

/// Prints a list, page after page, at most so many items.
pub(super) fn list(
    common: &Common,
    path: &str,
    filters: &[(&str, &str)],
    most: usize,
    shown: impl FnOnce(&[Value]) -> String,
) -> u8 {
    match pages(common, path, filters, most) {
        Ok(items) => {
            show(common, &json!({ "items": items }), |_| shown(&items));
            0
        }
        Err(code) => code,
    }
}

fn pages(common: &Common, path: &str, filters: &[(&str, &str)], most: usize) -> Result<Vec<Value>, u8> {
    let session = Session::open(common)?;
    let (mut items, mut cursor) = (Vec::new(), None::<String>);
    while items.len() < most {
        let mut query = format!("{path}?limit={}", PAGE_MAX.min(most - items.len()));
        for (name, value) in filters.iter().copied().chain(cursor.as_deref().map(|next| ("cursor", next))) {
            query.push_str(&format!("&{name}={}", path_segment(value)));
        }
        let (status, mut page) = session.ask(Method::GET, &query, None)?;
        if !status.is_success() {
            return Err(refused(common, &page));
        }
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        match page["next"].as_str() {
            Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
            _ => break,
        }
    }
    Ok(items)
}

/// Rows under headings, each column as wide as it has to be.
pub(super) fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all: Vec<Vec<String>> = vec![headings.iter().map(|heading| (*heading).to_owned()).collect()];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut lines = String::new();
    for row in &all {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        lines.push_str(cells.join("  ").trim_end());
        lines.push('\n');
    }
    lines
}

/// One record, a field a line.
pub(super) fn fields(value: &Value, names: &[&str]) -> String {
    let mut lines = String::new();
    for name in names {
        let shown = cell(&value[*name]);
        if shown != "-" {
            lines.push_str(&format!("{:13} {shown}\n", name.replace('_', " ")));
        }
    }
    lines
}

/// A value of a record in one cell; `-` where there is none.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    }
}

/// Where and for what a key may be used.
#[derive(Args, Debug)]
pub(super) struct Limits {
    /// What it may be used for; once for each scope.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// An address or a network that it may be used from; without one, from anywhere.
    #[arg(long, value_name = "CIDR")]
    address: Vec<String>,
    /// An api that it may be used for; without one, for all.
    #[arg(long, value_name = "API")]
    api: Vec<String>,
    /// For how long it is accepted, such as 30d; without it, until it is revoked.
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
}

impl Limits {
    /// What the admin API takes.
    pub(super) fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        for (name, list) in [("scopes", self.scope), ("addresses", self.address), ("apis", self.api)] {
            if !list.is_empty() {
                body.insert(name.to_owned(), list.into());
            }
        }
        if let Some(expires_in) = self.expires_in {
            body.insert("expires_in".to_owned(), expires_in.into());
        }
        body
    }
}
