//! Bodies on their way into a service and out of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use mainstay_proxy::caught;

use super::BoxError;
use super::serve::Asked;

/// The body of a request to a service within the process. It arrives as the client sends it, and has an error when the
/// client breaks off.
pub struct Body {
    incoming: Incoming,
    /// Nothing of it is left to read.
    ended: Arc<AtomicBool>,
}

impl Body {
    pub(super) fn new(incoming: Incoming) -> Self {
        let ended = Arc::new(AtomicBool::new(http_body::Body::is_end_stream(&incoming)));
        Self { incoming, ended }
    }

    /// Tells, also after the body itself is gone, whether all of it has been read.
    pub(super) fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The body of a request broke off.
#[derive(Debug)]
pub struct BodyError(hyper::Error);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request's body broke off: {}", self.0)
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if frame.is_none() || self.incoming.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of an answer. A panic in it ends it with an error.
pub(super) struct Guarded<B> {
    /// `None` after it has failed.
    body: Option<Pin<Box<B>>>,
    asked: Asked,
}

impl<B> Guarded<B> {
    pub(super) fn new(body: B, asked: Asked) -> Self {
        Self { body: Some(Box::pin(body)), asked }
    }
}

impl<B: http_body::Body<Error: Into<BoxError>>> http_body::Body for Guarded<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let cause = match ready!(caught::poll(|| body.as_mut().poll_frame(cx))) {
            Ok(None) => return Poll::Ready(None),
            Ok(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Ok(Some(Err(error))) => error.into().to_string(),
            Err(panic) => format!("a panic: {panic}"),
        };
        self.body = None;
        self.asked.failed(&format!("within its answer, {cause}"));
        Poll::Ready(Some(Err(cause.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}
