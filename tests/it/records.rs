//! One record for each request, with nothing in it that is not meant for the log; who a client is behind proxies.

use std::io::{Read, Write};
use std::sync::mpsc::sync_channel;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::setup::{
    Client, Config, GUARD, Setup, blocking, connect, payments, read_head, read_until, serving, until,
};

/// The log is complete when nothing runs any more: the record is written before the request counts as over.
async fn settled_log(setup: &Setup) -> Vec<serde_json::Value> {
    let requests = &setup.engine.handle.shared.requests;
    until("nothing runs", || requests.load(std::sync::atomic::Ordering::Relaxed) == 0).await;
    setup.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn however_a_request_ends_it_has_exactly_one_record() {
    let (arrived, wait_for_arrival) = sync_channel::<()>(1);
    let upstream = serving(move |_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            if head.contains(" /v1/ok ") {
                stream.write_all(crate::setup::OK).unwrap();
            } else if head.contains(" /v1/half ") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").unwrap();
                return;
            } else if head.contains(" /v1/held ") {
                arrived.send(()).unwrap();
            } else {
                return;
            }
        }
    });
    let config = Config { log: "access.log", ..Config::default() };
    let setup = Setup::start(&config, upstream).await;
    let id = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-of-it{}\r\n", path.replace('/', "-"))
    };
    setup.exchange(&format!("{}Connection: close\r\n\r\n", id("/v1/ok"))).await;
    setup.exchange(&format!("{}Connection: close\r\n\r\n", id("/nowhere"))).await;
    setup.exchange(&format!("{}Connection: close\r\n\r\n", id("/v1/reset"))).await;
    setup.exchange("GET /v1/x HTTP/9\r\nX-Request-Id: id-of-garbage\r\n\r\n").await;
    let address = setup.address();
    blocking(move || {
        let mut stream = connect(address);
        stream.write_all(format!("{}\r\n", id("/v1/half")).as_bytes()).unwrap();
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen);
        let mut leaves = connect(address);
        leaves.write_all(format!("{}\r\n", id("/v1/held")).as_bytes()).unwrap();
        wait_for_arrival.recv().unwrap();
    })
    .await;
    let log = settled_log(&setup).await;
    let seen: Vec<_> = log
        .iter()
        .map(|r| {
            let text = |name: &str| r[name].as_str().unwrap_or("-").to_owned();
            (text("request_id"), r["status"].as_u64().unwrap(), text("problem"), text("aborted"))
        })
        .collect();
    let row = |id: &str, status, problem: &str, aborted: &str| {
        (format!("id-of-it-{id}"), status, problem.to_owned(), aborted.to_owned())
    };
    let mut expected = vec![
        row("v1-ok", 200, "-", "-"),
        row("nowhere", 404, "not_found", "-"),
        row("v1-reset", 502, "upstream_reset", "-"),
        row("v1-half", 200, "-", "upstream"),
        row("v1-held", 499, "-", "client"),
    ];
    let (made, mut known): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|(id, ..)| !id.starts_with("id-of-it"));
    known.sort();
    expected.sort();
    assert_eq!(known, expected);
    // Bytes that are no request have no id of their own.
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!((made[0].1, made[0].2.as_str()), (400, "malformed_request"));
    setup.engine.stop().await;
}

