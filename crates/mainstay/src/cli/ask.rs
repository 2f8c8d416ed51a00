//! Commands that ask a running engine over its admin API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Method, StatusCode};
use mainstay_config::Options;
use mainstay_config::checked::Checked;
use mainstay_control::client::{AdminAddress, call, path_segment};
use mainstay_control::token::Token;
use mainstay_core::clock::Clock;
use mainstay_proxy::tls::TlsError;
use mainstay_proxy::tls::client::{ClientFiles, ClientTls, Offer};
use mainstay_proxy::tls::pem::PairFiles;
use mainstay_proxy::tls::pinned::pinned;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{Common, NO, NOT_REACHABLE, OutputFormat, complain, say};
use crate::last_good;

/// Where a running engine is and what opens it.
struct Admin {
    address: AdminAddress,
    tls: Option<Arc<ClientConfig>>,
    token: Token,
}

/// An answer, or the exit code of not having one.
pub(super) type Answer = Result<(StatusCode, Value), u8>;

/// How the engine's certificate is known.
enum Trust {
    /// The machine's CAs, or those of `--admin-ca`.
    Authorities,
    /// By these files, which the configuration says that the engine shows.
    Files(Vec<PathBuf>),
}

/// The command line is wrong.
pub(super) fn usage(error: &dyn std::fmt::Display) -> u8 {
    complain(&format!("mainstay: {error}\n"));
    2
}

fn unreachable(error: &dyn std::fmt::Display) -> u8 {
    complain(&format!("mainstay: {error}\n"));
    NOT_REACHABLE
}

fn admin(common: &Common) -> Result<Admin, u8> {
    let (address, token_file, trust) = match (&common.admin, &common.token_file) {
        (Some(url), Some(file)) => {
            (AdminAddress::parse(url).map_err(|e| usage(&e))?, file.clone(), Trust::Authorities)
        }
        (Some(_), None) => return Err(usage(&"--admin needs --token-file")),
        (None, token_file) => {
            let checked = configured(&common.config)?;
            let control = checked.control;
            let address = AdminAddress::of(control.listen, control.tls.is_some()).map_err(|e| usage(&e))?;
            let set = control.tls.and_then(|name| checked.server.tls.get(&name).cloned());
            let pairs = set.into_iter().flat_map(|set| set.certificates);
            let trust = Trust::Files(pairs.map(|pair| pair.cert).collect());
            (address, token_file.clone().unwrap_or(control.token_file), trust)
        }
    };
    let tls = match address.is_tls() {
        true => Some(tls(common, trust)?),
        false if common.admin_ca.is_some() || common.admin_cert.is_some() => {
            return Err(usage(&format!(
                "--admin-ca, --admin-cert and --admin-key are for https, and {address} is not"
            )));
        }
        false => None,
    };
    let token = Token::load(&token_file).map_err(|error| unreachable(&error))?;
    Ok(Admin { address, tls, token })
}

/// Whom to trust, and what to show. `--admin-ca` comes first: who writes it knows better.
fn tls(common: &Common, trust: Trust) -> Result<Arc<ClientConfig>, u8> {
    let now_s = Clock::System.now().seconds();
    let pair = common.admin_cert.clone().zip(common.admin_key.clone());
    let pair = pair.map(|(cert, key)| PairFiles { cert, key });
    match (&common.admin_ca, trust) {
        (None, Trust::Files(files)) => pinned(&files, pair.as_ref(), now_s).map_err(|error| {
            unreachable(&format!("{error}; it tells which engine to trust, --admin-ca FILE does, too"))
        }),
        (None, Trust::Authorities) => authorities(None, pair, now_s)
            .map_err(|error| unreachable(&format!("{error}; give the engine's CA with --admin-ca FILE"))),
        (Some(ca), _) => authorities(Some(ca.clone()), pair, now_s).map_err(|error| unreachable(&error)),
    }
}

fn authorities(
    ca: Option<PathBuf>,
    pair: Option<PairFiles>,
    now_s: i64,
) -> Result<Arc<ClientConfig>, TlsError> {
    let files = ClientFiles { ca, pair, offer: Offer::Http1 };
    Ok(ClientTls::load("control".into(), files, now_s)?.current(true))
}

