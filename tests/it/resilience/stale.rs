//! A pooled connection ends in the moment in which a request leaves over it, over real sockets: what changes nothing is sent
//! again, what may have happened is not, and a storm of that costs the upstream no more than failures of any other kind.

use mainstay_testkit::fault::{Cut, FaultProxy, Faults};
use mainstay_testkit::upstream::{Received, Reply, Upstream};

use super::causes::is_owed;
use super::sockets::{Faulty, RETRIES, World, post, text};
use crate::setup::until;

const RESET: (u16, &str, &str, bool) = (502, "upstream_reset", "connection_terminated", false);

/// An engine whose one connection is idle. The next request meets this on it.
async fn with_an_idle_connection(keys: &str, faults: Faults) -> Faulty {
    let upstream = Upstream::http1(|_| Reply::ok("ok"));
    let network = FaultProxy::start(upstream.address);
    // A worker keeps its idle connections to itself.
    let text = text(&[network.address], &format!("{keys}, eject: off")).replace("workers: 2", "workers: 1");
    let faulty = Faulty { upstream, network, world: World::start(&text).await };
    let answer = faulty.world.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until("it is idle", || faulty.world.setup.metric("mainstay_pool_connections state=\"idle\"") == 1.0)
        .await;
    faulty.network.set(faults);
    // The connection that takes its place.
    faulty.network.next(Faults::default());
    faulty
}

const WITHOUT_RETRIES: &str = ", retries: off, breaker: off";

/// Reset, closed, and closed in one direction, before the request has arrived and after.
fn ends() -> [Faults; 5] {
    [
        Faults::cut_request(0, Cut::Reset),
        Faults::cut_request(0, Cut::Close),
        Faults::cut_request(10, Cut::Reset),
        Faults::cut_answer(0, Cut::Reset),
        Faults::cut_answer(0, Cut::Close),
    ]
}

#[tokio::test]
async fn a_safe_request_is_sent_again_once() {
    for keys in [RETRIES, WITHOUT_RETRIES] {
        for faults in ends() {
            let faulty = with_an_idle_connection(keys, faults.clone()).await;
            let answer = faulty.world.get("/v1/x").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{keys} {faults:?}: {answer}");
            assert_eq!(faulty.world.setup.metric("mainstay_connections_replaced_total"), 1.0);
            assert_eq!(faulty.world.setup.metric("mainstay_retries_total"), 0.0);
            assert_eq!(faulty.network.counts().accepted, 2, "{faults:?}");
            faulty.recovers().await;
        }
    }
}

#[tokio::test]
async fn an_unsafe_request_is_not() {
    for keys in [RETRIES, WITHOUT_RETRIES] {
        for faults in ends() {
            let faulty = with_an_idle_connection(keys, faults.clone()).await;
            let arrives = usize::from(faults.to_upstream.cut.is_none());
            is_owed(&faulty.world.ask(&post("/v1/x")).await, RESET);
            let posts = |r: &&Received| r.method == "POST";
            let arrived = faulty.upstream.log().requests.iter().filter(posts).count();
            assert_eq!((arrived, faulty.network.counts().accepted), (arrives, 1), "{keys} {faults:?}");
            // The connection that would have taken its place comes with the next request.
            faulty.recovers().await;
        }
    }
}

/// Guards against: what was sent again over a new connection did not take from the budget. An upstream that breaks every
/// second request of a connection after it has read it would have read each request twice.
#[tokio::test]
async fn a_storm_of_dead_connections_stays_within_the_budget() {
    const REQUESTS: usize = 300;
    let strict = ", breaker: off, retries: { budget: { ratio: 0.2, floor: 0/s } }";
    for (keys, floor_per_s) in [(strict, 0.0), (WITHOUT_RETRIES, 1.0)] {
        let script = |r: &Received| if r.nth == 1 { Reply::ok("ok") } else { Reply::reset() };
        let faulty = Faulty::serving(&format!("{keys}, eject: off"), script).await;
        let began = tokio::time::Instant::now();
        for _ in 0..REQUESTS {
            let answer = faulty.world.get("/v1/x").await;
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.contains("upstream_reset"), "{answer}");
        }
        let floor = floor_per_s * (began.elapsed().as_secs_f64() + 1.0);
        let sent = faulty.upstream.log().requests.len() as f64;
        assert!(sent <= 1.2 * REQUESTS as f64 + floor, "{keys}: {sent}");
        assert!(sent >= 1.1 * REQUESTS as f64, "{keys}: {sent}: what the budget has is used");
        faulty.recovers().await;
    }
}
