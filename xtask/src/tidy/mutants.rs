//! Rules about the mutants: each fits the source as it is, and the tests that it names are there.

use super::{Files, Finding};
use crate::mutants::{FOLDER, Mutant, parse};
use std::collections::BTreeMap;

pub(super) fn check(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with(FOLDER) && path.ends_with(".toml")) {
        let mutants = match parse(text) {
            Ok(mutants) => mutants,
            Err((line, what)) => {
                findings.push(Finding::new(path, line, what));
                continue;
            }
        };
        for mutant in mutants {
            findings.extend(check_one(path, &mutant, files));
            if let Some(other) = names.insert(mutant.name.clone(), path.clone()) {
                let what = format!("mutant {} stands in {other}, too", mutant.name);
                findings.push(Finding::new(path, mutant.line, what));
            }
        }
    }
    findings
}

fn check_one(path: &str, mutant: &Mutant, files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(Finding::new(path, mutant.line, what));
    match files.get(&mutant.file) {
        None => find(format!("mutant {}: there is no {}", mutant.name, mutant.file)),
        Some(text) => {
            if let Err(what) = mutant.applied(text) {
                find(what);
            }
        }
    }
    let folder = mutant.tests_folder();
    for test in &mutant.tests {
        let function = format!("fn {}(", test.rsplit("::").next().unwrap_or(test));
        let is_there = |(path, text): (&String, &String)| {
            path.starts_with(&folder) && path.ends_with(".rs") && text.contains(&function)
        };
        if !files.iter().any(is_there) {
            find(format!("mutant {}: no test in {folder} is called {test}", mutant.name));
        }
    }
    findings
}
