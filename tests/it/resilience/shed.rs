//! Places at an upstream, and the queue for them.

use std::rc::Rc;

use mainstay_testkit::rig::Rig;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};

use super::{Act, GET, OK, Upstream, alone, ask, rig_of, status};
use crate::paused::paused;

const ONCE: &str = ", retries: off, breaker: off, eject: off";

fn asked(rig: &Rc<Rig>, request: &str) -> JoinHandle<u16> {
    let (rig, request) = (Rc::clone(rig), request.to_owned());
    tokio::task::spawn_local(async move { status(&ask(&rig, &request).await) })
}

async fn settled() {
    sleep(Duration::from_millis(1)).await;
}

/// Two classes of operations on one upstream with one place.
fn with_priorities(upstream: &Upstream, queue: u32) -> Rc<Rig> {
    let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: {queue}, queue_wait: 5s }}");
    let text = super::config(&["127.0.0.1:1"], &keys, "").replace(
        "\"* /{*rest}\": {  }",
        "\"GET /low\": { priority: low }, \"GET /critical\": { priority: critical }",
    );
    Rc::new(rig_of(&text, std::slice::from_ref(upstream)))
}

#[test]
fn critical_does_not_wait_behind_low() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(1000, OK));
        let rig = with_priorities(&upstream, 4);
        let get = |path: &str| GET.replace("/v1/x", path);
        let first = asked(&rig, &get("/v1/low"));
        settled().await;
        let low = asked(&rig, &get("/v1/low"));
        settled().await;
        let critical = asked(&rig, &get("/v1/critical"));
        settled().await;
        assert_eq!(first.await.unwrap(), 200);
        // The place went past the one who came first.
        settled().await;
        assert!(upstream.seen()[1].contains("/v1/critical"), "{:?}", upstream.seen());
        assert_eq!((critical.await.unwrap(), low.await.unwrap()), (200, 200));
    });
}

#[test]
fn a_caller_cannot_take_the_whole_queue() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(1000, OK));
        let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: 4, queue_wait: 10s }}");
        let rig = Rc::new(alone(&upstream, &keys, "timeouts: { attempt: 30s, total: 60s }"));
        let all: Vec<_> = (0..5).map(|_| asked(&rig, GET)).collect();
        let mut statuses = Vec::new();
        for one in all {
            statuses.push(one.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 200, 200, 503, 503], "one place, and half of the queue");
    });
}

/// Whoever leaves the queue leaves nothing behind, in whatever moment.
#[test]
fn clients_that_leave_the_queue_leave_no_place_behind() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(100, OK));
        let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: 8, queue_wait: 1s }}");
        let rig = Rc::new(alone(&upstream, &keys, ""));
        for leaves_after_ms in [50, 99, 100, 101, 150] {
            let first = asked(&rig, GET);
            settled().await;
            let mut client = rig.connect();
            client.send(GET).await;
            sleep(Duration::from_millis(leaves_after_ms - 1)).await;
            drop(client);
            assert_eq!(first.await.unwrap(), 200);
            sleep(Duration::from_secs(2)).await;
            assert_eq!(status(&ask(&rig, GET).await), 200, "{leaves_after_ms}");
            assert_eq!(rig.metric("mainstay_upstream_in_flight"), Some(0.0));
        }
    });
}

#[test]
fn rate_max_makes_attempts_wait_and_then_sheds_them() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Say(OK));
        let rig = Rc::new(alone(&upstream, &format!("{ONCE}, rate_max: 10/s"), ""));
        let all: Vec<_> = (0..10).map(|_| asked(&rig, GET)).collect();
        let mut served = 0;
        for one in all {
            served += usize::from(one.await.unwrap() == 200);
        }
        // One at once, and those whose turn comes within 200 ms.
        assert_eq!((served, upstream.requests()), (3, 3));
        assert_eq!(rig.metric("mainstay_shed_total{reason=\"rate_max\",upstream=\"up\"}"), Some(7.0));
    });
}

/// Waiting for a place is no fault of the service: neither the time for an attempt nor what is learnt of it begins before.
#[test]
fn time_in_the_queue_is_not_time_at_the_service() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(300, OK));
        let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: 8, queue_wait: 10s }}");
        let rig = Rc::new(alone(&upstream, &keys, "timeouts: { attempt: 400ms, total: 60s }"));
        let all: Vec<_> = (0..4).map(|_| asked(&rig, GET)).collect();
        for one in all {
            assert_eq!(one.await.unwrap(), 200);
        }
        let latency = rig.shared.snapshot.load().upstreams[0].shared.endpoints[0].state.ewma_us().unwrap();
        assert!((290_000..310_000).contains(&latency), "{latency}");
    });
}

/// Whose time is up in the very moment of a place is told so, and has no effect.
#[test]
fn who_gets_a_place_too_late_is_not_sent() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(500, OK));
        let keys = format!("{ONCE}, concurrency: {{ limit: 1, queue: 8, queue_wait: 10s }}");
        let rig = Rc::new(alone(&upstream, &keys, ""));
        let first = asked(&rig, GET);
        settled().await;
        let hurried = GET.replace("Host: a\r\n", "Host: a\r\nX-Request-Timeout-Ms: 499\r\n");
        let late: Vec<_> = (0..4).map(|_| asked(&rig, &hurried)).collect();
        assert_eq!(first.await.unwrap(), 200);
        for one in late {
            assert!(matches!(one.await.unwrap(), 503 | 504));
        }
        assert_eq!(upstream.requests(), 1);
    });
}

/// A connection that is refused says nothing about how much the service can do at once.
#[test]
fn failures_that_are_no_overload_do_not_shrink_the_limit() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Break(""));
        let keys = format!("{ONCE}, concurrency: {{ limit: adaptive, max: 100, queue: 8, queue_wait: 1s }}");
        let rig = alone(&upstream, &keys, "timeouts: { attempt: 100ms }");
        let limit = || rig.shared.snapshot.load().upstreams[0].policies.shed.as_ref().unwrap().gate.limit();
        let first = limit();
        for _ in 0..50 {
            assert_eq!(status(&ask(&rig, GET).await), 502);
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(limit(), first);

        let upstream = Upstream::new(|_| Act::Hang);
        let rig = alone(&upstream, &keys, "timeouts: { attempt: 100ms }");
        let limit = || rig.shared.snapshot.load().upstreams[0].policies.shed.as_ref().unwrap().gate.limit();
        for _ in 0..20 {
            assert_eq!(status(&ask(&rig, GET).await), 504);
        }
        assert!(limit() < first, "{}", limit());
    });
}
