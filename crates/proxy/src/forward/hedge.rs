//! A second attempt beside a slow first one; the first good answer counts, and the other attempt is cancelled.
//!
//! Only for safe requests without a body: those cost nothing but work when they are sent twice.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::Stage;
use tokio::time::{Instant, sleep};

use super::attempt::{self, Answered, Failed, Trip};
use super::policies::HedgeLive;
use super::shed::Place;
use super::step::{self, Start, Tried};
use crate::request::RequestBody;

/// Makes an attempt, and where that is slow another one beside it.
///
/// # Errors
/// See [`Failed`]; of two failures the first one's.
pub async fn attempt(
    trip: &Trip<'_>,
    tried: &mut Tried,
    start: Start,
    place: Option<&Place>,
    body: RequestBody,
) -> Result<Answered, Failed> {
    let Some(hedge) = trip.upstream.policies.hedge.as_ref().filter(|_| may_be_hedged(trip, &body)) else {
        return attempt::attempt(trip, start, place, body).await;
    };
    let now = trip.cx.worker.mono_at(start.began);
    hedge.state.request(now);
    match hedge.state.after_us(&hedge.recent, now) {
        Some(after_us) => Box::pin(raced(trip, tried, start, place, hedge, after_us)).await,
        None => attempt::attempt(trip, start, place, body).await,
    }
}

fn may_be_hedged(trip: &Trip<'_>, body: &RequestBody) -> bool {
    trip.cx.is_safe() && body.is_empty() && trip.request.upgrade.is_none()
}

async fn raced(
    trip: &Trip<'_>,
    tried: &mut Tried,
    start: Start,
    place: Option<&Place>,
    hedge: &HedgeLive,
    after_us: u64,
) -> Result<Answered, Failed> {
    let mut first = pin!(attempt::attempt(trip, start, place, RequestBody::empty()));
    let leave = async {
        sleep(Duration::from_micros(after_us)).await;
        second(trip, tried, hedge).await
    };
    // The leave may have to wait for its turn, and the first answer does not wait with it.
    let start = match first_of(first.as_mut(), pin!(leave)).await {
        Ok(done) => return done,
        Err(Some(start)) => start,
        Err(None) => return first.await,
    };
    let cells = &trip.cx.worker.cells;
    cells.inc(trip.upstream.policies.metrics.hedges);
    trip.cx.trail(Stage::Hedge, format!("no answer after {} ms; asked a second time", after_us / 1000));
    let second = pin!(attempt::attempt(trip, start, place, RequestBody::empty()));
    let (done, second_won) = race(first, second).await;
    if let Ok(answered) = &done {
        let endpoint = &answered.flight.endpoint().shared;
        *trip.cx.facts.endpoint.borrow_mut() = Some(Arc::clone(endpoint));
    }
    if second_won {
        cells.inc(trip.upstream.policies.metrics.hedges_won);
        trip.cx.trail(Stage::Hedge, "the second one answered first");
    }
    done
}

/// The attempt's end, or if that comes first (`Err`) what `other` comes to.
async fn first_of<T>(
    mut attempt: Pin<&mut impl Future<Output = Done>>,
    mut other: Pin<&mut impl Future<Output = T>>,
) -> Result<Done, T> {
    poll_fn(move |task| match attempt.as_mut().poll(task) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => other.as_mut().poll(task).map(Err),
    })
    .await
}

/// The leave for a second attempt, of everyone who has to give it.
async fn second(trip: &Trip<'_>, tried: &mut Tried, hedge: &HedgeLive) -> Option<Start> {
    let now = Instant::now();
    let mono = trip.cx.worker.mono_at(now);
    if !hedge.state.may(mono) {
        return None;
    }
    let policies = &trip.upstream.policies;
    if policies.retry.is_some() && !policies.budget.budget.withdraw(mono) {
        return None;
    }
    step::may_begin(trip, tried, now).await.ok()
}

type Done = Result<Answered, Failed>;

/// The first good end, or both ends are bad: then the first one's. Whether it is the second's is told beside.
async fn race(
    mut first: Pin<&mut impl Future<Output = Done>>,
    mut second: Pin<&mut impl Future<Output = Done>>,
) -> (Done, bool) {
    let is_good = |done: &Done| done.as_ref().is_ok_and(|answered| !step::is_failure(answered));
    let (mut of_first, mut of_second): (Option<Done>, Option<Done>) = (None, None);
    poll_fn(move |task| {
        if of_first.is_none()
            && let Poll::Ready(done) = first.as_mut().poll(task)
        {
            if is_good(&done) {
                return Poll::Ready((done, false));
            }
            of_first = Some(done);
        }
        if of_second.is_none()
            && let Poll::Ready(done) = second.as_mut().poll(task)
        {
            if is_good(&done) {
                return Poll::Ready((done, true));
            }
            of_second = Some(done);
        }
        match (of_first.take(), &of_second) {
            (Some(done), Some(_)) => Poll::Ready((done, false)),
            (kept, _) => {
                of_first = kept;
                Poll::Pending
            }
        }
    })
    .await
}
