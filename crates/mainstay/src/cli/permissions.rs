//! `mainstay permissions`: policies, tried without an engine, and asked of a running one.

mod explain;

use std::fmt::Write as _;
use std::path::Path;

use clap::Subcommand;
use mainstay_authz::cases::{self, Case, Report};
use mainstay_authz::{Policies, PolicyFile};
use mainstay_config::Problem;
use mainstay_core::clock::Clock;

use super::check::report;
use super::{Common, NO, OutputFormat, complain, say};
use crate::lower::permissions::{build, problem};
use crate::reload::Loader;

/// What to do about policies.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Decide every case of the tables beside the policies (`*/*.cases.yaml`); exit code 1 if one comes out otherwise.
    Test,
    /// Ask the running engine what its policies say about somebody, and which of them decided; exit code 1 if it is no.
    Explain(Box<explain::Question>),
}

/// Tables that cannot be read are no tables.
const USAGE: u8 = 2;
/// Bytes of one table.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// Runs it.
pub(super) fn run(common: &Common, command: &Command) -> u8 {
    if let Command::Explain(question) = command {
        return explain::run(common, question);
    }
    let outcome = Loader::new(common.config.clone()).load(&Default::default(), Clock::System.now());
    let Some(checked) = outcome.checked else {
        report(common, &outcome.problems, false);
        return USAGE;
    };
    let folder = checked.permissions.as_ref().and_then(|permissions| permissions.policies.as_ref());
    let (Some(folder), Ok(Some(policies))) = (folder, build(&checked)) else {
        complain("mainstay permissions test: the configuration has no `permissions.policies`\n");
        return USAGE;
    };
    match tables(&folder.path) {
        Ok(all) if all.is_empty() => {
            complain(&format!("mainstay permissions test: there is no case in {}\n", folder.path.display()));
            USAGE
        }
        Ok(all) => test(common, &policies, &all),
        Err(problems) => {
            report(common, &problems, false);
            USAGE
        }
    }
}

fn test(common: &Common, policies: &Policies, all: &[Case]) -> u8 {
    let report = cases::run(policies, all);
    match common.output {
        OutputFormat::Json => {
            let json = serde_json::to_string(&report).unwrap_or_default();
            say(&format!("{json}\n"));
        }
        OutputFormat::Text => say(&text(&report)),
    }
    if report.passed() { 0 } else { NO }
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut failed = 0;
    for result in &report.results {
        if let Some(differs) = &result.differs {
            failed += 1;
            let _ = writeln!(out, "{}:{}: {}: {differs}", result.file.display(), result.line, result.name);
        }
    }
    for policy in &report.undecided {
        let _ =
            writeln!(out, "{}:{}: no case is decided by {}", policy.file.display(), policy.line, policy.id);
    }
    let verdict = if failed == 0 { "ok" } else { "failed" };
    let _ = writeln!(out, "{verdict}: {} cases, {failed} come out otherwise", report.results.len());
    out
}

/// The cases of all tables, or what is wrong with these.
fn tables(folder: &Path) -> Result<Vec<Case>, Vec<Problem>> {
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for path in paths(folder).map_err(|error| vec![unreadable(folder, &error)])? {
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(unreadable(&path, &error));
                continue;
            }
        };
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let file = PolicyFile {
            folder: folder.to_string_lossy().into_owned(),
            path: path.display().to_string(),
            text,
        };
        match cases::parse(&file) {
            Ok(read) => all.extend(read),
            Err(finding) => problems.push(problem(&finding)),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn paths(folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for api in std::fs::read_dir(folder)? {
        let api = api?.path();
        if !api.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(api)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".cases.yaml")) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.metadata()?.len() > TABLE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::error("file_unreadable", format!("{} cannot be read: {error}", path.display())).at_file(path)
}
