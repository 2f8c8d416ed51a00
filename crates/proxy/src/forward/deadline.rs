//! Until when what may take, and whether what is left is worth an attempt.
//!
//! A request has one deadline: the operation's total, lowered by what its client says. The client's own bounds the whole
//! answer, the operation's ends at the head (and at the last byte of short bodies of known length). What is left
//! goes upstream with each attempt.

use std::time::Duration;

use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_policy::deadline::Verdict;
use tokio::time::Instant;

use super::attempt::Trip;
use crate::context::RequestCx;
use crate::plan::ForwardPlan;
use crate::request::far_future;

/// Bodies of known length up to this size count towards the total timeout until their last byte.
const SHORT_BODY_BYTES: u64 = 1 << 20;

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

    /// True when it is the client's own limit that ends the request first.
    pub fn is_clients(&self) -> bool {
        self.client.is_some_and(|client| self.head.is_none_or(|head| client < head))
    }

    /// When the last byte has to be there, of a body of this length.
    pub fn whole(&self, length: Option<u64>) -> Option<Instant> {
        let is_short = length.is_some_and(|n| n <= SHORT_BODY_BYTES);
        earlier(self.head.filter(|_| is_short), self.client)
    }

    /// The nearer end of an attempt that begins now, and what it is called.
    pub fn of_attempt(&self, now: Instant) -> (Instant, ProblemCode) {
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

const OVER: &str = "The request's time was up before it could be sent. Nothing was sent.";

/// What nobody waits for any more must not have an effect.
///
/// # Errors
/// `deadline_exceeded`.
pub fn is_not_over(trip: &Trip<'_>, now: Instant) -> Result<(), Box<Problem>> {
    if trip.times.total().is_some_and(|until| until <= now) {
        return Err(Box::new(Problem::new(ProblemCode::DeadlineExceeded, OVER)));
    }
    Ok(())
}

/// Refuses an attempt that would most likely be wasted: less time is left than the endpoint usually takes.
///
/// # Errors
/// `deadline_too_short`.
pub fn gate(trip: &Trip<'_>, index: usize, now: Instant) -> Result<(), Box<Problem>> {
    let Some(until) = trip.times.total() else { return Ok(()) };
    let endpoint = &trip.upstream.shared.endpoints[index];
    let left_us = until.saturating_duration_since(now).as_micros() as u64;
    let mono = trip.cx.worker.mono_at(now);
    match endpoint.gate.decide(left_us, &endpoint.recent, mono) {
        Verdict::Go => Ok(()),
        Verdict::Trial => {
            trip.cx.trail(
                Stage::Deadline,
                "less time is left than the service usually takes; tried all the same",
            );
            Ok(())
        }
        Verdict::TooShort { median_us } => {
            trip.cx.trail(
                Stage::Deadline,
                format!("{} ms left, the service usually takes {} ms", left_us / 1000, median_us / 1000),
            );
            let detail = "Less time is left than the service usually takes. Nothing was sent.";
            Err(Box::new(Problem::new(ProblemCode::DeadlineTooShort, detail)))
        }
    }
}
