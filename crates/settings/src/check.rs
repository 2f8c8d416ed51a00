use crate::checked::{
    Api, Auth, Brownout, Checked, Control, Cors, Endpoint, HostHeader, Lifecycle, Limits, Log, LogFormat,
    LogOutput, Network, Operation, OperationTimeouts, Pool, Protocol, Server, Upstream, UpstreamTimeouts,
    Version,
};
use crate::{Options, Outcome, Problem, raw};
use mainstay_core::units::{parse_date, parse_duration, parse_size};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Cx {
    problems: Vec<Problem>,
    file: std::path::PathBuf,
}
impl Cx {
    fn bad(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::error("invalid", &message.into()).at_file(&self.file).for_key(key));
    }
    fn duration(&mut self, key: &str, text: &Option<String>, default: &str) -> Duration {
        self.off(key, text, default).unwrap_or_default()
    }
    fn off(&mut self, key: &str, text: &Option<String>, default: &str) -> Option<Duration> {
        let text = text.as_deref().unwrap_or(default);
        if text == "off" {
            return None;
        }
        match parse_duration(text) {
            Ok(d) => Some(d),
            Err(e) => {
                self.bad(key, e.0);
                None
            }
        }
    }
    fn size(&mut self, key: &str, text: &Option<String>, default: &str) -> u64 {
        match parse_size(text.as_deref().unwrap_or(default)) {
            Ok(d) => d,
            Err(e) => {
                self.bad(key, e.0);
                0
            }
        }
    }
    fn date(&mut self, key: &str, text: &str) -> i64 {
        match parse_date(text) {
            Ok(d) => d,
            Err(e) => {
                self.bad(key, e.0);
                0
            }
        }
    }
}

pub(crate) fn load(path: &Path, options: &Options) -> Outcome {
    let mut cx = Cx { problems: Vec::new(), file: path.to_owned() };
    let mut hash = Sha256::new();
    let mut sources = vec![path.to_owned()];
    let Some(mut file) = read(path, &mut cx, &mut hash) else {
        return Outcome { checked: None, problems: cx.problems };
    };
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut dirs: BTreeMap<String, std::path::PathBuf> = BTreeMap::new();
    for pattern in file.include.as_ref().map(raw::OneOrMany::list).unwrap_or_default() {
        for found in glob::glob(&dir.join(&pattern).to_string_lossy()).into_iter().flatten().flatten() {
            sources.push(found.clone());
            if let Some(other) = read(&found, &mut cx, &mut hash) {
                for (name, api) in other.apis.unwrap_or_default() {
                    dirs.insert(name.clone(), found.parent().map(Path::to_owned).unwrap_or_default());
                    file.apis.get_or_insert_default().insert(name, api);
                }
                file.upstreams.get_or_insert_default().extend(other.upstreams.unwrap_or_default());
                file.classes.get_or_insert_default().extend(other.classes.unwrap_or_default());
            }
        }
    }
    let checked = check(&mut cx, &file, &dir, &dirs, sources, &mut hash);
    if let Some(checked) = &checked {
        for (key, at) in &crate::published_of(checked).0 {
            if options.published.0.get(key).is_some_and(|old| old > at) {
                cx.bad(key, "a published sunset is moved earlier");
            }
        }
    }
    let ok = cx.problems.is_empty();
    Outcome { checked: checked.filter(|_| ok), problems: cx.problems }
}

fn read(path: &Path, cx: &mut Cx, hash: &mut Sha256) -> Option<raw::File> {
    let text = match std::fs::read_to_string(path) {
        Ok(t) => t,
        Err(e) => {
            cx.bad("", format!("{}: {e}", path.display()));
            return None;
        }
    };
    hash.update(text.as_bytes());
    if text.contains("${") {
        cx.bad("", format!("{}: substitution of ${{..}} is not supported in this version", path.display()));
    }
    match serde_saphyr::from_str(&text) {
        Ok(f) => Some(f),
        Err(e) => {
            cx.bad("", format!("{}: {e}", path.display()));
            None
        }
    }
}

