//! The clock is stepped by an hour, or the machine is suspended for ten minutes: nobody is locked out by that, and nothing
//! comes in a burst afterwards. Durations are measured by a clock that never goes back; the date has a part in nothing but a
//! `Retry-After` that is one.

use std::rc::Rc;
use std::time::Duration;

use mainstay::Output;
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_testkit::rig::Rig;
use tokio::time::{Instant, advance, sleep};

use super::{Act, BUSY, GET, OK, Upstream, ask, config, status};
use crate::paused::paused;

const NOW: UnixMs = UnixMs(1_780_000_000_000);
/// Two seconds later.
const SOON: &str =
    "HTTP/1.1 503 X\r\nretry-after: Thu, 28 May 2026 20:26:42 GMT\r\ncontent-length: 0\r\n\r\n";
const HOUR_MS: i64 = 3_600_000;
const SUSPENDED: Duration = Duration::from_secs(600);

/// What happens to the time.
#[derive(Clone, Copy, Debug)]
enum Jump {
    /// The date alone: a step, or a suspension for whose time the other clock stood still.
    Date(i64),
    /// Both clocks go on, and nothing ran meanwhile.
    Suspended,
}

const JUMPS: [Jump; 4] = [Jump::Date(HOUR_MS), Jump::Date(-HOUR_MS), Jump::Date(600_000), Jump::Suspended];

