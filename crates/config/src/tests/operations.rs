//! Apis, versions, entries, classes, who may call, routes that collide.

use std::time::Duration;

use super::{check, check_files, good, load_files, load_text, options};
use crate::checked::{Auth, Checked, Operation};

const DOC: &str = "openapi: 3.1.0
info: { title: T, version: '1' }
paths:
  /payments:
    get: { operationId: listPayments }
    post: { operationId: createPayment }
  /payments/{id}:
    get: { operationId: getPayment }
  /v1/legacy:
    get: {}
";

/// An api of one version without a document.
fn api(api: &str, version: &str, operations: &str) -> String {
    format!(
        "apis:\n  a:\n    {api}\n    versions:\n      v1:\n        {version}\n        operations:\n          {operations}\n"
    )
}

fn simple(operations: &str) -> String {
    api("defaults: { auth: none }", "upstream: up", operations)
}

/// An api with a document; lines of `rest` begin in line 7.
fn documented(rest: &str) -> Vec<(String, String)> {
    let text = format!(
        "upstreams: {{ up: {{ endpoints: http://a }} }}\napis:\n  a:\n    versions:\n      v1: {{ upstream: up, openapi: doc.yaml }}\n      v2: {{ upstream: up, openapi: doc2.yaml }}\n{rest}\n"
    );
    let without = DOC.replace("    get: { operationId: listPayments }\n", "").replace("/v1/legacy", "/x");
    vec![
        ("mainstay.yaml".to_owned(), text),
        ("doc.yaml".to_owned(), DOC.to_owned()),
        ("doc2.yaml".to_owned(), without),
    ]
}

#[track_caller]
fn check_documented(rest: &str, expected: &[&str]) {
    let files = documented(rest);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    check_files(&files, expected);
}

fn load_documented(rest: &str) -> Checked {
    let files = documented(rest);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let outcome = load_files(&files, &options());
    outcome.checked.unwrap_or_else(|| panic!("{}", crate::render_text(&outcome.problems)))
}

fn operation<'a>(checked: &'a Checked, version: &str, name: &str) -> &'a Operation {
    let found =
        checked.apis["a"].versions[version].operations.iter().find(|operation| operation.name == name);
    found.unwrap_or_else(|| panic!("{version} {name}"))
}

#[test]
fn empty_apis_and_dangling_names() {
    check("apis: {}", &["error nothing_served 1:1"]);
    check("apis: { a: {} }", &["error missing_key 1:9"]);
    check("apis: { a: { versions: {} } }", &["error api_empty 1:24"]);
    check("apis: { a: { versions: { v1: {} } } }", &["error missing_key 1:26", "error version_empty 1:26"]);
    check("apis: { a: { versions: { v1: { upstream: up } } } }", &["error version_empty 1:26"]);
    check("apis: { a: { versions: { V1: { upstream: up } } } }", &["error bad_name 1:26"]);
    check("apis: { 'a b': {} }", &["error bad_name 1:9"]);
    check(&api("defaults: { auth: none }", "upstream: upp", "GET /x: {}"), &["error unknown_upstream 6:19"]);
    check(&simple("GET /x: { class: c }"), &["error unknown_class 8:28"]);
    check(
        &api("defaults: { auth: none }", "upstream: up\n        openapi: none.yaml", "GET /x: {}"),
        &["error file_unreadable 7:18"],
    );
}

#[test]
fn hosts_and_base_paths() {
    let with = |text: &str, expected: &[&str]| {
        check(
            &api(&format!("defaults: {{ auth: none }}\n    {text}"), "upstream: up", "GET /x: {}"),
            expected,
        );
    };
    with("hosts: []", &["error empty_list 4:12"]);
    with("hosts: ['a:80']", &["error bad_host 4:13"]);
    with("hosts: ['http://a']", &["error bad_host 4:13"]);
    with("hosts: ['a.*']", &["error bad_host 4:13"]);
    with("hosts: ['a.']", &["error bad_host 4:13"]);
    with("hosts: ['[::x]']", &["error bad_host 4:13"]);
    with("hosts: [a, A]", &["error duplicate_host 4:16"]);
    with("hosts: ['*', a]", &["error duplicate_host 4:13"]);
    with("hosts: [api.example.com, '*.example.org', '[::1]']", &[]);
    with("base_path: a", &["error bad_path 4:16"]);
    with("base_path: /", &["error bad_path 4:16"]);
    with("base_path: /a/", &["error bad_path 4:16"]);
    with("base_path: /a//b", &["error bad_path 4:16"]);
    with("base_path: '/{x}'", &["error bad_path 4:16"]);
    with("base_path: '/a%2fb'", &["error bad_path 4:16"]);
    with("base_path: none", &[]);
    with("base_path: /a/b", &[]);
    with("owner: ''", &["error bad_text 4:12"]);
    with("expose: some", &["error unknown_word 4:13"]);
    with("strip_prefix: true", &["error unknown_key 4:5"]);
}

