//! `cargo xtask mutants`: each guard is switched off once, and the tests that are named for it must fail.
//!
//! A test that passes with and without the guard guards nothing. So guards that matter (limits, checks, refusals) have
//! an entry in `tests/mutants`, and this takes them one by one: in a copy of the tree (`target/mutants/tree`, with a
//! build folder of its own that is kept, so that each costs a small build), it changes the text, builds, and runs the
//! named tests alone. Each of them has to fail by an assertion: not to build proves nothing, nor does a test that
//! hangs until it is ended. First all of them must pass without any change.

mod list;
mod outcome;

pub(crate) use list::{Mutant, parse};

use crate::shell;
use outcome::{Outcome, judge};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the lists are, from the workspace's root.
pub(crate) const FOLDER: &str = "tests/mutants/";

/// Runs the mutants of these names; all of them where there are none.
pub(crate) fn run(root: &Path, names: &[&str]) -> Result<(), String> {
    let mutants = chosen(read_all(root)?, names)?;
    let copy = Copy::of(root)?;
    passes_unchanged(&copy, &mutants)?;
    let mut survivors = Vec::new();
    for mutant in &mutants {
        let outcome = try_one(&copy, mutant)?;
        match &outcome {
            Outcome::Killed => println!("{:32} killed by {}", mutant.name, mutant.tests.join(", ")),
            Outcome::Survived(why) => {
                println!("{:32} SURVIVED: {why}", mutant.name);
                survivors.push(mutant.name.as_str());
            }
        }
    }
    match survivors.len() {
        0 => {
            println!("{} mutants, all killed", mutants.len());
            Ok(())
        }
        number => Err(format!("{number} of {} mutants survived: {}", mutants.len(), survivors.join(" "))),
    }
}

fn read_all(root: &Path) -> Result<Vec<Mutant>, String> {
    let mut lists: Vec<PathBuf> = fs::read_dir(root.join(FOLDER))
        .map_err(|error| format!("cannot read {FOLDER}: {error}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    lists.sort();
    let mut mutants = Vec::new();
    for path in lists {
        let shown = path.display();
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        mutants.extend(parse(&text).map_err(|(line, what)| format!("{shown}:{line}: {what}"))?);
    }
    Ok(mutants)
}

fn chosen(all: Vec<Mutant>, names: &[&str]) -> Result<Vec<Mutant>, String> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|mutant| mutant.name == **name)) {
        let known: Vec<&str> = all.iter().map(|mutant| mutant.name.as_str()).collect();
        return Err(format!("no mutant is called {unknown}; there are: {}", known.join(" ")));
    }
    let wanted = |mutant: &Mutant| names.is_empty() || names.contains(&mutant.name.as_str());
    let chosen: Vec<Mutant> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() { Err(format!("{FOLDER} has no mutant")) } else { Ok(chosen) }
}

/// Without this, a test that fails anyway would be taken for one that notices.
fn passes_unchanged(copy: &Copy, mutants: &[Mutant]) -> Result<(), String> {
    let mut by_package: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for mutant in mutants {
        by_package.entry(&mutant.package).or_default().extend(mutant.tests.iter().map(String::as_str));
    }
    for (package, tests) in by_package {
        println!("{package}: its {} named tests without any change", tests.len());
        shell::run(copy.tests(package, tests.iter().copied()))?;
    }
    Ok(())
}

fn try_one(copy: &Copy, mutant: &Mutant) -> Result<Outcome, String> {
    let path = copy.tree.join(&mutant.file);
    let read_error = |error| format!("mutant {}: cannot read {}: {error}", mutant.name, mutant.file);
    let whole = fs::read_to_string(&path).map_err(read_error)?;
    let write = |text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    write(&mutant.applied(&whole)?)?;
    let tried = copy.try_mutated(mutant);
    write(&whole)?;
    tried
}

/// A copy of the tree that may be changed, and its build folder.
struct Copy {
    /// For the tools that `setup` installed.
    root: PathBuf,
    tree: PathBuf,
    build: PathBuf,
}

impl Copy {
    /// Brings the copy up to date. A file that is the same is not written, so that it need not be built again.
    fn of(root: &Path) -> Result<Self, String> {
        let folder = root.join("target").join("mutants");
        let copy = Self { root: root.to_owned(), tree: folder.join("tree"), build: folder.join("build") };
        let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = shell::read(shell::command(root, "git", &arguments))?;
        let wanted: BTreeSet<&str> = listed.split('\0').filter(|path| root.join(path).is_file()).collect();
        let fail = |what: &str, error: std::io::Error| format!("cannot copy {what}: {error}");
        for path in &wanted {
            let (from, to) = (root.join(path), copy.tree.join(path));
            let bytes = fs::read(&from).map_err(|error| fail(path, error))?;
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|error| fail(path, error))?;
            }
            // With its permissions: tests start some of the files.
            fs::copy(&from, &to).map_err(|error| fail(path, error))?;
        }
        remove_others(&copy.tree, &copy.tree, &wanted).map_err(|error| fail("the tree", error))?;
        Ok(copy)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = shell::command(&self.root, "cargo", arguments);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build).env("RUST_BACKTRACE", "0");
        // A warning about what a mutant leaves unused is no reason not to build it.
        command.env("RUSTFLAGS", "--cap-lints warn");
        command.env("CARGO_TERM_COLOR", "never").env_remove("CARGO_MANIFEST_DIR");
        command
    }

    fn tests<'a>(&self, package: &str, tests: impl Iterator<Item = &'a str>) -> Command {
        let named: Vec<String> = tests.map(|test| format!("test(={test})")).collect();
        let filter = format!("package({package}) & ({})", named.join(" | "));
        let mut command = self.cargo(&["nextest", "run", "--cargo-quiet", "--package", package]);
        command.args(["--config-file", "xtask/nextest.toml", "--no-fail-fast", "--success-output", "never"]);
        command.args(["--failure-output", "never", "--status-level", "fail", "--final-status-level", "none"]);
        command.args(["--filterset", &filter]);
        command
    }

    fn try_mutated(&self, mutant: &Mutant) -> Result<Outcome, String> {
        let output = self
            .tests(&mutant.package, mutant.tests.iter().map(String::as_str))
            .output()
            .map_err(|error| format!("cargo nextest did not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        Ok(judge(output.status.code(), &said, &mutant.package, &mutant.tests))
    }
}

fn remove_others(tree: &Path, folder: &Path, wanted: &BTreeSet<&str>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(tree, &path, wanted)?;
        } else if path.strip_prefix(tree).is_ok_and(|inside| !wanted.contains(&*inside.to_string_lossy())) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
