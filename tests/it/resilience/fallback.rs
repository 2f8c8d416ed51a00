//! What is tried when nothing else helps.

use super::{Act, BUSY, GET, OK, POST, Upstream, ask, status};
use crate::paused::paused;

const PAUSED: &str = "respond: { when: undelivered, status: 503, retry_after: 30s, body: { code: paused } }";

fn config(fallback: &str, more: &str) -> String {
    let text = super::config(&["127.0.0.1:1"], &format!(", retries: off, fallback: [{fallback}]"), "");
    text.replace(
        "telemetry:",
        &format!("  dr: {{ endpoints: [\"http://127.0.0.2:1\"], retries: off{more} }}\ntelemetry:"),
    )
}

#[test]
fn another_upstream_is_not_asked_for_what_may_have_happened() {
    for (act, request, expected, at_other) in [
        (Act::Say(BUSY), POST.to_owned(), 503, 0),
        (Act::Break(""), POST.to_owned(), 502, 0),
        (Act::Say(BUSY), GET.to_owned(), 200, 1),
        (Act::Break(""), GET.to_owned(), 200, 1),
    ] {
        paused(async move {
            let (first, other) = (Upstream::new(move |_| act.clone()), Upstream::new(|_| Act::Say(OK)));
            let rig = super::rig_of(&config("upstream: dr", ""), &[first.clone(), other.clone()]);
            let answer = ask(&rig, &request).await;
            assert_eq!((status(&answer), other.requests()), (expected, at_other), "{answer}");
            assert_eq!(answer.contains("proxy-status: mainstay; "), expected != 503, "{answer}");
        });
    }
}

#[test]
fn what_was_not_delivered_goes_to_another_upstream_whole() {
    paused(async {
        let (first, other) = (Upstream::new(|_| Act::Hang), Upstream::new(|_| Act::Say(OK)));
        first.refuse(true);
        let rig = super::rig_of(&config("upstream: dr", ""), &[first.clone(), other.clone()]);
        let answer = ask(&rig, POST).await;
        assert!(status(&answer) == 200 && answer.contains("error=connection_refused"), "{answer}");
        assert!(other.seen()[0].ends_with("\r\n\r\nhi"), "{:?}", other.seen());
        assert_eq!(rig.metric("mainstay_degraded_total{by=\"upstream\",upstream=\"dr\"}"), Some(1.0));
        // Nobody has noticed, but whoever looks for it finds it.
        let events = "mainstay_events_total{event=\"upstream_unreachable\"}";
        assert_eq!(rig.metric(events), Some(1.0));
    });
}

#[test]
fn a_key_that_both_upstreams_share_lets_it_go_there() {
    let keyed = POST.replace("Host: a\r\n", "Host: a\r\nIdempotency-Key: k\r\n");
    for (more, expected) in [("", 0), (", shares_idempotency_with: up", 1)] {
        let keyed = keyed.clone();
        paused(async move {
            let (first, other) = (Upstream::new(|_| Act::Break("")), Upstream::new(|_| Act::Say(OK)));
            let rig = super::rig_of(&config("upstream: dr", more), &[first, other.clone()]);
            let answer = ask(&rig, &keyed).await;
            assert_eq!(other.requests(), expected, "{answer}");
        });
    }
}

#[test]
fn an_answer_that_says_nothing_happened_is_given_only_if_nothing_did() {
    for (refused, request, is_given) in [(true, POST, true), (false, POST, false), (true, GET, true)] {
        paused(async move {
            let first = Upstream::new(|_| Act::Break(""));
            first.refuse(refused);
            let rig = super::rig_of(&config(PAUSED, ""), &[first, Upstream::new(|_| Act::Say(OK))]);
            let answer = ask(&rig, request).await;
            assert_eq!(answer.ends_with("{\"code\":\"paused\"}"), is_given, "{answer}");
            if is_given {
                assert!(status(&answer) == 503 && answer.contains("retry-after: 30\r\n"), "{answer}");
                assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
            } else {
                assert!(answer.contains("\"upstream_reset\""), "{answer}");
            }
        });
    }
}

#[test]
fn the_order_is_as_configured() {
    for (fallback, body) in [
        (format!("{{ upstream: dr }}, {{ {PAUSED} }}"), "ok"),
        (format!("{{ {PAUSED} }}, {{ upstream: dr }}"), "{\"code\":\"paused\"}"),
    ] {
        paused(async move {
            let first = Upstream::new(|_| Act::Hang);
            first.refuse(true);
            let text =
                super::config(&["127.0.0.1:1"], &format!(", retries: off, fallback: [{fallback}]"), "");
            let text =
                text.replace("telemetry:", "  dr: { endpoints: [\"http://127.0.0.2:1\"] }\ntelemetry:");
            let rig = super::rig_of(&text, &[first, Upstream::new(|_| Act::Say(OK))]);
            let answer = ask(&rig, GET).await;
            assert!(answer.ends_with(body), "{answer}");
        });
    }
}

/// Guards against: a request that had been sent, and ended in a way that no further attempt mends, counted as never sent. It
/// went to another upstream, or its client was told that nothing had happened.
#[test]
fn what_ends_without_a_further_attempt_may_have_happened_all_the_same() {
    let too_large: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(40_000)).into_boxed_str());
    for act in [Act::Hang, Act::Say(too_large)] {
        for fallback in ["{ upstream: dr }".to_owned(), format!("{{ {PAUSED} }}")] {
            let act = act.clone();
            paused(async move {
                let (first, other) = (Upstream::new(move |_| act.clone()), Upstream::new(|_| Act::Say(OK)));
                let text = super::config(
                    &["127.0.0.1:1"],
                    &format!(", fallback: [{fallback}]"),
                    "timeouts: { attempt: 5s, total: 1s, settle: 1s }",
                );
                let text =
                    text.replace("telemetry:", "  dr: { endpoints: [\"http://127.0.0.2:1\"] }\ntelemetry:");
                let rig = super::rig_of(&text, &[first.clone(), other.clone()]);
                let answer = ask(&rig, POST).await;
                assert_eq!((first.requests(), other.requests()), (1, 0), "{answer}");
                assert!(
                    answer.contains("\"code\":\"deadline_exceeded\"")
                        || answer.contains("upstream_too_large"),
                    "{answer}"
                );
            });
        }
    }
}
