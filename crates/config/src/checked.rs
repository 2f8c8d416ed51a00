//! The configuration after every check: names resolved, defaults applied, units parsed.
//!
//! Nothing here can be wrong any more, so whoever lowers it to a running plan has no errors to report.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod identity;
mod introspection;
mod permissions;
mod resilience;
mod token;

pub use identity::{
    ApiKeysAuth, Auth, AuthRule, Consumer, Identity, Oauth, Plan, Preauth, SecretKey, Store, Stores,
};
pub use introspection::{ClientSecret, IntrospectionServer};
pub use permissions::{Authorize, BodyField, FieldKind, Permissions, PolicyFile, PolicyFolder};
pub use resilience::{
    Balance, Breaker, BreakerScope, Concurrency, ConcurrencyLimit, Eject, Fallback, Health, HealthProbe,
    Hedge, HedgeAfter, MemoryLimit, Priority, Respond, Retries, RetryOn,
};
pub use token::{FetchUrl, Forward, JwtIssuer, KeyPlace, Outbound};

/// A whole configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// The file that was loaded, and all that it included or referred to.
    pub sources: Vec<PathBuf>,
    /// SHA-256 over the content of all sources and substituted values, lower-case hex.
    pub digest: String,
    /// The data plane's own settings.
    pub server: Server,
    /// The control listener.
    pub control: Control,
    /// `portal.public_url` without a trailing slash: base of problem types and guide links.
    pub public_url: Option<String>,
    /// Who calls: ways to prove it, plans, consumers of the file.
    pub identity: Identity,
    /// What callers may do; `None`: scopes alone say it.
    #[serde(default)]
    pub permissions: Option<Permissions>,
    /// By name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// By name.
    pub apis: BTreeMap<String, Api>,
    /// Telemetry.
    pub log: Log,
}

/// `server`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// At least one, without duplicate addresses.
    pub listen: Vec<Listener>,
    /// `server.tls`, by name.
    pub tls: BTreeMap<String, TlsSet>,
    /// `None`: one per core.
    pub workers: Option<usize>,
    /// `server.http2.streams_max`.
    pub http2_streams_max: u32,
    /// `server.http2.window`, bytes: of a stream; the connection's is twice this.
    pub http2_window: u32,
    /// `server.limits`.
    pub limits: Limits,
    /// `server.preauth`; `None`: off.
    pub preauth: Option<Preauth>,
    /// `server.trusted_proxies` as networks.
    pub trusted_proxies: Vec<Network>,
    /// `server.health_path`.
    pub health_path: Option<String>,
    /// `server.shutdown.delay`.
    pub shutdown_delay: Duration,
    /// `server.shutdown.drain`.
    pub shutdown_drain: Duration,
    /// `server.node.name`, `auto` resolved to the host's name.
    pub node_name: String,
    /// `server.node.region`.
    pub node_region: Option<String>,
}

/// One entry of `server.listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: ListenAddress,
    /// The name of a set in [`Server::tls`]; `None`: plain.
    pub tls: Option<String>,
    /// Every connection must begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// Where a listener is. Displayed as it is configured: `127.0.0.1:8080`, `unix:/run/x.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    /// At most 107 bytes; absolute, or relative to the working directory.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `server.tls.*`. The files could be read when they were checked; nobody has looked into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSet {
    /// At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Who signs client certificates; `None`: clients are not asked for one.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with its chain, and its private key. Absolute, or relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// An address or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// `server.limits`. Sizes in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_client: usize,
    /// `None`: off.
    pub connection_age: Option<Duration>,
    pub header_bytes: usize,
    pub headers: usize,
    pub uri_bytes: usize,
    pub body: u64,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    pub requests_in_flight: usize,
    pub memory: MemoryLimit,
}

/// `control`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Control {
    /// On loopback, unless there is `tls`.
    pub listen: SocketAddr,
    /// The name of a set in [`Server::tls`]; `None`: plain.
    pub tls: Option<String>,
    /// Absolute, or relative to the working directory, ready to be opened.
    pub token_file: PathBuf,
}

/// `upstreams.*` with `upstream_defaults` under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub name: String,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    pub protocol: Protocol,
    pub host: HostHeader,
    /// For endpoints with TLS; without any, nothing is set.
    pub tls: UpstreamTls,
    pub pool: Pool,
    pub timeouts: UpstreamTimeouts,
    pub balance: Balance,
    /// How long a recovered endpoint is spared; zero: not at all.
    pub slow_start: Duration,
    /// The share of healthy endpoints below which health is ignored, 0 to 1.
    pub panic_below: f64,
    /// Requests a second that are sent, above 0; `None`: any number.
    pub rate_max: Option<f64>,
    /// `None`: off.
    pub retries: Option<Retries>,
    /// `None`: off.
    pub hedge: Option<Hedge>,
    /// `None`: off.
    pub breaker: Option<Breaker>,
    /// `None`: off.
    pub eject: Option<Eject>,
    /// `None`: off.
    pub health: Option<Health>,
    /// `None`: off.
    pub concurrency: Option<Concurrency>,
    /// In the order in which they are tried.
    pub fallback: Vec<Fallback>,
    /// The name of another upstream, which exists: both know the idempotency keys of either.
    pub shares_idempotency_with: Option<String>,
}

