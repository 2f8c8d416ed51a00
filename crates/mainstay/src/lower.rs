//! Checked configuration becomes a [`Snapshot`]: everything a request will need, prepared.
//!
//! Nothing can be wrong here that the check has not seen; what is left over is a defect and is reported as one.
//! Live state goes over from the old snapshot wherever name, endpoint and connection settings are equal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use mainstay_config::Problem;
use mainstay_config::checked::{self, Checked};
use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_policy::route::{HostPattern, MethodSpec, RouterBuilder, Template};
use mainstay_policy::version::{Brownout, LifecyclePlan};
use mainstay_proxy::forward::endpoint::Dialer;
use mainstay_proxy::metrics;
use mainstay_proxy::plan::{
    BodyPlan, CorsPlan, ForwardPlan, Names, RoutePlan, Snapshot, TimeoutsPlan, VersionPlan, VersionPrefix,
};
use mainstay_proxy::tls::TlsError;
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

/// Why a configuration that passed the check cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// The check let it pass and should not have.
    #[error(transparent)]
    Defect(#[from] Defect),
    /// Certificates or keys that cannot be used as they are on disk now.
    #[error("{key}: {error}")]
    Tls {
        /// Where they are configured.
        key: String,
        /// What is wrong.
        error: TlsError,
    },
    /// A file of keys that cannot be used as it is on disk now.
    #[error("{key}: {error}")]
    Keys {
        /// Where it is configured.
        key: String,
        /// What is wrong.
        error: String,
    },
    /// `local:NAME` in an engine that has no service of that name.
    #[error("{key}: this engine has no service `{name}` in its process; {known}")]
    NoLocal {
        /// Where it is configured.
        key: String,
        /// The name.
        name: String,
        /// Which ones it has, in words.
        known: String,
    },
}

impl LowerError {
    /// As a reload and `check` report it.
    pub fn problem(&self, file: &Path) -> Problem {
        let (code, key) = match self {
            Self::Defect(_) => ("internal", ""),
            Self::Tls { key, .. } => ("bad_certificate", key.as_str()),
            Self::Keys { key, .. } => ("bad_key_set", key.as_str()),
            Self::NoLocal { key, .. } => ("unknown_local_service", key.as_str()),
        };
        Problem::error(code, self.to_string()).at_file(file).for_key(key)
    }
}

/// Services within the process, by the name after `local:`.
pub type Locals = BTreeMap<String, Dialer>;

/// What a configuration is lowered with.
pub struct Surroundings<'a> {
    /// Where metric cells are registered.
    pub registry: &'a Registry,
    /// Where live state comes from.
    pub old: Option<&'a Snapshot>,
    /// Certificates must hold now.
    pub now: UnixMs,
    /// Services within the process.
    pub locals: &'a Locals,
    /// Numbers of scopes, which stay good over every reload.
    pub scopes: &'a ScopeNames,
}

/// Each endpoint that names a service which is not there.
pub fn missing_locals(checked: &Checked, locals: &Locals) -> Vec<LowerError> {
    network::locals(checked).filter_map(|(key, name)| network::missing(key, name, locals)).collect()
}

/// The services that no endpoint names.
pub fn unused_locals<'a>(checked: &Checked, locals: &'a Locals) -> Vec<&'a str> {
    let is_named = |given: &&str| network::locals(checked).any(|(_, name)| name == *given);
    let names = locals.keys().map(String::as_str).filter(|given| *given != system::OAUTH);
    names.filter(|given| !is_named(given)).collect()
}

/// Services of all names that a configuration has, for where nothing will be sent to them.
pub fn stand_ins(checked: &Checked) -> Locals {
    let nobody: Dialer = Arc::new(|| Err(std::io::ErrorKind::NotConnected.into()));
    network::locals(checked).map(|(_, name)| (name.to_owned(), Arc::clone(&nobody))).collect()
}

