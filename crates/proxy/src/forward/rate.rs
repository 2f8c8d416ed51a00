//! `rate_max`: what an upstream may be sent, whatever comes. Attempts wait for their turn, then are shed.

use std::time::Duration;

use mainstay_core::{Problem, ProblemCode, Stage};
use tokio::time::{Instant, sleep_until};

use super::attempt::Trip;
use super::deadline;
use super::policies::RateLive;

/// Waits until the attempt may leave.
///
/// # Errors
/// `queue_full`: its turn would come too late; `deadline_exceeded`: it came too late.
pub async fn wait(trip: &Trip<'_>, limit: &RateLive, now: Instant) -> Result<Instant, Box<Problem>> {
    let left = trip.times.total().map(|until| until.saturating_duration_since(now));
    let wait_max = left.map_or(limit.wait_max, |left| left.min(limit.wait_max));
    let now_us = trip.cx.worker.mono_us(now);
    match limit.rate.reserve(now_us, wait_max.as_micros() as u64) {
        Some(0) => Ok(now),
        Some(wait_us) => {
            let until = now + Duration::from_micros(wait_us);
            trip.cx.trail(Stage::Queue, format!("waited {} ms for rate_max", wait_us / 1000));
            sleep_until(until).await;
            let now = Instant::now();
            deadline::is_not_over(trip, now)?;
            Ok(now)
        }
        None => {
            trip.cx.trail(Stage::Queue, "rate_max reached");
            trip.cx.worker.cells.inc(trip.upstream.policies.metrics.shed_rate);
            let detail = "The service is sent as many requests as it may get. Nothing was sent.";
            Err(Box::new(Problem::new(ProblemCode::QueueFull, detail).retry_after_s(1)))
        }
    }
}
