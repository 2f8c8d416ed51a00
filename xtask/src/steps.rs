//! `cargo xtask test`: the steps, in the order in which they are cheapest to fail.

use crate::{counts, fuzz, mutants, postgres, promtool, schema, setup, shell, tidy};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// What the command line asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    long: bool,
    no_install: bool,
    /// Empty: all of them.
    only: Vec<String>,
}

/// How a step ended that did not fail.
pub(crate) enum Done {
    Well,
    /// Not run; the sentence says why, and the summary repeats it.
    Skipped(String),
}

struct Step {
    name: &'static str,
    /// Runs only with `--long`, or when it is named.
    long: bool,
    run: fn(&Path, &Options) -> Result<Done, String>,
}

const fn step(name: &'static str, run: fn(&Path, &Options) -> Result<Done, String>) -> Step {
    Step { name, long: false, run }
}

const fn long_step(name: &'static str, run: fn(&Path, &Options) -> Result<Done, String>) -> Step {
    Step { name, long: true, run }
}

static STEPS: &[Step] = &[
    step("setup", install),
    step("fmt", |root, _| well(shell::run(shell::cargo(root, &["fmt", "--all", "--check"])))),
    step("tidy", |root, _| well(tidy::run(root))),
    step("clippy", clippy),
    step("test", test),
    step("conformance", conformance),
    step("schema", |root, _| well(schema::run(root, schema::Mode::Compare))),
    step("doc", doc),
    step("deny", deny),
    long_step("ignored", ignored),
    long_step("mutants", |root, _| well(mutants::run(root, &[]))),
    long_step("counts", counts),
    long_step("compare", compare),
    long_step("fuzz", |root, options| fuzz::run(root, options.long)),
];

