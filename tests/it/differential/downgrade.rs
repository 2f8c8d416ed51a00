//! HTTP/2 in, HTTP/1.1 out: what of a stream's fields may become a head of the older protocol.
//!
//! Outcomes are written as in the other tables. `refused` is an answer of the engine with 4xx or 5xx, `reset` ends the
//! stream or the connection; either way the upstream gets no whole request.

use super::recorder::{Recorder, STRICT, requests};
use crate::frames::{DATA, END_HEADERS, END_STREAM, Ended, Frames, HEADERS, block, frame};

struct Row {
    name: &'static str,
    section: &'static str,
    fields: &'static [(&'static str, &'static str)],
    /// DATA frames, and trailers if they are not empty.
    data: &'static [&'static str],
    trailers: &'static [(&'static str, &'static str)],
    owed: &'static str,
}

const fn row(
    name: &'static str,
    section: &'static str,
    fields: &'static [(&'static str, &'static str)],
    owed: &'static str,
) -> Row {
    Row { name, section, fields, data: &[], trailers: &[], owed }
}

impl Row {
    const fn data(self, data: &'static [&'static str]) -> Self {
        Self { data, ..self }
    }

    const fn trailers(self, trailers: &'static [(&'static str, &'static str)]) -> Self {
        Self { trailers, ..self }
    }

    fn sent(&self) -> Vec<u8> {
        let is_last = |so| if so { END_STREAM } else { 0 };
        let only = self.data.is_empty() && self.trailers.is_empty();
        let mut bytes = frame(HEADERS, END_HEADERS | is_last(only), 1, &block(self.fields));
        for (at, data) in self.data.iter().enumerate() {
            let last = self.trailers.is_empty() && at + 1 == self.data.len();
            bytes.extend(frame(DATA, is_last(last), 1, data.as_bytes()));
        }
        if !self.trailers.is_empty() {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(self.trailers)));
        }
        bytes
    }
}

/// The pseudo-fields of a request for a path, then others.
macro_rules! ask {
    ($method:literal, $path:literal $(, $name:literal: $value:literal)*) => {
        &[(":method", $method), (":scheme", "http"), (":authority", "a"), (":path", $path) $(, ($name, $value))*]
    };
}

