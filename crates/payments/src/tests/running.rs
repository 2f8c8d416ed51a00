//! Starting, stopping, counting, and money under concurrency.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{ANY_PORT, Client, PAY_V1, PAY_V2, request, soon, start, start_over};
use crate::{Ledger, Service, traffic};

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let running = start();
    let error = Service::start(Ledger::new(), running.addr, "b").err().expect("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_stop_finishes_what_has_begun() {
    let running = start();
    let addr = running.addr;
    let stats = Arc::clone(running.stats());
    let mut idle = Client::h1(&running).await;
    assert_eq!(idle.get("/healthz").await.status, 200);
    let silent = TcpStream::connect(addr).await.expect("it listens");
    let [mut h1, mut h2] = Client::both(&running).await;
    let first = tokio::spawn(async move { h1.get("/slow/60").await.status.as_u16() });
    let second = tokio::spawn(async move { h2.get("/slow/60").await.status.as_u16() });
    soon(stats.until(|view| view.in_flight == 2 && view.connections_open == 4)).await;
    soon(running.stop()).await;
    assert_eq!((stats.in_flight(), stats.connections_open()), (0, 0));
    assert_eq!((first.await.expect("no panic"), second.await.expect("no panic")), (200, 200));
    let error = TcpStream::connect(addr).await.expect_err("nothing listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(silent);
}

#[tokio::test]
async fn dropping_ends_everything_at_once() {
    let running = start();
    let (addr, stats) = (running.addr, Arc::clone(running.stats()));
    let [mut h1, mut h2] = Client::both(&running).await;
    let first = tokio::spawn(async move { h1.try_get("/slow/600000").await.is_err() });
    let second = tokio::spawn(async move { h2.try_get("/slow/600000").await.is_err() });
    soon(stats.until(|view| view.in_flight == 2)).await;
    drop(running);
    assert!(soon(first).await.expect("no panic") && soon(second).await.expect("no panic"));
    soon(stats.until(|view| view.in_flight == 0 && view.connections_open == 0 && view.cut_short == 2)).await;
    TcpStream::connect(addr).await.expect_err("nothing listens");
}

#[tokio::test]
async fn all_connections_can_be_reset_at_once() {
    let running = start();
    let [mut h1, mut h2] = Client::both(&running).await;
    assert_eq!(
        (h1.get("/healthz").await.status, h2.get("/healthz").await.status.as_u16()),
        (http::StatusCode::OK, 200)
    );
    running.reset_connections();
    soon(running.stats().until(|view| view.connections_open == 0)).await;
    assert!(h1.try_get("/healthz").await.is_err() && h2.try_get("/healthz").await.is_err());
    assert_eq!(Client::h1(&running).await.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let running = start();
    let mut stream = TcpStream::connect(running.addr).await.expect("it listens");
    stream.write_all(b"GET /slow/600000 HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a new connection");
    soon(running.stats().until(|view| view.in_flight == 1)).await;
    drop(stream);
    soon(running.stats().until(|view| view.in_flight == 0 && view.cut_short == 1)).await;
}

#[tokio::test]
async fn what_is_counted() {
    let running = start();
    let [mut h1, mut h2] = Client::both(&running).await;
    for _ in 0..3 {
        h1.get("/v1/banks?x=y").await;
    }
    h2.post("/v2/payments", PAY_V2).await;
    h2.send(request("DELETE", "/nowhere", "")).await.expect("an answer");
    let stats = running.stats();
    soon(stats.until(|view| view.completed == 5)).await;
    let view = stats.view();
    assert_eq!(
        (stats.requests("GET /v1/banks"), stats.requests("DELETE /nowhere"), view.requests_total),
        (3, 1, 5)
    );
    assert_eq!((view.effects, view.connections_accepted, view.connections_open), (1, 2, 2));
    assert_eq!((view.in_flight, view.in_flight_max, view.cut_short), (0, 1, 0));
    stats.reset();
    let view = stats.view();
    assert_eq!(
        (view.requests_total, view.effects, view.connections_accepted, view.connections_open),
        (0, 0, 0, 2)
    );
}

/// Two instances on two threads, both versions and both protocols, over one ledger: not a cent is made or lost, and no
/// payment gives back more than it took.
#[test]
fn money_is_conserved_over_two_instances() {
    let ledger = Ledger::new();
    let before = ledger.totals_minor();
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let ledger = Arc::clone(&ledger);
            scope.spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(spend_at_one_instance(ledger, name));
            });
        }
    });
    assert_eq!(ledger.totals_minor(), before);
    for payment in ledger.payments(usize::MAX, None).0 {
        assert!((0..=payment.amount.minor).contains(&payment.refunded.minor), "{payment:?}");
    }
}

async fn spend_at_one_instance(ledger: Arc<Ledger>, name: &str) {
    let running = start_over(ledger, name);
    let mut tasks = JoinSet::new();
    for (seed, client) in Client::both(&running).await.into_iter().enumerate() {
        tasks.spawn(spend(client, seed as u64));
    }
    let changed: u64 = soon(tasks.join_all()).await.into_iter().sum();
    assert_eq!(running.stats().effects(), changed);
}

/// Returns how many of its calls changed something.
async fn spend(mut client: Client, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut changed = 0;
    for _ in 0..200 {
        // All clients fight over the same few payments.
        let id = format!("pay_{:06}", random.u32(1..=12));
        let reply = match random.u8(..5) {
            0 => client.post("/v1/payments", PAY_V1).await,
            1 => client.post("/v2/payments", PAY_V2).await,
            2 => client.post(&format!("/v1/payments/{id}/refunds"), r#"{"amount":400}"#).await,
            3 => client.post(&format!("/v2/payments/{id}/refunds"), "{}").await,
            _ => client.post(&format!("/v2/payments/{id}:cancel"), "").await,
        };
        assert!([200, 201, 404, 409].contains(&reply.status.as_u16()), "{:?}", reply.body);
        changed += u64::from(reply.status.is_success());
    }
    changed
}

#[tokio::test]
async fn traffic_is_a_mixture_that_can_be_stopped() {
    let running = start();
    let (stop, stopped) = watch::channel(false);
    let traffic = tokio::spawn(traffic::run(running.addr, 2_000, stopped));
    soon(running.stats().until(|view| view.completed >= 300 && view.effects >= 20)).await;
    stop.send_replace(true);
    let summary = soon(traffic).await.expect("no panic");
    assert_eq!((summary.failed, summary.answered()), (0, summary.sent));
    for status in [200, 201, 404] {
        assert!(summary.by_status.contains_key(&status), "{summary:?}");
    }
    assert!(summary.by_status.keys().all(|status| *status < 500), "{summary:?}");
    assert_eq!(running.stats().requests_total(), summary.sent);
    running.stop().await;

    // Nobody there: calls fail and are counted; nothing hangs, nothing panics.
    let free = std::net::TcpListener::bind(ANY_PORT).expect("a free port").local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    drop(stop);
    let summary = soon(traffic::run(free, 1_000, stopped)).await;
    assert_eq!(summary.answered(), 0);
}