impl Options {
    pub(crate) fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--long" => options.long = true,
                "--no-install" => options.no_install = true,
                "--only" => {
                    let name = rest.next().ok_or("--only needs the name of a step")?;
                    if !STEPS.iter().any(|step| step.name == *name) {
                        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
                        return Err(format!("no step is called {name}; there are: {}", names.join(" ")));
                    }
                    options.only.push((*name).to_owned());
                }
                other => return Err(format!("unknown option of test: {other}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, step: &Step) -> bool {
        if self.only.is_empty() {
            self.long || !step.long
        } else {
            self.only.iter().any(|name| name == step.name)
        }
    }
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let mut summary = Vec::new();
    for step in STEPS.iter().filter(|step| options.wants(step)) {
        println!("== {}", step.name);
        let (outcome, took) = timed(|| (step.run)(root, options));
        let line = match outcome {
            Ok(Done::Well) => format!("== {}: ok, {:.1} s", step.name, took.as_secs_f64()),
            Ok(Done::Skipped(why)) => format!("== {}: SKIPPED, {why}", step.name),
            Err(reason) => {
                println!("== {}: FAILED after {:.1} s", step.name, took.as_secs_f64());
                return Err(format!("{reason}\nthis step alone: cargo xtask test --only {}", step.name));
            }
        };
        println!("{line}");
        summary.push(line);
    }
    println!("\n{}", summary.join("\n"));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how long a step took is printed, nothing is decided by it")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn well(outcome: Result<(), String>) -> Result<Done, String> {
    outcome.map(|()| Done::Well)
}

fn install(root: &Path, options: &Options) -> Result<Done, String> {
    setup::run(root, options.long, !options.no_install)?;
    if !options.no_install {
        promtool::install_if_possible(root);
    }
    Ok(Done::Well)
}

fn clippy(root: &Path, _: &Options) -> Result<Done, String> {
    well(shell::run(shell::cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))
}

fn test(root: &Path, _: &Options) -> Result<Done, String> {
    // One server for all tests; a run without it is no run, where a single crate's tests may skip what needs it.
    let server = postgres::Server::start(root)?;
    postgres::run_with(&server, nextest(root, &["--profile", "default"]))?;
    drop(server);
    // nextest runs no documentation tests: they are not programs of their own.
    well(shell::run(shell::cargo(root, &["test", "--doc", "--workspace"])))
}

/// Suites in Python, from outside: what an implementation that shares no code with the engine makes of it.
fn conformance(root: &Path, _: &Options) -> Result<Done, String> {
    shell::run(shell::cargo(root, &["build", "-p", "mainstay"]))?;
    well(shell::run(shell::command(root, "python3", &["tests/conformance/run.py"])))
}

fn ignored(root: &Path, _: &Options) -> Result<Done, String> {
    let arguments = ["--profile", "long", "--run-ignored", "only", "--no-tests", "warn"];
    let server = postgres::Server::start(root)?;
    well(postgres::run_with(&server, nextest(root, &arguments)))
}

fn nextest(root: &Path, more: &[&str]) -> std::process::Command {
    // `cargo nextest` takes cargo's own options only after its subcommand, so `--locked` is not put in between.
    let mut command = shell::command(root, "cargo", &["nextest", "run", "--workspace"]);
    if std::env::var_os("CI").is_some() {
        command.arg("--locked");
    }
    command.args(["--config-file", "xtask/nextest.toml"]).args(more);
    command
}

fn doc(root: &Path, _: &Options) -> Result<Done, String> {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    let mut command = shell::cargo(root, &arguments);
    command.env("RUSTDOCFLAGS", "-D warnings -D rustdoc::broken_intra_doc_links");
    well(shell::run(command))
}

fn deny(root: &Path, _: &Options) -> Result<Done, String> {
    let arguments = ["deny", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    well(shell::run(shell::command(root, "cargo", &arguments)))
}

/// Instruction counts of the request path against the committed ones.
fn counts(root: &Path, _: &Options) -> Result<Done, String> {
    Ok(counts::run(root, counts::Mode::Compare)?.map_or(Done::Well, Done::Skipped))
}

/// A short run beside the other gateways. It reports and has no budget to keep: timings on a shared machine vary. That
/// every system serves the work without a failure is what can fail here, and the harnesses' own tests.
fn compare(root: &Path, options: &Options) -> Result<Done, String> {
    for tests in ["bench/compare/tests", "bench/resilience/tests"] {
        shell::run(shell::command(root, "python3", &["-m", "unittest", "discover", "-s", tests]))?;
    }
    shell::run(shell::cargo(root, &["build", "--release", "-p", "mainstay"]))?;
    let mut command =
        shell::command(root, "python3", &["bench/compare/run.py", "--rounds", "1", "--secs", "2"]);
    if !options.no_install && setup::is_root(root) {
        command.arg("--install");
    }
    well(shell::run(command))
}

#[cfg(test)]
mod tests {
    use super::{Options, STEPS};

    fn steps_of(arguments: &[&str]) -> Result<Vec<&'static str>, String> {
        let options = Options::parse(arguments)?;
        Ok(STEPS.iter().filter(|step| options.wants(step)).map(|step| step.name).collect())
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for arguments in [&["--only"][..], &["--only", "nothing"], &["--fast"], &["fmt"]] {
            assert!(Options::parse(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn options_choose_the_steps() {
        let plain = ["setup", "fmt", "tidy", "clippy", "test", "conformance", "schema", "doc", "deny"];
        let rows: [(&[&str], Vec<&str>); 5] = [
            (&[], plain.to_vec()),
            (&["--no-install"], plain.to_vec()),
            (
                &["--long"],
                plain.into_iter().chain(["ignored", "mutants", "counts", "compare", "fuzz"]).collect(),
            ),
            (&["--only", "fmt"], vec!["fmt"]),
            (&["--only", "fuzz", "--only", "fmt"], vec!["fmt", "fuzz"]),
        ];
        for (arguments, expected) in rows {
            assert_eq!(steps_of(arguments), Ok(expected), "{arguments:?}");
        }
    }
}
