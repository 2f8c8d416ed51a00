//! What the API and the utilities answer, on both protocols and in both versions.

use serde_json::{Value, json};

use super::{Client, PAY_V1, PAY_V2, request, start};

async fn refused(client: &mut Client, row: (&str, &str, &str, u16, &str)) {
    let (method, path, body, status, code) = row;
    let reply = client.send(request(method, path, body)).await.expect("an answer");
    let problem = reply.json();
    assert_eq!(
        (reply.status.as_u16(), problem["code"].as_str()),
        (status, Some(code)),
        "{method} {path} {body}"
    );
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!((problem["status"].as_u64(), problem["type"].is_string()), (Some(status.into()), true));
    assert_eq!(reply.header("allow").is_some(), status == 405);
}

#[tokio::test]
async fn refusals_are_problems_and_change_nothing() {
    let running = start();
    let mut client = Client::h1(&running).await;
    let rows = [
        ("GET", "/v1/accounts/acc_0", "", 404, "not_found"),
        ("GET", "/v2/payments/pay_9", "", 404, "not_found"),
        ("GET", "/v2/refunds/ref_000001", "", 404, "not_found"),
        ("GET", "/v3/payments", "", 404, "not_found"),
        ("DELETE", "/v1/payments/pay_000001", "", 405, "method_not_allowed"),
        ("GET", "/v1/payments?limit=0", "", 400, "invalid_parameter"),
        ("GET", "/v2/payments?after=x", "", 400, "invalid_parameter"),
        ("GET", "/v2/payments/pay_000001/events?count=0", "", 400, "invalid_parameter"),
        ("POST", "/v1/payments", "{", 400, "malformed_body"),
        ("POST", "/v1/payments", PAY_V2, 422, "invalid_fields"),
        ("POST", "/v2/payments", PAY_V1, 422, "invalid_fields"),
        (
            "POST",
            "/v1/payments",
            r#"{"account":"acc_0","amount":1,"currency":"ZAR"}"#,
            422,
            "unknown_account",
        ),
        (
            "POST",
            "/v1/payments",
            r#"{"account":"acc_1001","amount":1,"currency":"EUR"}"#,
            422,
            "currency_mismatch",
        ),
        (
            "POST",
            "/v1/payments",
            r#"{"account":"acc_1008","amount":101,"currency":"ZAR"}"#,
            422,
            "insufficient_funds",
        ),
        ("POST", "/v1/payments/pay_9:cancel", "", 404, "not_found"),
        ("POST", "/v1/payments/pay_9/refunds", "{}", 404, "not_found"),
        ("POST", "/v1/payments/pay_000001/refunds", r#"{"amount":1251}"#, 409, "refund_above_rest"),
        (
            "POST",
            "/v2/payments/pay_000001/refunds",
            r#"{"amount":{"value":"1.00","currency":"EUR"}}"#,
            422,
            "currency_mismatch",
        ),
    ];
    for row in rows {
        refused(&mut client, row).await;
    }
    let large = format!("{{\"reference\":\"{}\"}}", "x".repeat(70_000));
    refused(&mut client, ("POST", "/v2/payments", &large, 413, "body_too_large")).await;
    let mut client = Client::h2(&running).await;
    let mut plain = request("POST", "/v2/payments", PAY_V2);
    plain.headers_mut().remove("content-type");
    assert_eq!(client.send(plain).await.expect("an answer").status, 415);
    assert_eq!(running.stats().effects(), 0);
}

#[tokio::test]
async fn the_versions_differ_in_shape() {
    let running = start();
    let [mut old, mut new] = Client::both(&running).await;
    let reply = old.post("/v1/payments", PAY_V1).await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (201, Some("/v1/payments/pay_000004")));
    assert_eq!(reply.header("x-served-by"), Some("payments-a"));
    let expected = json!({
        "id": "pay_000004", "account": "acc_1001", "bank": "absa", "amount": 1250, "currency": "ZAR", "refunded": 0,
        "state": "accepted", "reference": "tea", "created": 1_767_225_600,
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(old.get("/v1/payments/pay_000004").await.json(), expected);

    let money = |value: &str| json!({ "value": value, "currency": "ZAR" });
    let mut expected = json!({
        "id": "pay_000005", "source_account": "acc_1001", "destination": { "bank": "absa" }, "amount": money("12.50"),
        "refunded": money("0.00"), "status": "accepted", "reference": "tea", "created_at": "2026-01-01T00:00:00Z",
    });
    let reply = new.post("/v2/payments", PAY_V2).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (201, expected.clone()));

    let reply =
        new.post("/v2/payments/pay_000005/refunds", r#"{"amount":{"value":"0.50","currency":"ZAR"}}"#).await;
    let refund = json!({
        "id": "ref_000001", "payment_id": "pay_000005", "amount": money("0.50"), "reason": null,
        "created_at": "2026-01-01T00:00:00Z",
    });
    assert_eq!((reply.status.as_u16(), reply.json()), (201, refund));
    assert_eq!(old.get("/v1/refunds/ref_000001").await.json()["amount"], 50);
    expected["refunded"] = money("0.50");
    expected["status"] = "partly_refunded".into();
    assert_eq!(new.get("/v2/payments/pay_000005").await.json(), expected);
    assert_eq!(old.post("/v1/payments/pay_000004:cancel", "").await.json()["state"], "cancelled");
    assert_eq!(running.stats().effects(), 4);
    assert_eq!(new.get("/v2/accounts/acc_1001").await.json()["balance"], money("249999975.50"));
    assert_eq!(old.get("/v1/accounts/acc_1001").await.json()["balance"], 24_999_997_550_i64);
}

#[tokio::test]
async fn lists_are_arrays_in_v1_and_pages_in_v2() {
    let running = start();
    let mut client = Client::h2(&running).await;
    let ids = |items: &Value| -> Vec<String> {
        items
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&client.get("/v1/payments?limit=2").await.json()), ["pay_000003", "pay_000002"]);
    let page = client.get("/v2/payments?limit=2").await.json();
    assert_eq!(
        (ids(&page["items"]), page["next"].as_str()),
        (vec!["pay_000003".into(), "pay_000002".into()], Some("pay_000002"))
    );
    let page = client.get("/v2/payments?limit=2&after=pay_000002").await.json();
    assert_eq!((ids(&page["items"]), &page["next"]), (vec!["pay_000001".into()], &Value::Null));
    assert_eq!(client.get("/v1/banks").await.json()[0]["code"], "absa");
    assert_eq!(client.get("/v2/banks").await.json()["items"][0]["code"], "absa");
}

#[tokio::test]
async fn banks_can_be_cached_and_asked_about_again() {
    let running = start();
    for mut client in Client::both(&running).await {
        let reply = client.get("/v1/banks").await;
        assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));
        let mut again = request("GET", "/v1/banks", "");
        again.headers_mut().insert("if-none-match", reply.headers["etag"].clone());
        let reply = client.send(again).await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0));
    }
    running.stats().until(|view| view.completed == 4 && view.in_flight == 0).await;
}

