//! What a request is served by: one immutable [`Snapshot`], compiled off the request path.
//!
//! A [`RoutePlan`] has one typed slot per stage of a request's life, in the order of that life. It is
//! destructured without a rest pattern in [`crate::lifecycle`], so a new slot does not compile until someone
//! has placed it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, Method};
use mainstay_core::{Priority, ScopeSet};
use mainstay_identity::credentials::Requirement;
use mainstay_identity::preauth::Failures;
use mainstay_policy::route::{Router, Template};
use mainstay_policy::version::LifecyclePlan;
use mainstay_telemetry::{Counter, Histogram, LogPlan};
use rustc_hash::FxHashMap;

use crate::forward::endpoint::{EndpointShared, UpstreamShared};
use crate::forward::health::HealthPlan;
use crate::forward::policies::Policies;
use crate::metrics::ListenerMetrics;
use crate::tls::client::ClientTls;
use crate::tls::server::ServerTls;
use crate::tokens::TokensPlan;

/// Configuration, compiled. Published by arc-swap, read once per request, kept by the request until its end.
pub struct Snapshot {
    /// Counts up with each successful load.
    pub generation: u64,
    /// Short digest, for the log.
    pub digest: Arc<str>,
    /// Host, path and method to operation.
    pub router: Router<Arc<RoutePlan>>,
    /// What the engine itself serves beside the apis, matched before them; `None`: nothing.
    pub system: Option<Router<Arc<RoutePlan>>>,
    /// Where versions of an api are expected, for answers that name them.
    pub version_prefixes: Vec<VersionPrefix>,
    /// Indexed by [`ForwardPlan::upstream`].
    pub upstreams: Vec<Arc<UpstreamPlan>>,
    /// Settings of the edge.
    pub server: ServerPlan,
    /// Who is known, and how they prove it.
    pub identity: IdentityPlan,
    /// What callers may do, beyond scopes; the policies change on their own while this snapshot serves. `None`: there are none.
    pub policies: Option<Arc<ArcSwap<mainstay_authz::Policies>>>,
    /// `type` of a problem is this and the code.
    pub problem_type_base: Arc<str>,
    /// How records are written.
    pub log: LogPlan,
}

impl Snapshot {
    /// Each endpoint, and how it is asked whether it would serve.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<EndpointShared>, Option<&HealthPlan>)> {
        self.upstreams.iter().flat_map(|plan| {
            plan.shared.endpoints.iter().map(|endpoint| (endpoint, plan.policies.health.as_ref()))
        })
    }
}

/// `base_path` of an api and the versions under it.
pub struct VersionPrefix {
    /// Ends with `/`.
    pub base: Box<str>,
    /// Version segments that exist.
    pub versions: Vec<Box<str>>,
    /// Whose scripts may read a refusal that belongs to no operation.
    pub cors: Vec<Arc<CorsPlan>>,
}

/// What a listener speaks.
#[derive(Clone)]
pub struct ListenerPlan {
    /// Its address, as configured.
    pub name: Arc<str>,
    /// What it shows its clients; `None`: it speaks plainly.
    pub tls: Option<Arc<ServerTls>>,
    /// Every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Its cells.
    pub metrics: ListenerMetrics,
}

impl ServerPlan {
    /// The TLS of a listener.
    pub fn tls_of(&self, listener: &str) -> Option<&Arc<ServerTls>> {
        self.listener(listener)?.tls.as_ref()
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&ListenerPlan> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }
}

