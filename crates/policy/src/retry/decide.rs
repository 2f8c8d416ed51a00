//! One failed attempt of one request.

use super::{Causes, RetryPlan};

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection came about: refused, unreachable, unknown name, TLS, too slow. Nothing was sent.
    Connect,
    /// Provably not processed: an HTTP/2 stream that was refused or lies above the last id of a GOAWAY, a pooled
    /// connection that was dead before a byte left.
    Unprocessed,
    /// The connection ended before the answer did.
    Reset,
    /// The attempt's own time-out.
    Timeout,
    /// The answer is not well-formed.
    Malformed,
    /// A complete answer.
    Status(u16),
}

impl Cause {
    /// The word under which it is configured and counted; none for an answer that is never a reason to try again.
    pub fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Connect | Self::Unprocessed => "connect",
            Self::Reset => "reset",
            Self::Malformed | Self::Status(502) => "502",
            Self::Status(503) => "503",
            Self::Timeout | Self::Status(504) => "504",
            Self::Status(_) => return None,
        })
    }

    fn nothing_was_done(self) -> bool {
        matches!(self, Self::Connect | Self::Unprocessed)
    }
}

impl Causes {
    /// Whether it is one of these.
    pub fn lists(self, cause: Cause) -> bool {
        cause.word().is_some_and(|word| self.has(word))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    /// It may have reached the application. Where that is not known, it is true.
    pub delivered: bool,
    /// What the upstream's `Retry-After` comes to.
    pub retry_after_ms: Option<u64>,
}

/// The request, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub safe: bool,
    /// It carries an idempotency key.
    pub has_key: bool,
    /// The whole body is still at hand, or there is none.
    pub replayable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, preferably elsewhere, after a wait of `after_ms`. A token was taken from the budget.
    Again { after_ms: u64 },
    /// The failure is the answer. No token was taken.
    Stop(Why),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    CauseNotListed,
    MayHaveHappened,
    BodyGone,
    AttemptsUsedUp,
    DeadlineTooNear,
    RetryAfterTooLong,
    BudgetSpent,
}

impl Why {
    /// A sentence for the request's trail.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CauseNotListed => "not tried again: this kind of failure is not in `retries.on`",
            Self::MayHaveHappened => {
                "not tried again: it may have taken effect, and neither its method nor a key that the upstream \
                 honours makes a second time harmless"
            }
            Self::BodyGone => "not tried again: its body is no longer whole",
            Self::AttemptsUsedUp => "not tried again: that was the last of its attempts",
            Self::DeadlineTooNear => "not tried again: its deadline is before the end of the wait",
            Self::RetryAfterTooLong => {
                "not tried again: the upstream's Retry-After is longer than it may wait"
            }
            Self::BudgetSpent => "not tried again: the upstream's retry budget is spent",
        }
    }
}

/// What follows the failure of attempt number `attempt`, which counts from 1. `left_ms` is the time until the request's
/// deadline, if it has one; `jitter` lies evenly between 0 (included) and 1 (excluded). `withdraw` asks the
/// [`super::Budget`], and is called at most once.
pub fn decide(
    plan: &RetryPlan,
    attempt: u32,
    failure: &Failure,
    asked: &Asked,
    left_ms: Option<u64>,
    jitter: f64,
    withdraw: impl FnOnce() -> bool,
) -> Verdict {
    if !plan.on.lists(failure.cause) {
        return Verdict::Stop(Why::CauseNotListed);
    }
    if !may_happen_twice(plan, failure, asked) {
        return Verdict::Stop(Why::MayHaveHappened);
    }
    if !asked.replayable {
        return Verdict::Stop(Why::BodyGone);
    }
    if attempt >= plan.attempts_max {
        return Verdict::Stop(Why::AttemptsUsedUp);
    }
    let retry_after_ms = failure.retry_after_ms.unwrap_or(0);
    let fits = left_ms.map_or(retry_after_ms <= plan.backoff_max_ms, |left_ms| retry_after_ms < left_ms);
    if failure.retry_after_ms.is_some() && !fits {
        return Verdict::Stop(Why::RetryAfterTooLong);
    }
    let after_ms = backoff_ms(plan, attempt, failure.cause, jitter).max(retry_after_ms);
    if left_ms.is_some_and(|left_ms| after_ms >= left_ms) {
        return Verdict::Stop(Why::DeadlineTooNear);
    }
    if !withdraw() {
        return Verdict::Stop(Why::BudgetSpent);
    }
    Verdict::Again { after_ms }
}

fn may_happen_twice(plan: &RetryPlan, failure: &Failure, asked: &Asked) -> bool {
    asked.safe || !failure.delivered || (asked.has_key && plan.honours_key)
}

fn backoff_ms(plan: &RetryPlan, attempt: u32, cause: Cause, jitter: f64) -> u64 {
    if attempt <= 1 && cause.nothing_was_done() {
        return 0;
    }
    let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    let longest_ms = plan.backoff_base_ms.saturating_mul(doubled).min(plan.backoff_max_ms);
    (jitter * longest_ms as f64) as u64
}
