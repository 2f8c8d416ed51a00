//! The project's own commands: `cargo xtask test`, `tidy`, `mutants`, `counts`, `schema`.
//!
//! A person and the continuous integration run the same commands, so that a green laptop means a green run there.
//! Exit codes: 0 all is well, 1 something is wrong and was said, 2 the command line was not understood.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool answers on its terminal")]

mod counts;
mod fuzz;
mod mutants;
mod postgres;
mod promtool;
mod schema;
mod setup;
mod shell;
mod steps;
mod tidy;

use std::{env, path::PathBuf, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--long] [--no-install] [--only STEP]...
                  everything that must hold before a change lands; --long adds long tests, benchmarks and fuzzing;
                  --no-install names what is missing instead of installing it; --only runs single steps, without setup
  tidy            the rules no compiler knows: direction of dependencies, sizes, reasons, links
  mutants [NAME...]
                  switch off each guard of tests/mutants once; the tests that are named for it must fail
  counts [--write]
                  compare instruction counts with bench/instructions/baseline.json; --write replaces them
  schema [--write]
                  compare docs/mainstay.schema.json with what the binary says; --write brings it up to date";

/// Why a command ended without success.
enum Failure {
    /// The command line was not understood.
    Usage(String),
    /// The answer is no; the sentence says what is wrong and what to do next.
    No(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::No(reason)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::No(reason)) => {
            eprintln!("xtask: {reason}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(reason)) => {
            eprintln!("xtask: {reason}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[&str]) -> Result<(), Failure> {
    let root = workspace_root()?;
    match arguments {
        ["test", rest @ ..] => {
            let options = steps::Options::parse(rest).map_err(Failure::Usage)?;
            Ok(steps::run(&root, &options)?)
        }
        ["mutants", names @ ..] => Ok(mutants::run(&root, names)?),
        ["tidy"] => Ok(tidy::run(&root)?),
        ["counts"] => {
            if let Some(why) = counts::run(&root, counts::Mode::Compare)? {
                println!("not compared: {why}");
            }
            Ok(())
        }
        ["counts", "--write"] => Ok(counts::run(&root, counts::Mode::Write).map(drop)?),
        ["schema"] => Ok(schema::run(&root, schema::Mode::Compare)?),
        ["schema", "--write"] => Ok(schema::run(&root, schema::Mode::Write)?),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => Err(Failure::Usage("a command is missing".to_owned())),
        other => Err(Failure::Usage(format!("unknown: {}", other.join(" ")))),
    }
}

/// The folder that holds the workspace: the parent of the one cargo built this tool from.
fn workspace_root() -> Result<PathBuf, String> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or("CARGO_MANIFEST_DIR is not set: start this tool as `cargo xtask`")?;
    let manifest_dir = PathBuf::from(manifest_dir);
    manifest_dir.parent().map(PathBuf::from).ok_or_else(|| "the workspace has no parent folder".to_owned())
}
