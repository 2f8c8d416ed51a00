//! `upstreams`, with `upstream_defaults` under each.

use std::sync::Arc;
use std::time::Duration;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{self, Endpoint, HostHeader, Protocol};
use crate::decode::scalar::{Lasting, OrOff};
use crate::decode::{Field, Spanned};
use crate::diagnostic::{Place, Report};
use crate::raw::{self, Pool, PoolOrOff, Timeouts};

impl Check<'_> {
    pub(super) fn all_upstreams(&mut self, merged: &Merged) {
        let defaults = block(&merged.upstream_defaults, raw::UpstreamDefaults::absent);
        self.timeout_order(&raw::timeouts_of(&defaults.timeouts));
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
        self.timeout_order(&timeouts);
        let upstream = checked::Upstream {
            name: name.value.clone(),
            endpoints,
            protocol: match raw.protocol.over(&defaults.protocol).value() {
                raw::Protocol::Auto | raw::Protocol::Http1 => Protocol::Http1,
                raw::Protocol::H2 => Protocol::H2,
            },
            host: match raw.host.over(&defaults.host).value() {
                raw::HostName::Endpoint => HostHeader::Endpoint,
                raw::HostName::Preserve => HostHeader::Preserve,
                raw::HostName::Name(name) => HostHeader::Name(name),
            },
            pool: self.pool(&raw.pool.over(&defaults.pool)),
            timeouts: checked::UpstreamTimeouts {
                connect: timeouts.connect.value().0,
                attempt: duration(&timeouts.attempt),
                total: duration(&timeouts.total),
                idle: duration(&timeouts.idle),
                settle: timeouts.settle.value().0,
            },
        };
        (upstream, timeouts)
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
            if endpoints.iter().any(|known| known.host == url.host && known.port == url.port) {
                let report =
                    Report::error("duplicate_endpoint", &spec.at, "this endpoint is in the list already");
                self.report(report.help("give one entry a larger `weight`"));
                continue;
            }
            endpoints.push(Endpoint {
                display: url.display.clone(),
                host: url.host.clone(),
                port: url.port,
                all_addresses: url.all_addresses,
                weight: spec.value.weight,
            });
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
            self.timeout_order(&class.timeouts());
        }
    }

    /// Warns of a part that is longer than its whole, where both were written.
    pub(super) fn timeout_order(&mut self, timeouts: &Timeouts) {
        let attempt = given(&timeouts.attempt);
        let connect = timeouts.connect.get().map(|connect| (connect.value.0, &connect.at));
        let pairs = [
            (connect, attempt, "`connect` is longer than `attempt`, of which it is a part"),
            (connect, given(&timeouts.total), "`connect` is longer than `total`, of which it is a part"),
            (attempt, given(&timeouts.total), "`attempt` is longer than `total`, which ends it first"),
        ];
        let wrong = pairs.into_iter().filter_map(|(part, whole, message)| {
            let ((part, at), (whole, _)) = (part?, whole?);
            (part > whole).then(|| Report::warning("timeout_order", at, message))
        });
        let wrong: Vec<Report> = wrong.collect();
        self.reports.extend(wrong);
    }
}

fn given<const MIN: u64, const MAX: u64>(
    field: &Field<OrOff<Lasting<MIN, MAX>>>,
) -> Option<(Duration, &Place)> {
    let given = field.get()?;
    Some((given.value.0?.0, &given.at))
}

fn duration<const MIN: u64, const MAX: u64>(field: &Field<OrOff<Lasting<MIN, MAX>>>) -> Option<Duration> {
    field.value().0.map(|lasting| lasting.0)
}

/// Stands where nothing could be read; a configuration with it is never served.
fn placeholder() -> Endpoint {
    let host = "placeholder.invalid".to_owned();
    Endpoint { display: format!("{host}:80"), host, port: 80, all_addresses: false, weight: 1 }
}

/// The upstream of a version whose own could not be found; likewise never served.
pub(super) fn placeholder_upstream() -> checked::Upstream {
    let pool = Pool::absent();
    let timeouts = Timeouts::absent();
    checked::Upstream {
        name: "placeholder".to_owned(),
        endpoints: vec![placeholder()],
        protocol: Protocol::Http1,
        host: HostHeader::Endpoint,
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
