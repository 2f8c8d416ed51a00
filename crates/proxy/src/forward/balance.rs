//! Which endpoint an attempt goes to.

use std::hash::BuildHasher;

use mainstay_core::clock::MonoMs;
use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_policy::balance::Change;
use mainstay_telemetry::Event;
use rustc_hash::FxBuildHasher;

use super::attempt::Trip;
use super::endpoint::UpstreamShared;
use super::policies::HashOn;
use crate::context::RequestCx;
use crate::worker::Worker;

/// The index of the endpoint.
///
/// # Errors
/// `no_healthy_endpoint`.
pub fn pick(trip: &Trip<'_>, tried: u64, now: MonoMs) -> Result<usize, Box<Problem>> {
    let shared = &trip.upstream.shared;
    // With one endpoint there is nothing to choose.
    let random = if shared.endpoints.len() > 1 { trip.cx.worker.random.bits() } else { 0 };
    let hash = shared.hash_on.as_ref().and_then(|on| hash(trip, on));
    let Some(choice) = shared.pool.pick(now, random, hash, tried) else {
        trip.cx.trail(Stage::Balance, "no endpoint is healthy");
        let detail = "No endpoint of the service is healthy. Nothing was sent.";
        return Err(Box::new(Problem::new(ProblemCode::NoHealthyEndpoint, detail).retry_after_s(1)));
    };
    if choice.panic {
        trip.cx.trail(Stage::Balance, "too few endpoints are healthy, so health is ignored");
    }
    Ok(choice.index)
}

/// What keeps requests that belong together at one endpoint; `None`: this request has none of it.
fn hash(trip: &Trip<'_>, on: &HashOn) -> Option<u64> {
    let hash = |bytes: &[u8]| FxBuildHasher.hash_one(bytes);
    match on {
        HashOn::Header(name) => trip.request.headers.get(name).map(|value| hash(value.as_bytes())),
        HashOn::PathSegment => {
            let segment = trip.plan.hash_segment?;
            trip.canonical_path.split('/').nth(segment + 1).map(|text| hash(text.as_bytes()))
        }
        HashOn::Caller => trip.cx.client.map(|client| FxBuildHasher.hash_one(client)),
    }
}

/// Tells what has changed about an endpoint.
pub fn tell(worker: &Worker, shared: &UpstreamShared, index: usize, change: &Change) {
    let upstream = &*shared.name;
    let endpoint = shared.endpoints[index].settings.display.as_str();
    let events = &worker.shared.events;
    match change {
        Change::Ejected { for_ms } => {
            events.emit(&Event::EndpointEjected { upstream, endpoint, for_ms: *for_ms });
        }
        Change::Returned => events.emit(&Event::EndpointReturned { upstream, endpoint }),
        Change::BecameUnhealthy => events.emit(&Event::EndpointUnhealthy { upstream, endpoint, cause: "" }),
        Change::BecameHealthy => events.emit(&Event::EndpointHealthy { upstream, endpoint }),
    }
}

/// Tells the pool that an attempt failed.
pub fn failed(cx: &RequestCx, upstream: usize, index: usize, now: MonoMs) {
    let shared = &cx.snapshot.plan.upstreams[upstream].shared;
    if let Some(change) = shared.pool.failed(index, now, cx.worker.random.share()) {
        tell(&cx.worker, shared, index, &change);
    }
}
