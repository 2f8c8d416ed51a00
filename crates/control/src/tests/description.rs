use std::collections::BTreeSet;

use mainstay_core::catalogue::Role;
use serde_json::Value;

use super::{Fake, Server};
use crate::problem::CODES;
use crate::routes::{Access, OPENAPI, table};

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("openapi.json is JSON")
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    let served: BTreeSet<(String, String)> =
        table().iter().map(|route| (route.path.to_owned(), route.method.to_owned())).collect();
    assert_eq!(described, served);
    assert_eq!(served.len(), table().len(), "no route stands twice");
}

#[test]
fn each_operation_says_who_may_call_it_and_what_it_refuses() {
    let document = document();
    assert_eq!(document["security"][0]["token"], serde_json::json!([]));
    for route in table() {
        let operation = &document["paths"][route.path][route.method];
        let responses = operation["responses"].as_object().unwrap();
        let (security, refusals): (_, &[&str]) = match route.access {
            Access::Open => (serde_json::json!([]), &[]),
            Access::Here => (serde_json::json!([{}, { "token": [] }]), &["401"]),
            Access::Token(_) | Access::Limited(_) => (Value::Null, &["401", "403"]),
        };
        assert_eq!(operation["security"], security, "{}", route.path);
        for status in ["401", "403"] {
            assert_eq!(
                responses.contains_key(status),
                refusals.contains(&status),
                "{}: {status}",
                route.path
            );
        }
        assert!(responses.keys().any(|status| status.starts_with('2')), "{}", route.path);
        for status in ["421", "default"] {
            assert!(responses.contains_key(status), "{}: {status}", route.path);
        }
        assert!(operation["summary"].as_str().unwrap().ends_with('.'), "{}", route.path);
    }
}

#[test]
fn each_code_is_described() {
    let document = document();
    let described = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].clone();
    let made: Vec<&str> = CODES.iter().map(|code| code.code()).collect();
    assert_eq!(described, serde_json::json!(made));
}

/// The description names the role that the table asks for.
#[test]
fn each_operation_says_which_role_it_takes() {
    let document = document();
    for route in table().iter().filter(|route| route.path.starts_with("/admin/v1/")) {
        let role = match route.access {
            Access::Token(role) | Access::Limited(role) => role,
            access => panic!("{}: {access:?}", route.path),
        };
        let described = document["paths"][route.path][route.method]["description"].as_str().unwrap_or("");
        let expected = match role {
            // Some were described before there were roles; seeing is what every token may do.
            Role::Viewer if !described.contains("Takes the role") => continue,
            Role::Viewer => "Takes the role viewer or a higher one.",
            Role::Operator => "Takes the role operator or a higher one.",
            Role::Owner => "Takes the role owner.",
        };
        assert!(described.ends_with(expected), "{} {}: {described}", route.method, route.path);
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(document: &Value, at: &Value) {
        match at {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').expect("references stay inside");
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                members.values().for_each(|value| visit(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| visit(document, value)),
            _ => {}
        }
    }
    visit(&document(), &document());
}

#[tokio::test]
async fn it_is_served_as_it_stands() {
    let server = Server::start(Fake::default()).await;
    let answer = server.admin("GET", "/admin/v1/openapi.json").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, OPENAPI));
}
