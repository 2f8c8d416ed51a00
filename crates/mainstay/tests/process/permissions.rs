//! `mainstay permissions` and what `mainstay explain` says about policies, as they are typed.

use std::path::Path;

use crate::run::{Engine, ask, folder_with};

const CONFIGURATION: &str = "server: { listen: 127.0.0.1:0, workers: 2 }
control: { listen: 127.0.0.1:0 }
permissions: { policies: policies }
upstreams: { up: { endpoints: [\"http://127.0.0.1:1\"] } }
apis:
  pay:
    defaults: { auth: none }
    versions:
      v1:
        upstream: up
        operations:
          \"POST /refunds/{id}\":
            authorize: { action: createRefund, body: { amount: { at: /amount, type: long } } }
          \"GET /refunds/{id}\": { authorize: { action: getRefund } }
";
const REFUNDS: &str = "@id(\"small\") permit (principal, action == Action::\"createRefund\", resource)
when { context.body.amount <= 500 };
";

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join("policies/pay").join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn cases(expect: &str) -> String {
    format!(
        "cases: [ {{ name: small, operation: createRefund, body: {{ amount: 5 }}, expect: {expect} }} ]\n"
    )
}

#[test]
fn tables_that_come_out_otherwise_are_1_and_no_tables_are_2() {
    let folder = folder_with(CONFIGURATION);
    let test = || ask(folder.path(), &["permissions", "test"]);
    let missing = test();
    assert_eq!(missing.code, 2, "{missing:?}");
    write(folder.path(), "refunds.cedar", REFUNDS);
    let none = test();
    assert!(none.code == 2 && none.err.contains("there is no case"), "{none:?}");
    write(folder.path(), "refunds.cases.yaml", "cases: [ { nam: x } ]\n");
    let unread = test();
    assert!(unread.code == 2 && unread.err.contains("refunds.cases.yaml:1:"), "{unread:?}");
    write(folder.path(), "refunds.cases.yaml", &cases("deny"));
    let failed = test();
    assert!(failed.code == 1 && failed.out.contains("expected deny, and it is allow"), "{failed:?}");
    write(folder.path(), "refunds.cases.yaml", &cases("allow"));
    let passed = test();
    assert_eq!((passed.code, passed.out.as_str()), (0, "ok: 1 cases, 0 come out otherwise\n"), "{passed:?}");
}

#[test]
fn a_person_is_told_which_policy_decides() {
    let folder = folder_with(CONFIGURATION);
    write(folder.path(), "refunds.cedar", REFUNDS);
    let engine = Engine::start_in(folder);
    let explain = |operation: &str, more: &[&str]| {
        engine.ask(&[&["permissions", "explain", "pay", "v1", operation], more].concat())
    };
    let rows: &[(&str, &[&str], i32, &str)] = &[
        ("createRefund", &["--field", "amount"], 2, "NAME=VALUE"),
        ("noSuch", &[], 1, "there is no such operation"),
        ("createRefund", &["--consumer", "nobody"], 1, "there is no such consumer"),
        ("createRefund", &[], 1, "denied: small could not be evaluated"),
        ("createRefund", &["--field", "amount=501"], 1, "denied: no policy permits it"),
        ("getRefund", &[], 1, "denied: no policy permits it"),
        ("createRefund", &["--field", "amount=500"], 0, "allowed: permitted by small"),
        (
            "createRefund",
            &["--body", "{\"amount\":5}", "--path", "id=1"],
            0,
            "refunds.cedar:1: permit small holds",
        ),
    ];
    for (operation, more, code, part) in rows {
        let answer = explain(operation, more);
        assert_eq!(answer.code, *code, "{operation} {more:?} {answer:?}");
        assert!(format!("{}{}", answer.out, answer.err).contains(part), "{operation} {more:?} {answer:?}");
    }
    let json = explain("createRefund", &["--field", "amount=1", "--output", "json"]).json();
    assert_eq!(json["reason"]["ids"][0], "small", "{json}");
    engine.stop();
}

#[test]
fn a_request_is_explained_with_the_policies_of_its_operation() {
    let folder = folder_with(CONFIGURATION);
    write(folder.path(), "refunds.cedar", REFUNDS);
    let explain =
        |method: &str| ask(folder.path(), &["explain", "mainstay.yaml", method, "/v1/refunds/1"]).out;
    let said = explain("POST");
    assert!(said.contains("policies  createRefund: permit small\n"), "{said}");
    assert!(said.contains("of the body they read amount\n"), "{said}");
    let said = explain("GET");
    assert!(said.contains("policies  none permits getRefund: denied\n"), "{said}");
}