fn check(
    cx: &mut Cx,
    file: &raw::File,
    dir: &Path,
    dirs: &BTreeMap<String, std::path::PathBuf>,
    sources: Vec<std::path::PathBuf>,
    hash: &mut Sha256,
) -> Option<Checked> {
    let s = file.server.clone().unwrap_or_default();
    let l = s.limits.clone().unwrap_or_default();
    let listen = s.listen.as_ref().map(raw::OneOrMany::list).unwrap_or_else(|| vec!["0.0.0.0:8080".into()]);
    let listen = listen
        .iter()
        .filter_map(|a| a.parse().map_err(|_| cx.bad("server.listen", "not an address")).ok())
        .collect();
    let h2 = s.http2.clone().unwrap_or_default();
    let sh = s.shutdown.clone().unwrap_or_default();
    let node = s.node.clone().unwrap_or_default();
    let server = Server {
        listen,
        workers: s.workers.as_deref().filter(|w| *w != "auto").and_then(|w| w.parse().ok()),
        http2_streams_max: h2.streams_max.unwrap_or(100),
        http2_window: cx.size("server.http2.window", &h2.window, "1MiB") as u32,
        limits: Limits {
            connections: l.connections.unwrap_or(20000),
            connections_per_client: l.connections_per_client.unwrap_or(1000),
            connection_age: cx.off("connection_age", &l.connection_age, "off"),
            header_bytes: cx.size("header_bytes", &l.header_bytes, "32KiB") as usize,
            headers: l.headers.unwrap_or(100),
            uri_bytes: cx.size("uri_bytes", &l.uri_bytes, "8KiB") as usize,
            body: cx.size("body", &l.body, "1MiB"),
            header_timeout: cx.duration("header_timeout", &l.header_timeout, "10s"),
            body_timeout: cx.duration("body_timeout", &l.body_timeout, "30s"),
            idle_timeout: cx.duration("idle_timeout", &l.idle_timeout, "75s"),
            requests_in_flight: l.requests_in_flight.unwrap_or(10000),
        },
        trusted_proxies: s
            .trusted_proxies
            .as_ref()
            .map(raw::OneOrMany::list)
            .unwrap_or_default()
            .iter()
            .filter_map(|n| {
                let (a, p) = n.split_once('/').unwrap_or((n, "128"));
                let address: std::net::IpAddr = a.parse().ok()?;
                Some(Network {
                    address,
                    prefix: p.parse::<u8>().ok()?.min(if address.is_ipv4() { 32 } else { 128 }),
                })
            })
            .collect(),
        health_path: s.health_path.clone().filter(|p| p != "off"),
        shutdown_delay: cx.duration("delay", &sh.delay, "0s"),
        shutdown_drain: cx.duration("drain", &sh.drain, "30s"),
        node_name: node.name.unwrap_or_else(|| "mainstay".into()),
        node_region: node.region.filter(|r| r != "none"),
    };
    let c = file.control.clone().unwrap_or_default();
    let control = Control {
        listen: c.listen.as_deref().unwrap_or("127.0.0.1:9090").parse().ok()?,
        token_file: dir.join(c.token_file.as_deref().unwrap_or("mainstay.token")),
    };
    let defaults = file.upstream_defaults.clone().unwrap_or_default();
    let mut upstreams = BTreeMap::new();
    for (name, u) in file.upstreams.iter().flatten() {
        upstreams.insert(name.clone(), Arc::new(upstream(cx, name, u, &defaults)));
    }
    let mut apis = BTreeMap::new();
    for (name, a) in file.apis.iter().flatten() {
        let dir = dirs.get(name).map_or(dir, |d| d.as_path());
        apis.insert(name.clone(), api(cx, name, a, file, dir, &upstreams, server.limits.body, hash));
    }
    let t = file.telemetry.clone().unwrap_or_default().log.unwrap_or_default();
    let log = Log {
        format: if t.format.as_deref() == Some("text") { LogFormat::Text } else { LogFormat::Json },
        output: match t.output.as_deref() {
            None | Some("stdout") => LogOutput::Stdout,
            Some("none") => LogOutput::None,
            Some(f) => LogOutput::File(dir.join(f)),
        },
        sample_success: t.sample_success.unwrap_or(1.0),
        redact: t.redact.as_ref().map(raw::OneOrMany::list).unwrap_or_default(),
    };
    let digest = hash.clone().finalize().iter().map(|b| format!("{b:02x}")).collect();
    Some(Checked {
        sources,
        digest,
        server,
        control,
        public_url: file
            .portal
            .clone()
            .unwrap_or_default()
            .public_url
            .map(|u| u.trim_end_matches('/').to_owned()),
        upstreams,
        apis,
        log,
    })
}

