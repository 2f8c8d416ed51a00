//! Connections to an endpoint: never more than the cap over all workers, handed on where they are needed, never used
//! when they could carry somebody else's answer.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use mainstay_core::clock::Clock;
use mainstay_core::port::Engine;

use crate::frames::{Ended, Frames, get};
use crate::setup::{
    ByHand, Client, Config, GUARD, OK, Setup, payments, read_head, serving, serving_h2, until,
};

const IN_USE: &str = r#"mainstay_pool_connections state="in_use""#;
const IDLE: &str = r#"mainstay_pool_connections state="idle""#;
const WAITING: &str = r#"mainstay_pool_connections state="waiting""#;

fn open_connections(setup: &Setup) -> u64 {
    setup.port().upstreams()[0].endpoints[0].connections
}

#[tokio::test]
async fn the_cap_holds_over_both_workers_and_everybody_has_a_turn() {
    const CAP: usize = 2;
    const CLIENTS: usize = 12;
    let mut upstream = ByHand::start();
    let config =
        Config { upstream: ", pool: { connections_max: 2, wait: 20s }, timeouts: off", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(setup.address()).await;
        client.send_get("/v1/x").await;
        clients.push(client);
    }
    let mut held = Vec::new();
    for left in (0..=CLIENTS - CAP).rev() {
        while held.len() < CAP {
            held.push(upstream.asked().await);
        }
        // Each held request has a connection to itself, so a third one would mean a connection over the cap.
        setup.until_metric(WAITING, left as f64).await;
        assert!(upstream.is_quiet(), "more than {CAP} connections");
        assert!(open_connections(&setup) <= CAP as u64);
        held.remove(0).ok();
    }
    held.into_iter().for_each(crate::setup::Asked::ok);
    for mut client in clients {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn who_waits_longer_than_the_pool_allows_is_told_to_come_again() {
    let mut upstream = ByHand::start();
    let config = Config { upstream: ", pool: { connections_max: 1, wait: 50ms }", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut busy = Client::connect(setup.address()).await;
    busy.send_get("/v1/x").await;
    let asked = upstream.asked().await;
    assert_eq!(setup.metric(IN_USE), 1.0);
    // On its own worker and on the other one.
    for _ in 0..2 {
        let mut late = Client::connect(setup.address()).await;
        let answer = late.get("/v1/x").await;
        for there in ["HTTP/1.1 503 ", "\"code\":\"pool_exhausted\"", "retry-after: 1\r\n"] {
            assert!(answer.contains(there), "{there}\n{answer}");
        }
        assert!(answer.contains("proxy-status: mainstay; error=connection_limit_reached"), "{answer}");
    }
    assert!(upstream.is_quiet());
    asked.ok();
    assert!(busy.answer().await.ends_with("ok"));
    setup.until_metric(IN_USE, 0.0).await;
    setup.until_metric(IDLE, 1.0).await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_waiter_gets_the_connection_that_becomes_free() {
    let mut upstream = ByHand::start();
    let config = Config { upstream: ", pool: { connections_max: 1, wait: 20s }", ..Config::default() };
    let text = config.text(upstream.address).replace("workers: 2", "workers: 1");
    let setup = Setup::start_text(&text, Clock::System).await;
    let [mut first, mut second] =
        [Client::connect(setup.address()).await, Client::connect(setup.address()).await];
    first.send_get("/v1/x").await;
    let asked = upstream.asked().await;
    second.send_get("/v1/x").await;
    setup.until_metric(WAITING, 1.0).await;
    asked.ok();
    let asked = upstream.asked().await;
    assert_eq!(asked.connection, 0, "the same connection");
    asked.ok();
    assert!(first.answer().await.ends_with("ok") && second.answer().await.ends_with("ok"));
    setup.until_metric(WAITING, 0.0).await;
    setup.engine.stop().await;
}

/// Without being asked, the other worker would keep its idle connection for `idle_timeout`, and this one would have
/// nothing but a place under the cap that does not become free.
#[tokio::test]
async fn an_idle_connection_of_another_worker_makes_room() {
    for protocol in ["", ", protocol: h2"] {
        let service = payments();
        let pool = ", pool: { connections_max: 1, wait: 10s }, timeouts: { total: off }";
        let config = Config { upstream: pool, ..Config::default() };
        let text = config.text(service.addr).replace(", pool", &format!("{protocol}, pool"));
        let setup = Setup::start_text(&text, Clock::System).await;
        // The second connection goes to the worker that has none.
        let mut clients = [Client::connect(setup.address()).await, Client::connect(setup.address()).await];
        for who in [0, 1, 0] {
            let client = &mut clients[who];
            let answer = client.get("/v1/bytes/1").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol} {answer}");
            assert_eq!(open_connections(&setup), 1, "{protocol}");
        }
        assert_eq!(service.stats().connections_accepted(), 3, "{protocol}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn a_connection_is_closed_when_it_is_idle_or_old_and_kept_otherwise() {
    let rows = [
        (", pool: { idle_timeout: 100ms }", true),
        (", pool: { lifetime_max: 1s }", true),
        (", pool: off", true),
        (", pool: { idle_max: 0 }", true),
        ("", false),
    ];
    for (upstream, closed) in rows {
        let mut service = ByHand::start();
        let setup = Setup::start(&Config { upstream, ..Config::default() }, service.address).await;
        let mut client = Client::connect(setup.address()).await;
        for request in 0..2 {
            client.send_get("/v1/x").await;
            let asked = service.asked().await;
            assert_eq!(asked.connection, if closed { request } else { 0 }, "{upstream}");
            asked.ok();
            assert!(client.answer().await.ends_with("ok"));
            if closed {
                assert_eq!(service.closed().await, request, "{upstream}");
                setup.until_metric(IDLE, 0.0).await;
                assert_eq!(open_connections(&setup), 0, "{upstream}");
            } else {
                setup.until_metric(IDLE, 1.0).await;
            }
        }
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    const POISON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    // Poison in one piece with the answer, and poison that comes while the connection is idle.
    for comes_later in [false, true] {
        let (delivered, wait_for_delivery) = sync_channel::<()>(1);
        let (poisoned, wait_for_poison) = sync_channel::<()>(1);
        let wait_for_delivery = std::sync::Mutex::new(wait_for_delivery);
        let upstream = serving(move |connection, mut stream| {
            while read_head(&mut stream).is_some() {
                if connection > 0 {
                    stream.write_all(OK).unwrap();
                } else if comes_later {
                    stream.write_all(OK).unwrap();
                    wait_for_delivery.lock().unwrap().recv().unwrap();
                    stream.write_all(POISON).unwrap();
                    poisoned.send(()).unwrap();
                } else {
                    stream.write_all(&[OK, POISON].concat()).unwrap();
                }
            }
        });
        let setup = Setup::start(&Config::default(), upstream).await;
        let mut client = Client::connect(setup.address()).await;
        assert!(client.get("/v1/x").await.ends_with("ok"));
        if comes_later {
            delivered.send(()).unwrap();
            crate::setup::blocking(move || wait_for_poison.recv().unwrap()).await;
        }
        for _ in 0..2 {
            let answer = client.get("/v1/x").await;
            assert!(answer.ends_with("\r\n\r\nok"), "{comes_later} {answer}");
        }
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn an_endpoint_may_be_a_name_and_one_that_does_not_resolve_is_told_apart() {
    // No resolver is asked for a label that is longer than labels can be.
    let unknown = format!("http://{}.invalid:1", "a".repeat(64));
    for (endpoint, status) in
        [(unknown.as_str(), "502"), ("http://localhost:PORT", "200"), ("dns:localhost:PORT", "200")]
    {
        let service = payments();
        let endpoint = endpoint.replace("PORT", &service.addr.port().to_string());
        let text =
            Config::default().text(service.addr).replace(&format!("http://{}", service.addr), &endpoint);
        let setup = Setup::start_text(&text, Clock::System).await;
        let answer = setup.get("/v1/echo").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{endpoint}\n{answer}");
        if status == "200" {
            let host = format!("localhost:{}", service.addr.port());
            assert!(answer.contains(&host), "{answer}");
            let addresses = setup.port().upstreams().remove(0).endpoints.remove(0).addresses;
            assert!(addresses.contains(&service.addr.to_string()), "{addresses:?}");
        } else {
            assert!(answer.contains("\"code\":\"upstream_dns\""), "{answer}");
            assert!(answer.contains("proxy-status: mainstay; error=dns_error"), "{answer}");
        }
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_makes_room_for_who_waits() {
    const STREAMS: u32 = 100;
    let (tell, mut arrived) = tokio::sync::mpsc::channel(1024);
    let release = Arc::new(tokio::sync::Semaphore::new(0));
    let released = Arc::clone(&release);
    let upstream = serving_h2(None, move |connection, _, mut body| {
        let (tell, released) = (tell.clone(), Arc::clone(&released));
        async move {
            tell.send(connection).await.unwrap();
            released.acquire().await.unwrap().forget();
            body.send_data("ok".into(), true).unwrap();
        }
    })
    .await;
    let pool = ", protocol: h2, pool: { connections_max: 1, wait: 15s }, timeouts: off";
    let text =
        Config { upstream: pool, ..Config::default() }.text(upstream).replace("workers: 2", "workers: 1");
    let setup = Setup::start_text(&text, Clock::System).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    for n in 0..STREAMS {
        client.send(&get(1 + 2 * n, "/v1/x")).await;
        assert_eq!(arrived.recv().await, Some(0));
    }
    let mut late = Frames::connect(setup.address(), &[]).await;
    late.send(&get(1, "/v1/x")).await;
    setup.until_metric(WAITING, 1.0).await;
    setup.until_metric(IN_USE, 1.0).await;
    release.add_permits(1);
    let arrived = tokio::time::timeout(GUARD, arrived.recv()).await.expect("who waits has a turn");
    assert_eq!(arrived, Some(0), "on the connection there is");
    release.add_permits(STREAMS as usize);
    assert_eq!(late.ended(1).await, Ended::Answered(true, "ok".into()));
    setup.until_metric(WAITING, 0.0).await;
    setup.until_metric(IN_USE, 0.0).await;
    setup.until_metric(IDLE, 1.0).await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_told_to_go_away_is_followed_by_another() {
    let (tell, mut served) = tokio::sync::mpsc::channel(64);
    let upstream = serving_h2(Some(2), move |connection, _, mut body| {
        let tell = tell.clone();
        async move {
            tell.send(connection).await.unwrap();
            body.send_data("ok".into(), true).unwrap();
        }
    })
    .await;
    let setup = Setup::start(&Config { upstream: ", protocol: h2", ..Config::default() }, upstream).await;
    let mut client = Client::connect(setup.address()).await;
    let mut connections = Vec::new();
    for request in 0..10 {
        let method = if request % 2 == 0 { "GET" } else { "POST" };
        client.send(&format!("{method} /v1/x HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.until("0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{request} {answer}");
        connections.push(served.recv().await.unwrap());
    }
    connections.dedup();
    assert!(connections.len() > 3, "{connections:?}");
    setup.engine.stop().await;
}

/// Guards against: idle connections to an endpoint that a reload took away were counted for ever, and kept open for as long as
/// a client's idle connection kept the snapshot it had last asked with.
#[tokio::test]
async fn a_reload_that_takes_an_endpoint_away_closes_its_connections_after_what_runs() {
    let (mut old, mut new) = (ByHand::start(), ByHand::start());
    let setup = Setup::start(&Config::default(), old.address).await;
    let mut busy = Client::connect(setup.address()).await;
    busy.send_get("/v1/x").await;
    let held = old.asked().await;
    let mut client = Client::connect(setup.address()).await;
    client.send_get("/v1/x").await;
    let asked = old.asked().await;
    let idle = asked.connection;
    asked.ok();
    client.answer().await;
    setup.until_metric(IDLE, 1.0).await;
    let before = Arc::downgrade(&setup.engine.handle.shared.snapshot.load_full());
    let text = std::fs::read_to_string(setup.config_path()).unwrap();
    let text = text.replace(&old.address.to_string(), &new.address.to_string());
    std::fs::write(setup.config_path(), text).unwrap();
    setup.engine.handle.reload_now().await.unwrap();
    assert_eq!(old.closed().await, idle);
    setup.until_metric(IDLE, 0.0).await;
    let mut later = Client::connect(setup.address()).await;
    later.send_get("/v1/x").await;
    new.asked().await.ok();
    assert!(later.answer().await.ends_with("ok"));
    setup.until_metric(IDLE, 1.0).await;
    let busy_one = held.connection;
    held.ok();
    assert!(busy.answer().await.ends_with("ok"));
    assert_eq!(old.closed().await, busy_one);
    assert_eq!(setup.metric(IDLE), 1.0);
    // The clients are still connected, and keep nothing of what was configured when they asked.
    until("the old snapshot is gone", || before.strong_count() == 0).await;
    drop(client);
    setup.engine.stop().await;
}

#[tokio::test]
async fn new_addresses_of_a_name_are_for_new_connections_and_a_failed_lookup_keeps_the_old_ones() {
    let (mut before, mut after) = (ByHand::start(), ByHand::start());
    let named = format!("http://localhost:{}", before.address.port());
    let text = Config { upstream: ", timeouts: off", ..Config::default() }
        .text(before.address)
        .replace(&format!("http://{}", before.address), &named)
        .replace("workers: 2", "workers: 1");
    let setup = Setup::start_text(&text, Clock::System).await;
    let mut client = Client::connect(setup.address()).await;
    let mut other = Client::connect(setup.address()).await;
    client.send_get("/v1/x").await;
    let first = before.asked().await;
    // What the resolver does when a name has moved; it looks again only after ten seconds.
    let endpoint = Arc::clone(&setup.engine.handle.shared.snapshot.load().upstreams[0].shared.endpoints[0]);
    endpoint.set_resolved(Ok(vec![after.address]));
    // A connection is needed for the second request while the first one waits: it goes where the name leads now.
    other.send_get("/v1/x").await;
    after.asked().await.ok();
    assert!(other.answer().await.starts_with("HTTP/1.1 200 "));
    // The connection to the old address was good, is good, and is used first: it became idle last.
    first.ok();
    assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    client.send_get("/v1/x").await;
    let second = before.asked().await;
    assert_eq!(second.connection, 0);
    // A lookup that fails takes nothing away.
    endpoint.set_resolved(Err("no answer in time".to_owned()));
    other.send_get("/v1/x").await;
    after.asked().await.ok();
    assert!(other.answer().await.starts_with("HTTP/1.1 200 "));
    let mut third = Client::connect(setup.address()).await;
    other.send_get("/v1/x").await;
    let held = after.asked().await;
    third.send_get("/v1/x").await;
    let asked = after.asked().await;
    assert_ne!(asked.connection, held.connection);
    for asked in [second, held, asked] {
        asked.ok();
    }
    for client in [&mut client, &mut other, &mut third] {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    setup.engine.stop().await;
}