/// Makes a snapshot.
///
/// # Errors
/// See [`LowerError`].
pub fn lower(checked: &Checked, generation: u64, with: &Surroundings<'_>) -> Result<Snapshot, LowerError> {
    let names: Vec<&String> = checked.upstreams.keys().collect();
    let operations = operation_names(checked);
    let indices = policies::Indices { upstreams: &names, operations: &operations };
    let upstreams = checked.upstreams.values().map(|u| network::upstream(u, &indices, with).map(Arc::new));
    let mut upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
    let mut router = RouterBuilder::new();
    let mut number = 0;
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
            let index = |wanted: &checked::Upstream| {
                let at = names.iter().position(|name| **name == wanted.name);
                at.ok_or_else(|| Defect(format!("upstream {} is missing", wanted.name)))
            };
            let upstream = index(&version.upstream)?;
            let sandbox = version.sandbox.as_deref().map(index).transpose()?;
            for operation in &version.operations {
                let has_policies = checked.permissions.is_some();
                let place =
                    Place { has_policies, api, version, upstream, sandbox, cors: cors.as_ref(), number };
                number += 1;
                let plan = Arc::new(route(&place, operation, with)?);
                insert(&mut router, &hosts, operation, &plan)?;
            }
        }
    }
    let system = system::oauth(checked, upstreams.len(), number, &indices, with)?;
    let system = system.map(|(router, upstream)| {
        upstreams.push(Arc::new(upstream));
        router
    });
    Ok(Snapshot {
        system,
        generation,
        digest: Arc::from(short_digest(checked)),
        router: router.build(),
        version_prefixes,
        upstreams,
        server: network::server(checked, with)?,
        identity: identity::plan(checked, with)?,
        policies: permissions::live(checked)?,
        problem_type_base: match &checked.public_url {
            Some(url) => format!("{url}/errors/").into(),
            None => "urn:mainstay:error:".into(),
        },
        log: log(&checked.log)?,
    })
}

/// What is wrong with certificates and keys as they are on disk now, as `check` reports it.
pub fn wrong_files(checked: &Checked, file: &Path, now: UnixMs) -> Vec<Problem> {
    let (registry, locals) = (Registry::new(), Locals::default());
    let scopes = ScopeNames::default();
    let with = Surroundings { registry: &registry, old: None, now, locals: &locals, scopes: &scopes };
    let tokens = tokens::plan(checked, &with).err();
    network::wrong_files(checked, &with).iter().chain(&tokens).map(|error| error.problem(file)).collect()
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
    sandbox: Option<usize>,
    cors: Option<&'a Arc<CorsPlan>>,
    /// Which operation of all this is.
    number: usize,
    /// There are policies, whichever.
    has_policies: bool,
}

/// Each operation's name among all, in the order of their numbers.
fn operation_names(checked: &Checked) -> Vec<Arc<str>> {
    let versions =
        checked.apis.values().flat_map(|api| api.versions.values().map(move |version| (api, version)));
    let names = versions.flat_map(|(api, version)| {
        version.operations.iter().map(move |o| format!("{}.{}.{}", api.name, version.name, o.name).into())
    });
    names.collect()
}

/// Where a parameter stands in the path, counted from 0, if it is a segment of its own.
fn hash_segment(operation: &checked::Operation, upstream: &checked::Upstream) -> Option<usize> {
    let checked::Balance::HashPath(name) = &upstream.balance else { return None };
    let wanted = format!("{{{name}}}");
    operation.template.split('/').skip(1).position(|segment| segment == wanted)
}

fn route(
    place: &Place<'_>,
    operation: &checked::Operation,
    with: &Surroundings<'_>,
) -> Result<RoutePlan, Defect> {
    let names = Names {
        api: place.api.name.as_str().into(),
        owner: place.api.owner.as_deref().map(Into::into),
        version: place.version.name.as_str().into(),
        operation: operation.name.as_str().into(),
        route: operation.template.as_str().into(),
    };
    let authorize = place.has_policies.then(|| permissions::plan(place, operation, with)).transpose()?;
    let metrics = metrics::operation(with.registry, Some(&names), &operation.method);
    let t = &operation.timeouts;
    Ok(RoutePlan {
        names,
        cors: place.cors.map(Arc::clone),
        version: version(place, operation)?,
        auth: identity::auth(&operation.auth),
        body: BodyPlan { bytes_max: operation.body_max },
        scopes: identity::scopes(&operation.scopes, with.scopes)?,
        authorize,
        upgrade: operation.upgrade.iter().map(|token| token.as_str().into()).collect(),
        forward: ForwardPlan {
            upstream: place.upstream,
            timeouts: TimeoutsPlan {
                connect: t.connect,
                attempt: t.attempt,
                total: t.total,
                idle: t.idle,
                settle: t.settle,
            },
            operation: place.number,
            sandbox: place.sandbox,
            priority: operation.priority.map(identity::priority),
            hash_segment: hash_segment(operation, &place.version.upstream),
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

fn log(log: &checked::Log) -> Result<LogPlan, Defect> {
    let format = match log.format {
        checked::LogFormat::Json => LogFormat::Json,
        checked::LogFormat::Text => LogFormat::Text,
    };
    let plan = LogPlan::new(format, &log.redact).map_err(|e| Defect(e.to_string()))?;
    Ok(plan.sample_success(log.sample_success))
}

pub(crate) mod identity;
mod introspection;
mod network;
pub(crate) mod permissions;
mod policies;
pub(crate) mod system;
pub(crate) mod tokens;

#[cfg(test)]
mod tests;