fn upstream(cx: &mut Cx, name: &str, u: &raw::Upstream, d: &raw::Upstream) -> Upstream {
    let p = u.pool.clone().or(d.pool.clone()).unwrap_or_default();
    let t = u.timeouts.clone().unwrap_or_default();
    let dt = d.timeouts.clone().unwrap_or_default();
    Upstream {
        name: name.to_owned(),
        endpoints: u
            .endpoints
            .iter()
            .flatten()
            .filter_map(|e| {
                let (url, weight) = match e {
                    raw::EndpointRaw::Url(u) => (u.clone(), 1),
                    raw::EndpointRaw::Full { url, weight } => (url.clone(), weight.unwrap_or(1)),
                };
                let (rest, all) = match url.strip_prefix("dns:") {
                    Some(r) => (r.to_owned(), true),
                    None => {
                        (url.strip_prefix("http://").unwrap_or(&url).trim_end_matches('/').to_owned(), false)
                    }
                };
                let (host, port) = rest
                    .rsplit_once(':')
                    .and_then(|(h, p)| Some((h.to_owned(), p.parse().ok()?)))
                    .unwrap_or((rest.clone(), 80));
                if host.is_empty() {
                    cx.bad(name, "bad endpoint");
                    return None;
                }
                let display = url.strip_prefix("http://").unwrap_or(&url).to_owned();
                Some(Endpoint {
                    display,
                    host: host.trim_matches(['[', ']']).to_owned(),
                    port,
                    all_addresses: all,
                    weight,
                })
            })
            .collect(),
        protocol: if u.protocol.as_deref() == Some("h2") { Protocol::H2 } else { Protocol::Http1 },
        host: match u.host.as_deref() {
            None | Some("endpoint") => HostHeader::Endpoint,
            Some("preserve") => HostHeader::Preserve,
            Some(n) => HostHeader::Name(n.to_owned()),
        },
        pool: Pool {
            connections_max: p.connections_max.unwrap_or(256),
            idle_max: p.idle_max.unwrap_or(64),
            idle_timeout: cx.duration("idle_timeout", &p.idle_timeout, "60s"),
            lifetime_max: cx.duration("lifetime_max", &p.lifetime_max, "1h"),
            wait: cx.duration("wait", &p.wait, "200ms"),
        },
        timeouts: UpstreamTimeouts {
            connect: cx.duration("connect", &t.connect.or(dt.connect), "1s"),
            attempt: cx.off("attempt", &t.attempt.or(dt.attempt), "5s"),
            total: cx.off("total", &t.total.or(dt.total), "10s"),
            idle: cx.off("idle", &t.idle.or(dt.idle), "60s"),
            settle: cx.duration("settle", &t.settle.or(dt.settle), "30s"),
        },
    }
}

fn api(
    cx: &mut Cx,
    name: &str,
    a: &raw::Api,
    file: &raw::File,
    dir: &Path,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    body: u64,
    hash: &mut Sha256,
) -> Api {
    if a.expose.as_deref().is_some_and(|e| e != "all") {
        cx.bad(name, "expose knows `all` only in this version");
    }
    let base = a.base_path.clone().filter(|b| b != "none").unwrap_or_default();
    let mut versions = BTreeMap::new();
    for (vname, v) in a.versions.iter().flatten() {
        let Some(up) = v.upstream.as_ref().and_then(|u| upstreams.get(u)) else {
            cx.bad(vname, "unknown upstream");
            continue;
        };
        let mut ops: Vec<(String, String, String)> = Vec::new();
        if let Some(doc) = &v.openapi {
            let path = dir.join(doc);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            hash.update(text.as_bytes());
            match mainstay_openapi::read(&text, &mainstay_openapi::Limits::default()) {
                Ok(d) => ops.extend(d.operations.iter().map(|o| {
                    (
                        o.operation_id.clone().unwrap_or_else(|| format!("{} {}", o.method, o.path)),
                        o.method.clone(),
                        o.path.clone(),
                    )
                })),
                Err(f) => cx.bad(doc, f[0].message.clone()),
            }
        }
        let entries: BTreeMap<String, raw::Operation> = a
            .operations
            .iter()
            .flatten()
            .chain(v.operations.iter().flatten())
            .map(|(k, o)| (k.clone(), o.clone()))
            .collect();
        if v.openapi.is_none() {
            for k in entries.keys() {
                if let Some((m, p)) = k.split_once(' ') {
                    ops.push((k.clone(), m.to_owned(), p.to_owned()));
                }
            }
        }
        let prefix = format!("{base}/{vname}");
        let operations = ops
            .into_iter()
            .map(|(n, method, path)| {
                let e = entries.get(&n).or_else(|| entries.get(&format!("{method} {path}")));
                let e = e.cloned().unwrap_or_default();
                let around = Around { version: vname, v, up, file, api: a, prefix: &prefix, body };
                operation(cx, &around, n, method, &path, &e)
            })
            .collect();
        let lifecycle = lifecycle(cx, vname, v);
        versions.insert(
            vname.clone(),
            Version { name: vname.clone(), upstream: Arc::clone(up), lifecycle, operations },
        );
    }
    let cors = a.cors.as_ref().map(|c| {
        let list = |l: &Option<raw::OneOrMany>| l.as_ref().map(raw::OneOrMany::list).unwrap_or_default();
        Cors {
            origins: list(&c.origins),
            credentials: c.credentials.unwrap_or(false),
            expose: list(&c.expose),
            headers: list(&c.headers),
            max_age: cx.duration("cors.max_age", &c.max_age, "10m"),
        }
    });
    Api {
        name: name.to_owned(),
        owner: a.owner.clone(),
        hosts: a.hosts.as_ref().map(raw::OneOrMany::list).unwrap_or_else(|| vec!["*".into()]),
        base_path: base,
        cors,
        versions,
    }
}