async fn jump(clock: &Clock, how: Jump) {
    match how {
        Jump::Date(by_ms) => assert!(clock.set(UnixMs(clock.now().0 + by_ms))),
        Jump::Suspended => {
            assert!(clock.set(UnixMs(clock.now().0 + SUSPENDED.as_millis() as i64)));
            advance(SUSPENDED).await;
            // A worker looks at its clock before anything else when it wakes; here that is one task among others.
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// An engine by that clock, with these endpoints.
fn rig(clock: &Clock, upstreams: &[Upstream], keys: &str, operation: &str) -> Rc<Rig> {
    let names: Vec<_> = (1..=upstreams.len()).map(|n| format!("127.0.0.{n}:1")).collect();
    let text = config(&names.iter().map(String::as_str).collect::<Vec<_>>(), keys, operation);
    let dial = |display: &str| {
        let number = display.split(['.', ':']).nth(3).and_then(|n| n.parse::<usize>().ok());
        upstreams[number.unwrap() - 1].dial()
    };
    Rc::new(Rig::start_each(&text, clock.clone(), Output::None, &dial))
}

/// So many requests at the same moment: how many are answered well.
async fn at_once(rig: &Rc<Rig>, requests: usize) -> usize {
    let asked: Vec<_> = (0..requests)
        .map(|_| {
            let rig = Rc::clone(rig);
            tokio::task::spawn_local(async move { status(&ask(&rig, GET).await) })
        })
        .collect();
    let mut served = 0;
    for one in asked {
        served += usize::from(one.await.unwrap() == 200);
    }
    served
}

fn nothing_left(rig: &Rig) {
    let none = [
        "http_server_active_requests",
        "mainstay_upstream_in_flight",
        "mainstay_settling",
        "mainstay_upstream_queue_depth{priority=\"normal\"",
    ];
    for series in none {
        assert!(rig.metric(series).is_none_or(|value| value == 0.0), "{series}: {:?}", rig.metric(series));
    }
}

#[test]
fn an_open_breaker_is_tried_again_when_it_said() {
    for how in JUMPS {
        paused(async move {
            let clock = Clock::manual(NOW);
            let upstream = Upstream::new(|n| Act::Say(if n < 20 { BUSY } else { OK }));
            let rig = rig(&clock, std::slice::from_ref(&upstream), ", retries: off, eject: off", "");
            for _ in 0..20 {
                ask(&rig, GET).await;
            }
            assert!(ask(&rig, GET).await.contains("\"circuit_open\""));
            jump(&clock, how).await;
            if matches!(how, Jump::Date(_)) {
                let answer = ask(&rig, GET).await;
                let after = answer.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                assert!(after.is_some_and(|s| matches!(s, "5" | "6")), "{how:?}: {answer}");
                sleep(Duration::from_secs(6)).await;
            }
            // Half open, with as many probes as ever; then closed.
            upstream.set_delay(50);
            assert_eq!(at_once(&rig, 100).await, 3, "{how:?}");
            assert_eq!(at_once(&rig, 100).await, 100, "{how:?}");
            nothing_left(&rig);
        });
    }
}

#[test]
fn an_ejected_endpoint_returns_when_its_time_is_over() {
    for how in JUMPS {
        paused(async move {
            let clock = Clock::manual(NOW);
            let bad = Upstream::new(|n| Act::Say(if n < 5 { BUSY } else { OK }));
            let fine = Upstream::new(|_| Act::Say(OK));
            let keys =
                ", balance: round_robin, retries: off, breaker: off, slow_start: 0s, eject: { time: 10s }";
            let rig = rig(&clock, &[bad.clone(), fine], keys, "");
            for _ in 0..20 {
                ask(&rig, GET).await;
            }
            assert_eq!(bad.requests(), 5, "it is out");
            jump(&clock, how).await;
            if matches!(how, Jump::Date(_)) {
                for _ in 0..20 {
                    assert_eq!(status(&ask(&rig, GET).await), 200);
                }
                assert_eq!(bad.requests(), 5, "{how:?}: it is still out");
                sleep(Duration::from_secs(12)).await;
            }
            for _ in 0..20 {
                assert_eq!(status(&ask(&rig, GET).await), 200);
            }
            assert_eq!(bad.requests(), 15, "{how:?}: it has its turns");
            nothing_left(&rig);
        });
    }
}

/// A date is compared with ours: behind it, the wait looks long and there is none; before it, there is no wait but the usual one.
/// Either way the number of attempts is what it ever is, and the next request is served.
#[test]
fn a_retry_after_that_is_a_date_locks_nobody_out() {
    for (step_ms, attempts, waits_ms) in [(0, 2, 2_000..2_100), (-HOUR_MS, 1, 0..10), (HOUR_MS, 2, 0..200)] {
        paused(async move {
            let clock = Clock::manual(UnixMs(NOW.0 + step_ms));
            let upstream = Upstream::new(|n| Act::Say(if n == 0 { SOON } else { OK }));
            let rig = rig(&clock, std::slice::from_ref(&upstream), "", "");
            let began = Instant::now();
            let answer = ask(&rig, GET).await;
            assert_eq!(status(&answer), if attempts == 2 { 200 } else { 503 }, "{step_ms}: {answer}");
            assert_eq!(upstream.requests(), attempts, "{step_ms}");
            let took_ms = began.elapsed().as_millis();
            assert!(waits_ms.contains(&took_ms), "{step_ms}: {took_ms} ms");
            assert_eq!(status(&ask(&rig, GET).await), 200, "{step_ms}");
            nothing_left(&rig);
        });
    }
    // An upstream that says it for ever gets as many attempts as there may be, whatever the date.
    paused(async {
        let clock = Clock::manual(UnixMs(NOW.0 + HOUR_MS));
        let upstream = Upstream::new(|_| Act::Say(SOON));
        let keys = ", breaker: off, eject: off, retries: { budget: { floor: 1000/s } }";
        let rig = rig(&clock, std::slice::from_ref(&upstream), keys, "");
        sleep(Duration::from_secs(1)).await;
        ask(&rig, GET).await;
        assert_eq!(upstream.requests(), 3);
    });
}

/// What is not used is not saved up: after the pause there may be as much as in any second.
#[test]
fn no_burst_of_retries_or_of_attempts_follows() {
    for how in JUMPS {
        paused(async move {
            let clock = Clock::manual(NOW);
            let upstream = Upstream::new(|_| Act::Say(OK));
            let keys = ", retries: off, breaker: off, eject: off, rate_max: 10/s";
            let rig = rig(&clock, std::slice::from_ref(&upstream), keys, "");
            assert_eq!(at_once(&rig, 10).await, 3, "one, and two whose turn comes within 200 ms");
            sleep(Duration::from_secs(1)).await;
            jump(&clock, how).await;
            assert_eq!(at_once(&rig, 50).await, 3, "{how:?}");
            nothing_left(&rig);
        });
        paused(async move {
            let clock = Clock::manual(NOW);
            let fails = Upstream::new(|n| Act::Say(if n < 100 { OK } else { BUSY }));
            let rig = rig(&clock, std::slice::from_ref(&fails), ", breaker: off, eject: off", "");
            for _ in 0..100 {
                ask(&rig, GET).await;
            }
            jump(&clock, how).await;
            let level = rig.metric("mainstay_retry_budget").unwrap_or(0.0);
            assert!(level <= 21.0, "{how:?}: {level}");
            let before = fails.requests();
            at_once(&rig, 200).await;
            let sent = fails.requests() - before;
            // What is saved up, a fifth of these, and a second or two of the floor.
            let saved = if matches!(how, Jump::Suspended) { 0 } else { 20 };
            assert!(sent <= 200 + 40 + saved + 2, "{how:?}: {sent}");
            nothing_left(&rig);
        });
    }
}

/// Whoever waits while the machine is suspended is told so at once: each has an answer, and each place is free.
#[test]
fn what_ran_and_what_waited_ends() {
    paused(async {
        let clock = Clock::manual(NOW);
        let slow = Upstream::new(|n| if n < 2 { Act::Hang } else { Act::Say(OK) });
        let keys =
            ", retries: off, breaker: off, eject: off, concurrency: { limit: 2, queue: 8, queue_wait: 1s }";
        let rig = rig(&clock, std::slice::from_ref(&slow), keys, "timeouts: { attempt: 5s, total: 10s }");
        let asked: Vec<_> = (0..5)
            .map(|_| {
                let rig = Rc::clone(&rig);
                tokio::task::spawn_local(async move { ask(&rig, GET).await })
            })
            .collect();
        sleep(Duration::from_millis(10)).await;
        assert_eq!(slow.requests(), 2);
        jump(&clock, Jump::Suspended).await;
        let began = Instant::now();
        let mut statuses = Vec::new();
        for one in asked {
            statuses.push(status(&one.await.unwrap()));
        }
        statuses.sort_unstable();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503 | 504)), "{statuses:?}");
        assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
        assert_eq!(at_once(&rig, 2).await, 2);
        nothing_left(&rig);
    });
}
