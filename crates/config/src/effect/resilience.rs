//! What keeps answers coming when an upstream fails, in effect. Blocks that are on without being written say "off" when
//! they are; others are left out.

use std::time::Duration;

use mainstay_core::units::{show_duration, show_rate, show_size};
use serde_json::{Value, json};

use crate::checked::{
    Balance, Breaker, BreakerScope, Concurrency, ConcurrencyLimit, Eject, Fallback, Health, HealthProbe,
    HedgeAfter, Retries, RetryOn, Upstream,
};

type Put<'a> = &'a mut dyn FnMut(&str, Value);

pub(super) fn of_upstream(upstream: &Upstream, put: Put<'_>) {
    put("balance", balance(&upstream.balance));
    if upstream.slow_start > Duration::ZERO {
        put("slow_start", time(upstream.slow_start));
    }
    put("panic_below", json!(upstream.panic_below));
    if let Some(rate) = upstream.rate_max {
        put("rate_max", json!(show_rate(rate)));
    }
    on_or_off("retries", upstream.retries.as_ref(), put, retries);
    if let Some(hedge) = &upstream.hedge {
        let after = match hedge.after {
            HedgeAfter::P95 => json!("p95"),
            HedgeAfter::After(after) => time(after),
        };
        put("hedge.after", after);
        put("hedge.max_ratio", json!(hedge.max_ratio));
    }
    on_or_off("breaker", upstream.breaker.as_ref(), put, breaker);
    on_or_off("eject", upstream.eject.as_ref(), put, eject);
    if let Some(block) = &upstream.health {
        health(block, put);
    }
    if let Some(block) = &upstream.concurrency {
        concurrency(block, put);
    }
    if !upstream.fallback.is_empty() {
        put("fallback", upstream.fallback.iter().map(fallback).collect());
    }
    if let Some(other) = &upstream.shares_idempotency_with {
        put("shares_idempotency_with", json!(other));
    }
}

fn on_or_off<T>(key: &str, block: Option<&T>, put: Put<'_>, keys: impl FnOnce(&T, Put<'_>)) {
    match block {
        Some(block) => keys(block, put),
        None => put(key, json!("off")),
    }
}

fn time(duration: Duration) -> Value {
    json!(show_duration(duration))
}

fn balance(balance: &Balance) -> Value {
    json!(match balance {
        Balance::LeastLoaded => "least_loaded".to_owned(),
        Balance::RoundRobin => "round_robin".to_owned(),
        Balance::HashHeader(name) => format!("hash: header:{name}"),
        Balance::HashPath(name) => format!("hash: path:{name}"),
        Balance::HashConsumer => "hash: consumer".to_owned(),
    })
}

fn retries(retries: &Retries, put: Put<'_>) {
    let RetryOn { connect, reset, bad_gateway, unavailable, gateway_timeout } = retries.on;
    let causes = [
        (connect, "connect"),
        (reset, "reset"),
        (bad_gateway, "502"),
        (unavailable, "503"),
        (gateway_timeout, "504"),
    ];
    put("retries.attempts_max", json!(retries.attempts_max));
    put("retries.on", causes.into_iter().filter_map(|(is_on, cause)| is_on.then_some(cause)).collect());
    put("retries.backoff.base", time(retries.backoff_base));
    put("retries.backoff.max", time(retries.backoff_max));
    put("retries.budget.ratio", json!(retries.budget_ratio));
    put("retries.budget.floor", json!(show_rate(retries.budget_floor)));
    put("retries.replay_body", json!(show_size(retries.replay_body as u64)));
    put("retries.honours_idempotency_key", json!(retries.honours_idempotency_key));
}

fn breaker(breaker: &Breaker, put: Put<'_>) {
    put("breaker.window", time(breaker.window));
    put("breaker.requests_min", json!(breaker.requests_min));
    put("breaker.failure_ratio", json!(breaker.failure_ratio));
    put("breaker.slow_call", breaker.slow_call.map_or_else(|| json!("off"), time));
    put("breaker.slow_ratio", json!(breaker.slow_ratio));
    put("breaker.open", time(breaker.open));
    put("breaker.open_max", time(breaker.open_max));
    put("breaker.probes", json!(breaker.probes));
    put(
        "breaker.scope",
        json!(match breaker.scope {
            BreakerScope::Upstream => "upstream",
            BreakerScope::Operation => "operation",
        }),
    );
}

fn eject(eject: &Eject, put: Put<'_>) {
    put("eject.consecutive_failures", json!(eject.consecutive_failures));
    put("eject.time", time(eject.time));
    put("eject.time_max", time(eject.time_max));
    put("eject.share_max", json!(eject.share_max));
}

fn health(health: &Health, put: Put<'_>) {
    match &health.probe {
        HealthProbe::Http { path, statuses } => {
            put("health.path", json!(path));
            let range = |(first, last): &(u16, u16)| {
                if first == last { json!(first.to_string()) } else { json!(format!("{first}-{last}")) }
            };
            put("health.status", statuses.iter().map(range).collect());
        }
        HealthProbe::Grpc { service } => put("health.grpc", json!(service)),
        HealthProbe::Tcp => put("health.tcp", json!(true)),
    }
    put("health.interval", time(health.interval));
    put("health.timeout", time(health.timeout));
    put("health.healthy_after", json!(health.healthy_after));
    put("health.unhealthy_after", json!(health.unhealthy_after));
}

fn concurrency(concurrency: &Concurrency, put: Put<'_>) {
    match concurrency.limit {
        ConcurrencyLimit::Adaptive => {
            put("concurrency.limit", json!("adaptive"));
            put("concurrency.max", json!(concurrency.max));
        }
        ConcurrencyLimit::Fixed(limit) => put("concurrency.limit", json!(limit)),
    }
    put("concurrency.queue", json!(concurrency.queue));
    put("concurrency.queue_wait", time(concurrency.queue_wait));
}

fn fallback(fallback: &Fallback) -> Value {
    match fallback {
        Fallback::Stale => json!("stale"),
        Fallback::Upstream(name) => json!({ "upstream": name }),
        Fallback::Respond(respond) => {
            let mut shown = json!({
                "when": if respond.when_undelivered { "undelivered" } else { "always" },
                "status": respond.status,
            });
            if let Some(after) = respond.retry_after {
                shown["retry_after"] = time(after);
            }
            if let Some(body) = &respond.body {
                // What was lowered from a value is one again.
                shown["body"] = serde_json::from_str(body).unwrap_or_default();
            }
            json!({ "respond": shown })
        }
    }
}