/// Settings of the edge.
#[derive(Clone)]
pub struct ServerPlan {
    /// All sets of `server.tls`.
    pub tls_sets: Vec<Arc<ServerTls>>,
    /// What each listener speaks, by its name.
    pub listeners: Vec<ListenerPlan>,
    /// Open client connections, engine-wide.
    pub connections_max: usize,
    /// Open connections of one client address.
    pub connections_per_client_max: usize,
    /// A connection is closed after the request that runs at this age.
    pub connection_age: Option<Duration>,
    /// Bytes of a request head, and of a response head.
    pub header_bytes_max: usize,
    /// Fields of a head.
    pub headers_max: usize,
    /// Bytes of a request target.
    pub uri_bytes_max: usize,
    /// First byte to end of head.
    pub header_timeout: Duration,
    /// Longest silence while a body arrives.
    pub body_timeout: Duration,
    /// Longest silence between requests.
    pub idle_timeout: Duration,
    /// Requests under way, engine-wide.
    pub requests_in_flight_max: usize,
    /// Streams of one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Flow-control window of an HTTP/2 stream, bytes.
    pub http2_window: u32,
    /// Whose `X-Forwarded-For` and `Forwarded` are believed.
    pub trusted_proxies: Vec<TrustedNetwork>,
    /// Answered here, for load balancers.
    pub health_path: Option<Box<str>>,
    /// The engine's name in `Via` and in the log.
    pub node: Arc<str>,
    /// Where it runs.
    pub region: Option<Arc<str>>,
}

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug)]
pub struct TrustedNetwork {
    /// Its first address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl TrustedNetwork {
    /// Whether `address` lies in it. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(it)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                (net.to_bits() ^ it.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(it)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (net.to_bits() ^ it.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// One operation of one version of one api: a slot per stage.
pub struct RoutePlan {
    /// What log and metrics call it.
    pub names: Names,
    /// Whether scripts of other origins may call it.
    pub cors: Option<Arc<CorsPlan>>,
    /// What the lifecycle of version and operation says.
    pub version: VersionPlan,
    /// Who may call.
    pub auth: AuthPlan,
    /// How much body is taken.
    pub body: BodyPlan,
    /// What a credential must be for.
    pub scopes: ScopesPlan,
    /// Where its policies are; `None`: there are none at all.
    pub authorize: Option<AuthorizePlan>,
    /// Protocols that a client may switch to, as lower-case tokens of `Upgrade`.
    pub upgrade: Vec<Box<str>>,
    /// Where it goes.
    pub forward: ForwardPlan,
    /// Its cells.
    pub metrics: OperationMetrics,
}

/// What log and metrics call an operation.
pub struct Names {
    /// The api.
    pub api: Arc<str>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Such as `v1`.
    pub version: Arc<str>,
    /// operationId, or method and path.
    pub operation: Arc<str>,
    /// The template, version included.
    pub route: Arc<str>,
}

/// Cross-origin rules of an api (Fetch standard, CORS protocol).
pub struct CorsPlan {
    /// Lower-case origins; empty with `any`.
    pub origins: Vec<Box<str>>,
    /// Every origin, without credentials.
    pub any: bool,
    /// Cookies and HTTP authentication may be sent.
    pub credentials: bool,
    /// `Access-Control-Expose-Headers`.
    pub expose: HeaderValue,
    /// `Access-Control-Allow-Headers`; `None`: what the preflight asks for.
    pub headers: Option<HeaderValue>,
    /// `Access-Control-Max-Age`.
    pub max_age: HeaderValue,
}

/// The dated record of a version (and operation), prepared.
pub struct VersionPlan {
    /// When what happens.
    pub lifecycle: LifecyclePlan,
    /// `Deprecation`, `Sunset`, `Link`: on every answer of this version.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The version to move to.
    pub successor: Option<Box<str>>,
    /// Where the guide is.
    pub guide: Option<Box<str>>,
}

/// Who may call an operation.
pub enum AuthPlan {
    /// Anyone: nobody is asked.
    Anyone,
    /// Whoever passes one of these.
    Any(Requirement),
}

/// What a credential must be for.
#[derive(Default)]
pub struct ScopesPlan {
    /// All of them.
    pub required: ScopeSet,
    /// Their names, for who lacks one.
    pub names: Box<str>,
}

/// Where the policies of an operation are, and what they are told.
pub struct AuthorizePlan {
    /// Its place among all operations: that of its plan in [`Snapshot::policies`].
    pub operation: usize,
    /// Which parts of the path are parameters.
    pub template: Template,
    /// Its api's cells.
    pub metrics: AuthorizeMetrics,
}

/// Decisions of the policies of an api.
#[derive(Clone, Copy)]
pub struct AuthorizeMetrics {
    /// Requests that they let pass.
    pub allowed: Counter,
    /// Requests that they refused.
    pub denied: Counter,
    /// Requests that were refused because a policy could not be evaluated.
    pub failed: Counter,
    /// Decisions that were there already.
    pub cached: Counter,
    /// Decisions that the shadow policies would have made otherwise.
    pub shadow_differs: Counter,
}

/// Who is known, and how they prove it.
#[derive(Clone)]
pub struct IdentityPlan {
    /// The header that carries an API key.
    pub key_header: HeaderName,
    /// What a tier gets.
    pub tiers: FxHashMap<Box<str>, Tier>,
    /// Wrong credentials of one address that are looked at; `None`: any number.
    pub preauth: Option<PreauthLive>,
    /// Whose tokens are accepted.
    pub tokens: TokensPlan,
    /// Whether an API key that was used goes on to the upstream.
    pub is_key_forwarded: bool,
}

/// A limit of wrong credentials, and who has used up what of it.
#[derive(Clone)]
pub struct PreauthLive {
    /// As it is configured.
    pub plan: PreauthPlan,
    /// Goes on over a reload that leaves the plan as it is.
    pub failures: Arc<Failures>,
}

/// What consumers of a plan get.
#[derive(Clone, Copy, Debug)]
pub struct Tier {
    /// For operations that do not say so themselves.
    pub priority: Priority,
}

/// `server.preauth`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreauthPlan {
    /// Wrong ones a second.
    pub rate_per_s: f64,
    /// How many at once.
    pub burst: u32,
}

