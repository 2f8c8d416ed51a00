//! Policies asked beside the traffic, and bodies that they have read on their way over HTTP/2 and a second time.

use serde_json::{Value, json};

use super::{Desk, REFUND, amount};
use crate::frames::{DATA, END_HEADERS, END_STREAM, Ended, Frames, HEADERS, block, frame};
use crate::setup::{GUARD, at};

#[tokio::test]
async fn who_may_do_what_is_answered_beside_the_traffic() {
    let shadow = [("pay/none.cedar", "@id(\"nobody\") forbid (principal, action, resource);")];
    let desk = Desk::open_at(at("2026-11-24T12:00:00Z"), &shadow).await;
    desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let ask = |more: Value| {
        let mut question =
            json!({"api": "pay", "version": "v1", "operation": "createRefund", "consumer": "till"});
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    let wrong = [
        (json!({"api": "no"}), "/api"),
        (json!({"version": "v9"}), "/version"),
        (json!({"operation": "no"}), "/operation"),
        (json!({"consumer": "nobody"}), "/consumer"),
        (json!({"consumer": null, "user": "nobody"}), "/user"),
        (json!({"body": "{\"amount\":{\"value\":1,\"value\":9}}"}), "/body"),
        (json!({"body": {}, "fields": {}}), "/fields"),
        (json!({"address": "here"}), "/address"),
        (json!({"at": "tomorrow"}), "/at"),
        (json!({"amount": 5}), "/amount"),
    ];
    for (more, pointer) in wrong {
        let (status, problem) = desk.admin("POST", "authorize", &ask(more)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &pointer.into()), "{problem}");
    }
    let rows = [
        (json!({}), false, "error", json!(["tellers-refund"])),
        (json!({"fields": {"amount": 501}}), false, "no_permit", Value::Null),
        (json!({"fields": {"amount": "5"}}), false, "error", json!(["tellers-refund"])),
        (json!({"fields": {"amount": 500}}), true, "permit", json!(["tellers-refund"])),
        (json!({"body": {"amount": {"value": 500}}}), true, "permit", json!(["tellers-refund"])),
        (json!({"body": "{\"amount\":{\"value\":500}}"}), true, "permit", json!(["tellers-refund"])),
        (
            json!({"fields": {"amount": 5}, "at": "2026-11-24T23:00:00Z"}),
            false,
            "forbid",
            json!(["read-only-at-night"]),
        ),
    ];
    for (more, allowed, because, ids) in rows {
        let (status, answer) = desk.admin("POST", "authorize", &ask(more)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["allowed"], allowed, "{answer}");
        assert_eq!(answer["reason"]["because"], because, "{answer}");
        assert_eq!(
            answer["reason"].get("ids").cloned().unwrap_or_default(),
            if ids.is_null() { Value::Null } else { ids }
        );
        assert_eq!(answer["shadow"]["reason"], json!({"because": "forbid", "ids": ["nobody"]}), "{answer}");
    }
    let (_, answer) = desk.admin("POST", "authorize", &ask(json!({"fields": {"amonut": 5}}))).await;
    assert_eq!(answer["notes"], json!(["no policy reads amonut of the body"]), "{answer}");
    let (status, _) = desk.admin("PATCH", "consumers/till", &json!({"suspended": true})).await;
    assert_eq!(status, 200);
    let suspended = async {
        loop {
            let (_, answer) = desk.admin("POST", "authorize", &ask(json!({"fields": {"amount": 5}}))).await;
            if answer["notes"].to_string().contains("suspended") {
                return;
            }
        }
    };
    tokio::time::timeout(GUARD, suspended).await.expect("a suspended consumer is told");
    assert_eq!(desk.setup.metric("mainstay_policy_decisions_total api=\"pay\" result=\"allowed\""), 0.0);
    assert!(desk.came().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_body_that_was_read_is_sent_again_byte_for_byte() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let body = b" {\"amount\" : {\t\"value\":500 }}\n";
    let fields = format!(
        "Content-Type: application/json\r\nIdempotency-Key: k-1\r\nX-Break: 1\r\nContent-Length: {}\r\n",
        body.len()
    );
    let answer = desk.ask(REFUND, &key, &fields, body).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let came: Vec<_> = desk.came().into_iter().map(|(_, body)| body).collect();
    assert_eq!(came, [body.to_vec(), body.to_vec()]);
}

#[tokio::test]
async fn a_body_over_http_2_is_read_and_arrives_byte_for_byte() {
    let desk = Desk::open().await;
    let key = desk.consumer("till", "tellers", json!({"refund_max": 500})).await;
    let mut client = Frames::connect(desk.setup.address(), &[]).await;
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/payments/p1/refunds"),
        ("content-type", "application/json"),
        ("x-api-key", &key),
    ];
    for (id, value, answered) in [(1, "501", "policy_denied"), (3, "1e2", "policy_error"), (5, "500", "")] {
        let body = [amount(value), b" \n".to_vec()].concat();
        client.send(&frame(HEADERS, END_HEADERS, id, &block(&head))).await;
        let (last, first) = body.split_last().unwrap();
        for byte in first {
            client.send(&frame(DATA, 0, id, &[*byte])).await;
        }
        client.send(&frame(DATA, END_STREAM, id, &[*last])).await;
        let ended = client.ended(id).await;
        let Ended::Answered(is_ok, text) = &ended else { panic!("{value} {ended:?}") };
        assert!(*is_ok == answered.is_empty() && text.contains(answered), "{value} {ended:?}");
        let came = desk.came();
        if answered.is_empty() {
            assert_eq!(came[0].1, body);
        } else {
            assert!(came.is_empty(), "nothing was sent");
        }
    }
}
