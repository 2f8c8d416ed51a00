//! A second attempt beside a slow first one.

use tokio::time::{Duration, Instant};

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
