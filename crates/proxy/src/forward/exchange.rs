//! A request on its way, over either protocol, and the guard that decides what becomes of it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mainstay_core::Stage;
use mainstay_wire::HeadLimits;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::attempt::Trip;
use super::h1::{self, ExchangeError, H1Connection, H1Exchange, Reached};
use super::h2::{H2Exchange, H2Stream};
use super::judge::Judge;
use super::pool::LocalEndpoint;
use super::settle::Left;
use super::shed::Place;
use super::step::Start;
use super::{headers, settle};
use crate::context::RequestCx;
use crate::request::{Piece, RequestBody};

/// The head of an answer.
pub struct AnswerHead {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// The length of its body, where it is known.
    pub length: Option<u64>,
}

fn head_limits(cx: &RequestCx) -> HeadLimits {
    let server = &cx.snapshot.plan.server;
    HeadLimits {
        head_bytes_max: server.header_bytes_max,
        fields_max: server.headers_max,
        target_bytes_max: 0,
    }
}

/// An exchange over either protocol.
pub enum Exchange {
    /// HTTP/1.1.
    H1(Box<H1Exchange>),
    /// HTTP/2.
    H2(Box<H2Exchange>),
}

impl Exchange {
    /// Begins over HTTP/1.1.
    pub fn h1(
        trip: &Trip<'_>,
        endpoint: &LocalEndpoint,
        body: RequestBody,
        mut connection: H1Connection,
    ) -> Self {
        let Trip { cx, upstream, path, request, .. } = trip;
        let (out, length) = (connection.output(), body.declared);
        headers::encode_h1(out, cx, upstream, &endpoint.shared, path, request, length);
        let (method, upgrade) = (request.method.clone(), request.upgrade.clone());
        Self::H1(Box::new(H1Exchange::new(connection, method, upgrade, body, head_limits(cx))))
    }

    /// Begins over HTTP/2.
    pub fn h2(trip: &Trip<'_>, endpoint: &LocalEndpoint, body: RequestBody, stream: H2Stream) -> Self {
        let Trip { cx, upstream, path, request, .. } = trip;
        let parts = headers::parts_h2(cx, upstream, &endpoint.shared, path, request, body.declared);
        Self::H2(Box::new(H2Exchange::new(stream, parts, body, head_limits(cx))))
    }

    /// How far the request got.
    pub fn reached(&self) -> Reached {
        match self {
            Self::H1(exchange) => exchange.reached(),
            Self::H2(exchange) => exchange.reached(),
        }
    }

    fn body_received(&self) -> u64 {
        match self {
            Self::H1(exchange) => exchange.body_received(),
            Self::H2(exchange) => exchange.body_received(),
        }
    }

    fn is_answered(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_answered(),
            Self::H2(exchange) => exchange.is_answered(),
        }
    }

    /// True when the whole request is still in our hands and can be sent again.
    pub fn is_whole_here(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_whole_here(),
            Self::H2(exchange) => exchange.is_whole_here(),
        }
    }

    /// The head of the answer.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, ExchangeError>> {
        match self {
            Self::H1(exchange) => exchange.poll_head(cx).map_ok(|head| AnswerHead {
                status: head.status,
                length: h1::known_length(head.framing),
                headers: head.headers,
            }),
            Self::H2(exchange) => {
                let polled = exchange.poll_head(cx);
                polled.map_ok(|parts| AnswerHead {
                    status: parts.status,
                    length: exchange.known_length(),
                    headers: parts.headers,
                })
            }
        }
    }

    /// The next piece of the answer's body; `None` at its end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ExchangeError>>> {
        match self {
            Self::H1(exchange) => exchange.poll_piece(cx),
            Self::H2(exchange) => exchange.poll_piece(cx),
        }
    }
}

/// The guard of a request on its way. Whoever lets go of it early, because the client left or time is up,
/// thereby decides by invariant 6: an unsafe request that may have arrived goes on, any other ends here.
pub struct InFlight {
    exchange: Option<Exchange>,
    cx: Rc<RequestCx>,
    endpoint: Rc<LocalEndpoint>,
    settle_within: Duration,
    began: Instant,
    received: u64,
    /// It runs on without a client already. Whoever lets go of it then is the end of the engine itself.
    settling: bool,
    /// It has a connection to itself, counted as in use.
    in_use: bool,
    /// A task of its own finishes it, and has its counts.
    handed_over: bool,
    /// The endpoint is told how it went, once.
    judge: Judge,
    /// Its place among the upstream's requests.
    place: Option<Place>,
}

