//! What a client sends: requests, spliced and mutated, cut into pieces.

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};

/// What one connection sends, and how.
pub(crate) struct Input {
    pub(crate) bytes: Vec<u8>,
    /// Where one write ends and the next begins; not always to the end.
    pub(crate) cuts: Vec<usize>,
    /// Closes without reading.
    pub(crate) leaves: bool,
}

const HTTP1: [&[u8]; 12] = [
    b"GET /v1/a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/a?b=c&d=%20 HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nX-Request-Id: 0123456789\r\n\r\n",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /v1/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n2\r\nde\r\n0\r\nX-T: u\r\n\r\n",
    b"PUT /v1/a/%c3%a4 HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET http://a/v1/a HTTP/1.1\r\nHost: a\r\nConnection: X-One\r\nX-One: b\r\n\r\n",
    b"GET /v1/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nDELETE /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nForwarded: for=1.2.3.4\r\n\r\n",
    b"GET /v1/../a HTTP/1.1\r\nHost: a\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
    b"GET /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
];

/// What makes a difference where it stands.
const PIECES: [&[u8]; 22] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"\t",
    b"%",
    b"/../",
    b"%2f",
    b"#",
    b"\xff",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"GET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n",
    b"Connection: Host\r\n",
    b"Expect: 100-continue\r\n",
    b"-1",
    b"fffffffffffffffff",
];

impl Input {
    /// The same for the same numbers.
    pub(crate) fn new(seed: u64, connection: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000_003) ^ connection);
        let random = &mut random;
        let mut bytes = Vec::new();
        match random.u8(..20) {
            0 => bytes.extend((0..random.usize(1..2_000)).map(|_| random.u8(..))),
            1..8 => bytes = http2(random),
            _ => (0..random.usize(1..6)).for_each(|_| bytes.extend(HTTP1[random.usize(..HTTP1.len())])),
        }
        if random.u8(..5) > 0 {
            (0..random.usize(1..5)).for_each(|_| mutate(random, &mut bytes));
        }
        let cut_off = random.u8(..5) == 0;
        let end = if cut_off { random.usize(..=bytes.len()) } else { bytes.len() };
        let mut cuts: Vec<usize> = (0..random.usize(..6)).map(|_| random.usize(..=end)).collect();
        cuts.push(end);
        cuts.sort_unstable();
        Self { bytes, cuts, leaves: random.u8(..4) == 0 }
    }
}

fn http2(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    for number in 0..random.u32(1..5) {
        let stream = 1 + 2 * number;
        match random.u8(..5) {
            0 => bytes.extend(get(stream, "/v1/a")),
            1 => {
                let fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/v1/a?b"),
                    ("x-y", "z"),
                ];
                bytes.extend(frame(HEADERS, END_HEADERS, stream, &block(&fields)));
                bytes.extend(frame(DATA, 0, stream, b"abc"));
                bytes.extend(frame(DATA, END_STREAM, stream, b"de"));
            }
            2 => {
                let fields = [
                    (":method", "PUT"),
                    (":scheme", "http"),
                    (":path", "/v1/%41"),
                    ("host", "a"),
                    ("content-length", "3"),
                    ("cookie", "a=b"),
                    ("cookie", "c=d"),
                ];
                bytes.extend(frame(HEADERS, END_HEADERS, stream, &block(&fields)));
                bytes.extend(frame(DATA, END_STREAM, stream, b"abc"));
            }
            3 => {
                bytes.extend(frame(PING, 0, 0, b"12345678"));
                bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]));
                bytes.extend(get(stream, "/v1/../a"));
            }
            _ => {
                bytes.extend(get(stream, "/v1/a"));
                bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            }
        }
    }
    bytes
}

fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    let at = random.usize(..=bytes.len());
    let until = (at + random.usize(..40)).min(bytes.len());
    match random.u8(..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 => drop(bytes.drain(at..until)),
        3 => {
            let again = bytes[at..until].to_vec();
            bytes.splice(at..at, again);
        }
        4 => {
            let other = HTTP1[random.usize(..HTTP1.len())];
            let from = random.usize(..other.len());
            bytes.splice(at..until, other[from..].iter().copied());
        }
        _ => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
    }
}
