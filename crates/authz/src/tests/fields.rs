//! Bodies that two parsers read differently never pass an amount policy, whichever way the policy is written.

use super::{Ask, built, consumer, field, file, inputs, operation, shown};
use crate::{Body, BodyField, Field, FieldKind, FieldValue, Inputs, Operation, Policies, Unreadable, strict};

const PERMIT: &str = r#"@id("small") permit (principal, action == Action::"createRefund", resource)
    when { context.body has amount && context.body.amount <= 100 };"#;
/// The dangerous one: what it does not see, it does not forbid.
const FORBID: &str = r#"@id("any") permit (principal, action, resource);
    @id("large") forbid (principal, action == Action::"createRefund", resource)
    when { context.body has amount && context.body.amount > 100 };"#;

/// Documents of which some parser reads an amount above 100.
const DIFFERENTIALS: &[&str] = &[
    // Duplicate keys: first or last wins.
    r#"{"amount":{"value":1},"amount":{"value":1000000}}"#,
    r#"{"amount":{"value":1000000},"amount":{"value":1}}"#,
    r#"{"amount":{"value":1,"value":1000000}}"#,
    r#"{"amount":{"value":1},"am\u006funt":{"value":1000000}}"#,
    r#"{"amount":{"value":1,"valu\u0065":1000000}}"#,
    // Names that some take for the same: by case, by Unicode's case, by a zero.
    r#"{"amount":{"value":1},"AMOUNT":{"value":1000000}}"#,
    r#"{"amount":{"value":1},"Amount":{"value":1000000}}"#,
    r#"{"Amount":{"value":1000000}}"#,
    r#"{"amount":{"VALUE":1000000}}"#,
    r#"{"amount":{"value":1,"Value":1000000}}"#,
    r#"{"amount":{"value":1},"amount\u0000":{"value":1000000}}"#,
    // Numbers.
    r#"{"amount":{"value":1e6}}"#,
    r#"{"amount":{"value":1.0e6}}"#,
    r#"{"amount":{"value":1000000.0}}"#,
    r#"{"amount":{"value":1e400}}"#,
    r#"{"amount":{"value":18446744073709551617}}"#,
    r#"{"amount":{"value":9223372036854775808}}"#,
    r#"{"amount":{"value":4294967296000000001}}"#,
    r#"{"amount":{"value":-9223372036854775809}}"#,
    r#"{"amount":{"value":9007199254740993}}"#,
    r#"{"amount":{"value":01000000}}"#,
    r#"{"amount":{"value":0x1000000}}"#,
    r#"{"amount":{"value":+1000000}}"#,
    r#"{"amount":{"value":1_000_000}}"#,
    r#"{"amount":{"value":-0}}"#,
    r#"{"amount":{"value":NaN}}"#,
    r#"{"amount":{"value":Infinity}}"#,
    // Other types, which some convert.
    r#"{"amount":{"value":"1000000"}}"#,
    r#"{"amount":{"value":[1000000]}}"#,
    r#"{"amount":{"value":{"value":1000000}}}"#,
    r#"{"amount":{"value":true}}"#,
    r#"{"amount":[{"value":1000000}]}"#,
    r#"{"amount":1000000}"#,
    r#"{"amount":"1000000"}"#,
    r#"[{"amount":{"value":1000000}}]"#,
    r#""{\"amount\":{\"value\":1000000}}""#,
    // What is no JSON, and what is more than one.
    r#"{"amount":{"value":1}}{"amount":{"value":1000000}}"#,
    r#"{"amount":{"value":1}} // {"amount":{"value":1000000}}"#,
    r#"{"amount":{"value":1/*000*/000000}}"#,
    r#"{"amount":{"value":1},}"#,
    r#"{'amount':{'value':1000000}}"#,
    r#"{amount:{value:1000000}}"#,
    "\u{feff}{\"amount\":{\"value\":1}}",
    "{\0\"\0a\0m\0o\0u\0n\0t\0\"\0:\0{\0}\0}\0",
    "amount[value]=1000000",
    "amount:\n  value: 1000000\n",
    "",
];

