//! Each cause has a code, a status, a word of RFC 9209, and says when to come again where that helps.

use std::io::ErrorKind;
use std::sync::Arc;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::Dial;
use mainstay_testkit::rig::Rig;

use super::{Act, GET, OK, Upstream, alone, ask, config, status};
use crate::paused::paused;

/// What is owed: status, code, the error of `Proxy-Status`, whether there is a `Retry-After`.
pub(super) type Owed = (u16, &'static str, &'static str, bool);

#[track_caller]
pub(super) fn is_owed(answer: &str, (code, problem, error, waits): Owed) {
    assert_eq!(status(answer), code, "{answer}");
    assert!(answer.contains(&format!("\"code\":\"{problem}\"")), "{problem}: {answer}");
    let error =
        if error.is_empty() { String::new() } else { format!("proxy-status: mainstay; error={error}\r\n") };
    assert_eq!(answer.contains("proxy-status"), !error.is_empty(), "{answer}");
    assert!(answer.contains(&error), "{error}: {answer}");
    assert_eq!(answer.contains("retry-after: "), waits, "{answer}");
    assert!(
        answer.contains("content-type: application/problem+json\r\n") && answer.contains("\"help\":"),
        "{answer}"
    );
}

const ONCE: &str = ", retries: off, breaker: off, eject: off";

#[test]
fn connections_that_cannot_be_had() {
    let rows: [(ErrorKind, Owed); 4] = [
        (ErrorKind::ConnectionRefused, (502, "upstream_refused", "connection_refused", false)),
        (ErrorKind::HostUnreachable, (502, "upstream_unreachable", "destination_ip_unroutable", false)),
        (ErrorKind::TimedOut, (504, "upstream_connect_timeout", "connection_timeout", false)),
        // The machine's own limit is not the upstream's fault.
        (ErrorKind::AddrNotAvailable, (503, "overloaded", "", true)),
    ];
    for (kind, owed) in rows {
        paused(async move {
            let dial: Dial = Arc::new(move || Err(kind.into()));
            let rig = Rig::start(&config(&["127.0.0.1:1"], ONCE, ""), Clock::System, Output::None, &dial);
            is_owed(&ask(&rig, GET).await, owed);
        });
    }
}

#[test]
fn answers_that_do_not_come() {
    let too_large: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(40_000)).into_boxed_str());
    let rows: [(Act, Owed); 5] = [
        (Act::Break(""), (502, "upstream_reset", "connection_terminated", false)),
        (Act::Break("HTTP/1.1 2"), (502, "upstream_reset", "connection_terminated", false)),
        (Act::Say("nonsense\r\n\r\n"), (502, "upstream_malformed", "http_protocol_error", false)),
        (Act::Say(too_large), (502, "upstream_too_large", "http_response_header_section_size", false)),
        (Act::Hang, (504, "upstream_timeout", "http_response_timeout", false)),
    ];
    for (act, owed) in rows {
        paused(async move {
            let upstream = Upstream::new(move |_| act.clone());
            let rig = alone(&upstream, ONCE, "timeouts: { attempt: 1s, total: 3s }");
            is_owed(&ask(&rig, GET).await, owed);
        });
    }
}

#[test]
fn time_and_places_that_run_out() {
    paused(async {
        let hangs = Upstream::new(|_| Act::Hang);
        let rig = alone(&hangs, ONCE, "timeouts: { attempt: 3s, total: 1s }");
        is_owed(&ask(&rig, GET).await, (504, "deadline_exceeded", "http_response_timeout", false));

        let slow = Upstream::new(|_| Act::Later(100, OK));
        let rig = alone(&slow, ONCE, "");
        for _ in 0..30 {
            ask(&rig, GET).await;
        }
        let hurried = GET.replace("Host: a\r\n", "Host: a\r\nX-Request-Timeout-Ms: 10\r\n");
        ask(&rig, &hurried).await;
        is_owed(&ask(&rig, &hurried).await, (504, "deadline_too_short", "", false));

        let fails = Upstream::new(|_| Act::Say("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"));
        let rig = alone(&fails, ", retries: off, eject: off", "");
        for _ in 0..20 {
            ask(&rig, GET).await;
        }
        is_owed(&ask(&rig, GET).await, (503, "circuit_open", "destination_unavailable", true));
    });
    for (queue, owed) in
        [(0, (503, "queue_full", "", true)), (4, (503, "queue_timeout", "", true))] as [(u32, Owed); 2]
    {
        paused(async move {
            let slow = Upstream::new(|_| Act::Later(5_000, OK));
            let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: {queue}, queue_wait: 100ms }}");
            let rig = alone(&slow, &keys, "timeouts: { attempt: 9s }");
            let mut first = rig.connect();
            first.send(GET).await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            is_owed(&ask(&rig, GET).await, owed);
            assert!(first.read_until("ok").await.starts_with("HTTP/1.1 200 "));
            assert_eq!(slow.requests(), 1);
        });
    }
}
