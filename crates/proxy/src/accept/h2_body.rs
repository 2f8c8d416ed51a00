//! The body of an HTTP/2 request, piece by piece.
//!
//! A body that says its length and has more is malformed, and what is malformed must not go on (RFC 9113, 8.1.1). Over
//! HTTP/1 an upstream has the whole request with the last byte of that length. So the piece with that byte waits until it is
//! certain that nothing comes behind it, which is at once for a client that ends its stream with its last bytes. Of a body
//! of no bytes it has all with the head, so that waits ([`nothing`]).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Incoming};

use crate::request::{BodyError, Piece, RequestBody};

/// A body that says that it has no bytes, on a stream that has not ended: made certain.
///
/// # Errors
/// Something came, or nothing for too long: a problem's code, and its detail.
pub async fn nothing(mut body: RequestBody) -> Result<RequestBody, (&'static str, &'static str)> {
    match poll_fn(|cx| body.poll_piece(cx)).await {
        None | Some(Ok(Piece::Trailers(_))) => Ok(RequestBody::empty()),
        Some(Err(BodyError::TimedOut)) => {
            Err(("request_timeout", "The stream said that its body is empty, and did not end in time."))
        }
        Some(Ok(Piece::Data(_)) | Err(_)) => Err((
            "malformed_request",
            "The body is longer than its Content-Length of 0, or its stream was reset.",
        )),
    }
}

/// The body of an HTTP/2 request.
pub struct H2Input {
    incoming: Incoming,
    /// Bytes that are still to come, where the client has said how many.
    left: Option<u64>,
    /// The piece with the last byte.
    last: Option<Bytes>,
    /// What came behind that.
    ended: Option<Option<HeaderMap>>,
}

impl H2Input {
    /// Reads a body.
    pub fn new(incoming: Incoming) -> Self {
        Self { left: incoming.size_hint().exact(), incoming, last: None, ended: None }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        loop {
            if let Some(trailers) = self.ended.take() {
                return Poll::Ready(trailers.map(|trailers| Ok(Piece::Trailers(trailers))));
            }
            let trailers = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                // A reset with NO_ERROR looks like an end here, and what is cut off there must not pass as whole.
                None if !self.incoming.is_end_stream() => return Poll::Ready(Some(Err(BodyError::Gone))),
                None => None,
                Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Gone))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => match self.take_in(data) {
                        Some(data) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
                        None => continue,
                    },
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => Some(trailers),
                        Err(_unknown) => continue,
                    },
                },
            };
            self.ended = Some(trailers);
            if let Some(last) = self.last.take() {
                return Poll::Ready(Some(Ok(Piece::Data(last))));
            }
        }
    }

    /// What may go on now.
    fn take_in(&mut self, data: Bytes) -> Option<Bytes> {
        // h2 refuses what goes over the length.
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        if self.left == Some(0) && !self.incoming.is_end_stream() {
            self.last = Some(data);
            return None;
        }
        Some(data)
    }
}
