//! Responses as rows: bytes and the verdict they owe. Faults first.

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 256, fields_max: 4, target_bytes_max: 0 };

fn take_one(input: &[u8], method: &Method) -> Result<Option<ResponseHead>, ResponseFault> {
    take_response_head(&mut BytesMut::from(input), &mut HeadScan::default(), &LIMITS, method)
}

fn accepted(input: &str, method: &Method) -> ResponseHead {
    match take_one(input.as_bytes(), method) {
        Ok(Some(head)) => head,
        other => panic!("{input:?} was not accepted: {other:?}"),
    }
}

fn check_fault(input: &[u8], part: &str) {
    let shown = String::from_utf8_lossy(input);
    match take_one(input, &Method::GET) {
        Err(fault) => assert!(fault.detail().contains(part), "{shown:?}: {fault}"),
        other => panic!("{shown:?} was not refused: {other:?}"),
    }
}

#[test]
fn status_lines_that_are_faults() {
    for (line, part) in [
        (&b"HTTP/1.2 200 OK\r\n"[..], "begin with"),
        (b"HTTP/2.0 200 OK\r\n", "begin with"),
        (b"HTTP/2 200\r\n", "begin with"),
        (b"http/1.1 200 OK\r\n", "begin with"),
        (b"ICY 200 OK\r\n", "begin with"),
        (b"\r\nHTTP/1.1 200 OK\r\n", "begin with"),
        (b" HTTP/1.1 200 OK\r\n", "begin with"),
        (b"<html>", "begin with"),
        (b"\0", "begin with"),
        (b"HTTP/1.1\t200 OK\r\n", "no space"),
        (b"HTTP/1.1200 OK\r\n", "no space"),
        (b"HTTP/1.1\r\n", "no space"),
        (b"HTTP/1.1  200 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 20 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 099 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 600 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 -20 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 2x0 OK\r\n", "100 to 599"),
        (b"HTTP/1.1 2000 OK\r\n", "follows the status"),
        (b"HTTP/1.1 200\tOK\r\n", "follows the status"),
        (b"HTTP/1.1 200\n", "follows the status"),
        (b"HTTP/1.1 200 OK\n", "bare line feed"),
        (b"HTTP/1.1 200 O\0K\r\n", "control"),
        (b"HTTP/1.1 200 OK\rX", "stands alone"),
        (b"HTTP/1.1 200\rX", "stands alone"),
    ] {
        check_fault(line, part);
    }
}

