//! Bodies: no panic, the same data and the same end however the input is cut, never a byte more than was
//! announced, and what was decoded from chunks is decoded again from the chunks we write.
#![no_main]

use bytes::BytesMut;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use mainstay_wire::{
    BodyDecoder, CHUNK_END, Decoded, Framing, Side, encode_chunk_start, encode_last_chunk, may_be_trailer,
};

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    done: bool,
    fault: Option<String>,
    left: Vec<u8>,
}

fuzz_target!(|input: &[u8]| {
    let [kind, step, input @ ..] = input else { return };
    let framing = match kind {
        0 => Framing::None,
        1..=31 => Framing::Length(u64::from(*kind)),
        32..=47 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = decoded(framing, input, input.len().max(1));
    assert_eq!(whole, decoded(framing, input, usize::from(*step) + 1));
    if let Framing::Length(length) = framing {
        assert_eq!(whole.data.len() as u64, length.min(input.len() as u64));
    }
    if whole.fault.is_none() && framing != Framing::Chunked {
        assert_eq!([&whole.data[..], &whole.left[..]].concat(), input);
    }
    if whole.done && framing == Framing::Chunked {
        check_round_trip(&whole);
    }
});

fn decoded(framing: Framing, input: &[u8], step: usize) -> Outcome {
    let mut decoder = BodyDecoder::new(framing, Side::Response);
    let (mut buf, mut outcome) = (BytesMut::new(), Outcome::default());
    for piece in input.chunks(step) {
        buf.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty() && !outcome.done && outcome.trailers.is_none());
                    outcome.data.extend_from_slice(&data);
                }
                Ok(Decoded::Trailers(fields)) => {
                    assert!(outcome.trailers.is_none() && fields.keys().all(may_be_trailer));
                    outcome.trailers = Some(fields);
                }
                Ok(Decoded::Done) => {
                    outcome.done = true;
                    break;
                }
                Ok(Decoded::NeedMore) => {
                    assert!(buf.is_empty() || framing == Framing::Chunked);
                    break;
                }
                Err(fault) => {
                    outcome.fault = Some(format!("{fault:?}"));
                    return outcome;
                }
            }
        }
    }
    outcome.left = buf.to_vec();
    outcome
}

fn check_round_trip(first: &Outcome) {
    let mut out = Vec::new();
    if !first.data.is_empty() {
        encode_chunk_start(&mut out, first.data.len());
        out.extend_from_slice(&first.data);
        out.extend_from_slice(CHUNK_END);
    }
    encode_last_chunk(&mut out, &first.trailers.clone().unwrap_or_default());
    let again = decoded(Framing::Chunked, &out, out.len());
    assert!(again.done && again.left.is_empty());
    assert_eq!((&again.data, &again.trailers), (&first.data, &first.trailers));
}
