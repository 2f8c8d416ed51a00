//! Where a message ends: lengths, codings, chunks, trailers, and what follows on the same connection.

use super::rows::{Row, chunks, get, post, row};
use super::why::{
    ANY_NAME, BOTH_FRAMES, CONTROL, DIGITS, DROPPED, EMPTY_LINES, EXPECTS, HOP, LF, LF_CHUNK, LONG_EXTENSION,
    NO_BODY, OLD, OLD_UPGRADE, RAW_PATH, SAME, SPACES, TAB_SPACE, TRAILERS, TUNNEL, UNFOLDS, WRAPS,
};

const ONE_HOP: &str = "the next hop may split the list, or take its other end";
const CGI: &str = "application stacks that turn names into HTTP_* variables read it as framing";

pub(crate) static LENGTHS: &[Row] = &[
    row("length", "9112 6.2", post!("Content-Length: 3\r\n", "abc"), "POST /v1/a a length abc"),
    row("length of nothing", "9110 8.6", post!("Content-Length: 0\r\n", ""), "POST /v1/a a length"),
    row("no length, no body", "9110 8.6", post!("", ""), "POST /v1/a a length"),
    row("length with spaces around", "9112 5.1", post!("Content-Length: \t 3 \t\r\n", "abc"), "POST /v1/a a length abc").nginx("400 closed", TAB_SPACE),
    row("length with leading zeros", "9110 8.6", post!("Content-Length: 0003\r\n", "abc"), "POST /v1/a a length abc"),
    row("two lengths that differ", "9112 6.3", post!("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), "400 closed"),
    row("two lengths, the same", "9112 6.3", post!("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), "400 closed")
        .stricter(ONE_HOP).haproxy("POST /v1/a a length abc", SAME),
    row("length as a list of the same", "9112 6.3", post!("Content-Length: 3, 3\r\n", "abc"), "400 closed")
        .stricter(ONE_HOP).haproxy("POST /v1/a a length abc", SAME),
    row("length as a list", "9112 6.3", post!("Content-Length: 3, 4\r\n", "abc"), "400 closed"),
    row("length with plus", "9110 8.6", post!("Content-Length: +3\r\n", "abc"), "400 closed"),
    row("length with minus", "9110 8.6", post!("Content-Length: -1\r\n", "abc"), "400 closed"),
    row("length in hexadecimal", "9110 8.6", post!("Content-Length: 0x3\r\n", "abc"), "400 closed"),
    row("length with underscore", "9110 8.6", post!("Content-Length: 1_0\r\n", "abc"), "400 closed"),
    row("length with fraction", "9110 8.6", post!("Content-Length: 3.0\r\n", "abc"), "400 closed"),
    row("length with exponent", "9110 8.6", post!("Content-Length: 3e0\r\n", "abc"), "400 closed"),
    row("length in quotes", "9110 8.6", post!("Content-Length: \"3\"\r\n", "abc"), "400 closed"),
    row("length with junk behind", "9110 8.6", post!("Content-Length: 3 4\r\n", "abc"), "400 closed"),
    row("length with parameter", "9110 8.6", post!("Content-Length: 3;a\r\n", "abc"), "400 closed"),
    row("length with vertical tab", "9110 5.5", post!("Content-Length: \x0b3\r\n", "abc"), "400 closed"),
    row("length empty", "9110 8.6", post!("Content-Length:\r\n", "abc"), "400 closed"),
    row("length empty, then valid", "9112 6.3", post!("Content-Length:\r\nContent-Length: 3\r\n", "abc"), "400 closed"),
    row("length of 2^64", "9110 8.6", post!("Content-Length: 18446744073709551616\r\n", "abc"), "400 closed").haproxy("POST /v1/a a unreadable + abcGET /v1/after after none closed", WRAPS),
    row("length of 2^64 + 3", "9110 8.6", post!("Content-Length: 18446744073709551619\r\n", "abc"), "400 closed").haproxy("POST /v1/a a unreadable abc", WRAPS),
    row("length over the limit", "9110 15.5.14", post!("Content-Length: 9999999999\r\n", "abc"), "413 closed"),
    row("length with a space before the colon", "9112 5.1", post!("Content-Length : 3\r\n", "abc"), "400 closed"),
    row("length with an underscore in its name", "9110 5.1", post!("Content_Length: 3\r\n", ""), "400 closed").stricter(CGI).nginx("POST /v1/a a none", DROPPED).haproxy("POST /v1/a a none", ANY_NAME),
    row("length folded", "9112 5.2", post!("Content-Length:\r\n 3\r\n", "abc"), "400 closed").haproxy("POST /v1/a a length abc", UNFOLDS),
    row("length in the Connection field", "9110 7.6.1", post!("Connection: Content-Length\r\nContent-Length: 3\r\n", "abc"), "POST /v1/a a length abc"),
    row("a body that looks like a request", "9112 6.3", post!("Content-Length: 30\r\n", "GET /v1/b HTTP/1.1\r\nHost: b\r\n\r"), "POST /v1/a a length GET /v1/b HTTP/1.1\\r\\nHost: b\\r\\n\\r"),
    row("GET with a length", "9110 9.3.1", b"GET /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET /v1/a a length abc"),
    row("GET with a length of nothing", "9110 9.3.1", get!("/v1/a", "Content-Length: 0\r\n"), "GET /v1/a a none"),
    row("HEAD with a length", "9110 9.3.2", b"HEAD /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "HEAD /v1/a a length abc"),
    row("DELETE with a length", "9110 9.3.5", b"DELETE /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "DELETE /v1/a a length abc"),
    row("OPTIONS with a length", "9110 9.3.7", b"OPTIONS /v1/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "OPTIONS /v1/a a length abc"),
    row("HTTP/1.0 with a length", "9112 6.3", b"POST /v1/a HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST /v1/a a length abc closed").haproxy("POST /v1/a a length abc HTTP/1.0 closed", OLD),
    row("HTTP/1.0 kept alive", "9112 9.3", b"POST /v1/a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "POST /v1/a a length abc").haproxy("POST /v1/a a length abc HTTP/1.0", OLD),
    row("HTTP/1.0 body until the end of the connection", "9112 6.3", b"POST /v1/a HTTP/1.0\r\nHost: a\r\n\r\nabc", "400 closed")
        .stricter("RFC 1945 has no other way to send this body, so the client means one that nobody forwards (CVE-2026-2835)").nginx("POST /v1/a a none closed", NO_BODY).haproxy("POST /v1/a a none HTTP/1.0 closed", NO_BODY),
    row("expectation with a body", "9110 10.1.1", post!("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"), "POST /v1/a a length abc"),
    row("an unknown expectation", "9110 10.1.1", post!("Expect: tea\r\nContent-Length: 3\r\n", "abc"), "417 closed").both("POST /v1/a a length abc", EXPECTS),
];

pub(crate) static CODINGS: &[Row] = &[
    row("chunked", "9112 7.1", chunks!("3\r\nabc\r\n0\r\n\r\n"), "POST /v1/a a chunked abc"),
    row("chunked in capitals", "9112 7", post!("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n"), "POST /v1/a a chunked abc"),
    row("chunked with spaces around", "9112 5.1", post!("Transfer-Encoding:\t chunked \t\r\n", "3\r\nabc\r\n0\r\n\r\n"), "POST /v1/a a chunked abc").nginx("501 closed", TAB_SPACE),
    row("GET with chunks", "9110 9.3.1", get!("/v1/a", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"), "GET /v1/a a chunked abc"),
    row("coding in the Connection field", "9110 7.6.1", post!("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), "POST /v1/a a chunked abc"),
    row("length, then coding", "9112 6.1", post!("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400 closed").haproxy("POST /v1/a a chunked closed", BOTH_FRAMES),
    row("coding, then length", "9112 6.1", post!("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"), "400 closed").haproxy("POST /v1/a a chunked closed", BOTH_FRAMES),
    row("coding and length in HTTP/1.0", "9112 6.1", b"POST /v1/a HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 closed").haproxy("POST /v1/a a chunked HTTP/1.0 closed", BOTH_FRAMES),
    row("coding in HTTP/1.0", "9112 6.1", b"POST /v1/a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 closed").haproxy("POST /v1/a a chunked HTTP/1.0 closed", BOTH_FRAMES),
    row("several codings in HTTP/1.0", "9112 6.1", b"POST /v1/a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 closed"),
    row("an unknown coding", "9112 6.1", post!("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), "501 closed"),
    row("identity", "9112 6.1", post!("Transfer-Encoding: identity\r\n", "0\r\n\r\n"), "501 closed"),
    row("gzip, chunked", "9112 6.1", post!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "501 closed"),
    row("identity, chunked", "9112 6.1", post!("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"), "501 closed"),
    row("chunked, identity", "9112 6.3", post!("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), "400 closed"),
    row("chunked, chunked", "9112 6.1", post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), "400 closed"),
    row("two coding fields", "9112 6.1", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400 closed"),
    row("two coding fields that differ", "9112 6.3", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), "400 closed"),
    row("chunked after an empty member", "9110 5.6.1.2", post!("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), "400 closed")
        .stricter("who compares the whole value with `chunked` sees a body without end, or none"),
    row("chunked in quotes", "9112 7", post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), "400 closed"),
    row("chunked with parameter", "9112 7.1", post!("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n"), "400 closed"),
    row("chunked after a vertical tab", "9110 5.5", post!("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), "400 closed"),
    row("chunked after a no-break space", "9112 7", b"POST /v1/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", "400 closed"),
    row("coding folded", "9112 5.2", post!("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), "400 closed").haproxy("POST /v1/a a chunked", UNFOLDS),
    row("coding empty", "9112 6.1", post!("Transfer-Encoding:\r\n", "0\r\n\r\n"), "400 closed"),
    row("coding with a space before the colon", "9112 5.1", post!("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), "400 closed"),
    row("coding with a tab before the colon", "9112 5.1", post!("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), "400 closed"),
    row("coding with an underscore in its name", "9110 5.1", post!("Transfer_Encoding: chunked\r\n", ""), "400 closed").stricter(CGI).nginx("POST /v1/a a none", DROPPED).haproxy("POST /v1/a a none", ANY_NAME),
    row("coding in a line of another field", "9112 2.2", post!("X-Probe: a\nTransfer-Encoding: chunked\r\n", ""), "400 closed"),
];

pub(crate) static CHUNKS: &[Row] = &[
    row(
        "size in capitals",
        "9112 7.1",
        chunks!("A\r\n0123456789\r\n0\r\n\r\n"),
        "POST /v1/a a chunked 0123456789",
    ),
    row(
        "size with leading zeros",
        "9112 7.1",
        chunks!("0003\r\nabc\r\n000\r\n\r\n"),
        "POST /v1/a a chunked abc",
    ),
    row("two chunks", "9112 7.1", chunks!("1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), "POST /v1/a a chunked abc"),
    row("no data", "9112 7.1", chunks!("0\r\n\r\n"), "POST /v1/a a chunked"),
    row(
        "data that looks like a request",
        "9112 7.1",
        chunks!("18\r\nGET /v1/b HTTP/1.1\r\n\r\nab\r\n0\r\n\r\n"),
        "POST /v1/a a chunked GET /v1/b HTTP/1.1\\r\\n\\r\\nab",
    ),
    row(
        "an extension",
        "9112 7.1.1",
        chunks!("3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n"),
        "POST /v1/a a chunked abc",
    ),
    row("a space before an extension", "9112 7.1.1", chunks!("3 ;a=b\r\nabc\r\n0\r\n\r\n"), "400 closed")
        .stricter(
            "white space there is a MUST NOT for senders, and servers differ in how much of it they skip",
        )
        .both("POST /v1/a a chunked abc", SPACES),
    row("a space behind the size", "9112 7.1", chunks!("3 \r\nabc\r\n0\r\n\r\n"), "400 closed")
        .both("POST /v1/a a chunked abc", SPACES),
    row("a space before the size", "9112 7.1", chunks!(" 3\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size with 0x", "9112 7.1", chunks!("0x3\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size with plus", "9112 7.1", chunks!("+3\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size with minus", "9112 7.1", chunks!("-3\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size of 17 digits", "9112 7.1", chunks!("00000000000000003\r\nabc\r\n0\r\n\r\n"), "400 closed")
        .stricter("a size is 64 bits; who counts digits and who counts bits must not differ")
        .both("POST /v1/a a chunked abc", DIGITS),
    row("size over 2^64", "9112 7.1", chunks!("10000000000000003\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size missing", "9112 7.1", chunks!("\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size missing before an extension", "9112 7.1", chunks!(";a\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("size that is no number", "9112 7.1", chunks!("xyz\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("a bare line feed behind the size", "9112 7.1", chunks!("3\nabc\r\n0\r\n\r\n"), "400 closed")
        .both("POST /v1/a a chunked abc", LF_CHUNK),
    row("a bare line feed behind the data", "9112 7.1", chunks!("3\r\nabc\n0\r\n\r\n"), "400 closed")
        .both("POST /v1/a a chunked abc", LF_CHUNK),
    row("a bare line feed behind the last size", "9112 7.1", chunks!("3\r\nabc\r\n0\n\r\n"), "400 closed")
        .both("POST /v1/a a chunked abc", LF_CHUNK),
    row("a bare line feed at the end", "9112 7.1", chunks!("3\r\nabc\r\n0\r\n\n"), "400 closed")
        .both("POST /v1/a a chunked abc", LF_CHUNK),
    row(
        "a carriage return and a letter behind the size",
        "9112 7.1",
        chunks!("3\rXabc\r\n0\r\n\r\n"),
        "400 closed",
    ),
    row("two letters behind the data", "9112 7.1", chunks!("3\r\nabcXX0\r\n\r\n"), "400 closed"),
    row("more data than the size", "9112 7.1", chunks!("3\r\nabcdef\r\n0\r\n\r\n"), "400 closed"),
    row("less data than the size", "9112 7.1", chunks!("5\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row("a line feed in an extension", "9112 7.1.1", chunks!("3;a\nb\r\nabc\r\n0\r\n\r\n"), "400 closed"),
    row(
        "a line end in a quoted extension",
        "9112 7.1.1",
        chunks!("3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n"),
        "400 closed",
    ),
    row("a control byte in an extension", "9112 7.1.1", chunks!("3;a\x01\r\nabc\r\n0\r\n\r\n"), "400 closed")
        .both("POST /v1/a a chunked abc", CONTROL),
    row("64 KiB of extension", "9112 7.1.1", chunks!("3;@@\r\nabc\r\n0\r\n\r\n"), "400 closed")
        .grown(65_536)
        .stricter("RFC 9112 asks for a limit and sets none; nobody sends so much in earnest")
        .nginx("POST /v1/a a length abc", LONG_EXTENSION),
    row(
        "trailers of identity and framing",
        "9110 6.5.1",
        chunks!("3\r\nabc\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: b\r\nX-User: b\r\n\r\n"),
        "POST /v1/a a chunked abc",
    )
    .haproxy(
        "POST /v1/a a chunked abc trailer:content-length trailer:host trailer:authorization trailer:x-user",
        TRAILERS,
    ),
    row(
        "a harmless trailer",
        "9112 7.1.2",
        chunks!("3\r\nabc\r\n0\r\nX-Probe: b\r\n\r\n"),
        "POST /v1/a a chunked abc",
    )
    .haproxy("POST /v1/a a chunked abc trailer:x-probe", TRAILERS),
    row(
        "a trailer that is no field",
        "9112 7.1.2",
        chunks!("3\r\nabc\r\n0\r\nno field\r\n\r\n"),
        "400 closed",
    )
    .nginx("POST /v1/a a length abc", TRAILERS),
    row(
        "a trailer that is folded",
        "9112 5.2",
        chunks!("3\r\nabc\r\n0\r\nX-Probe: a\r\n b\r\n\r\n"),
        "400 closed",
    )
    .nginx("POST /v1/a a length abc", TRAILERS)
    .haproxy("POST /v1/a a chunked abc trailer:x-probe", TRAILERS),
    row(
        "a trailer with a bare line feed",
        "9112 2.2",
        chunks!("3\r\nabc\r\n0\r\nX-Probe: a\n\r\n"),
        "400 closed",
    )
    .nginx("POST /v1/a a length abc", LF_CHUNK)
    .haproxy("POST /v1/a a chunked abc trailer:x-probe", LF_CHUNK),
    row("the end without an empty line", "9112 7.1", chunks!("3\r\nabc\r\n0\r\n"), "400 closed")
        .nginx("POST /v1/a a length abc closed", TRAILERS),
];

pub(crate) static PIPELINES: &[Row] = &[
    row("two requests at once", "9112 9.3.2", b"GET /v1/a HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n", "GET /v1/a a none + GET /v1/b b none"),
    row("a body, then a request", "9112 9.3.2", post!("Content-Length: 3\r\n", "abcGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n"), "POST /v1/a a length abc + GET /v1/b b none"),
    row("chunks, then a request", "9112 9.3.2", chunks!("3\r\nabc\r\n0\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n"), "POST /v1/a a chunked abc + GET /v1/b b none"),
    row("a request after close", "9112 9.6", get!("/v1/a", "Connection: close\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n"), "GET /v1/a a none closed"),
    row("a request, then an invalid one", "9112 9.3.2", b"GET /v1/a HTTP/1.1\r\nHost: a\r\n\r\nGET  /v1/b HTTP/1.1\r\nHost: b\r\n\r\n", "GET /v1/a a none -> 200 400 closed").both("GET /v1/a a none + GET /v1/b b none", SPACES),
    row("an empty line before a request", "9112 2.2", b"\r\nGET /v1/a HTTP/1.1\r\nHost: a\r\n\r\n", "GET /v1/a a none"),
    row("an empty line between requests", "9112 2.2", post!("Content-Length: 3\r\n", "abc\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n"), "POST /v1/a a length abc + GET /v1/b b none"),
    row("three empty lines before a request", "9112 2.2", b"\r\n\r\n\r\nGET /v1/a HTTP/1.1\r\nHost: a\r\n\r\n", "400 closed")
        .stricter("one empty line is an old client's mistake, three are no client's").both("GET /v1/a a none", EMPTY_LINES),
    row("a bare line feed before a request", "9112 2.2", b"\nGET /v1/a HTTP/1.1\r\nHost: a\r\n\r\n", "400 closed")
        .stricter("a line feed alone ends no line here, wherever it stands").both("GET /v1/a a none", LF),
    row("a refused path, then a request", "9112 9.3", b"GET /v1/../a HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n", "GET /v1/b b none -> 400 200").both("GET /v1/../a a none + GET /v1/b b none", RAW_PATH),
    row("a body of a refused request, then a request", "9112 9.3", b"POST /v1/../a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n", "GET /v1/b b none -> 400 200").both("POST /v1/../a a length abc + GET /v1/b b none", RAW_PATH),
];

pub(crate) static TUNNELS: &[Row] = &[
    row("h2c", "9113 3.1", get!("/v1/a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), "GET /v1/a a none").nginx("GET /v1/a a none hop:http2-settings", HOP).haproxy("GET /v1/a a none hop:upgrade hop:http2-settings", HOP),
    row("h2c without its Connection", "9110 7.8", get!("/v1/a", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"), "GET /v1/a a none").nginx("GET /v1/a a none hop:http2-settings", HOP).haproxy("GET /v1/a a none hop:upgrade hop:http2-settings", HOP),
    row("an upgrade that the operation does not offer", "9110 7.8", get!("/v1/a", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"), "GET /v1/a a none").haproxy("GET /v1/a a none hop:upgrade", HOP),
    row("an upgrade in HTTP/1.0", "9110 7.8", b"GET /v1/a HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET /v1/a a none closed").haproxy("400 closed", OLD_UPGRADE),
    row("CONNECT", "9110 9.3.6", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "501 closed").haproxy("CONNECT a:80 a none -> nothing", TUNNEL),
    row("CONNECT with early data", "9110 9.3.6", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: b\r\n\r\n", "501 closed").haproxy("CONNECT a:80 a none + GET /v1/b b none -> nothing", TUNNEL),
    row("CONNECT with a path", "9112 3.2.3", b"CONNECT /v1/a HTTP/1.1\r\nHost: a\r\n\r\n", "501 closed"),
];
