//! Requests as rows: bytes and the verdict they owe. Refusals first.

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 1024, fields_max: 8, target_bytes_max: 64 };

fn take_one(input: &[u8]) -> Result<Option<RequestHead>, Refusal> {
    take_request_head(&mut BytesMut::from(input), &mut HeadScan::default(), &LIMITS)
}

fn refused(input: &[u8]) -> Refusal {
    match take_one(input) {
        Err(refusal) => refusal,
        other => panic!("{:?} was not refused: {other:?}", String::from_utf8_lossy(input)),
    }
}

fn accepted(input: &[u8]) -> RequestHead {
    match take_one(input) {
        Ok(Some(head)) => head,
        other => panic!("{:?} was not accepted: {other:?}", String::from_utf8_lossy(input)),
    }
}

/// A POST with the given field lines (each with its CRLF) beside a valid Host.
fn post(version: &str, fields: &[u8]) -> Vec<u8> {
    let mut input = format!("POST /pay HTTP/{version}\r\nHost: a.example\r\n").into_bytes();
    input.extend_from_slice(fields);
    input.extend_from_slice(b"\r\n");
    input
}

fn check_refused(input: &[u8], code: &str, part: &str) {
    let refusal = refused(input);
    let shown = String::from_utf8_lossy(input);
    assert_eq!(refusal.code(), code, "{shown:?}: {refusal}");
    assert!(refusal.detail().contains(part), "{shown:?}: {refusal}");
}

