//! Guards that only show when something goes wrong at the right moment.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mainstay_core::clock::Clock;

use crate::setup::{
    Config, GUARD, Setup, any_port, blocking, connect, payments, read_until, scripted, start_from,
};

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n";
/// A used connection that dies under an unsafe request which has left: whether it took effect is not known, so it is not
/// sent over another one. (That a safe one is, and that nothing is sent to a connection known to be dead, other tests say.)
#[tokio::test]
async fn an_unsafe_request_that_has_left_is_not_sent_again() {
    // Also one without a body, of which the engine has everything that a second time would need.
    for (post, end) in [
        ("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "\r\n\r\nhi"),
        ("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "\r\n\r\n"),
        ("DELETE /v1/x HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n"),
    ] {
        let listener = TcpListener::bind(any_port()).unwrap();
        let upstream = listener.local_addr().unwrap();
        let served = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(GUARD)).unwrap();
            read_until(&mut stream, "\r\n\r\n");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            read_until(&mut stream, end);
            drop(stream);
            listener
        });
        let config = Config { operation: "timeouts: { attempt: 3s }", ..Config::default() };
        let setup = Setup::start(&config, upstream).await;
        let address = setup.address();
        let answer = blocking(move || {
            // On one connection, so that both requests are on one worker and share its pool.
            let mut stream = connect(address);
            stream.write_all(GET.as_bytes()).unwrap();
            read_until(&mut stream, "\r\n\r\nok");
            stream.write_all(post.as_bytes()).unwrap();
            read_until(&mut stream, "}\n")
        })
        .await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_reset"), "{post}\n{answer}");
        let listener = served.await.unwrap();
        listener.set_nonblocking(true).unwrap();
        let again = listener.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(again, Err(ErrorKind::WouldBlock), "it came a second time: {post}");
        setup.engine.stop().await;
    }
}

/// A connection that is closed while unread bytes wait in it is reset, and a reset may cost the client its answer.
#[tokio::test]
async fn a_refused_upload_can_be_written_whole_and_its_answer_read() {
    let service = payments();
    let setup = Setup::start(&Config { operation: "body: 1KiB", ..Config::default() }, service.addr).await;
    let address = setup.address();
    let (answer, ended) = blocking(move || {
        let mut stream = connect(address);
        let head = "POST /v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 150000\r\n\r\n";
        stream.write_all(&[head.as_bytes(), &[b'x'; 150_000][..]].concat()).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        (String::from_utf8_lossy(&answer).into_owned(), ended.map(drop))
    })
    .await;
    assert_eq!(ended, Ok(()), "an orderly end, no reset");
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("}\n"), "{answer}");
    setup.engine.stop().await;
}

/// Requests behind a running one are kept up to a bound; beyond it they wait in the client's socket.
#[tokio::test]
async fn a_client_that_pipelines_without_end_is_held_up() {
    const WHOLE: usize = 128 << 20;
    let (go, wait_for_go) = sync_channel::<()>(1);
    let (upstream, _done) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        // The first request runs until its client has been held up.
        let _ = wait_for_go.recv();
    });
    let setup = Setup::start(&Config::default(), upstream).await;
    let address = setup.address();
    let taken = blocking(move || {
        let mut stream = connect(address);
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (piece, mut taken) = (GET.repeat(2000).into_bytes(), 0);
        while taken < WHOLE {
            match stream.write(&piece[taken % piece.len()..]) {
                Ok(n) => taken += n,
                Err(_) => break,
            }
        }
        taken
    })
    .await;
    assert!(taken < WHOLE / 2, "{taken} bytes were taken behind a request that runs");
    drop(go);
    setup.engine.stop().await;
}

#[tokio::test]
async fn fields_of_the_upstreams_hop_stay_there() {
    let (upstream, _done) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        let hop = "Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=secret\r\nX-Hop: secret\r\nUpgrade: secret\r\n\
                   Proxy-Authenticate: secret\r\nTrailer: secret\r\nProxy-Connection: secret\r\nX-Kept: kept\r\n";
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{hop}Content-Length: 2\r\n\r\nok").as_bytes()).unwrap();
    });
    let setup = Setup::start(&Config::default(), upstream).await;
    let answer = setup.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-kept: kept"), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
    setup.engine.stop().await;
}

/// What a reload brought is as good as what the start brought: its dates bind, and a restart falls back to it.
#[tokio::test]
async fn what_a_reload_published_is_kept() {
    let service = payments();
    let version = "        lifecycle: { deprecated: 2026-01-01, sunset: 2097-06-01 }\n";
    let setup = Setup::start(&Config { version, ..Config::default() }, service.addr).await;
    let path = setup.config_path();
    let first = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, first.replace("2097-06-01", "2098-06-01")).unwrap();
    assert_eq!(setup.engine.handle.reload_now().await.unwrap().generation, 2);
    std::fs::write(&path, first.replace("2097-06-01", "2097-12-01")).unwrap();
    let problems = setup.engine.handle.reload_now().await.expect_err("the reload's date is published, too");
    assert!(problems.iter().any(|p| p.code == "sunset_moved_earlier"), "{problems:?}");
    let Setup { engine, folder } = setup;
    engine.stop().await;
    std::fs::write(&path, "server: [").unwrap();
    let setup = Setup { engine: start_from(path, Clock::System).await, folder };
    let answer = setup.get("/v1/bytes/1").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Jun 2098"), "{answer}");
    setup.engine.stop().await;
}
