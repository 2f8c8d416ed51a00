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
    if policies.replay_bytes_max > 0 {
        body.keep(policies.replay_bytes_max);
    }
    let place = match &policies.shed {
        None => None,
        Some(shed) => match shed::enter(trip, shed, now).await {
            // What was waited for the place is no time at the service.
            Ok((place, entered)) => {
                now = entered;
                Some(place)
            }
            Err(problem) => return Err(Box::new(InVain::before(problem.into(), body))),
        },
    };
    let mut tries = Tries::default();
    loop {
        let stepped = step::step(trip, &mut tries, place.as_ref(), body, now).await;
        if tries.made == 0 && stepped.as_ref().err().is_none_or(|missed| !missed.is_refused()) {
            policies.budget.budget.deposit(trip.cx.worker.mono_at(now));
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
pub struct Tries {
    made: u32,
    /// Endpoints that were tried.
    pub tried: Tried,
    delivered: bool,
    /// How the last one ended, until the next one begins: if that is refused, this is what the client is told. A refusal
    /// would say that nothing was sent.
    pub last: Option<Ended>,
}

/// Waits for the next attempt, and gives the body for it; or there is none.
async fn again(trip: &Trip<'_>, tries: &mut Tries, missed: Missed) -> Result<RequestBody, Box<InVain>> {
    // Refused by a policy, which is not asked a second time.
    let is_refused = missed.is_refused();
    let Missed { mut ended, delivered, failed, body } = missed;
    if is_refused {
        return Err(in_vain(tries, ended, body));
    }
    tries.made += 1;
    tries.delivered |= delivered;
    let body = body.or_else(|| ended.copy_body());
    let Some(failed) = failed else { return Err(in_vain(tries, ended, body)) };
    let retry = trip.upstream.policies.retry.as_ref();
    let after_ms = match retry.map(|retry| ask(trip, retry, tries.made, &failed, body.is_some())) {
        Some(Verdict::Again { after_ms }) => after_ms,
        Some(Verdict::Stop(why)) => {
            trip.cx.trail(Stage::Retry, format!("no further attempt: {}", why.reason()));
            return Err(in_vain(tries, ended, body));
        }
        None => return Err(in_vain(tries, ended, body)),
    };
    let Some(body) = body else { return Err(in_vain(tries, ended, None)) };
    let cx = trip.cx;
    let made = tries.made;
    cx.trail(Stage::Retry, format!("attempt {made} failed ({}); again after {after_ms} ms", ended.words()));
    cx.worker.cells.inc(trip.upstream.policies.metrics.retries(failed.cause));
    ended.tell(cx);
    tries.last = Some(ended);
    if after_ms > 0 {
        sleep(Duration::from_millis(after_ms)).await;
    }
    Ok(body)
}

fn in_vain(tries: &mut Tries, ended: Ended, body: Option<RequestBody>) -> Box<InVain> {
    let ended = tries.last.take().unwrap_or(ended);
    Box::new(InVain { ended, delivered: tries.delivered, attempts: tries.made, body })
}

fn ask(trip: &Trip<'_>, retry: &RetryLive, made: u32, failed: &Failed, replayable: bool) -> Verdict {
    let cx = trip.cx;
    let asked = Asked { safe: cx.method.is_safe(), has_key: has_key(&trip.request.headers), replayable };
    let now = Instant::now();
    let left_ms = trip.times.total().map(|until| until.saturating_duration_since(now).as_millis() as u64);
    let withdraw = || trip.upstream.policies.budget.budget.withdraw(cx.worker.mono_at(now));
    decide(&retry.plan, made, failed, &asked, left_ms, cx.worker.random.share(), withdraw)
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
