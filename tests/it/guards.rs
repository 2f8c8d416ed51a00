//! Guards that only show when something goes wrong at the right moment.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::setup::{Config, GUARD, Setup, any_port, blocking, connect, payments, read_until, scripted};

const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// A used connection that dies under an unsafe request which has left: whether it took effect is not known, so it is not
/// sent over another one. (That a safe one is, and that nothing is sent to a connection known to be dead, other tests say.)
#[tokio::test]
async fn an_unsafe_request_that_has_left_is_not_sent_again() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let upstream = listener.local_addr().unwrap();
    let served = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        read_until(&mut stream, "\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        read_until(&mut stream, "\r\n\r\nhi");
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
        stream.write_all(POST.as_bytes()).unwrap();
        read_until(&mut stream, "}\n")
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_reset"), "{answer}");
    let listener = served.await.unwrap();
    listener.set_nonblocking(true).unwrap();
    let again = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(again, Err(ErrorKind::WouldBlock), "it came a second time");
    setup.engine.stop().await;
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

/// A client that reads nothing holds up its upstream, and not the engine's memory.
#[tokio::test]
async fn a_client_that_does_not_read_stops_its_upstream() {
    const WHOLE: usize = 256 << 20;
    let (stalled, wait_for_stall) = sync_channel::<usize>(1);
    let (upstream, _done) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n").as_bytes()).unwrap();
        // A while without a byte taken counts as full. On a slow machine that is too soon, and never too late.
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (piece, mut taken) = ([b'x'; 1 << 16], 0);
        while taken < WHOLE {
            match stream.write(&piece) {
                Ok(n) => taken += n,
                Err(_) => break,
            }
        }
        stalled.send(taken).unwrap();
    });
    let setup = Setup::start(&Config::default(), upstream).await;
    let address = setup.address();
    let taken = blocking(move || {
        let mut stream = connect(address);
        stream.write_all(GET.as_bytes()).unwrap();
        wait_for_stall.recv().unwrap()
    })
    .await;
    // What four socket buffers hold at the most lies far below.
    assert!(taken < WHOLE / 2, "{taken} bytes were taken for a client that reads none");
    setup.engine.stop().await;
}
