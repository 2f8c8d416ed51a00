//! What would happen to a request, without an engine running: the same router and the same lifecycle decide.

use std::fmt::Write as _;

use mainstay_config::checked::{Auth, Checked};
use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_core::units::{show_date, show_duration, show_size};
use mainstay_policy::route::{Lookup, canonical_path};
use mainstay_policy::version::{Decision, decide};
use mainstay_proxy::admit::route::not_found;
use mainstay_proxy::plan::{Names, RoutePlan, Snapshot};
use mainstay_telemetry::Registry;
use serde_json::{Map, Value, json};

use crate::lower::{self, LowerError, Surroundings};

/// A request to explain.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// `http://host/path?query`, or just the path.
    pub url: &'a str,
    /// `Name: value` each; `Host` and `X-Request-Id` count.
    pub headers: &'a [String],
    /// The date, Unix seconds.
    pub now_s: i64,
}

/// What would happen, step by step.
pub struct Explained {
    steps: Vec<(&'static str, String)>,
    facts: Map<String, Value>,
    status: Option<u16>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum NotExplained {
    /// The URL has no path.
    #[error("give a URL such as http://api.example.com/v1/payments, or a path that begins with /")]
    Url,
    /// See [`LowerError`].
    #[error(transparent)]
    Lower(#[from] LowerError),
}

impl Explained {
    /// Where it goes, and what that may take.
    fn forwarding(&mut self, snapshot: &Snapshot, route: &RoutePlan, (method, path): (&str, &str)) {
        let forward = &route.forward;
        let upstream = &snapshot.upstreams[forward.upstream];
        let endpoints: Vec<_> =
            upstream.shared.endpoints.iter().map(|e| e.settings.display.as_str()).collect();
        self.step("body", format!("up to {}", show_size(route.body.bytes_max)));
        self.step("forward", format!("upstream {} ({})", upstream.name, endpoints.join(", ")));
        self.facts.insert("upstream".into(), (*upstream.name).into());
        let off = |d: Option<std::time::Duration>| d.map_or("off".into(), show_duration);
        let times = &forward.timeouts;
        self.step(
            "",
            format!(
                "timeouts: connect {}, attempt {}, total {}, idle {}, settle {}",
                show_duration(times.connect),
                off(times.attempt),
                off(times.total),
                off(times.idle),
                show_duration(times.settle)
            ),
        );
        self.step(
            "",
            format!("sent as {} {}", method, path.get(forward.strip_prefix_bytes..).unwrap_or("/")),
        );
    }

    /// True when the request would be sent to its upstream.
    pub fn is_served(&self) -> bool {
        self.status.is_none()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (stage, what) in &self.steps {
            let _ = writeln!(out, "{stage:9} {what}");
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let steps: Vec<_> =
            self.steps.iter().map(|(stage, what)| json!({"stage": stage, "what": what})).collect();
        let mut all = self.facts.clone();
        all.insert("served".into(), self.is_served().into());
        if let Some(status) = self.status {
            all.insert("status".into(), status.into());
        }
        all.insert("steps".into(), steps.into());
        Value::Object(all)
    }

    fn step(&mut self, stage: &'static str, what: impl Into<String>) {
        self.steps.push((stage, what.into()));
    }

    /// Who is let in, and for what.
    fn callers(&mut self, checked: &Checked, route: &RoutePlan) {
        let who = who_may_call(checked, &route.names);
        self.step("authenticate", who.join(" or "));
        self.facts.insert("auth".into(), who.into());
        if !route.scopes.names.is_empty() {
            self.step("authorize", format!("the credential must be for {}", route.scopes.names));
        }
    }

    /// Which policies decide, as far as the configuration says it.
    fn policies(&mut self, snapshot: &Snapshot, route: &RoutePlan) {
        let (Some(authorize), Some(live)) = (&route.authorize, &snapshot.policies) else { return };
        let policies = live.load();
        let Some(plan) = policies.plan(authorize.operation) else { return };
        let names = |shadow: bool| -> Vec<String> {
            let of = plan.policies().filter(|(.., is_shadow)| *is_shadow == shadow);
            of.map(|(name, effect, _)| format!("{effect} {name}")).collect()
        };
        let (enforced, shadow) = (names(false), names(true));
        let fields: Vec<&str> = plan.fields().iter().map(mainstay_authz::Field::name).collect();
        match (enforced.is_empty(), plan.is_open()) {
            (true, true) => self.step("policies", format!("none apply to {}", plan.action())),
            (true, false) if shadow.is_empty() => {
                self.step("policies", format!("none permits {}: denied", plan.action()));
            }
            (true, false) => self.step("policies", format!("none in force is about {}", plan.action())),
            (false, _) => self.step("policies", format!("{}: {}", plan.action(), enforced.join(", "))),
        }
        if !shadow.is_empty() {
            self.step("", format!("shadow: {}", shadow.join(", ")));
        }
        if !fields.is_empty() {
            self.step("", format!("of the body they read {}", fields.join(", ")));
        }
        let facts = json!({
            "action": plan.action(), "enforced": enforced, "shadow": shadow, "body": fields,
        });
        self.facts.insert("policies".into(), facts);
    }

    fn refuse(mut self, stage: &'static str, status: u16, code: &str, what: &str) -> Self {
        self.step(stage, format!("{status} {code}: {what}"));
        self.facts.insert("problem".into(), code.into());
        self.status = Some(status);
        self
    }
}

/// What the engine itself serves there.
fn own_route(snapshot: &Snapshot, host: Option<&str>, path: &str, method: &str) -> Option<String> {
    match snapshot.system.as_ref()?.find(host, path, method) {
        Lookup::Found { value, .. } => Some(value.names.route.to_string()),
        Lookup::MethodNotAllowed { .. } | Lookup::NotFound => None,
    }
}

/// Explains a request.
///
/// # Errors
/// The URL cannot be read.
pub fn explain(checked: &Checked, asked: &Asked<'_>) -> Result<Explained, NotExplained> {
    let (host, path) = split_url(asked.url).ok_or(NotExplained::Url)?;
    let header = |name: &str| {
        let pairs = asked.headers.iter().filter_map(|h| h.split_once(':'));
        pairs.into_iter().find(|(n, _)| n.trim().eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned())
    };
    let host = header("host").or(host).map(|h| h.to_ascii_lowercase());
    let host = host
        .as_deref()
        .map(|h| h.rsplit_once(':').filter(|(_, p)| p.parse::<u16>().is_ok()).map_or(h, |(n, _)| n));
    let with = Surroundings {
        registry: &Registry::new(),
        old: None,
        now: UnixMs(asked.now_s * 1000),
        locals: &lower::stand_ins(checked),
        scopes: &ScopeNames::default(),
    };
    let snapshot = lower::lower(checked, 1, &with)?;
    let mut said = Explained { steps: Vec::new(), facts: Map::new(), status: None };
    let path = match canonical_path(path.as_bytes()) {
        Ok(path) => path,
        Err(refusal) => return Ok(said.refuse("route", 400, "ambiguous_path", refusal.detail())),
    };
    if snapshot.server.health_path.as_deref() == Some(&*path) {
        said.step("route", "the engine's own health path");
        return Ok(said);
    }
    if let Some(own) = own_route(&snapshot, host, &path, asked.method) {
        said.step("route", format!("the engine's own authorisation server ({own})"));
        return Ok(said);
    }
    let (route, params) = match snapshot.router.find(host, &path, asked.method) {
        Lookup::Found { value, params } => (value, params),
        Lookup::MethodNotAllowed { allow } if asked.method == "OPTIONS" => {
            said.step("route", format!("204, answered by the engine: this path takes {allow}"));
            return Ok(said);
        }
        Lookup::MethodNotAllowed { allow } => {
            return Ok(said.refuse("route", 405, "method_not_allowed", &format!("this path takes {allow}")));
        }
        Lookup::NotFound => {
            let problem = not_found(&snapshot, &path);
            return Ok(said.refuse("route", problem.code.status(), problem.code.code(), &problem.detail));
        }
    };
    let names = &route.names;
    said.step("route", format!("{} {} {} ({})", names.api, names.version, names.operation, names.route));
    for (key, value) in [
        ("api", &names.api),
        ("version", &names.version),
        ("operation", &names.operation),
        ("route", &names.route),
    ] {
        said.facts.insert(key.into(), (**value).into());
    }
    if let Some(owner) = &names.owner {
        said.step("", format!("owner {owner}"));
        said.facts.insert("owner".into(), (**owner).into());
    }
    for (name, value) in params.iter() {
        said.step("", format!("{{{name}}} = {value}"));
    }
    let lifecycle = &route.version.lifecycle;
    let id = header("x-request-id").unwrap_or_default();
    match decide(lifecycle, asked.now_s, id.as_bytes()) {
        Decision::Retired => {
            let since = lifecycle.sunset_s.map(show_date).unwrap_or_default();
            return Ok(said.refuse("version", 410, "version_retired", &format!("retired since {since}")));
        }
        Decision::Brownout { retry_after_s } => {
            let what = format!("a brownout, for {retry_after_s} s more, chosen for request id {id:?}");
            return Ok(said.refuse("version", 503, "version_brownout", &what));
        }
        Decision::Serve { deprecated } => said.step("version", version_text(lifecycle, deprecated)),
    }
    said.callers(checked, route);
    said.policies(&snapshot, route);
    said.forwarding(&snapshot, route, (asked.method, &path));
    Ok(said)
}

/// As the configuration says it: `explain` knows no caller, so it cannot say whether one would be let in.
fn who_may_call(checked: &Checked, names: &Names) -> Vec<String> {
    let operation = checked.apis.get(&*names.api).and_then(|api| {
        let version = api.versions.get(&*names.version)?;
        version.operations.iter().find(|operation| *operation.name == *names.operation)
    });
    match operation.map(|operation| &operation.auth) {
        Some(Auth::Any(ways)) => ways.iter().map(ToString::to_string).collect(),
        Some(Auth::None) | None => vec!["none".to_owned()],
    }
}

fn version_text(lifecycle: &mainstay_policy::version::LifecyclePlan, deprecated: bool) -> String {
    let mut text = if deprecated { "served, deprecated" } else { "served" }.to_owned();
    if let Some(at) = lifecycle.deprecated_s {
        let _ = write!(text, "; deprecated from {}", show_date(at));
    }
    if let Some(at) = lifecycle.sunset_s {
        let _ = write!(text, "; sunset {}", show_date(at));
    }
    text
}

/// Host (if there is one) and path without query.
fn split_url(url: &str) -> Option<(Option<String>, &str)> {
    let path_of = |rest: &'_ str| rest.find(['?', '#']).map_or(rest.len(), |end| end);
    if url.starts_with('/') {
        return Some((None, &url[..path_of(url)]));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    match rest.find('/') {
        Some(slash) => {
            let path = &rest[slash..];
            Some((Some(rest[..slash].to_owned()), &path[..path_of(path)]))
        }
        None => Some((Some(rest[..path_of(rest)].to_owned()), "/")),
    }
}
