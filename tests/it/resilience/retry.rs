//! Further attempts: when there is one, when there is none, and how many there are in all.

use tokio::time::{Duration, Instant};

use super::{Act, BUSY, GET, OK, POST, Upstream, alone, ask, rig, status};
use crate::paused::paused;

/// Fails so many times, then works.
fn fails(times: usize, with: Act) -> Upstream {
    Upstream::new(move |n| if n < times { with.clone() } else { Act::Say(OK) })
}

#[test]
fn what_may_have_happened_is_not_sent_again() {
    let malformed = "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n";
    for act in [Act::Say(BUSY), Act::Break(""), Act::Break(malformed), Act::Hang] {
        for request in [POST, "DELETE /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let act = act.clone();
            paused(async move {
                let upstream = fails(1, act);
                let rig = alone(&upstream, "", "timeouts: { attempt: 1s, settle: 1s }");
                let answer = ask(&rig, request).await;
                assert!(status(&answer) >= 500, "{answer}");
                assert_eq!(upstream.requests(), 1, "{request} {answer}");
            });
        }
    }
}

/// A key says that the client wants one effect; it counts only where the upstream says that it keeps to that.
#[test]
fn a_key_helps_only_where_the_upstream_honours_it() {
    let keyed = POST.replace("Host: a\r\n", "Host: a\r\nIdempotency-Key: k-1\r\n");
    for (honours, expected) in [(false, 1), (true, 2)] {
        for act in [Act::Say(BUSY), Act::Break(""), Act::Hang] {
            let keyed = keyed.clone();
            paused(async move {
                let upstream = fails(1, act);
                let keys = format!(", retries: {{ honours_idempotency_key: {honours} }}");
                let rig = alone(&upstream, &keys, "timeouts: { attempt: 1s, settle: 1s }");
                let answer = ask(&rig, &keyed).await;
                assert_eq!(upstream.requests(), expected, "{answer}");
                assert_eq!(status(&answer) == 200, honours, "{answer}");
                let bodies = upstream.seen();
                assert!(bodies.iter().all(|r| r.ends_with("\r\n\r\nhi")), "{bodies:?}");
            });
        }
    }
}

#[test]
fn a_safe_request_is_tried_again_for_each_listed_cause() {
    let malformed = "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n";
    let rows: [(Act, &str, &str); 6] = [
        (Act::Say(BUSY), "503", "503"),
        (Act::Say("HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n"), "502", "502"),
        (Act::Say("HTTP/1.1 504 X\r\ncontent-length: 0\r\n\r\n"), "504", "504"),
        (Act::Break(""), "reset", "reset"),
        (Act::Break(malformed), "502", "malformed"),
        (Act::Hang, "504", "timeout"),
    ];
    for (act, listed, label) in rows {
        paused(async move {
            let upstream = fails(1, act.clone());
            let rig = alone(&upstream, "", "timeouts: { attempt: 1s }");
            let answer = ask(&rig, GET).await;
            assert_eq!((status(&answer), upstream.requests()), (200, 2), "{label} {answer}");
            let retries = format!("mainstay_retries_total{{cause=\"{label}\",upstream=\"up\"}}");
            assert_eq!(rig.metric(&retries), Some(1.0), "{label}");

            // What is not listed is not tried again.
            let others: Vec<_> =
                ["connect", "reset", "502", "503", "504"].into_iter().filter(|on| *on != listed).collect();
            let upstream = fails(1, act);
            let keys = format!(", retries: {{ on: [{}] }}", others.join(", "));
            let rig = alone(&upstream, &keys, "timeouts: { attempt: 1s }");
            let answer = ask(&rig, GET).await;
            assert_eq!(upstream.requests(), 1, "{label} {answer}");
            assert!(status(&answer) >= 500, "{label} {answer}");
        });
    }
}

#[test]
fn a_request_that_was_not_delivered_goes_to_another_endpoint_whatever_its_method() {
    paused(async {
        let (dead, alive) = (Upstream::new(|_| Act::Hang), Upstream::new(|_| Act::Say(OK)));
        dead.refuse(true);
        let rig = rig(&[dead.clone(), alive.clone()], "", "");
        for n in 1..=20 {
            let answer = ask(&rig, POST).await;
            assert_eq!((status(&answer), alive.requests()), (200, n), "{answer}");
        }
        assert_eq!(dead.requests(), 0);
    });
}

/// The answer of the last attempt is the client's, as the upstream gave it.
#[test]
fn when_attempts_are_used_up_the_upstreams_own_answer_is_passed_on() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Say(BUSY));
        let rig = alone(&upstream, ", retries: { budget: { floor: 10/s } }", "");
        // A second's worth of the floor is saved up.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let answer = ask(&rig, GET).await;
        assert!(status(&answer) == 503 && answer.ends_with("\r\n\r\nbusy"), "{answer}");
        assert_eq!(upstream.requests(), 3);
    });
}

#[test]
fn retry_after_is_waited_for_where_there_is_time_and_ends_it_where_there_is_none() {
    let after =
        |text: &'static str| Upstream::new(move |n| if n == 0 { Act::Say(text) } else { Act::Say(OK) });
    paused(async move {
        let upstream = after("HTTP/1.1 503 X\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n");
        let rig = alone(&upstream, "", "");
        let began = Instant::now();
        let answer = ask(&rig, GET).await;
        assert_eq!((status(&answer), upstream.requests()), (200, 2), "{answer}");
        let took_ms = began.elapsed().as_millis();
        assert!((2000..2100).contains(&took_ms), "{took_ms}");

        let upstream = after("HTTP/1.1 503 X\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n");
        let rig = alone(&upstream, "", "timeouts: { total: 10s }");
        let began = Instant::now();
        let answer = ask(&rig, GET).await;
        assert_eq!((status(&answer), upstream.requests()), (503, 1), "{answer}");
        assert!(answer.contains("retry-after: 30\r\n"), "{answer}");
        assert!(began.elapsed() < Duration::from_millis(10));
    });
}

