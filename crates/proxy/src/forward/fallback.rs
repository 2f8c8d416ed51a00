//! What a request gets when its upstream was asked in vain: the first that helps of what is configured, in that order.
//!
//! Another upstream is asked only with what cannot happen twice by it: a safe request, one that provably did
//! not reach the application, or one whose key both upstreams share; never with a test credential. A fixed answer that says that nothing happened is given only if nothing was
//! sent. Whatever helps, the answer says that it is a degraded one.

use http::{HeaderValue, Response, header};
use mainstay_core::Stage;
use tokio::time::Instant;

use super::attempt::Trip;
use super::policies::{Fallback, Respond};
use super::retry::{self, InVain};
use super::{Failure, answer, proxy_status};
use crate::request::RequestBody;
use crate::respond::body::OutBody;

/// The first answer that helps, or what there is without one.
///
/// # Errors
/// What the client is told.
pub async fn fallback(trip: &Trip<'_>, mut in_vain: Box<InVain>) -> Result<Response<OutBody>, Failure> {
    for fallback in &trip.upstream.policies.fallback {
        let helped = match fallback {
            Fallback::Stale => None,
            // What stands in for a sandbox may be live, and a test must not become a payment.
            Fallback::Upstream(_) if trip.cx.is_test() => None,
            Fallback::Upstream(index) => another(trip, *index, &mut in_vain).await,
            Fallback::Respond(respond) => fixed(trip, respond, &in_vain),
        };
        if let Some(mut response) = helped {
            in_vain.ended.tell(trip.cx);
            say_degraded(&in_vain, &mut response);
            return Ok(response);
        }
    }
    in_vain.ended.end(trip)
}

/// Asks another upstream, if the request may go there.
async fn another(trip: &Trip<'_>, index: usize, in_vain: &mut InVain) -> Option<Response<OutBody>> {
    let cx = trip.cx;
    let upstream = cx.snapshot.plan.upstreams.get(index)?;
    let shares = upstream.policies.shares_idempotency_with == Some(trip.index)
        && retry::has_key(&trip.request.headers);
    if in_vain.delivered && !cx.is_safe() && !shares {
        cx.trail(Stage::Fallback, format!("{} is not asked: it could happen twice", upstream.name));
        return None;
    }
    let now = Instant::now();
    if trip.times.total().is_some_and(|until| until <= now) {
        cx.trail(Stage::Fallback, format!("{} is not asked: no time is left", upstream.name));
        return None;
    }
    // After an attempt it is a further one; without one it is the first.
    if in_vain.attempts > 0
        && trip.upstream.policies.retry.is_some()
        && !trip.upstream.policies.budget.budget.withdraw(cx.worker.mono_at(now))
    {
        cx.trail(Stage::Fallback, format!("{} is not asked: the retry budget is spent", upstream.name));
        return None;
    }
    let body = in_vain.take_body()?;
    cx.trail(Stage::Fallback, format!("{}; asked {} instead", in_vain.ended.words(), upstream.name));
    let trip = Trip { upstream, index, ..*trip };
    match Box::pin(retry::attempts(&trip, body, now)).await {
        Ok(answered) => {
            cx.worker.cells.inc(trip.upstream.policies.metrics.degraded_upstream);
            cx.facts.degraded.set(Some("upstream"));
            Some(answer(answered.head, answered.flight, trip.plan, trip.times))
        }
        Err(other) => {
            cx.trail(Stage::Fallback, format!("{}: {}", trip.upstream.name, other.ended.words()));
            in_vain.delivered |= other.delivered;
            in_vain.body = other.body;
            None
        }
    }
}

/// The operator's own answer, where it is true.
fn fixed(trip: &Trip<'_>, respond: &Respond, in_vain: &InVain) -> Option<Response<OutBody>> {
    let cx = trip.cx;
    if (respond.when_undelivered && in_vain.delivered) || cx.is_grpc {
        return None;
    }
    cx.trail(Stage::Fallback, format!("{}; answered as configured", in_vain.ended.words()));
    cx.worker.cells.inc(trip.upstream.policies.metrics.degraded_respond);
    cx.facts.degraded.set(Some("respond"));
    let mut response = Response::new(OutBody::full(respond.body.clone()));
    *response.status_mut() = respond.status;
    let headers = response.headers_mut();
    if !respond.body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = respond.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Some(response)
}

/// RFC 9209: why this is not the answer that it could have been.
fn say_degraded(in_vain: &InVain, response: &mut Response<OutBody>) {
    let error = in_vain.ended.code().and_then(proxy_status);
    let text = match (error, in_vain.ended.status()) {
        (Some(error), _) => format!("mainstay; error={error}; details=\"degraded\""),
        (None, Some(status)) => format!("mainstay; received-status={status}; details=\"degraded\""),
        (None, None) => "mainstay; details=\"degraded\"".to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().append("proxy-status", value);
    }
}

impl InVain {
    /// The body for somebody else, if all of it can be sent again.
    fn take_body(&mut self) -> Option<RequestBody> {
        self.body.take().or_else(|| self.ended.copy_body())
    }
}
