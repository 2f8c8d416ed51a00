//! What the engine says about itself when it is asked: versions, upstreams, metrics that are read on a scrape.

pub mod upstreams;

use std::sync::Arc;

use mainstay_config::checked::Checked;
use mainstay_core::clock::UnixMs;
use mainstay_core::port::{CallerReport, VersionReport};
use mainstay_core::units::show_date;
use mainstay_proxy::accept::callers::CallerCounts;
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::Registry;

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
            let labels = [("api", &*api), ("version", &*version), ("consumer", "anonymous")];
            let total = callers.iter().map(|(_, n)| n).sum::<u64>() + others;
            scrape.counter(
                "mainstay_deprecated_requests_total",
                "Requests to a version while it was deprecated.",
                &labels,
                total,
            );
        }
        for (index, worker) in shared.workers.iter().enumerate() {
            let help = "Tasks of a worker: listeners, connections, requests that settle.";
            let labels = [("worker", &*index.to_string())];
            scrape.gauge("mainstay_worker_tasks", help, &labels, worker.tasks() as f64);
        }
        upstreams::observe(&snapshot, shared.mono_ms(), scrape);
    });
}
