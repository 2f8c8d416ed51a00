//! Who may do what.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{Attribute, AuthMethod, Caller, Mode, Principal};

use super::{Ask, NOON, built, caller, consumer, file, inputs, long, policies, principal, shown, text, user};
use crate::{Body, Input, Inputs, decide};

/// Folders and texts.
type Files = &'static [(&'static str, &'static str)];
/// Whether it is allowed, and who decided.
type Answer = (bool, &'static str);

const PERMIT: &str = "@id(\"p\") permit(principal, action, resource);";
const FORBID: &str = "@id(\"f\") forbid(principal, action, resource);";
const BROKEN: &str = "@id(\"b\") permit(principal, action, resource) when { principal.nothing == 1 };";
const ALWAYS: &str = "@id(\"always\") permit(principal, action, resource);";

#[test]
fn a_folder_is_default_deny_once_it_holds_a_policy_and_touches_no_other_api() {
    let rows: &[(Files, &str, &str)] = &[
        (&[], "no policies", "no policies"),
        (&[("payments", "// nothing")], "no policies", "no policies"),
        (
            &[("payments", "@id(\"f\") forbid(principal, action, resource) when { context.hour == 1 };")],
            "no permit",
            "no policies",
        ),
        (
            &[("payments", "@id(\"p\") permit(principal, action == Action::\"createRefund\", resource);")],
            "no permit",
            "no policies",
        ),
        (&[("payments", ALWAYS)], "permit always", "no policies"),
        (&[("payments", "@id(\"f\") forbid(principal, action, resource);")], "forbid f", "no policies"),
        (
            &[("_all", "@id(\"f\") forbid(principal, action, resource) when { context.hour == 1 };")],
            "no policies",
            "no policies",
        ),
        (&[("_all", "@id(\"f\") forbid(principal, action, resource);")], "forbid f", "forbid f"),
        (
            &[
                ("_all", "@id(\"f\") forbid(principal, action == Action::\"getAccount\", resource);"),
                ("payments", ALWAYS),
            ],
            "permit always",
            "forbid f",
        ),
        (
            &[("payments", ALWAYS), ("payments", "@id(\"f\") forbid(principal, action, resource);")],
            "forbid f",
            "no policies",
        ),
        (
            &[
                ("accounts", "@id(\"a\") permit(principal, action, resource);"),
                ("payments", "permit(principal, action, resource);"),
            ],
            "permit test-1",
            "permit a",
        ),
    ];
    let who = consumer("acme", &[], &[]);
    for (files, payments, accounts) in rows {
        let policies = policies(files);
        let ask =
            |api, operation| shown(&Ask::default().of(policies.find(api, "v1", operation).unwrap(), &who));
        assert_eq!(ask("payments", "listPayments"), *payments, "{files:?}");
        assert_eq!(ask("accounts", "getAccount"), *accounts, "{files:?}");
    }
}

/// What a condition says of a caller; the policy permits listing payments.
fn when(condition: &str, who: &Principal) -> String {
    let text = format!(
        "@id(\"p\") permit(principal, action == Action::\"listPayments\", resource) when {{ {condition} }};"
    );
    let policies = policies(&[("payments", &text)]);
    shown(&Ask::default().of(policies.find("payments", "v1", "listPayments").unwrap(), who))
}

#[test]
fn the_principal_is_the_user_where_there_is_one() {
    let alice = user("alice", &["tellers"]);
    let acme = consumer("acme", &["tellers"], &[]);
    let alone = principal(Caller { consumer: None, user: Some("alice".into()), plan: None, ..caller() });
    let rows = [
        ("principal == User::\"alice\"", "permit p", "no permit", "permit p"),
        ("principal is Consumer", "no permit", "permit p", "no permit"),
        ("principal == Consumer::\"acme\"", "no permit", "permit p", "no permit"),
        ("principal in Consumer::\"acme\"", "permit p", "permit p", "no permit"),
        ("principal in Group::\"tellers\"", "permit p", "permit p", "no permit"),
        ("principal in Group::\"Tellers\"", "no permit", "no permit", "no permit"),
        ("principal.plan == \"pro\"", "permit p", "permit p", "no permit"),
        ("principal.plan == \"\"", "no permit", "no permit", "permit p"),
        ("principal has consumer && principal.consumer == \"acme\"", "permit p", "permit p", "no permit"),
    ];
    for (condition, for_alice, for_acme, for_alone) in rows {
        assert_eq!(when(condition, &alice), for_alice, "{condition}");
        assert_eq!(when(condition, &acme), for_acme, "{condition}");
        assert_eq!(when(condition, &alone), for_alone, "{condition}");
    }
}

#[test]
fn attributes_are_read_as_they_are_or_deny() {
    let record = Attribute::Record([("daily".to_owned(), long(5))].into());
    let list = Attribute::List(vec![text("de"), text("fr")]);
    let rows = [
        ("principal.region == \"eu\"", vec![("region", text("eu"))], "permit p"),
        ("principal.region == \"eu\"", vec![("region", text("us"))], "no permit"),
        // Missing, or of another type than policies expect: nobody knows what is meant.
        ("principal.region == \"eu\"", vec![], "error p"),
        ("principal.level > 3", vec![("level", text("5"))], "error p"),
        ("principal.vip", vec![("vip", Attribute::Bool(true))], "permit p"),
        ("principal.vip", vec![("vip", long(1))], "error p"),
        ("principal.countries.contains(\"fr\")", vec![("countries", list)], "permit p"),
        ("principal.limits.daily >= 5", vec![("limits", record)], "permit p"),
        ("principal.limits.daily >= 5", vec![("limits", Attribute::Record([].into()))], "error p"),
        ("principal has level && principal.level > 3", vec![], "no permit"),
        ("principal.level * 9223372036854775807 > 1", vec![("level", long(2))], "error p"),
        // The engine's own names cannot be taken over from the catalogue.
        ("principal.plan == \"gold\"", vec![("plan", text("gold"))], "no permit"),
        (
            "principal has consumer && principal.consumer == \"other\"",
            vec![("consumer", text("other"))],
            "no permit",
        ),
    ];
    for (condition, attributes, expected) in rows {
        assert_eq!(
            when(condition, &consumer("acme", &[], &attributes)),
            expected,
            "{condition} {attributes:?}"
        );
    }
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_whatever_the_others_say() {
    let broken_permit = "@id(\"bad\") permit(principal, action, resource) when { principal.nothing == 1 };";
    let broken_forbid = "@id(\"bad\") forbid(principal, action, resource) when { principal.nothing == 1 };";
    let never_reached =
        "@id(\"bad\") permit(principal, action, resource) when { false && principal.nothing == 1 };";
    let other_action = "@id(\"bad\") permit(principal, action == Action::\"getPayment\", resource) when { principal.nothing == 1 };";
    let forbids = "@id(\"no\") forbid(principal, action, resource);";
    let who = consumer("acme", &[], &[]);
    for (text, expected) in [
        (format!("{ALWAYS}{broken_permit}"), "error bad"),
        (format!("{ALWAYS}{broken_forbid}"), "error bad"),
        (format!("{forbids}{broken_permit}"), "error bad"),
        (format!("{ALWAYS}{never_reached}"), "permit always"),
        // It could not apply to this operation anyway.
        (format!("{ALWAYS}{other_action}"), "permit always"),
    ] {
        let policies = policies(&[("payments", &text)]);
        let decision = Ask::default().of(policies.find("payments", "v1", "listPayments").unwrap(), &who);
        assert_eq!(shown(&decision), expected, "{text}");
    }
    let all = "@id(\"bad\") forbid(principal is Consumer, action, resource) when { principal.nothing == 1 };";
    let policies = policies(&[("_all", all)]);
    let decision = Ask::default().of(policies.find("payments", "v1", "listPayments").unwrap(), &who);
    assert_eq!(shown(&decision), "error bad", "also where nothing else is said");
}

#[test]
fn nobody_in_particular_is_somebody_for_policies() {
    for (text, expected) in [
        ("@id(\"p\") permit(principal, action == Action::\"getAccount\", resource);", "no permit"),
        ("@id(\"p\") permit(principal is Anonymous, action, resource);", "permit p"),
        ("@id(\"p\") permit(principal == Anonymous::\"\", action, resource);", "permit p"),
        (
            "@id(\"p\") permit(principal, action == Action::\"listBanks\", resource) when { principal.plan == \"anonymous\" && context.auth_method == \"none\" && context.mode == \"live\" };",
            "permit p",
        ),
    ] {
        let policies = policies(&[("accounts", text)]);
        let plan = policies.find("accounts", "v1", "listBanks").unwrap();
        assert_eq!(shown(&Ask::default().of(plan, &Principal::Anonymous)), expected, "{text}");
    }
}

#[test]
fn the_context_is_the_request() {
    let scopes = ScopeNames::default();
    let who = principal(Caller {
        method: AuthMethod::Jwt,
        mode: Mode::Test,
        scopes: Arc::new(scopes.give(["refunds:write", "payments:read"]).unwrap()),
        ..caller()
    });
    let rows = [
        ("context.hour == 13", "permit p"),
        ("context.weekday == \"tuesday\"", "permit p"),
        ("context.auth_method == \"jwt\"", "permit p"),
        ("context.mode == \"test\"", "permit p"),
        ("context.scopes == [\"payments:read\", \"refunds:write\"]", "permit p"),
        ("context.scopes.contains(\"payments:write\")", "no permit"),
        ("context.address.isInRange(ip(\"2001:db8::/32\"))", "permit p"),
        ("context.address.isLoopback()", "no permit"),
        (
            "resource.api == \"payments\" && resource.version == \"v1\" && resource.path.id == \"a%2Fb\"",
            "permit p",
        ),
        ("resource == Operation::\"payments.v1.getPayment\"", "permit p"),
        ("resource == Operation::\"payments.v2.getPayment\"", "no permit"),
        ("action == Action::\"getPayment\"", "permit p"),
    ];
    for (condition, expected) in rows {
        let text = format!(
            "@id(\"p\") permit(principal, action == Action::\"getPayment\", resource) when {{ {condition} }};"
        );
        let policies = policies(&[("payments", &text)]);
        let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let input = Input { path: &[("id", "a%2Fb")], body: &Body::None, address, scopes: &scopes };
        let plan = policies.find("payments", "v1", "getPayment").unwrap();
        assert_eq!(shown(&decide(plan, &who, &input, NOON)), expected, "{condition}");
    }
}

#[test]
fn hours_and_weekdays_are_those_of_utc() {
    let day = 86_400_000;
    for (now, hour, weekday) in [
        (0, 0, "thursday"),
        (-1, 23, "wednesday"),
        (day - 1, 23, "thursday"),
        (day, 0, "friday"),
        (951_782_400_000, 0, "tuesday"),
        (NOON.0, 13, "tuesday"),
        (i64::MIN, 16, "sunday"),
        (i64::MAX, 7, "sunday"),
    ] {
        assert_eq!(crate::facts::hour_and_weekday(UnixMs(now)), (hour, weekday), "{now}");
    }
}

#[test]
fn shadow_policies_are_reported_and_never_enforced() {
    let who = consumer("acme", &[], &[]);
    let rows: &[(Files, Files, &str, Option<Answer>)] = &[
        (&[("payments", PERMIT)], &[], "permit p", None),
        // Policies about another api are none about this one.
        (&[("payments", PERMIT)], &[("accounts", "forbid(principal, action, resource);")], "permit p", None),
        (&[("payments", PERMIT)], &[("payments", FORBID)], "permit p", Some((false, "f"))),
        (&[("payments", FORBID)], &[("payments", PERMIT)], "forbid f", Some((true, "p"))),
        (&[], &[("payments", BROKEN)], "no policies", Some((false, "b"))),
        (&[("payments", PERMIT)], &[("_all", FORBID)], "permit p", Some((false, "f"))),
        // The set would take the other's place: what only the old one permits, nobody permits.
        (
            &[("payments", PERMIT)],
            &[("payments", "@id(\"q\") permit(principal, action == Action::\"getPayment\", resource);")],
            "permit p",
            Some((false, "")),
        ),
    ];
    for (enforced, shadow, expected, expected_shadow) in rows {
        let shadow = shadow.iter().map(|(folder, text)| file(folder, text)).collect();
        let policies = built(&Inputs { shadow, ..inputs(enforced) });
        let decision = Ask::default().of(policies.find("payments", "v1", "listPayments").unwrap(), &who);
        assert_eq!(shown(&decision), *expected, "{enforced:?}");
        let shadow = decision.shadow.as_ref().map(|shadow| {
            (shadow.allowed, shadow.reason.ids().iter().map(|id| &**id).collect::<Vec<_>>().join(" "))
        });
        assert_eq!(shadow, expected_shadow.map(|(allowed, ids)| (allowed, ids.to_owned())), "{enforced:?}");
    }
}