#[tokio::test]
async fn events_come_one_by_one_and_end() {
    let running = start();
    for mut client in Client::both(&running).await {
        let reply = client.get("/v1/payments/pay_000001/events?count=3&interval_ms=1").await;
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        let event = |id| {
            format!(
                "id: {id}\nevent: payment\ndata: {{\"payment\":\"pay_000001\",\"state\":\"accepted\",\"refunded\":0}}\n\n"
            )
        };
        assert_eq!(reply.body, format!("{}{}{}", event(1), event(2), event(3)));
    }
}

#[tokio::test]
async fn echo_shows_what_arrived() {
    let running = start();
    for (mut client, version) in Client::both(&running).await.into_iter().zip(["HTTP/1.1", "HTTP/2.0"]) {
        let mut asked = request("BREW", "/v2/echo?a=1&b=%20", "water");
        asked.headers_mut().append("x-first", "1".parse().expect("a value"));
        asked.headers_mut().append("x-second", "2".parse().expect("a value"));
        asked.headers_mut().append("x-first", "3".parse().expect("a value"));
        let echo = client.send(asked).await.expect("an answer").json();
        assert_eq!(
            (&echo["method"], &echo["path"], &echo["query"]),
            (&json!("BREW"), &json!("/v2/echo"), &json!("a=1&b=%20"))
        );
        assert_eq!(
            (&echo["version"], &echo["body"], &echo["body_bytes"]),
            (&json!(version), &json!("water"), &json!(5))
        );
        let mine: Vec<_> = echo["headers"]
            .as_array()
            .expect("pairs")
            .iter()
            .filter(|pair| pair[0].as_str().is_some_and(|name| name.starts_with("x-")))
            .collect();
        assert_eq!(mine, [&json!(["x-first", "1"]), &json!(["x-first", "3"]), &json!(["x-second", "2"])]);
        let connection = echo["connection"].clone();
        let large = "y".repeat(100_000);
        let echo = client.post("/echo", &large).await.json();
        assert_eq!(
            (&echo["body"], &echo["body_bytes"], &echo["connection"]),
            (&Value::Null, &json!(100_000), &connection)
        );
    }
}

