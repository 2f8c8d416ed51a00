//! Bodies as rows: received bytes and what comes out of them. Faults first.

use super::*;

/// What a decoder gave for one input: data, trailer names, whether it ended, what was left of the input.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Vec<String>,
    done: bool,
    left: Vec<u8>,
}

fn run(framing: Framing, input: &[u8]) -> Result<Outcome, (BodyFault, Vec<u8>)> {
    let mut decoder = BodyDecoder::new(framing, Side::Response);
    let mut buf = BytesMut::from(input);
    let mut outcome = Outcome::default();
    loop {
        match decoder.decode(&mut buf) {
            Ok(Decoded::Data(data)) => {
                assert!(!data.is_empty());
                outcome.data.extend_from_slice(&data);
            }
            Ok(Decoded::Trailers(fields)) => {
                outcome.trailers = fields.keys().map(ToString::to_string).collect();
            }
            Ok(end @ (Decoded::Done | Decoded::NeedMore)) => {
                outcome.done = matches!(end, Decoded::Done);
                assert_eq!(decoder.is_done(), outcome.done);
                assert_eq!(decoder.end_of_input().is_ok(), outcome.done || framing == Framing::UntilClose);
                outcome.left = buf.to_vec();
                return Ok(outcome);
            }
            Err(fault) => {
                assert_eq!(decoder.decode(&mut buf).unwrap_err(), fault);
                assert_eq!(decoder.end_of_input(), Err(fault));
                assert!(!decoder.is_done());
                return Err((fault, outcome.data));
            }
        }
    }
}

fn check_fault(input: &[u8], part: &str, data_before: &[u8]) {
    match run(Framing::Chunked, input) {
        Err((fault, data)) => {
            assert!(fault.detail().contains(part), "{:?}: {fault}", String::from_utf8_lossy(input));
            assert_eq!(data, data_before);
        }
        Ok(outcome) => panic!("{:?} was accepted: {outcome:?}", String::from_utf8_lossy(input)),
    }
}

#[test]
fn chunk_framing_that_is_a_fault() {
    for (input, part) in [
        (&b"0x3\r\nabc\r\n"[..], "hexadecimal"),
        (b"+3\r\nabc\r\n", "hexadecimal"),
        (b"-3\r\nabc\r\n", "hexadecimal"),
        (b" 3\r\nabc\r\n", "hexadecimal"),
        (b"\t3\r\nabc\r\n", "hexadecimal"),
        (b"3 \r\nabc\r\n", "hexadecimal"),
        (b"3 ;x\r\nabc\r\n", "hexadecimal"),
        (b"3_\r\nabc\r\n", "hexadecimal"),
        (b"g\r\n", "hexadecimal"),
        (b"\xef\xbc\x93\r\n", "hexadecimal"),
        (b"3\0\r\nabc\r\n", "hexadecimal"),
        (b"00000000000000003\r\nabc\r\n", "too many digits"),
        (b"fffffffffffffffff\r\nabc\r\n", "too many digits"),
        (b"\r\nabc", "missing"),
        (b"\nabc", "missing"),
        (b";x\r\nabc", "missing"),
        (b"3\nabc\r\n", "bare line feed"),
        (b"3\rabc\r\n", "stands alone"),
        (b"3\r\r\nabc\r\n", "stands alone"),
        (b"3;a\nb\r\nabc\r\n", "bare line feed"),
        (b"3;a\rb\r\nabc\r\n", "stands alone"),
        (b"3;a\0\r\nabc\r\n", "control byte"),
        (b"3;a=\"\n\"\r\nabc\r\n", "bare line feed"),
        (b"0\nX: y\r\n\r\n", "bare line feed"),
        (b"0\r\nX: y\n\r\n", "bare line feed"),
        (b"0\r\nX : y\r\n\r\n", "before its colon"),
        (b"0\r\n X: y\r\n\r\n", "before the first field"),
        (b"0\r\nX\r\n\r\n", "no colon"),
        (b"0\r\n\n", "no colon"),
        (b"0\r\n\rx", "stands alone"),
    ] {
        check_fault(input, part, b"");
    }
    for (input, part) in [
        (&b"3\r\nabc\n0\r\n\r\n"[..], "not followed"),
        (b"3\r\nabc\rX0\r\n\r\n", "not followed"),
        (b"3\r\nabcXX0\r\n\r\n", "not followed"),
        (b"3\r\nabcX\n0\r\n\r\n", "not followed"),
        (b"3\r\nabc0\r\n\r\n", "not followed"),
        (b"3\r\nabc\r\n\r\n", "missing"),
        (b"3\r\nabc\r\n-1\r\n", "hexadecimal"),
    ] {
        check_fault(input, part, b"abc");
    }
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let body = |each: usize, chunks: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(each));
        format!("{}0\r\n\r\n", chunk.repeat(chunks))
    };
    assert!(run(Framing::Chunked, body(CHUNK_EXTENSION_BYTES_MAX, 1).as_bytes()).unwrap().done);
    check_fault(body(CHUNK_EXTENSION_BYTES_MAX + 1, 1).as_bytes(), "longer than accepted", b"");
    check_fault(body(64 * 1024, 1).as_bytes(), "longer than accepted", b"");
    check_fault(body(CHUNK_EXTENSION_BYTES_MAX / 2 + 1, 2).as_bytes(), "longer than accepted", b"x");
}