#[test]
fn ambiguous_framing_is_refused_in_both_versions() {
    for (fields, code, part) in [
        // Both, in both orders, valid or not.
        (&b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"[..], "malformed_request", "together"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "malformed_request", "together"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "malformed_request", "together"),
        (b"Transfer-Encoding: gzip\r\nContent-Length: 4\r\n", "malformed_request", "together"),
        (b"Content-Length: 4\r\nTransfer-Encoding: identity\r\n", "malformed_request", "together"),
        (
            b"Content-Length: 4\r\nTransfer-Encoding: xchunked\r\nExpect: tea\r\n",
            "malformed_request",
            "together",
        ),
        // Transfer-Encoding by itself.
        (b"Transfer-Encoding: ,chunked\r\n", "malformed_request", "no list"),
        (b"Transfer-Encoding: chunked, identity\r\n", "malformed_request", "last"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "malformed_request", "once"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "malformed_request", "twice"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "malformed_request", "twice"),
        (b"Transfer-Encoding: \"chunked\"\r\n", "malformed_request", "no list"),
        (b"Transfer-Encoding: \xa0chunked\r\n", "malformed_request", "no list"),
        (b"Transfer-Encoding: \xc2\xa0chunked\r\n", "malformed_request", "no list"),
        (b"Transfer-Encoding: \x0bchunked\r\n", "malformed_request", "control"),
        (b"Transfer-Encoding: \x0cchunked\r\n", "malformed_request", "control"),
        (b"Transfer-Encoding: chunked\0\r\n", "malformed_request", "NUL"),
        (b"Transfer-Encoding:\r\n chunked\r\n", "malformed_request", "folded"),
        (b"Transfer-Encoding: chunked\r\n \r\n", "malformed_request", "folded"),
        (b"Transfer-Encoding : chunked\r\n", "malformed_request", "before its colon"),
        (b"Transfer-Encoding\t: chunked\r\n", "malformed_request", "before its colon"),
        (b" Transfer-Encoding: chunked\r\n", "malformed_request", "folded"),
        (b"Transfer-Encoding\0: chunked\r\n", "malformed_request", "name"),
        (b"Transfer_Encoding: chunked\r\n", "malformed_request", "look-alike"),
        (b"TRANSFER_ENCODING: chunked\r\n", "malformed_request", "look-alike"),
        (b"Transfer-Encoding:\r\n", "malformed_request", "no list"),
        (b"Transfer-Encoding: chunked;q=1\r\n", "malformed_request", "parameters"),
        (b"X: y\nTransfer-Encoding: chunked\r\n", "malformed_request", "bare line feed"),
        (b"X: y\rTransfer-Encoding: chunked\r\n", "malformed_request", "stands alone"),
        // Content-Length by itself.
        (b"Content-Length: 4\r\nContent-Length: 5\r\n", "malformed_request", "twice"),
        (b"Content-Length: 4\r\nContent-Length: 4\r\n", "malformed_request", "twice"),
        (b"Content-Length: 3, 4\r\n", "malformed_request", "number"),
        (b"Content-Length: 4, 4\r\n", "malformed_request", "number"),
        (b"Content-Length: +3\r\n", "malformed_request", "number"),
        (b"Content-Length: -1\r\n", "malformed_request", "number"),
        (b"Content-Length: 0x3\r\n", "malformed_request", "number"),
        (b"Content-Length: 1_0\r\n", "malformed_request", "number"),
        (b"Content-Length: 1 0\r\n", "malformed_request", "number"),
        (b"Content-Length: 3 ;x\r\n", "malformed_request", "number"),
        (b"Content-Length:\r\n", "malformed_request", "empty"),
        (b"Content-Length:\r\nContent-Length: 3\r\n", "malformed_request", "empty"),
        (b"Content-Length: 3\r\nContent-Length:\r\n", "malformed_request", "twice"),
        (b"Content-Length: 18446744073709551616\r\n", "malformed_request", "2^64"),
        (b"Content_Length: 3\r\n", "malformed_request", "look-alike"),
        (b"Content-Length : 3\r\n", "malformed_request", "before its colon"),
    ] {
        check_refused(&post("1.1", fields), code, part);
        check_refused(&post("1.0", fields), code, part);
    }
}

#[test]
fn codings_and_bodies_by_version() {
    for coding in ["gzip", "identity", "xchunked", "gzip, chunked", "deflate;x=1"] {
        let fields = format!("Transfer-Encoding: {coding}\r\n");
        check_refused(&post("1.1", fields.as_bytes()), "not_implemented", "only transfer coding");
        check_refused(&post("1.0", fields.as_bytes()), "malformed_request", "HTTP/1.0");
    }
    check_refused(&post("1.0", b"Transfer-Encoding: chunked\r\n"), "malformed_request", "HTTP/1.0");
    // A body that would end with the connection (CVE-2026-2835).
    check_refused(&post("1.0", b""), "malformed_request", "needs a Content-Length");
    check_refused(&post("1.0", b"Connection: keep-alive\r\n"), "malformed_request", "needs a Content-Length");
    assert_eq!(accepted(&post("1.0", b"Content-Length: 7\r\n")).framing, Framing::Length(7));
    assert_eq!(accepted(b"GET / HTTP/1.0\r\n\r\n").framing, Framing::None);
}

#[test]
fn framing_as_announced() {
    for (fields, framing) in [
        (&b""[..], Framing::None),
        (b"Content-Length: 0\r\n", Framing::Length(0)),
        (b"Content-Length: \t 18446744073709551615 \r\n", Framing::Length(u64::MAX)),
        (b"Transfer-Encoding: chunked\r\n", Framing::Chunked),
        (b"transfer-encoding:\t cHUNKed \t\r\n", Framing::Chunked),
        (b"Connection: content-length\r\nContent-Length: 5\r\n", Framing::Length(5)),
    ] {
        assert_eq!(accepted(&post("1.1", fields)).framing, framing, "{:?}", String::from_utf8_lossy(fields));
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "QUERY"] {
        let input = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(accepted(input.as_bytes()).framing, Framing::Length(3), "{method}");
    }
    let padded = accepted(&post("1.1", b"Content-Length: 010\r\n"));
    assert_eq!(
        (padded.framing, padded.headers["content-length"].as_bytes()),
        (Framing::Length(10), &b"10"[..])
    );
}

#[test]
fn request_lines_that_are_refused() {
    for (line, code, part) in [
        // Methods.
        (&b"get / HTTP/1.1"[..], "malformed_request", "lower-case"),
        (b"Get / HTTP/1.1", "malformed_request", "lower-case"),
        (b"post / HTTP/1.1", "malformed_request", "lower-case"),
        (b"G\"ET / HTTP/1.1", "malformed_request", "method"),
        (b"G\0ET / HTTP/1.1", "malformed_request", "method"),
        (b"GET\t/ HTTP/1.1", "malformed_request", "method"),
        (b"G(ET / HTTP/1.1", "malformed_request", "method"),
        (b"\xc3\x89T / HTTP/1.1", "malformed_request", "method"),
        (b" GET / HTTP/1.1", "malformed_request", "before the method"),
        (b"GET", "malformed_request", "one word"),
        (b"\x16\x03\x01\x02\x00\x01", "malformed_request", "TLS"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", "not_implemented", "longer"),
        (b"CONNECT a.example:443 HTTP/1.1", "not_implemented", "tunnels"),
        (b"CONNECT / HTTP/1.1", "not_implemented", "tunnels"),
        // Separators and versions.
        (b"GET  / HTTP/1.1", "ambiguous_path", "raw space"),
        (b"GET /  HTTP/1.1", "ambiguous_path", "raw space"),
        (b"GET / HTTP/1.1 ", "malformed_request", "goes on"),
        (b"GET / HTTP/1.1\tx", "malformed_request", "goes on"),
        (b"GET /", "malformed_request", "without a version"),
        (b"GET / ", "malformed_request", "no version"),
        (b"GET / HTTP/1.2", "malformed_request", "neither"),
        (b"GET / HTTP/1.10", "malformed_request", "goes on"),
        (b"GET / HTTP/0.9", "malformed_request", "neither"),
        (b"GET / HTTP/2.0", "malformed_request", "neither"),
        (b"GET / HTTP/1", "malformed_request", "neither"),
        (b"GET / http/1.1", "malformed_request", "neither"),
        (b"GET / HTTP/1,1", "malformed_request", "neither"),
        (b"GET / HTTP /1.1", "malformed_request", "neither"),
        // Targets.
        (b"GET /a b HTTP/1.1", "ambiguous_path", "raw space"),
        (b"GET /a#b HTTP/1.1", "ambiguous_path", "fragment"),
        (b"GET /a?b#c HTTP/1.1", "ambiguous_path", "fragment"),
        (b"GET # HTTP/1.1", "ambiguous_path", "fragment"),
        (b"GET /a\tb HTTP/1.1", "ambiguous_path", "control"),
        (b"GET /a\0b HTTP/1.1", "ambiguous_path", "control"),
        (b"GET /a\x7fb HTTP/1.1", "ambiguous_path", "control"),
        (b"GET /a?b\x01 HTTP/1.1", "ambiguous_path", "control"),
        (b"GET /caf\xc3\xa9 HTTP/1.1", "ambiguous_path", "ASCII"),
        (b"GET /a?\xff HTTP/1.1", "ambiguous_path", "ASCII"),
        (b"GET /a\\..\\b HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET /{id} HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET /\"a\" HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET /<a> HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET /a^b`c HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET \\a HTTP/1.1", "ambiguous_path", "percent-encoded"),
        (b"GET * HTTP/1.1", "malformed_request", "OPTIONS"),
        (b"OPTIONS *a HTTP/1.1", "malformed_request", "neither"),
        (b"OPTIONS *?a HTTP/1.1", "malformed_request", "neither"),
        (b"PRI * HTTP/2.0", "malformed_request", "OPTIONS"),
        (b"GET a.example:80 HTTP/1.1", "malformed_request", "neither"),
        (b"GET h.example:80 HTTP/1.1", "malformed_request", "neither"),
        (b"GET a HTTP/1.1", "malformed_request", "neither"),
        (b"GET ?a HTTP/1.1", "malformed_request", "neither"),
        (b"GET %2fa HTTP/1.1", "malformed_request", "neither"),
        (b"GET http HTTP/1.1", "malformed_request", "neither"),
        (b"GET http:/a.example/ HTTP/1.1", "malformed_request", "neither"),
        (b"GET http:a.example HTTP/1.1", "malformed_request", "neither"),
        (b"GET ftp://a.example/ HTTP/1.1", "malformed_request", "neither"),
        (b"GET httpx://a.example/ HTTP/1.1", "malformed_request", "neither"),
        (b"GET http:///a HTTP/1.1", "bad_host", "empty"),
        (b"GET http://?a HTTP/1.1", "bad_host", "empty"),
        (b"GET http://u@a.example/ HTTP/1.1", "bad_host", "user information"),
        (b"GET http://u:p@a.example/ HTTP/1.1", "bad_host", "user information"),
        (b"GET http://a.example:x/ HTTP/1.1", "bad_host", "port"),
        (b"GET http://b.example/ HTTP/1.1", "bad_host", "differs"),
        (b"GET http://a.example:80/ HTTP/1.1", "bad_host", "differs"),
    ] {
        let input = [line, b"\r\nHost: a.example\r\n\r\n"].concat();
        check_refused(&input, code, part);
    }
}

#[test]
fn line_ends_are_strict() {
    for (input, part) in [
        (&b"GET / HTTP/1.1\nHost: a\n\n"[..], "bare line feed"),
        (b"GET / HTTP/1.1\n", "bare line feed"),
        (b"GET /\nHost: a\r\n\r\n", "without a version"),
        (b"GET\r\n", "one word"),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", "stands alone"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "bare line feed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "no colon"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\rx", "stands alone"),
        (b"\nGET / HTTP/1.1\r\n", "bare line feed"),
        (b"\rGET / HTTP/1.1\r\n", "stands alone"),
        (b"\r\n\nGET / HTTP/1.1\r\n", "bare line feed"),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\n", "too many empty lines"),
        (b"\r\n\r\n\r", "too many empty lines"),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "before the first field"),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", "empty name"),
        (b"GET / HTTP/1.1\r\n[Host]: a\r\n\r\n", "name has a byte"),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", "no colon"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "NUL"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "folded"),
    ] {
        check_refused(input, "malformed_request", part);
    }
    accepted(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn hosts() {
    for (fields, part) in [
        ("", "missing"),
        ("Host: a\r\nHost: a\r\n", "twice"),
        ("Host: a\r\nhost: b\r\n", "twice"),
        ("Host:\r\n", "empty"),
        ("Host: u@a\r\n", "user information"),
        ("Host: a, b\r\n", "More than one"),
        ("Host: a/b\r\n", "cannot stand"),
        ("Host: a:b\r\n", "port"),
        ("Host: a:80:80\r\n", "port"),
        ("Host: a b\r\n", "cannot stand"),
        ("Host: [::1\r\n", "IPv6"),
        ("Host: http://a\r\n", "port"),
        ("X-Host: a\r\nHost_: a\r\n", "missing"),
    ] {
        check_refused(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes(), "bad_host", part);
    }
    check_refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "bad_host", "twice");
    check_refused(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "bad_host", "cannot stand");
    check_refused(b"GET http://a.example/ HTTP/1.1\r\n\r\n", "bad_host", "missing");
    assert_eq!(accepted(b"GET / HTTP/1.0\r\n\r\n").target.authority, None);
    let named = accepted(b"GET http://A.example/ HTTP/1.0\r\n\r\n").target.authority.unwrap();
    assert_eq!(named.host(), "A.example");
}

#[test]
fn targets_are_split_and_left_as_they_came() {
    let host = "Host: A.Example:81\r\n\r\n";
    for (line, path, query) in [
        ("GET /", "/", None),
        ("GET /a/../b%2f%00;x=y//z", "/a/../b%2f%00;x=y//z", None),
        ("GET //b.example/a", "//b.example/a", None),
        ("GET /a|b[0]?", "/a|b[0]", Some("")),
        ("GET /a?b=c?d&{\"e\":[1]}|^`\\<>", "/a", Some("b=c?d&{\"e\":[1]}|^`\\<>")),
        ("OPTIONS *", "*", None),
        ("GET http://a.example:81", "/", None),
        ("GET HTTPS://A.EXAMPLE:81/x?y", "/x", Some("y")),
        ("GET http://a.example:81?y://z/", "/", Some("y://z/")),
        ("OPTIONS http://a.example:81", "*", None),
        ("OPTIONS http://a.example:81/", "/", None),
        ("OPTIONS http://a.example:81?x", "/", Some("x")),
    ] {
        let target = accepted(format!("{line} HTTP/1.1\r\n{host}").as_bytes()).target;
        assert_eq!((target.path.as_str(), target.query.as_deref()), (path, query), "{line}");
        assert_eq!(target.authority.as_ref().unwrap().port(), Some(81));
        let written = target.to_string();
        let again = Target::from_parts(&Bytes::from(written), target.authority.clone()).unwrap();
        assert!(again == target, "{line}");
    }
}

#[test]
fn targets_from_elsewhere_obey_the_same_rules() {
    for (target, code) in [
        ("", "malformed_request"),
        ("a", "malformed_request"),
        ("*?a", "malformed_request"),
        ("?a", "malformed_request"),
        ("http://a/", "malformed_request"),
        ("/a b", "ambiguous_path"),
        ("/a#", "ambiguous_path"),
        ("/a?b#c", "ambiguous_path"),
        ("/\u{e9}", "ambiguous_path"),
        ("/a\\b", "ambiguous_path"),
        ("/a\0", "ambiguous_path"),
        ("/a?b c", "ambiguous_path"),
    ] {
        let refusal = Target::from_parts(&Bytes::from_static(target.as_bytes()), None).unwrap_err();
        assert_eq!(refusal.code(), code, "{target:?}");
    }
}

#[test]
fn limits() {
    let uri = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 1));
    accepted(uri(64).as_bytes());
    check_refused(uri(65).as_bytes(), "uri_too_long", "longer");
    check_refused(format!("GET /?{}", "a".repeat(63)).as_bytes(), "uri_too_long", "longer");
    check_refused(format!("GET /{}?", "a".repeat(63)).as_bytes(), "uri_too_long", "longer");
    assert!(matches!(take_one(format!("GET /?{}", "a".repeat(62)).as_bytes()), Ok(None)));

    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
    };
    assert_eq!(accepted(head(1024).as_bytes()).head_bytes, 1024);
    accepted(format!("\r\n\r\n{}", head(1024)).as_bytes());
    check_refused(head(1025).as_bytes(), "headers_too_large", "head is longer");
    check_refused(&head(9000).as_bytes()[..1024], "headers_too_large", "head is longer");

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: y\r\n".repeat(count - 1));
    accepted(format!("{}\r\n", fields(8)).as_bytes());
    check_refused(fields(9).as_bytes(), "headers_too_large", "more header fields");
    check_refused(format!("{}X", fields(8)).as_bytes(), "headers_too_large", "more header fields");
}

