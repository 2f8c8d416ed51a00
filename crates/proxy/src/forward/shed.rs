//! A request's place among those that an upstream has at once, and the queue for one.

use std::hash::BuildHasher as _;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::clock::MonoMs;
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_policy::shed::{Asked, Gate, Queued, Ticket, Why};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::attempt::Trip;
use super::policies::ShedLive;
use crate::context::RequestCx;
use crate::worker::Worker;

/// What wakes a request that waits.
pub type Waiter = oneshot::Sender<Called>;

/// Why a waiting request is woken.
pub enum Called {
    /// A place is its own.
    Enter,
    /// Somebody more important came, and the queue was full.
    PushedOut,
}

/// A place. It is held by every attempt of its request, and given to the next one when the last of them has ended.
#[derive(Clone)]
pub struct Place(Rc<Held>);

struct Held {
    shed: Arc<ShedLive>,
    worker: Rc<Worker>,
}

impl Place {
    fn new(shed: &Arc<ShedLive>, worker: &Rc<Worker>) -> Self {
        Self(Rc::new(Held { shed: Arc::clone(shed), worker: Rc::clone(worker) }))
    }

    /// How long an attempt took, which the adaptive limit learns from.
    pub fn sample(&self, took_us: u64, dropped: bool, now: Instant) {
        self.0.shed.gate.sample(took_us, dropped, self.0.worker.mono_at(now));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        leave(&self.shed.gate, || self.worker.mono_ms());
    }
}

/// Gives a place to whoever waits longest and still does.
fn leave(gate: &Gate<Waiter>, now: impl Fn() -> MonoMs) {
    call(gate, gate.leave(&now), &now);
}

/// Wakes whoever has a place now.
fn call(gate: &Gate<Waiter>, mut next: Option<Waiter>, now: &impl Fn() -> MonoMs) {
    while let Some(waiter) = next {
        // A waiter that is gone cannot use the place, so it goes on to the next.
        next = match waiter.send(Called::Enter) {
            Ok(()) => gate.next(now()),
            Err(_gone) => gate.leave(now),
        };
    }
}

/// Takes a place, or waits for one. Gives the time besides, which has gone on if it waited.
///
/// # Errors
/// `queue_full` or `queue_timeout`.
pub async fn enter(trip: &Trip<'_>, shed: &Arc<ShedLive>, now: Instant) -> Result<(Place, Instant), Problem> {
    if shed.gate.enter(trip.priority(), trip.cx.worker.mono_at(now)) {
        return Ok((Place::new(shed, &trip.cx.worker), now));
    }
    let place = Box::pin(wait(trip, shed, now)).await?;
    Ok((place, Instant::now()))
}

/// Whose share of the queue it is: the consumer's, or without one the client address's.
fn whose(cx: &RequestCx) -> u64 {
    let hasher = rustc_hash::FxBuildHasher;
    match cx.caller().and_then(|caller| caller.consumer.as_deref()) {
        Some(consumer) => hasher.hash_one(consumer),
        None => cx.client.map_or(0, |client| hasher.hash_one(client)),
    }
}

async fn wait(trip: &Trip<'_>, shed: &Arc<ShedLive>, now: Instant) -> Result<Place, Problem> {
    let cx = trip.cx;
    let (sender, receiver) = oneshot::channel();
    let mono = cx.worker.mono_at(now);
    let caller = whose(cx);
    let Asked { queued, pushed_out, called } = shed.gate.queue(sender, trip.priority(), caller, mono);
    if let Some(pushed_out) = pushed_out {
        let _ = pushed_out.send(Called::PushedOut);
    }
    call(&shed.gate, called, &|| mono);
    let ticket = match queued {
        Queued::Admitted(_) => return Ok(Place::new(shed, &cx.worker)),
        Queued::Waiting(ticket) => ticket,
        Queued::Refused { why, .. } => return Err(refused(trip, why)),
    };
    let mut waiting = Waiting { shed, worker: &cx.worker, ticket: Some(ticket), receiver };
    let until = now + shed.queue_wait;
    let until = trip.times.total().map_or(until, |total| total.min(until));
    let called = match timeout_at(until, &mut waiting.receiver).await {
        Ok(Ok(called)) => {
            waiting.ticket = None;
            Some(called)
        }
        // The place may have come in the very moment.
        Ok(Err(_)) | Err(_) => waiting.end(),
    };
    let waited_ms = now.elapsed().as_millis();
    match called {
        Some(Called::Enter) => {
            cx.trail(Stage::Queue, format!("waited {waited_ms} ms for a place"));
            Ok(Place::new(shed, &cx.worker))
        }
        Some(Called::PushedOut) => Err(refused(trip, Why::QueueFull)),
        None => {
            cx.trail(Stage::Queue, format!("no place within {waited_ms} ms"));
            cx.worker.cells.inc(trip.upstream.policies.metrics.shed_wait);
            let detail = "The service has as many requests as it may, and no place became free in time. Nothing was sent.";
            Err(Problem::new(ProblemCode::QueueTimeout, detail).retry_after_s(1))
        }
    }
}

fn refused(trip: &Trip<'_>, why: Why) -> Problem {
    trip.cx.trail(Stage::Queue, why.reason());
    trip.cx.worker.cells.inc(trip.upstream.policies.metrics.shed_full);
    let detail = "The service has as many requests as it may, and so has the queue for it. Nothing was sent.";
    Problem::new(ProblemCode::QueueFull, detail).retry_after_s(1)
}

/// A request in the queue. Whoever lets go of it gives up its place there, or the one it has got meanwhile.
struct Waiting<'a> {
    shed: &'a Arc<ShedLive>,
    worker: &'a Worker,
    ticket: Option<Ticket>,
    receiver: oneshot::Receiver<Called>,
}

impl Waiting<'_> {
    /// Waits no more. What has been said by now counts; what is said later reaches nobody, and whoever says it learns that
    /// and gives the place to the next one. So exactly one of both sides has it.
    fn end(&mut self) -> Option<Called> {
        let ticket = self.ticket.take()?;
        if self.shed.gate.give_up(ticket) {
            return None;
        }
        self.receiver.close();
        self.receiver.try_recv().ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if matches!(self.end(), Some(Called::Enter)) {
            leave(&self.shed.gate, || self.worker.mono_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Priority;
    use mainstay_policy::shed::{LimitPlan, ShedPlan};

    use super::*;

    /// On another worker a waiter may go between the moment it is taken out of the queue and that in which it is told.
    #[test]
    fn a_place_goes_past_a_waiter_that_is_gone() {
        let now = MonoMs(1_000);
        let plan = ShedPlan { limit: LimitPlan::Fixed(1), queue: 8, queue_wait_ms: 200 };
        let gate = Gate::<Waiter>::new(plan);
        assert!(gate.enter(Priority::Normal, now));
        let (gone, receiver) = oneshot::channel();
        let (waits, mut called) = oneshot::channel();
        for (caller, waiter) in [(1, gone), (2, waits)] {
            assert!(matches!(gate.queue(waiter, Priority::Normal, caller, now).queued, Queued::Waiting(_)));
        }
        drop(receiver);
        leave(&gate, || now);
        assert!(matches!(called.try_recv(), Ok(Called::Enter)));
        assert_eq!(gate.in_flight(), 1);
        leave(&gate, || now);
        assert_eq!(gate.in_flight(), 0);
    }
}
