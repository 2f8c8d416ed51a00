//! What is configured for an upstream when things go wrong. Live state goes over where the plan is equal.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use mainstay_config::checked;
use mainstay_core::clock::MonoMs;
use mainstay_policy::balance::{self, EjectPlan, PoolPlan};
use mainstay_policy::breaker::{Breaker, BreakerPlan};
use mainstay_policy::deadline::Recent;
use mainstay_policy::hedge::{After, Hedge, HedgePlan};
use mainstay_policy::retry::{Budget, BudgetPlan, Causes, RetryPlan};
use mainstay_policy::shed::{Gate, LimitPlan, Rate, ShedPlan};
use mainstay_proxy::forward::health::{HealthPlan, Probe};
use mainstay_proxy::forward::policies::{
    BreakerLive, BreakerScope, BudgetLive, Fallback, HashOn, HedgeLive, Policies, RateLive, Respond,
    RetryLive, ShedLive,
};
use mainstay_proxy::metrics;
use mainstay_proxy::plan::HostPlan;

use super::{Defect, Surroundings};

/// State that is new begins at the engine's start: what lies in the past then counts for nothing.
const BEGIN: MonoMs = MonoMs(0);
/// The default of `retries.budget`, for dead pooled connections where there are no retries.
const WITHOUT_RETRIES: BudgetPlan = BudgetPlan { ratio: 0.2, floor_per_s: 1.0 };
/// The default of `retries.replay_body`.
const REPLAY_BYTES: usize = 64 * 1024;
/// `rate_max` without `concurrency` lets an attempt wait for so long.
const RATE_WAIT: Duration = Duration::from_millis(200);

/// The upstreams of a configuration by name, in the order of their indices; operations likewise.
pub(super) struct Indices<'a> {
    pub upstreams: &'a [&'a String],
    /// Each operation's name, by its number.
    pub operations: &'a [Arc<str>],
}

impl Indices<'_> {
    fn upstream(&self, name: &str) -> Result<usize, Defect> {
        let found = self.upstreams.iter().position(|known| *known == name);
        found.ok_or_else(|| Defect(format!("upstream {name} is missing")))
    }
}

/// How endpoints are chosen.
pub(super) fn pool(upstream: &checked::Upstream) -> Result<(PoolPlan, Option<HashOn>), Defect> {
    use checked::Balance;
    let (balance, hash_on) = match &upstream.balance {
        Balance::LeastLoaded => (balance::Balance::LeastLoaded, None),
        Balance::RoundRobin => (balance::Balance::RoundRobin, None),
        Balance::HashHeader(name) => {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|_| Defect(format!("{name} is no header")))?;
            (balance::Balance::Hash, Some(HashOn::Header(name)))
        }
        Balance::HashPath(_) => (balance::Balance::Hash, Some(HashOn::PathSegment)),
        Balance::HashConsumer => (balance::Balance::Hash, Some(HashOn::Caller)),
    };
    let eject = upstream.eject.as_ref().map(|eject| EjectPlan {
        consecutive_failures: eject.consecutive_failures,
        time_ms: ms(eject.time),
        time_max_ms: ms(eject.time_max),
        share_max: eject.share_max,
    });
    let plan = PoolPlan {
        balance,
        slow_start_ms: ms(upstream.slow_start),
        panic_below: upstream.panic_below,
        eject,
    };
    Ok((plan, hash_on))
}

