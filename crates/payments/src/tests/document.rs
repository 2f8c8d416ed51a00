//! The OpenAPI documents say what the service does: each operation is called, and its answers are held against them.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::{Client, PAY_V1, PAY_V2, Reply, request, start};
use crate::{OPENAPI_V1, OPENAPI_V2};

/// The subset of YAML that the documents use.
fn parse(text: &str) -> Value {
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut whole = Value::Null;
    for event in Parser::new_from_str(text) {
        let done = match event.expect("YAML").0 {
            Event::MappingStart(..) => {
                open.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => open.pop().expect("it was opened").0,
            Event::Scalar(text, style, ..) => scalar(&text, style),
            _ => continue,
        };
        match open.last_mut() {
            None => whole = done,
            Some((Value::Array(items), _)) => items.push(done),
            Some((Value::Object(fields), key)) => match key.take() {
                Some(name) => assert!(fields.insert(name, done).is_none(), "a field twice"),
                None => *key = Some(done.as_str().map_or_else(|| done.to_string(), str::to_owned)),
            },
            Some(_) => unreachable!("only arrays and objects are opened"),
        }
    }
    whole
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "true" | "false") => Value::Bool(text == "true"),
        (ScalarStyle::Plain, "null") => Value::Null,
        (ScalarStyle::Plain, _) => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

/// Follows local references.
fn resolve<'d>(document: &'d Value, mut node: &'d Value) -> &'d Value {
    while let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let pointer = reference.strip_prefix('#').expect("local references only");
        node = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
    }
    node
}

/// Objects have exactly the documented fields, all the way down; scalars have a documented type.
fn conforms(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolve(document, schema);
    match value {
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().expect("a name")), "{at} lacks {name}");
            }
            for (name, value) in fields {
                let schema =
                    schema["properties"].get(name).unwrap_or_else(|| panic!("{at}/{name} is not documented"));
                conforms(document, schema, value, &format!("{at}/{name}"));
            }
        }
        Value::Array(items) => {
            for item in items {
                conforms(document, &schema["items"], item, &format!("{at}[]"));
            }
        }
        _ => {
            let name = if value.is_string() {
                "string"
            } else if value.is_i64() {
                "integer"
            } else {
                "null"
            };
            let nullable = value.is_null() && schema["nullable"] == true;
            let types = &schema["type"];
            let listed = types == name || types.as_array().is_some_and(|types| types.contains(&name.into()));
            assert!(nullable || listed, "{at}: {value} is no {types}");
            let allowed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
            assert!(allowed && schema.get("const").is_none_or(|only| only == value), "{at}: {value}");
        }
    }
}

fn documented(document: &Value, operation: &Value, reply: &Reply, what: &str) {
    let status = reply.status.as_str();
    let response =
        operation["responses"].get(status).unwrap_or_else(|| panic!("{what}: {status} is not documented"));
    let content = resolve(document, response).get("content").and_then(Value::as_object);
    let Some(content) = content else {
        assert!(reply.body.is_empty(), "{what}: {status} has no documented body");
        return;
    };
    let media_type = reply.header("content-type").expect("a type");
    let schema = &content.get(media_type).unwrap_or_else(|| panic!("{what}: {media_type} is not documented"))
        ["schema"];
    if media_type.ends_with("json") {
        conforms(document, schema, &reply.json(), what);
    } else {
        let event = resolve(document, &document["components"]["schemas"]["PaymentEvent"]);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            conforms(document, event, &serde_json::from_str(data).expect("JSON"), what);
        }
    }
}

/// (operation, method, path, body): refusals first, so that the ids they need are still unknown.
type Row<'r> = (&'r str, &'r str, &'r str, &'r str);

