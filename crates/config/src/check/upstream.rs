//! `upstreams`, with `upstream_defaults` under each.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::units::show_duration;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{self, Endpoint, EndpointAddress, HostHeader, Protocol, UpstreamTls};
use crate::decode::scalar::{Lasting, OrOff};
use crate::decode::{Field, Spanned};
use crate::diagnostic::Report;
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
    }

    fn upstream(
        &mut self,
        name: &Spanned<String>,
        raw: &raw::Upstream,
        defaults: &raw::UpstreamDefaults,
        is_readable: bool,
    ) -> (checked::Upstream, Timeouts) {
        let endpoints = self.endpoints(name, raw, is_readable);
        let timeouts = raw::timeouts_of(&raw.timeouts.over(&defaults.timeouts));
        let wide = raw::timeouts_of(&defaults.timeouts);
        self.timeout_order(&raw::timeouts_of(&raw.timeouts), Some(&wide));
        let listed = raw.endpoints.get().filter(|list| !list.value.0.is_empty());
        let has_tls = listed.map(|_| endpoints.iter().any(|endpoint| endpoint.tls));
        let upstream = checked::Upstream {
            name: name.value.clone(),
            endpoints,
            protocol: match raw.protocol.over(&defaults.protocol).value() {
                raw::Protocol::Auto => Protocol::Auto,
                raw::Protocol::Http1 => Protocol::Http1,
                raw::Protocol::H2 => Protocol::H2,
            },
            host: match raw.host.over(&defaults.host).value() {
                raw::HostName::Endpoint => HostHeader::Endpoint,
                raw::HostName::Preserve => HostHeader::Preserve,
                raw::HostName::Name(name) => HostHeader::Name(name),
            },
            tls: self.upstream_tls(raw, defaults, has_tls),
            pool: self.pool(&raw.pool.over(&defaults.pool)),
            timeouts: checked::UpstreamTimeouts {
                connect: timeouts.connect.value().0,
                attempt: duration(&timeouts.attempt),
                total: duration(&timeouts.total),
                idle: duration(&timeouts.idle),
                settle: timeouts.settle.value().0,
            },
        };
        let raw_pool = raw.pool.over(&defaults.pool);
        self.enough_for_workers(name, &upstream, &raw_pool);
        (upstream, timeouts)
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
        let whole = |own: &TimeoutField, wider: Option<&TimeoutField>| {
            let written = own.get().or_else(|| wider.and_then(Field::get)).map(|given| given.value.0);
            let value = written.or_else(|| wider.map(|field| field.value().0)).flatten();
            value.map(|lasting| lasting.0)
        };
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

/// The upstream of a version whose own could not be found; likewise never served.
pub(super) fn placeholder_upstream() -> checked::Upstream {
    let pool = Pool::absent();
    let timeouts = Timeouts::absent();
    checked::Upstream {
        name: "placeholder".to_owned(),
        endpoints: vec![placeholder()],
        protocol: Protocol::Auto,
        host: HostHeader::Endpoint,
        tls: UpstreamTls::default(),
        pool: checked::Pool {
            connections_max: pool.connections_max.value().size(),
            idle_max: pool.idle_max.value().size(),
            idle_timeout: pool.idle_timeout.value().0,
            lifetime_max: pool.lifetime_max.value().0,
            wait: pool.wait.value().0,
        },
        timeouts: checked::UpstreamTimeouts {
            connect: timeouts.connect.value().0,
            attempt: duration(&timeouts.attempt),
            total: duration(&timeouts.total),
            idle: duration(&timeouts.idle),
            settle: timeouts.settle.value().0,
        },
    }
}
