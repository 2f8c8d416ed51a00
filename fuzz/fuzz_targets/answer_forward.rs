//! Answers of an upstream, whatever their bytes: the client gets well-formed interim answers and one final answer, whole or
//! visibly cut off, and nothing behind it that could be read as another one.
#![no_main]

use std::cell::OnceCell;

use bytes::BytesMut;
use http::Method;
use libfuzzer_sys::fuzz_target;
use mainstay_fuzz::Engine;
use mainstay_wire::{BodyDecoder, Decoded, Framing, HeadLimits, HeadScan, Side, take_response_head};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 65_536, fields_max: 200, target_bytes_max: 0 };
const REQUESTS: [(&str, &[u8]); 4] = [
    ("GET", b"GET /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("HEAD", b"HEAD /v1/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("GET", b"GET /v1/a HTTP/1.0\r\nHost: a\r\n\r\n"),
    ("POST", b"POST /v1/a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, te\r\nContent-Length: 3\r\n\r\nabc"),
];

thread_local!(static ENGINE: OnceCell<Engine> = const { OnceCell::new() });

fuzz_target!(|input: &[u8]| {
    let Some((&choice, answer)) = input.split_first() else { return };
    let (method, request) = REQUESTS[usize::from(choice & 3)];
    let answer = answer.to_vec();
    let closes = choice & 4 == 0;
    let script = move |bytes: &[u8]| {
        let is_whole = bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"abc");
        is_whole.then(|| (answer.clone(), closes))
    };
    let (came, upstream) =
        ENGINE.with(|engine| engine.get_or_init(Engine::start).serve(request, Box::new(script), |_| false));
    assert_eq!(upstream.len(), 1, "an upstream that answers is asked once");
    check(&came, &Method::from_bytes(method.as_bytes()).expect("a method"));
});

fn check(came: &[u8], method: &Method) {
    let (mut rest, mut interim) = (BytesMut::from(came), 0);
    let head = loop {
        let head = take_response_head(&mut rest, &mut HeadScan::default(), &LIMITS, method);
        let head =
            head.expect("a head that goes to the client is well-formed").expect("a client is answered");
        if !head.status.is_informational() {
            break head;
        }
        interim += 1;
    };
    assert!(interim <= 8);
    for name in ["connection", "transfer-encoding", "content-length"] {
        assert!(head.headers.get_all(name).iter().count() <= 1, "{name}");
    }
    assert!(head.framing != Framing::UntilClose || !head.keep_alive);
    let mut decoder = BodyDecoder::new(head.framing, Side::Response);
    loop {
        match decoder.decode(&mut rest).expect("a body that goes to the client is well-formed") {
            Decoded::Data(_) | Decoded::Trailers(_) => {}
            Decoded::NeedMore | Decoded::Done => break,
        }
    }
    assert!(rest.is_empty(), "something comes behind the answer");
}
