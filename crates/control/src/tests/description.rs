use std::collections::BTreeSet;

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
            Access::Token => (Value::Null, &["401", "403"]),
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
        for status in ["200", "421", "default"] {
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
