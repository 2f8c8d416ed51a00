//! Fuzz targets: a minute each by themselves, long enough to catch what a change broke; ten minutes each with `--long`.

use crate::{shell, steps::Done};
use std::{fs, path::Path};

const SECONDS_PER_TARGET: u32 = 60;
const SECONDS_PER_TARGET_LONG: u32 = 600;
/// More than any target needs; a parser that asks for it has met an input that makes it grow.
const MEMORY_MIB_MAX: u32 = 2048;

pub(crate) fn run(root: &Path, long: bool) -> Result<Done, String> {
    let targets = targets(root);
    if targets.is_empty() {
        return Ok(Done::Skipped("fuzz/fuzz_targets has no target".to_owned()));
    }
    if !shell::answers(root, &["cargo", "fuzz", "--version"]) {
        return Ok(Done::Skipped("cargo-fuzz is missing: cargo install --locked cargo-fuzz".to_owned()));
    }
    let seconds = if long { SECONDS_PER_TARGET_LONG } else { SECONDS_PER_TARGET };
    for target in &targets {
        run_target(root, target, seconds)?;
    }
    Ok(Done::Well)
}

fn run_target(root: &Path, target: &str, seconds: u32) -> Result<(), String> {
    let mut command = shell::command(root, "cargo", &["fuzz", "run", "--fuzz-dir", "fuzz", target]);
    // The sanitizers that fuzzing needs are behind an unstable flag; the compiler stays the stable one.
    command.env("RUSTC_BOOTSTRAP", "1");
    // Finds go into the first folder, so that the tree stays clean and a later run starts where this one ended;
    // committed seeds are only read.
    let found = root.join("target").join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("cannot make {}: {error}", found.display()))?;
    command.arg(found);
    let seeds = root.join("fuzz").join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command.arg("--");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    shell::run(command)
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
