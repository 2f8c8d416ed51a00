//! Limits on what a reader has to hold in mind: the length of a file and of a function, tests left out.

use super::{Files, Finding, rust_source};
use std::ops::Range;

/// Past this a file is two rooms in one; most are under 500, and the rest of the way is for a table or a long proof.
const FILE_LINES_MAX: usize = 800;
/// A function should fit a screen (60 lines); a list of stages in order may be longer, but is still one thing.
const FUNCTION_LINES_MAX: usize = 100;

pub(super) fn check(files: &Files) -> Vec<Finding> {
    let ours =
        files.iter().filter(|(path, _)| is_source(path)).map(|(path, text)| (path.as_str(), text.as_str()));
    let test_modules = test_modules(files);
    ours.filter(|(path, _)| !is_test_file(path, &test_modules))
        .flat_map(|(path, text)| check_file(path, text))
        .collect()
}

/// `crates/NAME/src/**.rs`
fn is_source(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src") && path.ends_with(".rs")
}

pub(super) fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let code = rust_source::code_only(text);
    let tests = rust_source::test_items(&code);
    let mut findings = Vec::new();
    let in_tests: usize = tests.iter().map(|item| lines(&code, item)).sum();
    let own = text.lines().count().saturating_sub(in_tests);
    if own > FILE_LINES_MAX {
        findings.push(Finding::new(path, 0, format!("{own} lines without tests; at most {FILE_LINES_MAX}")));
    }
    for (name, body) in rust_source::functions(&code) {
        let length = lines(&code, &body);
        let tested = tests.iter().any(|item| item.contains(&body.start));
        if length > FUNCTION_LINES_MAX && !tested {
            let what = format!("fn {name} has {length} lines; at most {FUNCTION_LINES_MAX}");
            findings.push(Finding::new(path, rust_source::line_of(&code, body.start), what));
        }
    }
    findings
}

fn lines(code: &str, item: &Range<usize>) -> usize {
    code[item.clone()].matches('\n').count() + 1
}

/// Paths without `.rs` of the modules declared as `#[cfg(test)] mod name;`.
pub(super) fn test_modules(files: &Files) -> Vec<String> {
    let mut modules = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_source(path)) {
        let code = rust_source::code_only(text);
        for item in rust_source::test_items(&code) {
            let item = code[item].trim_end();
            let Some(declaration) = item.strip_suffix(';') else { continue };
            let mut words = declaration.split_whitespace().rev();
            if let (Some(name), Some("mod")) = (words.next(), words.next()) {
                modules.push(format!("{}/{name}", module_folder(path)));
            }
        }
    }
    modules
}

/// The folder in which a file's submodules lie.
fn module_folder(path: &str) -> &str {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if matches!(file, "mod.rs" | "lib.rs" | "main.rs") { folder } else { path.trim_end_matches(".rs") }
}

fn is_test_file(path: &str, test_modules: &[String]) -> bool {
    let stem = path.trim_end_matches(".rs");
    test_modules.iter().any(|module| {
        stem == module || stem.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with('/'))
    })
}