/// What lies around an operation.
struct Around<'a> {
    version: &'a str,
    v: &'a raw::Version,
    up: &'a Upstream,
    file: &'a raw::File,
    api: &'a raw::Api,
    prefix: &'a str,
    body: u64,
}

fn operation(
    cx: &mut Cx,
    around: &Around<'_>,
    n: String,
    method: String,
    path: &str,
    e: &raw::Operation,
) -> Operation {
    let class = match &e.class {
        None => raw::Operation::default(),
        Some(name) => match around.file.classes.as_ref().and_then(|all| all.get(name)) {
            Some(class) => class.clone(),
            None => {
                cx.bad(&n, format!("there is no class `{name}`"));
                raw::Operation::default()
            }
        },
    };
    let d = around.api.defaults.clone().unwrap_or_default();
    match e.auth.as_ref().or(class.auth.as_ref()).or(d.auth.as_ref()).map(raw::OneOrMany::list) {
        None => {
            cx.bad(&n, "the operation does not say who may call it: add auth: none, or set it in defaults");
        }
        Some(ways) if ways != ["none"] => cx.bad(&n, "this version of Mainstay knows `auth: none` only"),
        Some(_) => {}
    }
    if e.versions.is_some() {
        cx.bad(&n, "`versions` of an operation is not supported in this version");
    }
    let t = |f: fn(&raw::Timeouts) -> &Option<String>| {
        [&e.timeouts, &class.timeouts, &d.timeouts].into_iter().flatten().find_map(|t| f(t).clone())
    };
    let u = &around.up.timeouts;
    let mut pick = |f, default: Option<Duration>| match t(f) {
        None => default,
        some => cx.off(&n, &some, "off"),
    };
    let timeouts = OperationTimeouts {
        connect: pick(|t| &t.connect, Some(u.connect)).unwrap_or(u.connect),
        attempt: pick(|t| &t.attempt, u.attempt),
        total: pick(|t| &t.total, u.total),
        idle: pick(|t| &t.idle, u.idle),
        settle: pick(|t| &t.settle, Some(u.settle)).unwrap_or(u.settle),
    };
    let b = e.body.clone().or(class.body.clone()).or(d.body.clone());
    let body_max = match &b {
        Some(_) => cx.size(&n, &b, "1MiB"),
        None => around.body,
    };
    let sunset_s = e.sunset.as_ref().and_then(|s| s.get(around.version)).map(|s| cx.date(&n, s));
    let strip_prefix = e.strip_prefix.or(class.strip_prefix).or(around.v.strip_prefix).unwrap_or(false);
    let (prefix, prefix_bytes) = (around.prefix, around.prefix.len());
    let template = format!("{prefix}{path}");
    Operation {
        name: n,
        method,
        template,
        prefix_bytes,
        strip_prefix,
        body_max,
        timeouts,
        auth: Auth::None,
        sunset_s,
    }
}

fn lifecycle(cx: &mut Cx, vname: &str, v: &raw::Version) -> Lifecycle {
    let l = v.lifecycle.clone().unwrap_or_default();
    let lifecycle = Lifecycle {
        deprecated_s: l.deprecated.map(|d| cx.date(vname, &d)),
        sunset_s: l.sunset.map(|d| cx.date(vname, &d)),
        successor: l.successor,
        guide: l.guide,
        brownouts: l
            .brownouts
            .unwrap_or_default()
            .iter()
            .map(|b| {
                let from_s = cx.date(vname, b.from.as_deref().unwrap_or(""));
                let lasts_s = cx.duration(vname, &b.r#for, "15m").as_secs() as i64;
                Brownout { from_s, until_s: from_s + lasts_s, share: b.share.unwrap_or(1.0) }
            })
            .collect(),
    };
    if let (Some(deprecated), Some(sunset)) = (lifecycle.deprecated_s, lifecycle.sunset_s)
        && sunset < deprecated
    {
        cx.bad(vname, "the sunset lies before the deprecation");
    }
    lifecycle
}
