//! One attempt: a request to one endpoint, up to the head of its answer.
//!
//! A connection is had, the request is sent over it, and its answer awaited within the time for one attempt. How an
//! attempt failed, how far it got, and whether its body can be sent again is told to whoever decides what
//! happens next ([`Failed`]). Only one thing is mended here, unseen by the client: a pooled connection that turns out to be dead is
//! replaced by a new one, where nothing was sent over it, or where the request changes nothing and the budget of further
//! attempts has one left.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use mainstay_core::{Priority, ProblemCode, Stage};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::alarm::Alarm;
use super::connect::ConnectError;
use super::deadline::Times;
use super::exchange::{AnswerHead, Exchange, InFlight};
use super::h1::{ExchangeError, Reached};
use super::h2;
use super::pool::{Acquired, LocalEndpoint, Pooled};
use super::shed::Place;
use super::step::{Start, is_blamed};
use crate::context::RequestCx;
use crate::plan::{ForwardPlan, UpstreamPlan};
use crate::request::{Request, RequestBody};

/// A request on its way to one upstream.
#[derive(Clone, Copy)]
pub struct Trip<'a> {
    /// The request's context.
    pub cx: &'a Rc<RequestCx>,
    /// What its operation says.
    pub plan: &'a ForwardPlan,
    /// Where it goes.
    pub upstream: &'a UpstreamPlan,
    /// The upstream's index in the snapshot.
    pub index: usize,
    /// The canonical path.
    pub canonical_path: &'a str,
    /// The path as the upstream gets it.
    pub path: &'a str,
    /// Its head.
    pub request: &'a Request,
    /// Until when what may take.
    pub times: &'a Times,
}

