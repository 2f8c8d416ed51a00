//! Frames about an HTTP/2 connection: as many as what goes on calls for, and then some, but no flood.

use tokio::io::AsyncReadExt;

use crate::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Ended, Frame, Frames, GOAWAY, HEADERS, INITIAL_WINDOW, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use crate::setup::{Client, Config, GUARD, Setup, payments};

const PRIORITY: u8 = 2;
/// RFC 9218, 7.1; h2 does not know it.
const PRIORITY_UPDATE: u8 = 16;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Frames in a round of a flood, the ping behind them included.
const ROUND: usize = 200;

/// Sends rounds of a frame, each after the one before it was dealt with, until the connection is ended: how many frames
/// were dealt with, and what the engine said in the end.
async fn flood(client: &mut Frames, piece: &[u8], mut meanwhile: impl AsyncFnMut()) -> (usize, Vec<Frame>) {
    let round = [piece.repeat(ROUND - 1), frame(PING, 0, 0, b"the last")].concat();
    for rounds in 0.. {
        client.send(&round).await;
        loop {
            let next = client.next().await.expect("an end that is told");
            if next.kind == PING && next.payload == b"the last" {
                break;
            }
            if next.kind == GOAWAY {
                let mut said = vec![next];
                said.extend(client.rest().await);
                return (rounds * ROUND, said);
            }
        }
        meanwhile().await;
    }
    unreachable!("a flood of ever so many frames is not ended")
}

#[tokio::test]
async fn a_client_that_floods_and_takes_all_answers_is_told_to_calm_down() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let table: [(&str, Vec<u8>); 8] = [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PING that answers none", frame(PING, ACK, 0, &[0; 8])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of a stream that is over", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("PRIORITY_UPDATE", frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("RST_STREAM of a stream that is over", frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())),
    ];
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/v1/upload")];
    for (nth, (name, piece)) in table.iter().enumerate() {
        let mut client = Frames::connect(setup.address(), &[]).await;
        assert!(matches!(client.get(1, "/v1/bytes/1").await, Ended::Answered(true, _)), "{name}");
        client.send(&frame(HEADERS, END_HEADERS, 3, &block(&post))).await;
        let mut other = Client::connect(setup.address()).await;
        let meanwhile =
            async || assert!(other.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "), "{name}");
        let (dealt_with, said) = flood(&mut client, piece, meanwhile).await;
        assert!(dealt_with >= 800, "{name}: ended after {dealt_with}");
        let [goaway] = &said[..] else { panic!("{name}: {} frames", said.len()) };
        let number = |at: usize| u32::from_be_bytes(goaway.payload[at..at + 4].try_into().unwrap());
        assert_eq!((number(0), number(4)), (3, ENHANCE_YOUR_CALM), "{name}");
        setup.until_metric("mainstay_floods_total flood=\"control\"", (nth + 1) as f64).await;
    }
    let event = setup.event("client_floods").await;
    assert_eq!(event["client"], "127.0.0.1", "{event}");
    assert_eq!(event["flood"], "control", "{event}");
    setup.engine.stop().await;
}

/// A frame of an answer that was cut off is not gone on with by a GOAWAY.
#[tokio::test]
async fn a_client_that_floods_and_takes_nothing_gets_nothing_that_is_no_frame() {
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let mut client = Frames::connect(setup.address(), &[(INITIAL_WINDOW, 0x7fff_ffff)]).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7ff0_0000_u32.to_be_bytes())).await;
    client.send(&get(1, "/v1/bytes/50000000")).await;
    // Enough for all DATA that sockets hold, and it may come before the DATA.
    let piece = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100);
    let flooding = async {
        let mut at = 0;
        while setup.metric("mainstay_floods_total flood=\"control\"") == 0.0 {
            // Once the flood is ended, nothing has to be taken.
            at = (at + client.stream.try_write(&piece[at..]).unwrap_or(0)) % piece.len();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, flooding).await.expect("the flood is ended");
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(GUARD, client.stream.read_to_end(&mut bytes)).await.expect("an end");
    // What is left of the flood is read, so that this arrives.
    read.expect("no reset");
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let [a, b, c, kind, ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let known = [DATA, HEADERS, SETTINGS, GOAWAY, PING, WINDOW_UPDATE];
        assert!(known.contains(&kind) && length <= 16_384, "{head:?}");
        assert_eq!(kind == GOAWAY, after.len() == 8 && length == 8, "{head:?}");
        let payload = after.get(..length).unwrap_or(after);
        assert!(kind != DATA || !payload.ends_with(&[0, 0, 0, 11]), "a GOAWAY within a frame");
        rest = &after[payload.len()..];
    }
    setup.engine.stop().await;
}

/// Gives back each window at once, as simple clients do, and measures the line with each piece, as gRPC's do.
#[tokio::test]
async fn a_busy_client_is_no_flood() {
    const STREAMS: u32 = 10;
    const BYTES: usize = 400_000;
    let service = payments();
    let setup = Setup::start(&Config::default(), service.addr).await;
    let mut client = Frames::connect(setup.address(), &[]).await;
    let (mut sent, mut id) = (0, 1);
    for _ in 0..10 {
        for _ in 0..STREAMS {
            client.send(&get(id, &format!("/v1/bytes/{BYTES}"))).await;
            id += 2;
        }
        let (mut open, mut bytes) = (STREAMS, 0);
        while open > 0 {
            let next = client.next().await.expect("the connection stands");
            assert_ne!(next.kind, GOAWAY, "after {sent} frames: {:?}", next.payload);
            if next.kind == DATA && !next.payload.is_empty() {
                bytes += next.payload.len();
                let given = (next.payload.len() as u32).to_be_bytes();
                let pieces = [
                    frame(WINDOW_UPDATE, 0, next.stream, &given),
                    frame(WINDOW_UPDATE, 0, 0, &given),
                    frame(PING, 0, 0, &[7; 8]),
                ];
                client.send(&pieces.concat()).await;
                sent += pieces.len();
            }
            open -= u32::from(matches!(next.kind, DATA | HEADERS) && next.flags & END_STREAM != 0);
        }
        assert_eq!(bytes, BYTES * STREAMS as usize);
    }
    // Else this would hold without anything that is called for.
    assert!(sent > 5_000, "{sent}");
    assert_eq!(setup.metric("mainstay_floods_total"), 0.0);
    setup.engine.stop().await;
}
