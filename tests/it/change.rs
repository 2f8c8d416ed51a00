//! What changes while the engine runs: configuration, dates, protocols.

use std::io::Write;

use mainstay_core::clock::Clock;

use crate::setup::{
    Client, Config, Setup, at, blocking, connect, exchange, payments, read_all, read_until, scripted,
    start_from, until,
};

const LIFE: &str = "        lifecycle: { deprecated: 2026-01-01, sunset: 2026-06-01, successor: v2, guide: \"https://a.example/g\", \
                    brownouts: [{ from: \"2026-05-01T10:00:00Z\", for: 15m, share: 1.0 }] }\n";

#[tokio::test]
async fn a_version_is_announced_deprecated_browned_out_and_retired() {
    let service = payments();
    let clock = Clock::manual(at("2025-12-01"));
    let config = Config { version: LIFE, ..Config::default() };
    // `successor: v2` has to exist; a second version is added beside the first.
    let text = config
        .text(service.addr)
        .replace("telemetry:", "      v2: { upstream: up, operations: { \"* /{*rest}\": {} } }\ntelemetry:");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.yaml");
    std::fs::write(&path, text).unwrap();
    let engine = start_from(path, clock.clone()).await;
    let setup = Setup { engine, folder };
    let rows = [
        ("2025-12-01", "200", ""),
        ("2026-01-01", "200", ""),
        ("2026-05-01T10:00:00Z", "503", "version_brownout"),
        ("2026-05-01T10:15:00Z", "200", ""),
        ("2026-05-31T23:59:59Z", "200", ""),
        ("2026-06-01", "410", "version_retired"),
    ];
    for (date, status, code) in rows {
        assert!(clock.set(at(date)));
        let answer = setup.get("/v1/bytes/1").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
            "{date}\n{answer}"
        );
        assert!(answer.contains("deprecation: @1767225600"), "{date}\n{answer}");
        assert!(answer.contains("sunset: Mon, 01 Jun 2026 00:00:00 GMT"), "{answer}");
        assert!(answer.contains("</v2>; rel=\"successor-version\""), "{answer}");
        assert_eq!(answer.contains("retry-after: 900"), status == "503", "{answer}");
        assert_eq!(answer.contains("\"successor\":\"v2\""), !code.is_empty(), "{answer}");
    }
    assert!(setup.get("/v2/bytes/1").await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_good_one_everything_at_once() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let good = std::fs::read_to_string(setup.config_path()).unwrap();
    std::fs::write(setup.config_path(), good.replace("upstream: up", "upstream: down")).unwrap();
    let problems = setup.engine.handle.reload_now().await.unwrap_err();
    assert!(problems.iter().any(|p| p.line > 0 && p.message.contains("down")), "{problems:?}");
    assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    std::fs::write(setup.config_path(), good.replace("workers: 2", "workers: 3")).unwrap();
    let problems = setup.engine.handle.reload_now().await.unwrap_err();
    assert!(problems.iter().any(|p| p.code == "restart_needed" && p.key == "server.workers"), "{problems:?}");
    std::fs::write(setup.config_path(), good.replace("      v1:", "      v7:")).unwrap();
    assert_eq!(setup.engine.handle.reload_now().await.unwrap().generation, 2);
    assert!(setup.get("/v1/bytes/1").await.contains("unknown_version"));
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_restart_with_a_bad_file_serves_the_last_good_one_and_a_published_sunset_moves_only_later() {
    let service = payments();
    let dated = "        lifecycle: { deprecated: 2026-01-01, sunset: 2030-06-01 }\n";
    let config = Config { version: dated, ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    let good = std::fs::read_to_string(setup.config_path()).unwrap();
    std::fs::write(setup.config_path(), good.replace("2030-06-01", "2029-06-01")).unwrap();
    let problems = setup.engine.handle.reload_now().await.unwrap_err();
    assert!(problems.iter().any(|p| p.code == "sunset_moved_earlier"), "{problems:?}");
    let path = setup.config_path();
    let Setup { engine, folder } = setup;
    engine.stop().await;
    std::fs::write(&path, "server: [").unwrap();
    let setup = Setup { engine: start_from(path, Clock::System).await, folder };
    assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    setup.engine.stop().await;
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_not_believed() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let head = "GET /v1/echo?q=%2F HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\n\
                X-Consumer-Id: root\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nX-Drop: 1\r\nConnection: close, x-drop\r\n\
                X-Request-Id: mine-12345\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let answer = setup.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for gone in ["9.9.9.9", "root", "x-drop", "0af7651916cd43dd", "1af7651916cd43dd"] {
        assert!(!answer.contains(gone), "{gone}\n{answer}");
    }
    for there in ["127.0.0.1", "mine-12345", "1.1 mainstay", "shop.example", "q=%2F"] {
        assert!(answer.contains(there), "{there}\n{answer}");
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn slow_heads_bodies_and_readers_end() {
    let service = payments();
    let server = ", limits: { header_timeout: 1s, body_timeout: 1s, idle_timeout: 1s }";
    let setup = Setup::start(&Config { server, ..Config::default() }, service.addr).await;
    let address = setup.address();
    let rows: [(&[u8], &str); 3] = [
        (b"GET /v1/bytes/1 HTTP/1.1\r\nHo", "HTTP/1.1 408 "),
        (b"POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 "),
        (b"", ""),
    ];
    for (bytes, expected) in rows {
        let answer = blocking(move || {
            let mut stream = connect(address);
            stream.write_all(bytes).unwrap();
            read_all(&mut stream)
        })
        .await;
        assert!(answer.starts_with(expected) && answer.is_empty() == expected.is_empty(), "{answer}");
    }
    // A reader that takes nothing: the engine lets go of client and upstream.
    let stalled = blocking(move || {
        let mut stream = connect(address);
        stream.write_all(b"GET /v1/bytes/50000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    })
    .await;
    let left = async {
        while setup.engine.handle.shared.requests.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    };
    service.stats().until(|s| s.in_flight > 0 || s.cut_short > 0).await;
    tokio::time::timeout(crate::setup::GUARD, left).await.expect("the stalled reader was given up");
    drop(stalled);
    setup.engine.stop().await;
}

#[tokio::test]
async fn expectations_are_answered_by_the_engine_and_uploads_are_bounded() {
    let service = payments();
    let setup = Setup::start(&Config { operation: "body: 1KiB", ..Config::default() }, service.addr).await;
    let address = setup.address();
    let answer = blocking(move || {
        let mut stream = connect(address);
        let head = b"POST /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(head).unwrap();
        assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").unwrap();
        read_all(&mut stream)
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello"), "{answer}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn an_upload_over_the_limit_is_never_completed_at_the_upstream() {
    let (upstream, received) = scripted(|mut stream| {
        let mut seen = Vec::new();
        // A reset is as good an end as any: what counts is what came before it.
        let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
        String::from_utf8_lossy(&seen).into_owned()
    });
    let setup = Setup::start(&Config { operation: "body: 1KiB", ..Config::default() }, upstream).await;
    let chunk = format!("258\r\n{}\r\n", "x".repeat(600));
    let head = "POST /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = setup.exchange(&format!("{head}{chunk}{chunk}0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
    assert!(!received.await.unwrap().ends_with("0\r\n\r\n"));
    setup.engine.stop().await;
}

#[tokio::test]
async fn every_combination_of_protocols_passes_bodies_both_ways() {
    for upstream in ["", ", protocol: h2"] {
        let service = payments();
        let setup = Setup::start(&Config { upstream, ..Config::default() }, service.addr).await;
        let body = "x".repeat(200_000);
        let post = format!(
            "POST /v1/upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = setup.exchange(&post).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("200000"), "{upstream} {answer}");
        let (status, received) = h2_post(setup.address(), "/v1/upload", body).await;
        assert!(status == 200 && received.contains("200000"), "{upstream} {status} {received}");
        let answer = setup.get("/v1/chunks/10/1000").await;
        assert!(
            answer.contains("transfer-encoding: chunked") && answer.ends_with("0\r\n\r\n"),
            "{answer:.300}"
        );
        setup.engine.stop().await;
    }
}

async fn h2_post(address: std::net::SocketAddr, path: &str, body: String) -> (u16, String) {
    use http_body_util::{BodyExt, Full};
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let exec = Exec;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(exec, io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request =
        http::Request::post(format!("http://a{path}")).body(Full::new(bytes::Bytes::from(body))).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    (status, String::from_utf8_lossy(&text).into_owned())
}

#[derive(Clone)]
struct Exec;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Exec {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

#[tokio::test]
async fn long_lived_connections_are_spread_evenly_over_the_workers() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let address = setup.address();
    let connections = blocking(move || {
        let open = |_| {
            let mut stream = connect(address);
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
            // The engine's own SETTINGS: the connection has found its worker.
            std::io::Read::read_exact(&mut stream, &mut [0; 9]).unwrap();
            stream
        };
        (0..8).map(open).collect::<Vec<_>>()
    })
    .await;
    let shared = &setup.engine.handle.shared;
    let loads: Vec<_> =
        shared.workers.iter().map(|w| w.load.load(std::sync::atomic::Ordering::Relaxed)).collect();
    assert_eq!(loads, [4, 4]);
    drop(connections);
    setup.engine.stop().await;
}

#[tokio::test]
async fn listeners_come_and_go_with_a_reload() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let good = std::fs::read_to_string(setup.config_path()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let path = setup.folder.path().join("in.sock");
    let listen = |addresses: &str| {
        let text = good.replace("listen: 127.0.0.1:0, workers", &format!("listen: [{addresses}], workers"));
        assert_ne!(text, good, "{good}");
        std::fs::write(setup.config_path(), text).unwrap();
    };
    let both = format!("\"unix:{}\", \"{address}\"", path.display());
    listen(&format!("\"127.0.0.1:0\", {both}"));
    // What cannot be bound changes nothing, and leaves nothing open.
    let problems = setup.engine.handle.reload_now().await.unwrap_err();
    assert!(
        problems.iter().any(|p| p.code == "bind" && p.key == "server.listen" && p.line == 1),
        "{problems:?}"
    );
    assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    assert!(tokio::net::UnixStream::connect(&path).await.is_err());
    drop(taken);
    setup.engine.handle.reload_now().await.unwrap();
    const GET: &str = "GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(exchange(address, GET.as_bytes().to_vec()).await.starts_with("HTTP/1.1 200 "));
    let mut local = tokio::net::UnixStream::connect(&path).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut local, GET.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut local, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    // Who has come in by a listener is served on when it is taken away.
    let mut kept = Client::connect(address).await;
    assert!(kept.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    std::fs::write(setup.config_path(), &good).unwrap();
    setup.engine.handle.reload_now().await.unwrap();
    until("the address is free", || std::net::TcpListener::bind(address).is_ok()).await;
    assert!(!path.exists());
    assert!(kept.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(setup.event("listeners_changed").await["added"], format!("unix:{} {address}", path.display()));
    setup.engine.stop().await;
}
