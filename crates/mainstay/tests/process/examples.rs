//! Each folder of `examples/` is started as it is, in front of the payments service, and answers for every version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::run::{Engine, Payments, ask, request};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").canonicalize().unwrap()
}

/// Copies a tree with its configurations changed by `edit`.
fn copy(from: &Path, to: &Path, edit: &dyn Fn(&str) -> String) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to, edit);
        } else if from.ends_with("mainstay.yaml") {
            std::fs::write(&to, edit(&std::fs::read_to_string(&from).unwrap())).unwrap();
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// As many as an example has ports in a row that must not be the same: no upstream lists an address twice.
const SERVICES: usize = 4;

fn services() -> [Payments; SERVICES] {
    std::array::from_fn(|_| Payments::start())
}

/// The example's own text with other ports behind it: those of instances of the service. All else stays as it is.
fn with_ports(text: &str, services: &[Payments; SERVICES]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("http://127.0.0.1:") {
        let (before, url) = rest.split_at(at);
        let digits = url["http://127.0.0.1:".len()..].bytes().take_while(u8::is_ascii_digit).count();
        let (url, after) = url.split_at("http://127.0.0.1:".len() + digits);
        let port: usize = url.rsplit(':').next().unwrap().parse().unwrap();
        // `portal.public_url` is the base of links; nothing is sent there.
        let is_upstream = !before.ends_with("public_url: ");
        out.push_str(before);
        out.push_str(&if is_upstream {
            format!("http://{}", services[port % SERVICES].address)
        } else {
            url.to_owned()
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The dates of an example a century later, so that the test means the same on every day.
fn with_later_dates(text: &str) -> String {
    text.replace(" 2026-", " 2126-").replace(" 2027-", " 2127-")
}

/// The folders with a configuration. What is no folder is a program, with a test of its own (`embedded.rs`); policies alone
/// are tried with their cases by `mainstay-authz`.
fn configurations() -> Vec<String> {
    let entries = std::fs::read_dir(examples()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().join("mainstay.yaml").is_file());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A copy of the example that can be started beside anything else.
fn start(name: &str, services: &[Payments; SERVICES]) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    // Relative names that leave the folder go on leading where they led.
    let root = examples().join("../crates").canonicalize().unwrap();
    let edit = |text: &str| {
        with_later_dates(&with_ports(text, services)).replace("../../crates", root.to_str().unwrap())
    };
    copy(&examples().join(name), folder.path(), &edit);
    let main = folder.path().join("mainstay.yaml");
    let text = std::fs::read_to_string(&main).unwrap();
    assert!(text.contains("  listen: 127.0.0.1:8080\n") && !text.contains("\ncontrol:"), "{name}: {text}");
    let text = text.replace("  listen: 127.0.0.1:8080\n", "  listen: 127.0.0.1:0\n");
    std::fs::write(&main, format!("{text}\ncontrol: {{ listen: 127.0.0.1:0 }}\n")).unwrap();
    Engine::start_in(folder)
}

/// A path that a template matches.
fn path_of(route: &str) -> String {
    let fill = |segment: &str| match (segment.find('{'), segment.find('}')) {
        (Some(from), Some(to)) => format!("{}pay_000001{}", &segment[..from], &segment[to + 1..]),
        _ => segment.to_owned(),
    };
    route.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[test]
fn every_example_is_served_in_every_version() {
    let names = configurations();
    assert!(names.len() >= 4, "{names:?}");
    let services = services();
    for name in names {
        let engine = start(&name, &services);
        let told = ask(engine.folder.path(), &["check"]);
        assert!(told.code == 0 && !told.err.contains("error"), "{name} {told:?}");
        let versions = engine.ask(&["versions", "--output", "json"]).json();
        let mut expected: BTreeSet<_> = versions["items"].as_array().unwrap().iter().map(named).collect();
        let bearer = format!("Authorization: Bearer {}", engine.token());
        let head =
            format!("GET /admin/v1/config HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", engine.control);
        let config = request(engine.control, &format!("{head}{bearer}\r\n\r\n")).json();
        for (key, operation) in config["operations"].as_object().unwrap() {
            let (method, route) = (text(&operation["method"]), text(&operation["template"]));
            let target = path_of(route);
            let bytes = format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            let answered = request(engine.address, &bytes);
            // The service behind it knows the payments API; what it does not know it answers too, with 404.
            let is_served = answered.head.contains("x-served-by: payments");
            let is_asked = answered.status == 401 && answered.head.contains("www-authenticate: ");
            let is_anyones = operation["auth"] == "none";
            assert!(if is_anyones { is_served } else { is_asked }, "{name} {key} {answered:?}");
            let mut words = key.split(' ').map(str::to_owned);
            expected.remove(&(words.next().unwrap(), words.next().unwrap()));
        }
        assert!(expected.is_empty(), "{name}: not one request for {expected:?}");
        engine.stop();
    }
}

fn named(item: &Value) -> (String, String) {
    (text(&item["api"]).to_owned(), text(&item["version"]).to_owned())
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

/// What the payments example promises about its versions is true of the answers.
#[test]
fn the_payments_example_serves_both_versions_of_a_payment() {
    let services = services();
    let engine = start("payments", &services);
    let [old, new] = ["/v1", "/v2"].map(|version| engine.get(&format!("{version}/payments/pay_000001")));
    assert_eq!((old.status, new.status), (200, 200), "{old:?} {new:?}");
    assert!(old.json()["amount"].is_number() && new.json()["amount"]["value"].is_string(), "{old:?} {new:?}");
    assert!(old.head.contains("01 Mar 2127 00:00:00 GMT"), "{old:?}");
    assert!(old.head.contains("/guides/v1-to-v2>; rel="), "{old:?}");
    assert!(!new.head.contains("\r\nsunset: "), "{new:?}");
    engine.stop();
}
