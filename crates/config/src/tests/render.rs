//! How problems look.

use super::{load_files, load_text, options};
use crate::{Problem, render_json, render_text};

#[test]
fn text_names_the_place_and_underlines_it() {
    let text = "upstreams: { up: { endpoints: http://a } }
apis:
  payments:
    defaults: { auth: none }
    versions:
      v1:
        upstrem: up
        operations: { GET /x: {} }
";
    let outcome = load_files(&[("mainstay.yaml", text)], &options());
    let expected = "\
mainstay.yaml:6:7: error: the version `v1` names no upstream [missing_key]
  |
6 |       v1:
  |       ^^
  key: apis.payments.versions.v1
  help: `upstream: NAME`, one of `upstreams`

mainstay.yaml:7:9: error: unknown key `upstrem` [unknown_key]
  |
7 |         upstrem: up
  |         ^^^^^^^
  key: apis.payments.versions.v1.upstrem
  help: did you mean `upstream`? known here: openapi, upstream, sandbox, lifecycle, strip_prefix, operations

";
    assert_eq!(render_text(&outcome.problems), expected);
}

#[test]
fn strange_lines_are_shown_all_the_same() {
    for text in [
        "\tserver: {}".to_owned(),
        format!("server: {{ wrkers: {} }}", "x".repeat(5_000)),
        "server: { \u{1F600}\u{301}: 1, \u{4F60}\u{597D}: 2 }".to_owned(),
        "server: { node: { name: \"a\\\n\n  b\", nam: 1 } }".to_owned(),
    ] {
        let outcome = load_text(&text);
        assert!(!outcome.problems.is_empty());
        let shown = render_text(&outcome.problems);
        assert!(shown.len() < 3_000 && shown.contains(" | "), "{shown}");
    }
}

#[test]
fn json_has_the_keys_of_the_contract() {
    let outcome = load_text("server: { wrkers: 1 }");
    let json = render_json(&outcome.problems, outcome.checked.is_some());
    let expected = r#"{"ok":false,"problems":[{"severity":"error","code":"unknown_key","message":"unknown key `wrkers`","file":"mainstay.yaml","line":1,"column":11,"key":"server.wrkers","help":"did you mean `workers`? known here: listen, workers, tls, http2, limits, preauth, trusted_proxies, health_path, shutdown, node"}]}"#;
    assert_eq!(json, expected);
    assert_eq!(render_json(&[], true), r#"{"ok":true,"problems":[]}"#);
}

#[test]
fn problems_without_a_place() {
    let problem = Problem::error("restart_needed", "it cannot be changed").for_key("server.listen");
    assert_eq!(
        render_text(std::slice::from_ref(&problem)),
        "error: it cannot be changed [restart_needed]\n  key: server.listen\n\n"
    );
    let text = render_text(&[problem.at_file("a.yaml").with_help("restart")]);
    assert_eq!(
        text,
        "a.yaml: error: it cannot be changed [restart_needed]\n  key: server.listen\n  help: restart\n\n"
    );
}