#[tokio::test]
async fn what_is_secret_or_redacted_is_not_in_the_log() {
    let service = payments();
    let config = Config { log: "access.log, redact: [client, request_id]", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    for (path, status) in [("/v1/echo", "200"), ("/v1/..", "400"), ("/nowhere", "404")] {
        let head = format!(
            "GET {path}?token=query-secret HTTP/1.1\r\nHost: host-secret.example\r\nConnection: close\r\n\
             Authorization: Bearer header-secret\r\nCookie: header-secret\r\nX-API-Key: header-secret\r\n\
             X-Request-Id: id-secret-1\r\n\r\n"
        );
        let answer = setup.exchange(&head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    setup.exchange("GET /v1/x?token=query-secret HTTP/1.1\r\nHost: a\r\nheader-secret\r\n\r\n").await;
    let log = settled_log(&setup).await;
    assert_eq!(log.len(), 4);
    for record in &log {
        assert_eq!((&record["client"], &record["request_id"]), (&"[redacted]".into(), &"[redacted]".into()));
        let text = record.to_string();
        assert!(!text.contains("secret") && !text.contains("127.0.0.1\""), "{text}");
    }
    let events = std::fs::read_to_string(setup.folder.path().join("events.log")).unwrap();
    assert!(!events.contains("secret"), "{events}");
    setup.engine.stop().await;
}

#[tokio::test]
async fn sampling_leaves_out_successes_and_nothing_else() {
    let service = payments();
    let config = Config { log: "access.log, sample_success: 0.0", ..Config::default() };
    let setup = Setup::start(&config, service.addr).await;
    for _ in 0..20 {
        assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    }
    setup.get("/nowhere").await;
    let log = settled_log(&setup).await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["status"], 404);
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_costs_lines_and_no_request() {
    // More lines than the pipe and both buffers of the queue hold.
    const REQUESTS: usize = 6000;
    let service = payments();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Open for reading, so that the engine can open it, and not read.
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let config = Config { log: "FIFO", ..Config::default() };
    let text = config.text(service.addr).replace("FIFO", fifo.to_str().unwrap());
    let setup = Setup::start_text(&text, mainstay_core::clock::Clock::System).await;
    let client = Client::connect(setup.address()).await;
    let (mut answers, mut requests) = client.0.into_split();
    let id = "i".repeat(100);
    let asking = async {
        let request = format!("GET /nowhere HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n");
        for _ in 0..REQUESTS / 100 {
            requests.write_all(request.repeat(100).as_bytes()).await.unwrap();
        }
        requests
            .write_all(b"GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
    };
    let reading = async {
        let mut all = String::new();
        answers.read_to_string(&mut all).await.unwrap();
        all
    };
    let both = async { tokio::join!(reading, asking).0 };
    let all = tokio::time::timeout(GUARD, both).await.expect("requests do not wait for the log");
    assert_eq!(all.matches("HTTP/1.1 404 ").count(), REQUESTS);
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), 1);
    assert!(setup.metric("mainstay_log_dropped_total") > 0.0);
    setup.event("log_dropping").await;
    // Once somebody reads, what was kept comes out in whole lines, and the rest is accounted for.
    let counting = tokio::task::spawn_blocking(move || {
        let (mut lines, mut last) = (0, Vec::new());
        let mut buffer = [0; 65_536];
        while last != b"end" {
            let n = reader.read(&mut buffer).unwrap();
            for byte in &buffer[..n] {
                if *byte == b'\n' {
                    assert!(serde_json::from_slice::<serde_json::Value>(&last).is_ok(), "a torn line");
                    lines += 1;
                    last.clear();
                } else {
                    last.push(*byte);
                }
            }
        }
        lines
    });
    assert!(
        blocking({
            let handle = std::sync::Arc::clone(&setup.engine.handle);
            move || handle.log.flush(GUARD)
        })
        .await
    );
    std::fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(b"end").unwrap();
    let lines = tokio::time::timeout(GUARD, counting).await.unwrap().unwrap();
    assert_eq!(lines + setup.metric("mainstay_log_dropped_total") as usize, REQUESTS + 1);
    setup.engine.stop().await;
}

#[tokio::test]
async fn only_trusted_proxies_say_who_a_client_is() {
    let service = payments();
    let fields = "X-Forwarded-For: 203.0.113.66, 198.51.100.7, 127.0.0.9\r\nX-Forwarded-Proto: https\r\n";
    let rows = [
        ("", "127.0.0.1", "\"x-forwarded-for\",\"127.0.0.1\"", "\"x-forwarded-proto\",\"http\""),
        (
            ", trusted_proxies: [127.0.0.0/8]",
            "198.51.100.7",
            "\"x-forwarded-for\",\"203.0.113.66, 198.51.100.7, 127.0.0.9, 127.0.0.1\"",
            "\"x-forwarded-proto\",\"https\"",
        ),
        (", trusted_proxies: [10.0.0.0/8]", "127.0.0.1", "\"x-forwarded-for\",\"127.0.0.1\"", "\"http\""),
    ];
    for (server, client, forwarded_for, proto) in rows {
        let config = Config { server, log: "access.log", ..Config::default() };
        let setup = Setup::start(&config, service.addr).await;
        let answer = setup
            .exchange(&format!("GET /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"))
            .await;
        assert!(answer.contains(forwarded_for) && answer.contains(proto), "{server}\n{answer}");
        let log = settled_log(&setup).await;
        assert_eq!(log[0]["client"], client, "{server}");
        setup.engine.stop().await;
    }
}

#[tokio::test]
async fn a_proxy_that_should_be_trusted_is_named_with_the_key_to_set() {
    const WINDOW: usize = 1000;
    let service = payments();
    for (server, sends, is_named) in [
        ("", "X-Forwarded-For: 198.51.100.7\r\n", true),
        ("", "", false),
        (", trusted_proxies: [127.0.0.1/32]", "X-Forwarded-For: 198.51.100.7\r\n", false),
    ] {
        let setup = Setup::start(&Config { server, ..Config::default() }, service.addr).await;
        let address = setup.address();
        blocking(move || {
            let mut stream = connect(address);
            for _ in 0..WINDOW {
                let request = format!("GET /nowhere HTTP/1.1\r\nHost: a\r\n{sends}\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                read_until(&mut stream, "}\n");
            }
        })
        .await;
        if is_named {
            let event = setup.event("untrusted_forwarder").await;
            assert_eq!(
                (&event["level"], &event["address"]),
                (&"warn".into(), &"127.0.0.1".into()),
                "{event}"
            );
            assert!(event.to_string().contains("server.trusted_proxies"), "{event}");
        }
        let said = setup.metric("mainstay_events_total event=\"untrusted_forwarder\"");
        assert_eq!(said, f64::from(u8::from(is_named)), "{server} {sends}");
        setup.engine.stop().await;
    }
}

/// Guards against: the start waited for a reader of the pipe, without a word and for ever.
#[tokio::test]
async fn a_log_into_a_pipe_that_nobody_reads_is_an_error() {
    let (service, folder) = (payments(), tempfile::tempdir().unwrap());
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let path = folder.path().join("mainstay.yaml");
    let text = Config { log: "FIFO", ..Config::default() }.text(service.addr);
    std::fs::write(&path, text.replace("FIFO", fifo.to_str().unwrap())).unwrap();
    let loaded = mainstay::compose::load_for_start(path, mainstay_core::clock::Clock::System);
    let start = loaded.unwrap_or_else(|problems| panic!("{problems:?}")).start;
    let started = tokio::time::timeout(GUARD, mainstay::compose::Engine::start(start)).await;
    let error = started.expect("no waiting").err().expect("no start").to_string();
    assert!(error.contains("telemetry.log.output") && error.contains("start its reader first"), "{error}");
}
