//! Rules about single lines: a loosened lint has a reason, nothing is a stub, no path of somebody's machine.

use super::{Files, Finding, rust_source};

/// Folders that begin a path of one machine only: people's homes, and the checkouts of build machines.
const MACHINE_FOLDERS: &[&str] = &["work", "root", "home", "Users"];

pub(super) fn check(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        findings.extend(machine_paths(path, text));
        if path.ends_with(".rs") {
            findings.extend(loosened_lints(path, text));
            findings.extend(stubs(path, text));
        }
    }
    findings
}

/// `allow` and `expect` of a lint must carry `reason = "..."`.
pub(super) fn loosened_lints(path: &str, text: &str) -> Vec<Finding> {
    let code = rust_source::code_only(text);
    let mut findings = Vec::new();
    for (at, inside) in rust_source::attributes(&code) {
        for verb in ["allow", "expect"] {
            let attribute = &code[inside.clone()];
            let uses = rust_source::words(attribute, verb)
                .filter(|at| attribute[at + verb.len()..].starts_with('('));
            for open in uses.map(|at| inside.start + at + verb.len()) {
                if !has_reason(&text[open..rust_source::closing(&code, open)]) {
                    let what = format!("{verb}(..) of a lint needs a reason: reason = \"...\"");
                    findings.push(Finding::new(path, rust_source::line_of(&code, at), what));
                }
            }
        }
    }
    findings
}

fn has_reason(arguments: &str) -> bool {
    let value = arguments.split_once("reason").and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
    value
        .and_then(|rest| rest.trim_start().strip_prefix('"'))
        .is_some_and(|rest| !rest.trim_start().starts_with('"'))
}

pub(super) fn stubs(path: &str, text: &str) -> Vec<Finding> {
    let code = rust_source::code_only(text);
    let mut findings = Vec::new();
    for name in ["todo", "unimplemented"] {
        for at in rust_source::words(&code, name).filter(|at| code[at + name.len()..].starts_with('!')) {
            findings.push(Finding::new(path, rust_source::line_of(&code, at), format!("{name}! is a stub")));
        }
    }
    findings
}

pub(super) fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| names_machine(line, folder)) {
            let what = format!("a path under /{folder} exists on one machine only");
            findings.push(Finding::new(path, index + 1, what));
        }
    }
    findings
}

/// `/folder/` at the beginning of a path: what stands before it is no part of one.
fn names_machine(line: &str, folder: &str) -> bool {
    let wanted = format!("/{folder}/");
    line.match_indices(&wanted).any(|(at, _)| {
        let inside_path = |letter: char| letter.is_alphanumeric() || "_.-/{}*~$%@:".contains(letter);
        // `file:///...` is an absolute path all the same.
        let before = line[..at].strip_suffix("file://").map_or(&line[..at], |_| "");
        !before.chars().next_back().is_some_and(inside_path)
    })
}
