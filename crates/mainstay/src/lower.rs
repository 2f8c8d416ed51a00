//! Checked configuration becomes a [`Snapshot`]: everything a request will need, prepared.
//!
//! Nothing can be wrong here that the check has not seen; what is left over is a defect and is reported as one.
//! Live state goes over from the old snapshot wherever name, endpoint and connection settings are equal.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use mainstay_config::checked::{self, Checked, EndpointAddress, ListenAddress};
use mainstay_policy::route::{HostPattern, MethodSpec, RouterBuilder, Template};
use mainstay_policy::version::{Brownout, LifecyclePlan};
use mainstay_proxy::forward::endpoint::{EndpointSettings, EndpointShared, UpstreamShared};
use mainstay_proxy::metrics;
use mainstay_proxy::plan::{
    BodyPlan, CorsPlan, ForwardPlan, HostPlan, Names, RoutePlan, ServerPlan, Snapshot, TimeoutsPlan,
    TrustedNetwork, UpstreamPlan, VersionPlan, VersionPrefix,
};
use mainstay_telemetry::{LogFormat, LogPlan, Registry};

/// A defect: the check let something pass that cannot be served.
#[derive(Debug)]
pub struct Defect(pub String);

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (the check should have refused this; please report it)", self.0)
    }
}

impl std::error::Error for Defect {}

/// What the configuration can say and this engine cannot do yet; `None`: it can do everything that is said.
pub fn not_yet(checked: &Checked) -> Option<Defect> {
    let mut found = None;
    let mut look = |is_said: bool, key: String| {
        if is_said && found.is_none() {
            found = Some(Defect(format!("this engine cannot do yet what `{key}` says")));
        }
    };
    for (index, listener) in checked.server.listen.iter().enumerate() {
        look(matches!(listener.address, ListenAddress::Unix(_)), format!("server.listen.{index}"));
        look(listener.tls.is_some(), format!("server.listen.{index}.tls"));
        look(listener.proxy_protocol, format!("server.listen.{index}.proxy_protocol"));
    }
    look(checked.control.tls.is_some(), "control.tls".to_owned());
    for upstream in checked.upstreams.values() {
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            let is_plain = matches!(endpoint.address, EndpointAddress::Tcp { .. }) && !endpoint.tls;
            look(!is_plain, format!("upstreams.{}.endpoints.{index}", upstream.name));
        }
    }
    for api in checked.apis.values() {
        for version in api.versions.values() {
            for operation in &version.operations {
                let key = format!("apis.{}.operations.{}.upgrade", api.name, operation.name);
                look(!operation.upgrade.is_empty(), key);
            }
        }
    }
    found
}

/// Makes a snapshot. `old` is where live state comes from.
///
/// # Errors
/// See [`Defect`].
pub fn lower(
    checked: &Checked,
    generation: u64,
    registry: &Registry,
    old: Option<&Snapshot>,
) -> Result<Snapshot, Defect> {
    if let Some(defect) = not_yet(checked) {
        return Err(defect);
    }
    let names: Vec<&String> = checked.upstreams.keys().collect();
    let upstreams = checked.upstreams.values().map(|u| Arc::new(upstream(u, registry, old))).collect();
    let mut router = RouterBuilder::new();
    let mut version_prefixes = version_prefixes(checked);
    for api in checked.apis.values() {
        let cors = api.cors.as_ref().map(|c| cors(c).map(Arc::new)).transpose()?;
        let prefix = version_prefixes.iter_mut().find(|p| *p.base == *prefix_base(api));
        if let (Some(prefix), Some(cors)) = (prefix, &cors) {
            prefix.cors.push(Arc::clone(cors));
        }
        let hosts =
            api.hosts.iter().map(|h| HostPattern::parse(h).map_err(|e| Defect(format!("host {h}: {e}"))));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        for version in api.versions.values() {
            let upstream = names
                .iter()
                .position(|name| **name == version.upstream.name)
                .ok_or_else(|| Defect(format!("upstream {} is missing", version.upstream.name)))?;
            for operation in &version.operations {
                let place = Place { api, version, upstream, cors: cors.as_ref() };
                let plan = Arc::new(route(&place, operation, registry)?);
                insert(&mut router, &hosts, operation, &plan)?;
            }
        }
    }
    Ok(Snapshot {
        generation,
        digest: Arc::from(short_digest(checked)),
        router: router.build(),
        version_prefixes,
        upstreams,
        server: server(checked),
        problem_type_base: match &checked.public_url {
            Some(url) => format!("{url}/errors/").into(),
            None => "urn:mainstay:error:".into(),
        },
        log: log(&checked.log)?,
    })
}

