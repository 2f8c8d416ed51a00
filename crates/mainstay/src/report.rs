//! What the engine says about itself when it is asked: versions, upstreams, metrics that are read on a scrape.

pub mod upstreams;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_config::checked::{self, Checked};
use mainstay_core::catalogue::Consumer;
use mainstay_core::clock::UnixMs;
use mainstay_core::port::{CallerReport, PlanReport, VersionReport};
use mainstay_core::units::show_date;
use mainstay_proxy::accept::callers::{CallerCounts, Who};
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::Registry;

use crate::lower::identity::priority;

/// Each version with its dates and its callers.
pub fn versions(checked: &Checked, callers: &CallerCounts, now: UnixMs) -> Vec<VersionReport> {
    let mut reports = Vec::new();
    for api in checked.apis.values() {
        for version in api.versions.values() {
            let dates = &version.lifecycle;
            let (list, others) = callers.of(&api.name, &version.name);
            reports.push(VersionReport {
                api: api.name.clone(),
                version: version.name.clone(),
                state: state(dates.deprecated_s, dates.sunset_s, now.seconds()),
                deprecated: dates.deprecated_s.map(show_date),
                sunset: dates.sunset_s.map(show_date),
                successor: dates.successor.clone(),
                callers: list
                    .into_iter()
                    .map(|(caller, requests)| CallerReport { caller: caller.to_string(), requests })
                    .collect(),
                others,
            });
        }
    }
    reports
}

/// The plans that consumers may have.
pub fn plans(checked: &Checked) -> Vec<PlanReport> {
    let plans = checked.identity.plans.iter();
    plans
        .map(|(name, plan)| PlanReport { plan: name.clone(), priority: priority(plan.priority).name() })
        .collect()
}

/// The consumers that stand in the configuration, in the order of their ids.
pub fn file_consumers(checked: &Checked) -> Vec<Consumer> {
    let known = |consumer: &checked::Consumer| Consumer {
        id: consumer.id.clone(),
        name: consumer.name.clone(),
        plan: consumer.plan.clone(),
        groups: consumer.groups.clone(),
        attributes: consumer.attributes.clone(),
        suspended: false,
        created_at: 0,
    };
    let mut consumers: Vec<_> = checked.identity.consumers.iter().map(known).collect();
    consumers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    consumers
}

fn state(deprecated_s: Option<i64>, sunset_s: Option<i64>, now_s: i64) -> &'static str {
    match (deprecated_s, sunset_s) {
        (_, Some(sunset)) if sunset <= now_s => "retired",
        (Some(deprecated), _) if deprecated <= now_s => "deprecated",
        (None, None) => "current",
        _ => "announced",
    }
}

/// Metrics that are read when somebody scrapes.
pub fn observe(registry: &Registry, shared: &Arc<EngineShared>) {
    registry.observe_while(Arc::downgrade(shared), |shared, scrape| {
        let snapshot = shared.snapshot.load();
        let generation = snapshot.generation.to_string();
        let labels = [("generation", generation.as_str()), ("digest", &*snapshot.digest)];
        scrape.gauge("mainstay_config_info", "The configuration that serves.", &labels, 1.0);
        for (api, version, callers, others) in shared.callers.totals() {
            let mut put = |consumer: &str, total| {
                let labels = [("api", &*api), ("version", &*version), ("consumer", consumer)];
                let help = "Requests to a version while it was deprecated.";
                scrape.counter("mainstay_deprecated_requests_total", help, &labels, total);
            };
            // Addresses are no labels: there may be any number of them. Consumers are bounded by the table.
            let mut anonymous = others;
            for (who, requests) in callers {
                match who {
                    Who::Known(consumer) => put(&consumer, requests),
                    Who::Address(_) => anonymous += requests,
                }
            }
            put("anonymous", anonymous);
        }
        let help = "Bytes of request bodies that are held because a policy reads them.";
        let bytes = shared.body_bytes.load(Ordering::Relaxed) as f64;
        scrape.gauge("mainstay_body_bytes", help, &[], bytes);
        for (index, worker) in shared.workers.iter().enumerate() {
            let help = "Tasks of a worker: listeners, connections, requests that settle.";
            let labels = [("worker", &*index.to_string())];
            scrape.gauge("mainstay_worker_tasks", help, &labels, worker.tasks() as f64);
        }
        upstreams::observe(&snapshot, shared.mono_ms(), scrape);
    });
}
