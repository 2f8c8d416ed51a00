//! One request, one record: log line, metrics, and what `explain --request-id` may ask for.

use http::Method;
use mainstay_telemetry::{AccessRecord, write_record};
use tokio::time::Instant;

use crate::context::RequestCx;

/// What is counted for a client that left before it was answered. No answer carries it.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Writes the record. Called once, when the last holder of the context lets go.
pub fn write(cx: &RequestCx) {
    let facts = &cx.facts;
    let worker = &cx.worker;
    let metrics = &worker.shared.metrics;
    let ended = facts.ended.get().unwrap_or_else(Instant::now);
    let duration_us = ended.duration_since(cx.started).as_micros() as u64;
    if facts.status.get() == 0 {
        facts.status.set(CLIENT_CLOSED_REQUEST);
        if facts.aborted.get().is_none() {
            facts.aborted.set(Some("client"));
        }
    }
    let status = facts.status.get();
    let route = cx.route.get();
    let histogram = route.map_or_else(
        || metrics.unrouted.duration(&cx.method, status),
        |route| route.metrics.duration(&cx.method, status),
    );
    worker.cells.observe_us(histogram, duration_us);
    worker.cells.gauge_add(metrics.active_requests, -1);
    if let Some(code) = facts.problem.get() {
        worker.cells.inc(metrics.problems[code as usize]);
    }
    let trail = facts.trail.borrow();
    let endpoint = facts.endpoint.borrow();
    let plan = &cx.snapshot.plan;
    let caller = cx.caller();
    let record = AccessRecord {
        ts: cx.started_at,
        node: Some(&plan.server.node),
        region: plan.server.region.as_deref(),
        config: Some(&plan.digest),
        request_id: cx.id.to_str().unwrap_or_default(),
        trace_id: Some(cx.trace.trace_id()),
        method: label(&cx.method),
        route: route.map(|r| &*r.names.route),
        api: route.map(|r| &*r.names.api),
        owner: route.and_then(|r| r.names.owner.as_deref()),
        version: route.map(|r| &*r.names.version),
        operation: route.map(|r| &*r.names.operation),
        mode: caller.map(|c| c.mode.name()),
        consumer: caller.and_then(|c| c.consumer.as_deref().or(c.user.as_deref())),
        key_id: caller.and_then(|c| c.key_id.as_deref()),
        client_id: caller.and_then(|c| c.client_id.as_deref()),
        auth_method: caller.map(|c| c.method.name()),
        client: cx.client,
        status,
        problem: facts.problem.get(),
        duration_us,
        upstream_us: facts.upstream_us.get(),
        upstream: endpoint.as_ref().map(|e| (&*e.upstream, e.settings.display.as_str())),
        attempts: Some(facts.attempts.get()).filter(|n| *n > 0),
        degraded: facts.degraded.get(),
        bytes_in: facts.bytes_in.get(),
        bytes_out: facts.bytes_out.get(),
        aborted: facts.aborted.get(),
        trail: Some(&*trail).filter(|t| !t.is_empty()),
    };
    let random = worker.random.bits();
    worker.recent.offer(&record, &plan.log);
    if plan.log.wants(&record, random) {
        worker.log.push_with(|out| write_record(out, &record, &plan.log));
    }
}

/// An unknown method is any token a client likes; in the log it may stand as it came.
fn label(method: &Method) -> &str {
    method.as_str()
}
