//! One attempt: a request to one endpoint, up to the head of its answer.
//!
//! A connection is had, the request is sent over it, and its answer awaited within the time for one attempt. How an
//! attempt failed, how far it got, and whether its body can be sent again is told to whoever decides what
//! happens next ([`Failed`]). Only one thing is mended here, unseen by anyone: a pooled connection that turns out to be dead is
//! replaced by a new one, where nothing was sent over it or the request changes nothing.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::{ProblemCode, Stage};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connect::ConnectError;
use super::exchange::{AnswerHead, Exchange, InFlight};
use super::h1::{ExchangeError, Reached};
use super::h2;
use super::pool::{Acquired, LocalEndpoint, Pooled};
use crate::context::RequestCx;
use crate::plan::{ForwardPlan, UpstreamPlan};
use crate::request::{Request, RequestBody, far_future};

/// Bodies of known length up to this size count towards the total timeout until their last byte.
const SHORT_BODY_BYTES: u64 = 1 << 20;

/// A request on its way to one upstream.
pub struct Trip<'a> {
    /// The request's context.
    pub cx: &'a Rc<RequestCx>,
    /// What its operation says.
    pub plan: &'a ForwardPlan,
    /// Where it goes.
    pub upstream: &'a UpstreamPlan,
    /// The path as the upstream gets it.
    pub path: &'a str,
    /// Its head.
    pub request: &'a Request,
    /// Until when what may take.
    pub times: &'a Times,
}

/// Until when what may take.
pub struct Times {
    /// The operation's total, which ends at the head.
    head: Option<Instant>,
    /// When the client no longer wants any of it.
    client: Option<Instant>,
    /// For one attempt.
    attempt: Option<Duration>,
}

impl Times {
    /// From the operation's timeouts and what the client says.
    pub fn new(cx: &RequestCx, plan: &ForwardPlan, wanted_within: Option<Duration>) -> Self {
        Self {
            head: plan.timeouts.total.and_then(|t| cx.started.checked_add(t)),
            client: wanted_within.and_then(|t| cx.started.checked_add(t)),
            attempt: plan.timeouts.attempt,
        }
    }

    /// When the head has to be there.
    pub fn total(&self) -> Option<Instant> {
        earlier(self.head, self.client)
    }

    /// When the last byte has to be there, of a body of this length.
    pub fn whole(&self, length: Option<u64>) -> Option<Instant> {
        let is_short = length.is_some_and(|n| n <= SHORT_BODY_BYTES);
        earlier(self.head.filter(|_| is_short), self.client)
    }

