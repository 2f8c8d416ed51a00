use serde::Deserialize;
use std::collections::BTreeMap;
macro_rules! raw { ($($name:ident { $($field:ident : $ty:ty),* $(,)? })*) => { $( #[derive(Clone, Debug, Default, Deserialize)] #[serde(deny_unknown_fields, default)] pub(crate) struct $name { $(pub(crate) $field: Option<$ty>),* } )* } }
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}
impl OneOrMany {
    pub(crate) fn list(&self) -> Vec<String> {
        match self {
            Self::One(s) => vec![s.clone()],
            Self::Many(v) => v.clone(),
        }
    }
}
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum EndpointRaw {
    Url(String),
    Full { url: String, weight: Option<u32> },
}
raw! {
  File { include: OneOrMany, server: Server, control: Control, portal: Portal, upstream_defaults: Upstream, upstreams: BTreeMap<String, Upstream>, classes: BTreeMap<String, Operation>, apis: BTreeMap<String, Api>, telemetry: Telemetry }
  Server { listen: OneOrMany, workers: String, http2: Http2, limits: Limits, trusted_proxies: OneOrMany, health_path: String, shutdown: Shutdown, node: Node }
  Http2 { streams_max: u32, window: String }
  Limits { connections: usize, connections_per_client: usize, connection_age: String, header_bytes: String, headers: usize, uri_bytes: String, body: String, header_timeout: String, body_timeout: String, idle_timeout: String, requests_in_flight: usize }
  Shutdown { delay: String, drain: String }
  Node { name: String, region: String }
  Control { listen: String, token_file: String }
  Portal { public_url: String }
  Upstream { endpoints: Vec<EndpointRaw>, protocol: String, host: String, pool: Pool, timeouts: Timeouts }
  Pool { connections_max: usize, idle_max: usize, idle_timeout: String, lifetime_max: String, wait: String }
  Timeouts { connect: String, attempt: String, total: String, idle: String, settle: String }
  Api { owner: String, hosts: OneOrMany, base_path: String, expose: String, versions: BTreeMap<String, Version>, cors: Cors, defaults: Operation, operations: BTreeMap<String, Operation> }
  Version { openapi: String, upstream: String, lifecycle: Lifecycle, strip_prefix: bool, operations: BTreeMap<String, Operation> }
  Lifecycle { deprecated: String, sunset: String, successor: String, guide: String, brownouts: Vec<Brownout> }
  Brownout { from: String, r#for: String, share: f64 }
  Cors { origins: OneOrMany, credentials: bool, expose: OneOrMany, headers: OneOrMany, max_age: String }
  Operation { class: String, auth: OneOrMany, body: String, timeouts: Timeouts, strip_prefix: bool, sunset: BTreeMap<String, String>, versions: OneOrMany }
  Telemetry { log: Log }
  Log { format: String, output: String, sample_success: f64, redact: OneOrMany }
}