impl Trip<'_> {
    /// Whose turn comes first when there is too much.
    pub fn priority(&self) -> Priority {
        self.cx.priority(self.plan.priority)
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

/// Makes one attempt, for which everyone has given leave.
///
/// # Errors
/// See [`Failed`].
pub async fn attempt(
    trip: &Trip<'_>,
    start: Start,
    place: Option<&Place>,
    body: RequestBody,
    alarm: &Alarm,
) -> Result<Answered, Failed> {
    let cx = trip.cx;
    let endpoint = &cx.snapshot.upstreams[trip.index].endpoints[start.index];
    let began = start.began;
    let mut flight = InFlight::begin(trip, endpoint, start, place.cloned());
    cx.facts.attempts.set(cx.facts.attempts.get() + 1);
    *cx.facts.endpoint.borrow_mut() = Some(std::sync::Arc::clone(&endpoint.shared));
    let end = trip.times.of_attempt(began);
    let (acquired, reused) = match trip.connection(endpoint, alarm).await {
        Ok(acquired) => acquired,
        Err(why) => return Err(flight.fail_unsent(trip, why, body)),
    };
    let exchange = trip.exchange(endpoint, acquired, body);
    match flight.answer(exchange, end, alarm).await {
        Ok(head) => Ok(flight.answered(head)),
        Err(Why::Exchange(error)) if reused && trip.may_resend(&flight, &error) => {
            Box::pin(resend(trip, endpoint, flight, end, alarm)).await
        }
        Err(why) => Err(flight.fail(trip, why)),
    }
}

impl Trip<'_> {
    /// A way to send the request, and whether it has served before. The common case, an idle connection, needs no timer.
    async fn connection(&self, endpoint: &Rc<LocalEndpoint>, alarm: &Alarm) -> Result<(Acquired, bool), Why> {
        let only_http1 = self.request.upgrade.is_some();
        let worker = &self.cx.worker;
        if (only_http1 || !endpoint.shared.speaks_h2())
            && let Some(connection) = endpoint.take_idle(worker)
        {
            return Ok((Acquired::H1(Pooled { connection, reused: true }), true));
        }
        let connecting = Box::pin(endpoint.acquire(worker, self.plan.timeouts.connect, only_http1));
        let connecting = alarm.beside(connecting);
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

    /// Whether the request may go out again over a new connection. The first time it may have cost the service as much as
    /// any attempt, so it takes a token as any further one does; what has not left costs nothing.
    fn may_resend(&self, flight: &InFlight, error: &ExchangeError) -> bool {
        if !flight.may_resend(error) {
            return false;
        }
        let budget = &self.upstream.policies.budget.budget;
        let may = flight.reached() == Reached::Nothing || budget.withdraw(self.cx.worker.mono_ms());
        if !may {
            self.cx.trail(Stage::Send, "a pooled connection had died; the retry budget is spent");
        }
        may
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
    alarm: &Alarm,
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
    let acquired = match timeout_at(end.0, alarm.beside(Box::pin(fresh))).await {
        Ok(Ok(acquired)) => acquired,
        Ok(Err(error)) => return Err(flight.fail_unsent(trip, Why::Connect(error), body)),
        Err(_elapsed) => return Err(flight.fail_unsent(trip, Why::TimedOut(end.1), body)),
    };
    let exchange = trip.exchange(endpoint, acquired, body);
    match flight.answer(exchange, end, alarm).await {
        Ok(head) => Ok(flight.answered(head)),
        Err(why) => Err(flight.fail(trip, why)),
    }
}

impl InFlight {
    /// Waits for the head of the answer. The exchange stays in the guard, so that it survives this future.
    async fn answer(
        &mut self,
        exchange: Exchange,
        (until, code): (Instant, ProblemCode),
        alarm: &Alarm,
    ) -> Result<AnswerHead, Why> {
        // One timer for both ends of the wait: setting one costs more than all that is decided about a request.
        let rings_at = alarm.due().filter(|at| *at < until);
        let mut timer = pin!(sleep_until(rings_at.unwrap_or(until)));
        let mut rings = rings_at.is_some();
        let exchange = self.hold(exchange);
        poll_fn(|task| {
            if let Poll::Ready(head) = exchange.poll_head(task) {
                return Poll::Ready(head.map_err(Why::Exchange));
            }
            ready!(timer.as_mut().poll(task));
            if !mem::take(&mut rings) {
                return Poll::Ready(Err(Why::TimedOut(code)));
            }
            alarm.ring();
            timer.as_mut().reset(until);
            timer.as_mut().poll(task).map(|()| Err(Why::TimedOut(code)))
        })
        .await
    }

    /// The head of the answer is there.
    fn answered(mut self, head: AnswerHead) -> Answered {
        self.judge_answered(head.status.as_u16());
        Answered { head, flight: self }
    }

    fn judge(&mut self, trip: &Trip<'_>, why: &Why) {
        if is_blamed(why, trip.times.is_clients()) {
            self.judge_failed(matches!(why, Why::TimedOut(_)));
        }
    }

    /// The attempt ended before there was anything to send over.
    fn fail_unsent(mut self, trip: &Trip<'_>, why: Why, mut body: RequestBody) -> Failed {
        let endpoint = Rc::clone(self.endpoint());
        self.observe(|m| m.failed);
        self.judge(trip, &why);
        body.rewind();
        Failed { why, reached: Reached::Nothing, body: Some(body), endpoint }
    }

    /// The attempt failed. An unsafe request that may have arrived, and has not failed by itself, goes on without it.
    fn fail(mut self, trip: &Trip<'_>, why: Why) -> Failed {
        let is_refused = matches!(why, Why::Exchange(ExchangeError::Refused));
        let reached = if is_refused { Reached::Nothing } else { self.reached() };
        self.judge(trip, &why);
        let endpoint = Rc::clone(self.endpoint());
        self.cx().facts.bytes_in.set(self.body_received());
        let copy = if matches!(why, Why::TimedOut(_)) { self.copy_body() } else { None };
        let settles = matches!(why, Why::TimedOut(_)) && self.settle_beside();
        let body = if settles { copy } else { self.take_failed() };
        Failed { why, reached, body, endpoint }
    }
}

/// Takes the body out of a request whose own place it is not to be any more.
pub fn take_body(request: &mut Request) -> RequestBody {
    mem::replace(&mut request.body, RequestBody::empty())
}
