//! Further attempts over real sockets: what is not sent twice, and how much is sent at the most.

use std::time::Duration;

use mainstay_testkit::fault::{Cut, Faults};
use mainstay_testkit::upstream::{Gate, Received, Reply};

use tokio::time::Instant;

use super::sockets::{Faulty, RETRIES, get, post};
use crate::setup::Client;

/// An engine whose upstream says "not now" so many times, then works.
async fn busy(times: usize, keys: &str) -> Faulty {
    let script = move |r: &Received| if r.number < times { Reply::status(503) } else { Reply::ok("ok") };
    let faulty = Faulty::serving(&format!("{keys}, eject: off"), script).await;
    if keys.contains("floor: 1000/s") {
        faulty.world.until_budget(20.0).await;
    }
    faulty
}

/// Whatever becomes of the connection, once a byte has left.
#[tokio::test]
async fn an_unsafe_request_is_sent_once_after_a_byte_has_left() {
    let ends = || [Cut::Reset, Cut::Close, Cut::HalfClose];
    let requests = [0, 1, 40, 100_000].into_iter().flat_map(|at| ends().map(|cut| (at, cut)));
    let rows = requests
        .map(|(at, cut)| Faults::cut_request(at, cut))
        .chain(ends().map(|cut| Faults::cut_answer(0, cut)))
        .chain(ends().map(|cut| Faults::cut_answer(20, cut)));
    let body = "a".repeat(200_000);
    let large = format!(
        "POST /v1/quick/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let small = post("/v1/quick/x");
    for faults in rows {
        let faulty = busy(0, RETRIES).await;
        faulty.network.set(faults.clone());
        let is_large = matches!(faults.to_upstream.cut, Some((100_000, _)));
        let answer = faulty.world.ask(if is_large { &large } else { &small }).await;
        assert!(
            answer.starts_with("HTTP/1.1 502 ") || answer.starts_with("HTTP/1.1 504 "),
            "{faults:?}: {answer}"
        );
        assert_eq!(faulty.network.counts().accepted, 1, "{faults:?}");
        faulty.recovers().await;
    }
}

#[tokio::test]
async fn a_body_over_the_bound_is_sent_once() {
    for (bytes, attempts) in [(65_536, 2), (65_537, 1)] {
        let keys = RETRIES.replace("retries: {", "retries: { honours_idempotency_key: true,");
        let faulty = busy(1, &keys).await;
        let body = "a".repeat(bytes);
        let request = format!(
            "PUT /v1/x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{body}"
        );
        let answer = faulty.world.ask(&request).await;
        assert!(
            answer.starts_with(if attempts == 2 { "HTTP/1.1 200 " } else { "HTTP/1.1 503 " }),
            "{answer}"
        );
        let requests = faulty.upstream.log().requests;
        assert_eq!(requests.len(), attempts, "{bytes}");
        assert!(requests.iter().all(|r| r.body == body.as_bytes()), "{bytes}");
        faulty.recovers().await;
    }
}

/// At 100 % failure, of whatever kind, the upstream sees a fifth more than what clients sent.
#[tokio::test]
async fn the_budget_holds_when_everything_fails() {
    const REQUESTS: usize = 100;
    let keys = ", breaker: off, retries: { budget: { ratio: 0.2, floor: 0/s } }";
    type Fails = fn(&Received) -> Reply;
    let rows: [(&str, Fails); 3] = [
        ("busy", |_| Reply::status(503)),
        ("reset", |_| Reply::reset()),
        ("no answer", |_| Reply::raw("nonsense\r\n\r\n")),
    ];
    for protocol in ["http1", "h2"] {
        for (name, fails) in rows.iter().filter(|(name, _)| protocol == "http1" || *name != "no answer") {
            let faulty = started(protocol, keys, *fails).await;
            for _ in 0..REQUESTS {
                let answer = faulty.world.get("/v1/x").await;
                assert!(answer.starts_with("HTTP/1.1 50"), "{protocol} {name}: {answer}");
            }
            let sent = faulty.upstream.log().requests.len();
            assert!(sent <= REQUESTS * 12 / 10, "{protocol} {name}: {sent}");
            assert!(sent >= REQUESTS * 11 / 10, "{protocol} {name}: {sent}");
            faulty.recovers().await;
        }
    }
}

async fn started(protocol: &str, keys: &str, script: fn(&Received) -> Reply) -> Faulty {
    use mainstay_testkit::fault::FaultProxy;
    use mainstay_testkit::upstream::Upstream;
    let upstream = if protocol == "h2" { Upstream::http2(script) } else { Upstream::http1(script) };
    let network = FaultProxy::start(upstream.address);
    let keys = format!("{keys}, eject: off, protocol: {protocol}");
    let world = super::sockets::World::start(&super::sockets::text(&[network.address], &keys)).await;
    Faulty { upstream, network, world }
}

/// The client is told when its time is up, however many attempts there would be.
#[tokio::test]
async fn attempts_end_with_the_deadline() {
    let faulty = Faulty::serving(&format!("{RETRIES}, eject: off"), |_| Reply::hold()).await;
    faulty.world.until_budget(20.0).await;
    let hurried = get("/v1/quick/x").replace("Host: a\r\n", "Host: a\r\nX-Request-Timeout-Ms: 1000\r\n");
    let began = Instant::now();
    let answer = faulty.world.ask(&hurried).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(750), "{:?}", began.elapsed());
    let attempts = faulty.upstream.log().requests.len();
    assert!((1..=3).contains(&attempts), "{attempts}");
    faulty.recovers().await;
}

#[tokio::test]
async fn the_upstreams_own_time_is_waited_for() {
    let script = |r: &Received| match r.number {
        0 => Reply::status(503).header("retry-after", "1"),
        _ => Reply::ok("ok"),
    };
    let faulty = Faulty::serving(&format!("{RETRIES}, eject: off"), script).await;
    faulty.world.until_budget(1.0).await;
    let answer = faulty.world.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let requests = faulty.upstream.log().requests;
    let waited = requests[1].at - requests[0].at;
    assert!(requests.len() == 2 && waited >= Duration::from_millis(990), "{waited:?}");
    faulty.recovers().await;
}

#[tokio::test]
async fn nothing_is_sent_again_once_the_head_went_out() {
    let faulty = busy(0, RETRIES).await;
    let gate = Gate::new();
    faulty.upstream.script(move |_| Reply::ok("0123456789").pause_at(4, &gate));
    let mut client = Client::connect(faulty.world.setup.address()).await;
    client.send_get("/v1/x").await;
    client.until("\r\n\r\n0123").await;
    faulty.network.reset_all();
    assert_eq!(client.rest().await, "");
    assert_eq!(faulty.upstream.log().requests.len(), 1);
    faulty.recovers().await;
}
