//! What is wrong with policies, and where; and what is not.

use std::collections::BTreeMap;

use super::{built, field, file, inputs, operation, operations, policies, told};
use crate::{AttributeKind, DeclaredAttribute, FieldKind, Inputs, Operation, Policies, PolicyFile};

/// The codes of all findings, warnings included, with their lines and columns.
fn codes(inputs: &Inputs) -> Vec<String> {
    let code = |f: &crate::Finding| format!("{} {}:{}", f.code, f.line, f.column);
    match Policies::build(inputs) {
        Ok(policies) => policies.warnings().iter().map(code).collect(),
        Err(findings) => findings.iter().map(code).collect(),
    }
}

#[test]
fn what_is_wrong_is_found_where_it_stands() {
    let rows: &[(&str, &str, &[&str])] = &[
        // Syntax: the one before and the one after are none of its business.
        (
            "payments",
            "permit(principal, action, resource);\npermit(principal, action);\nforbid(principal, action, resource);",
            &["policy_syntax 2:25"],
        ),
        ("payments", "permit(principal, action, resource) when { 1 + };", &["policy_syntax 1:48"]),
        ("payments", "permit(principal, action, resource)", &["policy_syntax 1:36"]),
        ("payments", "permit(principal == ?principal, action, resource);", &["policy_syntax 1:21"]),
        ("payments", "@id(\"a\") @id(\"b\") permit(principal, action, resource);", &["policy_syntax 1:10"]),
        ("payments", "permit(principal, action, resource) when { foo(1) };", &["policy_syntax 1:44"]),
        // Names.
        ("payments", "@id(\"\") permit(principal, action, resource);", &["policy_id 1:1"]),
        ("payments", "@id(\"a\\n\") permit(principal, action, resource);", &["policy_id 1:1"]),
        (
            "payments",
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            &["policy_id_taken 2:1"],
        ),
        (
            "payments",
            "@id(\"test-2\") permit(principal, action, resource);\nforbid(principal, action, resource);",
            &["policy_id_taken 2:1"],
        ),
        // Folders.
        ("payment", "permit(principal, action, resource);", &["policy_unknown_api 0:0"]),
        ("_all", "forbid(principal, action, resource) when { context.hour < 5 };", &[]),
        ("_all", "\n  permit(principal, action, resource);", &["policy_permit_for_all 2:3"]),
        // What the schema does not know.
        (
            "payments",
            "permit(principal, action == Action::\"createRefunds\", resource);",
            &["policy_unknown_action 1:29"],
        ),
        (
            "payments",
            "permit(principal, action == Action::\"getAccount\", resource);",
            &["policy_unknown_action 1:29"],
        ),
        ("payments", "permit(principal is Customer, action, resource);", &["policy_unknown_type 1:21"]),
        (
            "payments",
            "permit(principal, action, resource) when { context.hours < 5 };",
            &["policy_unknown_attribute 1:44"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { context.body.amount < 5 };",
            &["policy_unknown_attribute 1:44"],
        ),
        (
            "payments",
            "permit(principal, action == Action::\"createRefund\", resource) when { context.body.amuont < 5 };",
            &["policy_unknown_attribute 1:70"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { resource.path.bank == \"x\" };",
            &["policy_path_parameter 1:1", "policy_unknown_attribute 1:44"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { resource.owner == \"x\" };",
            &["policy_unknown_attribute 1:44"],
        ),
        // Types.
        (
            "payments",
            "permit(principal, action, resource) when { context.hour == \"5\" };",
            &["policy_type 1:44"],
        ),
        (
            "payments",
            "permit(principal, action == Action::\"createRefund\", resource) when { context.body.amount < decimal(\"1.0\") };",
            &["policy_type 1:92"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { context.address == ip(\"not\") };",
            &["policy_type 1:63"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { principal.plan + 1 > 2 };",
            &["policy_type 1:44"],
        ),
        // Two policies that expect different things of one attribute.
        (
            "payments",
            "permit(principal, action, resource) when { principal.a > 1 };\npermit(principal, action, resource) when { principal.a == \"x\" };",
            &["policy_type 2:44"],
        ),
        // A path parameter that not every operation has which the policy is about.
        (
            "payments",
            "permit(principal, action, resource) when { resource.path.id == \"x\" };",
            &["policy_path_parameter 1:1"],
        ),
        (
            "payments",
            "permit(principal, action, resource) when { resource.path has id && resource.path.id == \"x\" };",
            &[],
        ),
        // Who calls an operation without authentication has no attributes.
        (
            "accounts",
            "permit(principal, action, resource) when { principal.region == \"eu\" };",
            &["policy_unknown_attribute 1:44"],
        ),
        (
            "accounts",
            "permit(principal, action == Action::\"listBanks\", resource) when { principal.plan == \"anonymous\" };",
            &[],
        ),
        (
            "accounts",
            "permit(principal is Consumer, action == Action::\"listBanks\", resource);",
            &["policy_never_applies 1:1"],
        ),
        // What cannot ever hold.
        ("payments", "permit(principal, action, resource) when { false };", &["policy_never_applies 1:1"]),
        (
            "payments",
            "permit(principal, action, resource) when { resource.api == \"p\u{430}yments\" };",
            &["policy_confusing_text 1:60"],
        ),
    ];
    let mut wrong = String::new();
    for (folder, text, expected) in rows {
        let found = codes(&inputs(&[(folder, text)]));
        if found != *expected {
            wrong += &format!("{folder}: {text}\n{expected:?}\n{}", all_told(&inputs(&[(folder, text)])));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn all_told(inputs: &Inputs) -> String {
    match Policies::build(inputs) {
        Ok(policies) => told(policies.warnings()),
        Err(findings) => told(&findings),
    }
}

#[test]
fn findings_say_what_to_do() {
    let rows = [
        (
            "payments",
            "permit(principal, action == Action::\"createRefunds\", resource);",
            "is `Action::\"createRefund\"` meant?",
        ),
        (
            "payments",
            "permit(principal, action == Action::\"getAccount\", resource);",
            "`getAccount` is an operation of `accounts`",
        ),
        ("payment", "permit(principal, action, resource);", "is `payments` meant?"),
        (
            "payments",
            "permit(principal, action == Action::\"createRefund\", resource) when { context.body.amuont < 5 };",
            "is `context.body.amount` meant?",
        ),
        (
            "payments",
            "permit(principal, action == Action::\"createRefund\", resource) when { context.body.currency == \"EUR\" };",
            "currency: { at: /currency",
        ),
        (
            "payments",
            "permit(principal, action, resource) when { resource.path.id == \"x\" };",
            "resource.path has id &&",
        ),
    ];
    for (folder, text, part) in rows {
        let told = all_told(&inputs(&[(folder, text)]));
        assert!(told.contains(part), "{text}\n{told}");
        assert!(!told.contains("for policy `"), "{told}");
    }
    let findings =
        Policies::build(&inputs(&[("payments", "// a line\n  permit(principal, action);")])).unwrap_err();
    assert_eq!(findings[0].source_line.as_deref(), Some("  permit(principal, action);"));
    assert_eq!(findings[0].file.to_str(), Some("policies/payments/test.cedar"));
}

#[test]
fn a_field_has_one_type_for_one_action() {
    let refund = |version: &str, kind, action: Option<&str>| Operation {
        body: vec![field("amount", "/amount", kind)],
        action: action.map(str::to_owned),
        ..operation("payments", version, "createRefund", &[])
    };
    let with = |operations: Vec<Operation>, folder: &str| Inputs {
        operations,
        policies: vec![file(folder, "forbid(principal, action, resource);")],
        ..Inputs::default()
    };
    let (long, decimal) = (FieldKind::Long, FieldKind::Decimal);
    let two = || vec![refund("v1", long, None), refund("v2", decimal, None)];
    let findings = Policies::build(&with(two(), "payments")).unwrap_err();
    assert_eq!(findings[0].code, "policy_body_conflict");
    assert!(
        findings[0].message.contains("Long in `payments.v1.createRefund` and decimal in `payments.v2"),
        "{findings:?}"
    );
    assert!(findings[0].help.as_ref().unwrap().contains("action: createRefund_v2"));
    // Renamed, it is two actions; and where no policy of the api is about it, nobody cares.
    let renamed = vec![refund("v1", long, None), refund("v2", decimal, Some("createRefundV2"))];
    assert_eq!(codes(&with(renamed, "payments")), [""; 0]);
    assert_eq!(codes(&with(two(), "_all")), [""; 0]);
    // Another api may mean something else by the same name; a policy for all cannot look at what is not one thing.
    let other = Operation { api: "ledger".into(), ..refund("v1", decimal, None) };
    let mut apis = with(vec![refund("v1", long, None), other], "payments");
    assert_eq!(codes(&apis), [""; 0]);
    let looks =
        "forbid(principal, action == Action::\"createRefund\", resource) when { context.body.amount > 5 };";
    apis.policies.push(file("_all", looks));
    let told = all_told(&apis);
    assert!(
        told.contains("policy_unknown_attribute") && told.contains("two apis mean differently"),
        "{told}"
    );
}

#[test]
fn attributes_are_what_the_policies_expect() {
    let text = r#"
        permit(principal, action, resource) when { principal.region == "eu" };
        permit(principal, action == Action::"createRefund", resource) when { context.body.amount <= principal.refund_max };
        permit(principal, action, resource) when { principal.vip };
        permit(principal, action, resource) when { !principal.blocked && principal.level + 1 > 3 };
        permit(principal, action, resource) when { principal.countries.contains("de") };
        permit(principal, action, resource) when { principal.numbers.contains(7) };
        permit(principal, action, resource) when { ["a", "b"].contains(principal.tier) };
        permit(principal, action, resource) when { principal.allowed.containsAny(context.scopes) };
        permit(principal, action, resource) when { principal.limits.daily > 5 && principal.limits.name like "x*" };
        permit(principal, action, resource) when { principal has maybe && principal.maybe == 5 };
        permit(principal, action, resource) when { principal.one == principal.other };
        permit(principal, action, resource) when { principal.other > 5 };
        permit(principal, action, resource) when { if principal.flag then principal.x > 1 else principal.y == "z" };
        forbid(principal, action, resource) unless { principal has "odd name" };
    "#;
    let policies = policies(&[("payments", text)]);
    let schema = policies.schema_of("payments").unwrap();
    for part in [
        "\"region\": String",
        "\"refund_max\": Long",
        "\"vip\": Bool",
        "\"blocked\": Bool",
        "\"level\": Long",
        "\"countries\": Set<String>",
        "\"numbers\": Set<Long>",
        "\"tier\": String",
        "\"allowed\": Set<String>",
        "\"limits\": { \"daily\": Long, \"name\": String }",
        "\"maybe\"?: Long",
        "\"one\": Long",
        "\"other\": Long",
        "\"flag\": Bool",
        "\"odd name\"?: String",
    ] {
        assert!(schema.contains(part), "{part}\n{schema}");
    }
    assert!(
        schema.contains("entity User in [Group, Consumer] { plan: String, consumer?: String,"),
        "{schema}"
    );
    assert!(schema.contains("action \"createRefund\""), "{schema}");
    assert!(!schema.contains("getAccount") && policies.schema().contains("getAccount"));
}

#[test]
fn declared_attributes_are_all_there_are() {
    let declared = |required| {
        BTreeMap::from([("region".to_owned(), DeclaredAttribute { kind: AttributeKind::String, required })])
    };
    let with = |text: &str, required| Inputs {
        attributes: Some(declared(required)),
        ..inputs(&[("payments", text)])
    };
    let reads = "permit(principal, action, resource) when { principal.region == \"eu\" };";
    assert_eq!(codes(&with(reads, true)), [""; 0]);
    assert_eq!(codes(&with(reads, false)), ["policy_attribute_may_be_missing 1:44"]);
    let misspelt = with("permit(principal, action, resource) when { principal.regoin == \"eu\" };", true);
    assert_eq!(codes(&misspelt), ["policy_unknown_attribute 1:44"]);
    assert!(all_told(&misspelt).contains("is `region` meant?"));
    let reserved = BTreeMap::from([(
        "plan".to_owned(),
        DeclaredAttribute { kind: AttributeKind::Long, required: true },
    )]);
    let inputs = Inputs { attributes: Some(reserved), ..inputs(&[]) };
    assert_eq!(codes(&inputs), ["attribute_reserved 0:0"]);
}

#[test]
fn unknown_groups_and_plans_are_warned_about() {
    let text = r#"permit(principal in Group::"telers", action, resource);
        permit(principal, action, resource) when { principal.plan == "pro" };
        permit(principal, action, resource) when { "prp" != principal.plan };"#;
    let mut inputs = inputs(&[("payments", text)]);
    assert_eq!(codes(&inputs), [""; 0]);
    inputs.groups = Some(vec!["tellers".into()]);
    inputs.plans = Some(vec!["free".into(), "pro".into()]);
    assert_eq!(codes(&inputs), ["policy_unknown_name 1:1", "policy_unknown_name 3:9"]);
    assert!(all_told(&inputs).contains("is `tellers` meant?"));
    assert!(built(&inputs).warnings().iter().all(|finding| !finding.is_error()));
}

/// Names of operations, parameters and fields are anything; the schema has to hold them all.
#[test]
fn strange_names_make_a_good_schema() {
    let strange = "a \"b\" \\c {d}\n\u{1}é";
    let operation = Operation {
        body: vec![field(strange, "/x", FieldKind::Long)],
        ..operation("payments", "v1", strange, &[strange])
    };
    let text = r#"permit(principal, action == Action::"a \"b\" \\c {d}\n\u{1}é", resource)
        when { resource.path["a \"b\" \\c {d}\n\u{1}é"] == "x" && context.body["a \"b\" \\c {d}\n\u{1}é"] > 1 };"#;
    let inputs =
        Inputs { operations: vec![operation], policies: vec![file("payments", text)], ..Inputs::default() };
    let policies = built(&inputs);
    assert_eq!(policies.find("payments", "v1", strange).unwrap().enforced.policies.len(), 1);
}

/// A set without any policy is one, too: editors want the schema before the first is written.
#[test]
fn nothing_is_fine() {
    let policies = policies(&[]);
    assert!(policies.plans().iter().all(|plan| plan.is_open()));
    assert!(policies.schema().contains("action \"getPayment\""));
    assert_eq!(operations().len(), policies.plans().len());
    let other = super::policies(&[]);
    assert_ne!(policies.version(), other.version());
    let only_comments = super::policies(&[("payments", "// permit(principal, action, resource);\n")]);
    assert!(only_comments.plans().iter().all(|plan| plan.is_open()));
    let plan = only_comments.plan(1).unwrap();
    assert_eq!(
        (plan.api(), plan.version(), plan.operation(), plan.action()),
        ("payments", "v2", "createRefund", "createRefund")
    );
}

#[test]
fn shadow_policies_are_checked_like_the_others() {
    let shadow = PolicyFile {
        path: "policies-next/payments/new.cedar".into(),
        ..file("payments", "permit(principal, action);")
    };
    let inputs = Inputs { shadow: vec![shadow], ..inputs(&[]) };
    let findings = Policies::build(&inputs).unwrap_err();
    assert_eq!(findings[0].file.to_str(), Some("policies-next/payments/new.cedar"));
}
