//! The circuit breaker's place in a request: asked before an attempt, told how it went.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::clock::MonoMs;
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_policy::breaker::{Breaker, Change, Pass};
use mainstay_telemetry::Event;

use super::attempt::Trip;
use super::policies::BreakerLive;
use crate::context::RequestCx;

/// The right to make an attempt. Whoever drops it without a verdict has learnt nothing, and gives it back.
pub struct Watch {
    held: Option<(Rc<RequestCx>, Arc<Breaker>, Pass)>,
    upstream: usize,
}

/// Asks the breaker of the upstream, or of the operation at it.
///
/// # Errors
/// `circuit_open`, with the time until it is tried again.
pub fn admit(trip: &Trip<'_>, now: MonoMs) -> Result<Watch, Box<Problem>> {
    let upstream = trip.index;
    let breaker = trip.upstream.policies.breaker.as_ref();
    let Some(breaker) = breaker.and_then(|live| live.of(trip.plan.operation)) else {
        return Ok(Watch { held: None, upstream });
    };
    match breaker.admit(now) {
        Ok(pass) => {
            let watch = Watch { upstream, held: Some((Rc::clone(trip.cx), Arc::clone(breaker), pass)) };
            Ok(watch)
        }
        Err(refused) => {
            trip.cx.trail(Stage::Breaker, "the circuit is open");
            let seconds = u32::try_from(refused.retry_after_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
            let detail =
                "The service has failed too often, so it is not asked for a while. Nothing was sent.";
            Err(Box::new(Problem::new(ProblemCode::CircuitOpen, detail).retry_after_s(seconds)))
        }
    }
}

impl Watch {
    /// Tells how the attempt went.
    pub fn done(&mut self, failed: bool, took_us: u64, now: MonoMs) {
        let Some((cx, breaker, pass)) = self.held.take() else { return };
        let jitter = cx.worker.random.share();
        if let Some(change) = breaker.done(pass, failed, took_us, now, jitter) {
            tell(&cx, self.upstream, &change);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((cx, breaker, pass)) = self.held.take() {
            breaker.cancelled(pass, cx.worker.mono_ms());
        }
    }
}

fn tell(cx: &RequestCx, upstream: usize, change: &Change) {
    let plan = &cx.snapshot.plan.upstreams[upstream];
    let of_operation = plan.policies.breaker.as_ref().is_some_and(BreakerLive::is_per_operation);
    let operation = cx.route.get().filter(|_| of_operation).map_or("", |route| &route.names.operation);
    let upstream = &*plan.name;
    let events = &cx.worker.shared.events;
    match change {
        Change::Opened { failure_ratio, slow_ratio, for_ms } => events.emit(&Event::CircuitOpened {
            upstream,
            operation,
            failure_ratio: *failure_ratio,
            slow_ratio: *slow_ratio,
            open_ms: *for_ms,
        }),
        Change::HalfOpened => {}
        Change::Closed => events.emit(&Event::CircuitClosed { upstream, operation }),
    }
}
