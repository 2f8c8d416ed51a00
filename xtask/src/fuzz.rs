//! Fuzz targets, a minute each: long enough to catch what a change broke, short enough to be run.

use crate::{shell, steps::Done};
use std::{fs, path::Path};

const SECONDS_PER_TARGET: u32 = 60;
/// More than any target needs; a parser that asks for it has met an input that makes it grow.
const MEMORY_MIB_MAX: u32 = 2048;

pub(crate) fn run(root: &Path) -> Result<Done, String> {
    let targets = targets(root);
    if targets.is_empty() {
        return Ok(Done::Skipped("fuzz/fuzz_targets has no target".to_owned()));
    }
    if !shell::answers(root, &["cargo", "fuzz", "--version"]) {
        return Ok(Done::Skipped("cargo-fuzz is missing: cargo install --locked cargo-fuzz".to_owned()));
    }
    for target in &targets {
        let seconds = format!("-max_total_time={SECONDS_PER_TARGET}");
        let memory = format!("-rss_limit_mb={MEMORY_MIB_MAX}");
        let arguments = ["fuzz", "run", "--fuzz-dir", "fuzz", target, "--", &seconds, &memory];
        let mut command = shell::command(root, "cargo", &arguments);
        // The sanitizers that fuzzing needs are behind an unstable flag; the compiler stays the stable one.
        command.env("RUSTC_BOOTSTRAP", "1");
        shell::run(command)?;
    }
    Ok(Done::Well)
}

fn targets(root: &Path) -> Vec<String> {
    let folder = fs::read_dir(root.join("fuzz").join("fuzz_targets"));
    let files = folder.into_iter().flatten().flatten().map(|entry| entry.path());
    let rust = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<String> =
        rust.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
