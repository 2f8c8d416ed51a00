//! One of three replicas is bad, over real sockets: no client notices, in whichever way it is bad.

use std::time::Duration;

use futures_util::future::join_all;
use mainstay_testkit::fault::{Arrival, Cut, FaultProxy, Faults, Way};
use mainstay_testkit::upstream::{Reply, Upstream};

use super::sockets::{RETRIES, World, get, post, text};

/// How the replica is bad.
type Breaks = fn(&FaultProxy);

/// Three replicas, each behind a network of its own; the first one's misbehaves.
struct Three {
    replicas: Vec<Upstream>,
    networks: Vec<FaultProxy>,
    world: World,
}

impl Three {
    async fn start(keys: &str) -> Self {
        let replicas: Vec<_> = (0..3).map(|_| Upstream::http1(|_| Reply::ok("ok"))).collect();
        let networks: Vec<_> = replicas.iter().map(|replica| FaultProxy::start(replica.address)).collect();
        let endpoints: Vec<_> = networks.iter().map(|network| network.address).collect();
        let world = World::start(&text(&endpoints, &format!("{RETRIES}, balance: round_robin{keys}"))).await;
        Self { replicas, networks, world }
    }

    async fn is_served(&self, request: &str, what: &str) {
        let answer = self.world.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{what}: {answer}");
    }

    fn asked(&self, replica: usize) -> usize {
        self.replicas[replica].log().requests.len()
    }

    async fn end(self) {
        self.networks[0].clear();
        self.networks[0].listen();
        let networks: Vec<_> = self.networks.iter().map(|network| &**network).collect();
        self.world.nothing_left(&networks).await;
        self.world.stop().await;
    }
}

/// A safe request is tried again elsewhere; the replica is ejected after a few.
#[tokio::test]
async fn safe_requests_are_all_served() {
    let rows: [(&str, Breaks, &str); 8] = [
        ("refuses", |n| n.refuse(), "/v1/x"),
        ("is a blackhole for handshakes", |n| n.fill_backlog(), "/v1/quick/x"),
        ("resets on arrival", |n| n.set(Faults { arrival: Arrival::Reset, ..Faults::default() }), "/v1/x"),
        ("resets in the head", |n| n.set(Faults::cut_answer(20, Cut::Reset)), "/v1/x"),
        ("talks garbage", |n| n.set(Faults::cut_answer(0, Cut::Garbage(b"what?\r\n\r\n".to_vec()))), "/v1/x"),
        ("takes requests and is silent", |n| n.set(Faults::blackhole()), "/v1/quick/x"),
        ("stops in the head", |n| n.set(Faults::cut_answer(5, Cut::Stall)), "/v1/quick/x"),
        ("gives a byte a second", |n| n.set(trickling()), "/v1/quick/x"),
    ];
    let each = rows.iter().map(|(name, breaks, path)| async move {
        let three = Three::start(", eject: { consecutive_failures: 2, time: 60s }").await;
        three.world.until_budget(20.0).await;
        breaks(&three.networks[0]);
        for _ in 0..30 {
            three.is_served(&get(path), name).await;
        }
        // Round robin would have asked it ten times.
        assert!(three.asked(0) <= 2, "{name}: {} requests came to it", three.asked(0));
        let ejected = three.world.setup.metric("mainstay_upstream_endpoints health=\"ejected\"");
        assert_eq!(ejected, 1.0, "{name}");
        three.end().await;
    });
    join_all(each).await;
}

fn trickling() -> Faults {
    Faults { to_client: Way { bytes_per_s: Some(1), ..Way::default() }, ..Faults::default() }
}

/// Of unsafe requests those that were not delivered are tried elsewhere; none happens twice.
#[tokio::test]
async fn unsafe_requests_happen_once() {
    let rows: [(&str, Breaks, bool); 4] = [
        ("refuses", |n| n.refuse(), true),
        ("is a blackhole for handshakes", |n| n.fill_backlog(), true),
        ("answers, and it is lost", |n| n.set(Faults::cut_answer(0, Cut::Reset)), false),
        ("breaks off in the request", |n| n.set(Faults::cut_request(30, Cut::Reset)), false),
    ];
    for (name, breaks, all_are_served) in rows {
        let three = Three::start(", eject: { consecutive_failures: 2, time: 60s }").await;
        three.world.until_budget(20.0).await;
        breaks(&three.networks[0]);
        let mut served = 0;
        for _ in 0..30 {
            let answer = three.world.ask(&post("/v1/quick/x")).await;
            served += usize::from(answer.starts_with("HTTP/1.1 200 "));
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.contains("\"upstream_reset\""), "{answer}");
        }
        assert_eq!(served, if all_are_served { 30 } else { 28 }, "{name}: two fail before it is ejected");
        // What came to nobody's ears was not asked of the others: each client's request is one request, or none.
        assert_eq!(three.asked(1) + three.asked(2), served, "{name}");
        three.end().await;
    }
}

/// Killed and started again, over and over: its idle connections break, too.
#[tokio::test]
async fn one_that_comes_and_goes_is_not_noticed() {
    let three = Three::start(", eject: off").await;
    for turn in 0..10 {
        three.world.until_budget(20.0).await;
        if turn % 2 == 0 {
            three.networks[0].kill();
        } else {
            three.networks[0].listen();
        }
        for _ in 0..12 {
            three.is_served(&get("/v1/x"), &turn.to_string()).await;
        }
    }
    assert!(three.asked(0) >= 5, "it is asked again when it is back: {}", three.asked(0));
    three.end().await;
}

/// Back after its ejection, and good again: it gets requests again.
#[tokio::test]
async fn it_comes_back() {
    let three =
        Three::start(", slow_start: 0s, eject: { consecutive_failures: 2, time: 100ms, time_max: 100ms }")
            .await;
    three.world.until_budget(20.0).await;
    three.networks[0].set(Faults::cut_answer(0, Cut::Reset));
    for _ in 0..9 {
        three.is_served(&get("/v1/x"), "while it is bad").await;
    }
    three.networks[0].clear();
    let before = three.asked(0);
    let began = tokio::time::Instant::now();
    while three.asked(0) < before + 10 {
        three.is_served(&get("/v1/x"), "when it is good").await;
        assert!(began.elapsed() < Duration::from_secs(20), "it was never asked again");
    }
    three.end().await;
}
