//! What crosses from one side of the engine to the other: traits that `mainstay` implements.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use serde::Serialize;

use crate::catalogue::Consumer;
use crate::clock::UnixMs;
use crate::principal::{AuthMethod, Mode};

/// A boxed future: calls through a port leave the room, so one allocation does not count.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the control side may ask of a running engine.
pub trait Engine: Send + Sync + 'static {
    /// Loads the configuration again and swaps it in, or changes nothing and says why.
    fn reload(&self) -> PortFuture<'_, Result<Loaded, ReloadRefused>>;
    /// Which configuration serves now.
    fn loaded(&self) -> Loaded;
    /// The configuration in effect, per operation, as `mainstay plan` compares it.
    fn effective_config(&self) -> Json;
    /// Each version with its dates, and who still calls the deprecated ones.
    fn versions(&self) -> Vec<VersionReport>;
    /// Each upstream with its endpoints and connections.
    fn upstreams(&self) -> Vec<UpstreamReport>;
    /// The names of all apis.
    fn apis(&self) -> Vec<String>;
    /// The plans of the configuration, in the order of their names.
    fn plans(&self) -> Vec<PlanReport>;
    /// The consumers that stand in the configuration, in the order of their ids. They have no date.
    fn file_consumers(&self) -> Vec<Consumer>;
    /// What the policies that serve now say about somebody and an operation: a JSON object.
    fn authorize(&self, question: &Question) -> Result<Json, Unanswerable>;
    /// What happened to a recent request, if it is still remembered.
    fn request(&self, id: &str) -> PortFuture<'_, Option<Json>>;
    /// Whether the engine is ready, and what is wrong beside.
    fn readiness(&self) -> Readiness;
    /// What comes before a problem's code in its `type`, as the data plane writes it.
    fn problem_type_base(&self) -> String;
    /// The Prometheus text of all metrics.
    fn metrics(&self) -> String;
}

/// A complete JSON value as text: `core` knows no JSON library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(pub String);

/// What somebody may do, asked beside the traffic.
#[derive(Clone, Debug)]
pub struct Question {
    /// The api's name.
    pub api: String,
    /// The version's name.
    pub version: String,
    /// The operation's name, or what policies call it.
    pub operation: String,
    /// The consumer on whose behalf it is; without it and a user, nobody in particular.
    pub consumer: Option<String>,
    /// The person who acts.
    pub user: Option<String>,
    /// The path's parameters by name.
    pub path: BTreeMap<String, String>,
    /// What is sent.
    pub body: QuestionBody,
    /// Where it comes from.
    pub address: IpAddr,
    /// How the caller proves who they are.
    pub method: AuthMethod,
    /// Live or test.
    pub mode: Mode,
    /// What the credential may be used for.
    pub scopes: Vec<String>,
    /// When it comes; `None`: now.
    pub at: Option<UnixMs>,
}

/// The body in a [`Question`].
#[derive(Clone, Debug, Default)]
pub enum QuestionBody {
    /// There is none.
    #[default]
    None,
    /// This text, read as a request's body is.
    Text(String),
    /// A JSON object as text: fields by the names that policies have for them.
    Fields(String),
}

/// Why a [`Question`] has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswerable {
    /// Which part of the question is about nothing that there is.
    pub part: &'static str,
    /// Why.
    pub message: String,
}

/// The configuration that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Counts up with each successful load since the start, from 1.
    pub generation: u64,
    /// The first 12 hex digits of the SHA-256 of everything that was loaded.
    pub digest: String,
}

/// Why a configuration was not taken over; the old one goes on.
#[derive(Clone, Debug)]
pub struct ReloadRefused {
    /// The problems as `mainstay check --output json` prints them: a JSON array as text.
    pub problems: Json,
}

/// One plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    /// Its name in the configuration.
    pub plan: String,
    /// `critical`, `high`, `normal` or `low`, for operations that do not say it themselves.
    pub priority: &'static str,
}

/// One version of one api.
#[derive(Clone, Debug, Serialize)]
pub struct VersionReport {
    /// The api's name.
    pub api: String,
    /// The version's name, such as `v1`.
    pub version: String,
    /// `current`, `announced` (dates in the future), `deprecated` or `retired`.
    pub state: &'static str,
    /// Since or from when it is deprecated (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// When it is retired (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sunset: Option<String>,
    /// The version to move to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Who called it while it was deprecated, most calls first.
    pub callers: Vec<CallerReport>,
    /// Requests of callers that no longer fitted into the bounded list.
    pub others: u64,
}

/// A caller of a deprecated version.
#[derive(Clone, Debug, Serialize)]
pub struct CallerReport {
    /// The consumer, or the client address of an anonymous caller.
    pub caller: String,
    /// Its requests since the engine started.
    pub requests: u64,
}

/// One upstream.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamReport {
    /// Its name in the configuration.
    pub upstream: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// Its circuit breakers: one, or one for each operation that has been called.
    pub breakers: Vec<BreakerReport>,
    /// Further attempts that its retry budget would allow now; absent: retries are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<f64>,
    /// Requests at once, and who waits; absent: not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyReport>,
}

/// A circuit breaker.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerReport {
    /// The operation, where each has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Calls within the window.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow: u64,
}

/// The limit of requests at once.
#[derive(Clone, Debug, Serialize)]
pub struct ConcurrencyReport {
    /// How many there may be now.
    pub limit: u64,
    /// How many there are.
    pub in_flight: u64,
    /// How many wait, by priority.
    pub waiting: Vec<WaitingReport>,
}

/// Requests of one priority that wait for a place.
#[derive(Clone, Debug, Serialize)]
pub struct WaitingReport {
    /// `critical`, `high`, `normal` or `low`.
    pub priority: &'static str,
    /// How many.
    pub requests: u64,
}

/// One endpoint of an upstream.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointReport {
    /// The address as configured.
    pub endpoint: String,
    /// The addresses it resolves to now.
    pub addresses: Vec<String>,
    /// Open connections over all workers.
    pub connections: u64,
    /// The most there may be.
    pub connections_max: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// `healthy`, `ejected` (its requests failed) or `unhealthy` (its health checks did).
    pub health: &'static str,
    /// For how long it is still left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_for_ms: Option<u64>,
    /// What its answers take, slow ones weighing more; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Its turns in relation to the others'.
    pub weight: u32,
}

/// Answers to `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// False at the start and while draining, else true.
    pub ready: bool,
    /// What a person should know although it does not make the engine unready.
    pub notes: Vec<String>,
}
