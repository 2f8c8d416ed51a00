//! From HTTP/2 to HTTP/1.1: whatever fields and data a stream has, the upstream gets nothing, or one request that is cut off,
//! or one whole request that says what the stream said. It is read again by the strict parser of `wire`.
//!
//! An input is a choice, then fields as length, name, length, value, until a length of 255; the rest are the data.
#![no_main]

use std::cell::OnceCell;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use mainstay_fuzz::Engine;
use mainstay_policy::route::canonical_path;
use mainstay_wire::{
    BodyDecoder, Decoded, HeadLimits, HeadScan, RequestHead, Side, Target, take_request_head,
};

const FIELDS_MAX: usize = 24;
const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 65_536, fields_max: 100, target_bytes_max: 8_192 };
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// What the engine says itself of each request.
const OWN: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-request-id",
    "x-request-deadline-ms",
    "traceparent",
    "tracestate",
    "forwarded",
    "via",
];

thread_local!(static ENGINE: OnceCell<Engine> = const { OnceCell::new() });

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let mut fields = Fields::new();
    if choice & 1 == 0 {
        let usual: [(&[u8], &[u8]); 4] =
            [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/v1/a")];
        fields.extend(usual.map(|(name, value)| (name.to_vec(), value.to_vec())));
    }
    while let Some(name) = piece(&mut rest) {
        let Some(value) = piece(&mut rest) else { break };
        fields.push((name, value));
        if fields.len() == FIELDS_MAX {
            break;
        }
    }
    let data: Vec<&[u8]> = rest.chunks(usize::from(choice >> 1).max(1)).take(64).collect();
    let bytes = connection(&fields, &data);
    let (came, upstream) = ENGINE.with(|engine| {
        let engine = engine.get_or_init(Engine::start);
        let script = |bytes: &[u8]| read(bytes).is_some().then(|| (ANSWER.to_vec(), true));
        engine.serve(&bytes, Box::new(script), has_ended)
    });
    assert!(!came.is_empty());
    assert!(upstream.len() <= 1);
    if let Some((head, body)) = upstream.first().and_then(|bytes| read(bytes)) {
        check(&fields, &data.concat(), &head, &body);
    }
});

/// A piece with its length before it.
fn piece(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (&length, after) = rest.split_first()?;
    *rest = after;
    let (piece, after) = after.split_at_checked(usize::from(length)).filter(|_| length < 255)?;
    *rest = after;
    Some(piece.to_vec())
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A whole connection: settings and one stream. Fields are literals without indexing (RFC 7541, 6.2.2).
fn connection(fields: &Fields, data: &[&[u8]]) -> Vec<u8> {
    let (mut bytes, mut block) = (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Vec::new());
    frame(&mut bytes, 4, 0, 0, &[]);
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match text.len() {
                short @ ..127 => block.push(short as u8),
                long => block.extend([127, ((long - 127) & 127) as u8 | 128, ((long - 127) >> 7) as u8]),
            }
            block.extend_from_slice(text);
        }
    }
    frame(&mut bytes, 1, 4 | u8::from(data.is_empty()), 1, &block);
    for (at, piece) in data.iter().enumerate() {
        frame(&mut bytes, 0, u8::from(at + 1 == data.len()), 1, piece);
    }
    bytes
}

/// Whether the stream, or the connection, has ended.
fn has_ended(mut came: &[u8]) -> bool {
    while let Some((head, after)) = came.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let ends = matches!(kind, 3 | 7) || (kind <= 1 && flags & 1 != 0);
        if ends && after.len() >= length {
            return true;
        }
        came = after.get(length..).unwrap_or_default();
    }
    false
}

/// One whole request and its body. More than that, or what is no request, is a finding.
fn read(bytes: &[u8]) -> Option<(RequestHead, Vec<u8>)> {
    let mut rest = BytesMut::from(bytes);
    let head = take_request_head(&mut rest, &mut HeadScan::default(), &LIMITS);
    let head = head.expect("what goes out is well-formed")?;
    let (mut decoder, mut body) = (BodyDecoder::new(head.framing, Side::Request), Vec::new());
    loop {
        match decoder.decode(&mut rest).expect("a body that goes out is well-formed") {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(_) => panic!("trailers of requests do not go on"),
            Decoded::NeedMore => return None,
            Decoded::Done => break,
        }
    }
    assert!(rest.is_empty(), "something comes behind the request");
    Some((head, body))
}

/// The values of all fields with a name.
fn all<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |(given, _)| given == name.as_bytes()).map(|(_, value)| value.as_slice())
}

fn check(fields: &Fields, data: &[u8], head: &RequestHead, body: &[u8]) {
    let all = |name| all(fields, name);
    let one = |name| {
        let mut values = all(name);
        values.next().filter(|_| values.next().is_none())
    };
    assert_eq!(body, data);
    assert_eq!(one(":method"), Some(head.method.as_str().as_bytes()));
    // A fragment is left out before the engine sees it.
    let path = one(":path").and_then(|path| path.split(|byte| *byte == b'#').next()).expect("one path");
    let target = Target::from_parts(&Bytes::copy_from_slice(path), None).expect("a target of HTTP/1");
    let canonical = canonical_path(target.path.as_bytes()).expect("a path in one spelling");
    assert_eq!((&*canonical, &target.query), (head.target.path.as_str(), &head.target.query));
    let host = head.headers.get("host").map(|host| host.as_bytes());
    assert_eq!(one(":authority").or_else(|| one("host")), host);
    for (name, value) in &head.headers {
        let name = name.as_str();
        if OWN.contains(&name) || name.starts_with("x-forwarded-") {
            continue;
        }
        assert!(
            !["connection", "keep-alive", "te", "trailer", "upgrade", "expect"].contains(&name),
            "{name}"
        );
        if name == "cookie" {
            let crumbs: Vec<&[u8]> = all("cookie").collect();
            assert_eq!(crumbs.join(&b"; "[..]).trim_ascii(), value.as_bytes().trim_ascii());
        } else {
            assert!(
                all(name).any(|given| given.trim_ascii() == value.as_bytes().trim_ascii()),
                "{name}"
            );
        }
    }
    assert!(
        head.headers
            .keys()
            .all(|name| head.headers.get_all(name).iter().count() <= all(name.as_str()).count().max(1))
    );
}
