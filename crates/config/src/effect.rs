//! What a configuration does to each operation, and how two configurations differ in it.
//!
//! The effect is compared, not the text: a key that moved from an entry to its class changes nothing.

mod resilience;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use mainstay_core::units::{parse_duration, parse_size, show_date, show_duration, show_size};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::checked::{
    Api, Auth, Checked, HostHeader, Limits, MemoryLimit, Operation, Priority, Protocol, Version,
};

/// Keys by operation, named as in "payments v1 createPayment".
pub type Effective = BTreeMap<String, Map<String, Value>>;

/// The effect on every operation. Keys that are off or absent are left out, but for timeouts, which say "off".
pub fn effective(checked: &Checked) -> Effective {
    let mut all = BTreeMap::new();
    for api in checked.apis.values() {
        for version in api.versions.values() {
            for operation in &version.operations {
                let name = format!("{} {} {}", api.name, version.name, operation.name);
                all.insert(name, of_operation(api, version, operation));
            }
        }
    }
    all
}

fn of_operation(api: &Api, version: &Version, operation: &Operation) -> Map<String, Value> {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| keys.insert(key.to_owned(), value);
    put("method", json!(operation.method));
    put("template", json!(operation.template));
    put("hosts", json!(api.hosts));
    put("strip_prefix", json!(operation.strip_prefix));
    put(
        "auth",
        match &operation.auth {
            Auth::None => json!("none"),
            Auth::Any(rules) => rules.iter().map(|rule| json!(rule.to_string())).collect(),
        },
    );
    if !operation.scopes.is_empty() {
        put("scopes", json!(operation.scopes));
    }
    if let Some(action) = &operation.authorize.action {
        put("authorize.action", json!(action));
    }
    if !operation.authorize.body.is_empty() {
        let fields: Map<String, Value> =
            operation.authorize.body.iter().map(|field| (field.name.clone(), json!(field.at))).collect();
        put("authorize.body", json!(fields));
    }
    if let Some(sandbox) = &version.sandbox {
        put("sandbox", json!(sandbox.name));
    }
    put("body", json!(show_size(operation.body_max)));
    put(
        "priority",
        json!(match operation.priority {
            Some(Priority::Critical) => "critical",
            Some(Priority::High) => "high",
            Some(Priority::Normal) => "normal",
            Some(Priority::Low) => "low",
            None => "of the plan",
        }),
    );
    let off = |duration: Option<Duration>| json!(duration.map_or_else(|| "off".to_owned(), show_duration));
    let timeouts = &operation.timeouts;
    put("timeouts.connect", off(Some(timeouts.connect)));
    put("timeouts.attempt", off(timeouts.attempt));
    put("timeouts.total", off(timeouts.total));
    put("timeouts.idle", off(timeouts.idle));
    put("timeouts.settle", off(Some(timeouts.settle)));
    if !operation.upgrade.is_empty() {
        put("upgrade", json!(operation.upgrade));
    }
    if let Some(owner) = &api.owner {
        put("owner", json!(owner));
    }
    if let Some(cors) = &api.cors {
        put("cors.origins", json!(cors.origins));
        put("cors.credentials", json!(cors.credentials));
        put("cors.expose", json!(cors.expose));
        put("cors.headers", json!(cors.headers));
        put("cors.max_age", json!(show_duration(cors.max_age)));
    }
    of_lifecycle(version, operation, &mut put);
    of_upstream(version, &mut put);
    keys
}

fn of_lifecycle<R>(version: &Version, operation: &Operation, put: &mut impl FnMut(&str, Value) -> R) {
    let lifecycle = &version.lifecycle;
    let dates =
        [("deprecated", lifecycle.deprecated_s), ("sunset", operation.sunset_s.or(lifecycle.sunset_s))];
    for (key, date_s) in dates {
        if let Some(date_s) = date_s {
            put(key, json!(show_date(date_s)));
        }
    }
    for (key, value) in [("successor", &lifecycle.successor), ("guide", &lifecycle.guide)] {
        if let Some(value) = value {
            put(key, json!(value));
        }
    }
    let brownout = |window: &crate::checked::Brownout| json!({ "from": show_date(window.from_s), "until": show_date(window.until_s), "share": window.share });
    if !lifecycle.brownouts.is_empty() {
        put("brownouts", lifecycle.brownouts.iter().map(brownout).collect());
    }
}

