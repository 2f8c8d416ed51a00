//! Child processes: run one, read one, ask whether one is there.
//!
//! No child gets our standard input, so that nothing can wait for a person who is not there. The folder of tools that
//! `setup` keeps (`target/tools`) comes first on every child's path.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A command that runs in the workspace's folder and finds our own tools.
pub(crate) fn command(root: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).stdin(Stdio::null()).env("PATH", path_with_tools(root));
    command
}

/// `cargo SUBCOMMAND ...`. Where the environment says CI, a `Cargo.lock` that no longer fits is an error, not an edit.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = command(root, "cargo", &arguments[..1]);
    if env::var_os("CI").is_some() && arguments[0] != "fmt" {
        command.arg("--locked");
    }
    command.args(&arguments[1..]);
    command
}

/// Says what it runs, runs it with our output, and takes anything but success as an error.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    println!("$ {}", shown(&command));
    let status = command.status().map_err(|error| format!("{} did not start: {error}", shown(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(&command))) }
}

/// Runs quietly and returns what the command printed; its errors stay visible.
pub(crate) fn read(mut command: Command) -> Result<String, String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{} did not start: {error}", shown(&command)))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{} printed no UTF-8: {error}", shown(&command)))
}

/// Whether this command line starts and succeeds. A program on the path is not enough: rustup leaves a shim for
/// components that are not installed.
pub(crate) fn answers(root: &Path, words: &[&str]) -> bool {
    command(root, words[0], &words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where `setup` keeps the tools it installed: a folder for each, so that removing one is removing its folder.
pub(crate) fn tools_dir(root: &Path) -> PathBuf {
    root.join("target").join("tools")
}

fn path_with_tools(root: &Path) -> OsString {
    let tools = std::fs::read_dir(tools_dir(root));
    let mut folders: Vec<PathBuf> =
        tools.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    let inherited = env::var_os("PATH").unwrap_or_default();
    folders.extend(env::split_paths(&inherited));
    // Debian keeps servers there, which is not on every user's path.
    folders.extend(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    // Only a folder name with a colon in it can make joining fail; then the inherited path is what there is.
    env::join_paths(folders).unwrap_or(inherited)
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
