//! The circuit breaker as clients and the upstream see it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_core::clock::Clock;
use tokio::time::sleep;

use super::{Act, GET, OK, Upstream, alone, ask, status};
use crate::paused::paused;
use crate::setup::{Config, Setup, any_port, exchange};

const FAILED: &str = "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n";
const ALONE: &str = ", retries: off, eject: off";

/// Fails while the switch is on.
fn switched() -> (Upstream, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&fails);
    let upstream = Upstream::new(move |_| Act::Say(if fails.load(Ordering::SeqCst) { FAILED } else { OK }));
    (upstream, switch)
}

#[test]
fn it_opens_at_the_threshold_says_when_it_is_tried_again_and_closes_after_good_probes() {
    paused(async {
        let (upstream, fails) = switched();
        let rig = alone(&upstream, ALONE, "");
        for _ in 0..20 {
            assert_eq!(status(&ask(&rig, GET).await), 500);
        }
        let answer = ask(&rig, GET).await;
        assert!(status(&answer) == 503 && answer.contains("\"circuit_open\""), "{answer}");
        let seconds = answer.split("retry-after: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let seconds: u64 = seconds.parse().unwrap();
        assert!((4..=6).contains(&seconds), "5 s, a tenth more or less: {answer}");
        assert_eq!(upstream.requests(), 20, "nothing was sent");

        // It was true: a second before it is refused, then it is served.
        fails.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(seconds - 2)).await;
        assert_eq!(status(&ask(&rig, GET).await), 503);
        sleep(Duration::from_secs(2)).await;
        for n in 21..40 {
            assert_eq!((status(&ask(&rig, GET).await), upstream.requests()), (200, n));
        }
    });
}

#[test]
fn a_clients_own_mistakes_never_open_it_and_neither_do_few_calls() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Say("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"));
        let rig = alone(&upstream, ALONE, "");
        for n in 1..=60 {
            assert_eq!((status(&ask(&rig, GET).await), upstream.requests()), (404, n));
        }
        let (upstream, _fails) = switched();
        let rig = alone(&upstream, ALONE, "");
        for n in 1..=60 {
            assert_eq!((status(&ask(&rig, GET).await), upstream.requests()), (500, n));
            sleep(Duration::from_secs(1)).await;
        }
    });
}

/// A client that waits a millisecond learns nothing about the service, and cannot close it for others.
#[test]
fn impatient_clients_do_not_open_it() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(50, OK));
        let rig = alone(&upstream, ALONE, "");
        let impatient = GET.replace("Host: a\r\n", "Host: a\r\nX-Request-Timeout-Ms: 1\r\n");
        for _ in 0..60 {
            assert_eq!(status(&ask(&rig, &impatient).await), 504);
        }
        assert_eq!(status(&ask(&rig, GET).await), 200);
    });
}

#[test]
fn half_open_lets_exactly_the_probes_through_however_many_wait() {
    paused(async {
        let (upstream, fails) = switched();
        let held = upstream.clone();
        let rig = std::rc::Rc::new(alone(&upstream, ALONE, "timeouts: { attempt: off, total: off }"));
        for _ in 0..20 {
            ask(&rig, GET).await;
        }
        sleep(Duration::from_secs(6)).await;
        fails.store(false, Ordering::SeqCst);
        held.set_delay(1000);
        let waiting: Vec<_> = (0..1000)
            .map(|_| {
                let rig = std::rc::Rc::clone(&rig);
                tokio::task::spawn_local(async move { status(&ask(&rig, GET).await) })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(upstream.requests(), 23);
        let mut answered = [0, 0];
        for one in waiting {
            answered[usize::from(one.await.unwrap() == 200)] += 1;
        }
        assert_eq!(answered, [997, 3]);
        assert_eq!(status(&ask(&rig, GET).await), 200);
    });
}

#[test]
fn slow_calls_open_it_too() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(3000, OK));
        let rig = alone(&upstream, ALONE, "");
        let rig = std::rc::Rc::new(rig);
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let rig = std::rc::Rc::clone(&rig);
                tokio::task::spawn_local(async move { status(&ask(&rig, GET).await) })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 200);
        }
        assert!(ask(&rig, GET).await.contains("\"circuit_open\""));
    });
}

#[test]
fn an_operation_may_have_one_of_its_own() {
    paused(async {
        let upstream = Upstream::by_path(|path| if path.contains("/bad") { FAILED } else { OK });
        let keys = format!("{ALONE}, breaker: {{ scope: operation }}");
        let text = super::config(&["127.0.0.1:1"], &keys, "");
        let text = text.replace("\"* /{*rest}\": {  }", "\"GET /good\": {}, \"GET /bad\": {}");
        let rig = super::rig_of(&text, std::slice::from_ref(&upstream));
        let get = |path: &str| GET.replace("/v1/x", path);
        for _ in 0..20 {
            assert_eq!(status(&ask(&rig, &get("/v1/bad")).await), 500);
        }
        assert_eq!(status(&ask(&rig, &get("/v1/bad")).await), 503);
        assert_eq!(status(&ask(&rig, &get("/v1/good")).await), 200);
    });
}

#[test]
fn off_is_off() {
    paused(async {
        let (upstream, _fails) = switched();
        let rig = alone(&upstream, ", retries: off, eject: off, breaker: off", "");
        for n in 1..=50 {
            assert_eq!((status(&ask(&rig, GET).await), upstream.requests()), (500, n));
        }
    });
}

/// A connection that does not come about within the request's own time is the service's failure, too.
#[tokio::test]
async fn connections_that_never_stand_open_it() {
    // TLS is begun and never answered.
    let silent = TcpListener::bind(any_port()).unwrap();
    let config = Config {
        upstream: ", retries: off, eject: off, tls: off, protocol: http1",
        operation: "timeouts: { connect: 5s, total: 200ms }",
        ..Config::default()
    };
    let text =
        config.text(silent.local_addr().unwrap()).replace("http://", "https://").replace(", tls: off", "");
    let setup = Setup::start_text(&text, Clock::System).await;
    let asked: Vec<_> = (0..20).map(|_| exchange(setup.address(), GET_CLOSE.as_bytes().to_vec())).collect();
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.contains("\"deadline_exceeded\""), "{answer}");
    }
    assert_eq!(setup.metric("mainstay_breaker_state"), 2.0);
    assert!(setup.get("/v1/x").await.contains("\"circuit_open\""));
    setup.engine.stop().await;
}

const GET_CLOSE: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