#[test]
fn all_attempts_together_end_at_the_total() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Hang);
        let rig = alone(&upstream, "", "timeouts: { attempt: 400ms, total: 1s }");
        let began = Instant::now();
        let answer = ask(&rig, GET).await;
        let took_ms = began.elapsed().as_millis();
        assert!(status(&answer) == 504 && (800..=1002).contains(&took_ms), "{took_ms} {answer}");
        assert!((2..=3).contains(&upstream.requests()), "{}", upstream.requests());
    });
}

#[test]
fn nothing_is_sent_again_once_the_head_was_passed_on() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Break("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"));
        let rig = alone(&upstream, "", "");
        let answer = ask(&rig, GET).await;
        assert!(status(&answer) == 200 && answer.ends_with("half"), "{answer}");
        assert_eq!(upstream.requests(), 1);
    });
}

/// The body comes in pieces and is sent again as one; what is over the bound is sent once.
#[test]
fn a_body_is_sent_again_up_to_the_bound_and_byte_by_byte_the_same() {
    let keyed = |body: &str| {
        format!(
            "PUT /v1/x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (bytes, attempts) in [(0, 2), (1, 2), (5_000, 2), (65_536, 2), (65_537, 1)] {
        let body: String = (0..bytes).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        let request = keyed(&body);
        paused(async move {
            let upstream = fails(1, Act::Say(BUSY));
            let rig = alone(&upstream, ", retries: { honours_idempotency_key: true }", "");
            let answer = ask(&rig, &request).await;
            assert_eq!(upstream.requests(), attempts, "{bytes} {answer}");
            for seen in upstream.seen() {
                assert!(seen.split_once("\r\n\r\n").unwrap().1 == body, "{bytes}");
            }
        });
    }
    paused(async {
        let upstream = fails(1, Act::Say(BUSY));
        let rig = alone(&upstream, ", retries: { honours_idempotency_key: true }", "");
        let chunked = "PUT /v1/x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
        let answer = ask(&rig, chunked).await;
        assert_eq!((status(&answer), upstream.requests()), (200, 2), "{answer}");
        assert!(upstream.seen()[1].ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{:?}", upstream.seen());
    });
}

/// At 100 % failure an upstream sees at most a fifth more than what clients sent, and the floor.
#[test]
fn the_budget_holds_when_everything_fails() {
    for (keys, most) in [("", 1.2), (", retries: { budget: { ratio: 0.0, floor: 0/s } }", 1.0)] {
        paused(async move {
            let upstream = Upstream::new(|_| Act::Say(BUSY));
            let rig = alone(&upstream, &format!("{keys}, breaker: off, eject: off"), "");
            let began = Instant::now();
            let requests = 500;
            for _ in 0..requests {
                assert_eq!(status(&ask(&rig, GET).await), 503);
            }
            let floor = if keys.is_empty() { began.elapsed().as_secs_f64() + 1.0 } else { 0.0 };
            let sent = upstream.requests() as f64;
            assert!(sent <= most * f64::from(requests) + floor, "{sent} after {:?}", began.elapsed());
            assert!(keys.is_empty() == (sent > 1.1 * f64::from(requests)), "{sent}");
        });
    }
}

#[test]
fn retries_that_are_off_are_off() {
    paused(async {
        let upstream = fails(1, Act::Say(BUSY));
        let rig = alone(&upstream, ", retries: off", "");
        assert_eq!(status(&ask(&rig, GET).await), 503);
        assert_eq!(upstream.requests(), 1);
    });
}

/// A later attempt that is refused sends nothing, but an earlier one has: the client is told of that one.
#[test]
fn a_refusal_after_an_attempt_does_not_say_that_nothing_was_sent() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Say("HTTP/1.1 503 X\r\ncontent-length: 2\r\n\r\nno"));
        let keys = ", eject: off, breaker: { requests_min: 20 }, retries: { budget: { floor: 1000/s } }";
        let rig = alone(&upstream, keys, "");
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..20 {
            let before = upstream.requests();
            let answer = ask(&rig, GET).await;
            if upstream.requests() > before {
                assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
            } else {
                assert!(answer.contains("\"circuit_open\""), "{answer}");
            }
        }
        assert_eq!(upstream.requests(), 20, "the breaker opened between two attempts of one request");
    });
}

/// The first attempt settles while the second is made: the client is there all the time, and its record says so.
#[test]
fn an_attempt_that_settles_beside_a_further_one_is_no_client_that_left() {
    for (honours, status) in [(true, 200), (false, 504)] {
        paused(async move {
            let upstream = fails(1, Act::Hang);
            let keys = format!(", retries: {{ honours_idempotency_key: {honours} }}");
            let rig = alone(&upstream, &keys, "timeouts: { attempt: 1s, settle: 2s }");
            let keyed =
                POST.replace("Host: a\r\n", "Host: a\r\nIdempotency-Key: k\r\nX-Request-Id: settles-7\r\n");
            let answer = ask(&rig, &keyed).await;
            assert_eq!(super::status(&answer), status, "{answer}");
            // The record is written when the settling has ended, too.
            tokio::time::sleep(Duration::from_secs(5)).await;
            let record = rig.recent.find("settles-7").expect("a record");
            assert!(record.contains(&format!("\"status\":{status},")), "{record}");
            assert!(!record.contains("\"aborted\""), "{record}");
        });
    }
}