impl InFlight {
    /// Counts a request that is about to be sent.
    pub fn begin(trip: &Trip<'_>, endpoint: &Rc<LocalEndpoint>, start: Start, place: Option<Place>) -> Self {
        let cx = trip.cx;
        endpoint.shared.state.begin();
        cx.worker.cells.gauge_add(endpoint.shared.metrics.in_flight, 1);
        Self {
            exchange: None,
            cx: Rc::clone(cx),
            endpoint: Rc::clone(endpoint),
            settle_within: trip.plan.timeouts.settle,
            began: start.began,
            received: 0,
            settling: false,
            in_use: false,
            handed_over: false,
            judge: Judge { upstream: trip.index, index: start.index, watch: Some(start.watch) },
            place,
        }
    }

    /// An answer came: whoever decides about further attempts learns how long it took and whether it is a failure. A client's
    /// own mistakes (4xx) never are one.
    pub fn judge_answered(&mut self, status: u16) {
        let now = Instant::now();
        let took_us = now.saturating_duration_since(self.began).as_micros() as u64;
        self.cx.facts.upstream_us.set(Some(took_us));
        let failed = status >= 500 && status != 501;
        self.judge.told(&self.cx, failed, took_us, now);
        if let Some(place) = &self.place {
            place.sample(took_us, matches!(status, 503 | 504), now);
        }
    }

    /// No answer came, and the endpoint is to blame. That time was up may come from too much at once; that a connection broke
    /// says nothing about how much there may be.
    pub fn judge_failed(&mut self, timed_out: bool) {
        let now = Instant::now();
        let took_us = now.saturating_duration_since(self.began).as_micros() as u64;
        self.judge.told(&self.cx, true, took_us, now);
        if let (true, Some(place)) = (timed_out, &self.place) {
            place.sample(took_us, true, now);
        }
    }

    /// When the endpoint had been chosen.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Takes the exchange under its guard.
    pub fn hold(&mut self, exchange: Exchange) -> &mut Exchange {
        if matches!(exchange, Exchange::H1(_)) && !self.in_use {
            self.in_use = true;
            self.cx.worker.cells.gauge_add(self.endpoint.shared.metrics.pool_in_use, 1);
        }
        self.exchange.insert(exchange)
    }

    /// Where it goes.
    pub fn endpoint(&self) -> &Rc<LocalEndpoint> {
        &self.endpoint
    }

    /// Ends the exchange over a dead connection: its body from the first byte, and its place under the cap where it had
    /// a connection to itself.
    pub fn take_remains(&mut self) -> (RequestBody, Option<OwnedSemaphorePermit>) {
        let (mut body, permit) = match self.exchange.take() {
            Some(Exchange::H1(exchange)) => {
                let (body, permit) = exchange.into_remains();
                (body, Some(permit))
            }
            Some(Exchange::H2(exchange)) => (exchange.into_body(), None),
            None => (RequestBody::empty(), None),
        };
        body.rewind();
        (body, permit)
    }

    /// Ends an exchange that failed or is given up. Its body, if all of that can be sent again.
    pub fn take_failed(&mut self) -> Option<RequestBody> {
        let is_whole = self.exchange.as_ref().is_some_and(Exchange::is_whole_here);
        let (body, _permit) = self.take_remains();
        self.observe(|m| m.failed);
        is_whole.then_some(body)
    }

