//! What must hold for every input: cuts do not matter, lengths are kept, messages do not run into each other,
//! and what is encoded is read back as it was meant.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    BodyDecoder, CHUNK_END, Decoded, Framing, HEAD_END, HeadLimits, HeadScan, Side, encode_chunk_start,
    encode_field, encode_framing, encode_last_chunk, encode_request_line, encode_status_line,
    take_request_head, take_response_head,
};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 200, fields_max: 5, target_bytes_max: 40 };

/// Feeds `input` in pieces that end at `cuts` to `step`, which takes one thing off the buffer and describes
/// it, `Ok(None)` when it needs more. Stops at the first fault. Returns all descriptions and what was left.
fn fed(
    input: &[u8],
    cuts: &[usize],
    mut step: impl FnMut(&mut BytesMut) -> Result<Option<String>, String>,
) -> (Vec<String>, Vec<u8>) {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let (mut buf, mut seen, mut start) = (BytesMut::new(), Vec::new(), 0);
    for end in ends {
        buf.extend_from_slice(&input[start..end]);
        start = end;
        loop {
            match step(&mut buf) {
                Ok(Some(thing)) => seen.push(thing),
                Ok(None) => break,
                Err(fault) => {
                    seen.push(fault);
                    return (seen, Vec::new());
                }
            }
        }
    }
    (seen, buf.to_vec())
}

fn described(headers: &HeaderMap) -> String {
    headers.iter().map(|(name, value)| format!("{name}={:?};", value.as_bytes())).collect()
}

fn requests(input: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
    let mut scan = HeadScan::default();
    fed(input, cuts, |buf| match take_request_head(buf, &mut scan, &LIMITS) {
        Ok(head) => {
            Ok(head.map(|head| format!("{head:?} {:?} {}", head.target.query, described(&head.headers))))
        }
        Err(refusal) => Err(format!("{refusal:?}")),
    })
}

fn responses(input: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<u8>) {
    let mut scan = HeadScan::default();
    fed(input, cuts, |buf| match take_response_head(buf, &mut scan, &LIMITS, &Method::GET) {
        Ok(head) => Ok(head.map(|head| format!("{head:?} {}", described(&head.headers)))),
        Err(fault) => Err(format!("{fault:?}")),
    })
}

/// Data is joined, as the pieces it comes in depend on the cuts.
fn body(framing: Framing, input: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<String>, Vec<u8>) {
    let mut decoder = BodyDecoder::new(framing, Side::Response);
    let (mut data, mut ended) = (Vec::new(), false);
    let (seen, left) = fed(input, cuts, |buf| {
        loop {
            match decoder.decode(buf) {
                Ok(Decoded::Data(piece)) => data.extend_from_slice(&piece),
                Ok(Decoded::Trailers(fields)) => return Ok(Some(described(&fields))),
                Ok(Decoded::Done) if !ended => {
                    ended = true;
                    return Ok(Some("done".into()));
                }
                Ok(Decoded::Done | Decoded::NeedMore) => return Ok(None),
                Err(fault) => return Err(format!("{fault:?}")),
            }
        }
    });
    (data, seen, left)
}

/// Text put together of pieces that matter to a parser, with a stray byte here and there.
fn soup(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..3),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const REQUEST_PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /p?q HTTP/1.0\r\n",
    "GET http://a/ HTTP/1.1\r\n",
    "GET",
    " ",
    "/",
    "?",
    "#",
    "HTTP/1.1",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "Host: a\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "X",
    ":",
    "\t",
    "\0",
    "\r\n\r\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const RESPONSE_PIECES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204\r\n",
    "HTTP/1.0 304 \r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.",
    "1",
    "200",
    " ",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "Content-Length: 7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "X: y\r\n",
    ":",
    "\t",
    "\0",
    "\r\n\r\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const CHUNK_PIECES: &[&str] = &[
    "3\r\nabc\r\n",
    "1;x=y\r\na\r\n",
    "0\r\n",
    "\r\n",
    "0\r\n\r\n",
    "0",
    "a",
    "F",
    ";",
    "\r",
    "\n",
    "digest: z\r\n",
    "Host: a\r\n",
    "10\r\n0123456789abcdef\r\n",
    " ",
];

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<usize>(), 0..12)
}

fn fields() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let name = "x[a-z0-9!#$&'*+.^`|~-]{0,12}".prop_map(|name| name.parse().unwrap());
    let value = vec(prop_oneof![Just(b'\t'), Just(b' '), 0x21..0x7fu8, 0x80..=0xffu8], 0..20)
        .prop_map(|bytes| HeaderValue::from_bytes(crate::class::trim(&bytes)).unwrap());
    vec((name, value), 0..4)
}

fn same_fields(sent: &[(HeaderName, HeaderValue)], got: &HeaderMap) -> Result<(), TestCaseError> {
    let mut expected = HeaderMap::new();
    for (name, value) in sent {
        expected.append(name, value.clone());
    }
    prop_assert_eq!(&expected, got);
    Ok(())
}