#[test]
fn fields_that_are_faults() {
    for (fields, part) in [
        (&b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"[..], "together"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "together"),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n", "twice"),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", "twice"),
        (b"Content-Length: 3, 3\r\n", "number"),
        (b"Content-Length: -3\r\n", "number"),
        (b"Content-Length:\r\n", "empty"),
        (b"Content-Length: 99999999999999999999\r\n", "2^64"),
        (b"Content_Length: 3\r\n", "look-alike"),
        (b"Transfer-Encoding: gzip\r\n", "only transfer coding"),
        (b"Transfer-Encoding: identity\r\n", "only transfer coding"),
        (b"Transfer-Encoding: gzip, chunked\r\n", "only transfer coding"),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "twice"),
        (b"Transfer-Encoding: chunked, chunked\r\n", "once"),
        (b"Transfer-Encoding : chunked\r\n", "before its colon"),
        (b"X: y\n", "bare line feed"),
        (b"X: y\r\n z\r\n", "folded"),
        (b" X: y\r\n", "before the first field"),
        (b"X: a\0b\r\n", "NUL"),
        (b"X y\r\n", "name"),
        (b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n", "more header fields"),
    ] {
        check_fault(&[b"HTTP/1.1 200 OK\r\n", fields, b"\r\n"].concat(), part);
        check_fault(&[b"HTTP/1.1 304 Not Modified\r\n", fields, b"\r\n"].concat(), part);
    }
    check_fault(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0");
    for status in [100, 103, 204] {
        check_fault(format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\n").as_bytes(), "without body");
        check_fault(
            format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
            "without body",
        );
    }
}

#[test]
fn a_head_over_the_limit_is_another_fault() {
    let head = |bytes: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(bytes - 24));
    assert_eq!(accepted(&head(256), &Method::GET).head_bytes, 256);
    for input in [head(257).as_bytes(), &head(9999).as_bytes()[..256]] {
        let fault = take_one(input, &Method::GET).unwrap_err();
        assert_eq!(fault.code(), "upstream_too_large");
    }
    assert!(matches!(take_one(&head(9999).as_bytes()[..255], &Method::GET), Ok(None)));
    let endless_reason = format!("HTTP/1.1 200 {}", "a".repeat(300));
    assert_eq!(take_one(endless_reason.as_bytes(), &Method::GET).unwrap_err().code(), "upstream_too_large");
}

#[test]
fn framing_by_method_status_and_fields() {
    let (get, head) = (Method::GET, Method::HEAD);
    for (method, response, framing, keep_alive) in [
        (&get, "1.1 200 OK\r\n", Framing::UntilClose, false),
        (&get, "1.1 200 OK\r\nContent-Length: 0\r\n", Framing::Length(0), true),
        (&get, "1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n", Framing::Length(7), false),
        (&get, "1.1 500 X\r\nTransfer-Encoding: Chunked\r\n", Framing::Chunked, true),
        (&get, "1.0 200 OK\r\n", Framing::UntilClose, false),
        (&get, "1.0 200 OK\r\nContent-Length: 7\r\n", Framing::Length(7), false),
        (&get, "1.0 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n", Framing::Length(7), true),
        (&get, "1.0 200 OK\r\nConnection: keep-alive\r\n", Framing::UntilClose, false),
        (&head, "1.1 200 OK\r\nContent-Length: 7\r\n", Framing::None, true),
        (&head, "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", Framing::None, true),
        (&head, "1.1 200 OK\r\n", Framing::None, true),
        (&get, "1.1 304 X\r\nContent-Length: 7\r\n", Framing::None, true),
        (&get, "1.1 304 X\r\nTransfer-Encoding: chunked\r\n", Framing::None, true),
        (&get, "1.1 204 X\r\n", Framing::None, true),
        (&get, "1.1 204 X\r\nContent-Length: 0\r\n", Framing::None, true),
        (&get, "1.1 100 Continue\r\n", Framing::None, true),
        (&get, "1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", Framing::None, true),
    ] {
        let response = accepted(&format!("HTTP/{response}\r\n"), method);
        assert_eq!((response.framing, response.keep_alive), (framing, keep_alive), "{method} {response:?}");
    }
    assert_eq!(accepted("HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n", &get).headers["content-length"], "7");
    assert_eq!(
        accepted("HTTP/1.1 200 X\r\nContent-Length: 007\r\n\r\n", &head).headers["content-length"],
        "7"
    );
    assert!(accepted("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", &get).headers.is_empty());
}

#[test]
fn reason_phrases_may_be_anything_or_nothing() {
    for line in ["HTTP/1.1 204", "HTTP/1.1 204 ", "HTTP/1.1 204 No\tway: \u{e9}", "HTTP/1.0 204  "] {
        assert_eq!(accepted(&format!("{line}\r\n\r\n"), &Method::GET).status, StatusCode::NO_CONTENT);
    }
}

#[test]
fn interim_responses_come_one_by_one() {
    let mut buf = BytesMut::from(
        &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP"[..],
    );
    let mut scan = HeadScan::default();
    for status in [100, 103, 200] {
        let head = take_response_head(&mut buf, &mut scan, &LIMITS, &Method::POST).unwrap().unwrap();
        assert_eq!(head.status, status);
    }
    assert_eq!(&buf[..], b"okHTTP");
    assert!(!scan.is_mid_head());
}

#[test]
fn after_a_fault_nothing_is_read_any_more() {
    let mut buf = BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n"[..]);
    let mut scan = HeadScan::default();
    assert!(take_response_head(&mut buf, &mut scan, &LIMITS, &Method::GET).is_err());
    buf.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\n");
    assert!(take_response_head(&mut buf, &mut scan, &LIMITS, &Method::GET).is_err());
}
