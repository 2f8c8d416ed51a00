//! Rules about manifests: every crate takes the workspace's lints, and nothing banned is built.

use super::{Files, Finding};

pub(super) fn check(files: &Files, tree: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        // The fuzz crate stands outside of the workspace, because it is built with other flags.
        if !path.starts_with("fuzz/") {
            findings.extend(check_lints(path, text));
        }
    }
    match (files.get("deny.toml"), files.get("Cargo.lock")) {
        (Some(deny), Some(_)) => findings.extend(check_built(tree, &banned(deny))),
        (None, _) => findings.push(Finding::new("deny.toml", 0, "is missing")),
        (_, None) => findings.push(Finding::new("Cargo.lock", 0, "is missing: builds must be repeatable")),
    }
    findings
}

pub(super) fn check_lints(path: &str, manifest: &str) -> Option<Finding> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    let taken =
        lines.by_ref().take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true");
    (!taken).then(|| Finding::new(path, 0, "does not take the workspace's lints: [lints] workspace = true"))
}

/// Crates that `deny.toml` bans in every version, so that the list stands in one place. Floors are cargo-deny's work.
pub(super) fn banned(deny: &str) -> Vec<&str> {
    let entries = deny.lines().filter_map(|line| line.trim().strip_prefix("{ crate = \""));
    entries
        .filter_map(|entry| entry.split_once('"'))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(':'))
        .collect()
}

/// `tree` is what is built, as `cargo tree --prefix none` lists it: a crate and its version a line. Not `Cargo.lock`: that
/// also names crates which only a feature nobody asks for would bring in.
pub(super) fn check_built(tree: &str, banned: &[&str]) -> Vec<Finding> {
    if banned.is_empty() {
        return vec![Finding::new(
            "deny.toml",
            0,
            "bans no crate that could be read: one entry a line, as it was",
        )];
    }
    let mut names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| banned.contains(name))
        .map(|name| Finding::new("Cargo.toml", 0, format!("{name} is built and banned; deny.toml says why")))
        .collect()
}
