//! Tests of the whole way, from text to problems.
//!
//! A row is a text and what is expected of it: `severity code line:column` for each problem, in order. What a row
//! leaves out (upstreams, apis) is put behind it, so that lines stay what they are.

mod documents;
mod effects;
mod examples;
mod files;
mod hostile;
mod identity;
mod keys;
mod lifecycle;
mod operations;
mod render;
mod resilience;
mod schema;
mod tokens;
mod transport;

use std::path::Path;
use std::sync::Arc;

use crate::checked::Checked;
use crate::{Options, Outcome, Problem, load_memory};

/// 2026-09-21.
const NOW_S: i64 = 1_789_948_800;
const UPSTREAMS: &str = "\nupstreams: { up: { endpoints: [http://127.0.0.1:9001] } }\n";
const APIS: &str = "\napis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: { GET /x: {} } } } } }\n";

fn options() -> Options {
    let env = |name: &str| match name {
        "SECRET" => Some("s3cr3t-value".to_owned()),
        "WAIT" => Some("5s".to_owned()),
        "COUNT" => Some("7".to_owned()),
        "YES" => Some("true".to_owned()),
        "OFF" => Some("off".to_owned()),
        "NONE" => Some("none".to_owned()),
        "EMPTY" => Some(String::new()),
        "HOME_OF_MULTI" => Some("a: b\nc: d".to_owned()),
        _ => None,
    };
    Options {
        env: Arc::new(env),
        host_name: Arc::new(|| "host-1".to_owned()),
        now_s: NOW_S,
        workers: 2,
        ..Options::default()
    }
}

/// The text with what it leaves out.
fn whole(text: &str) -> String {
    let mut whole = text.to_owned();
    for (key, rest) in [("upstreams:", UPSTREAMS), ("apis:", APIS)] {
        if !text.contains(key) {
            whole.push_str(rest);
        }
    }
    whole
}

fn load_text(text: &str) -> Outcome {
    load_files(&[("mainstay.yaml", &whole(text))], &options())
}

fn load_files(files: &[(&str, &str)], options: &Options) -> Outcome {
    load_memory(Path::new(files[0].0), files.iter().copied(), options)
}

fn told(problems: &[Problem]) -> Vec<String> {
    let name = |problem: &Problem| match problem.file.to_str() {
        Some("mainstay.yaml") | None => String::new(),
        Some(other) => format!("{other}:"),
    };
    let row = |p: &Problem| {
        format!(
            "{} {} {}{}:{}",
            format!("{:?}", p.severity).to_lowercase(),
            p.code,
            name(p),
            p.line,
            p.column
        )
    };
    problems.iter().map(row).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let outcome = load_text(text);
    assert_eq!(told(&outcome.problems), expected, "\n{text}\n{}", crate::render_text(&outcome.problems));
    let has_errors = expected.iter().any(|row| row.starts_with("error"));
    assert_eq!(outcome.checked.is_none(), has_errors, "{text}");
}

#[track_caller]
fn check_files(files: &[(&str, &str)], expected: &[&str]) {
    let outcome = load_files(files, &options());
    assert_eq!(told(&outcome.problems), expected, "\n{}", crate::render_text(&outcome.problems));
}

#[track_caller]
fn good(text: &str) -> Checked {
    let outcome = load_text(text);
    let errors = outcome.problems.iter().any(Problem::is_error);
    assert!(!errors, "{text}\n{}", crate::render_text(&outcome.problems));
    outcome.checked.expect("no errors")
}