#[test]
fn a_body_that_two_parsers_read_differently_never_passes() {
    let permit = built(&inputs(&[("payments", PERMIT)]));
    let forbid = built(&inputs(&[("payments", FORBID)]));
    let ask = |policies: &Policies, body: &str| {
        let plan = policies.find("payments", "v1", "createRefund").unwrap();
        Ask { body: Some(body), path: &[("id", "1")], ..Ask::default() }.of(plan, &consumer("acme", &[], &[]))
    };
    for body in DIFFERENTIALS {
        for policies in [&permit, &forbid] {
            let decision = ask(policies, body);
            assert!(!decision.allowed, "{body}: {decision:?}");
        }
        assert!(shown(&ask(&forbid, body)).starts_with("error large"), "{body}");
    }
    // The other side of each guard: what everybody reads alike is decided by its amount.
    for (body, by_permit, by_forbid) in [
        (r#"{"amount":{"value":100}}"#, "permit small", "permit any"),
        (r#"{"amount":{"value":101}}"#, "no permit", "forbid large"),
        (r#"{"amount":{"value":9007199254740991}}"#, "no permit", "forbid large"),
        (r#"{ "am\u006funt": { "currency": "EUR", "value": -5 } }"#, "permit small", "permit any"),
        // Keys beside those of the field may differ by case: nobody takes them for it.
        (r#"{"amount":{"value":1},"labels":{"A":"1","a":"2"}}"#, "permit small", "permit any"),
        // Not there is not there.
        (r#"{}"#, "no permit", "permit any"),
        (r#"{"amount":null}"#, "no permit", "permit any"),
        (r#"{"amount":{"value":null}}"#, "no permit", "permit any"),
    ] {
        assert_eq!(shown(&ask(&permit, body)), by_permit, "{body}");
        assert_eq!(shown(&ask(&forbid, body)), by_forbid, "{body}");
    }
}

#[test]
fn a_field_nobody_reads_is_nobodys_matter() {
    let text = r#"@id("any") permit (principal, action, resource);"#;
    let policies = built(&inputs(&[("payments", text)]));
    let plan = policies.find("payments", "v1", "createRefund").unwrap();
    assert!(plan.fields().is_empty(), "the body is not needed");
    let who = consumer("acme", &[], &[]);
    for body in DIFFERENTIALS {
        assert_eq!(shown(&Ask { body: Some(body), ..Ask::default() }.of(plan, &who)), "permit any");
    }
}

fn read(field: &BodyField, text: &str) -> Option<Result<FieldValue, Unreadable>> {
    let document = strict::check(text.as_bytes(), &strict::Limits::DEFAULT).unwrap();
    let body = Body::read(&document, &[Field::new(field)]);
    Some(body.get(&field.name)?.cloned())
}

#[test]
fn fields_are_what_their_pointers_say() {
    let zero = Unreadable::ZeroCharacter;
    let rows = [
        (field("f", "/a~1b/~0", FieldKind::Long), r#"{"a/b":{"~":7}}"#, Some(Ok(FieldValue::Long(7)))),
        (
            field("f", "/items/1/n", FieldKind::Long),
            r#"{"items":[{},{"n":3}]}"#,
            Some(Ok(FieldValue::Long(3))),
        ),
        (field("f", "/items/2/n", FieldKind::Long), r#"{"items":[{},{"n":3}]}"#, None),
        (field("f", "/items/01", FieldKind::Long), r#"{"items":[1,2]}"#, Some(Err(Unreadable::NoObject))),
        (field("f", "/items/-", FieldKind::Long), r#"{"items":[1,2]}"#, Some(Err(Unreadable::NoObject))),
        (field("f", "", FieldKind::Long), "5", Some(Ok(FieldValue::Long(5)))),
        (field("f", "/", FieldKind::Bool), r#"{"":true}"#, Some(Ok(FieldValue::Bool(true)))),
        (field("f", "/t", FieldKind::String), r#"{"t":"a\nb"}"#, Some(Ok(FieldValue::Text("a\nb".into())))),
        (field("f", "/t", FieldKind::String), r#"{"t":"acme\u0000evil"}"#, Some(Err(zero))),
        (field("f", "/t", FieldKind::String), r#"{"t":7}"#, Some(Err(Unreadable::OtherType("a number")))),
        (field("f", "/t", FieldKind::Bool), r#"{"t":"true"}"#, Some(Err(Unreadable::OtherType("a text")))),
        (field("f", "/d", FieldKind::Decimal), r#"{"d":10.5}"#, Some(Ok(FieldValue::Decimal("10.5".into())))),
        (field("f", "/d", FieldKind::Decimal), r#"{"d":10}"#, Some(Ok(FieldValue::Decimal("10.0".into())))),
        (field("f", "/d", FieldKind::Decimal), r#"{"d":"10.5"}"#, Some(Err(Unreadable::OtherType("a text")))),
        // The Kelvin sign and the long s fold to letters of ASCII.
        (
            field("f", "/bank", FieldKind::String),
            "{\"ban\u{212a}\":\"x\"}",
            Some(Err(Unreadable::CaseVariant)),
        ),
        (field("f", "/ssn", FieldKind::String), "{\"\u{17f}sn\":\"x\"}", Some(Err(Unreadable::CaseVariant))),
        (field("f", "/straße", FieldKind::String), "{\"STRASSE\":\"x\"}", Some(Err(Unreadable::CaseVariant))),
        (field("f", "/bank", FieldKind::String), "{\"banc\":\"x\"}", None),
    ];
    for (field, text, expected) in rows {
        assert_eq!(read(&field, text), expected, "{} in {text}", field.at);
    }
}

/// Every kind, as policies see it.
#[test]
fn each_kind_reaches_the_policy() {
    let text = r#"
        @id("long") permit (principal, action, resource) when { context.body.n == 5 };
        @id("decimal") permit (principal, action, resource) when { context.body.d.lessThan(decimal("10.51")) };
        @id("text") permit (principal, action, resource) when { context.body.t like "EU*" };
        @id("bool") permit (principal, action, resource) when { context.body.b };"#;
    let kinds =
        [("n", FieldKind::Long), ("d", FieldKind::Decimal), ("t", FieldKind::String), ("b", FieldKind::Bool)];
    let fields = kinds.map(|(name, kind)| field(name, &format!("/{name}"), kind)).to_vec();
    let operations = vec![Operation { body: fields, ..operation("payments", "v1", "pay", &[]) }];
    let policies = built(&Inputs { policies: vec![file("payments", text)], operations, ..Inputs::default() });
    let plan = policies.find("payments", "v1", "pay").unwrap();
    for (body, expected) in [
        (r#"{"n":5,"d":10.50,"t":"EUR","b":true}"#, "permit bool decimal long text"),
        (r#"{"n":6,"d":10.52,"t":"USD","b":true}"#, "permit bool"),
        (r#"{"n":6,"d":11,"t":"eu","b":false}"#, "no permit"),
        // One that is missing and one that is wrong deny, though others permit.
        (r#"{"n":5,"d":10.50,"t":"EUR"}"#, "error bool"),
        (r#"{"n":"5","d":10.50,"t":"EUR","b":true}"#, "error long"),
    ] {
        let decision = Ask { body: Some(body), ..Ask::default() }.of(plan, &consumer("acme", &[], &[]));
        assert_eq!(shown(&decision), expected, "{body}");
    }
    let nothing = Ask::default().of(plan, &consumer("acme", &[], &[]));
    assert_eq!(shown(&nothing), "error bool decimal long text", "no body at all");
}
