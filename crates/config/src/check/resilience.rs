//! What keeps answers coming when an upstream fails. Blocks that are on without being written: retries, breaker, eject.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::units::show_duration;

use super::merge::Merged;
use super::operation::unreadable;
use super::{Check, block};
use crate::checked::{
    Api, Balance, Breaker, BreakerScope, Concurrency, ConcurrencyLimit, Eject, Health, HealthProbe, Hedge,
    HedgeAfter, Protocol, Retries, RetryOn,
};
use crate::decode::scalar::{Int, Lasting, OrAdaptive};
use crate::decode::{BlockOrOff, Field, List};
use crate::diagnostic::{Place, Report};
use crate::raw::{self, BalanceSpec, HashOn, HealthSpec, RetryCause};

/// A value that is compared with another one, and where it is written, if it is.
#[derive(Clone, Copy)]
struct Bound<'a, T> {
    key: &'static str,
    value: T,
    at: Option<&'a Place>,
}

fn lasting<'a, const MIN: u64, const MAX: u64>(
    key: &'static str,
    field: &'a Field<Lasting<MIN, MAX>>,
) -> Bound<'a, Duration> {
    Bound { key, value: field.value().0, at: field.place() }
}

impl Check<'_> {
    /// The part and the whole, in order. Of the two a default gives way to what was written.
    fn ordered<T: PartialOrd + Copy>(
        &mut self,
        part: Bound<'_, T>,
        whole: Bound<'_, T>,
        show: impl Fn(T) -> String,
    ) -> (T, T) {
        if part.value <= whole.value {
            return (part.value, whole.value);
        }
        if let (Some(at), Some(_)) = (part.at, whole.at) {
            let [part, whole] = [part, whole].map(|bound| format!("`{}` ({})", bound.key, show(bound.value)));
            let message = format!("{part} is more than {whole}, which bounds it");
            self.report(Report::error("limit_order", at, message));
        }
        if part.at.is_some() { (part.value, part.value) } else { (whole.value, whole.value) }
    }

    pub(super) fn retries(&mut self, field: &Field<BlockOrOff<raw::Retries>>) -> Option<Retries> {
        let raw = field.keys_or(raw::Retries::absent)?;
        let backoff = block(&raw.backoff, raw::Backoff::absent);
        let budget = block(&raw.budget, raw::Budget::absent);
        let (base, max) = (lasting("base", &backoff.base), lasting("max", &backoff.max));
        let (backoff_base, backoff_max) = self.ordered(base, max, show_duration);
        Some(Retries {
            attempts_max: raw.attempts_max.value().small(),
            on: self.retry_on(&raw.on),
            backoff_base,
            backoff_max,
            budget_ratio: budget.ratio.value().0,
            budget_floor: budget.floor.value().0,
            replay_body: usize::try_from(raw.replay_body.value().0).unwrap_or(usize::MAX),
            honours_idempotency_key: raw.honours_idempotency_key.value().0,
        })
    }

    fn retry_on(&mut self, field: &Field<List<RetryCause>>) -> RetryOn {
        let mut on = RetryOn::default();
        let causes = field.value().0;
        if let (true, Some(at)) = (causes.is_empty(), field.place()) {
            let report = Report::error("empty_list", at, "expected at least one failure");
            self.report(report.help("`retries: off` makes no further attempts"));
        }
        for cause in causes {
            *match cause.value {
                RetryCause::Connect => &mut on.connect,
                RetryCause::Reset => &mut on.reset,
                RetryCause::BadGateway => &mut on.bad_gateway,
                RetryCause::Unavailable => &mut on.unavailable,
                RetryCause::GatewayTimeout => &mut on.gateway_timeout,
            } = true;
        }
        on
    }

    pub(super) fn breaker(&mut self, field: &Field<BlockOrOff<raw::Breaker>>) -> Option<Breaker> {
        let raw = field.keys_or(raw::Breaker::absent)?;
        let (open, open_max) = (lasting("open", &raw.open), lasting("open_max", &raw.open_max));
        let (open, open_max) = self.ordered(open, open_max, show_duration);
        Some(Breaker {
            window: raw.window.value().0,
            requests_min: raw.requests_min.value().small(),
            failure_ratio: raw.failure_ratio.value().0,
            slow_call: raw.slow_call.value().0.map(|slow| slow.0),
            slow_ratio: raw.slow_ratio.value().0,
            open,
            open_max,
            probes: raw.probes.value().small(),
            scope: match raw.scope.value() {
                raw::BreakerScope::Upstream => BreakerScope::Upstream,
                raw::BreakerScope::Operation => BreakerScope::Operation,
            },
        })
    }

    pub(super) fn eject(&mut self, field: &Field<BlockOrOff<raw::Eject>>) -> Option<Eject> {
        let raw = field.keys_or(raw::Eject::absent)?;
        let (time, time_max) = (lasting("time", &raw.time), lasting("time_max", &raw.time_max));
        let (time, time_max) = self.ordered(time, time_max, show_duration);
        Some(Eject {
            consecutive_failures: raw.consecutive_failures.value().small(),
            time,
            time_max,
            share_max: raw.share_max.value().0,
        })
    }

    pub(super) fn concurrency(&mut self, field: &Field<BlockOrOff<raw::Concurrency>>) -> Option<Concurrency> {
        let raw = field.keys()?;
        let OrAdaptive(limit) = raw.limit.value();
        let mut max = raw.max.value().small();
        if let Some(limit) = limit.map(Int::small) {
            let part = Bound { key: "limit", value: limit, at: raw.limit.place() };
            let whole = Bound { key: "max", value: max, at: raw.max.place() };
            (_, max) = self.ordered(part, whole, |count| count.to_string());
        }
        Some(Concurrency {
            limit: limit.map_or(ConcurrencyLimit::Adaptive, |limit| ConcurrencyLimit::Fixed(limit.small())),
            max,
            queue: raw.queue.value().small(),
            queue_wait: raw.queue_wait.value().0,
        })
    }

    pub(super) fn health(&mut self, field: &Field<BlockOrOff<HealthSpec>>) -> Option<Health> {
        let HealthSpec(raw) = field.keys()?;
        let at = field.place()?;
        let probe = self.probe(raw, at)?;
        let (timeout, interval) = self.health_times(raw);
        Some(Health {
            probe,
            interval,
            timeout,
            healthy_after: raw.healthy_after.value().small(),
            unhealthy_after: raw.unhealthy_after.value().small(),
        })
    }

    /// An answer that is late for the next question would be counted twice. Of the two a default gives way.
    fn health_times(&mut self, raw: &raw::Health) -> (Duration, Duration) {
        let (timeout, interval) = (raw.timeout.value().0, raw.interval.value().0);
        if timeout < interval {
            return (timeout, interval);
        }
        match (raw.timeout.place(), raw.interval.place()) {
            (Some(at), Some(_)) => {
                let (timeout, interval) = (show_duration(timeout), show_duration(interval));
                let message = format!("`timeout` ({timeout}) is not shorter than `interval` ({interval})");
                self.report(Report::error("timeout_order", at, message));
            }
            (Some(_), None) => return (timeout, timeout * 2),
            (None, _) => return (interval / 2, interval),
        }
        (timeout, interval)
    }

    fn statuses(&mut self, field: &Field<List<raw::Statuses>>) -> Vec<(u16, u16)> {
        let listed = field.value().0;
        if let (true, Some(at)) = (listed.is_empty(), field.place()) {
            let report = Report::error("empty_list", at, "expected at least one status");
            self.report(report.help("such as `status: [200-299, 401]`"));
        }
        let mut ranges: Vec<_> = listed.iter().map(|range| (range.value.0, range.value.1)).collect();
        ranges.sort_unstable();
        ranges
    }

    /// Warns of what can never happen, because an attempt ends before. A short attempt over a long value of a wider place
    /// is no mistake, so `own` is what one place says.
    pub(super) fn within_attempt(
        &mut self,
        breaker: &Field<BlockOrOff<raw::Breaker>>,
        hedge: &Field<BlockOrOff<raw::Hedge>>,
        attempt: Option<Duration>,
    ) {
        let Some(attempt) = attempt else { return };
        let slow_call = breaker.keys().and_then(|keys| keys.slow_call.get());
        let slow_call = slow_call.and_then(|slow| Some((slow.value.0?.0, &slow.at, "`slow_call`")));
        let after = hedge.keys().and_then(|keys| keys.after.get());
        let after = after.and_then(|after| Some((after.value.0?.0, &after.at, "`after`")));
        for (value, at, key) in
            [slow_call, after].into_iter().flatten().filter(|(value, ..)| *value >= attempt)
        {
            let message = format!(
                "{key} ({}) is not shorter than `attempt` of `timeouts`, which ends a call after {}",
                show_duration(value),
                show_duration(attempt)
            );
            self.report(Report::warning("timeout_order", at, message));
        }
    }

    /// The health service of gRPC speaks HTTP/2, and without TLS nobody agrees on that by the way.
    pub(super) fn grpc_over_h2(
        &mut self,
        field: &Field<BlockOrOff<HealthSpec>>,
        protocol: Protocol,
        is_all_tls: bool,
    ) {
        let grpc = field.keys().and_then(|HealthSpec(keys)| keys.grpc.place());
        let speaks_h2 = match protocol {
            Protocol::H2 => true,
            Protocol::Auto => is_all_tls,
            Protocol::Http1 => false,
        };
        if let (Some(at), false) = (grpc, speaks_h2) {
            let message =
                "the health service of gRPC needs HTTP/2, which this upstream is not asked to speak";
            let help = "give the upstream `protocol: h2`, or ask a `path`";
            self.report(Report::error("grpc_needs_h2", at, message).help(help));
        }
    }

    /// Warns of a parameter that no path has. What a default says need not be true of every upstream.
    pub(super) fn hash_parameters(&mut self, merged: &Merged, apis: &BTreeMap<String, Api>) {
        for entry in &merged.upstreams.entries {
            let balance = entry.value.get().and_then(|upstream| upstream.value.balance.get());
            let Some((BalanceSpec::Hash(HashOn::Path(name)), at)) = balance.map(|b| (&b.value, &b.at)) else {
                continue;
            };
            let versions = apis.values().flat_map(|api| api.versions.values());
            let served = versions.filter(|version| version.upstream.name == entry.name.value);
            let mut templates =
                served.flat_map(|version| &version.operations).map(|o| &o.template).peekable();
            let forms = [format!("{{{name}}}"), format!("{{*{name}}}")];
            if templates.peek().is_some()
                && !templates.any(|path| forms.iter().any(|form| path.contains(form)))
            {
                let message = "no path that is forwarded to this upstream has this parameter";
                let report = Report::warning("unknown_parameter", at, message);
                self.report(report.help(
                    "`path:id` is the `{id}` of `/payments/{id}`; without one, the least loaded is asked",
                ));
            }
        }
    }

    fn probe(&mut self, raw: &raw::Health, at: &Place) -> Option<HealthProbe> {
        let tcp = raw.tcp.get().filter(|tcp| tcp.value.0).map(|tcp| &tcp.at);
        let ways = [raw.path.place(), raw.grpc.place(), tcp];
        let is_unreadable = unreadable(&raw.path) || unreadable(&raw.grpc) || unreadable(&raw.tcp);
        match ways.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            [] if !is_unreadable => {
                let report = Report::error("missing_key", at, "`health` does not say what is asked");
                self.report(report.help("`path: /healthz`, `grpc: \"\"` or `tcp: true`"));
            }
            [] | [_] => {}
            [_, second, ..] => {
                let message = "only one of `path`, `grpc` and `tcp` says what is asked";
                self.report(Report::error("conflicting_keys", second, message));
            }
        }
        if let (true, Some(status)) = (raw.path.is_absent(), raw.status.place()) {
            let message = "only an answer to `path` has a status, so this does nothing";
            self.report(Report::error("unused_key", status, message));
        }
        if let Some(path) = raw.path.get() {
            let statuses = self.statuses(&raw.status);
            return Some(HealthProbe::Http { path: path.value.0.clone(), statuses });
        }
        let grpc = raw.grpc.get().map(|grpc| HealthProbe::Grpc { service: grpc.value.0.clone() });
        grpc.or_else(|| tcp.map(|_| HealthProbe::Tcp))
    }
}

pub(super) fn hedge(field: &Field<BlockOrOff<raw::Hedge>>) -> Option<Hedge> {
    let raw = field.keys()?;
    Some(Hedge {
        after: raw.after.value().0.map_or(HedgeAfter::P95, |after| HedgeAfter::After(after.0)),
        max_ratio: raw.max_ratio.value().0,
    })
}

pub(super) fn balance(field: &Field<BalanceSpec>) -> Balance {
    match field.value() {
        BalanceSpec::LeastLoaded => Balance::LeastLoaded,
        BalanceSpec::RoundRobin => Balance::RoundRobin,
        BalanceSpec::Hash(HashOn::Header(name)) => Balance::HashHeader(name),
        BalanceSpec::Hash(HashOn::Path(name)) => Balance::HashPath(name),
        BalanceSpec::Hash(HashOn::Consumer) => Balance::HashConsumer,
    }
}