fn rows<'r>(pay: &'r str, large: &'r str) -> Vec<Row<'r>> {
    let part_v1 = r#"{"amount":50}"#;
    vec![
        ("getAccount", "GET", "/accounts/acc_0", ""),
        ("listPayments", "GET", "/payments?limit=0", ""),
        ("createPayment", "POST", "/payments", "{"),
        ("createPayment", "POST", "/payments", "{}"),
        ("createPayment", "POST", "/payments", large),
        ("getPayment", "GET", "/payments/pay_0", ""),
        ("cancelPayment", "POST", "/payments/pay_0:cancel", ""),
        ("cancelPayment", "POST", "/payments/pay_000001:cancel", large),
        ("createRefund", "POST", "/payments/pay_0/refunds", "{}"),
        ("createRefund", "POST", "/payments/pay_000001/refunds", "[]"),
        ("createRefund", "POST", "/payments/pay_000001/refunds", r#"{"amount":0}"#),
        ("createRefund", "POST", "/payments/pay_000001/refunds", large),
        ("getRefund", "GET", "/refunds/ref_0", ""),
        ("paymentEvents", "GET", "/payments/pay_000001/events?count=x", ""),
        ("paymentEvents", "GET", "/payments/pay_0/events", ""),
        ("getAccount", "GET", "/accounts/acc_1006", ""),
        ("createPayment", "POST", "/payments", pay),
        ("getPayment", "GET", "/payments/pay_000004", ""),
        ("createRefund", "POST", "/payments/pay_000002/refunds", if pay == PAY_V1 { part_v1 } else { "{}" }),
        ("getRefund", "GET", "/refunds/ref_000001", ""),
        ("cancelPayment", "POST", "/payments/pay_000001:cancel", ""),
        ("cancelPayment", "POST", "/payments/pay_000001:cancel", ""),
        ("createRefund", "POST", "/payments/pay_000001/refunds", "{}"),
        ("listPayments", "GET", "/payments?limit=2", ""),
        ("listPayments", "GET", "/payments", ""),
        ("paymentEvents", "GET", "/payments/pay_000003/events?count=2&interval_ms=0", ""),
        ("listBanks", "GET", "/banks", ""),
    ]
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path item");
        item.iter()
            .filter(|(key, _)| *key != "parameters")
            .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    methods.collect()
}

async fn check(text: &str, prefix: &str, pay: &str) {
    let document = parse(text);
    let operations = operations(&document);
    let mut seen: Vec<(String, String)> = Vec::new();
    let running = start();
    let mut client = Client::h2(&running).await;
    let large = format!("{{\"reference\":\"{}\"}}", "x".repeat(70_000));
    for (id, method, path, body) in rows(pay, &large) {
        let found = operations.iter().find(|(_, _, operation)| operation["operationId"] == id);
        let (template, documented_method, operation) =
            found.unwrap_or_else(|| panic!("{id} is not documented"));
        assert!(documented_method.eq_ignore_ascii_case(method), "{id}");
        let fixed = template.split(['{', '}']).collect::<Vec<_>>();
        assert!(path.starts_with(fixed[0]) && path.contains(fixed.last().expect("one")), "{template} {path}");
        let reply = client.send(request(method, &format!("{prefix}{path}"), body)).await.expect("an answer");
        documented(&document, operation, &reply, &format!("{id} {path}"));
        seen.push((id.to_owned(), reply.status.as_str().to_owned()));
    }
    // The other direction: what is documented happens (415 and 304 depend on headers and have their own tests).
    for (_, _, operation) in operations {
        let id = operation["operationId"].as_str().expect("every operation has an id");
        for status in operation["responses"].as_object().expect("responses").keys() {
            let elsewhere = ["304", "415"].contains(&status.as_str());
            assert!(
                elsewhere || seen.contains(&(id.to_owned(), status.clone())),
                "{prefix} {id} never answered {status}"
            );
        }
    }
}

#[tokio::test]
async fn the_documents_are_honest() {
    check(OPENAPI_V1, "/v1", PAY_V1).await;
    check(OPENAPI_V2, "/v2", PAY_V2).await;
}

#[test]
fn examples_of_the_documents_conform() {
    for (text, server) in [(OPENAPI_V1, "http://127.0.0.1:9001/v1"), (OPENAPI_V2, "http://127.0.0.1:9001/v2")]
    {
        let document = parse(text);
        assert_eq!(document["servers"][0]["url"], server);
        let mut examples = 0;
        for (path, method, operation) in operations(&document) {
            let request = operation.pointer("/requestBody/content/application~1json");
            let reply = operation.pointer("/responses/200/content/application~1json");
            for content in [request, reply].into_iter().flatten() {
                if let Some(example) = content.get("example") {
                    conforms(&document, &content["schema"], example, &format!("{method} {path}"));
                    examples += 1;
                }
            }
        }
        assert!(examples >= 3, "{examples}");
    }
}
