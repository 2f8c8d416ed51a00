//! What the engine itself serves beside the apis: the authorisation server, as operations with limits and a record of their
//! own, in front of a service in the process.

use std::sync::Arc;
use std::time::Duration;

use mainstay_config::checked::{self, Checked};
use mainstay_policy::route::{HostPattern, MethodSpec, Router, RouterBuilder, Template};
use mainstay_policy::version::LifecyclePlan;
use mainstay_proxy::forward::endpoint::Dialer;
use mainstay_proxy::metrics;
use mainstay_proxy::plan::{
    AuthPlan, BodyPlan, ForwardPlan, Names, RoutePlan, ScopesPlan, TimeoutsPlan, UpstreamPlan, VersionPlan,
};

use super::{Defect, Locals, LowerError, Surroundings, network, policies};

/// The service's name; no endpoint of a configuration can have it.
pub(crate) const OAUTH: &str = "mainstay/oauth";
/// A form with an assertion in it has a few KiB.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// A login hashes a password, and may wait for others that do.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Connections to the service at once, of all workers.
const CONNECTIONS_MAX: usize = 64;

/// Where requests to it are found, and what answers them.
pub(super) type Mounted = (Router<Arc<RoutePlan>>, UpstreamPlan);

/// Where its requests are routed, and what answers them: index `upstream` of the snapshot's upstreams.
pub(super) fn oauth(
    checked: &Checked,
    upstream: usize,
    first_number: usize,
    indices: &policies::Indices<'_>,
    with: &Surroundings<'_>,
) -> Result<Option<Mounted>, LowerError> {
    let Some(oauth) = &checked.identity.oauth else { return Ok(None) };
    let nobody: Dialer = Arc::new(|| Err(std::io::ErrorKind::NotConnected.into()));
    let dialer = with.locals.get(OAUTH).cloned().unwrap_or(nobody);
    let locals = Locals::from([(OAUTH.to_owned(), dialer)]);
    let with = Surroundings { locals: &locals, ..*with };
    let plan = network::upstream(&service(), indices, &with)?;
    let mut router = RouterBuilder::new();
    let host = HostPattern::parse(&oauth.host).map_err(|e| Defect(format!("host {}: {e}", oauth.host)))?;
    for (number, (method, path)) in mainstay_control::oauth::routes(&oauth.path).into_iter().enumerate() {
        let template = Template::parse(&path).map_err(|e| Defect(format!("{path}: {e}")))?;
        let route = Arc::new(route(&path, method.as_str(), upstream, first_number + number, &with));
        let inserted = router.insert(&host, &template, MethodSpec::new(method.as_str()), route);
        inserted.map_err(|_| Defect(format!("{method} {path} is there twice")))?;
    }
    Ok(Some((router.build(), plan)))
}

fn route(path: &str, method: &str, upstream: usize, number: usize, with: &Surroundings<'_>) -> RoutePlan {
    let names = Names {
        api: "mainstay".into(),
        owner: None,
        version: "oauth".into(),
        operation: path.rsplit('/').next().unwrap_or(path).into(),
        route: path.into(),
    };
    RoutePlan {
        metrics: metrics::operation(with.registry, Some(&names), method),
        names,
        cors: None,
        version: VersionPlan {
            lifecycle: LifecyclePlan { deprecated_s: None, sunset_s: None, brownouts: Vec::new() },
            headers: Vec::new(),
            successor: None,
            guide: None,
        },
        // The server asks itself, with credentials that are no callers' of an api.
        auth: AuthPlan::Anyone,
        body: BodyPlan { bytes_max: BODY_BYTES_MAX },
        scopes: ScopesPlan::default(),
        authorize: None,
        upgrade: Vec::new(),
        forward: ForwardPlan {
            upstream,
            timeouts: TimeoutsPlan {
                connect: Duration::from_secs(1),
                attempt: Some(ANSWER_WITHIN),
                total: Some(ANSWER_WITHIN),
                idle: Some(ANSWER_WITHIN),
                settle: ANSWER_WITHIN,
            },
            strip_prefix_bytes: 0,
            operation: number,
            sandbox: None,
            priority: None,
            hash_segment: None,
        },
    }
}

/// An upstream on which nothing is tried twice and nothing is held against: it is within the process.
fn service() -> checked::Upstream {
    checked::Upstream {
        name: OAUTH.to_owned(),
        endpoints: vec![checked::Endpoint {
            display: format!("local:{OAUTH}"),
            address: checked::EndpointAddress::Local(OAUTH.to_owned()),
            tls: false,
            weight: 1,
        }],
        protocol: checked::Protocol::Http1,
        host: checked::HostHeader::Preserve,
        tls: checked::UpstreamTls::default(),
        pool: checked::Pool {
            connections_max: CONNECTIONS_MAX,
            idle_max: CONNECTIONS_MAX,
            idle_timeout: Duration::from_secs(60),
            lifetime_max: Duration::from_secs(3600),
            wait: Duration::from_secs(1),
        },
        timeouts: checked::UpstreamTimeouts {
            connect: Duration::from_secs(1),
            attempt: Some(ANSWER_WITHIN),
            total: Some(ANSWER_WITHIN),
            idle: Some(ANSWER_WITHIN),
            settle: ANSWER_WITHIN,
        },
        balance: checked::Balance::LeastLoaded,
        slow_start: Duration::ZERO,
        panic_below: 0.0,
        rate_max: None,
        retries: None,
        hedge: None,
        breaker: None,
        eject: None,
        health: None,
        concurrency: None,
        fallback: Vec::new(),
        shares_idempotency_with: None,
    }
}