fn of_upstream<R>(version: &Version, put: &mut impl FnMut(&str, Value) -> R) {
    let upstream = &version.upstream;
    let endpoint = |endpoint: &crate::checked::Endpoint| {
        // The name is the same with TLS and without; what is done is not.
        let scheme = if endpoint.tls { "https://" } else { "" };
        match endpoint.weight {
            1 => json!(format!("{scheme}{}", endpoint.display)),
            weight => json!(format!("{scheme}{} (weight {weight})", endpoint.display)),
        }
    };
    put("upstream", json!(upstream.name));
    put("endpoints", upstream.endpoints.iter().map(endpoint).collect());
    put(
        "protocol",
        json!(match upstream.protocol {
            Protocol::Auto => "auto",
            Protocol::Http1 => "http1",
            Protocol::H2 => "h2",
        }),
    );
    put(
        "host",
        json!(match &upstream.host {
            HostHeader::Endpoint => "endpoint",
            HostHeader::Preserve => "preserve",
            HostHeader::Name(name) => name,
        }),
    );
    let tls = &upstream.tls;
    for (key, path) in [("tls.ca", &tls.ca), ("tls.cert", &tls.cert), ("tls.key", &tls.key)] {
        if let Some(path) = path {
            put(key, json!(path.display().to_string()));
        }
    }
    if let Some(name) = &tls.server_name {
        put("tls.server_name", json!(name));
    }
    let pool = &upstream.pool;
    put("pool.connections_max", json!(pool.connections_max));
    put("pool.idle_max", json!(pool.idle_max));
    put("pool.idle_timeout", json!(show_duration(pool.idle_timeout)));
    put("pool.lifetime_max", json!(show_duration(pool.lifetime_max)));
    put("pool.wait", json!(show_duration(pool.wait)));
    resilience::of_upstream(upstream, &mut |key, value| drop(put(key, value)));
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// "payments v1 createPayment"
    pub operation: String,
    /// Such as `timeouts.total`; `operation` where the whole operation came or went.
    pub key: String,
    /// Absent: it was not set, or the operation was not there.
    pub old: Option<Value>,
    /// Absent: it is not set any more, or the operation is gone.
    pub new: Option<Value>,
    /// Callers may do more than before.
    pub loosens: bool,
    /// Why it loosens.
    pub reason: Option<&'static str>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "absent".to_owned(),
        };
        let Change { operation, key, old, new, .. } = self;
        match (key.as_str(), old, new) {
            ("operation", None, Some(_)) => write!(f, "{operation}: new, {}", show(new)),
            ("operation", _, None) => write!(f, "{operation}: gone"),
            _ => write!(f, "{operation}: {key} {} -> {}", show(old), show(new)),
        }?;
        self.reason.map_or(Ok(()), |reason| write!(f, " (loosens: {reason})"))
    }
}

/// All differences, by operation and key.
pub fn diff(old: &Effective, new: &Effective) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().flat_map(|name| of_one(name, old.get(name), new.get(name))).collect()
}

