//! Upstreams as they are now: endpoints, breakers, budgets, places.

use std::sync::Arc;

use mainstay_core::Priority;
use mainstay_core::clock::MonoMs;
use mainstay_core::port::{BreakerReport, ConcurrencyReport, EndpointReport, UpstreamReport, WaitingReport};
use mainstay_policy::balance::Health;
use mainstay_policy::breaker::{Breaker, State};
use mainstay_proxy::forward::endpoint::EndpointShared;
use mainstay_proxy::forward::policies::{BreakerLive, BreakerScope, ShedLive};
use mainstay_proxy::plan::{Snapshot, UpstreamPlan};
use mainstay_telemetry::Scrape;

/// Each upstream.
pub fn upstreams(snapshot: &Snapshot, now: MonoMs) -> Vec<UpstreamReport> {
    snapshot.upstreams.iter().map(|plan| upstream(plan, now)).collect()
}

fn upstream(plan: &Arc<UpstreamPlan>, now: MonoMs) -> UpstreamReport {
    let policies = &plan.policies;
    UpstreamReport {
        upstream: plan.name.to_string(),
        endpoints: plan.shared.endpoints.iter().map(|e| endpoint(e, now)).collect(),
        breakers: policies.breaker.as_ref().map(|live| breakers(live, now)).unwrap_or_default(),
        retry_budget: policies.retry.as_ref().map(|_| policies.budget.budget.level(now)),
        concurrency: policies.shed.as_ref().map(|shed| concurrency(shed)),
    }
}

fn endpoint(endpoint: &Arc<EndpointShared>, now: MonoMs) -> EndpointReport {
    let state = &endpoint.state;
    EndpointReport {
        endpoint: endpoint.settings.display.clone(),
        addresses: endpoint.resolved().addresses.iter().map(ToString::to_string).collect(),
        connections: endpoint.connections() as u64,
        connections_max: endpoint.settings.connections_max as u64,
        in_flight: u64::from(state.in_flight()),
        health: health(state.health(now)),
        ejected_for_ms: state.ejected_for_ms(now),
        latency_ms: state.ewma_us().map(|us| us as f64 / 1000.0),
        weight: endpoint.settings.weight,
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Ejected => "ejected",
        Health::Unhealthy => "unhealthy",
    }
}

fn breakers(live: &BreakerLive, now: MonoMs) -> Vec<BreakerReport> {
    let report = |operation: Option<&str>, breaker: &Breaker| {
        let counts = breaker.counts(now);
        BreakerReport {
            operation: operation.map(str::to_owned),
            state: breaker_state(breaker.state(now)).0,
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
        }
    };
    match &live.scope {
        BreakerScope::Upstream(breaker) => vec![report(None, breaker)],
        BreakerScope::Operation(each) => {
            let each = each.values().map(|(name, breaker)| report(Some(name), breaker));
            // Operations that have not been called say nothing.
            let mut each: Vec<_> = each.filter(|r| r.calls > 0 || r.state != "closed").collect();
            each.sort_by(|a, b| a.operation.cmp(&b.operation));
            each
        }
    }
}

/// Its name, and the number that the metric has for it.
fn breaker_state(state: State) -> (&'static str, u8) {
    match state {
        State::Closed => ("closed", 0),
        State::HalfOpen => ("half_open", 1),
        State::Open => ("open", 2),
    }
}

fn concurrency(shed: &ShedLive) -> ConcurrencyReport {
    let waiting = Priority::ALL.map(|priority| WaitingReport {
        priority: priority.name(),
        requests: u64::from(shed.gate.waiting(priority)),
    });
    ConcurrencyReport {
        limit: u64::from(shed.gate.limit()),
        in_flight: u64::from(shed.gate.in_flight()),
        waiting: waiting.into(),
    }
}

/// Gauges that are read when somebody scrapes.
pub fn observe(snapshot: &Snapshot, now: MonoMs, scrape: &mut Scrape) {
    for plan in &snapshot.upstreams {
        let upstream = &*plan.name;
        for wanted in [Health::Healthy, Health::Ejected, Health::Unhealthy] {
            let endpoints = plan.shared.endpoints.iter().filter(|e| e.state.health(now) == wanted).count();
            let labels = [("upstream", upstream), ("health", health(wanted))];
            scrape.gauge("mainstay_upstream_endpoints", "Endpoints by health.", &labels, endpoints as f64);
        }
        if let Some(live) = &plan.policies.breaker {
            let worst = match &live.scope {
                BreakerScope::Upstream(breaker) => breaker_state(breaker.state(now)).1,
                BreakerScope::Operation(each) => {
                    each.values().map(|(_, b)| breaker_state(b.state(now)).1).max().unwrap_or(0)
                }
            };
            let help = "0 closed, 1 half-open, 2 open; of operations' breakers the worst.";
            scrape.gauge("mainstay_breaker_state", help, &[("upstream", upstream)], f64::from(worst));
        }
        if let Some(shed) = &plan.policies.shed {
            for priority in Priority::ALL {
                let labels = [("upstream", upstream), ("priority", priority.name())];
                let waiting = f64::from(shed.gate.waiting(priority));
                let help = "Requests that wait for a place.";
                scrape.gauge("mainstay_upstream_queue_depth", help, &labels, waiting);
            }
            let (labels, help) = ([("upstream", upstream)], "Requests that there may be at once.");
            let limit = f64::from(shed.gate.limit());
            scrape.gauge("mainstay_upstream_concurrency_limit", help, &labels, limit);
        }
        if plan.policies.retry.is_some() {
            let help = "Further attempts that the retry budget would allow.";
            let level = plan.policies.budget.budget.level(now);
            scrape.gauge("mainstay_retry_budget", help, &[("upstream", upstream)], level);
        }
    }
}
