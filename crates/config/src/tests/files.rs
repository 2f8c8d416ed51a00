//! Includes, substitution, and files that are not what they should be.

use std::sync::Arc;

use super::{APIS, UPSTREAMS, check, check_files, good, load_files, load_text, options, told};
use crate::{Options, render_json, render_text};

fn both() -> String {
    format!("{UPSTREAMS}{APIS}")
}

#[test]
fn what_cannot_be_read_is_told() {
    let outcome = crate::load(std::path::Path::new("/nowhere/mainstay.yaml"), &options());
    assert_eq!(outcome.problems[0].code, "file_unreadable");
    check_files(&[("mainstay.yaml", "")], &["error empty_file 1:1"]);
    check_files(&[("mainstay.yaml", "# nothing\n")], &["error empty_file 1:1"]);
    check_files(&[("mainstay.yaml", "[]")], &["error wrong_type 1:1"]);
    check_files(&[("mainstay.yaml", "server: {\n")], &["error yaml_syntax 2:1"]);
    check_files(&[("mainstay.yaml", "server: {}")], &["error nothing_served 1:1"]);
    check("server: {}\nserver: {}", &["error yaml_duplicate_key 2:1"]);
    check("server: &a { node: *a }", &["error yaml_alias 1:20"]);
}

#[test]
fn files_too_large_too_deep_or_that_multiply_are_refused() {
    let large = format!("# {}\n", "x".repeat(9 << 20));
    check_files(&[("mainstay.yaml", &large)], &["error file_too_large 1:1"]);
    let deep = format!("server: {}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(load_text(&deep).problems[0].code, "yaml_too_deep");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let item = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [item.as_str(); 10].join(", ")));
    }
    assert_eq!(load_text(&bomb).problems[0].code, "yaml_too_many_nodes");
}

#[test]
fn bom_and_crlf_are_harmless() {
    let text = format!("\u{feff}server:\r\n  workers: 2\r\n  wrkers: 2\r\n{}", both());
    check_files(&[("mainstay.yaml", &text)], &["error unknown_key 3:3"]);
    let outcome = load_files(&[("mainstay.yaml", &text)], &options());
    assert_eq!(outcome.problems[0].source_line.as_deref(), Some("  wrkers: 2"));
}

#[test]
fn includes_are_bounded_and_disjoint() {
    let main = |include: &str| format!("include: {include}{}", both());
    check_files(&[("mainstay.yaml", &main("teams/none.yaml"))], &["error file_unreadable 1:10"]);
    check_files(&[("mainstay.yaml", &main("['teams/*.yaml']"))], &["warning include_empty 1:11"]);
    check_files(&[("mainstay.yaml", &main("['teams/***']"))], &["error include_pattern 1:11"]);
    check_files(
        &[("mainstay.yaml", &main("['teams/*.yaml']")), ("teams/a.yaml", "include: [x.yaml]\n")],
        &["error include_nested teams/a.yaml:1:10"],
    );
    check_files(
        &[
            ("mainstay.yaml", &main("a.yaml")),
            ("a.yaml", "upstreams:\n  up: { endpoints: http://b }\nserver: {}"),
        ],
        &["error duplicate_entry a.yaml:2:3"],
    );
    check_files(
        &[
            ("mainstay.yaml", &main("[a.yaml, b.yaml]")),
            ("a.yaml", "server: {}"),
            ("b.yaml", "server: {}\napis:\n  a: {}"),
        ],
        &["error duplicate_entry b.yaml:1:9", "error duplicate_entry b.yaml:3:3"],
    );
    // A pattern may match its own file, and two patterns the same one.
    check_files(
        &[
            ("mainstay.yaml", &main("['*.yaml', 'o*.yaml', ./other.yaml]")),
            ("other.yaml", "classes: { c: { auth: none } }"),
        ],
        &[],
    );
    let both_named =
        load_files(&[("mainstay.yaml", &main("a.yaml")), ("a.yaml", "apis:\n  a: {}")], &options());
    assert!(
        both_named.problems[0].message.contains("mainstay.yaml:4:9"),
        "{}",
        both_named.problems[0].message
    );
}

