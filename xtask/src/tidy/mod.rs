//! The rules of this workspace that no compiler and no linter knows.
//!
//! Every check is a function of text (or of cargo's metadata) to findings, so that its tests are a row each; reading
//! files happens here alone. All findings are reported at once: who mends one wants to see the others.

mod docs;
mod layers;
mod manifests;
mod mutants;
mod rust_source;
mod sizes;
#[cfg(test)]
mod tests;
mod text;

use crate::shell;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// One place where a rule is broken. Displayed as `path:line: what`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// Counted from 1; 0 when the file as a whole is meant.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Text files of the workspace by their path from its root, with `/` between folders.
type Files = BTreeMap<String, String>;

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let files = read_files(root)?;
    let metadata = metadata(root)?;
    let mut findings = layers::check(&metadata)?;
    let everything = ["tree", "--workspace", "--all-features", "--target", "all", "--prefix", "none"];
    let tree = shell::read(shell::cargo(root, &everything))?;
    findings.extend(manifests::check(&files, &tree));
    findings.extend(mutants::check(&files));
    findings.extend(sizes::check(&files));
    findings.extend(text::check(&files));
    findings.extend(docs::check(&files, &|path| root.join(path).exists()));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err("1 finding above".to_owned()),
        number => Err(format!("{number} findings above")),
    }
}

/// What `cargo metadata` says about the workspace and all that it depends on.
pub(crate) fn metadata(root: &Path) -> Result<Value, String> {
    let arguments = ["metadata", "--format-version", "1", "--all-features"];
    let text = shell::read(shell::cargo(root, &arguments))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata printed no JSON: {error}"))
}

/// Benchmarks of the workspace's crates, as (crate, benchmark).
pub(crate) fn bench_targets(metadata: &Value) -> Vec<(String, String)> {
    let mut benches = Vec::new();
    for package in layers::members(metadata) {
        for target in layers::array(&package["targets"]) {
            if layers::array(&target["kind"]).iter().any(|kind| kind == "bench") {
                benches.push((layers::string(&package["name"]), layers::string(&target["name"])));
            }
        }
    }
    benches
}

/// The version of a crate that the build uses; `None` when it uses none.
pub(crate) fn version_of(metadata: &Value, name: &str) -> Option<String> {
    let package = layers::array(&metadata["packages"]).iter().find(|package| package["name"] == name)?;
    Some(layers::string(&package["version"]))
}

/// Everything git knows or would take in, so that a file is checked before it is first committed.
fn read_files(root: &Path) -> Result<Files, String> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = shell::read(shell::command(root, "git", &arguments))?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // Pictures and other binary files are no text; a file deleted but not yet committed is not there any more.
    Ok(paths.filter_map(|path| Some((path.to_owned(), read_text(&root.join(path))?))).collect())
}

fn read_text(file: &PathBuf) -> Option<String> {
    String::from_utf8(std::fs::read(file).ok()?).ok()
}
