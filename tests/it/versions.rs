//! Who still calls what is deprecated: what `mainstay versions` and the metric are made of.

use mainstay_core::clock::Clock;
use mainstay_core::port::{CallerReport, Engine, VersionReport};

use crate::setup::{Client, Config, Setup, at, payments};

const DATES: &str = "        lifecycle: { deprecated: 2026-01-01, sunset: 2026-06-01, successor: v2, \
                     brownouts: [{ from: \"2026-05-01T10:00:00Z\", for: 15m, share: 1.0 }] }\n";
const COUNT: &str = "mainstay_deprecated_requests_total api=\"pay\" version=\"v1\"";

async fn start(server: &'static str, clock: &Clock) -> (mainstay_payments::Running, Setup) {
    let service = payments();
    let text = Config { server, version: DATES, ..Config::default() }
        .text(service.addr)
        .replace("telemetry:", "      v2: { upstream: up, operations: { \"* /{*rest}\": {} } }\ntelemetry:");
    (service, Setup::start_text(&text, clock.clone()).await)
}

fn report(setup: &Setup, version: &str) -> VersionReport {
    setup.port().versions().into_iter().find(|report| report.version == version).unwrap()
}

fn callers(report: &VersionReport) -> Vec<(&str, u64)> {
    report.callers.iter().map(|CallerReport { caller, requests }| (caller.as_str(), *requests)).collect()
}

#[tokio::test]
async fn callers_of_a_deprecated_version_are_counted_by_address_while_it_is_deprecated() {
    let clock = Clock::manual(at("2025-12-31"));
    let (_service, setup) = start("", &clock).await;
    let mut one = Client::connect(setup.address()).await;
    let mut other = Client::connect_from([127, 0, 0, 2], setup.address()).await;
    // Not yet deprecated: announced, and nobody is counted.
    one.get("/v1/bytes/1").await;
    assert_eq!((report(&setup, "v1").state, callers(&report(&setup, "v1"))), ("announced", vec![]));
    assert_eq!(setup.metric(COUNT), 0.0);
    assert!(clock.set(at("2026-01-01")));
    for _ in 0..2 {
        one.get("/v1/bytes/1").await;
    }
    for _ in 0..3 {
        other.get("/v1/bytes/1").await;
    }
    one.get("/v2/bytes/1").await;
    one.get("/v1").await;
    let v1 = report(&setup, "v1");
    assert_eq!((v1.api.as_str(), v1.state, v1.successor.as_deref()), ("pay", "deprecated", Some("v2")));
    assert!(v1.deprecated.unwrap().starts_with("2026-01-01") && v1.sunset.unwrap().starts_with("2026-06-01"));
    assert_eq!(callers(&report(&setup, "v1")), [("127.0.0.2", 3), ("127.0.0.1", 2)]);
    assert_eq!(setup.metric(COUNT), 5.0);
    let v2 = report(&setup, "v2");
    assert_eq!((v2.state, callers(&v2)), ("current", vec![]));
    // Who is turned away by a brownout still depends on it; who comes after the sunset only finds out.
    assert!(clock.set(at("2026-05-01T10:00:00Z")));
    assert!(one.get("/v1/bytes/1").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(callers(&report(&setup, "v1")), [("127.0.0.1", 3), ("127.0.0.2", 3)]);
    assert!(clock.set(at("2026-06-01")));
    assert!(one.get("/v1/bytes/1").await.starts_with("HTTP/1.1 410 "));
    let v1 = report(&setup, "v1");
    assert_eq!((v1.state, callers(&v1)), ("retired", vec![("127.0.0.1", 3), ("127.0.0.2", 3)]));
    assert_eq!(setup.metric(COUNT), 6.0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_caller_is_who_the_proxy_says() {
    let clock = Clock::manual(at("2026-02-01"));
    for (server, caller) in [(", trusted_proxies: [127.0.0.1/32]", "198.51.100.7"), ("", "127.0.0.1")] {
        let (_service, setup) = start(server, &clock).await;
        let mut client = Client::connect(setup.address()).await;
        client.send("GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n").await;
        client.answer().await;
        assert_eq!(callers(&report(&setup, "v1")), [(caller, 1)]);
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn counts_outlive_a_reload() {
    let clock = Clock::manual(at("2026-02-01"));
    let (_service, setup) = start("", &clock).await;
    setup.get("/v1/bytes/1").await;
    let text = std::fs::read_to_string(setup.config_path()).unwrap();
    std::fs::write(setup.config_path(), text.replace("sunset: 2026-06-01", "sunset: 2026-07-01")).unwrap();
    setup.engine.handle.reload_now().await.unwrap();
    setup.get("/v1/bytes/1").await;
    let v1 = report(&setup, "v1");
    assert!(v1.sunset.as_deref().unwrap().starts_with("2026-07-01"));
    assert_eq!(callers(&v1), [("127.0.0.1", 2)]);
    assert_eq!(setup.metric(COUNT), 2.0);
    setup.engine.stop().await;
}