/// What the file says, for where the engine is. A file that has just been spoilt must not hide an engine that runs: then
/// the last good configuration says it.
fn configured(config: &Path) -> Result<Checked, u8> {
    let options =
        Options { now_s: Clock::System.now().seconds(), allow_missing_env: true, ..Options::default() };
    let outcome = mainstay_config::load(config, &options);
    if let Some(checked) = outcome.checked {
        return Ok(checked);
    }
    if let Ok(Some(last)) = last_good::load(&last_good::path_for(config)) {
        return Ok(last.checked);
    }
    complain(&mainstay_config::render_text(&outcome.problems));
    complain("mainstay: the configuration does not tell where the engine is; use --admin and --token-file\n");
    Err(2)
}

/// A running engine that is asked, as often as a command needs it.
pub(super) struct Session {
    admin: Admin,
    runtime: Option<Runtime>,
}

impl Session {
    /// Finds out where the engine is. Nothing is sent yet.
    pub(super) fn open(common: &Common) -> Result<Self, u8> {
        let admin = admin(common)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| unreachable(&e))?;
        Ok(Self { admin, runtime: Some(runtime) })
    }

    /// One call. A token that the engine does not take is told here.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let Some(runtime) = &self.runtime else { return Err(NOT_REACHABLE) };
        let Admin { address, tls, token } = &self.admin;
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let answer = runtime.block_on(call(address, tls.as_ref(), method, path, Some(token), body));
        let (status, body) = answer.map_err(|e| unreachable(&e))?;
        if status == StatusCode::UNAUTHORIZED {
            complain("mainstay: the engine does not take this token; is it the right token file?\n");
            return Err(NO);
        }
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A resolver that has not answered in time is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn ask(common: &Common, method: Method, path: &str) -> Answer {
    Session::open(common)?.ask(method, path, None)
}

/// Prints an answer: as it is, or as people read it.
pub(super) fn show(common: &Common, value: &Value, text: impl FnOnce(&Value) -> String) {
    match common.output {
        OutputFormat::Json => say(&format!("{value}\n")),
        OutputFormat::Text => say(&text(value)),
    }
}

/// Has the engine load its configuration again.
pub(super) fn reload(common: &Common) -> u8 {
    match ask(common, Method::POST, "/admin/v1/reload") {
        Ok((StatusCode::OK, value)) => {
            show(common, &value, |v| {
                format!("loaded: generation {}, digest {}\n", v["generation"], text(&v["digest"]))
            });
            0
        }
        Ok((_, value)) => {
            show(common, &value, |v| {
                let mut lines = String::from("refused; the old configuration goes on:\n");
                for problem in v["problems"].as_array().into_iter().flatten() {
                    lines.push_str(&format!(
                        "  {}:{}:{}: {}\n",
                        text(&problem["file"]),
                        problem["line"],
                        problem["column"],
                        text(&problem["message"])
                    ));
                }
                lines
            });
            NO
        }
        Err(code) => code,
    }
}

/// Shows versions and their callers.
pub(super) fn versions(common: &Common) -> u8 {
    list(common, "/admin/v1/versions", |item| {
        let mut line = format!("{} {}  {}", text(&item["api"]), text(&item["version"]), text(&item["state"]));
        for key in ["deprecated", "sunset", "successor"] {
            if let Some(value) = item[key].as_str() {
                line.push_str(&format!("  {key} {value}"));
            }
        }
        line.push('\n');
        for caller in item["callers"].as_array().into_iter().flatten() {
            line.push_str(&format!(
                "    {} from {}\n",
                requests(&caller["requests"]),
                text(&caller["caller"])
            ));
        }
        if item["others"].as_u64().is_some_and(|n| n > 0) {
            line.push_str(&format!("    {} from others\n", requests(&item["others"])));
        }
        line
    })
}

