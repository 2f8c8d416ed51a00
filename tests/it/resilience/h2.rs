//! What HTTP/2 says about a request that was not processed (RFC 9113, 6.8 and 8.7), and what it does not say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Dial, Peer, STREAM_BYTES};
use mainstay_testkit::rig::Rig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{POST, ask, config, status};
use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, block, frame,
};
use crate::paused::paused;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

#[derive(Clone, Copy)]
enum Act {
    Ok,
    Reset(u32),
    /// Says that streams up to this one, or the one before it, are processed, and closes.
    Leave {
        processed: bool,
    },
}

/// An HTTP/2 upstream, which treats the first request as said and answers every later one.
fn upstream(first: Act) -> (Dial, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let dial: Dial = Arc::new(move || {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        tokio::task::spawn_local(serve(Peer(far), first, Arc::clone(&counted)));
        Ok(near.into())
    });
    (dial, requests)
}

async fn serve(mut peer: Peer, first: Act, requests: Arc<AtomicUsize>) -> Option<()> {
    let mut preface = [0; 24];
    peer.0.read_exact(&mut preface).await.ok()?;
    peer.0.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    loop {
        let mut head = [0; 9];
        peer.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        peer.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        if kind == SETTINGS && flags & ACK == 0 {
            peer.0.write_all(&frame(SETTINGS, ACK, 0, &[])).await.ok()?;
        }
        if !matches!(kind, HEADERS | DATA) || flags & END_STREAM == 0 {
            continue;
        }
        let act = if requests.fetch_add(1, Ordering::SeqCst) == 0 { first } else { Act::Ok };
        let said = match act {
            Act::Ok => frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":status", "200")])),
            Act::Reset(code) => frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
            Act::Leave { processed } => {
                let last = if processed { stream } else { 0 };
                frame(GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat())
            }
        };
        peer.0.write_all(&said).await.ok()?;
        if matches!(act, Act::Leave { .. }) {
            return None;
        }
    }
}

#[test]
fn what_was_refused_unprocessed_is_sent_again_and_nothing_else() {
    for (first, attempts) in [
        (Act::Leave { processed: true }, 1),
        (Act::Reset(CANCEL), 1),
        (Act::Reset(REFUSED_STREAM), 2),
        (Act::Leave { processed: false }, 2),
    ] {
        paused(async move {
            let (dial, requests) = upstream(first);
            let text = config(&["127.0.0.1:1"], ", protocol: h2", "");
            let rig = Rig::start(&text, Clock::System, Output::None, &dial);
            let answer = ask(&rig, POST).await;
            assert_eq!(requests.load(Ordering::SeqCst), attempts, "{answer}");
            assert_eq!(status(&answer), if attempts == 2 { 200 } else { 502 }, "{answer}");
        });
    }
}

#[test]
fn without_retries_the_client_is_told_that_it_was_not_processed() {
    paused(async {
        let (dial, requests) = upstream(Act::Reset(REFUSED_STREAM));
        let text = config(&["127.0.0.1:1"], ", protocol: h2, retries: off", "");
        let rig = Rig::start(&text, Clock::System, Output::None, &dial);
        let answer = ask(&rig, POST).await;
        assert!(status(&answer) == 502 && answer.contains("refused the request without looking"), "{answer}");
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    });
}