/// The digest as it is shown.
pub fn short_digest(checked: &Checked) -> &str {
    checked.digest.get(..12).unwrap_or(&checked.digest)
}

fn insert(
    router: &mut RouterBuilder<Arc<RoutePlan>>,
    hosts: &[HostPattern],
    operation: &checked::Operation,
    plan: &Arc<RoutePlan>,
) -> Result<(), Defect> {
    let template =
        Template::parse(&operation.template).map_err(|e| Defect(format!("{}: {e}", operation.template)))?;
    for host in hosts {
        router
            .insert(host, &template, MethodSpec::new(&operation.method), Arc::clone(plan))
            .map_err(|_| Defect(format!("{} {} is there twice", operation.method, operation.template)))?;
    }
    Ok(())
}

/// Where an operation stands.
struct Place<'a> {
    api: &'a checked::Api,
    version: &'a checked::Version,
    upstream: usize,
    cors: Option<&'a Arc<CorsPlan>>,
}

fn route(
    place: &Place<'_>,
    operation: &checked::Operation,
    registry: &Registry,
) -> Result<RoutePlan, Defect> {
    let names = Names {
        api: place.api.name.as_str().into(),
        owner: place.api.owner.as_deref().map(Into::into),
        version: place.version.name.as_str().into(),
        operation: operation.name.as_str().into(),
        route: operation.template.as_str().into(),
    };
    let metrics = metrics::operation(registry, Some(&names), &operation.method);
    let t = &operation.timeouts;
    Ok(RoutePlan {
        names,
        cors: place.cors.map(Arc::clone),
        version: version(place, operation)?,
        body: BodyPlan { bytes_max: operation.body_max },
        forward: ForwardPlan {
            upstream: place.upstream,
            timeouts: TimeoutsPlan {
                connect: t.connect,
                attempt: t.attempt,
                total: t.total,
                idle: t.idle,
                settle: t.settle,
            },
            strip_prefix_bytes: if operation.strip_prefix { operation.prefix_bytes } else { 0 },
        },
        metrics,
    })
}

/// One dated record drives headers, brownouts and the end.
fn version(place: &Place<'_>, operation: &checked::Operation) -> Result<VersionPlan, Defect> {
    let dates = &place.version.lifecycle;
    let sunset_s = operation.sunset_s.or(dates.sunset_s);
    let mut brownouts: Vec<_> = dates
        .brownouts
        .iter()
        .map(|b| Brownout { from_s: b.from_s, until_s: b.until_s, share: b.share })
        .collect();
    brownouts.sort_by_key(|b| b.from_s);
    let mut headers = Vec::new();
    let mut put = |name: &'static str, value: String| -> Result<(), Defect> {
        let value = HeaderValue::try_from(value).map_err(|_| Defect(format!("{name} cannot be written")))?;
        headers.push((HeaderName::from_static(name), value));
        Ok(())
    };
    if let Some(at) = dates.deprecated_s {
        put("deprecation", format!("@{at}"))?;
    }
    if let Some(at) = sunset_s {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.max(0).unsigned_abs());
        put("sunset", httpdate::fmt_http_date(at))?;
    }
    if let Some(guide) = &dates.guide {
        put("link", format!("<{guide}>; rel=\"deprecation\", <{guide}>; rel=\"sunset\""))?;
    }
    if let Some(successor) = &dates.successor {
        put("link", format!("<{}/{successor}>; rel=\"successor-version\"", place.api.base_path))?;
    }
    Ok(VersionPlan {
        lifecycle: LifecyclePlan { deprecated_s: dates.deprecated_s, sunset_s, brownouts },
        headers,
        successor: dates.successor.as_deref().map(Into::into),
        guide: dates.guide.as_deref().map(Into::into),
    })
}

fn cors(cors: &checked::Cors) -> Result<CorsPlan, Defect> {
    let value =
        |text: String| HeaderValue::try_from(text).map_err(|_| Defect("cors cannot be written".into()));
    let ours = ["x-request-id", "retry-after", "deprecation", "sunset", "link"];
    let expose: Vec<&str> = ours.into_iter().chain(cors.expose.iter().map(String::as_str)).collect();
    let any = cors.origins.iter().any(|o| o == "*");
    Ok(CorsPlan {
        origins: cors.origins.iter().filter(|o| *o != "*").map(|o| o.as_str().into()).collect(),
        any,
        credentials: cors.credentials && !any,
        expose: value(expose.join(", "))?,
        headers: if cors.headers.is_empty() { None } else { Some(value(cors.headers.join(", "))?) },
        max_age: value(cors.max_age.as_secs().to_string())?,
    })
}

