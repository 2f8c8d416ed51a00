//! The same faults over streams in memory on paused time, where their times are exact: an hour of them takes a moment.

use std::time::Duration;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::fault::{Cut, Faults, Switch, Way, around};
use mainstay_testkit::rig::Rig;
use tokio::time::{Instant, sleep};

use super::{Act, GET, OK, POST, Upstream, ask, config, status};
use crate::paused::paused;

/// An engine with a network before its upstream.
fn behind(upstream: &Upstream, operation: &str) -> (Rig, Switch) {
    let (dial, network) = around(&upstream.dial());
    let text = config(&["127.0.0.1:1"], ", retries: off, breaker: off, eject: off", operation);
    (Rig::start(&text, Clock::System, Output::None, &dial), network)
}

fn answers(way: Way) -> Faults {
    Faults { to_client: way, ..Faults::default() }
}

fn trickle() -> Faults {
    answers(Way { bytes_per_s: Some(1), ..Way::default() })
}

/// An answer of 43 bytes: what the client is told, and after how many milliseconds.
#[test]
fn each_fault_ends_when_it_says() {
    const PATIENT: &str = "timeouts: { attempt: 90s, total: 200s, idle: 30s, settle: 5s }";
    const HURRIED: &str = "timeouts: { attempt: 20s, total: 200s, idle: 30s, settle: 5s }";
    const SHORT: &str = "timeouts: { attempt: 90s, total: 20s, idle: 30s, settle: 5s }";
    let minute = Faults::slow(Duration::from_secs(60));
    let length = OK.len() as u64;
    let rows = [
        ("a minute late", minute.clone(), PATIENT, 200, 60_000),
        ("a minute late", minute.clone(), HURRIED, 504, 20_000),
        ("a minute late", minute, SHORT, 504, 20_000),
        ("silence", Faults::blackhole(), PATIENT, 504, 90_000),
        ("silence in the head", Faults::cut_answer(20, Cut::Stall), HURRIED, 504, 20_000),
        ("a byte a second", trickle(), HURRIED, 504, 20_000),
        ("a byte a second", trickle(), PATIENT, 200, (length - 1) * 1000),
        ("silence in the body", Faults::cut_answer(length - 1, Cut::Stall), PATIENT, 200, 30_000),
        ("the end in the head", Faults::cut_answer(20, Cut::HalfClose), PATIENT, 502, 0),
    ];
    for (what, faults, operation, code, after_ms) in rows {
        for request in [GET, POST] {
            let faults = faults.clone();
            paused(async move {
                let upstream = Upstream::new(|_| Act::Say(OK));
                let (rig, network) = behind(&upstream, operation);
                network.set(faults);
                let began = Instant::now();
                let answer = ask(&rig, request).await;
                let took_ms = began.elapsed().as_millis() as u64;
                assert_eq!(status(&answer), code, "{what}: {answer}");
                assert!((after_ms..=after_ms + 1_100).contains(&took_ms), "{what}: {took_ms} ms");
                // What settles has its own time.
                sleep(Duration::from_secs(6)).await;
                for series in
                    ["http_server_active_requests", "mainstay_upstream_in_flight", "mainstay_settling"]
                {
                    assert_eq!(rig.metric(series), Some(0.0), "{what}: {series}");
                }
                assert!(upstream.requests() <= 1, "{what}: sent twice");
            });
        }
    }
}

/// An answer without a length ends with its connection; one that does not close is cut off after the silence that is allowed.
#[test]
fn a_close_that_is_slow_is_waited_for_as_any_silence() {
    const OPEN_END: &str = "HTTP/1.1 200 OK\r\n\r\nall there is";
    for (delay_s, is_whole, after_ms) in [(10, true, 10_000), (60, false, 30_000)] {
        paused(async move {
            let upstream = Upstream::new(|_| Act::Break(OPEN_END));
            let (rig, network) = behind(&upstream, "timeouts: { idle: 30s }");
            network.set(answers(Way { close_delay: Duration::from_secs(delay_s), ..Way::default() }));
            let began = Instant::now();
            let answer = ask(&rig, GET).await;
            let took_ms = began.elapsed().as_millis() as u64;
            assert!(status(&answer) == 200 && answer.contains("all there is"), "{answer}");
            assert_eq!(answer.ends_with("0\r\n\r\n"), is_whole, "{delay_s}: {answer}");
            assert!((after_ms..=after_ms + 200).contains(&took_ms), "{took_ms} ms");
            assert_eq!(rig.metric("mainstay_upstream_in_flight"), Some(0.0));
        });
    }
}
