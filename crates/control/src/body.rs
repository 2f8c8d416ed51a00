//! Reading a request's body within its limit.

use axum::body::{Bytes, HttpBody as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mainstay_core::ProblemCode;

use crate::limits::{BODY_BYTES_MAX, DISCARD_BYTES_MAX};
use crate::problem::Refusal;

/// The whole body. One over the limit is read a little further and dropped, so that the client, which usually reads
/// only after it has written, sees the answer; a client that waits for `100 Continue` is answered at once.
pub(crate) async fn read(mut body: Incoming, waits_for_continue: bool) -> Result<Bytes, Refusal> {
    if waits_for_continue && body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| malformed())?;
        let Some(data) = frame.data_ref() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > BODY_BYTES_MAX + DISCARD_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            kept.extend_from_slice(data);
        }
    }
    if seen > BODY_BYTES_MAX { Err(too_large()) } else { Ok(kept.into()) }
}

fn too_large() -> Refusal {
    Refusal::new(ProblemCode::BodyTooLarge, "The body of an admin request may have 64 KiB.")
}

fn malformed() -> Refusal {
    Refusal::new(ProblemCode::MalformedRequest, "The body ended early or is malformed.")
}
