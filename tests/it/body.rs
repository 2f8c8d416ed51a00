//! Bodies arrive at the upstream whole, or visibly broken; never with a hole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::frames::{DATA, END_HEADERS, Frames, HEADERS, RST_STREAM, block, frame};
use crate::setup::{Config, Setup, blocking, connect, read_until, scripted};

const CHUNKS: usize = 20_000;

/// Guards against: bytes of an upload that were waiting in the connection's buffer were thrown away when an answer
/// came early, and the rest was forwarded as if nothing were missing; before that, such an answer was a panic.
#[tokio::test]
async fn an_upload_has_no_hole_when_the_answer_comes_early() {
    let (piled_up, wait_for_pile) = sync_channel::<()>(1);
    let (seen, wait_for_seen) = sync_channel::<()>(1);
    let (upstream, received) = scripted(move |mut stream| {
        read_until(&mut stream, "\r\n\r\n");
        // Nothing of the body is read yet, so that it piles up in the engine; then the answer begins.
        wait_for_pile.recv().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").unwrap();
        wait_for_seen.recv().unwrap();
        let body = read_until(&mut std::io::BufReader::new(&stream), "\r\n0\r\n\r\n");
        stream.write_all(b"0\r\n\r\n").unwrap();
        body
    });
    let setup = Setup::start(&Config { operation: "body: 64MiB", ..Config::default() }, upstream).await;
    let address = setup.address();
    blocking(move || {
        let mut stream = connect(address);
        let mut upload = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for n in 0..CHUNKS {
            upload.extend_from_slice(format!("3e8\r\n{n:01000}\r\n").as_bytes());
        }
        upload.extend_from_slice(b"0\r\n\r\n");
        let taken = write_until_full(&mut stream, &upload);
        assert!(taken < upload.len(), "nothing piled up");
        piled_up.send(()).unwrap();
        read_until(&mut stream, "\r\n\r\n2\r\nok\r\n");
        seen.send(()).unwrap();
        stream.set_write_timeout(None).unwrap();
        stream.write_all(&upload[taken..]).unwrap();
        read_until(&mut stream, "0\r\n\r\n");
    })
    .await;
    let body = unchunk(&received.await.unwrap());
    let expected: String = (0..CHUNKS).map(|n| format!("{n:01000}")).collect();
    // The engine may cut chunks anew, so what they hold is compared, not how they are cut.
    assert!(body == expected, "{} of {} bytes", body.len(), expected.len());
    setup.engine.stop().await;
}

/// Guards against: a reset with NO_ERROR looked like the end of the body, and the upload was completed where it was cut off.
#[tokio::test]
async fn an_upload_that_is_reset_is_never_completed_at_the_upstream() {
    const NO_ERROR: u32 = 0;
    const CANCEL: u32 = 8;
    for code in [NO_ERROR, CANCEL] {
        let (tell, arrived) = tokio::sync::oneshot::channel();
        let (upstream, rest) = scripted(move |mut stream| {
            read_until(&mut stream, "half");
            tell.send(()).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            String::from_utf8_lossy(&rest).into_owned()
        });
        let setup = Setup::start(&Config::default(), upstream).await;
        let mut client = Frames::connect(setup.address(), &[]).await;
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/x")];
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&post))).await;
        client.send(&frame(DATA, 0, 1, b"half")).await;
        arrived.await.unwrap();
        client.send(&frame(RST_STREAM, 0, 1, &code.to_be_bytes())).await;
        let rest = rest.await.unwrap();
        assert!(!rest.contains("0\r\n\r\n"), "{code}: {rest:?}");
        setup.engine.stop().await;
    }
}

/// Writes until nothing has been taken for a while; how much was taken.
fn write_until_full(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut taken = 0;
    while let Ok(n) = stream.write(&bytes[taken..]) {
        taken += n;
    }
    taken
}

/// What chunks hold, up to the last one.
fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
