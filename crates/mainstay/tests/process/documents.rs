//! What README and guides show is tried: each document is a session in a folder of its own, its samples in their order.
//!
//! CONTRIBUTING.md ("Samples in documents") has the convention from the writer's side. A sample that is not marked by it
//! fails here, and so does one that does not do what it says.

mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use session::Session;

use crate::run::ask;

/// A fenced block of a document.
struct Sample {
    /// What stands behind the fence.
    mark: String,
    text: String,
    /// Where it begins, for messages.
    place: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// README and all guides, by their path from the root.
pub(crate) fn documents() -> BTreeMap<String, String> {
    let root = root();
    let guides = std::fs::read_dir(root.join("docs/guides")).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    guides.chain([root.join("README.md")]).map(read).collect()
}

fn samples(name: &str, text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut open: Option<Sample> = None;
    for (index, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(mark), None) => {
                let place = format!("{name}:{}", index + 1);
                open = Some(Sample { mark: mark.to_owned(), text: String::new(), place });
            }
            (Some(_), Some(sample)) => samples.push(sample),
            (None, Some(mut sample)) => {
                sample.text.push_str(&format!("{line}\n"));
                open = Some(sample);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: a fence is not closed");
    samples
}

fn try_samples(name: &str, text: &str) -> Result<(), String> {
    let mut session = Session::new();
    for Sample { mark, text, place } in samples(name, &with_a_sunset_far_away(text)) {
        let tried = match mark.as_str() {
            "yaml" => session.configure(&text),
            "yaml fragment" => session.check_fragment(&text),
            "sh" => session.type_lines(&text),
            "console" => session.converse(&text),
            "json" => check_json(&text),
            "rust" | "rust,no_run" => is_compiled(name),
            "text" => Ok(()),
            _ => Err(format!("unmarked: ```{mark}; CONTRIBUTING.md says how samples are marked")),
        };
        tried.map_err(|why| format!("{place}: {why}"))?;
    }
    session.end()
}

/// Programs are documentation tests, which cargo runs and not this; but only those of documents that the crate names.
fn is_compiled(name: &str) -> Result<(), String> {
    let named = include_str!("../../src/lib.rs").contains(&format!("include_str!(\"../../../{name}\")"));
    if named { Ok(()) } else { Err(format!("crates/mainstay/src/lib.rs does not name {name}")) }
}

/// JSON can be read; a problem document says of its code what the table says.
fn check_json(text: &str) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Some(code) = value["code"].as_str() else { return Ok(()) };
    let known = mainstay_core::ProblemCode::ALL.iter().find(|known| known.code() == code);
    let known = known.ok_or_else(|| format!("no problem has the code {code}"))?;
    let shown = (&value["status"], &value["title"], &value["help"]);
    let expected = (&known.status().into(), &known.title().into(), &known.help().into());
    if shown == expected { Ok(()) } else { Err(format!("{shown:?} is not {expected:?}")) }
}

/// Documents speak of a sunset in 2027; the test is to mean the same after it.
fn with_a_sunset_far_away(text: &str) -> String {
    text.replace("2027-", "2127-")
}

#[test]
fn what_the_documents_show_is_true() {
    let documents = documents();
    assert!(documents.len() >= 7, "{:?}", documents.keys());
    let wrong: Vec<_> = documents.iter().filter_map(|(name, text)| try_samples(name, text).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The test above can fail: each of these documents has a sample that is wrong.
#[test]
fn a_sample_that_is_wrong_is_found() {
    let rows = [
        ("```\nx\n```\n", "unmarked"),
        ("```toml\nx = 1\n```\n", "unmarked"),
        ("```rust\nfn main() {}\n```\n", "does not name"),
        ("```yaml\nserver: {}\n```\n", "nothing_served"),
        ("```yaml fragment\nservr: {}\n```\n", "unknown_key"),
        ("```yaml fragment\n  limits: {}\n```\n", "first column"),
        ("```sh\nmainstay check nowhere.yaml\n```\n", "exit code 1"),
        ("```sh\nmainstay check mainstay.yaml   # exit code 1\n```\n", "exit code 0"),
        ("```sh\ncurl -i http://127.0.0.1:8080/v1/nothing   # 200\n```\n", "404"),
        ("```console\n$ mainstay explain GET /v1/nothing   # exit code 1\nroute     200\n```\n", "is not in"),
        ("```json\n{]\n```\n", "line 1"),
        ("```json\n{ \"code\": \"teapot\" }\n```\n", "teapot"),
        ("```json\n{ \"code\": \"overloaded\", \"status\": 500 }\n```\n", "is not"),
        ("```sh\nmainstay frobnicate\n```\n", "exit code 2"),
    ];
    for (document, part) in rows {
        let found = try_samples("a document", document).expect_err(document);
        assert!(found.contains(part), "{document}\n{found}");
    }
}

/// What every command takes, and the guide explains once.
const COMMON: [&str; 9] = [
    "--config",
    "--admin",
    "--token-file",
    "--admin-ca",
    "--admin-cert",
    "--admin-key",
    "--output",
    "--help",
    "--version",
];

/// Every command has its place in the reference, and the reference has no other.
#[test]
fn the_reference_of_commands_is_complete() {
    let help = ask(Path::new("/"), &["--help"]).out;
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let mut names: Vec<_> =
        commands.lines().filter(is_name).filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|name| *name != "help");
    let guide = &documents()["docs/guides/commands.md"];
    let described: Vec<_> = guide.lines().filter_map(|line| line.strip_prefix("## mainstay ")).collect();
    assert_eq!(described, names);
    let first = guide.split("\n## ").next().unwrap();
    for flag in &COMMON[..7] {
        assert!(first.contains(&format!("`{flag} ")), "{flag}");
    }
    for name in names {
        let section = guide.split(&format!("## mainstay {name}\n")).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let help = ask(Path::new("/"), &[name, "--help"]).out;
        let flags = help.split_whitespace().filter(|word| word.starts_with("--"));
        for flag in flags.map(|flag| flag.trim_end_matches(|c: char| !c.is_ascii_lowercase())) {
            assert!(COMMON.contains(&flag) || section.contains(&format!("`{flag}")), "{name} {flag}");
        }
    }
}