#[test]
fn a_limit_that_shrinks_in_mid_head_is_met_at_once() {
    for smaller in [
        HeadLimits { head_bytes_max: 10, ..LIMITS },
        HeadLimits { target_bytes_max: 10, ..LIMITS },
        HeadLimits { head_bytes_max: 0, fields_max: 0, target_bytes_max: 0 },
    ] {
        let mut scan = HeadScan::default();
        let mut buf = BytesMut::from(&b"GET /0123456789abcdef"[..]);
        assert!(take_request_head(&mut buf, &mut scan, &LIMITS).unwrap().is_none());
        buf.extend_from_slice(b"g");
        assert!(take_request_head(&mut buf, &mut scan, &smaller).is_err());
    }
}

#[test]
fn a_refusal_comes_with_the_first_byte_that_settles_it() {
    for (whole, settled_after) in [
        (&b"get / HTTP/1.1\r\n\r\n"[..], "get "),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "CONNECT "),
        (b"GET a HTTP/1.1\r\n\r\n", "GET a"),
        (b"GET /# HTTP/1.1\r\n\r\n", "GET /#"),
        (b"GET * HTTP/1.1\r\n\r\n", "GET * "),
        (b"GET http://u@a/ HTTP/1.1\r\n\r\n", "GET http://u@a/ "),
        (b"GET / HTTP/2.0\r\n\r\n", "GET / HTTP/2"),
        (b"GET / HTTP/1.1\n\r\n", "GET / HTTP/1.1\n"),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", "GET / HTTP/1.1\r\nA "),
        (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", "GET / HTTP/1.1\r\nA: b\0"),
    ] {
        let mut scan = HeadScan::default();
        let mut buf = BytesMut::new();
        for (count, byte) in whole.iter().enumerate() {
            buf.extend_from_slice(&[*byte]);
            let settled = take_request_head(&mut buf, &mut scan, &LIMITS).is_err();
            assert_eq!(settled, count + 1 == settled_after.len(), "{settled_after:?} at {count}");
            if settled {
                break;
            }
        }
    }
}

