//! Lists in the guides against what the engine has: metrics, events, fields of the log, paths of the control listener.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::documents::documents;
use crate::run::{Engine, Payments, Process, ask, forward_to, get, mainstay, request, until};

pub(crate) fn guide(name: &str) -> String {
    documents()[&format!("docs/guides/{name}.md")].clone()
}

/// The rows of the tables under a heading, as cells.
pub(crate) fn rows(guide: &str, heading: &str) -> Vec<Vec<String>> {
    let section = guide.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let table = section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect();
    table.map(cells).skip(1).collect()
}

/// What stands in backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Sources below these folders, without tests.
fn sources(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            // Of the path within the crates: the checkout may lie anywhere.
            let is_test = path
                .components()
                .rev()
                .take(4)
                .any(|part| part.as_os_str().to_str().unwrap().contains("test"));
            if path.is_dir() {
                folders.push(path);
            } else if !is_test && path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Names of metrics in the sources: string literals with the engine's prefixes.
fn metrics_in_sources() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    let mut found = BTreeSet::new();
    for path in sources(folders) {
        let text = std::fs::read_to_string(path).unwrap();
        let literals = text.split('"').filter(|part| is_metric(part)).map(str::to_owned);
        found.extend(literals);
    }
    found
}

fn is_metric(name: &str) -> bool {
    let prefixes = ["mainstay_", "http_server_", "http_client_"];
    prefixes.iter().any(|prefix| name.starts_with(prefix) && name.len() > prefix.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Name, type, labels of each metric in the guide.
fn metrics_in_guide() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = rows(&guide("reading-the-log-and-metrics"), "## Metrics");
    let metric = |row: Vec<String>| {
        (quoted(&row[0]).remove(0), (row[1].clone(), quoted(&row[2]).into_iter().collect()))
    };
    rows.into_iter().map(metric).collect()
}

#[test]
fn every_metric_stands_in_the_guide() {
    let known = metrics_in_sources();
    assert!(known.len() > 15, "{known:?}");
    let described: BTreeSet<String> = metrics_in_guide().into_keys().collect();
    assert_eq!(described, known);
}

#[test]
fn types_and_labels_of_metrics_are_as_the_guide_says() {
    let mut demo = Process::start(mainstay(Path::new("/")).arg("demo"));
    let started = demo.event("started", 1);
    let address = |key: &str| started[key].as_str().unwrap().parse().unwrap();
    let scrape = || get(address("control"), "/metrics").body;
    assert_eq!(get(address("listen"), "/v1/banks").status, 200);
    assert_eq!(get(address("listen"), "/nowhere").status, 404);
    demo.signal(Signal::HUP);
    demo.event("config_reloaded", 1);
    until(|| scrape().contains("mainstay_problems_total{"));
    let text = scrape();
    demo.signal(Signal::TERM);
    assert_eq!(demo.code(), 0);
    let described = metrics_in_guide();
    let mut seen = BTreeSet::new();
    let (mut name, mut kind) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.starts_with("# HELP")) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, of) = rest.split_once(' ').unwrap();
            (name, kind) = (family.to_owned(), of.to_owned());
            continue;
        }
        let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        // A label's value in this scrape has neither a comma nor an equals sign in front of a quote.
        let labels = labels.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(label, _)| label);
        let labels: BTreeSet<String> = labels.filter(|label| *label != "le").map(str::to_owned).collect();
        assert_eq!(described.get(&name), Some(&(kind.clone(), labels)), "{line}");
        seen.insert(name.clone());
    }
    assert!(seen.len() > 12, "{seen:?}");
}

#[test]
fn every_event_and_every_field_of_the_log_stands_in_the_guide() {
    let guide = guide("reading-the-log-and-metrics");
    let names =
        |heading| -> Vec<String> { rows(&guide, heading).iter().flat_map(|row| quoted(&row[0])).collect() };
    assert_eq!(names("## The access log"), mainstay_telemetry::log::FIELDS);
    assert_eq!(names("## Events"), mainstay_telemetry::Event::NAMES);
}

#[test]
fn every_path_of_the_control_listener_stands_in_the_guide() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    let head = format!(
        "GET /admin/v1/openapi.json HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        engine.control,
        engine.token()
    );
    let document = request(engine.control, &head).json();
    let mut served = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            served.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let described = rows(&guide("commands"), "## The control listener");
    let described: BTreeSet<String> = described.iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(described, served);
    engine.stop();
}

/// The guide shows every limit, timeout and bound of the pool with its default, as the schema has it, and explains each.
#[test]
fn defaults_in_the_guide_are_those_of_the_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(&ask(Path::new("/"), &["schema"]).out).expect("the schema");
    let guide = guide("timeouts-and-limits");
    let sample = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("\napis:").next()).unwrap();
    let written: BTreeSet<&str> = sample.split([',', '{', '}', '\n', '#']).map(str::trim).collect();
    for block in ["Limits", "Http2", "Timeouts", "Pool"] {
        for (key, value) in schema["$defs"][block]["properties"].as_object().unwrap() {
            let default = &value["default"];
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            let expected = format!("{key}: {default}");
            assert!(written.contains(expected.as_str()), "{block}: {expected} is not in {written:?}");
            assert!(guide.contains(&format!("`{key}`")), "{block}: nothing explains {key}");
        }
    }
}

/// Literals of the sources in the form of a code that are names of settings.
const NO_CODES: [&str; 2] = ["allow_missing_env", "now_s"];

/// What `check` and a reload can say stands in the guide, and nothing else.
#[test]
fn every_code_of_check_stands_in_the_guide() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = sources(vec![crates.join("config/src"), crates.join("openapi/src")]);
    files.extend(["lower.rs", "reload.rs"].map(|name| crates.join("mainstay/src").join(name)));
    let schema = ask(Path::new("/"), &["schema"]).out;
    // Keys, and words that they take.
    let is_key = |word: &str| schema.contains(&format!("\"{word}\""));
    let is_code = |word: &&str| {
        word.contains('_')
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && !word.starts_with("mainstay_")
            && !mainstay_telemetry::log::FIELDS.contains(word)
            && !NO_CODES.contains(word)
    };
    // These have no underscore.
    let mut known: BTreeSet<String> = ["bind", "internal"].map(str::to_owned).into();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        known.extend(text.split('"').filter(is_code).filter(|word| !is_key(word)).map(str::to_owned));
    }
    // What is said of policies; other literals there are names of attributes.
    for file in sources(vec![crates.join("authz/src")]) {
        if !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "cases") {
            let text = std::fs::read_to_string(file).unwrap();
            let is_policy = |word: &&str| word.starts_with("polic") || *word == "attribute_reserved";
            known.extend(text.split('"').filter(is_code).filter(is_policy).map(str::to_owned));
        }
    }
    assert!(known.len() > 90, "{known:?}");
    let guide = guide("check-codes");
    let mut described = Vec::new();
    for heading in guide.lines().filter(|line| line.starts_with("## ")) {
        described.extend(rows(&guide, heading).iter().flat_map(|row| quoted(&row[0])));
    }
    let unique: BTreeSet<String> = described.iter().cloned().collect();
    assert_eq!(unique.len(), described.len(), "a code stands twice");
    assert_eq!(unique, known);
}