fn of_one(name: &str, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> Vec<Change> {
    let change = |key: &str, old: Option<Value>, new: Option<Value>| {
        let reason = loosens(key, old.as_ref(), new.as_ref());
        Change {
            operation: name.to_owned(),
            key: key.to_owned(),
            old,
            new,
            loosens: reason.is_some(),
            reason,
        }
    };
    let route = |keys: &Map<String, Value>| {
        let text = |key: &str| keys.get(key).and_then(Value::as_str).unwrap_or_default();
        json!(format!("{} {}", text("method"), text("template")))
    };
    let (Some(old), Some(new)) = (old, new) else {
        return vec![change("operation", old.map(route), new.map(route))];
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing.map(|key| change(key, old.get(key).cloned(), new.get(key).cloned())).collect()
}

/// Limits of the whole engine that are higher than they were, by key, with the note about each. That of bodies
/// is told with the operations it counts for.
pub(crate) fn loosened_limits(old: &Limits, new: &Limits) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut look = |key, is_looser: bool, old: String, new: String| {
        if is_looser {
            found.push((key, format!("server.limits.{key} {old} -> {new} (loosens: clients may do more)")));
        }
    };
    let counts = [
        ("connections", old.connections, new.connections),
        ("connections_per_client", old.connections_per_client, new.connections_per_client),
        ("headers", old.headers, new.headers),
        ("requests_in_flight", old.requests_in_flight, new.requests_in_flight),
    ];
    for (key, old, new) in counts {
        look(key, new > old, old.to_string(), new.to_string());
    }
    let sizes =
        [("header_bytes", old.header_bytes, new.header_bytes), ("uri_bytes", old.uri_bytes, new.uri_bytes)];
    for (key, old, new) in sizes {
        look(key, new > old, show_size(old as u64), show_size(new as u64));
    }
    // What `auto` comes to is known where the engine runs.
    let memory = |limit: MemoryLimit| match limit {
        MemoryLimit::Auto => None,
        MemoryLimit::Off => Some(u64::MAX),
        MemoryLimit::Bytes(bytes) => Some(bytes),
    };
    let show_memory = |limit: MemoryLimit| match limit {
        MemoryLimit::Auto => "auto".to_owned(),
        MemoryLimit::Off => "off".to_owned(),
        MemoryLimit::Bytes(bytes) => show_size(bytes),
    };
    let is_off = new.memory == MemoryLimit::Off && old.memory != MemoryLimit::Off;
    let is_larger = memory(old.memory).zip(memory(new.memory)).is_some_and(|(old, new)| new > old);
    look("memory", is_off || is_larger, show_memory(old.memory), show_memory(new.memory));
    let times = [
        ("connection_age", old.connection_age, new.connection_age),
        ("header_timeout", Some(old.header_timeout), Some(new.header_timeout)),
        ("body_timeout", Some(old.body_timeout), Some(new.body_timeout)),
        ("idle_timeout", Some(old.idle_timeout), Some(new.idle_timeout)),
    ];
    for (key, old, new) in times {
        // Off is longer than anything.
        let length = |time: Option<Duration>| time.unwrap_or(Duration::MAX);
        let show = |time: Option<Duration>| time.map_or_else(|| "off".to_owned(), show_duration);
        look(key, length(new) > length(old), show(old), show(new));
    }
    found
}

/// Why a change lets callers do more, if it does.
fn loosens(key: &str, old: Option<&Value>, new: Option<&Value>) -> Option<&'static str> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    match key {
        "auth" if text(new).as_deref() == Some("none") => Some("anyone may call it"),
        "auth" => {
            let known = list(old);
            let more = list(new).iter().any(|way| !known.contains(way));
            (more && text(old).is_none()).then_some("there is one more way to be let in")
        }
        "scopes" => {
            let wanted = list(new);
            list(old)
                .iter()
                .any(|scope| !wanted.contains(scope))
                .then_some("a scope is not asked for any more")
        }
        "body" => {
            let bytes = |value| text(value).and_then(|text| parse_size(&text).ok());
            (bytes(new)? > bytes(old)?).then_some("larger bodies are accepted")
        }
        "upgrade" => {
            let known = list(old);
            let more = list(new).iter().any(|protocol| !known.contains(protocol));
            more.then_some("more protocols can be switched to")
        }
        "cors.credentials" => (new == Some(&json!(true))).then_some("browsers may send credentials"),
        "cors.origins" => {
            let known = list(old);
            list(new).iter().any(|origin| !known.contains(origin)).then_some("more origins may call it")
        }
        _ if key.starts_with("timeouts.") => {
            // Off is longer than anything.
            let length = |value| text(value).map(|text| parse_duration(&text).unwrap_or(Duration::MAX));
            (length(new)? > length(old)?).then_some("it may take longer")
        }
        _ => None,
    }
}