/// Shows upstreams and their endpoints.
pub(super) fn upstreams(common: &Common) -> u8 {
    list(common, "/admin/v1/upstreams", |item| {
        let mut lines = format!("{}\n", text(&item["upstream"]));
        for endpoint in item["endpoints"].as_array().into_iter().flatten() {
            lines.push_str(&endpoint_line(endpoint));
        }
        for breaker in item["breakers"].as_array().into_iter().flatten() {
            let of = breaker["operation"].as_str().map(|of| format!(" of {of}")).unwrap_or_default();
            lines.push_str(&format!(
                "    breaker{of}: {}, {} calls, {} failed, {} slow\n",
                text(&breaker["state"]),
                breaker["calls"],
                breaker["failures"],
                breaker["slow"],
            ));
        }
        if let Some(left) = item["retry_budget"].as_f64() {
            lines.push_str(&format!("    retry budget: {left:.1}\n"));
        }
        if let Some(places) = item["concurrency"].as_object() {
            let waiting = places["waiting"].as_array().into_iter().flatten();
            let waiting: Vec<_> =
                waiting.map(|w| format!("{} {}", w["requests"], text(&w["priority"]))).collect();
            lines.push_str(&format!(
                "    concurrency: {} of {}, waiting: {}\n",
                places["in_flight"],
                places["limit"],
                waiting.join(", "),
            ));
        }
        lines
    })
}

fn endpoint_line(endpoint: &Value) -> String {
    let addresses: Vec<_> = endpoint["addresses"].as_array().into_iter().flatten().map(text).collect();
    let latency = endpoint["latency_ms"].as_f64().map(|ms| format!(", {ms:.1} ms")).unwrap_or_default();
    let left_out = endpoint["ejected_for_ms"].as_u64();
    let left_out = left_out.map(|ms| format!(" for {ms} ms")).unwrap_or_default();
    format!(
        "    {}  [{}]  {}{left_out}, {} of {} connections, {} requests{latency}\n",
        text(&endpoint["endpoint"]),
        addresses.join(", "),
        text(&endpoint["health"]),
        endpoint["connections"],
        endpoint["connections_max"],
        endpoint["in_flight"],
    )
}

fn list(common: &Common, path: &str, line: impl Fn(&Value) -> String) -> u8 {
    match ask(common, Method::GET, path) {
        Ok((StatusCode::OK, value)) => {
            show(common, &value, |v| v["items"].as_array().into_iter().flatten().map(line).collect());
            0
        }
        Ok((status, _)) => {
            complain(&format!("mainstay: the engine answered {status}\n"));
            NO
        }
        Err(code) => code,
    }
}

/// Says what happened to a recent request.
pub(super) fn request(common: &Common, id: &str) -> u8 {
    match ask(common, Method::GET, &format!("/admin/v1/requests/{}", path_segment(id))) {
        Ok((StatusCode::OK, value)) => {
            show(common, &value, |v| {
                let fields = v.as_object().into_iter().flatten();
                fields.map(|(key, value)| format!("{key:14} {}\n", text(value))).collect()
            });
            0
        }
        Ok((status, _)) => {
            let why = if status == StatusCode::NOT_FOUND {
                "the engine does not remember this request: it keeps recent failures, and a sample of the rest"
            } else {
                "the engine refused to answer"
            };
            complain(&format!("mainstay: {why}\n"));
            NO
        }
        Err(code) => code,
    }
}

/// Prints what a configuration would change.
pub(super) fn plan(common: &Common, file: Option<PathBuf>) -> u8 {
    let path = file.unwrap_or_else(|| common.config.clone());
    let options = Options { now_s: Clock::System.now().seconds(), ..Options::default() };
    let outcome = mainstay_config::load(&path, &options);
    let Some(checked) = outcome.checked else {
        super::check::report(common, &outcome.problems, false);
        return NO;
    };
    let running = match ask(common, Method::GET, "/admin/v1/config") {
        Ok((StatusCode::OK, value)) => value,
        Ok((status, _)) => {
            complain(&format!("mainstay: the engine answered {status}\n"));
            return NO;
        }
        Err(code) => return code,
    };
    let old: BTreeMap<String, serde_json::Map<String, Value>> =
        serde_json::from_value(running["operations"].clone()).unwrap_or_default();
    let changes = mainstay_config::diff(&old, &mainstay_config::effective(&checked));
    let loosens = changes.iter().any(|c| c.loosens);
    let value = serde_json::json!({ "loosens": loosens, "changes": changes });
    show(common, &value, |_| {
        if changes.is_empty() {
            return "no change\n".into();
        }
        changes.iter().map(|change| format!("{change}\n")).collect()
    });
    if loosens { NO } else { 0 }
}

fn requests(count: &Value) -> String {
    let noun = if count.as_u64() == Some(1) { "request" } else { "requests" };
    format!("{count} {noun}")
}

/// A JSON value as people read it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
