//! A second attempt beside a slow first one; the first good answer counts, and the other attempt is cancelled.
//!
//! Only for safe requests without a body: those cost nothing but work when they are sent twice.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::Stage;
use tokio::time::Instant;

use super::alarm::Alarm;
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
    let due = due(trip, &start, &body);
    let alarm = Alarm::at(due.map(|(_, after)| start.began + after));
    let mut first = pin!(attempt::attempt(trip, start, place, body, &alarm));
    let Some((hedge, after)) = due else { return first.await };
    match until_rung(first.as_mut(), &alarm).await {
        Some(done) => done,
        // Of a hundred requests a few come here; the room for what follows is made for those alone.
        None => Box::pin(raced(trip, tried, place, (hedge, after), first)).await,
    }
}

/// How long after the first attempt a second one is due, if there may be one.
fn due<'a>(trip: &Trip<'a>, start: &Start, body: &RequestBody) -> Option<(&'a HedgeLive, Duration)> {
    let hedge = trip.upstream.policies.hedge.as_ref()?;
    if !trip.cx.is_safe() || !body.is_empty() || trip.request.upgrade.is_some() {
        return None;
    }
    let now = trip.cx.worker.mono_at(start.began);
    hedge.state.request(now);
    let after_us = hedge.state.after_us(&hedge.recent, now)?;
    // An hour is as good as never, and never overflows.
    Some((hedge, Duration::from_micros(after_us).min(Duration::from_hours(1))))
}

/// The attempt's end, or nothing if its alarm rang before.
async fn until_rung(mut attempt: Pin<&mut impl Future<Output = Done>>, alarm: &Alarm) -> Option<Done> {
    poll_fn(move |task| match attempt.as_mut().poll(task) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if alarm.has_rung() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

async fn raced(
    trip: &Trip<'_>,
    tried: &mut Tried,
    place: Option<&Place>,
    (hedge, after): (&HedgeLive, Duration),
    mut first: Pin<&mut impl Future<Output = Done>>,
) -> Result<Answered, Failed> {
    let began = Instant::now();
    // The leave may have to wait for its turn, and the first answer does not wait with it.
    let start = match first_of(first.as_mut(), pin!(second(trip, tried, hedge, began))).await {
        Ok(done) => return done,
        Err(Some(start)) => start,
        Err(None) => return first.await,
    };
    let cells = &trip.cx.worker.cells;
    cells.inc(trip.upstream.policies.metrics.hedges);
    trip.cx.trail(Stage::Hedge, format!("no answer after {} ms; asked a second time", after.as_millis()));
    let alone = Alarm::at(None);
    let second = pin!(attempt::attempt(trip, start, place, RequestBody::empty(), &alone));
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
async fn second(trip: &Trip<'_>, tried: &mut Tried, hedge: &HedgeLive, now: Instant) -> Option<Start> {
    let mono = trip.cx.worker.mono_at(now);
    if !hedge.state.may(mono) {
        return None;
    }
    let policies = &trip.upstream.policies;
    let is_paid = policies.retry.is_some();
    if is_paid && !policies.budget.budget.withdraw(mono) {
        return None;
    }
    let start = step::may_begin(trip, tried, now).await.ok();
    if start.is_none() && is_paid {
        policies.budget.budget.put_back(mono);
    }
    start
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