fn prefix_base(api: &checked::Api) -> String {
    format!("{}/", api.base_path)
}

fn version_prefixes(checked: &Checked) -> Vec<VersionPrefix> {
    let mut prefixes: Vec<VersionPrefix> = Vec::new();
    for api in checked.apis.values() {
        let base = prefix_base(api);
        let names = api.versions.keys().map(|v| Box::from(v.as_str()));
        match prefixes.iter_mut().find(|p| *p.base == *base) {
            Some(prefix) => prefix.versions.extend(names),
            None => prefixes.push(VersionPrefix {
                base: base.into(),
                versions: names.collect(),
                cors: Vec::new(),
            }),
        }
    }
    for prefix in &mut prefixes {
        prefix.versions.sort();
        prefix.versions.dedup();
    }
    // The longest first: `/payments/` says more than `/`.
    prefixes.sort_by_key(|p| std::cmp::Reverse(p.base.len()));
    prefixes
}

fn server(checked: &Checked) -> ServerPlan {
    let server = &checked.server;
    let limits = &server.limits;
    ServerPlan {
        connections_max: limits.connections,
        connections_per_client_max: limits.connections_per_client,
        connection_age: limits.connection_age,
        header_bytes_max: limits.header_bytes,
        headers_max: limits.headers,
        uri_bytes_max: limits.uri_bytes,
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        idle_timeout: limits.idle_timeout,
        requests_in_flight_max: limits.requests_in_flight,
        http2_streams_max: server.http2_streams_max,
        http2_window: server.http2_window,
        trusted_proxies: server
            .trusted_proxies
            .iter()
            .map(|n| TrustedNetwork { address: n.address, prefix: n.prefix })
            .collect(),
        health_path: server.health_path.as_deref().map(Into::into),
        node: server.node_name.as_str().into(),
        region: server.node_region.as_deref().map(Into::into),
    }
}

fn upstream(upstream: &checked::Upstream, registry: &Registry, old: Option<&Snapshot>) -> UpstreamPlan {
    let h2 = upstream.protocol == checked::Protocol::H2;
    let known: Vec<&Arc<EndpointShared>> = old
        .iter()
        .flat_map(|snapshot| &snapshot.upstreams)
        .filter(|plan| *plan.name == *upstream.name)
        .flat_map(|plan| &plan.shared.endpoints)
        .collect();
    let name: Arc<str> = upstream.name.as_str().into();
    let endpoints = upstream.endpoints.iter().filter_map(|endpoint| {
        // `not_yet` has refused the others.
        let EndpointAddress::Tcp { host, port, all_addresses } = &endpoint.address else { return None };
        let settings = EndpointSettings {
            display: endpoint.display.clone(),
            host: host.clone(),
            port: *port,
            all_addresses: *all_addresses,
            weight: endpoint.weight,
            h2,
            connections_max: upstream.pool.connections_max,
            idle_max: upstream.pool.idle_max,
            idle_timeout: upstream.pool.idle_timeout,
            lifetime_max: upstream.pool.lifetime_max,
            wait: upstream.pool.wait,
        };
        Some(match known.iter().find(|e| e.settings == settings) {
            Some(endpoint) => Arc::clone(endpoint),
            None => {
                let metrics = metrics::endpoint(registry, &upstream.name, &settings.display);
                Arc::new(EndpointShared::new(Arc::clone(&name), settings, metrics))
            }
        })
    });
    let endpoints = endpoints.collect();
    UpstreamPlan {
        host: match &upstream.host {
            checked::HostHeader::Endpoint => HostPlan::Endpoint,
            checked::HostHeader::Preserve => HostPlan::Preserve,
            checked::HostHeader::Name(name) => HostPlan::Name(
                HeaderValue::try_from(name.as_str()).unwrap_or(HeaderValue::from_static("invalid")),
            ),
        },
        h2,
        shared: Arc::new(UpstreamShared::new(Arc::clone(&name), endpoints)),
        name,
    }
}

fn log(log: &checked::Log) -> Result<LogPlan, Defect> {
    let format = match log.format {
        checked::LogFormat::Json => LogFormat::Json,
        checked::LogFormat::Text => LogFormat::Text,
    };
    let plan = LogPlan::new(format, &log.redact).map_err(|e| Defect(e.to_string()))?;
    Ok(plan.sample_success(log.sample_success))
}

#[cfg(test)]
mod tests;