#[test]
fn cors() {
    let with = |text: &str, expected: &[&str]| {
        check(
            &api(
                &format!("defaults: {{ auth: none }}\n    cors: {{ {text} }}"),
                "upstream: up",
                "GET /x: {}",
            ),
            expected,
        );
    };
    with("credentials: true", &["error missing_key 4:11"]);
    with("origins: []", &["error empty_list 4:22"]);
    with("origins: example.com", &["error bad_origin 4:22"]);
    with("origins: https://a/", &["error bad_origin 4:22"]);
    with("origins: ['*', https://a]", &["error cors_any_origin 4:23"]);
    with("origins: '*', credentials: true", &["error cors_any_origin 4:22"]);
    with("origins: '*', credentials: yes", &["error bad_boolean 4:40"]);
    with("origins: '*', credentials: 'true'", &["error bad_boolean 4:40"]);
    with("origins: '*', expose: ['a b']", &["error bad_header 4:36"]);
    with("origins: '*', max_age: 2d", &["error out_of_range 4:36"]);
    with("origins: [https://A.example.com, 'http://localhost:3000'], headers: X-Thing", &[]);
}

#[test]
fn who_may_call() {
    let with = |text: &str, expected: &[&str]| check(&api("owner: x", "upstream: up", text), expected);
    with("GET /x: {}", &["error auth_missing 8:11"]);
    with("GET /x: { auth: [api_key, jwt] }", &["error no_issuers 8:37"]);
    with(
        "GET /x: { auth: { all: [mtls, oauth] } }",
        &["error auth_unsupported 8:35", "error auth_unsupported 8:41"],
    );
    with("GET /x: { auth: [none, api_key] }", &["error auth_none_alone 8:27"]);
    with("GET /x: { auth: off }", &["error auth_unsupported 8:27"]);
    with("GET /x: { auth: [] }", &["error wrong_type 8:27"]);
    with("GET /x: { auth: }", &["error wrong_type 8:25"]);
    with("GET /x: { auth: [none] }", &[]);
    // What could not be read is not missed a second time.
    with("GET /x: 5", &["error wrong_type 8:19"]);
    with("GET /x: { class: nope }", &["error unknown_class 8:28"]);
    check_documented("", &["error auth_missing 5:7", "error auth_missing 6:7"]);
    check_documented(
        "    operations: { getPayment: {} }\n    defaults: { auth: nobody }",
        &["error auth_unsupported 8:23"],
    );
    let unsaid = load_files(
        &[(
            "mainstay.yaml",
            &super::whole(&api("owner: x", "upstream: up", "GET /x: {}\n          GET /y: { auth: none }")),
        )],
        &options(),
    );
    assert_eq!(unsaid.problems.len(), 1);
}

#[test]
fn entries_without_a_document() {
    check(&simple("getThing: {}"), &["error version_empty 5:7", "error entry_matches_nothing 8:11"]);
    check(&simple("FETCH /x: {}"), &["error version_empty 5:7", "error unknown_method 8:11"]);
    check(&simple("CONNECT /x: {}"), &["error version_empty 5:7", "error unknown_method 8:11"]);
    check(&simple("get /x: {}"), &["error version_empty 5:7", "error unknown_method 8:11"]);
    for bad in
        ["/a//b", "/{a}/{a}", "/{a}{b}", "/{*r}/x", "/a/../b", "/a%2Fb", "/a?b", "/caf\u{e9}", "/{", "/a%zz"]
    {
        check(
            &simple(&format!("\"GET {bad}\": {{}}")),
            &["error version_empty 5:7", "error bad_template 8:11"],
        );
    }
    check(&simple("GET /x: { versions: [v1] }"), &["error versions_in_version 8:31"]);
    check(&simple("GET /x: { sunset: { v2: 2027-01-01 } }"), &["error sunset_form 8:31"]);
    check(&simple("GET /x: { sunset: { v1: 2027-01-01 } }"), &[]);
    check(&simple("GET /x: { body: 5 }"), &["error bad_size 8:27"]);
    check(&simple("\"GET /x/{a}\": {}\n          \"GET /x/{b}\": {}"), &["error duplicate_route 9:11"]);
    check(&simple("\"GET /caf%65\": {}\n          \"GET /cafe\": {}"), &["error duplicate_route 9:11"]);
    check(&simple("\"GET /x\": {}\n          \"* /x\": {}\n          \"* /legacy/{*rest}\": {}"), &[]);
}

