//! The circuit breaker over real sockets and two workers.

use std::time::Duration;

use futures_util::future::join_all;
use mainstay_testkit::upstream::{Gate, Received, Reply};

use tokio::time::Instant;

use super::sockets::{Faulty, get};
use crate::setup::{GUARD, until};

const STATE: &str = "mainstay_breaker_state";
const REFUSED: &str = "mainstay_problems_total code=\"circuit_open\"";

fn keys(more: &str) -> String {
    format!(
        ", retries: off, eject: off, timeouts: off, \
         breaker: {{ open: 300ms, open_max: 10s, slow_call: off, requests_min: 20, probes: 3{more} }}"
    )
}

fn fails(_: &Received) -> Reply {
    Reply::status(500)
}

/// So many requests at once over HTTP/2, fifty to a connection: their statuses.
async fn at_once(faulty: &Faulty, requests: usize) -> tokio::task::JoinHandle<Vec<u16>> {
    let address = faulty.world.setup.address();
    let mut answers = Vec::new();
    for _ in 0..requests / 50 {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        for _ in 0..50 {
            let request = http::Request::get("http://a/v1/x").body(()).unwrap();
            answers.push(client.send_request(request, true).unwrap().0);
        }
    }
    tokio::spawn(async move {
        let answers = tokio::time::timeout(GUARD, join_all(answers)).await.expect("they are all answered");
        answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect()
    })
}

/// Half-open once, with exactly the probes, among a thousand requests that are there at the same time; and again after a probe
/// has failed.
#[tokio::test]
async fn of_a_thousand_requests_the_probes_pass() {
    let faulty = Faulty::serving(&keys(""), fails).await;
    for _ in 0..20 {
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 500 "));
    }
    let mut sent = 20;
    for (status, refused) in [(500, 997.0), (200, 2.0 * 997.0)] {
        let gate = Gate::new();
        let held = gate.clone();
        faulty.upstream.script(move |_| Reply::status(status).after(&held));
        faulty.world.setup.until_metric(STATE, 1.0).await;
        let before = faulty.world.setup.metric(REFUSED);
        let answers = at_once(&faulty, 1_000).await;
        until("all but the probes are refused", || faulty.world.setup.metric(REFUSED) - before >= 997.0)
            .await;
        sent += 3;
        faulty.upstream.requests(sent).await;
        gate.open();
        let answers = answers.await.unwrap();
        assert_eq!(answers.iter().filter(|answer| **answer == status).count(), 3, "{status}");
        assert_eq!(answers.iter().filter(|answer| **answer == 503).count(), 997, "{status}");
        assert_eq!(faulty.upstream.log().requests.len(), sent, "{status}");
        assert_eq!(faulty.world.setup.metric(REFUSED), refused);
    }
    faulty.world.setup.until_metric(STATE, 0.0).await;
    faulty.recovers().await;
}

/// Opens at the threshold and not before, sends nothing while it is open, stays open for longer after a bad probe, and closes
/// after good ones.
#[tokio::test]
async fn it_opens_and_closes() {
    let faulty = Faulty::serving(&keys("").replace("open: 300ms", "open: 1s"), fails).await;
    let state = || faulty.world.setup.metric(STATE);
    for n in 1..=20 {
        assert_eq!(state(), 0.0, "after {} failures", n - 1);
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 500 "));
    }
    assert_eq!(faulty.upstream.log().requests.len(), 20);
    let opened = faulty.world.setup.event("circuit_opened").await;
    assert_eq!((opened["upstream"].as_str(), opened["failure_ratio"].as_f64()), (Some("up"), Some(1.0)));
    // A probe that fails: twice as long.
    faulty.world.setup.until_metric(STATE, 1.0).await;
    let began = Instant::now();
    assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 500 "));
    let answer = faulty.world.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"circuit_open\""), "{answer}");
    let after = answer.split("\r\nretry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    assert!(matches!(after, Some("1" | "2" | "3")), "{answer}");
    assert_eq!(faulty.upstream.log().requests.len(), 21);
    faulty.upstream.script(|_| Reply::ok("ok"));
    faulty.world.setup.until_metric(STATE, 1.0).await;
    // Twice a second, a tenth less by chance.
    assert!(began.elapsed() >= Duration::from_millis(1_800), "{:?}", began.elapsed());
    for _ in 0..3 {
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(state(), 0.0);
    faulty.world.setup.event("circuit_closed").await;
    faulty.recovers().await;
}

#[tokio::test]
async fn clients_mistakes_and_other_operations_do_not_open_it() {
    let faulty = Faulty::serving(&keys(", scope: operation"), |_| Reply::status(404)).await;
    for _ in 0..40 {
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 404 "));
    }
    faulty.upstream.script(|r| Reply::status(if r.path.contains("/quick/") { 500 } else { 200 }));
    for _ in 0..20 {
        assert!(faulty.world.ask(&get("/v1/quick/x")).await.starts_with("HTTP/1.1 500 "));
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    assert!(faulty.world.setup.metric(STATE) >= 1.0, "the worst of them");
    for _ in 0..20 {
        assert!(faulty.world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(faulty.upstream.log().requests.len(), 40 + 40 + 20);
    faulty.recovers().await;
}