    /// The nearer end of an attempt that begins now, and what it is called.
    fn of_attempt(&self, now: Instant) -> (Instant, ProblemCode) {
        let attempt = self.attempt.and_then(|t| now.checked_add(t));
        match (attempt, self.total()) {
            (Some(attempt), Some(total)) if attempt < total => (attempt, ProblemCode::UpstreamTimeout),
            (_, Some(total)) => (total, ProblemCode::DeadlineExceeded),
            (Some(attempt), None) => (attempt, ProblemCode::UpstreamTimeout),
            (None, None) => (far_future(), ProblemCode::DeadlineExceeded),
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The head of an answer, and what its body comes over.
pub struct Answered {
    /// The head.
    pub head: AnswerHead,
    /// The guard of the exchange.
    pub flight: InFlight,
}

/// An attempt without an answer.
pub struct Failed {
    /// Why.
    pub why: Why,
    /// How far the request got.
    pub reached: Reached,
    /// The request's body, if all of it can be sent again.
    pub body: Option<RequestBody>,
    /// Where it failed.
    pub endpoint: Rc<LocalEndpoint>,
}

/// Why an attempt had no answer.
pub enum Why {
    /// There was no connection.
    Connect(ConnectError),
    /// The exchange itself failed.
    Exchange(ExchangeError),
    /// Its time was up, or all of the request's.
    TimedOut(ProblemCode),
}

/// Makes one attempt. `began`: now.
///
/// # Errors
/// See [`Failed`].
pub async fn attempt(
    trip: &Trip<'_>,
    endpoint: &Rc<LocalEndpoint>,
    body: RequestBody,
    began: Instant,
) -> Result<Answered, Failed> {
    let cx = trip.cx;
    let mut flight = InFlight::begin(cx, endpoint, trip.plan, began);
    cx.facts.attempts.set(cx.facts.attempts.get() + 1);
    *cx.facts.endpoint.borrow_mut() = Some(std::sync::Arc::clone(&endpoint.shared));
    let end = trip.times.of_attempt(began);
    let (acquired, reused) = match trip.connection(endpoint).await {
        Ok(acquired) => acquired,
        Err(why) => return Err(flight.fail_unsent(why, body)),
    };
    let exchange = trip.exchange(endpoint, acquired, body);
    match flight.answer(exchange, end).await {
        Ok(head) => Ok(Answered { head, flight }),
        Err(Why::Exchange(error)) if reused && flight.may_resend(&error) => {
            Box::pin(resend(trip, endpoint, flight, end)).await
        }
        Err(why) => Err(flight.fail(why)),
    }
}

impl Trip<'_> {
    /// A way to send the request, and whether it has served before. The common case, an idle connection, needs no timer.
    async fn connection(&self, endpoint: &Rc<LocalEndpoint>) -> Result<(Acquired, bool), Why> {
        let only_http1 = self.request.upgrade.is_some();
        let worker = &self.cx.worker;
        if (only_http1 || !endpoint.shared.speaks_h2())
            && let Some(connection) = endpoint.take_idle(worker)
        {
            return Ok((Acquired::H1(Pooled { connection, reused: true }), true));
        }
        let connecting = Box::pin(endpoint.acquire(worker, self.plan.timeouts.connect, only_http1));
        let acquired = match self.times.total() {
            Some(until) => timeout_at(until, connecting).await.unwrap_or(Err(ConnectError::DeadlineExceeded)),
            None => connecting.await,
        };
        acquired.map_err(Why::Connect).map(|acquired| {
            let reused = match &acquired {
                Acquired::H2(_) => true,
                Acquired::H1(pooled) => pooled.reused,
            };
            (acquired, reused)
        })
    }

    fn exchange(&self, endpoint: &LocalEndpoint, acquired: Acquired, body: RequestBody) -> Exchange {
        match acquired {
            Acquired::H2(stream) => Exchange::h2(self, endpoint, body, stream),
            Acquired::H1(Pooled { connection, .. }) => Exchange::h1(self, endpoint, body, connection),
        }
    }
}

/// A pooled connection had died: the same request over a new one, unseen by the client.
async fn resend(
    trip: &Trip<'_>,
    endpoint: &Rc<LocalEndpoint>,
    mut flight: InFlight,
    end: (Instant, ProblemCode),
) -> Result<Answered, Failed> {
    let worker = &trip.cx.worker;
    trip.cx.trail(Stage::Send, "a pooled connection had died; sent over another one");
    worker.cells.inc(endpoint.shared.metrics.replaced);
    let (body, permit) = flight.take_remains();
    let within = trip.plan.timeouts.connect;
    let only_http1 = trip.request.upgrade.is_some();
    let fresh = async {
        match permit {
            Some(permit) => endpoint.open(worker, permit, within, only_http1).await,
            None => h2::acquire(endpoint, worker, within).await,
        }
    };
    let acquired = match timeout_at(end.0, Box::pin(fresh)).await {
        Ok(Ok(acquired)) => acquired,
        Ok(Err(error)) => return Err(flight.fail_unsent(Why::Connect(error), body)),
        Err(_elapsed) => return Err(flight.fail_unsent(Why::TimedOut(end.1), body)),
    };
    let exchange = trip.exchange(endpoint, acquired, body);
    match flight.answer(exchange, end).await {
        Ok(head) => Ok(Answered { head, flight }),
        Err(why) => Err(flight.fail(why)),
    }
}

impl InFlight {
    /// Waits for the head of the answer. The exchange stays in the guard, so that it survives this future.
    async fn answer(
        &mut self,
        exchange: Exchange,
        (until, code): (Instant, ProblemCode),
    ) -> Result<AnswerHead, Why> {
        let mut timer = pin!(sleep_until(until));
        let exchange = self.hold(exchange);
        poll_fn(|task| {
            if let Poll::Ready(head) = exchange.poll_head(task) {
                return Poll::Ready(head.map_err(Why::Exchange));
            }
            timer.as_mut().poll(task).map(|()| Err(Why::TimedOut(code)))
        })
        .await
    }

    /// The attempt ended before there was anything to send over.
    fn fail_unsent(self, why: Why, mut body: RequestBody) -> Failed {
        let endpoint = Rc::clone(self.endpoint());
        self.observe(|m| m.failed);
        body.rewind();
        Failed { why, reached: Reached::Nothing, body: Some(body), endpoint }
    }

    /// The attempt failed. An unsafe request that may have arrived, and has not failed by itself, goes on without it.
    fn fail(mut self, why: Why) -> Failed {
        let reached = self.reached();
        let endpoint = Rc::clone(self.endpoint());
        self.cx().facts.bytes_in.set(self.body_received());
        let body = if matches!(why, Why::TimedOut(_)) && self.must_settle() {
            self.copy_body()
        } else {
            self.take_failed()
        };
        Failed { why, reached, body, endpoint }
    }
}

/// Takes the body out of a request whose own place it is not to be any more.
pub fn take_body(request: &mut Request) -> RequestBody {
    mem::replace(&mut request.body, RequestBody::empty())
}