#[test]
fn names_are_relative_to_their_file() {
    let files = [
        ("conf/mainstay.yaml", &*format!("include: 'teams/*/x.yaml'{UPSTREAMS}")),
        (
            "conf/teams/a/x.yaml",
            "control: { token_file: secrets/token }\nportal: { public_url: 'https://p' }\napis:\n  a:\n    defaults: { auth: none }\n    versions:\n      v1: { upstream: up, openapi: ../doc.yaml, lifecycle: { guide: g.md } }\n",
        ),
        (
            "conf/teams/doc.yaml",
            "{ openapi: 3.1.0, info: { title: T, version: '1' }, paths: { /x: { get: {} } } }",
        ),
        ("conf/teams/a/g.md", ""),
    ];
    let outcome = load_files(&files, &options());
    let checked = outcome.checked.unwrap_or_else(|| panic!("{}", render_text(&outcome.problems)));
    assert_eq!(checked.control.token_file, std::path::Path::new("conf/teams/a/secrets/token"));
    let v1 = &checked.apis["a"].versions["v1"];
    assert_eq!(v1.lifecycle.guide.as_deref(), Some("https://p/guides/g"));
    assert_eq!((v1.operations[0].name.as_str(), v1.operations[0].template.as_str()), ("GET /x", "/v1/x"));
    assert_eq!(checked.sources.len(), 3);
}

