//! Slicing never changes a decision: compared with the whole set, asked by Cedar itself.

use cedar_policy::{Authorizer, PolicyId, PolicySet};
use mainstay_core::ScopeNames;
use mainstay_core::principal::Principal;
use proptest::prelude::*;

use super::{NOON, built, consumer, file, long, operation, text};
use crate::facts::Facts;
use crate::reads::Reads;
use crate::{Body, Input, Inputs, Operation, Policies, decide};

const APIS: [&str; 2] = ["a", "b"];
const NAMES: [&str; 3] = ["one", "two", "three"];

fn operations() -> Vec<Operation> {
    let names = || APIS.into_iter().flat_map(|api| NAMES.map(|name| (api, name)));
    let versions = |(api, name)| ["v1", "v2"].map(|version| operation(api, version, name, &["id"]));
    names().flat_map(versions).collect()
}

/// Heads, conditions and effects in all mixtures; some conditions fail for some principals.
fn policy() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just("principal".to_owned()),
        Just("principal is Consumer".to_owned()),
        Just("principal is User".to_owned()),
        Just("principal in Group::\"g\"".to_owned()),
        Just("principal == Consumer::\"acme\"".to_owned()),
    ];
    let action = prop_oneof![
        Just("action".to_owned()),
        prop::sample::select(&NAMES[..]).prop_map(|name| format!("action == Action::\"{name}\"")),
        prop::sample::subsequence(NAMES.to_vec(), 1..3).prop_map(|names| {
            let names: Vec<_> = names.iter().map(|name| format!("Action::\"{name}\"")).collect();
            format!("action in [{}]", names.join(", "))
        }),
    ];
    let resource = prop_oneof![
        Just("resource".to_owned()),
        Just("resource is Operation".to_owned()),
        Just("resource == Operation::\"a.v1.one\"".to_owned()),
        Just("resource in Operation::\"a.v2.two\"".to_owned()),
        Just("resource is Operation in Operation::\"b.v1.one\"".to_owned()),
    ];
    let condition = prop::sample::select(
        &[
            "",
            "when { principal.level > 3 }",
            "when { principal has level && principal.level > 3 }",
            "unless { principal.region == \"eu\" }",
            "when { resource.path.id == \"7\" }",
            "when { resource.version == \"v1\" }",
            "when { context.hour == 13 }",
            "when { action == Action::\"one\" && principal.level > 3 }",
            "when { principal in Group::\"g\" || principal.level > 3 }",
        ][..],
    );
    (any::<bool>(), principal, action, resource, condition).prop_map(|(forbid, p, a, r, c)| {
        format!("{} ({p}, {a}, {r}) {c};", if forbid { "forbid" } else { "permit" })
    })
}

fn principals() -> Vec<Principal> {
    vec![
        consumer("acme", &[], &[]),
        consumer("acme", &["g"], &[("level", long(5)), ("region", text("eu"))]),
        consumer("other", &["h"], &[("level", text("x")), ("region", text("us"))]),
        super::user("alice", &["g"]),
    ]
}

/// What the whole set of an api says, without our slicing, default and order of reasons.
fn whole(
    policies: &Policies,
    index: usize,
    texts: &[String],
    who: &Principal,
    input: &Input<'_>,
) -> (bool, Vec<String>) {
    let plan = policies.plan(index).unwrap();
    let parsed = texts
        .iter()
        .enumerate()
        .map(|(n, text)| cedar_policy::Policy::parse(Some(PolicyId::new(n.to_string())), text).unwrap());
    let set = PolicySet::from_policies(parsed).unwrap();
    let mut reads = Reads::default();
    for names in [&mut reads.principal, &mut reads.path, &mut reads.body, &mut reads.context] {
        names.whole = true;
    }
    let facts = Facts::gather(plan, &reads, who, input, NOON);
    // The plan keeps of the path what its slice reads; the whole set may read more, and policies that do are not ours.
    let (request, entities) = facts.cedar(plan).unwrap();
    let response = Authorizer::new().is_authorized(&request, &set, &entities);
    let has_failed = response.diagnostics().errors().next().is_some();
    let allowed = !has_failed && response.decision() == cedar_policy::Decision::Allow;
    let mut ids: Vec<String> = response
        .diagnostics()
        .reason()
        .map(|id| format!("test-{}", id.to_string().parse::<usize>().unwrap() + 1))
        .collect();
    ids.sort();
    (allowed, if has_failed { Vec::new() } else { ids })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_slice_decides_as_the_whole_set(texts in prop::collection::vec(policy(), 1..8)) {
        let all = texts.join("\n");
        let inputs = Inputs { policies: vec![file("a", &all)], operations: operations(), ..Inputs::default() };
        // Those of which the strict schema disapproves are another test's matter.
        let Ok(policies) = Policies::build(&inputs) else { return Ok(()) };
        let scopes = ScopeNames::default();
        let body = Body::None;
        for (index, operation) in operations().iter().enumerate().filter(|(_, operation)| operation.api == "a") {
            for who in principals() {
                for id in ["7", "8"] {
                    let path = [("id", id)];
                    let address = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
                    let input = Input { path: &path, body: &body, address, scopes: &scopes };
                    let plan = policies.plan(index).unwrap();
                    let decision = decide(plan, &who, &input, NOON);
                    let (allowed, ids) = whole(&policies, index, &texts, &who, &input);
                    prop_assert_eq!(decision.allowed, allowed, "{} {:?}\n{}", operation.name, decision, all);
                    if !matches!(decision.reason, crate::Reason::Error { .. }) {
                        let decided: Vec<String> = decision.reason.ids().iter().map(ToString::to_string).collect();
                        prop_assert_eq!(decided, ids);
                    }
                    prop_assert!(plan.enforced.policies.len() <= texts.len());
                }
            }
        }
    }
}

#[test]
fn an_operation_asks_the_policies_of_its_action_alone() {
    let texts: Vec<String> = NAMES
        .iter()
        .map(|name| format!("permit(principal, action == Action::\"{name}\", resource);"))
        .collect();
    let rest = "forbid(principal, action, resource == Operation::\"a.v2.two\");\nforbid(principal, action, resource) when { context.hour == 1 };";
    let inputs = Inputs {
        policies: vec![file("a", &(texts.join("\n") + rest))],
        operations: operations(),
        ..Inputs::default()
    };
    let policies = built(&inputs);
    for (version, operation, expected) in [
        ("v1", "one", vec!["test-1", "test-5"]),
        ("v2", "two", vec!["test-2", "test-4", "test-5"]),
        ("v1", "three", vec!["test-3", "test-5"]),
    ] {
        let plan = policies.find("a", version, operation).unwrap();
        let names: Vec<&str> = plan.enforced.policies.iter().map(|policy| &*policy.name).collect();
        assert_eq!(names, expected);
    }
    assert!(policies.find("b", "v1", "one").unwrap().is_open());
}