static ROWS: &[Row] = &[
    row("a request", "9113 8.3.1", ask!("GET", "/v1/a?b"), "GET /v1/a?b a none"),
    row(
        "fields",
        "9113 8.2",
        ask!("GET", "/v1/a", "x-probe": "b", "x-probe": "c"),
        "GET /v1/a a none x-probe=[b] x-probe=[c]",
    ),
    row("a body without a length", "9113 8.1", ask!("POST", "/v1/a"), "POST /v1/a a chunked abc")
        .data(&["a", "bc"]),
    row(
        "a body with a length",
        "9113 8.1.1",
        ask!("POST", "/v1/a", "content-length": "3"),
        "POST /v1/a a length abc",
    )
    .data(&["abc"]),
    row("an empty body", "9113 8.1", ask!("POST", "/v1/a", "content-length": "0"), "POST /v1/a a length"),
    row("GET with a body", "9113 8.1", ask!("GET", "/v1/a"), "GET /v1/a a chunked abc").data(&["abc"]),
    row(
        "a body that looks like chunks",
        "9113 8.1",
        ask!("POST", "/v1/a"),
        "POST /v1/a a chunked 0\\r\\n\\r\\nGET /v1/b HTTP/1.1\\r\\n\\r\\n",
    )
    .data(&["0\r\n\r\nGET /v1/b HTTP/1.1\r\n\r\n"]),
    row("less data than the length", "9113 8.1.1", ask!("POST", "/v1/a", "content-length": "4"), "reset")
        .data(&["abc"]),
    row("more data than the length", "9113 8.1.1", ask!("POST", "/v1/a", "content-length": "2"), "reset")
        .data(&["abc"]),
    row("a length and no data", "9113 8.1.1", ask!("POST", "/v1/a", "content-length": "3"), "reset"),
    row("a length that is no number", "9113 8.1.1", ask!("POST", "/v1/a", "content-length": "+3"), "reset")
        .data(&["abc"]),
    row(
        "two lengths that differ",
        "9113 8.1.1",
        ask!("POST", "/v1/a", "content-length": "3", "content-length": "4"),
        "reset",
    )
    .data(&["abc"]),
    row("trailers", "9110 6.5.1", ask!("POST", "/v1/a"), "POST /v1/a a chunked abc")
        .data(&["abc"])
        .trailers(&[("content-length", "9"), ("host", "b"), ("x-probe", "b")]),
    row("a transfer coding", "9113 8.2.2", ask!("POST", "/v1/a", "transfer-encoding": "chunked"), "reset")
        .data(&["abc"]),
    row("a length in disguise", "9110 5.1", ask!("POST", "/v1/a", "content_length": "3"), "refused"),
    row(
        "a transfer coding in disguise",
        "9110 5.1",
        ask!("POST", "/v1/a", "transfer_encoding": "chunked"),
        "refused",
    ),
    row("a connection field", "9113 8.2.2", ask!("GET", "/v1/a", "connection": "x-probe"), "reset"),
    row("an upgrade", "9113 8.2.2", ask!("GET", "/v1/a", "upgrade": "h2c"), "reset"),
    row("keep-alive", "9113 8.2.2", ask!("GET", "/v1/a", "keep-alive": "5"), "reset"),
    row("proxy-connection", "9113 8.2.2", ask!("GET", "/v1/a", "proxy-connection": "close"), "reset"),
    row("TE of trailers", "9113 8.2.2", ask!("GET", "/v1/a", "te": "trailers"), "GET /v1/a a none"),
    row("TE of a coding", "9113 8.2.2", ask!("GET", "/v1/a", "te": "gzip"), "reset"),
    row(
        "cookies in crumbs",
        "9113 8.2.3",
        ask!("GET", "/v1/a", "cookie": "a=b", "x-probe": "c", "cookie": "d=e"),
        "GET /v1/a a none cookie=[a=b; d=e] x-probe=[c]",
    ),
    row("a line end in a value", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe": "b\r\nx-probe-2: c"), "reset"),
    row("a carriage return in a value", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe": "b\rc"), "reset"),
    row("a line feed in a value", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe": "b\nc"), "reset"),
    row("NUL in a value", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe": "b\0c"), "reset"),
    row("a line end in a name", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe: b\r\nx-probe-2": "c"), "reset"),
    row("a colon in a name", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe:b": "c"), "reset"),
    row("a space in a name", "9113 8.2.1", ask!("GET", "/v1/a", "x-probe ": "c"), "reset"),
    row("capitals in a name", "9113 8.2.1", ask!("GET", "/v1/a", "X-Probe": "c"), "reset"),
    row("an empty name", "9113 8.2.1", ask!("GET", "/v1/a", "": "c"), "reset"),
    row("a method in lower case", "9110 9.1", ask!("get", "/v1/a"), "refused"),
    row("a method with a space", "9110 9.1", ask!("GET /v1/b HTTP/1.1\r\n", "/v1/a"), "reset"),
    row("CONNECT", "9113 8.5", &[(":method", "CONNECT"), (":authority", "a:80")], "refused"),
    row(
        "CONNECT of RFC 8441 that was not offered",
        "8441 4",
        ask!("CONNECT", "/v1/a", ":protocol": "websocket"),
        "reset",
    ),
    row("a space in the path", "9113 8.3.1", ask!("GET", "/v1/a HTTP/1.1"), "reset"),
    row("a line end in the path", "9113 8.3.1", ask!("GET", "/v1/a HTTP/1.1\r\nx-probe: b"), "reset"),
    // Owed is a reset. The library that reads the fields leaves a fragment out before anybody sees it: route, policies and
    // upstream still see the same path.
    row("a fragment", "9113 8.3.1", ask!("GET", "/v1/a#b"), "GET /v1/a a none"),
    row("letters outside ASCII in the path", "3986 2", ask!("GET", "/v1/\u{e4}"), "refused"),
    row("letters outside ASCII in the query", "3986 2", ask!("GET", "/v1/a?\u{e4}"), "refused"),
    row("DEL in the query", "3986 2", ask!("GET", "/v1/a?\x7f"), "reset"),
    row("braces in the path", "3986 3.3", ask!("GET", "/v1/{b}"), "refused"),
    row("quotes in the path", "3986 3.3", ask!("GET", "/v1/\"b\""), "refused"),
    row("a bar in the path", "3986 3.3", ask!("GET", "/v1/a|b"), "GET /v1/a%7Cb a none"),
    row("a dot segment", "3986 5.2.4", ask!("GET", "/v1/../a"), "refused"),
    row("an escaped letter", "3986 6.2.2.2", ask!("GET", "/v1/%61"), "GET /v1/a a none"),
    row("an empty path", "9113 8.3.1", ask!("GET", ""), "reset"),
    row("a path without a slash", "9113 8.3.1", ask!("GET", "v1/a"), "reset"),
    row("a URL as the path", "9113 8.3.1", ask!("GET", "http://b/v1/a"), "reset"),
    row("the server as a whole, of GET", "9113 8.3.1", ask!("GET", "*"), "refused"),
    row("two paths", "9113 8.3", ask!("GET", "/v1/a", ":path": "/v1/b"), "reset"),
    row(
        "a pseudo-field after others",
        "9113 8.3",
        &[(":method", "GET"), (":scheme", "http"), ("x-probe", "b"), (":authority", "a"), (":path", "/v1/a")],
        "reset",
    ),
    row("a pseudo-field nobody knows", "9113 8.3", ask!("GET", "/v1/a", ":probe": "b"), "reset"),
    row("a pseudo-field of answers", "9113 8.3", ask!("GET", "/v1/a", ":status": "200"), "reset"),
    row("no scheme", "9113 8.3.1", &[(":method", "GET"), (":authority", "a"), (":path", "/v1/a")], "reset"),
    row("no method", "9113 8.3.1", &[(":scheme", "http"), (":authority", "a"), (":path", "/v1/a")], "reset"),
    row(
        "host instead of authority",
        "9113 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/a"), ("host", "b")],
        "GET /v1/a b none",
    ),
    row(
        "host beside authority, the same",
        "9113 8.3.1",
        ask!("GET", "/v1/a", "host": "a"),
        "GET /v1/a a none",
    ),
    row("host beside authority", "9113 8.3.1", ask!("GET", "/v1/a", "host": "b"), "refused"),
    row("no host", "9113 8.3.1", &[(":method", "GET"), (":scheme", "http"), (":path", "/v1/a")], "refused"),
    row(
        "user information",
        "9113 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "u@a"), (":path", "/v1/a")],
        "refused",
    ),
    row(
        "an authority with a path",
        "9113 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a/b"), (":path", "/v1/a")],
        "reset",
    ),
    row(
        "an authority with a line end",
        "9113 8.3.1",
        &[(":method", "GET"), (":scheme", "http"), (":authority", "a\r\nx-probe: b"), (":path", "/v1/a")],
        "reset",
    ),
];

#[tokio::test]
async fn of_http_2_only_what_is_owed_becomes_a_request_of_http_1() {
    let (setup, system) = super::systems::engine().await;
    let mut wrong = Vec::new();
    for row in ROWS {
        let outcome = outcome(row, setup.address(), &system.recorder).await;
        if outcome != row.owed {
            wrong.push(format!("{} ({}): owed {:?}, came {outcome:?}", row.name, row.section, row.owed));
        }
    }
    super::none(&wrong, "HTTP/2");
    setup.engine.stop().await;
}

async fn outcome(row: &Row, engine: std::net::SocketAddr, recorder: &Recorder) -> String {
    let mut client = Frames::connect(engine, &[]).await;
    client.send(&row.sent()).await;
    let ended = client.ended(1).await;
    drop(client);
    let upstream = recorder.take();
    let seen = upstream.iter().flat_map(|bytes| requests(bytes, STRICT)).filter(|request| request.is_whole);
    let seen: Vec<String> = seen.map(|request| request.canonical(recorder.address)).collect();
    match (&ended, seen.is_empty()) {
        (Ended::Answered(true, _), false) => seen.join(" + "),
        (Ended::Answered(false, _), true) => "refused".to_owned(),
        (Ended::Reset(_) | Ended::Gone, true) => "reset".to_owned(),
        _ => format!("{ended:?}, upstream {seen:?}"),
    }
}
