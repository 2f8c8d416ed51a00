//! The body of an answer, with the request's context inside, so that the record waits for the last byte.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mainstay_core::Stage;
use tokio::time::{Instant, Sleep};

use super::trailers;
use crate::context::RequestCx;
use crate::forward::exchange::InFlight;
use crate::forward::h1::ExchangeError;
use crate::forward::upgrade::Tunnel;
use crate::request::Piece;

/// The body of an answer.
pub struct OutBody {
    kind: Kind,
    length: Option<u64>,
    cx: Option<Rc<RequestCx>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Upstream(Box<UpstreamBody>),
    Tunnel(Box<Tunnel>),
}

/// The transfer broke off; the client must be able to see that.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Broken {}

impl OutBody {
    /// No body.
    pub fn empty() -> Self {
        Self { kind: Kind::Empty, length: Some(0), cx: None }
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), kind: Kind::Full(bytes), cx: None }
    }

    /// What an upstream sends.
    pub fn upstream(body: UpstreamBody, length: Option<u64>) -> Self {
        Self { kind: Kind::Upstream(Box::new(body)), length, cx: None }
    }

    /// No body, but another protocol on the same connection.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self { kind: Kind::Tunnel(Box::new(tunnel)), length: Some(0), cx: None }
    }

    /// Gives out what goes on in another protocol. The record is then written when that ends.
    pub fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match std::mem::replace(&mut self.kind, Kind::Empty) {
            Kind::Tunnel(tunnel) => {
                self.cx = None;
                Some(tunnel)
            }
            other => {
                self.kind = other;
                None
            }
        }
    }

    /// Puts the request's context inside.
    pub fn with_context(mut self, cx: Rc<RequestCx>) -> Self {
        self.cx = Some(cx);
        self
    }

    /// The request this answers.
    pub fn context(&self) -> Option<Rc<RequestCx>> {
        self.cx.clone()
    }

    /// Its length, where it is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Leaves out a body of our own, whose head has been asked for alone.
    pub fn leave_out(&mut self) {
        if let Kind::Full(_) = self.kind {
            self.kind = Kind::Empty;
        }
    }

    /// The client has all of it.
    pub fn complete(&mut self) {
        if let Some(cx) = &self.cx {
            cx.client_done();
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let polled = match &mut self.kind {
            Kind::Empty | Kind::Tunnel(_) => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Piece::Data(bytes))))
            }
            Kind::Upstream(body) => body.poll_piece(cx),
        };
        if let Poll::Ready(Some(Ok(Piece::Data(data)))) = &polled
            && let Some(cx) = &self.cx
        {
            cx.facts.bytes_out.set(cx.facts.bytes_out.get() + data.len() as u64);
        }
        if let Poll::Ready(None) = &polled
            && !matches!(self.kind, Kind::Tunnel(_))
        {
            self.kind = Kind::Empty;
        }
        polled
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            return Poll::Ready(match ready!(self.poll_piece(cx)) {
                Some(Ok(Piece::Data(data))) => Some(Ok(Frame::data(data))),
                Some(Ok(Piece::Trailers(trailers))) => {
                    let is_grpc = self.cx.as_ref().is_some_and(|cx| cx.is_grpc);
                    match trailers::passed_on(trailers, is_grpc) {
                        Some(trailers) => Some(Ok(Frame::trailers(trailers))),
                        None => continue,
                    }
                }
                Some(Err(broken)) => Some(Err(broken)),
                None => {
                    self.complete();
                    None
                }
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.kind, self.length) {
            (Kind::Empty, _) => SizeHint::with_exact(0),
            (_, Some(length)) => SizeHint::with_exact(length),
            (_, None) => SizeHint::default(),
        }
    }
}

impl Drop for OutBody {
    fn drop(&mut self) {
        let unfinished = !matches!(self.kind, Kind::Empty);
        if let Some(cx) = &self.cx {
            if unfinished && cx.facts.ended.get().is_none() && !is_without_body(cx) {
                cx.aborted("client");
            }
            cx.client_done();
        }
    }
}

/// HEAD is answered without the body that its head describes.
fn is_without_body(cx: &RequestCx) -> bool {
    cx.method == http::Method::HEAD
}

/// A body on its way from an upstream.
pub struct UpstreamBody {
    flight: Option<InFlight>,
    silence_max: Option<Duration>,
    silence: Option<Pin<Box<Sleep>>>,
    until: Option<Instant>,
}

impl UpstreamBody {
    /// Breaks off after `silence_max` without a byte, and at `until`.
    pub fn new(flight: InFlight, silence_max: Option<Duration>, until: Option<Instant>) -> Self {
        Self { flight: Some(flight), silence_max, silence: None, until }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        match flight.poll_piece(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.silence = None;
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(None) => {
                if let Some(flight) = self.flight.take() {
                    flight.complete();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.broke(&error);
                Poll::Ready(Some(Err(Broken)))
            }
            Poll::Pending => self.poll_time(cx),
        }
    }

    fn broke(&mut self, error: &ExchangeError) {
        let Some(mut flight) = self.flight.take() else { return };
        let why = match error {
            ExchangeError::Malformed(why) | ExchangeError::TooLarge(why) => why,
            ExchangeError::Reset if flight.is_local() => {
                "the service in the process failed within its answer"
            }
            ExchangeError::Reset | ExchangeError::Refused | ExchangeError::Body(_) => {
                "the service closed the connection within its answer"
            }
        };
        flight.cx().trail(Stage::Respond, why);
        flight.cx().aborted("upstream");
        flight.give_up();
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let until = match (self.silence_max.and_then(|max| Instant::now().checked_add(max)), self.until) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => return Poll::Pending,
        };
        let sleep = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if let Some(flight) = self.flight.take() {
            flight.cx().trail(Stage::Respond, "the service's answer did not arrive in time");
            flight.cx().aborted("upstream");
        }
        Poll::Ready(Some(Err(Broken)))
    }
}