#[tokio::test]
async fn bodies_of_any_size_in_both_directions() {
    let running = start();
    for mut client in Client::both(&running).await {
        for path in ["/bytes/0", "/v1/bytes/70001", "/chunks/7/11", "/v2/chunks/3/70000"] {
            let count: usize = match path.rsplit('/').collect::<Vec<_>>()[..] {
                [size, count, "chunks", ..] => {
                    count.parse::<usize>().expect("n") * size.parse::<usize>().expect("size")
                }
                [count, ..] => count.parse().expect("n"),
                [] => unreachable!("a path has segments"),
            };
            let reply = client.get(path).await;
            assert_eq!(reply.body.len(), count, "{path}");
            let announced = reply.header("content-length").map(str::to_owned);
            assert_eq!(announced, path.contains("bytes").then(|| count.to_string()), "{path}");
        }
        let reply = client.send(request("HEAD", "/bytes/70001", "")).await.expect("an answer");
        assert_eq!((reply.header("content-length"), reply.body.len()), (Some("70001"), 0));
        let reply = client.post("/upload", &"z".repeat(300_000)).await.json();
        assert_eq!(reply["bytes"], 300_000);
        let reply = client.post("/upload", "abc").await.json();
        assert_eq!(reply["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(client.get("/slow/1").await.json()["waited_ms"], 1);
        assert_eq!(client.get("/healthz").await.json()["status"], "ok");
    }
}

#[tokio::test]
async fn sample_commands_lead_where_they_say() {
    let running = start();
    let mut client = Client::h1(&running).await;
    // Without the wait between two events.
    let commands = crate::sample_curl(running.addr).into_iter().map(|command| command.replace("=500", "=0"));
    let at = format!("http://{}", running.addr);
    let mut statuses = Vec::new();
    for command in commands {
        let (_, url) = command.split_once(&at).expect("they name the engine");
        let path = url.split([' ', '\'']).next().expect("a path");
        let (_, body) = command.split_once("-d '").unwrap_or(("", ""));
        let method = if command.contains("DELETE") {
            "DELETE"
        } else if body.is_empty() {
            "GET"
        } else {
            "POST"
        };
        let reply = client.send(request(method, path, body.trim_end_matches('\''))).await.expect("an answer");
        statuses.push(reply.status.as_u16());
    }
    assert_eq!(statuses, [200, 201, 200, 404, 405]);
}
