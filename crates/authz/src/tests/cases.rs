//! Tables of cases: what is wrong with a table, and what is wrong with the policies.

use super::{built, file, inputs, policies};
use crate::{Inputs, PolicyFile, cases};

fn table(folder: &str, text: &str) -> PolicyFile {
    PolicyFile { path: format!("policies/{folder}/test.cases.yaml"), ..file(folder, text) }
}

#[test]
fn a_table_that_says_something_else_than_it_means_is_refused() {
    let case = |text: &str| format!("cases:\n  - operation: listPayments\n    expect: allow\n{text}");
    let rows = [
        ("payments", "cases: [".to_owned(), "cases_syntax"),
        ("payments", "case: []".to_owned(), "cases_syntax"),
        ("payments", "cases: []\nmore: 1".to_owned(), "cases_syntax"),
        ("payments", "cases:\n  - expect: allow\n".to_owned(), "cases_syntax"),
        ("payments", "cases:\n  - operation: listPayments\n".to_owned(), "cases_syntax"),
        ("payments", "cases:\n  - operation: x\n    expect: maybe\n".to_owned(), "cases_syntax"),
        ("payments", case("    principle: {}\n"), "cases_syntax"),
        ("payments", case("    principal: { group: [a] }\n"), "cases_syntax"),
        ("payments", case("    context: { hours: 3 }\n"), "cases_syntax"),
        ("payments", case("    context: { hour: 24 }\n"), "case"),
        ("payments", case("    context: { hour: -1 }\n"), "cases_syntax"),
        ("payments", case("    context: { weekday: someday }\n"), "cases_syntax"),
        ("payments", case("    context: { address: here }\n"), "cases_syntax"),
        ("payments", case("    expect: deny\n"), "cases_syntax"),
        ("payments", case("    api: accounts\n"), "case"),
        ("_all", case(""), "case"),
        ("payments", format!("cases: {}", "[".repeat(5_000)), "cases_syntax"),
        (
            "payments",
            format!("a: &a [x,x]\nb: &b [*a,*a]\ncases: {}", "#".repeat(2 << 20)),
            "cases_too_large",
        ),
    ];
    for (folder, text, code) in rows {
        let finding = cases::parse(&table(folder, &text)).expect_err(&text[..text.len().min(80)]);
        assert_eq!(finding.code, code, "{finding:?}");
        assert!(finding.file.ends_with("test.cases.yaml"));
        assert!(finding.line > 0 || code == "cases_too_large", "{finding:?}");
    }
}

const POLICIES: &str = r#"
    @id("list") permit(principal, action == Action::"listPayments", resource);
    @id("refund") permit(principal in Group::"g", action == Action::"createRefund", resource)
        when { context.body.amount <= principal.refund_max };
    @id("night") forbid(principal, action, resource) when { context.hour < 5 };
    @id("never") forbid(principal, action, resource) when { context.mode == "test" };"#;

#[test]
fn what_differs_is_told_and_what_nothing_decided_is_named() {
    let text = r#"
cases:
  - { name: as it is, operation: listPayments, expect: allow, by: list }
  - { name: wrong answer, operation: listPayments, expect: deny }
  - { name: wrong policy, operation: listPayments, expect: allow, by: [list, other] }
  - { name: nobody permits, operation: getPayment, path: { id: "1" }, expect: allow }
  - name: both versions
    principal: { consumer: acme, groups: [g], attributes: { refund_max: 5 } }
    operation: createRefund
    body: { amount: { value: 5 } }
    expect: allow
  - name: one version
    principal: { consumer: acme, groups: [g] }
    operation: createRefund
    version: v2
    body: '{"amount":{"value":5}}'
    expect: allow
  - { operation: nothing, expect: deny }
  - { name: no such version, operation: getPayment, version: v2, expect: deny }
  - { name: at night, operation: listPayments, context: { hour: 4 }, expect: allow }
"#;
    let policies = policies(&[("payments", POLICIES)]);
    let cases = cases::parse(&table("payments", text)).unwrap();
    let report = cases::run(&policies, &cases);
    let told: Vec<(&str, Option<&str>)> =
        report.results.iter().map(|result| (result.name.as_str(), result.differs.as_deref())).collect();
    let missing = "expected allow, and it is error by `refund`: `Consumer::\"acme\"` does not have the attribute `refund_max`";
    let expected: &[(&str, Option<&str>)] = &[
        ("as it is", None),
        ("wrong answer", Some("expected deny, and it is allow by `list`")),
        ("wrong policy", Some("expected `other` to decide, and it is allow by `list`")),
        ("nobody permits", Some("expected allow, and it is deny because no policy permits it")),
        ("both versions (v1)", None),
        ("both versions (v2)", None),
        ("one version", Some(missing)),
        ("nothing", Some("`payments` has no operation `nothing`")),
        ("no such version", Some("`payments` has no operation `getPayment` in v2")),
        ("at night", Some("expected allow, and it is deny by `night`")),
    ];
    assert_eq!(told, expected);
    assert!(!report.passed());
    assert_eq!((report.results[0].line, report.results[1].line), (3, 4));
    let undecided: Vec<(&str, u32)> =
        report.undecided.iter().map(|policy| (&*policy.id, policy.line)).collect();
    assert_eq!(undecided, [("never", 6)]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["results"][1]["decision"]["reason"]["ids"][0], "list");
}

#[test]
fn a_case_for_all_names_its_api() {
    let night = "@id(\"night\") forbid(principal, action, resource) when { context.hour < 5 };";
    let policies = built(&Inputs { policies: vec![file("_all", night)], ..inputs(&[]) });
    let text = "cases:\n  - { api: accounts, operation: listBanks, context: { hour: 4 }, expect: deny, by: night }\n  - { api: payments, operation: listPayments, expect: allow }\n";
    let report = cases::run(&policies, &cases::parse(&table("_all", text)).unwrap());
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.undecided, []);
}

/// The module's own sample.
#[test]
fn the_sample_in_the_documentation_is_a_table() {
    let text = include_str!("../cases/mod.rs");
    let sample: String = text
        .lines()
        .skip_while(|line| !line.contains("```yaml"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| format!("{}\n", line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default()))
        .collect();
    let cases = cases::parse(&table("payments", &sample)).unwrap();
    let policy = "@id(\"tellers-refund\") permit(principal in Group::\"tellers\", action, resource);";
    assert!(cases::run(&policies(&[("payments", policy)]), &cases).passed());
}
