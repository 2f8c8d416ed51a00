use serde_json::json;

use super::{Desk, SECRET};

#[tokio::test]
async fn bodies_that_are_no_object_or_two_are_refused() {
    let desk = Desk::open().await;
    let deep = format!("{{\"id\":\"a\",\"attributes\":{}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    let rows = [
        "[]",
        "null",
        "1",
        "\"id\"",
        "{",
        "{}{}",
        "{\"id\":\"a\",}",
        "{\"id\":\"a\"} x",
        "id=a",
        "\u{feff}{}",
        "{'id':'a'}",
        "{\"id\":\"a\",\"id\":\"b\"}",
        "{\"id\":\"a\",\"attributes\":{\"x\":1,\"x\":2}}",
        "{\"id\":\"a\",\"groups\":[{\"x\":1,\"x\":2}]}",
        "{\"id\":\"a\\ud800\"}",
        "{\"id\":1e999}",
        deep.as_str(),
    ];
    for body in rows {
        let refused = desk.call(SECRET, "POST /admin/v1/consumers", "", body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "malformed_body"), "{body}");
    }
    let mut stream = desk.server.connect().await;
    let head = format!(
        "POST /admin/v1/consumers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {SECRET}\r\n\
         Content-Length: 11\r\n\r\n"
    );
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(&[head.as_bytes(), b"{\"id\":\"\xff\xfe\"}"].concat()).await.unwrap();
    let mut answer = Vec::new();
    super::soon(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(super::Answer::parse(&answer).problem(), "malformed_body");
    assert_eq!(desk.verified().await, 0, "nothing was made");
}

#[tokio::test]
async fn values_that_cannot_be_used_are_all_named() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let long = "x".repeat(65);
    let many: Vec<_> = (0..65).map(|n| format!("g{n}")).collect();
    let rows = [
        (json!({}), vec!["/id"]),
        (json!({ "id": null }), vec!["/id"]),
        (json!({ "id": 7 }), vec!["/id"]),
        (json!({ "id": "" }), vec!["/id"]),
        (json!({ "id": "a b" }), vec!["/id"]),
        (json!({ "id": "../x" }), vec!["/id"]),
        (json!({ "id": ".." }), vec!["/id"]),
        (json!({ "id": "é" }), vec!["/id"]),
        (json!({ "id": long }), vec!["/id"]),
        (json!({ "id": "b", "name": "a\u{0}b" }), vec!["/name"]),
        (json!({ "id": "b", "plan": "platinum" }), vec!["/plan"]),
        (json!({ "id": "b", "groups": many }), vec!["/groups"]),
        (json!({ "id": "b", "groups": "x" }), vec!["/groups"]),
        (json!({ "id": "b", "groups": ["x", 1] }), vec!["/groups"]),
        (json!({ "id": "b", "attributes": [] }), vec!["/attributes"]),
        (
            json!({ "id": "b", "attributes": { "a/b": 1.5, "c": u64::MAX } }),
            vec!["/attributes/a~1b", "/attributes/c"],
        ),
        (json!({ "id": "b", "attributes": { "x": [null] } }), vec!["/attributes/x"]),
        (json!({ "id": "b", "attributes": { "x": "y".repeat(9000) } }), vec!["/attributes"]),
        (json!({ "id": "b", "suspended": "no" }), vec!["/suspended"]),
        (json!({ "id": "b", "nmae": "x" }), vec!["/nmae"]),
        (json!({ "id": "b", "source": "file", "plan": 7, "groups": 8 }), vec!["/plan", "/groups", "/source"]),
    ];
    for (body, pointers) in rows {
        let refused = desk.change("POST /admin/v1/consumers", &body).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (422, "invalid_value"),
            "{body} {refused:?}"
        );
        let refused = refused.json();
        let errors = refused["errors"].as_array().unwrap();
        let named: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(named, pointers, "{body}");
        assert!(errors.iter().all(|error| !error["message"].as_str().unwrap().is_empty()), "{refused}");
    }
    for (body, pointer) in [
        (json!({ "id": "other" }), "/id"),
        (json!({ "created_at": "2020-01-01T00:00:00Z" }), "/created_at"),
        (json!({ "name": null }), "/name"),
        (json!({ "keys": [] }), "/keys"),
    ] {
        let refused = desk.change("PATCH /admin/v1/consumers/acme", &body).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(desk.verified().await, 1, "nothing was made of all this");
}

/// A body of 64 KiB has room for ten thousand of them.
#[tokio::test]
async fn very_many_errors_make_a_small_answer() {
    let desk = Desk::open().await;
    let many: serde_json::Map<_, _> = (0..5000).map(|n| (format!("f{n}"), json!(0))).collect();
    let refused = desk.change("POST /admin/v1/consumers", &many.into()).await;
    assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 20);
    let query: Vec<_> = (0..3000).map(|n| format!("q{n}=1")).collect();
    let refused = desk.get(&format!("/admin/v1/consumers?{}", query.join("&"))).await;
    assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn ids_in_paths_are_only_looked_up() {
    let desk = Desk::open().await;
    for id in ["%2e%2e", "a%2Fb", "%00", "%ff", "nobody", "'%20OR%201=1--", &"x".repeat(5000)] {
        for (method, path) in [
            ("GET", "consumers/ID"),
            ("DELETE", "consumers/ID"),
            ("GET", "consumers/ID/keys"),
            ("PATCH", "keys/ID"),
            ("POST", "keys/ID/rotate"),
            ("GET", "tokens/ID"),
            ("DELETE", "tokens/ID"),
        ] {
            let path = path.replace("ID", id);
            let body = if method == "PATCH" { r#"{"scopes":[]}"# } else { "" };
            let answer = desk.call(SECRET, &format!("{method} /admin/v1/{path}"), "", body).await;
            assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{method} {path}");
        }
    }
    for query in [
        "limit=1&limit=2",
        "limit=-1",
        "limit=abc",
        "limit=99999999999999999999",
        "page=2",
        "cursor=",
        &format!("cursor={}", "x".repeat(300)),
    ] {
        let refused = desk.get(&format!("/admin/v1/consumers?{query}")).await;
        assert_eq!(refused.problem(), "invalid_value", "{query}");
    }
    assert_eq!(desk.get("/admin/v1/consumers?cursor=%27;DROP").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_makes_nothing() {
    let desk = Desk::open().await;
    let body = json!({ "id": "a", "name": "x".repeat(70_000) });
    let refused = desk.change("POST /admin/v1/consumers", &body).await;
    assert_eq!((refused.status, refused.problem().as_str()), (413, "body_too_large"), "{refused:?}");
    assert_eq!(desk.verified().await, 0);
}