#[test]
fn trailers_are_bounded_in_bytes_and_number() {
    let many = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_FIELDS_MAX + 1));
    check_fault(many.as_bytes(), "more header fields", b"");
    let section = |bytes: usize| format!("0\r\na: {}\r\n\r\n", "b".repeat(bytes - 7));
    assert!(run(Framing::Chunked, section(TRAILER_BYTES_MAX).as_bytes()).unwrap().done);
    check_fault(section(TRAILER_BYTES_MAX + 1).as_bytes(), "trailer section is longer", b"");
}

#[test]
fn faults_are_named_after_the_side() {
    let fault = |side, input: &[u8]| {
        let mut decoder = BodyDecoder::new(Framing::Chunked, side);
        match decoder.decode(&mut BytesMut::from(input)) {
            Err(fault) => fault,
            Ok(_) => decoder.end_of_input().unwrap_err(),
        }
    };
    let big = format!("0\r\na: {}", "b".repeat(TRAILER_BYTES_MAX));
    for (input, request, response, truncated) in [
        (&b"x"[..], "malformed_request", "upstream_malformed", false),
        (big.as_bytes(), "headers_too_large", "upstream_too_large", false),
        (b"5\r\nab", "malformed_request", "upstream_reset", true),
    ] {
        for (side, code) in [(Side::Request, request), (Side::Response, response)] {
            assert_eq!((fault(side, input).code(), fault(side, input).is_truncated()), (code, truncated));
        }
    }
}

#[test]
fn a_body_ends_where_it_was_announced_to_end() {
    let next = b"GET / HTTP/1.1\r\n";
    for (framing, body, data, trailers) in [
        (Framing::None, &b""[..], &b""[..], &[][..]),
        (Framing::Length(0), b"", b"", &[]),
        (Framing::Length(3), b"abc", b"abc", &[]),
        (Framing::Chunked, b"0\r\n\r\n", b"", &[]),
        (Framing::Chunked, b"0000000000000000\r\n\r\n", b"", &[]),
        (Framing::Chunked, b"3\r\nabc\r\n00A;x=\"y; z\";q\r\n0\r\n\r\n45678\r\n0;last\r\n\r\n", b"abc0\r\n\r\n45678", &[]),
        (Framing::Chunked, b"1\r\na\r\n0\r\nServer-Timing: t\r\nETag: e\r\n\r\n", b"a", &["server-timing", "etag"]),
        (
            Framing::Chunked,
            b"1\r\na\r\n0\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: c\r\nX-User: d\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"a",
            &[],
        ),
        (Framing::Chunked, b"0\r\nX-User-Id: d\r\ndigest: e\r\nset-cookie: f\r\n\r\n", b"", &["digest"]),
    ] {
        let outcome = run(framing, &[body, next].concat()).unwrap();
        let trailers = trailers.iter().map(ToString::to_string).collect();
        assert_eq!(outcome, Outcome { data: data.to_vec(), trailers, done: true, left: next.to_vec() });
    }
}

#[test]
fn an_unfinished_body_waits_and_is_truncated_by_the_end_of_input() {
    for (framing, input) in [
        (Framing::Length(3), &b"ab"[..]),
        (Framing::Length(u64::MAX), b"ab"),
        (Framing::Chunked, b""),
        (Framing::Chunked, b"3"),
        (Framing::Chunked, b"ffffffffffffffff\r\nab"),
        (Framing::Chunked, b"2\r\nab"),
        (Framing::Chunked, b"2\r\nab\r\n"),
        (Framing::Chunked, b"2\r\nab\r\n0\r\n"),
        (Framing::Chunked, b"2\r\nab\r\n0\r\nx: y\r\n"),
        (Framing::Chunked, b"2\r\nab\r\n0\r\nx: y\r\n\r"),
    ] {
        let outcome = run(framing, input).unwrap();
        assert!(!outcome.done, "{input:?}");
    }
}

#[test]
fn close_ends_only_what_ends_so() {
    assert_eq!(run(Framing::UntilClose, b"abc").unwrap().data, b"abc");
    let mut response = BodyDecoder::new(Framing::UntilClose, Side::Response);
    assert!(!response.is_done());
    assert_eq!(response.end_of_input(), Ok(()));
    assert!(response.is_done());
    assert!(matches!(response.decode(&mut BytesMut::from(&b"late"[..])), Ok(Decoded::Done)));
    assert!(BodyDecoder::new(Framing::UntilClose, Side::Request).is_done());
}

#[test]
fn what_remains_is_known_for_lengths() {
    let mut decoder = BodyDecoder::new(Framing::Length(5), Side::Request);
    assert_eq!(decoder.remaining(), Some(5));
    assert!(matches!(decoder.decode(&mut BytesMut::from(&b"abc"[..])), Ok(Decoded::Data(_))));
    assert_eq!(decoder.remaining(), Some(2));
    assert_eq!(BodyDecoder::new(Framing::Chunked, Side::Request).remaining(), None);
    assert_eq!(BodyDecoder::new(Framing::None, Side::Request).remaining(), Some(0));
}

#[test]
fn data_is_a_slice_of_what_was_received() {
    let mut buf = BytesMut::with_capacity(64);
    buf.extend_from_slice(b"5\r\nhello\r\n");
    let place = buf.as_ptr() as usize;
    let Ok(Decoded::Data(data)) = BodyDecoder::new(Framing::Chunked, Side::Request).decode(&mut buf) else {
        panic!("no data")
    };
    assert_eq!(data.as_ptr() as usize, place + 3);
}