#[test]
fn what_the_connection_is_for() {
    let flags = |input: &[u8]| {
        let head = accepted(input);
        (head.keep_alive, head.upgrade, head.expect_continue)
    };
    for (version, fields, expected) in [
        ("1.1", "", (true, false, false)),
        ("1.1", "Connection: close\r\n", (false, false, false)),
        ("1.1", "Connection: Keep-Alive\r\nConnection: x, CLOSE\r\n", (false, false, false)),
        ("1.1", "Connection: closed\r\n", (true, false, false)),
        ("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", (true, true, false)),
        ("1.1", "Connection: Upgrade\r\n", (true, false, false)),
        ("1.1", "Upgrade: h2c\r\n", (true, false, false)),
        ("1.1", "Expect: 100-Continue\r\nContent-Length: 5\r\n", (true, false, true)),
        ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", (true, false, true)),
        ("1.1", "Expect: 100-continue\r\n", (true, false, false)),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", (true, false, false)),
        ("1.0", "Content-Length: 5\r\n", (false, false, false)),
        ("1.0", "Content-Length: 5\r\nConnection: keep-alive\r\n", (true, false, false)),
        ("1.0", "Content-Length: 5\r\nConnection: keep-alive, close\r\n", (false, false, false)),
        ("1.0", "Content-Length: 5\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", (false, false, false)),
        ("1.0", "Content-Length: 5\r\nExpect: 100-continue\r\n", (false, false, false)),
    ] {
        assert_eq!(flags(&post(version, fields.as_bytes())), expected, "{version} {fields:?}");
    }
    for value in ["tea", "", "100-continue, tea", "100-continue\r\nExpect: 100-continue", "100"] {
        check_refused(
            &post("1.1", format!("Expect: {value}\r\n").as_bytes()),
            "expectation_failed",
            "100-continue",
        );
    }
}

