//! OpenAPI documents: their findings are told in their own file, and real ones are served whole.

use std::path::{Path, PathBuf};

use super::{check_files, load_files, options, told};
use crate::checked::Checked;
use crate::{Options, load, render_text};

const MAIN: &str = "upstreams: { up: { endpoints: http://a } }
apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, openapi: doc.yaml } } } }
";

#[test]
fn findings_are_told_in_the_document() {
    let with = |document: &str, expected: &[&str]| {
        check_files(&[("mainstay.yaml", MAIN), ("doc.yaml", document)], expected);
    };
    with("", &["error openapi_not_a_document doc.yaml:1:1"]);
    with("openapi: 2.0", &["error openapi_version doc.yaml:1:10"]);
    with(
        "openapi: 3.1.0\ninfo: { title: T }\npaths:\n  /x:\n    get: {}\n  /x//y:\n    get: {}",
        &["error openapi_path doc.yaml:6:3"],
    );
    with(
        "openapi: 3.1.0\ninfo: { title: T }\npaths:\n  /x:\n    get: {}\n  /a%2fb:\n    get: {}",
        &["error bad_template doc.yaml:7:5"],
    );
    with("openapi: 3.1.0\ninfo: {}\npaths:\n  /x:\n    get: {}", &["warning openapi_structure doc.yaml:2:1"]);
    with(
        "openapi: 3.1.0\ninfo: { title: T }\nservers: [{ url: https://h/btl/v1 }]\npaths: { /x: { get: {} } }",
        &["note servers_differ 2:81"],
    );
    with("openapi: 3.1.0\ninfo: { title: T }\nservers: [{ url: /v1/ }]\npaths: { /x: { get: {} } }", &[]);
    let outcome = load_files(&[("mainstay.yaml", MAIN), ("doc.yaml", "openapi: 2.0")], &options());
    assert_eq!(outcome.problems[0].key, "apis.a.versions.v1.openapi");
    assert_eq!(outcome.problems[0].source_line.as_deref(), Some("openapi: 2.0"));
    let large = format!("# {}", "x".repeat(17 << 20));
    with(&large, &["error file_too_large 2:81"]);
}

#[test]
fn a_document_may_serve_several_versions() {
    let main = MAIN.replace("doc.yaml } ", "doc.yaml }, v2: { upstream: up, openapi: ./x/../doc.yaml } ");
    let document = "openapi: 3.1.0\ninfo: {}\npaths: { /x: { get: { operationId: getX } } }";
    let outcome = load_files(&[("mainstay.yaml", &main), ("doc.yaml", document)], &options());
    // Read once, so what is doubtful in it is told once.
    assert_eq!(told(&outcome.problems), ["warning openapi_structure doc.yaml:2:1"]);
    let versions = &outcome.checked.expect("loads").apis["a"].versions;
    assert_eq!((versions["v1"].operations.len(), versions["v2"].operations.len()), (1, 1));
}

/// The documents, or a word on the terminal that the test was passed over.
fn adyen() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/adyen");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("passed over: there is no {}", folder.display());
    None
}

fn templates(checked: &Checked, api: &str, version: &str) -> Vec<(String, String)> {
    let operations = &checked.apis[api].versions[version].operations;
    operations.iter().map(|operation| (operation.method.clone(), operation.template.clone())).collect()
}

/// Methods and paths as a reader of the lines would find them: two and four spaces deep.
fn by_indent(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut path = String::new();
    for line in text
        .lines()
        .skip_while(|line| *line != "paths:")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '))
    {
        if let Some(name) = line.strip_prefix("  /") {
            path = format!("/{}", name.trim_end_matches(':'));
        } else if let Some(key) = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')) {
            let method = key.trim_end_matches(':').to_uppercase();
            if ["GET", "POST", "PATCH", "PUT", "DELETE"].contains(&method.as_str()) {
                found.push((method, path.clone()));
            }
        }
    }
    found
}

#[test]
fn real_documents_are_served_whole() {
    let Some(folder) = adyen() else { return };
    let shown = folder.display();
    let text = format!(
        "upstreams: {{ checkout: {{ endpoints: http://127.0.0.1:9001 }}, transfers: {{ endpoints: http://127.0.0.1:9002 }} }}
apis:
  checkout:
    hosts: api.example.com
    defaults: {{ auth: none }}
    versions:
      v70: {{ upstream: checkout, openapi: {shown}/CheckoutService-v70.yaml }}
      v71: {{ upstream: checkout, openapi: {shown}/CheckoutService-v71.yaml }}
  transfers:
    hosts: api.example.com
    base_path: /btl
    defaults: {{ auth: none }}
    versions:
      v3: {{ upstream: transfers, openapi: {shown}/TransferService-v3.yaml }}
      v4: {{ upstream: transfers, openapi: {shown}/TransferService-v4.yaml }}
"
    );
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("mainstay.yaml");
    std::fs::write(&path, text).expect("written");
    let outcome = load(&path, &Options { now_s: super::NOW_S, ..Options::default() });
    let checked = outcome.checked.unwrap_or_else(|| panic!("{}", render_text(&outcome.problems)));
    assert!(
        outcome.problems.iter().all(|problem| problem.code != "servers_differ"),
        "{}",
        render_text(&outcome.problems)
    );
    for (api, version, file, prefix, at_least) in [
        ("checkout", "v70", "CheckoutService-v70", "/v70", 25),
        ("checkout", "v71", "CheckoutService-v71", "/v71", 25),
        ("transfers", "v3", "TransferService-v3", "/btl/v3", 8),
        ("transfers", "v4", "TransferService-v4", "/btl/v4", 9),
    ] {
        let document = std::fs::read_to_string(folder.join(format!("{file}.yaml"))).expect("a document");
        let mut expected: Vec<_> = by_indent(&document)
            .into_iter()
            .map(|(method, path)| (method, format!("{prefix}{path}")))
            .collect();
        let mut served = templates(&checked, api, version);
        expected.sort();
        served.sort();
        assert!(expected.len() >= at_least, "{file}: {}", expected.len());
        assert_eq!(served, expected, "{file}");
    }
}