#[test]
fn entries_with_a_document() {
    let with = |entries: &str, expected: &[&str]| {
        check_documented(&format!("    defaults: {{ auth: none }}\n    operations:\n{entries}"), expected);
    };
    with("      createPaymnt: {}", &["error entry_matches_nothing 9:7"]);
    with("      listPayments: {}", &["error entry_matches_nothing 9:7"]);
    with("      listPayments: { versions: v1 }", &[]);
    with("      listPayments: { versions: [v1, v3] }", &["error unknown_version 9:38"]);
    with("      listPayments: { versions: [] }", &["error empty_list 9:33"]);
    with("      getPayment: { sunset: 2027-01-01 }", &["error sunset_form 9:29"]);
    with("      getPayment: { sunset: { v9: 2027-01-01 } }", &["error unknown_version 9:31"]);
    with("      \"POST /refunds\": {}", &["error entry_matches_nothing 9:7"]);
    with("      \"GET /payments/{x}\": {}\n      \"* /payments\": {}", &[]);
    let outcome = load_text(&simple("GET /x: {}"));
    assert!(outcome.problems.is_empty());
}

#[test]
fn routes_collide_across_apis_and_versions() {
    let two = |a: &str, b: &str| {
        format!(
            "apis:\n  a: {{ {a}, defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{}}, GET /y: {{}} }} }} }} }}\n  b: {{ {b}, defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{}}, GET /y: {{}} }} }} }} }}\n"
        )
    };
    let place = "error duplicate_route 3:";
    for (a, b) in [
        ("hosts: '*'", "hosts: '*'"),
        ("hosts: '*'", "hosts: api.example.com"),
        ("hosts: '*.example.com'", "hosts: api.example.com"),
        ("hosts: [x, y]", "hosts: [z, y]"),
        ("base_path: /p", "base_path: /p"),
    ] {
        let outcome = load_text(&two(a, b));
        let told = super::told(&outcome.problems);
        assert!(told.len() == 1 && told[0].starts_with(place), "{a} {b}: {told:?}");
        assert!(outcome.problems[0].message.contains("1 more"), "{}", outcome.problems[0].message);
    }
    check(&two("hosts: x", "hosts: y"), &[]);
    check(&two("base_path: /p", "base_path: /q"), &[]);
    // The version of one api under the base path of another.
    check(
        "apis:
  a: { base_path: /v1, defaults: { auth: none }, versions: { v1: { upstream: up, operations: { GET /x: {} } } } }
  b: { defaults: { auth: none }, versions: { v1: { upstream: up, operations: { GET /v1/x: {} } } } }
",
        &["error duplicate_route 3:46"],
    );
}

#[test]
fn narrower_wins_key_by_key() {
    let checked = load_documented(
        "    defaults: { auth: none, body: 1KiB, timeouts: { idle: 1m }, strip_prefix: true }
    operations:
      createPayment: { class: money, body: 3KiB }
      \"* /payments\": { timeouts: { settle: 9s }, body: 9KiB }
      getPayment: { timeouts: off, sunset: { v1: 2030-01-01 } }
classes: { money: { auth: none, body: 2KiB, strip_prefix: false, timeouts: { total: 8s, attempt: off } } }
server: { limits: { body: 7KiB } }",
    );
    let create = operation(&checked, "v1", "createPayment");
    assert_eq!((create.body_max, create.strip_prefix, &create.auth), (3 << 10, false, &Auth::None));
    let s = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!((create.timeouts.total, create.timeouts.attempt, create.timeouts.idle), (s(8), None, s(60)));
    assert_eq!(
        (create.timeouts.connect, create.timeouts.settle),
        (Duration::from_secs(1), Duration::from_secs(9))
    );
    let list = operation(&checked, "v1", "listPayments");
    assert_eq!((list.body_max, list.strip_prefix, list.timeouts.total), (9 << 10, true, s(10)));
    let get = operation(&checked, "v1", "getPayment");
    assert_eq!((get.body_max, get.timeouts.total, get.timeouts.idle), (1 << 10, None, None));
    assert_eq!(get.sunset_s, Some(1_893_456_000));
    assert_eq!(operation(&checked, "v2", "getPayment").sunset_s, None);
}

