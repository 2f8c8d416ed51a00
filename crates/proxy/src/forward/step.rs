//! One step of an upstream's attempts: whether one may be made now, where, and how it ended.
//!
//! In order: the request's time is not over, the circuit breaker lets it pass, an endpoint is chosen, the time left is compared with what that endpoint
//! usually takes, the rate of the upstream allows it; then the attempt is made ([`super::attempt`]), and raced by a second one where the upstream
//! is hedged ([`super::hedge`]). A refusal costs no attempt and gives back what was taken before it.

use mainstay_core::{Problem, ProblemCode};
use mainstay_policy::retry::{self, Cause};
use tokio::time::Instant;

use super::attempt::{Answered, Failed, Trip, Why};
use super::connect::ConnectError;
use super::h1::{ExchangeError, Reached};
use super::retry::Tries;
use super::shed::Place;
use super::{Failure, balance, breaker, deadline, hedge, rate, retry as retries};
use crate::context::RequestCx;
use crate::request::RequestBody;

/// Endpoints that were tried for a request: bit i for the endpoint of index i.
pub type Tried = u64;

/// What became of a step without a good answer.
pub struct Missed {
    /// How it ended.
    pub ended: Ended,
    /// It may have reached the application.
    pub delivered: bool,
    /// The failure in the words of the policy; `None`: no attempt was made, or a further one would not change it.
    pub failed: Option<retry::Failure>,
    /// The request's body, if all of it can be sent again. An answer that is still held keeps it.
    pub body: Option<RequestBody>,
}

/// How a step ended.
pub enum Ended {
    /// A policy did not let it begin.
    Refused(Failure),
    /// The attempt failed.
    Failed(Box<Failed>),
    /// The answer is one that says "not now".
    Answered(Box<Answered>),
}

/// Makes a step.
///
/// # Errors
/// See [`Missed`].
pub async fn step(
    trip: &Trip<'_>,
    tries: &mut Tries,
    place: Option<&Place>,
    body: RequestBody,
    now: Instant,
) -> Result<Answered, Missed> {
    let tried = &mut tries.tried;
    let start = may_begin(trip, tried, now).await;
    if start.is_ok()
        && let Some(last) = tries.last.take()
    {
        last.leave();
    }
    match start {
        Ok(start) => hedge::attempt(trip, tried, start, place, body).await.map_err(Missed::failed),
        Err(problem) => Err(Missed::refused(*problem, body)),
    }
}

/// Where an attempt goes, and by whose leave.
pub struct Start {
    /// Index of the endpoint.
    pub index: usize,
    /// The breaker's pass.
    pub watch: breaker::Watch,
    /// When it begins.
    pub began: Instant,
}

/// Asks everyone who may refuse an attempt.
///
/// # Errors
/// What the client is told.
pub async fn may_begin(trip: &Trip<'_>, tried: &mut Tried, now: Instant) -> Result<Start, Box<Problem>> {
    let mono = trip.cx.worker.mono_at(now);
    deadline::is_not_over(trip, now)?;
    let watch = breaker::admit(trip, mono)?;
    let index = balance::pick(trip, *tried, mono)?;
    deadline::gate(trip, index, now)?;
    let began = match &trip.upstream.policies.rate {
        None => now,
        Some(limit) => rate::wait(trip, limit, now).await?,
    };
    if index < 64 {
        *tried |= 1 << index;
    }
    Ok(Start { index, watch, began })
}

/// Answers that say "not now" (RFC 9110, 15.6): another attempt, endpoint or upstream may do better.
pub fn is_failure(answered: &Answered) -> bool {
    matches!(answered.head.status.as_u16(), 502..=504)
}

impl Missed {
    fn refused(problem: Problem, body: RequestBody) -> Self {
        Self { ended: Ended::Refused(problem.into()), delivered: false, failed: None, body: Some(body) }
    }

    /// True when no attempt was made.
    pub fn is_refused(&self) -> bool {
        matches!(self.ended, Ended::Refused(_))
    }

    /// The answer is one that says "not now".
    pub fn answered(answered: Answered) -> Self {
        let now_s = answered.flight.cx().worker.unix().seconds();
        let failed = Some(retries::status_failed(&answered, now_s));
        Self { ended: Ended::Answered(Box::new(answered)), delivered: true, failed, body: None }
    }

