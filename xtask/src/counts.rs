//! Instruction counts of the request path against the committed ones: `bench/instructions/baseline.json`.
//!
//! A count outside one percent fails in both directions: a gain that is not written down would hide the next loss.
//! Another compiler makes other code, so its counts are shown and not compared.

use crate::{setup, shell, tidy};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const BASELINE: &str = "bench/instructions/baseline.json";
/// Where the benchmarks leave a summary each.
const SUMMARIES: &str = "target/gungraun/mainstay-bench";
/// How far a count may be from its baseline.
const TOLERANCE: f64 = 0.01;
/// One allocator and one set of string functions on every machine: wider vectors would make other counts.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-ERMS,-FSRM");

/// What to do with the counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fail when one differs.
    Compare,
    /// Replace the committed ones.
    Write,
}

type Counts = BTreeMap<String, u64>;

pub(crate) fn run(root: &Path, mode: Mode) -> Result<Option<String>, String> {
    let metadata = tidy::metadata(root)?;
    let runner = tidy::version_of(&metadata, "gungraun")
        .ok_or("no crate depends on gungraun, which counts the instructions")?;
    setup::install_benchmark_runner(root, &runner)?;
    for (package, bench) in &tidy::bench_targets(&metadata) {
        let arguments = ["bench", "-p", package, "--bench", bench, "--", "--save-summary=json"];
        let mut command = shell::cargo(root, &arguments);
        command.env(TUNABLES.0, TUNABLES.1);
        shell::run(command)?;
    }
    let compiler = shell::read(shell::command(root, "rustc", &["--version"]))?.trim().to_owned();
    let counted = read_summaries(&root.join(SUMMARIES))?;
    let file = root.join(BASELINE);
    if mode == Mode::Write {
        let text = format!("{:#}\n", json!({ "compiler": compiler, "instructions": counted }));
        fs::write(&file, text).map_err(|error| format!("cannot write {BASELINE}: {error}"))?;
        return Ok(None);
    }
    let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {BASELINE}: {error}"))?;
    let baseline: Value = serde_json::from_str(&text).map_err(|error| format!("{BASELINE}: {error}"))?;
    if baseline["compiler"] != compiler.as_str() {
        return Ok(Some(format!("{BASELINE} is of {}, this is {compiler}", baseline["compiler"])));
    }
    let known: Counts = serde_json::from_value(baseline["instructions"].clone())
        .map_err(|error| format!("{BASELINE}: {error}"))?;
    let findings = compare(&known, &counted);
    if findings.is_empty() { Ok(None) } else { Err(explain(&findings)) }
}

fn explain(findings: &[String]) -> String {
    format!(
        "{}\nif that is meant: `cargo xtask counts --write`, in a commit that says why",
        findings.join("\n")
    )
}

/// A sentence for each benchmark that is not as it was.
fn compare(known: &Counts, counted: &Counts) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, &now) in counted {
        match known.get(name) {
            None => findings.push(format!("{name}: {now} instructions, and {BASELINE} does not know it")),
            Some(&before) => {
                // The difference is a whole number; a quotient of exactly one percent would be rounded past it.
                if now.abs_diff(before) as f64 > before as f64 * TOLERANCE {
                    let percent = (now as f64 / before as f64 - 1.0) * 100.0;
                    findings
                        .push(format!("{name}: {before} instructions before, {now} now ({percent:+.1} %)"));
                }
            }
        }
    }
    for name in known.keys().filter(|name| !counted.contains_key(*name)) {
        findings.push(format!("{name}: in {BASELINE}, but no benchmark has this name"));
    }
    findings
}

fn read_summaries(folder: &Path) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for path in summaries(folder)? {
        let read = || -> Option<(String, u64)> {
            let summary: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            let name = format!("{} {}", summary["function_name"].as_str()?, summary["id"].as_str()?);
            let total = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
            Some((name, total.as_u64()?))
        };
        let (name, count) =
            read().ok_or_else(|| format!("{} is no summary of a benchmark", path.display()))?;
        counts.insert(name, count);
    }
    if counts.is_empty() {
        return Err(format!("the benchmarks left no summary in {SUMMARIES}"));
    }
    Ok(counts)
}

fn summaries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "summary.json") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Counts, compare};

    fn counts(rows: &[(&str, u64)]) -> Counts {
        rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn one_percent_either_way_is_found() {
        let known = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000), ("gone", 1)]);
        let now = counts(&[("a", 1010), ("b", 990), ("c", 1011), ("d", 989), ("new", 1)]);
        let findings = compare(&known, &now);
        let named: Vec<&str> = findings.iter().filter_map(|f| f.split(':').next()).collect();
        assert_eq!(named, ["c", "d", "new", "gone"], "{findings:?}");
    }
}