/// All policies of an upstream.
pub(super) fn policies(
    upstream: &checked::Upstream,
    old: Option<&Policies>,
    host: &HostPlan,
    indices: &Indices<'_>,
    with: &Surroundings<'_>,
) -> Result<Policies, Defect> {
    let fallback = upstream.fallback.iter().map(|fallback| self::fallback(fallback, indices));
    let shares = upstream.shares_idempotency_with.as_deref().map(|name| indices.upstream(name));
    Ok(Policies {
        retry: upstream.retries.as_ref().map(retry),
        budget: budget(upstream.retries.as_ref(), old),
        replay_bytes_max: replay_bytes_max(upstream),
        breaker: upstream.breaker.as_ref().map(|breaker| self::breaker(breaker, old, indices)),
        hedge: upstream.hedge.as_ref().map(|hedge| self::hedge(hedge, old)),
        shed: upstream.concurrency.as_ref().map(|concurrency| shed(concurrency, old)),
        rate: upstream.rate_max.map(|per_second| rate(per_second, upstream, old)),
        health: upstream.health.as_ref().map(|health| self::health(health, host)),
        fallback: fallback.collect::<Result<_, _>>()?,
        shares_idempotency_with: shares.transpose()?,
        metrics: metrics::policies(with.registry, &upstream.name),
    })
}

/// What retries say; without them a fallback to another upstream still needs the body.
fn replay_bytes_max(upstream: &checked::Upstream) -> usize {
    let goes_elsewhere = upstream.fallback.iter().any(|f| matches!(f, checked::Fallback::Upstream(_)));
    match &upstream.retries {
        Some(retries) => retries.replay_body,
        None if goes_elsewhere => REPLAY_BYTES,
        None => 0,
    }
}

fn retry(retries: &checked::Retries) -> RetryLive {
    let on = &retries.on;
    let plan = RetryPlan {
        attempts_max: retries.attempts_max,
        on: Causes {
            connect: on.connect,
            reset: on.reset,
            bad_gateway: on.bad_gateway,
            unavailable: on.unavailable,
            gateway_timeout: on.gateway_timeout,
        },
        backoff_base_ms: ms(retries.backoff_base),
        backoff_max_ms: ms(retries.backoff_max),
        honours_key: retries.honours_idempotency_key,
    };
    RetryLive { plan }
}

fn budget(retries: Option<&checked::Retries>, old: Option<&Policies>) -> BudgetLive {
    let plan = retries.map_or(WITHOUT_RETRIES, |retries| BudgetPlan {
        ratio: retries.budget_ratio,
        floor_per_s: retries.budget_floor,
    });
    let known = old.map(|old| &old.budget).filter(|known| known.plan == plan);
    let budget = known.map_or_else(|| Arc::new(Budget::new(plan, BEGIN)), |known| Arc::clone(&known.budget));
    BudgetLive { plan, budget }
}

fn breaker(breaker: &checked::Breaker, old: Option<&Policies>, indices: &Indices<'_>) -> BreakerLive {
    let plan = BreakerPlan {
        window_ms: ms(breaker.window),
        requests_min: breaker.requests_min,
        failure_ratio: breaker.failure_ratio,
        slow_call_us: breaker.slow_call.map(|slow| slow.as_micros() as u64),
        slow_ratio: breaker.slow_ratio,
        open_ms: ms(breaker.open),
        open_max_ms: ms(breaker.open_max),
        probes: breaker.probes,
    };
    let known = old.and_then(|old| old.breaker.as_ref()).filter(|known| known.plan == plan);
    let new = || Arc::new(Breaker::new(plan.clone()));
    let scope = match (breaker.scope, known.map(|known| &known.scope)) {
        (checked::BreakerScope::Upstream, Some(BreakerScope::Upstream(known))) => {
            BreakerScope::Upstream(Arc::clone(known))
        }
        (checked::BreakerScope::Upstream, _) => BreakerScope::Upstream(new()),
        (checked::BreakerScope::Operation, known) => {
            let known = |name: &str| match known {
                Some(BreakerScope::Operation(known)) => {
                    known.values().find(|(of, _)| **of == *name).map(|(_, breaker)| Arc::clone(breaker))
                }
                Some(BreakerScope::Upstream(_)) | None => None,
            };
            let each = indices
                .operations
                .iter()
                .enumerate()
                .map(|(number, name)| (number, (Arc::clone(name), known(name).unwrap_or_else(&new))));
            BreakerScope::Operation(each.collect())
        }
    };
    BreakerLive { plan, scope }
}