const WIDE: HeadLimits = HeadLimits { head_bytes_max: 4096, fields_max: 20, target_bytes_max: 1024 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn cuts_do_not_matter_to_requests(input in soup(REQUEST_PIECES), cuts in cuts()) {
        prop_assert_eq!(requests(&input, &cuts), requests(&input, &[]));
    }

    #[test]
    fn cuts_do_not_matter_to_responses(input in soup(RESPONSE_PIECES), cuts in cuts()) {
        prop_assert_eq!(responses(&input, &cuts), responses(&input, &[]));
    }

    #[test]
    fn cuts_do_not_matter_to_bodies(input in soup(CHUNK_PIECES), cuts in cuts(), length in 0..40u64) {
        for framing in [Framing::Chunked, Framing::Length(length), Framing::UntilClose, Framing::None] {
            prop_assert_eq!(body(framing, &input, &cuts), body(framing, &input, &[]));
        }
    }

    #[test]
    fn one_byte_at_a_time_is_as_good_as_all_at_once(input in soup(REQUEST_PIECES)) {
        let each: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(requests(&input, &each), requests(&input, &[]));
    }

    #[test]
    fn a_length_is_never_exceeded(input in vec(any::<u8>(), 0..64), cuts in cuts(), length in 0..64u64) {
        let (data, _, left) = body(Framing::Length(length), &input, &cuts);
        let expected = input.len().min(length as usize);
        prop_assert_eq!(&data[..], &input[..expected]);
        prop_assert_eq!(&left[..], &input[expected..]);
    }

    #[test]
    fn an_encoded_request_is_read_back(
        method in "[A-Z][A-Z0-9-]{0,31}",
        path in "/[a-zA-Z0-9/%.;~|]{0,20}",
        query in proptest::option::of("[a-zA-Z0-9=&?/{}]{0,20}"),
        fields in fields(),
        length in proptest::option::of(any::<u64>()),
        rest in vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(method != "CONNECT");
        let method: Method = method.parse().unwrap();
        let target = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
        let mut out = BytesMut::new();
        encode_request_line(&mut out, &method, &target);
        encode_field(&mut out, &http::header::HOST, &HeaderValue::from_static("a.example"));
        for (name, value) in &fields {
            encode_field(&mut out, name, value);
        }
        let framing = length.map_or(Framing::Chunked, Framing::Length);
        encode_framing(&mut out, framing);
        out.extend_from_slice(HEAD_END);
        let head_bytes = out.len();
        out.extend_from_slice(&rest);

        let mut head = take_request_head(&mut out, &mut HeadScan::default(), &WIDE).unwrap().unwrap();
        prop_assert_eq!(&out[..], &rest[..]);
        prop_assert_eq!(&head.method, &method);
        prop_assert_eq!((head.target.path.as_str(), head.target.query.as_deref()), (&path[..], query.as_deref()));
        prop_assert_eq!((head.framing, head.head_bytes), (framing, head_bytes));
        for name in ["host", "content-length", "transfer-encoding"] {
            head.headers.remove(name);
        }
        same_fields(&fields, &head.headers)?;
    }

    #[test]
    fn an_encoded_response_is_read_back(status in 200..600u16, fields in fields(), rest in vec(any::<u8>(), 0..20)) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut out = Vec::new();
        encode_status_line(&mut out, status);
        for (name, value) in &fields {
            encode_field(&mut out, name, value);
        }
        out.extend_from_slice(HEAD_END);
        out.extend_from_slice(&rest);
        let mut buf = BytesMut::from(&out[..]);
        let head = take_response_head(&mut buf, &mut HeadScan::default(), &WIDE, &Method::GET).unwrap().unwrap();
        prop_assert_eq!(&buf[..], &rest[..]);
        prop_assert_eq!(head.status, status);
        same_fields(&fields, &head.headers)?;
    }

    #[test]
    fn encoded_chunks_are_read_back(
        chunks in vec(vec(any::<u8>(), 1..40), 0..6),
        trailer in proptest::option::of("[a-z]{0,10}"),
        cuts in cuts(),
        rest in vec(any::<u8>(), 0..20),
    ) {
        let mut out = Vec::new();
        for chunk in &chunks {
            encode_chunk_start(&mut out, chunk.len());
            out.extend_from_slice(chunk);
            out.extend_from_slice(CHUNK_END);
        }
        let mut trailers = HeaderMap::new();
        if let Some(value) = &trailer {
            trailers.insert("digest", value.parse().unwrap());
        }
        encode_last_chunk(&mut out, &trailers);
        out.extend_from_slice(&rest);
        let (data, seen, left) = body(Framing::Chunked, &out, &cuts);
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(left, rest);
        prop_assert_eq!(seen.len(), 1 + usize::from(trailer.is_some()));
    }

    #[test]
    fn pipelined_requests_are_taken_one_by_one(paths in vec("/[a-z]{0,9}", 1..12), rest in "[A-Z]{0,9}") {
        let whole: String = paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        let mut buf = BytesMut::from((whole + &rest).as_bytes());
        let mut scan = HeadScan::default();
        for path in &paths {
            let before = Bytes::copy_from_slice(&buf);
            let head = take_request_head(&mut buf, &mut scan, &WIDE).unwrap().unwrap();
            prop_assert_eq!(head.target.path.as_str(), path);
            prop_assert_eq!(&buf[..], &before[head.head_bytes..]);
        }
        prop_assert!(take_request_head(&mut buf, &mut scan, &WIDE).unwrap().is_none());
        prop_assert_eq!(&buf[..], rest.as_bytes());
    }
}
