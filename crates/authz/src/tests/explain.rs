//! What `mainstay explain` shows of a decision.

use mainstay_core::ScopeNames;
use serde_json::json;

use super::{NOON, body, built, consumer, file, inputs, long, text};
use crate::{Input, Inputs, explain};

const POLICIES: &str = r#"
@id("small") permit(principal, action == Action::"createRefund", resource) when { context.body.amount <= principal.refund_max };
@id("group") permit(principal in Group::"g", action, resource) when { resource has path };
@id("night") forbid(principal, action, resource) when { context.hour < 5 };
@id("test") forbid(principal, action, resource) when { context.hour == 13 && principal.plan == "pro" };
@id("broken") permit(principal, action == Action::"createRefund", resource) when { principal.nothing };
@id("elsewhere") permit(principal, action == Action::"getPayment", resource);"#;

fn explained(text_of_body: &str) -> serde_json::Value {
    let shadow = vec![file("payments", "@id(\"next\") permit(principal, action, resource);")];
    let policies = built(&Inputs { shadow, ..inputs(&[("payments", POLICIES)]) });
    let plan = policies.find("payments", "v2", "createRefund").unwrap();
    let who = consumer("acme", &["g"], &[("refund_max", long(500)), ("unread", text("x"))]);
    let scopes = ScopeNames::default();
    let body = body(plan, text_of_body);
    let address = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let input = Input { path: &[("id", "7")], body: &body, address, scopes: &scopes };
    serde_json::to_value(explain(plan, &who, &input, NOON)).unwrap()
}

#[test]
fn every_policy_that_was_asked_is_shown_with_what_it_said() {
    let shown = explained(r#"{"amount":{"value":5}}"#);
    let policy = |id: &str,
                  effect: &str,
                  line: u32,
                  shadow: bool,
                  outcome: serde_json::Value,
                  decided: bool| {
        json!({ "id": id, "effect": effect, "file": "policies/payments/test.cedar", "line": line, "shadow": shadow, "outcome": outcome, "decided": decided })
    };
    let missing = "`Consumer::\"acme\"` does not have the attribute `nothing`";
    let expected = json!({
        "api": "payments", "version": "v2", "operation": "createRefund", "action": "createRefund",
        "principal": { "type": "Consumer", "id": "acme", "groups": ["g"], "attributes": { "plan": "pro", "refund_max": 500 } },
        "resource": { "id": "payments.v2.createRefund", "api": "payments", "version": "v2", "path": {} },
        "context": { "hour": 13, "body": { "amount": 5 } },
        "allowed": false,
        "reason": { "because": "error", "ids": ["broken"], "text": missing },
        "shadow": { "allowed": true, "reason": { "because": "permit", "ids": ["next"] } },
        "considered": [
            policy("small", "permit", 2, false, json!({ "is": "matched" }), false),
            policy("group", "permit", 3, false, json!({ "is": "matched" }), false),
            policy("night", "forbid", 4, false, json!({ "is": "not_matched" }), false),
            policy("test", "forbid", 5, false, json!({ "is": "matched" }), false),
            policy("broken", "permit", 6, false, json!({ "is": "error", "text": missing }), true),
            policy("next", "permit", 1, true, json!({ "is": "matched" }), true),
        ],
    });
    assert_eq!(shown, expected, "{shown:#}");
}

#[test]
fn what_could_not_be_read_says_why() {
    let shown = explained(r#"{"amount":{"value":5.0}}"#);
    assert_eq!(shown["context"]["body"]["amount"]["unreadable"], "it is not written as a whole number");
    assert_eq!(
        shown["considered"][0]["outcome"]["text"],
        "`amount` of the body: it is not written as a whole number"
    );
    assert_eq!(shown["reason"]["ids"], json!(["small"]));
}
