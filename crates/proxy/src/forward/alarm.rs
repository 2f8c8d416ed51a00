//! The moment in an attempt at which a second one beside it is due.
//!
//! Whoever waits in the attempt rings it, with the timer that it has anyway, and whoever polls the attempt looks after each
//! poll whether it has rung. A timer of the hedge's own would be set and taken back for every request, of which a few are
//! hedged.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

/// Rings once at the most.
pub struct Alarm {
    at: Option<Instant>,
    rung: Cell<bool>,
}

impl Alarm {
    /// It rings then, or never.
    pub fn at(at: Option<Instant>) -> Self {
        Self { at, rung: Cell::new(false) }
    }

    /// When it will ring; `None`: never, or it has.
    pub fn due(&self) -> Option<Instant> {
        self.at.filter(|_| !self.rung.get())
    }

    /// It is time.
    pub fn ring(&self) {
        self.rung.set(true);
    }

    /// Whether it has rung.
    pub fn has_rung(&self) -> bool {
        self.rung.get()
    }

    /// Rings in time while `waiting` goes on, which has no timer that knows of this.
    pub async fn beside<T>(&self, waiting: impl Future<Output = T>) -> T {
        let Some(at) = self.due() else { return waiting.await };
        let (mut waiting, mut timer) = (pin!(waiting), pin!(sleep_until(at)));
        poll_fn(move |task| {
            if let Poll::Ready(done) = waiting.as_mut().poll(task) {
                return Poll::Ready(done);
            }
            if !self.has_rung() && timer.as_mut().poll(task).is_ready() {
                self.ring();
            }
            Poll::Pending
        })
        .await
    }
}
