//! Any text as a configuration, alone and in places of one that is right. What is refused says why and where; what is
//! accepted can be routed as it stands.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mainstay_config::checked::Checked;
use mainstay_config::{
    Options, Outcome, diff, effective, init_from_openapi, load_memory, problems_json, published_of, render_text,
};
use mainstay_policy::route::{HostPattern, MethodSpec, RouterBuilder, Template};

const SECRET: &str = "k3pt-t0-1ts3lf";
const DOCUMENT: &str = "openapi: 3.1.0
info: { title: T, version: '1' }
paths: { /x: { get: { operationId: getX } }, '/x/{id}:do': { post: {} }, /v1/y: { get: {} } }
";
/// What stands around the text.
const FRAMES: &[(&str, &str)] = &[
    ("", ""),
    ("server: ", "\n"),
    ("upstreams: { up: ", " }\n"),
    ("apis: ", "\n"),
    ("apis: { a: { defaults: { auth: none }, versions: ", " } }\n"),
    ("apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: ", " } } } }\n"),
    ("apis: { a: { defaults: { auth: none }, operations: ", ", versions: { v1: { upstream: up, openapi: d.yaml } } } }\n"),
    ("apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: up, openapi: d.yaml, lifecycle: ", " } } } }\n"),
    ("server: { listen: { address: unix:a, tls: a }, tls: { a: ", " } }\n"),
    ("upstreams: { up: { endpoints: https://a, tls: ", " } }\n"),
];
const UPSTREAMS: &str = "upstreams: { up: { endpoints: 'http://127.0.0.1:1' } }\n";
const APIS: &str = "apis: { z: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: { GET /z: {} } } } } }\n";

fuzz_target!(|input: (u8, &str)| {
    let (frame, text) = input;
    let (before, after) = FRAMES[usize::from(frame) % FRAMES.len()];
    let mut text = format!("{before}{text}{after}");
    for (key, rest) in [("upstreams", UPSTREAMS), ("apis", APIS)] {
        if !before.is_empty() && !before.starts_with(key) {
            text.push_str(rest);
        }
    }
    let env = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    let options = Options { env: Arc::new(env), host_name: Arc::new(|| "host".to_owned()), ..Options::default() };
    let outcome = load(&text, &options);
    check_problems(&text, &outcome);
    if let Some(checked) = &outcome.checked {
        check_routes(checked);
        let effects = effective(checked);
        assert!(diff(&effects, &effects).is_empty());
        let again = load(&text, &Options { published: published_of(checked), ..options });
        assert!(again.checked.is_some(), "it broke what it published itself");
    }
    let _ = init_from_openapi(&text, "d.yaml", "http://127.0.0.1:1");
});

fn load(text: &str, options: &Options) -> Outcome {
    load_memory(Path::new("m.yaml"), [("m.yaml", text), ("d.yaml", DOCUMENT)], options)
}

fn check_problems(text: &str, outcome: &Outcome) {
    assert_eq!(outcome.checked.is_none(), outcome.problems.iter().any(|problem| problem.is_error()));
    let told = render_text(&outcome.problems) + &problems_json(&outcome.problems);
    // The name of a missing file is told, and may have come from anywhere.
    let names_file = ["file_unreadable", "guide_missing"].iter().any(|code| told.contains(code));
    assert!(names_file || text.contains(SECRET) || !told.contains(SECRET), "{told}");
    for problem in &outcome.problems {
        assert!(problem.line >= 1 && problem.column >= 1 && !problem.message.is_empty(), "{problem:?}");
    }
}

/// What the check accepts, the route table takes.
fn check_routes(checked: &Checked) {
    let mut router = RouterBuilder::new();
    for api in checked.apis.values() {
        for operation in api.versions.values().flat_map(|version| &version.operations) {
            let template = Template::parse(&operation.template).expect("a template");
            for host in &api.hosts {
                let host = HostPattern::parse(host).expect("a host");
                let method = MethodSpec::new(&operation.method);
                assert!(router.insert(&host, &template, method, ()).is_ok(), "{} is there twice", operation.template);
            }
        }
    }
}
