//! `upstreams`, with `upstream_defaults` under each.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::units::show_duration;

use super::merge::Merged;
use super::{Check, block, resilience};
use crate::checked::{self, Endpoint, EndpointAddress, HostHeader, Protocol};
use crate::decode::scalar::{Lasting, OrOff};
use crate::decode::{Field, Spanned};
use crate::diagnostic::{FileId, Place, Report};
use crate::raw::{self, Pool, PoolOrOff, Timeouts};

impl Check<'_> {
    pub(super) fn all_upstreams(&mut self, merged: &Merged) {
        let defaults = block(&merged.upstream_defaults, raw::UpstreamDefaults::absent);
        self.timeout_order(&raw::timeouts_of(&defaults.timeouts), Some(&Timeouts::absent()));
        self.default_upstream_tls(merged, &defaults);
        for entry in &merged.upstreams.entries {
            let raw = block(&entry.value, raw::Upstream::absent);
            let is_readable = entry.value.get().is_some();
            let (upstream, timeouts) = self.upstream(&entry.name, &raw, &defaults, is_readable);
            self.upstreams.insert(entry.name.value.clone(), Arc::new(upstream));
            self.upstream_timeouts.insert(entry.name.value.clone(), timeouts);
        }
        self.links(merged, &defaults);
    }

    /// The upstream of a version whose own could not be found; a configuration with it is never served.
    pub(super) fn placeholder_upstream(&mut self) -> checked::Upstream {
        let name = Spanned { value: "placeholder".to_owned(), at: Place::start(FileId(0)), written: None };
        self.upstream(&name, &raw::Upstream::absent(), &raw::UpstreamDefaults::absent(), false).0
    }

    fn upstream(
        &mut self,
        name: &Spanned<String>,
        own: &raw::Upstream,
        defaults: &raw::UpstreamDefaults,
        is_readable: bool,
    ) -> (checked::Upstream, Timeouts) {
        let raw = laid_over(own, defaults);
        let endpoints = self.endpoints(name, own, is_readable);
        let timeouts = raw::timeouts_of(&raw.timeouts);
        let wide = raw::timeouts_of(&defaults.timeouts);
        self.timeout_order(&raw::timeouts_of(&own.timeouts), Some(&wide));
        let listed = own.endpoints.get().filter(|list| !list.value.0.is_empty());
        let has_tls = listed.map(|_| endpoints.iter().any(|endpoint| endpoint.tls));
        let upstream = checked::Upstream {
            name: name.value.clone(),
            protocol: match raw.protocol.value() {
                raw::Protocol::Auto => Protocol::Auto,
                raw::Protocol::Http1 => Protocol::Http1,
                raw::Protocol::H2 => Protocol::H2,
            },
            host: match raw.host.value() {
                raw::HostName::Endpoint => HostHeader::Endpoint,
                raw::HostName::Preserve => HostHeader::Preserve,
                raw::HostName::Name(name) => HostHeader::Name(name),
            },
            tls: self.upstream_tls(own, defaults, has_tls),
            pool: self.pool(&raw.pool),
            timeouts: checked::UpstreamTimeouts {
                connect: timeouts.connect.value().0,
                attempt: duration(&timeouts.attempt),
                total: duration(&timeouts.total),
                idle: duration(&timeouts.idle),
                settle: timeouts.settle.value().0,
            },
            balance: resilience::balance(&raw.balance),
            slow_start: duration(&raw.slow_start).unwrap_or_default(),
            panic_below: raw.panic_below.value().0,
            rate_max: raw.rate_max.value().0.map(|rate| rate.0),
            retries: self.retries(&raw.retries),
            hedge: resilience::hedge(&raw.hedge),
            breaker: self.breaker(&raw.breaker),
            eject: self.eject(&raw.eject),
            health: self.health(&raw.health),
            concurrency: self.concurrency(&raw.concurrency),
            fallback: self.fallback(&raw.fallback),
            shares_idempotency_with: raw.shares_idempotency_with.get().map(|name| name.value.0.clone()),
            endpoints,
        };
        self.enough_for_workers(name, &upstream, &raw.pool);
        self.check_resilience(own, defaults, &raw, &upstream);
        (upstream, timeouts)
    }

    /// Contradictions between blocks of an upstream.
    fn check_resilience(
        &mut self,
        own: &raw::Upstream,
        defaults: &raw::UpstreamDefaults,
        raw: &raw::Upstream,
        upstream: &checked::Upstream,
    ) {
        let wide = raw::timeouts_of(&defaults.timeouts);
        self.no_time_for_retry(&raw::timeouts_of(&own.timeouts), &wide, &upstream.retries);
        self.no_time_for_retry(&wide, &Timeouts::absent(), &upstream.retries);
        self.within_attempt(&own.breaker, &own.hedge, upstream.timeouts.attempt);
        self.within_attempt(&defaults.breaker, &defaults.hedge, duration(&wide.attempt));
        let is_all_tls = upstream.endpoints.iter().all(|endpoint| endpoint.tls);
        self.grpc_over_h2(&raw.health, upstream.protocol, is_all_tls);
    }

    /// Warns where some workers could get no connection: one over HTTP/2 carries many requests, of one worker.
    fn enough_for_workers(
        &mut self,
        name: &Spanned<String>,
        upstream: &checked::Upstream,
        pool: &Field<PoolOrOff>,
    ) {
        let (max, workers) = (upstream.pool.connections_max, self.workers);
        if upstream.protocol != Protocol::H2 || max >= workers {
            return;
        }
        let written = pool.get().and_then(|pool| pool.value.0.connections_max.place().cloned());
        let at = written.unwrap_or_else(|| name.at.clone());
        let message = format!(
            "{max} connections for {workers} workers: each needs one of its own over HTTP/2, and those that get none answer 503 `pool_exhausted`"
        );
        let help = format!("allow at least {workers}, or run fewer workers (`server.workers`)");
        self.report(Report::warning("pool_below_workers", &at, message).help(help));
    }

    fn endpoints(&mut self, name: &Spanned<String>, raw: &raw::Upstream, is_readable: bool) -> Vec<Endpoint> {
        if is_readable {
            let message = format!("the upstream `{}` has no endpoints", name.value);
            self.require(&raw.endpoints, &name.at, &message, "such as `endpoints: [http://127.0.0.1:9001]`");
        }
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let listed = raw.endpoints.get().map(|list| (&list.at, list.value.0.as_slice()));
        for spec in listed.map(|(_, specs)| specs).unwrap_or_default() {
            let url = &spec.value.url;
            let (address, display) = match &url.address {
                EndpointAddress::Unix(path) => {
                    let path = self.socket(&spec.at, path);
                    let display = format!("unix:{}", path.display());
                    (EndpointAddress::Unix(path), display)
                }
                other => (other.clone(), url.display.clone()),
            };
            if endpoints.iter().any(|known| is_same(&known.address, &address)) {
                let report =
                    Report::error("duplicate_endpoint", &spec.at, "this endpoint is in the list already");
                self.report(report.help("give one entry a larger `weight`"));
                continue;
            }
            endpoints.push(Endpoint { display, address, tls: url.tls, weight: spec.value.weight });
        }
        if let (true, Some((at, _))) = (endpoints.is_empty(), listed) {
            let at = at.clone();
            self.report(Report::error("empty_list", &at, "expected at least one endpoint"));
        }
        if endpoints.is_empty() {
            endpoints.push(placeholder());
        }
        endpoints
    }

    fn pool(&mut self, field: &Field<PoolOrOff>) -> checked::Pool {
        let raw = field.get().map_or_else(Pool::absent, |pool| pool.value.0.clone());
        if let (Some(max), Some(idle)) = (raw.connections_max.get(), raw.idle_max.get())
            && idle.value.0 > max.value.0
        {
            let message = format!("more than the {} connections there may be", max.value.0);
            let report = Report::warning("limit_order", &idle.at, message);
            self.report(report.help("`idle_max` counts connections of `connections_max`"));
        }
        let connections_max = raw.connections_max.value().size();
        checked::Pool {
            connections_max,
            idle_max: raw.idle_max.value().size().min(connections_max),
            idle_timeout: raw.idle_timeout.value().0,
            lifetime_max: raw.lifetime_max.value().0,
            wait: raw.wait.value().0,
        }
    }

    pub(super) fn class_timeouts(&mut self, merged: &Merged) {
        for class in merged.classes.entries.iter().filter_map(|entry| entry.value.get()) {
            self.timeout_order(&class.timeouts(), None);
        }
    }

    /// Warns of a part that is longer than its whole. A short whole over a long part of a wider place is no mistake,
    /// so only parts of `narrow` are looked at; their whole may come from `wide`, or be a default beneath it. Without
    /// `wide` only what stands in one block is compared.
    pub(super) fn timeout_order(&mut self, narrow: &Timeouts, wide: Option<&Timeouts>) {
        let attempt_max = whole(&narrow.attempt, wide.map(|wide| &wide.attempt));
        let total_max = whole(&narrow.total, wide.map(|wide| &wide.total));
        let connect = narrow.connect.get().map(|given| (given.value.0, &given.at));
        let attempt = narrow.attempt.get().and_then(|given| Some((given.value.0?.0, &given.at)));
        for (part, whole, message) in [
            (connect, attempt_max, "`connect` is longer than `attempt`, which ends it"),
            (connect, total_max, "`connect` is longer than `total`, which ends it"),
            (attempt, total_max, "`attempt` is longer than `total`, which ends it"),
        ] {
            if let (Some((part, at)), Some(whole)) = (part, whole)
                && part > whole
            {
                let message = format!("{message} after {}", show_duration(whole));
                self.report(Report::warning("timeout_order", at, message));
            }
        }
    }

    /// Warns of an attempt that may take all the time there is. One that may take more is told as out of order.
    pub(super) fn no_time_for_retry(
        &mut self,
        narrow: &Timeouts,
        wide: &Timeouts,
        retries: &Option<checked::Retries>,
    ) {
        let is_retried = retries.as_ref().is_some_and(|r| r.attempts_max > 1 && r.on.gateway_timeout);
        let attempt = narrow.attempt.get().and_then(|given| Some((given.value.0?.0, &given.at)));
        let total = whole(&narrow.total, Some(&wide.total));
        if let (true, Some((attempt, at))) = (is_retried, attempt)
            && total == Some(attempt)
        {
            let message = format!(
                "`attempt` may take all of `total` ({}): after one that takes too long there is no time for a retry",
                show_duration(attempt)
            );
            let help = "make `attempt` shorter, or `total` longer, or take `504` out of `retries.on`";
            self.report(Report::warning("attempt_over_total", at, message).help(help));
        }
    }
}