#[test]
fn substitution_is_typed_by_its_key() {
    let checked = good(
        "server: { workers: '${COUNT}', limits: { idle_timeout: '${WAIT}' }, node: { name: 'n-${COUNT}-$${x}', region: '${file:region}' } }
apis: { a: { defaults: { auth: none }, cors: { origins: https://a.example.com, credentials: '${YES}' }, versions: { v1: { upstream: up, operations: { GET /x: {} } } } } }
".replace("'${file:region}'", "none").as_str(),
    );
    assert_eq!((checked.server.workers, checked.server.node_name.as_str()), (Some(7), "n-7-${x}"));
    assert!(checked.apis["a"].cors.as_ref().is_some_and(|cors| cors.credentials));
    let checked = good(
        "upstreams: { up: { endpoints: http://a, timeouts: '${OFF}', pool: '${OFF}' } }
apis: { a: { defaults: { auth: ['${NONE}'] }, versions: { v1: { upstream: up, operations: { GET /x: {} } } } } }",
    );
    assert_eq!((checked.upstreams["up"].timeouts.total, checked.upstreams["up"].pool.idle_max), (None, 0));
    let text = format!("server: {{ node: {{ region: '${{file:region.txt}}' }} }}{}", both());
    let outcome = load_files(&[("mainstay.yaml", &text), ("region.txt", "eu-1\n")], &options());
    let checked = outcome.checked.expect("loads");
    assert_eq!(checked.server.node_region.as_deref(), Some("eu-1"));
    assert!(checked.sources.iter().any(|source| source.ends_with("region.txt")));
}

#[test]
fn substitution_that_fails_is_told_by_name() {
    check("server: { workers: '${NOPE}' }", &["error env_missing 1:20"]);
    check("upstreams: { up: { endpoints: http://a, pool: '${NOPE}' } }", &["error env_missing 1:47"]);
    check("server: { workers: '${' }", &["error bad_substitution 1:20"]);
    check("server: { workers: '${}' }", &["error bad_substitution 1:20"]);
    check("server: { workers: '${a b}' }", &["error bad_substitution 1:20"]);
    check("server: { workers: '${file:none}' }", &["error substituted_file 1:20"]);
    check("server: { workers: '${WAIT}' }", &["error bad_number 1:20"]);
    check("server: { node: { name: '${EMPTY}' } }", &["error bad_text 1:25"]);
    check("server: { node: { name: '${HOME_OF_MULTI}' } }", &["error bad_text 1:25"]);
    // A value is no structure.
    check("server: '${HOME_OF_MULTI}'", &["error wrong_type 1:9"]);
}

#[test]
fn values_from_outside_are_never_told() {
    let rows = [
        "server: { workers: '${SECRET}' }",
        "server: { listen: '${SECRET}' }",
        "server: { listen: 'localhost:${SECRET}' }",
        "server: { listen: ['unix:/${SECRET}', 'unix:/${SECRET}', 'unix:${SECRET}/'] }",
        "server: { listen: { address: 'unix:/a', tls: '${SECRET}' }, tls: { a: { certificates: { cert: '${SECRET}', key: '${SECRET}' }, client_ca: '${SECRET}' } } }",
        "upstreams: { up: { endpoints: ['local:!${SECRET}', 'https://-${SECRET}'], tls: { ca: '${SECRET}', server_name: '-${SECRET}' } } }",
        "classes: { c: { upgrade: ['h2c/${SECRET}', '${SECRET}/1'] } }",
        "server: { node: { name: 'a' }, health_path: '${SECRET}' }",
        "upstreams: { up: { endpoints: ['http://${SECRET}@a'] } }",
        "upstreams: { up: { endpoints: http://a, protocol: '${SECRET}', host: '!${SECRET}', timeouts: { total: '${SECRET}' } } }",
        "telemetry: { log: { redact: '${SECRET}', format: '${SECRET}' } }",
        "apis: { a: { hosts: ['${SECRET}', '${SECRET}'], versions: { v1: { upstream: '${SECRET}', lifecycle: { successor: '${SECRET}', guide: '${SECRET}', sunset: '${SECRET}' } } } } }",
        "apis: { a: { defaults: { auth: '${SECRET}' }, versions: { v1: { upstream: up, operations: { GET /x: { class: '${SECRET}', versions: '${SECRET}' } } } } } }",
        "include: '${SECRET}'",
        "portal: { public_url: '${SECRET}' }",
    ];
    for row in rows {
        let outcome = load_text(row);
        assert!(!outcome.problems.is_empty(), "{row}");
        let all = format!("{}{}", render_text(&outcome.problems), render_json(&outcome.problems, false));
        // The name of a file that is missing is no secret but part of the message.
        let is_file = row.starts_with("include");
        assert!(is_file || !all.contains("s3cr3t"), "{row}\n{all}");
    }
}

#[test]
fn missing_variables_may_be_allowed() {
    let allow = Options { allow_missing_env: true, env: Arc::new(|_| None), ..options() };
    let text = "server: { workers: '${A}' }
upstreams: { up: { endpoints: ['http://${HOST}:1'] } }
apis: { a: { defaults: { auth: none }, versions: { v1: { upstream: '${UP}', operations: { GET /x: {} } } } } }";
    let outcome = load_files(&[("mainstay.yaml", text)], &allow);
    let expected = ["warning env_missing 1:20", "warning env_missing 2:32", "warning env_missing 3:68"];
    assert_eq!(told(&outcome.problems), expected);
    assert_eq!(outcome.checked.expect("may be checked").server.workers, None);
}

#[test]
fn the_digest_is_of_everything() {
    let digest = |files: &[(&str, &str)], wait: &'static str| {
        let env = move |_: &str| Some(wait.to_owned());
        load_files(files, &Options { env: Arc::new(env), ..options() }).checked.expect("loads").digest
    };
    let main = format!("include: '*.yml'\nserver: {{ limits: {{ idle_timeout: '${{WAIT}}' }} }}{}", both());
    let first = digest(&[("mainstay.yaml", &main), ("a.yml", "telemetry: {}")], "5s");
    assert_eq!(first.len(), 64);
    assert_eq!(first, digest(&[("mainstay.yaml", &main), ("a.yml", "telemetry: {}")], "5s"));
    assert_ne!(first, digest(&[("mainstay.yaml", &main), ("a.yml", "telemetry:  {}")], "5s"));
    assert_ne!(first, digest(&[("mainstay.yaml", &main), ("a.yml", "telemetry: {}")], "6s"));
}