fn hedge(hedge: &checked::Hedge, old: Option<&Policies>) -> HedgeLive {
    let after = match hedge.after {
        checked::HedgeAfter::P95 => After::P95,
        checked::HedgeAfter::After(after) => After::Ms(ms(after)),
    };
    let plan = HedgePlan { after, max_ratio: hedge.max_ratio };
    match old.and_then(|old| old.hedge.as_ref()).filter(|known| known.plan == plan) {
        Some(known) => HedgeLive { plan, state: Arc::clone(&known.state), recent: Arc::clone(&known.recent) },
        None => HedgeLive { plan, state: Arc::new(Hedge::new(plan, BEGIN)), recent: Arc::new(Recent::new()) },
    }
}

fn shed(concurrency: &checked::Concurrency, old: Option<&Policies>) -> Arc<ShedLive> {
    let limit = match concurrency.limit {
        checked::ConcurrencyLimit::Adaptive => LimitPlan::Adaptive { max: concurrency.max },
        checked::ConcurrencyLimit::Fixed(limit) => LimitPlan::Fixed(limit),
    };
    let queue_wait = concurrency.queue_wait;
    let plan = ShedPlan { limit, queue: concurrency.queue, queue_wait_ms: ms(queue_wait) };
    match old.and_then(|old| old.shed.as_ref()).filter(|known| known.plan == plan) {
        Some(known) => Arc::clone(known),
        None => Arc::new(ShedLive { plan, queue_wait, gate: Gate::new(plan) }),
    }
}

fn rate(per_second: f64, upstream: &checked::Upstream, old: Option<&Policies>) -> RateLive {
    let wait_max = upstream.concurrency.as_ref().map_or(RATE_WAIT, |concurrency| concurrency.queue_wait);
    #[expect(clippy::float_cmp, reason = "the very number that was configured")]
    let known = old.and_then(|old| old.rate.as_ref()).filter(|known| known.per_second == per_second);
    // A burst of a tenth of a second: what was not sent earlier is not saved up.
    let burst = (per_second / 10.0).max(1.0);
    let rate = known.map_or_else(|| Arc::new(Rate::new(per_second, burst)), |known| Arc::clone(&known.rate));
    RateLive { per_second, wait_max, rate }
}

fn health(health: &checked::Health, host: &HostPlan) -> HealthPlan {
    let probe = match &health.probe {
        checked::HealthProbe::Http { path, statuses } => {
            Probe::Http { path: path.clone(), statuses: statuses.clone() }
        }
        checked::HealthProbe::Grpc { service } => Probe::Grpc { service: service.clone() },
        checked::HealthProbe::Tcp => Probe::Tcp,
    };
    let host = match host {
        HostPlan::Name(name) => Some(HeaderValue::clone(name)),
        HostPlan::Endpoint | HostPlan::Preserve => None,
    };
    HealthPlan {
        probe,
        host,
        interval: health.interval,
        timeout: health.timeout,
        healthy_after: health.healthy_after,
        unhealthy_after: health.unhealthy_after,
    }
}

fn fallback(fallback: &checked::Fallback, indices: &Indices<'_>) -> Result<Fallback, Defect> {
    Ok(match fallback {
        checked::Fallback::Stale => Fallback::Stale,
        checked::Fallback::Upstream(name) => Fallback::Upstream(indices.upstream(name)?),
        checked::Fallback::Respond(respond) => Fallback::Respond(Respond {
            when_undelivered: respond.when_undelivered,
            status: http::StatusCode::from_u16(respond.status)
                .map_err(|_| Defect(format!("status {}", respond.status)))?,
            retry_after_s: respond.retry_after.map(|after| after.as_secs().max(1)),
            body: respond.body.clone().unwrap_or_default().into(),
        }),
    })
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