/// What bounds a part, where anything does.
fn whole(own: &TimeoutField, wider: Option<&TimeoutField>) -> Option<Duration> {
    let written = own.get().or_else(|| wider.and_then(Field::get)).map(|given| given.value.0);
    let value = written.or_else(|| wider.map(|field| field.value().0)).flatten();
    value.map(|lasting| lasting.0)
}

/// A timeout that can be off.
type TimeoutField = Field<OrOff<Lasting<1, 86_400_000>>>;

fn duration<const MIN: u64, const MAX: u64>(field: &Field<OrOff<Lasting<MIN, MAX>>>) -> Option<Duration> {
    field.value().0.map(|lasting| lasting.0)
}

/// Whether two endpoints are one. All addresses of a name include the first.
fn is_same(a: &EndpointAddress, b: &EndpointAddress) -> bool {
    match (a, b) {
        (EndpointAddress::Tcp { host, port, .. }, EndpointAddress::Tcp { host: other, port: on, .. }) => {
            host == other && port == on
        }
        _ => a == b,
    }
}

/// Stands where nothing could be read; a configuration with it is never served.
fn placeholder() -> Endpoint {
    let host = "placeholder.invalid".to_owned();
    let display = format!("{host}:80");
    let address = EndpointAddress::Tcp { host, port: 80, all_addresses: false };
    Endpoint { display, address, tls: false, weight: 1 }
}

/// What an upstream says, with what all say beneath it.
fn laid_over(own: &raw::Upstream, defaults: &raw::UpstreamDefaults) -> raw::Upstream {
    raw::Upstream {
        endpoints: own.endpoints.clone(),
        protocol: own.protocol.over(&defaults.protocol),
        host: own.host.over(&defaults.host),
        tls: own.tls.over(&defaults.tls),
        pool: own.pool.over(&defaults.pool),
        timeouts: own.timeouts.over(&defaults.timeouts),
        balance: own.balance.over(&defaults.balance),
        slow_start: own.slow_start.over(&defaults.slow_start),
        panic_below: own.panic_below.over(&defaults.panic_below),
        rate_max: own.rate_max.over(&defaults.rate_max),
        retries: own.retries.over(&defaults.retries),
        hedge: own.hedge.over(&defaults.hedge),
        breaker: own.breaker.over(&defaults.breaker),
        eject: own.eject.over(&defaults.eject),
        health: own.health.over(&defaults.health),
        concurrency: own.concurrency.over(&defaults.concurrency),
        fallback: own.fallback.over(&defaults.fallback),
        shares_idempotency_with: own.shares_idempotency_with.clone(),
    }
}
