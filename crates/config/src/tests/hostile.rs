//! Texts that nobody would write.

use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use crate::{
    Options, diff, effective, init_from_openapi, load_memory, published_of, render_json, render_text,
};

fn swallow(text: &str, document: &str) {
    let files = [("mainstay.yaml", text), ("doc.yaml", document)];
    let outcome = load_memory(Path::new("mainstay.yaml"), files, &super::options());
    render_text(&outcome.problems);
    render_json(&outcome.problems, true);
    assert_eq!(outcome.checked.is_none(), outcome.problems.iter().any(crate::Problem::is_error));
    if let Some(checked) = outcome.checked {
        let effects = effective(&checked);
        assert!(diff(&effects, &effects).is_empty());
        let options = Options { published: published_of(&checked), ..super::options() };
        assert!(
            load_memory(Path::new("mainstay.yaml"), files, &options).checked.is_some(),
            "what it published itself"
        );
    }
}

/// A configuration with one place filled by something else.
const FRAME: &[(&str, &str)] = &[
    ("", ""),
    ("server: ", ""),
    ("server: { listen: ", " }"),
    ("server: { limits: { body: ", " } }"),
    ("server: { listen: { address: unix:a, tls: a }, tls: { a: { certificates: ", " } } }"),
    ("include: ", ""),
    ("upstreams: { up: { endpoints: ", " } }"),
    ("upstreams: { up: { endpoints: ['", "'] } }"),
    ("upstreams: { up: { endpoints: https://a, tls: ", " } }"),
    ("classes: { c: { upgrade: ", " } }"),
    ("classes: { c: { priority: ", " } }"),
    ("server: { limits: { memory: ", " } }"),
    ("upstreams: { up: { endpoints: http://a, balance: ", " } }"),
    ("upstreams: { up: { endpoints: http://a, balance: { hash: ", " } } }"),
    ("upstreams: { up: { endpoints: http://a, rate_max: ", " } }"),
    ("upstreams: { up: { endpoints: http://a, retries: ", " } }"),
    ("upstreams: { up: { endpoints: http://a, health: { path: '", "' } } }"),
    ("upstreams: { up: { endpoints: http://a, health: { path: /, status: ", " } } }"),
    ("upstreams: { up: { endpoints: http://a, fallback: ", " } }"),
    ("upstreams: { up: { endpoints: http://a, fallback: { respond: { body: ", " } } } }"),
    ("apis: ", ""),
    ("apis: { a: { hosts: ['", "'], versions: { v1: { upstream: up } } } }"),
    (
        "apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: { 'GET ",
        "': {} } } } } }",
    ),
    (
        "apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, lifecycle: { ",
        " }, operations: { GET /x: {} } } } } }",
    ),
    (
        "apis: { a: { base_path: '",
        "', defaults: { auth: none }, versions: { v1: { upstream: up, openapi: doc.yaml } } } }",
    ),
];

fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "[ {}\\[\\],:'\"$&*!|>%@#a-z0-9/.~-]{0,60}",
        "(\\$\\{[A-Za-z:.]{0,8}\\}?){0,3}",
        "[0-9]{0,30}(ms|s|d|B|KiB|GiB)?",
        "(/[a-z{}*%.:;0-9]{0,6}){0,5}",
        any::<String>(),
        Just(
            "deprecated: 2026-01-01, sunset: 9999-12-31, brownouts: [{ from: 9999-12-31, for: 7d }]"
                .to_owned()
        ),
    ]
}

proptest! {
    #[test]
    fn nothing_panics(place in 0..FRAME.len(), fragment in fragment(), document in fragment()) {
        let (before, after) = FRAME[place];
        let text = super::whole(&format!("{before}{fragment}{after}\n"));
        swallow(&text, "{ openapi: 3.1.0, info: { title: T }, paths: { /x: { get: {} } } }");
        swallow(&text, &document);
        let _ = init_from_openapi(&document, &fragment, "http://127.0.0.1:1");
    }

    /// Whatever the title, the file name and the servers are, what `init` writes is a configuration.
    #[test]
    fn init_writes_what_can_be_read(title in "\\PC{0,40}", file in "[a-z '\"#:{}$]{1,20}", server in "[a-z0-9/.{}v]{0,20}") {
        let json = serde_json::json!({
            "openapi": "3.1.0", "info": { "title": title }, "servers": [{ "url": server }], "paths": { "/x": { "get": {} } },
        })
        .to_string();
        if let Ok(text) = init_from_openapi(&json, &file, "http://127.0.0.1:1") {
            let files = [("mainstay.yaml", text.as_str()), (file.as_str(), json.as_str())];
            let outcome = load_memory(Path::new("mainstay.yaml"), files, &Options::default());
            // A name of blanks alone names no file.
            assert!(outcome.checked.is_some() || file.trim().is_empty(), "{text}\n{}", render_text(&outcome.problems));
        }
    }
}
