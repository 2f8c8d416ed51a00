//! What has begun is finished: an unsafe request runs on although nobody waits for it any more.
//!
//! Cancelling it would leave a payment half known: the upstream may have done it, and nobody would have
//! recorded how it ended. So the exchange goes on in a task of its own, within `timeouts.settle`, and its
//! outcome is written into the request's record. It keeps its place among `requests_in_flight`, which bounds
//! how many can settle at once; a drain waits for them.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::Stage;
use tokio::time::{Instant, timeout};

use super::exchange::InFlight;
use super::h1::ExchangeError;
use crate::worker::Worker;

/// Who has let go of a request that is finished without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its client, or the end of its client's part.
    Client,
    /// The attempt alone. The client waits for another one, or is told that time was up.
    Attempt,
}

/// Starts the task. What it waits for is discarded, but for the status.
pub fn detach(flight: InFlight, within: Duration, who: Left) {
    let cx = Rc::clone(flight.cx());
    let worker = Rc::clone(&cx.worker);
    let counted = Counted::new(&worker);
    if who == Left::Client {
        if cx.facts.status.get() == 0 {
            cx.aborted("client");
        }
        cx.client_done();
    }
    worker.spawn(async move {
        let _counted = counted;
        let left_at = Instant::now();
        let mut flight = flight;
        let outcome = timeout(within, Box::pin(finish(&mut flight))).await;
        let after_ms = left_at.elapsed().as_millis();
        match outcome {
            Ok(Ok(Some(status))) => {
                cx.trail(
                    Stage::Settle,
                    format!("the service answered {status}, {after_ms} ms after the client's part was over"),
                );
                if cx.facts.status.get() == 0 {
                    cx.facts.status.set(status);
                }
                flight.complete();
            }
            Ok(Ok(None)) => {
                cx.trail(
                    Stage::Settle,
                    format!(
                        "the rest of the answer was read, {after_ms} ms after the client's part was over"
                    ),
                );
                flight.complete();
            }
            Ok(Err(error)) => {
                cx.trail(
                    Stage::Settle,
                    format!("ended without an answer after {after_ms} ms: {}", cause(&error, &flight)),
                );
                flight.give_up();
            }
            Err(_elapsed) => {
                cx.trail(Stage::Settle, format!("no answer within {after_ms} ms; the outcome is unknown"));
                flight.give_up();
            }
        }
    });
}

/// One request that settles.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.settling.set(worker.settling.get() + 1);
        worker.cells.gauge_add(worker.shared.metrics.settling, 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.settling.set(self.0.settling.get() - 1);
        self.0.cells.gauge_add(self.0.shared.metrics.settling, -1);
    }
}

async fn finish(flight: &mut InFlight) -> Result<Option<u16>, ExchangeError> {
    let mut status = None;
    if !flight.has_head() {
        status = Some(poll_fn(|task| flight.poll_head_detached(task)).await?.status.as_u16());
    }
    while let Some(piece) = poll_fn(|task| flight.poll_piece(task)).await {
        piece?;
    }
    Ok(status)
}

fn cause(error: &ExchangeError, flight: &InFlight) -> &'static str {
    match error {
        ExchangeError::Reset if flight.is_local() => "the service in the process failed",
        ExchangeError::Refused => "the service refused the request without looking at it",
        ExchangeError::Reset => "the service closed the connection",
        ExchangeError::Malformed(why) | ExchangeError::TooLarge(why) => why,
        ExchangeError::Body(_) => "the client left before its request was complete",
    }
}