/// `upstreams.*.tls`. Files are absolute, or relative to the working directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// Who signs the upstream's certificate; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// The engine's own certificate; together with `key` or not at all.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name that is asked for and must be in the certificate; `None`: the host of the endpoint. An IPv6 address
    /// has no brackets.
    pub server_name: Option<String>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `host:port` (`dns:name:port`, `unix:path`, `local:name`), as the log and people name it.
    pub display: String,
    pub address: EndpointAddress,
    /// It was written `https://`.
    pub tls: bool,
    /// 1 to 1000.
    pub weight: u32,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointAddress {
    Tcp {
        /// A host name or an address literal (IPv6 without brackets).
        host: String,
        port: u16,
        /// `dns:name:port`: each address the name resolves to is used; else the first that connects.
        all_addresses: bool,
    },
    /// At most 107 bytes; absolute, or relative to the working directory.
    Unix(PathBuf),
    /// A service in the process. Whether there is one of this name, the check does not know.
    Local(String),
}

/// `upstreams.*.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// What ALPN agrees on over TLS, HTTP/1.1 otherwise.
    Auto,
    Http1,
    H2,
}

/// `upstreams.*.host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostHeader {
    Endpoint,
    Preserve,
    Name(String),
}

/// `upstreams.*.pool`, per endpoint over all workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub connections_max: usize,
    pub idle_max: usize,
    pub idle_timeout: Duration,
    pub lifetime_max: Duration,
    pub wait: Duration,
}

/// `upstreams.*.timeouts`. `None`: off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamTimeouts {
    pub connect: Duration,
    pub attempt: Option<Duration>,
    pub total: Option<Duration>,
    pub idle: Option<Duration>,
    pub settle: Duration,
}

/// `apis.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Api {
    pub name: String,
    pub owner: Option<String>,
    /// At least one.
    pub hosts: Vec<String>,
    /// Without a trailing slash; empty for none.
    pub base_path: String,
    pub cors: Option<Cors>,
    /// By name; at least one.
    pub versions: BTreeMap<String, Version>,
}

/// `apis.*.cors`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cors {
    /// Exact origins, lower case; `*` alone allows any (never with credentials).
    pub origins: Vec<String>,
    pub credentials: bool,
    /// Response headers that scripts may read, beside those the engine sets.
    pub expose: Vec<String>,
    /// Request headers that scripts may send; empty: what the preflight asks for.
    pub headers: Vec<String>,
    pub max_age: Duration,
}

/// `apis.*.versions.*`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    pub upstream: Arc<Upstream>,
    /// What test keys reach; `None`: they are refused.
    pub sandbox: Option<Arc<Upstream>>,
    pub lifecycle: Lifecycle,
    /// All that is served, at least one.
    pub operations: Vec<Operation>,
}

/// `apis.*.versions.*.lifecycle`. Dates are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    pub deprecated_s: Option<i64>,
    pub sunset_s: Option<i64>,
    pub successor: Option<String>,
    /// A URL, ready for a Link header (`{portal.public_url}/guides/STEM` for files).
    pub guide: Option<String>,
    pub brownouts: Vec<Brownout>,
}

/// One window of `brownouts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brownout {
    pub from_s: i64,
    pub until_s: i64,
    /// 0.0 to 1.0.
    pub share: f64,
}

/// One operation of one version, everything decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The operationId, or `METHOD /path` where there is none.
    pub name: String,
    /// Upper case, or `*` for any.
    pub method: String,
    /// The whole template: base path, version and path.
    pub template: String,
    /// How many bytes of `template` stand before the path as the document or the entry writes it: base path and
    /// version, or the base path alone (possibly empty) where the document's own paths carry the version.
    pub prefix_bytes: usize,
    /// Send the path without those bytes.
    pub strip_prefix: bool,
    /// Bytes.
    pub body_max: u64,
    pub timeouts: OperationTimeouts,
    /// Who may call it.
    pub auth: Auth,
    /// What a credential must be for, all of them, in the order of their names.
    pub scopes: Vec<String>,
    /// What policies may know of its requests.
    #[serde(default)]
    pub authorize: Authorize,
    /// `None`: its caller's plan says.
    pub priority: Option<Priority>,
    /// Lower-case tokens of the `Upgrade` field that may switch protocols; empty: none.
    pub upgrade: Vec<String>,
    /// The operation's own sunset, which outlives or shortens the version's.
    pub sunset_s: Option<i64>,
}

/// The upstream's timeouts with those of defaults, class and operation over them. `None`: off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationTimeouts {
    pub connect: Duration,
    pub attempt: Option<Duration>,
    pub total: Option<Duration>,
    pub idle: Option<Duration>,
    pub settle: Duration,
}

/// `telemetry.log`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    pub output: LogOutput,
    /// 0.0 to 1.0: the share of successful requests (status below 400, nothing in the trail) that are logged.
    pub sample_success: f64,
    /// Names of access log fields whose values are replaced by `[redacted]`.
    pub redact: Vec<String>,
}

/// `telemetry.log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    Json,
    Text,
}

/// `telemetry.log.output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogOutput {
    Stdout,
    None,
    /// Reopened on SIGHUP.
    File(PathBuf),
}