    fn failed(mut failed: Failed) -> Self {
        let body = failed.body.take();
        // What a service within the process has failed at is not given to it again.
        let is_local = failed.endpoint.shared.is_local();
        let cause = cause(&failed.why, failed.reached).filter(|_| !is_local);
        let delivered = failed.reached != Reached::Nothing;
        let words = cause.map(|cause| retry::Failure { cause, delivered, retry_after_ms: None });
        Self { ended: Ended::Failed(Box::new(failed)), delivered, failed: words, body }
    }
}

/// Why an attempt failed, in the words of the policy; `None`: for a reason that a further attempt does not change.
fn cause(why: &Why, reached: Reached) -> Option<Cause> {
    match why {
        Why::Connect(error) => error.is_of_upstream().then_some(Cause::Connect),
        Why::Exchange(ExchangeError::Refused) => Some(Cause::Unprocessed),
        Why::Exchange(ExchangeError::Reset) if reached == Reached::Nothing => Some(Cause::Unprocessed),
        Why::Exchange(ExchangeError::Reset) => Some(Cause::Reset),
        Why::Exchange(ExchangeError::Malformed(_)) => Some(Cause::Malformed),
        Why::Exchange(ExchangeError::TooLarge(_) | ExchangeError::Body(_)) => None,
        Why::TimedOut(ProblemCode::UpstreamTimeout) => Some(Cause::Timeout),
        Why::TimedOut(_) => None,
    }
}

impl Ended {
    /// The body once more, if all of it can be sent again.
    pub fn copy_body(&mut self) -> Option<RequestBody> {
        match self {
            Self::Answered(answered) => answered.flight.copy_body(),
            Self::Refused(_) | Self::Failed(_) => None,
        }
    }

    /// The problem's code, where the failure is not an answer.
    pub fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Refused(failure) => Some(failure.problem.code),
            Self::Failed(failed) => Some(failed.code()),
            Self::Answered(_) => None,
        }
    }

    /// The status of an answer that says "not now".
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(answered) => Some(answered.head.status.as_u16()),
            Self::Refused(_) | Self::Failed(_) => None,
        }
    }

    /// For the trail.
    pub fn words(&self) -> String {
        match self {
            Self::Refused(failure) => failure.problem.code.code().to_owned(),
            Self::Answered(answered) => format!("status {}", answered.head.status.as_u16()),
            Self::Failed(failed) => match &failed.why {
                Why::Connect(error) => error.cause(),
                Why::Exchange(ExchangeError::Refused) => "refused by the service unprocessed".to_owned(),
                Why::Exchange(ExchangeError::Reset) => "connection closed before an answer".to_owned(),
                Why::Exchange(ExchangeError::Malformed(why) | ExchangeError::TooLarge(why)) => {
                    (*why).to_owned()
                }
                Why::Exchange(ExchangeError::Body(_)) => "the client's body failed".to_owned(),
                Why::TimedOut(code) => code.code().to_owned(),
            },
        }
    }

    /// Somebody who looks for a failing endpoint finds it, although no client has noticed.
    pub fn tell(&self, cx: &RequestCx) {
        if let Self::Failed(failed) = self
            && let Why::Connect(error) = &failed.why
        {
            failed.tell_unreachable(cx, error);
        }
    }

    /// Something better is tried: what this holds is let go of.
    pub fn leave(self) {
        if let Self::Answered(answered) = self {
            retries::discard(answered.flight, answered.head.length);
        }
    }
}

/// True when the endpoint is to blame for how an attempt ended, false when it is not known whether it is.
pub fn is_blamed(why: &Why, is_clients_time: bool) -> bool {
    match why {
        Why::TimedOut(ProblemCode::UpstreamTimeout) => true,
        // A client that gives a request a millisecond proves nothing about the service.
        Why::TimedOut(_) | Why::Connect(ConnectError::DeadlineExceeded) => !is_clients_time,
        Why::Connect(error) => error.is_of_upstream(),
        Why::Exchange(error) => !matches!(error, ExchangeError::Body(_)),
    }
}