#[test]
fn the_versions_entry_wins_over_the_apis() {
    let checked = good(
        "apis:
  a:
    defaults: { auth: none }
    operations: { GET /x: { body: 1KiB, timeouts: { total: 3s }, class: c } }
    versions:
      v1: { upstream: up, operations: { GET /x: { body: 2KiB, sunset: 2030-01-01, class: d } } }
      v2: { upstream: up, strip_prefix: true }
classes: { c: { body: 8B, timeouts: { idle: 4s } }, d: { timeouts: { settle: 1s } } }
",
    );
    let v1 = operation(&checked, "v1", "GET /x");
    let seconds = |n| Duration::from_secs(n);
    assert_eq!((v1.body_max, v1.timeouts.total, v1.timeouts.settle), (2 << 10, Some(seconds(3)), seconds(1)));
    assert_eq!((v1.sunset_s, v1.timeouts.idle), (Some(1_893_456_000), Some(seconds(60))));
    let v2 = operation(&checked, "v2", "GET /x");
    assert_eq!((v2.body_max, v2.timeouts.idle, v2.strip_prefix), (1 << 10, Some(seconds(4)), true));
    assert_eq!((v2.template.as_str(), v2.prefix_bytes), ("/v2/x", 3));
}

#[test]
fn listed_serves_entries_alone_and_names_the_rest() {
    check_documented(
        "    expose: listed\n    defaults: { auth: none }\n    operations: { getPayment: {} }",
        &["note not_exposed 5:7", "note not_exposed 6:7"],
    );
    let checked = load_documented(
        "    expose: listed\n    defaults: { auth: none }\n    operations: { getPayment: {} }",
    );
    assert_eq!(checked.apis["a"].versions["v1"].operations.len(), 1);
    check_documented(
        "    expose: listed\n    defaults: { auth: none }",
        &[
            "error version_empty 5:7",
            "note not_exposed 5:7",
            "error version_empty 6:7",
            "note not_exposed 6:7",
        ],
    );
}

#[test]
fn urls_are_built_once() {
    let checked = load_documented("    base_path: /pay\n    defaults: { auth: none, strip_prefix: false }");
    let route = |version, name| {
        let operation = operation(&checked, version, name);
        (operation.template.as_str(), operation.prefix_bytes)
    };
    assert_eq!(route("v1", "getPayment"), ("/pay/v1/payments/{id}", 7));
    // The document's own version is not said twice.
    assert_eq!(route("v1", "GET /v1/legacy"), ("/pay/v1/legacy", 4));
    assert_eq!(route("v2", "GET /x"), ("/pay/v2/x", 7));
    let outcome = load_files(
        &[
            (
                "mainstay.yaml",
                "upstreams: { up: { endpoints: http://a } }\napis: { a: { base_path: /v1, defaults: { auth: none, strip_prefix: true }, versions: { legacy: { upstream: up, openapi: d.yaml } } } }",
            ),
            (
                "d.yaml",
                "{ openapi: 3.1.0, info: { title: T, version: '1' }, paths: { /legacy/x: { get: {} }, /v1/legacy/y: { get: {} } } }",
            ),
        ],
        &options(),
    );
    assert_eq!(super::told(&outcome.problems), ["warning nothing_to_strip 2:68"]);
    let checked = outcome.checked.expect("loads");
    let templates: Vec<_> = checked.apis["a"].versions["legacy"]
        .operations
        .iter()
        .map(|o| (o.template.as_str(), o.prefix_bytes))
        .collect();
    assert_eq!(templates, [("/v1/legacy/x", 3), ("/v1/legacy/y", 0)]);
}

#[test]
fn loosenings_against_the_class_are_told() {
    let class = "classes: { c: { auth: none, body: 1KiB, timeouts: { total: 5s, connect: 1s } } }\n";
    let with = |entry: &str, expected: &[&str]| {
        check(
            &format!(
                "{class}apis: {{ a: {{ versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{ class: c, {entry} }} }} }} }} }} }}\n"
            ),
            expected,
        );
    };
    with("body: 2KiB", &["note loosens_class 2:86"]);
    with("timeouts: { total: off }", &["note loosens_class 2:99"]);
    with("timeouts: { total: 6s, connect: 2s }", &["note loosens_class 2:99", "note loosens_class 2:112"]);
    with("body: 1KiB, timeouts: { total: 4s, idle: 1h }", &[]);
}

#[test]
fn a_part_longer_than_its_whole() {
    let with = |class: &str, entry: &str, expected: &[&str]| {
        let text = format!(
            "classes: {{ c: {{ timeouts: {{ {class} }} }} }}\napis: {{ a: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{ class: c, timeouts: {{ {entry} }} }} }} }} }} }} }}\n"
        );
        check(&text, expected);
    };
    with("attempt: 9s, total: 8s", "", &["warning timeout_order 1:38"]);
    with("total: 3s", "attempt: 4s", &["warning timeout_order 2:127"]);
    with("attempt: 20s", "", &["warning timeout_order 1:38"]);
    with("", "connect: 6s", &["warning timeout_order 2:127"]);
    // A short whole is what somebody wanted.
    with("attempt: 9s", "total: 3s", &[]);
    with("", "total: 1s", &[]);
    with("attempt: 20s, total: off", "", &[]);
}
