//! Requests: no panic, the same verdict however the input is cut, and what was accepted means the same when it
//! is written anew and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    Framing, HEAD_END, HeadLimits, HeadScan, Refusal, RequestHead, encode_field, encode_request_line,
    take_request_head,
};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 512, fields_max: 16, target_bytes_max: 64 };

fuzz_target!(|input: &[u8]| {
    let Some((&step, input)) = input.split_first() else { return };
    let whole = all(input, input.len().max(1));
    assert_eq!(seen(&whole), seen(&all(input, usize::from(step) + 1)));
    for head in whole.iter().flatten() {
        assert!(head.head_bytes <= LIMITS.head_bytes_max && head.headers.len() <= LIMITS.fields_max);
        assert_ne!(head.framing, Framing::UntilClose);
        assert!(head.http10 || head.target.authority.is_some());
        check_round_trip(head);
    }
});

/// Everything that a connection gives, fed `step` bytes at a time; a refusal comes last.
fn all(input: &[u8], step: usize) -> Vec<Result<RequestHead, Refusal>> {
    let (mut buf, mut scan, mut heads) = (BytesMut::new(), HeadScan::default(), Vec::new());
    for piece in input.chunks(step) {
        buf.extend_from_slice(piece);
        while let Some(head) = take_request_head(&mut buf, &mut scan, &LIMITS).transpose() {
            let refused = head.is_err();
            heads.push(head);
            if refused {
                return heads;
            }
        }
    }
    heads
}

fn seen(heads: &[Result<RequestHead, Refusal>]) -> Vec<String> {
    let one = |head: &Result<RequestHead, Refusal>| match head {
        Ok(head) => format!("{head:?} {:?} {:?}", head.target.query, head.headers),
        Err(refusal) => format!("{refusal:?}"),
    };
    heads.iter().map(one).collect()
}

fn check_round_trip(head: &RequestHead) {
    let mut out = BytesMut::new();
    encode_request_line(&mut out, &head.method, &head.target.to_string());
    for (name, value) in &head.headers {
        encode_field(&mut out, name, value);
    }
    out.extend_from_slice(HEAD_END);
    let wide = HeadLimits { head_bytes_max: 4096, fields_max: 16, target_bytes_max: 4096 };
    match take_request_head(&mut out, &mut HeadScan::default(), &wide) {
        Ok(Some(again)) => {
            assert!(out.is_empty());
            assert!(again.target == head.target || head.http10);
            assert_eq!(again.headers, head.headers);
            assert_eq!(again.framing, head.framing);
        }
        // Written anew as HTTP/1.1 it needs a Host, which HTTP/1.0 does not.
        Err(Refusal::Host(_)) if head.http10 && !head.headers.contains_key("host") => {}
        other => panic!("{head:?} became {other:?}"),
    }
}
