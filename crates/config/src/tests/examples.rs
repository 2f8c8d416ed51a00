//! The examples that are shipped, and what `init` writes.

use std::path::{Path, PathBuf};

use super::{NOW_S, told};
use crate::{Options, Outcome, init_from_openapi, init_starter, load, load_memory, render_text};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("mainstay.yaml")
}

#[track_caller]
fn load_clean(path: &Path) -> crate::checked::Checked {
    let outcome = load(path, &Options { now_s: NOW_S, ..Options::default() });
    assert!(outcome.problems.is_empty(), "{}", render_text(&outcome.problems));
    outcome.checked.expect("no problems")
}

#[test]
fn minimal() {
    let checked = load_clean(&example("minimal"));
    assert_eq!(checked.apis["rates"].versions["v1"].operations.len(), 2);
}

#[test]
fn payments() {
    let checked = load_clean(&example("payments"));
    let versions = &checked.apis["payments"].versions;
    let lifecycle = &versions["v1"].lifecycle;
    assert_eq!(lifecycle.successor.as_deref(), Some("v2"));
    assert!(lifecycle.guide.as_deref().is_some_and(|guide| guide.ends_with("/guides/v1-to-v2")));
    let names = |version: &str| {
        let mut names: Vec<_> =
            versions[version].operations.iter().map(|operation| operation.name.clone()).collect();
        names.sort();
        names
    };
    for name in ["createPayment", "createRefund", "getPayment", "listBanks", "listPayments"] {
        assert!(
            names("v1").iter().any(|known| known == name) && names("v2").iter().any(|known| known == name),
            "{name}"
        );
    }
}

#[test]
fn forty_apis_of_fifteen_teams() {
    let path = example("forty-apis");
    let checked = load_clean(&path);
    assert_eq!(checked.apis.len(), 40);
    assert!(checked.apis.values().all(|api| api.versions.len() == 3 && api.owner.is_some()));
    let teams =
        checked.sources.iter().filter(|source| source.components().any(|part| part.as_os_str() == "teams"));
    assert_eq!(teams.filter(|source| source.ends_with("mainstay.yaml")).count(), 15);
    let operations: usize =
        checked.apis.values().flat_map(|api| api.versions.values()).map(|v| v.operations.len()).sum();
    assert!(operations >= 600, "{operations}");
}

fn load_text(text: &str, document: &str) -> Outcome {
    let files = [("mainstay.yaml", text), ("doc.yaml", document)];
    load_memory(Path::new("mainstay.yaml"), files, &Options::default())
}

#[test]
fn the_starter_passes() {
    let outcome = load_text(init_starter(), "");
    assert!(outcome.problems.is_empty(), "{}", render_text(&outcome.problems));
}

#[test]
fn a_start_from_a_document_passes() {
    let document = |head: &str, path: &str| {
        format!(
            "openapi: 3.1.0\ninfo: {{ title: \"Payments: \\\"Core\\\" # 1\" }}\n{head}\npaths: {{ {path}: {{ get: {{ operationId: a }} }} }}\n"
        )
    };
    for (head, path, template, stripped) in [
        ("", "/x", "/v1/x", true),
        ("servers: [{ url: https://a.example.com }]", "/x", "/v1/x", true),
        ("servers: [{ url: https://a.example.com/btl/v4/ }]", "/x", "/btl/v4/x", false),
        ("servers: [{ url: https://a.example.com/api }]", "/x", "/v1/x", true),
        ("servers: [{ url: 'https://{r}.example.com/{x}/v2' }]", "/x", "/v1/x", true),
        ("servers: [{ url: /v2 }]", "/x", "/v2/x", false),
        ("", "/v3/x", "/v3/x", false),
    ] {
        let document = document(head, path);
        let text =
            init_from_openapi(&document, "doc.yaml", "http://127.0.0.1:9001").expect("a configuration");
        let outcome = load_text(&text, &document);
        assert!(outcome.problems.is_empty(), "{text}\n{}", render_text(&outcome.problems));
        let checked = outcome.checked.expect("no problems");
        let operation = &checked.apis["payments-core-1"].versions.values().next().expect("one").operations[0];
        assert_eq!((operation.template.as_str(), operation.strip_prefix), (template, stripped), "{text}");
    }
}

#[test]
fn a_start_that_cannot_be_made() {
    let check = |document: &str, upstream: &str, expected: &str| {
        let problems = init_from_openapi(document, "doc.yaml", upstream).expect_err("refused");
        assert_eq!(told(&problems), [expected]);
    };
    check("openapi: 2.0", "http://a", "error openapi_version doc.yaml:1:10");
    check(
        "openapi: 3.1.0\ninfo: { title: T }\npaths: { /a%2fb: { get: {} } }",
        "http://a",
        "error bad_template doc.yaml:3:20",
    );
    check("", "ftp://a", "error bad_endpoint :0:0");
}