    /// True when all of the request can be sent again.
    pub fn is_whole_here(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_whole_here)
    }

    /// The body once more, if all of it has arrived and was kept.
    pub fn copy_body(&mut self) -> Option<RequestBody> {
        match self.exchange.as_mut()? {
            Exchange::H1(exchange) => exchange.copy_body(),
            Exchange::H2(exchange) => exchange.copy_body(),
        }
    }

    /// The answer is passed on: nothing will be sent again.
    pub fn forget_body(&mut self) {
        match &mut self.exchange {
            Some(Exchange::H1(exchange)) => exchange.forget_body(),
            Some(Exchange::H2(exchange)) => exchange.forget_body(),
            None => {}
        }
    }

    /// Takes the connection out after a switch of protocols. The request counts as under way until the guard goes.
    pub fn take_switched(&mut self) -> Option<H1Connection> {
        match self.exchange.take()? {
            Exchange::H1(exchange) => {
                self.observe(|m| m.answered);
                Some(exchange.into_switched())
            }
            other @ Exchange::H2(_) => {
                self.exchange = Some(other);
                None
            }
        }
    }

    /// How far the request got.
    pub fn reached(&self) -> Reached {
        self.exchange.as_ref().map_or(Reached::Nothing, Exchange::reached)
    }

    /// Bytes of the client's body that have arrived.
    pub fn body_received(&self) -> u64 {
        self.exchange.as_ref().map_or(self.received, Exchange::body_received)
    }

    /// Whether a failure on a used connection may be mended by sending again, unseen by the client: when the
    /// request is still whole here and either nothing was sent or repeating it changes nothing. A service within the
    /// process ends a connection only by failing: what it failed at is not given to it again.
    pub fn may_resend(&self, error: &ExchangeError) -> bool {
        let Some(exchange) = &self.exchange else { return false };
        matches!(error, ExchangeError::Reset)
            && exchange.is_whole_here()
            && (exchange.reached() == Reached::Nothing
                || (!self.is_local()
                    && matches!(self.cx.method, Method::GET | Method::HEAD | Method::OPTIONS)))
    }

    /// True when it goes to a service within the process.
    pub fn is_local(&self) -> bool {
        self.endpoint.shared.is_local()
    }

    /// The next piece of the answer's body.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, ExchangeError>>> {
        match &mut self.exchange {
            Some(exchange) => exchange.poll_piece(cx),
            None => Poll::Ready(None),
        }
    }

    /// The request this belongs to.
    pub fn cx(&self) -> &Rc<RequestCx> {
        &self.cx
    }

    /// The exchange failed by itself: there is nothing to finish.
    pub fn give_up(&mut self) {
        self.received = self.body_received();
        self.exchange = None;
        self.observe(|m| m.failed);
    }

    /// The answer is complete: the connection may serve again.
    pub fn complete(mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        self.cx.facts.bytes_in.set(exchange.body_received());
        self.observe(|m| m.answered);
        if let Exchange::H1(exchange) = exchange
            && let Some(connection) = exchange.into_clean_connection()
        {
            self.endpoint.give_back(connection, &self.cx.worker);
        }
    }

    /// Puts the time since its beginning into one of the endpoint's histograms.
    pub fn observe(
        &self,
        which: impl Fn(&super::endpoint::EndpointMetrics) -> mainstay_telemetry::Histogram,
    ) {
        let us = self.began.elapsed().as_micros() as u64;
        self.cx.worker.cells.observe_us(which(&self.endpoint.shared.metrics), us);
    }

    /// Invariant 6: an unsafe request that may have arrived is not cut off.
    fn must_settle(&self) -> bool {
        let Some(exchange) = &self.exchange else { return false };
        !self.settling
            && !self.cx.is_safe()
            && exchange.reached() != Reached::Nothing
            && !exchange.is_answered()
    }
}

impl InFlight {
    /// Hands what must be finished to a task of its own, with its counts. False: there is nothing to finish.
    fn settle(&mut self, who: Left) -> bool {
        if !self.must_settle() {
            return false;
        }
        let Some(exchange) = self.exchange.take() else { return false };
        let flight = Self {
            exchange: Some(exchange),
            cx: Rc::clone(&self.cx),
            endpoint: Rc::clone(&self.endpoint),
            settle_within: self.settle_within,
            began: self.began,
            received: self.received,
            settling: true,
            in_use: self.in_use,
            handed_over: false,
            judge: Judge { watch: None, ..self.judge },
            place: self.place.take(),
        };
        // The counts go with it: the request is still under way.
        self.handed_over = true;
        settle::detach(flight, self.settle_within, who);
        true
    }

    /// The time for this attempt is up, and its client is still there: for another attempt, or for an answer of ours.
    pub fn settle_beside(&mut self) -> bool {
        self.settle(Left::Attempt)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.handed_over || self.settle(Left::Client) {
            return;
        }
        if self.exchange.take().is_some() {
            if self.settling {
                self.cx.trail(Stage::Settle, "cut off; the outcome is unknown");
            }
            self.judge.let_go(&self.cx, self.began);
            self.observe(|m| m.cancelled);
        }
        if self.in_use {
            self.cx.worker.cells.gauge_add(self.endpoint.shared.metrics.pool_in_use, -1);
        }
        self.endpoint.shared.state.end();
        self.cx.worker.cells.gauge_add(self.endpoint.shared.metrics.in_flight, -1);
    }
}

impl InFlight {
    /// Waits for the head of the answer without a client.
    pub fn poll_head_detached(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, ExchangeError>> {
        match &mut self.exchange {
            Some(exchange) => exchange.poll_head(cx),
            None => Poll::Ready(Err(ExchangeError::Reset)),
        }
    }

    /// True when the head of the answer has been taken.
    pub fn has_head(&self) -> bool {
        match &self.exchange {
            Some(Exchange::H1(exchange)) => exchange.has_head(),
            Some(Exchange::H2(exchange)) => exchange.has_head(),
            None => true,
        }
    }
}
