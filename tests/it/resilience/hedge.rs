//! A second attempt beside a slow first one.

use mainstay_testkit::upstream as testkit;
use tokio::time::{Duration, Instant};

use super::sockets::{Faulty, ONCE, World, text};
use super::{Act, GET, OK, POST, Upstream, ask, rig, status};
use crate::paused::paused;

#[test]
fn only_safe_requests_are_hedged_and_only_so_many() {
    paused(async {
        let upstreams = [Upstream::new(|_| Act::Later(1000, OK)), Upstream::new(|_| Act::Later(1000, OK))];
        let rig = rig(&upstreams, ", hedge: { after: 100ms, max_ratio: 0.1 }, breaker: off", "");
        let sent = || upstreams.iter().map(Upstream::requests).sum::<usize>();
        for _ in 0..50 {
            assert_eq!(status(&ask(&rig, POST).await), 200);
        }
        assert_eq!(sent(), 50);
        for _ in 0..50 {
            assert_eq!(status(&ask(&rig, GET).await), 200);
        }
        assert!((101..=106).contains(&sent()), "{}", sent());
    });
}

#[test]
fn the_first_answer_counts_and_the_other_attempt_is_let_go_of() {
    paused(async {
        let upstreams = [
            Upstream::new(|n| if n == 0 { Act::Say(OK) } else { Act::Hang }),
            Upstream::new(|n| if n == 0 { Act::Say(OK) } else { Act::Later(20, OK) }),
        ];
        let keys = ", balance: round_robin, hedge: { after: 100ms, max_ratio: 1.0 }, retries: { budget: { floor: 100/s } }";
        let rig = rig(&upstreams, keys, "timeouts: { attempt: 5s }");
        for _ in 0..2 {
            assert_eq!(status(&ask(&rig, GET).await), 200);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..6 {
            let began = Instant::now();
            let answer = ask(&rig, GET).await;
            assert_eq!(status(&answer), 200, "{answer}");
            assert!(began.elapsed() <= Duration::from_millis(125), "{:?}", began.elapsed());
        }
        assert_eq!(rig.metric("mainstay_upstream_in_flight{endpoint=\"127.0.0.1:1\""), Some(0.0));
        assert!(rig.metric("mainstay_hedges_total{result=\"won\"").unwrap() >= 3.0);
    });
}

/// The second attempt may have to wait for its turn; the first one's answer does not wait with it.
#[test]
fn an_answer_does_not_wait_for_the_leave_of_a_second_attempt() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Later(150, OK));
        let keys = ", rate_max: 5/s, hedge: { after: 100ms, max_ratio: 1.0 }, breaker: off";
        let rig = super::alone(&upstream, keys, "");
        let began = Instant::now();
        assert_eq!(status(&ask(&rig, GET).await), 200);
        assert!(began.elapsed() <= Duration::from_millis(155), "{:?}", began.elapsed());
        assert_eq!(upstream.requests(), 1);
    });
}

/// An attempt that is let go of took at least as long as it did: an endpoint that always loses is chosen less.
#[test]
fn an_endpoint_that_always_loses_is_found_out() {
    paused(async {
        let upstreams = [Upstream::new(|_| Act::Hang), Upstream::new(|_| Act::Later(10, OK))];
        let keys = ", hedge: { after: 100ms, max_ratio: 1.0 }, retries: { budget: { floor: 100/s } }, \
                    breaker: off, eject: off";
        let rig = rig(&upstreams, keys, "");
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(status(&ask(&rig, GET).await), 200);
        }
        let lost = upstreams[0].requests();
        assert!((1..=6).contains(&lost), "{lost} of 60");
    });
}

/// A handshake that does not come about is as slow as an answer that does not: the second attempt does not wait for the end of
/// the first one's time to connect.
#[tokio::test]
async fn a_connection_that_does_not_come_about_is_hedged() {
    let (lost, fine) = (Faulty::start(ONCE).await, testkit::Upstream::http1(|_| testkit::Reply::ok("ok")));
    lost.network.fill_backlog();
    let keys = format!(
        "{ONCE}, balance: round_robin, timeouts: {{ connect: 60s, attempt: 60s, total: 60s }}, \
                 hedge: {{ after: 50ms, max_ratio: 1.0 }}"
    );
    let world = World::start(&text(&[lost.network.address, fine.address], &keys)).await;
    for _ in 0..4 {
        let answer = world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(fine.log().requests.len(), 4);
    // Whoever lost once to the hedge may be asked again; it never wins.
    assert!(world.setup.metric("mainstay_hedges_total result=\"won\"") >= 1.0);
    world.nothing_left(&[]).await;
    world.stop().await;
    lost.recovers().await;
}

/// Where nobody may be asked a second time, the first attempt goes on, and ends with its own time.
#[test]
fn an_attempt_ends_although_its_alarm_rang() {
    paused(async {
        let upstream = Upstream::new(|_| Act::Hang);
        let keys = ", hedge: { after: 100ms, max_ratio: 0.0001 }, breaker: off, retries: off";
        let rig = super::alone(&upstream, keys, "timeouts: { attempt: 2s, total: 60s }");
        let began = Instant::now();
        assert_eq!(status(&ask(&rig, GET).await), 504);
        assert!((1_995..2_100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!(upstream.requests(), 1);
    });
}
