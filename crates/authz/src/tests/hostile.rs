//! Policy text of somebody who means no good, or whose program went wild: findings in bounded time, and no panic.
//!
//! Every test here runs on the stack that a thread gets by default, unoptimised: what would overflow it, would overflow
//! it here first.

use mainstay_core::principal::Principal;
use proptest::prelude::*;

use super::{Ask, consumer, field, file, inputs, operation, shown};
use crate::{FieldKind, Inputs, Operation, Policies, PolicyFile};

fn code(text: &str) -> String {
    match Policies::build(&inputs(&[("payments", text)])) {
        Ok(_) => "fine".to_owned(),
        Err(findings) => findings[0].code.to_owned(),
    }
}

fn when(condition: &str) -> String {
    format!("permit(principal, action, resource) when {{ {condition} }};")
}

#[test]
fn what_is_too_deep_is_a_finding_and_no_overflow() {
    let rows = [
        (when(&("(".repeat(500_000) + "true")), "policy_file_too_large"),
        (when(&("(".repeat(31) + "true" + &")".repeat(31))), "fine"),
        (when(&("(".repeat(100) + "true" + &")".repeat(100))), "policy_too_deep"),
        (when(&("[".repeat(100) + "1" + &"]".repeat(100))), "policy_too_deep"),
        (when(&("if true then ".repeat(100) + "true" + &" else true".repeat(100))), "policy_too_deep"),
        (when(&("true && ".repeat(1_900) + "true")), "policy_too_deep"),
        (when(&("true || ".repeat(1_900) + "true")), "policy_too_deep"),
        (when(&format!("1 {} > 0", "+ 1 ".repeat(3_900))), "policy_too_deep"),
        (when(&format!("principal{} == 1", ".a".repeat(7_900))), "policy_too_deep"),
        (when(&format!("principal has a{}", ".a".repeat(7_900))), "policy_too_deep"),
        (when("true").replace(';', &" unless { false }".repeat(900)) + ";", "policy_too_deep"),
        (when(&("!".repeat(5_000) + "true")), "policy_syntax"),
        (when(&("-".repeat(5_000) + "1 == 1")), "policy_syntax"),
        (when(&format!("[{}].contains(1)", vec!["1"; 7_000].join(","))), "fine"),
        (when(&"x".repeat(20_000)), "policy_too_long"),
        ("permit(".repeat(2_000), "policy_too_deep"),
        (";".repeat(200_000), "policy_syntax"),
        ("@id(\"x\")".repeat(1_900), "policy_syntax"),
        ("\0".repeat(10_000), "policy_syntax"),
        ("\"".repeat(10_001), "policy_syntax"),
        (when("principal like \"\\u{110000}\""), "policy_syntax"),
    ];
    for (text, expected) in rows {
        assert_eq!(code(&text), expected, "{}", &text[..text.len().min(100)]);
    }
}

/// The deepest that is allowed is decided on a small stack.
#[test]
fn the_deepest_policy_is_decided() {
    let deepest = "principal.plan == \"x\" || ".repeat(97) + "principal.plan == \"pro\"";
    let text = format!("@id(\"p\") {}", when(&deepest));
    let policies = super::policies(&[("payments", &text)]);
    let plan = policies.find("payments", "v1", "listPayments").unwrap();
    let who = consumer("acme", &[], &[]);
    let on_small_stack = |who: &Principal| {
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(1 << 20);
            small.spawn_scoped(scope, || shown(&Ask::default().of(plan, who))).unwrap().join().unwrap()
        })
    };
    assert_eq!(on_small_stack(&who), "permit p");
    assert_eq!(code(&when(&("principal.plan == \"x\" || ".repeat(120) + "true"))), "policy_too_deep");
}

#[test]
fn too_many_is_a_finding() {
    let one = when("principal.plan == \"pro\"");
    let files = |count: usize, each: usize| {
        let file =
            |n: usize| PolicyFile { path: format!("{n}.cedar"), ..file("payments", &one.repeat(each)) };
        Inputs { policies: (0..count).map(file).collect(), ..inputs(&[]) }
    };
    let first =
        |inputs: &Inputs| Policies::build(inputs).map_err(|findings| findings[0].code).map(|_| "fine");
    assert_eq!(first(&files(1, 400)), Ok("fine"));
    assert_eq!(first(&files(1, 2_001)), Err("policies_too_many"));
    assert_eq!(first(&files(2_001, 0)), Err("policies_too_many"));
    let many = (0..1_000).map(|n| operation("payments", "v1", &format!("o{n}"), &[])).collect();
    let pairs = Inputs { operations: many, ..files(1, 201) };
    assert_eq!(first(&pairs), Err("policies_too_many"));
    // Thousands of wrong ones: some are told, and that there are more.
    let wrong = Inputs { policies: vec![file("payments", &"permit();\n".repeat(5_000))], ..inputs(&[]) };
    let findings = Policies::build(&wrong).unwrap_err();
    assert!((50..=201).contains(&findings.len()), "{}", findings.len());
    assert!(findings.iter().any(|finding| finding.code == "policies_more_findings"));
}

/// Names come from documents of other people.
#[test]
fn hostile_names_of_operations_and_fields_are_no_schema_of_their_own() {
    let name = "x\" appliesTo { principal: [User], resource: [Operation], context: {} };\naction \"y";
    let operations = vec![
        Operation {
            body: vec![field("a\": Bool }, \"b", "/a", FieldKind::Long)],
            ..operation("payments", "v1", name, &["p\": Long }"])
        },
        operation("payments", "v1", "*/ //\\", &[]),
    ];
    let inputs = Inputs {
        operations,
        policies: vec![file("payments", "permit(principal, action, resource);")],
        ..Inputs::default()
    };
    let policies = super::built(&inputs);
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(policies.schema()).unwrap();
    assert_eq!(schema.actions().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn no_text_makes_it_panic(text in r#"(permit|forbid|\(|\)|principal|action|resource|,|;|when|unless|\{|\}|==|in|is|User|::|"a"|\[|\]|\.x|has|like|if|then|else|&&|\|\||!|-|1|@id|context|\?principal|//|\n| |é|\\){0,60}"#) {
        let is_own = |finding: &crate::Finding| finding.code != "policies_unreadable";
        if let Err(findings) = Policies::build(&inputs(&[("payments", &text)])) {
            prop_assert!(findings.iter().all(is_own), "{findings:?}");
        }
    }

    #[test]
    fn no_condition_makes_it_panic(text in r#"(principal|action|resource|context|\.a|\.body|\.path|\.b|\["c"\]| has d| like "e\*"| == | != | < | \+ | \* | && | \|\| |!|1|true|"f"|\(|\)|\[|\]|, |\{"g": |\}|\.contains\(|\.isEmpty\(\)|ip\("1.1.1.1"\)|decimal\("1.0"\)|if | then | else | in | is User){1,25}"#) {
        let is_own = |finding: &crate::Finding| finding.code != "policies_unreadable";
        if let Err(findings) = Policies::build(&inputs(&[("payments", &when(&text))])) {
            prop_assert!(findings.iter().all(is_own), "{findings:?}");
        }
    }
}
