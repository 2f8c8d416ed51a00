//! Limits of the engine as a whole: what does not fit is told so, and fits again when there is room.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mainstay_core::port::Engine;

use crate::setup::{ByHand, Client, Config, Setup, blocking, payments, until};

/// An upstream that these tests never ask.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// A refusal that comes before anything was sent, and the end of the connection behind it.
async fn is_refused(mut client: Client) {
    let answer = client.rest().await;
    for there in ["HTTP/1.1 503 ", "retry-after: 1\r\n", "connection: close\r\n", "\"code\":\"overloaded\""] {
        assert!(answer.contains(there), "{there}\n{answer}");
    }
}

#[tokio::test]
async fn a_connection_over_the_cap_is_refused_before_it_asks_and_fits_again_later() {
    let config =
        Config { server: ", limits: { connections: 2 }, health_path: /healthz", ..Config::default() };
    let setup = Setup::start(&config, NOBODY).await;
    let mut kept = Client::connect(setup.address()).await;
    let mut leaves = Client::connect(setup.address()).await;
    for client in [&mut kept, &mut leaves] {
        assert!(client.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    }
    is_refused(Client::connect(setup.address()).await).await;
    assert_eq!(setup.metric(r#"mainstay_connections_refused_total cap="connections""#), 1.0);
    assert_eq!(setup.metric(r#"mainstay_problems_total code="overloaded""#), 1.0);
    drop(leaves);
    until("the place is free", || open_connections(&setup) == 1).await;
    let mut next = Client::connect(setup.address()).await;
    assert!(next.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(kept.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}

fn open_connections(setup: &Setup) -> usize {
    setup.engine.handle.shared.connections.load(std::sync::atomic::Ordering::Relaxed)
}

#[tokio::test]
async fn one_client_cannot_take_every_connection_but_a_trusted_proxy_may() {
    let limits = ", limits: { connections_per_client: 1 }, health_path: /healthz";
    let setup = Setup::start(&Config { server: limits, ..Config::default() }, NOBODY).await;
    let mut first = Client::connect(setup.address()).await;
    assert!(first.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    is_refused(Client::connect(setup.address()).await).await;
    assert_eq!(setup.metric(r#"mainstay_connections_refused_total cap="connections_per_client""#), 1.0);
    let mut other = Client::connect_from([127, 0, 0, 2], setup.address()).await;
    assert!(other.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    drop(first);
    until("the place is free", || open_connections(&setup) == 1).await;
    let mut next = Client::connect(setup.address()).await;
    assert!(next.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;

    let server =
        ", limits: { connections_per_client: 1 }, trusted_proxies: [127.0.0.1/32], health_path: /healthz";
    let setup = Setup::start(&Config { server, ..Config::default() }, NOBODY).await;
    let mut proxy = Vec::new();
    for _ in 0..3 {
        proxy.push(Client::connect(setup.address()).await);
        assert!(proxy.last_mut().unwrap().get("/healthz").await.starts_with("HTTP/1.1 200 "));
    }
    let mut stranger = Client::connect_from([127, 0, 0, 2], setup.address()).await;
    assert!(stranger.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    is_refused(Client::connect_from([127, 0, 0, 2], setup.address()).await).await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_request_over_requests_in_flight_is_told_to_wait_and_the_next_one_passes() {
    let mut upstream = ByHand::start();
    let config = Config { server: ", limits: { requests_in_flight: 2 }", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut running = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(setup.address()).await;
        client.send_get("/v1/x").await;
        running.push((client, upstream.asked().await));
    }
    let mut refused = Client::connect(setup.address()).await;
    for _ in 0..2 {
        let answer = refused.get("/v1/x").await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"code\":\"overloaded\""),
            "{answer}"
        );
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    assert!(upstream.is_quiet(), "a refused request went on");
    // A refusal is over a moment after its last byte.
    setup.until_metric("http_server_active_requests", 2.0).await;
    let (mut client, asked) = running.remove(0);
    asked.ok();
    assert!(client.answer().await.ends_with("ok"));
    setup.until_metric("http_server_active_requests", 1.0).await;
    refused.send_get("/v1/x").await;
    upstream.asked().await.ok();
    assert!(refused.answer().await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_old_connection_ends_after_what_runs() {
    let mut upstream = ByHand::start();
    let config = Config { server: ", limits: { connection_age: 1s }", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut busy = Client::connect(setup.address()).await;
    busy.send_get("/v1/x").await;
    let asked = upstream.asked().await;
    // Of four younger ones at least one is on the busy one's worker. Idle ones are closed when they are old: then
    // the busy one is, too.
    let mut younger = Vec::new();
    for _ in 0..4 {
        let mut idle = Client::connect(setup.address()).await;
        idle.send_get("/v1/x").await;
        upstream.asked().await.ok();
        let answer = idle.answer().await;
        assert!(answer.ends_with("ok"), "{answer}");
        younger.push(idle);
    }
    for mut idle in younger {
        assert_eq!(idle.rest().await, "");
    }
    asked.ok();
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_connection_without_requests_ends_after_the_idle_timeout() {
    let mut upstream = ByHand::start();
    let config = Config { server: ", limits: { idle_timeout: 100ms }", ..Config::default() };
    let setup = Setup::start(&config, upstream.address).await;
    let mut silent = Client::connect(setup.address()).await;
    assert_eq!(silent.rest().await, "");
    let mut asked = Client::connect(setup.address()).await;
    let mut running = Client::connect(setup.address()).await;
    running.send_get("/v1/x").await;
    let held = upstream.asked().await;
    asked.send_get("/v1/x").await;
    upstream.asked().await.ok();
    assert!(asked.answer().await.ends_with("ok"));
    assert_eq!(asked.rest().await, "");
    // One whose request runs is not idle, however long that takes.
    held.ok();
    assert!(running.answer().await.ends_with("ok"));
    setup.engine.stop().await;
}

const CHILD: &str = "MAINSTAY_TEST_IS_CHILD";

/// Runs in a process of its own, because it takes every descriptor of the process.
#[tokio::test]
async fn without_descriptors_a_client_is_told_and_the_engine_recovers() {
    if std::env::var_os(CHILD).is_some() {
        return run_out_of_descriptors().await;
    }
    let name = "limits::without_descriptors_a_client_is_told_and_the_engine_recovers";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture"]).env(CHILD, "1");
    let output = blocking(move || child.output().unwrap()).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let failure = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{failure}");
}

async fn run_out_of_descriptors() {
    let config = Config { server: ", health_path: /healthz", ..Config::default() };
    let setup = Setup::start(&config, NOBODY).await;
    // The client's own socket is there before descriptors run out; it connects afterwards.
    let [refused, again] = [(); 2].map(|()| tokio::net::TcpSocket::new_v4().unwrap());
    let mut taken = Vec::new();
    let nofile = rustix::process::Resource::Nofile;
    let limit = rustix::process::getrlimit(nofile);
    let few = rustix::process::Rlimit { current: Some(256), maximum: limit.maximum };
    rustix::process::setrlimit(nofile, few).unwrap();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    is_refused(Client(refused.connect(setup.address()).await.unwrap())).await;
    assert!(setup.metric(r#"mainstay_connections_refused_total cap="descriptors""#) >= 1.0);
    taken.clear();
    let mut client = Client(again.connect(setup.address()).await.unwrap());
    assert!(client.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(setup.port().readiness().ready);
    setup.engine.stop().await;
}

/// An engine of this build takes more than 16 MiB, so the limit is reached at once; a reload takes it away.
#[tokio::test]
async fn over_the_memory_limit_new_requests_are_refused_until_there_is_room() {
    let service = payments();
    let config = Config { server: ", limits: { memory: 16MiB }, health_path: /healthz", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    setup.event("memory_limit_reached").await;
    let answer = setup.get("/v1/payments").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"overloaded\""), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    // Load balancers and the control listener still see what there is.
    assert!(setup.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    assert!(setup.metric("mainstay_memory_resident_bytes") > setup.metric("mainstay_memory_limit_bytes"));

    std::fs::write(setup.config_path(), config.text(service.addr).replace("16MiB", "4GiB")).unwrap();
    setup.port().reload().await.unwrap();
    setup.event("memory_limit_over").await;
    assert!(setup.get("/v1/payments").await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}