/// How much body is taken.
pub struct BodyPlan {
    /// Bytes.
    pub bytes_max: u64,
}

/// Where an operation's requests go.
pub struct ForwardPlan {
    /// Index into [`Snapshot::upstreams`].
    pub upstream: usize,
    /// How long each part may take.
    pub timeouts: TimeoutsPlan,
    /// So many bytes of the canonical path are left out on the way.
    pub strip_prefix_bytes: usize,
    /// Which operation of the snapshot this is; a number for each.
    pub operation: usize,
    /// Index of the upstream for test credentials; `None`: they are refused.
    pub sandbox: Option<usize>,
    /// Whose turn comes first when an upstream has as much as it can take; `None`: its caller's plan says.
    pub priority: Option<Priority>,
    /// The segment of the canonical path, counted from 0, that keeps requests together at one endpoint.
    pub hash_segment: Option<usize>,
}

/// Timeouts of one operation. `None`: off.
#[derive(Clone, Debug)]
pub struct TimeoutsPlan {
    /// Until a connection stands.
    pub connect: Duration,
    /// From sending to the response head, for one attempt.
    pub attempt: Option<Duration>,
    /// The whole request until the response head, and until the last byte of short bodies of known length.
    pub total: Option<Duration>,
    /// Longest silence of the upstream within a response body.
    pub idle: Option<Duration>,
    /// How long what has begun may run on without its client.
    pub settle: Duration,
}

/// How requests are sent to one upstream. Equal plans share their live state over reloads.
pub struct UpstreamPlan {
    /// Its name.
    pub name: Arc<str>,
    /// What `Host` says.
    pub host: HostPlan,
    /// How its endpoints are spoken to over TLS.
    pub tls: Option<Arc<ClientTls>>,
    /// Live state: endpoints, connection counts.
    pub shared: Arc<UpstreamShared>,
    /// What is done when things go wrong.
    pub policies: Policies,
}

/// What `Host` says to an upstream.
#[derive(Clone)]
pub enum HostPlan {
    /// Host and port of the endpoint.
    Endpoint,
    /// What the client said.
    Preserve,
    /// This.
    Name(HeaderValue),
}

/// Metric cells of an operation.
pub struct OperationMetrics {
    /// By method; the last one stands for every other method.
    pub by_method: Vec<(Method, [Histogram; 5])>,
    /// Method label `_OTHER`.
    pub other: [Histogram; 5],
}

impl OperationMetrics {
    /// The histogram of a method and a status.
    pub fn duration(&self, method: &Method, status: u16) -> Histogram {
        let classes = self.by_method.iter().find(|(m, _)| m == method).map_or(&self.other, |(_, c)| c);
        classes[usize::from((status / 100).clamp(1, 5)) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let net = |a: &str, prefix| TrustedNetwork { address: a.parse().unwrap(), prefix };
        let check = |n: TrustedNetwork, a: &str, inside| {
            assert_eq!(n.contains(a.parse().unwrap()), inside, "{n:?} {a}");
        };
        check(net("10.0.0.0", 8), "11.0.0.1", false);
        check(net("10.0.0.0", 8), "10.255.0.1", true);
        check(net("10.0.0.0", 8), "::ffff:10.0.0.1", true);
        check(net("10.0.0.1", 32), "10.0.0.2", false);
        check(net("0.0.0.0", 0), "203.0.113.9", true);
        check(net("0.0.0.0", 0), "2001:db8::1", false);
        check(net("2001:db8::", 32), "2001:db9::1", false);
        check(net("2001:db8::", 32), "2001:db8:1::1", true);
        check(net("::", 0), "2001:db8::1", true);
    }
}
