//! HTTP/2 frame by frame, for what no well-behaved client sends.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::GUARD;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const INITIAL_WINDOW: u16 = 4;

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame as bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as a header block: literals without indexing and without compression (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// A length with a prefix of 7 bits (RFC 7541, 5.1).
fn length(bytes: &mut Vec<u8>, mut rest: usize) {
    if rest < 127 {
        return bytes.push(rest as u8);
    }
    bytes.push(127);
    rest -= 127;
    while rest >= 128 {
        bytes.push(rest as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this body; whether the status was 200.
    Answered(bool, String),
    /// Reset, with this error code.
    Reset(u32),
    /// With its connection.
    Gone,
}

impl Ended {
    /// The body of an answer that is none with 200.
    #[track_caller]
    pub(crate) fn refusal(&self) -> &str {
        match self {
            Self::Answered(false, body) => body,
            other => panic!("{other:?}"),
        }
    }
}

/// A connection of a client.
pub(crate) struct Frames<S = TcpStream> {
    pub(crate) stream: S,
    /// GOAWAY frames that have come.
    pub(crate) goaways: Vec<Frame>,
}

impl Frames {
    pub(crate) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Begins a connection over a stream.
    pub(crate) async fn over(mut stream: S, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &payload)).await.unwrap();
        Self::on(stream)
    }

    /// On a connection that has sent its preface.
    pub(crate) fn on(stream: S) -> Self {
        Self { stream, goaways: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame. Settings and pings are acknowledged, as a client has to; `None`: the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let reading = tokio::time::timeout(GUARD, self.stream.read_exact(&mut head)).await;
        reading.expect("a frame in time").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let next = Frame { kind: head[3], flags: head[4], stream, payload };
        if matches!(next.kind, SETTINGS | PING) && next.flags & ACK == 0 {
            let payload = if next.kind == PING { &next.payload[..] } else { &[] };
            // A failure shows in the next read.
            let _ = self.stream.write_all(&frame(next.kind, ACK, 0, payload)).await;
        }
        Some(next)
    }

    /// The next frame that is no matter of the connection itself, but for GOAWAY, which is remembered.
    async fn of_streams(&mut self) -> Option<Frame> {
        loop {
            match self.next().await? {
                goaway @ Frame { kind: GOAWAY, .. } => self.goaways.push(goaway),
                frame if frame.stream != 0 => return Some(frame),
                _ => {}
            }
        }
    }

    /// Reads until a stream has ended; what comes of others is passed over.
    pub(crate) async fn ended(&mut self, stream: u32) -> Ended {
        let (mut is_200, mut body) = (false, Vec::new());
        while let Some(next) = self.of_streams().await {
            if next.stream != stream {
                continue;
            }
            match next.kind {
                RST_STREAM => return Ended::Reset(u32::from_be_bytes(next.payload.try_into().unwrap())),
                // The first octet is entry 8 of the static table.
                HEADERS => is_200 = next.payload.first() == Some(&0x88),
                DATA => body.extend(next.payload),
                _ => {}
            }
            if next.flags & END_STREAM != 0 {
                return Ended::Answered(is_200, String::from_utf8_lossy(&body).into_owned());
            }
        }
        Ended::Gone
    }

    /// Reads until any stream is reset: which, and the error code.
    pub(crate) async fn reset(&mut self) -> (u32, u32) {
        loop {
            let next = self.of_streams().await.expect("the connection stands");
            if next.kind == RST_STREAM {
                return (next.stream, u32::from_be_bytes(next.payload.try_into().unwrap()));
            }
        }
    }

    /// Sends a request and reads until it has ended.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) -> Ended {
        self.send(&get(stream, path)).await;
        self.ended(stream).await
    }

    /// Sends the fields of a request that has no body, and reads until it has ended.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> Ended {
        let block = block(fields);
        let mut pieces = block.chunks(16_384).peekable();
        let first = pieces.next().unwrap_or_default();
        let last = |is_last| if is_last { END_HEADERS } else { 0 };
        self.send(&frame(HEADERS, END_STREAM | last(pieces.peek().is_none()), stream, first)).await;
        while let Some(piece) = pieces.next() {
            self.send(&frame(CONTINUATION, last(pieces.peek().is_none()), stream, piece)).await;
        }
        self.ended(stream).await
    }

    /// Reads until the connection has ended.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(next) = self.next().await {
            frames.push(next);
        }
        frames
    }
}