#[test]
fn a_head_is_taken_and_nothing_else() {
    let mut buf = BytesMut::from(
        &b"\r\nPURGE /a?b HTTP/1.1\r\nHost: a.example\r\nX_Under-Score: 1\r\nX-Bytes:\t \x80 \r\n\r\nGET /next"[..],
    );
    let mut scan = HeadScan::default();
    assert!(!scan.is_mid_head());
    let head = take_request_head(&mut buf, &mut scan, &LIMITS).unwrap().unwrap();
    assert!(!scan.is_mid_head());
    assert_eq!((head.method.as_str(), head.http10, head.head_bytes), ("PURGE", false, 72));
    assert_eq!(head.headers.len(), 3);
    assert_eq!(head.headers["x_under-score"], "1");
    assert_eq!(head.headers["x-bytes"].as_bytes(), b"\x80");
    assert_eq!(&buf[..], b"GET /next");
    assert!(take_request_head(&mut buf, &mut scan, &LIMITS).unwrap().is_none());
    assert!(scan.is_mid_head());
}

#[test]
fn empty_lines_alone_are_no_head() {
    let mut buf = BytesMut::from(&b"\r\n\r"[..]);
    let mut scan = HeadScan::default();
    assert!(take_request_head(&mut buf, &mut scan, &LIMITS).unwrap().is_none());
    assert!(!scan.is_mid_head());
    assert_eq!(&buf[..], b"\r");
}

