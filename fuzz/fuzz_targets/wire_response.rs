//! Responses: no panic, the same verdict however the input is cut, and what was accepted means the same when
//! it is written anew and read again.
#![no_main]

use bytes::BytesMut;
use http::{Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    Framing, HEAD_END, HeadLimits, HeadScan, ResponseFault, ResponseHead, encode_field, encode_status_line,
    take_response_head,
};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 512, fields_max: 16, target_bytes_max: 0 };

fuzz_target!(|input: &[u8]| {
    let Some((&step, input)) = input.split_first() else { return };
    let method = if step & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = all(input, input.len().max(1), &method);
    assert_eq!(seen(&whole), seen(&all(input, usize::from(step) + 1, &method)));
    for head in whole.iter().flatten() {
        assert!(head.head_bytes <= LIMITS.head_bytes_max && head.headers.len() <= LIMITS.fields_max);
        assert!(head.framing != Framing::UntilClose || !head.keep_alive);
        let bodiless = head.status.is_informational()
            || head.status == StatusCode::NO_CONTENT
            || head.status == StatusCode::NOT_MODIFIED
            || method == Method::HEAD;
        assert!(!bodiless || head.framing == Framing::None);
        check_round_trip(head, &method);
    }
});

/// Everything that a connection gives, fed `step` bytes at a time; a fault comes last.
fn all(input: &[u8], step: usize, method: &Method) -> Vec<Result<ResponseHead, ResponseFault>> {
    let (mut buf, mut scan, mut heads) = (BytesMut::new(), HeadScan::default(), Vec::new());
    for piece in input.chunks(step) {
        buf.extend_from_slice(piece);
        while let Some(head) = take_response_head(&mut buf, &mut scan, &LIMITS, method).transpose() {
            let refused = head.is_err();
            heads.push(head);
            if refused {
                return heads;
            }
        }
    }
    heads
}

fn seen(heads: &[Result<ResponseHead, ResponseFault>]) -> Vec<String> {
    let one = |head: &Result<ResponseHead, ResponseFault>| match head {
        Ok(head) => format!("{head:?} {:?}", head.headers),
        Err(fault) => format!("{fault:?}"),
    };
    heads.iter().map(one).collect()
}

fn check_round_trip(head: &ResponseHead, method: &Method) {
    let mut out = BytesMut::new();
    encode_status_line(&mut out, head.status);
    for (name, value) in &head.headers {
        encode_field(&mut out, name, value);
    }
    out.extend_from_slice(HEAD_END);
    let wide = HeadLimits { head_bytes_max: 4096, fields_max: 16, target_bytes_max: 0 };
    let again = take_response_head(&mut out, &mut HeadScan::default(), &wide, method);
    let again = again.expect("what was accepted is well formed").expect("a written head is complete");
    assert!(out.is_empty());
    assert_eq!((again.status, again.framing), (head.status, head.framing));
    assert_eq!(again.headers, head.headers);
}
