//! Attempts at one upstream: as many as its retries allow.
//!
//! Whether there is another one is decided by [`mainstay_policy::retry`] from what is known of the last: why it failed,
//! whether the request may have reached the application, and whether it can be sent again whole. An answer that
//! may be replaced by a better one is kept until that is decided: if there is no further attempt, it is
//! the client's. Once the head of an answer was passed on, nothing is sent again.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{HeaderMap, header};
use mainstay_core::Stage;
use mainstay_policy::retry::{Asked, Cause, Failure as Failed, Verdict, decide};
use tokio::time::{Instant, sleep};

use super::Failure;
use super::attempt::{Answered, Trip};
use super::exchange::InFlight;
use super::policies::RetryLive;
use super::shed;
use super::step::{self, Ended, Missed, Tried};
use crate::request::{Piece, RequestBody};

/// Longest body of an answer that is read to its end for the sake of its connection.
const DISCARDED_BYTES_MAX: u64 = 16 * 1024;

/// An upstream that was asked in vain.
pub struct InVain {
    /// What the client is told if nobody else helps.
    pub ended: Ended,
    /// An attempt was made, and the request may have reached the application.
    pub delivered: bool,
    /// So many attempts were made.
    pub attempts: u32,
    /// The request's body, if all of it can be sent again.
    pub body: Option<RequestBody>,
}

/// Makes attempts at `trip`'s upstream until one is good, or no further one may be made.
///
/// # Errors
/// See [`InVain`].
pub async fn attempts(
    trip: &Trip<'_>,
    mut body: RequestBody,
    mut now: Instant,
) -> Result<Answered, Box<InVain>> {
    let policies = &trip.upstream.policies;
    if let Some(retry) = &policies.retry {
        body.keep(retry.replay_bytes_max);
    }
    let place = match &policies.shed {
        None => None,
        Some(shed) => match shed::enter(trip, shed, now).await {
            Ok(place) => Some(place),
            Err(problem) => return Err(Box::new(InVain::before(problem.into(), body))),
        },
    };
    let mut tries = Tries::default();
    loop {
        let stepped = step::step(trip, &mut tries.tried, place.as_ref(), body, now).await;
        if let (0, Some(retry)) = (tries.made, &policies.retry)
            && stepped.as_ref().err().is_none_or(|missed| !missed.is_refused())
        {
            retry.budget.deposit(trip.cx.worker.mono_at(now));
        }
        let missed = match stepped {
            Ok(answered) if !step::is_failure(&answered) => return Ok(answered),
            Ok(answered) => Missed::answered(answered),
            Err(missed) => missed,
        };
        match Box::pin(again(trip, &mut tries, missed)).await {
            Ok(next) => (body, now) = (next, Instant::now()),
            Err(in_vain) => return Err(in_vain),
        }
    }
}

impl InVain {
    /// Nothing was attempted.
    pub fn before(failure: Failure, body: RequestBody) -> Self {
        Self { ended: Ended::Refused(failure), delivered: false, attempts: 0, body: Some(body) }
    }
}

/// What is known of the attempts so far.
#[derive(Default)]
struct Tries {
    made: u32,
    tried: Tried,
    delivered: bool,
}

/// Waits for the next attempt, and gives the body for it; or there is none.
async fn again(trip: &Trip<'_>, tries: &mut Tries, missed: Missed) -> Result<RequestBody, Box<InVain>> {
    let Missed { ended, failed, mut body } = missed;
    let Some(failed) = failed else {
        // Refused by a policy, which is not asked a second time.
        return Err(Box::new(InVain { ended, delivered: tries.delivered, attempts: tries.made, body }));
    };
    tries.made += 1;
    tries.delivered |= failed.delivered;
    let verdict = match &trip.upstream.policies.retry {
        Some(retry) => ask(trip, retry, tries.made, &failed, body.is_some() || ended.has_whole_body()),
        None => None,
    };
    let Some(Verdict::Again { after_ms }) = verdict else {
        if let Some(Verdict::Stop(why)) = verdict {
            trip.cx.trail(Stage::Retry, format!("no further attempt: {}", why.reason()));
        }
        return Err(Box::new(InVain { ended, delivered: tries.delivered, attempts: tries.made, body }));
    };
    let cx = trip.cx;
    cx.trail(
        Stage::Retry,
        format!("attempt {} failed ({}); again after {after_ms} ms", tries.made, ended.words()),
    );
    cx.worker.cells.inc(trip.upstream.policies.metrics.retries(failed.cause));
    ended.leave(cx, &mut body);
    let Some(body) = body else {
        let problem = super::body_failure(crate::request::BodyError::Gone);
        return Err(Box::new(InVain {
            ended: Ended::Refused(problem.into()),
            delivered: tries.delivered,
            attempts: tries.made,
            body: None,
        }));
    };
    if after_ms > 0 {
        sleep(Duration::from_millis(after_ms)).await;
    }
    Ok(body)
}

fn ask(trip: &Trip<'_>, retry: &RetryLive, made: u32, failed: &Failed, replayable: bool) -> Option<Verdict> {
    let cx = trip.cx;
    let asked = Asked { safe: cx.method.is_safe(), has_key: has_key(&trip.request.headers), replayable };
    let now = Instant::now();
    let left_ms = trip.times.total().map(|until| until.saturating_duration_since(now).as_millis() as u64);
    let withdraw = || retry.budget.withdraw(cx.worker.mono_at(now));
    Some(decide(&retry.plan, made, failed, &asked, left_ms, cx.worker.random.share(), withdraw))
}

/// The client asks for at most one effect, whatever is sent how often.
pub fn has_key(headers: &HeaderMap) -> bool {
    headers.get("idempotency-key").is_some_and(|key| !key.is_empty())
}

/// `Retry-After` of an answer (RFC 9110, 10.2.3): seconds, or a date.
pub fn retry_after_ms(headers: &HeaderMap, now_s: i64) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(u64::from(seconds) * 1000);
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at_s = at.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(at_s.saturating_sub(now_s.max(0).unsigned_abs()) * 1000)
}

/// Lets go of an answer that is replaced by another one. What has arrived of a short body already is read, so that the
/// connection can serve again; nothing is waited for.
pub fn discard(mut flight: InFlight, length: Option<u64>) {
    if length.is_none_or(|length| length > DISCARDED_BYTES_MAX) {
        return;
    }
    let mut task = Context::from_waker(Waker::noop());
    loop {
        match flight.poll_piece(&mut task) {
            Poll::Ready(None) => return flight.complete(),
            Poll::Ready(Some(Ok(Piece::Data(_) | Piece::Trailers(_)))) => {}
            Poll::Ready(Some(Err(_))) | Poll::Pending => return,
        }
    }
}

/// The words of the policy for what happened.
pub fn status_failed(answered: &Answered, now_s: i64) -> Failed {
    let head = &answered.head;
    Failed {
        cause: Cause::Status(head.status.as_u16()),
        delivered: true,
        retry_after_ms: retry_after_ms(&head.headers, now_s),
    }
}