#[test]
fn after_a_refusal_nothing_is_read_any_more() {
    // The body of a refused request must never be taken for a request.
    let mut buf = BytesMut::from(&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"[..]);
    let mut scan = HeadScan::default();
    assert!(take_request_head(&mut buf, &mut scan, &LIMITS).is_err());
    buf.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(take_request_head(&mut buf, &mut scan, &LIMITS).is_err());
}

#[test]
fn debug_output_shows_no_value_and_no_query() {
    let head = accepted(b"GET /a?key=CANARY HTTP/1.1\r\nHost: a\r\nX-Api-Key: CANARY\r\n\r\n");
    assert!(!format!("{head:?}").contains("CANARY"));
}

#[test]
fn the_fiftieth_of_a_hundred_pipelined_requests_is_bad() {
    let mut buf = BytesMut::new();
    for number in 1..=100 {
        let junk = if number == 50 { "Bad Name: x\r\n" } else { "" };
        buf.extend_from_slice(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{junk}\r\n").as_bytes());
    }
    let mut scan = HeadScan::default();
    for number in 1..50 {
        let head = take_request_head(&mut buf, &mut scan, &LIMITS).unwrap().unwrap();
        assert_eq!(head.target.path.as_str(), format!("/{number}"));
    }
    assert_eq!(take_request_head(&mut buf, &mut scan, &LIMITS).unwrap_err().code(), "malformed_request");
}
