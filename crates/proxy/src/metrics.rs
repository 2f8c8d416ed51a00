//! Cells that are not tied to an operation or an endpoint. Label sets are closed: nothing a client sends becomes one.

use http::Method;
use mainstay_core::ProblemCode;
use mainstay_core::principal::AuthMethod;
use mainstay_telemetry::{Counter, Gauge, Histogram, Registry};

use crate::forward::endpoint::EndpointMetrics;
use crate::forward::policies::{CAUSES, PolicyMetrics};
use crate::plan::{AuthorizeMetrics, Names, OperationMetrics, ServerPlan};

/// Cells that are not tied to an operation or an endpoint.
pub struct CommonMetrics {
    /// Requests under way.
    pub active_requests: Gauge,
    /// Indexed by [`ProblemCode`].
    pub problems: Vec<Counter>,
    /// Requests that matched no operation.
    pub unrouted: OperationMetrics,
    /// Requests that run on without a client.
    pub settling: Gauge,
    /// Connections that were refused at a cap.
    pub connections_refused: [Counter; 4],
    /// Requests whose caller was found out, indexed like [`AuthMethod::ALL`].
    pub authenticated: [Counter; AuthMethod::ALL.len()],
    /// Good tokens that were known already, and those that had to be verified.
    pub tokens: [Counter; 2],
    /// HTTP/2 connections that were ended because of a [`Flood`].
    pub floods: [Counter; 2],
    /// Stands for listeners that the configuration does not name any more.
    other_listener: ListenerMetrics,
}

/// What a client of HTTP/2 sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Frames about the connection that nothing has called for.
    Control,
    /// What h2 counts: resets, continuations, DATA with next to nothing.
    Streams,
}

impl Flood {
    /// By [`Flood`].
    pub const NAMES: [&str; 2] = ["control", "streams"];
}

/// Open connections of a listener by protocol.
#[derive(Clone, Copy)]
pub struct ListenerMetrics {
    /// HTTP/1.
    pub h1: Gauge,
    /// HTTP/2.
    pub h2: Gauge,
    /// TLS handshakes by [`crate::accept::secure::Ended`].
    pub handshakes: [Counter; 3],
}

const DURATION: &str = "http_server_request_duration_seconds";
const DURATION_HELP: &str = "Time from the head of a request to the last byte of its answer.";
const CLIENT_DURATION: &str = "http_client_request_duration_seconds";
const CLIENT_HELP: &str = "Time of an attempt, from choosing the endpoint to the last byte of its answer.";
const POOL: &str = "mainstay_pool_connections";
const POOL_HELP: &str = "Upstream connections by state; waiting: requests that wait for one.";

impl CommonMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let refused = |cap| {
            registry.counter(
                "mainstay_connections_refused_total",
                "Client connections refused at a cap.",
                &[("cap", cap)],
            )
        };
        let problem = |code: &ProblemCode| {
            registry.counter(
                "mainstay_problems_total",
                "Problems answered, by code.",
                &[("code", code.code())],
            )
        };
        Self {
            active_requests: registry.gauge("http_server_active_requests", "Requests under way.", &[]),
            problems: ProblemCode::ALL.iter().map(problem).collect(),
            unrouted: operation(registry, None, "*"),
            settling: registry.gauge(
                "mainstay_settling",
                "Requests that are finished without their client.",
                &[],
            ),
            connections_refused: [
                refused("connections"),
                refused("connections_per_client"),
                refused("descriptors"),
                refused("proxy_header"),
            ],
            authenticated: AuthMethod::ALL.map(|method| {
                let help = "Requests whose caller was found out.";
                registry.counter("mainstay_authenticated_total", help, &[("method", method.name())])
            }),
            tokens: ["hit", "miss"].map(|cache| {
                let help = "Good tokens by whether their worker knew them already.";
                registry.counter("mainstay_tokens_verified_total", help, &[("cache", cache)])
            }),
            floods: Flood::NAMES.map(|flood| {
                let help = "HTTP/2 connections that were ended because their clients flooded them.";
                registry.counter("mainstay_floods_total", help, &[("flood", flood)])
            }),
            other_listener: listener(registry, "other"),
        }
    }

    /// The cells of a listener, as the configuration that serves has it.
    pub fn of_listener(&self, server: &ServerPlan, name: &str) -> ListenerMetrics {
        server.listener(name).map_or(self.other_listener, |listener| listener.metrics)
    }
}

/// The cells of a listener.
pub fn listener(registry: &Registry, name: &str) -> ListenerMetrics {
    let gauge = |protocol| {
        let labels = [("listener", name), ("protocol", protocol)];
        registry.gauge("mainstay_connections", "Open client connections.", &labels)
    };
    let handshakes = ["ok", "failed", "timed_out"].map(|result| {
        let labels = [("listener", name), ("result", result)];
        registry.counter("mainstay_tls_handshakes_total", "TLS handshakes of clients.", &labels)
    });
    ListenerMetrics { h1: gauge("http1"), h2: gauge("h2"), handshakes }
}

/// The cells of an operation; `None`: of what matched no operation.
pub fn operation(registry: &Registry, names: Option<&Names>, method: &str) -> OperationMetrics {
    let (api, version, operation) = names.map_or(("", "", ""), |n| (&n.api, &n.version, &n.operation));
    let classes = |method: &str| -> [Histogram; 5] {
        ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| {
            let labels = [
                ("api", api),
                ("version", version),
                ("operation", operation),
                ("method", method),
                ("status_class", class),
            ];
            registry.histogram(DURATION, DURATION_HELP, &labels)
        })
    };
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
    ];
    let relevant = |m: &Method| {
        method == "*"
            || method == m.as_str()
            || *m == Method::OPTIONS
            || (*m == Method::HEAD && method == "GET")
    };
    let by_method = known.into_iter().filter(relevant).map(|m| (m.clone(), classes(m.as_str()))).collect();
    OperationMetrics { by_method, other: classes("_OTHER") }
}

/// The cells of an api's policies.
pub fn authorize(registry: &Registry, api: &str) -> AuthorizeMetrics {
    let decision = |result| {
        let help = "Decisions of policies about requests.";
        let labels = [("api", api), ("result", result)];
        registry.counter("mainstay_policy_decisions_total", help, &labels)
    };
    let counter = |name, help| registry.counter(name, help, &[("api", api)]);
    AuthorizeMetrics {
        allowed: decision("allowed"),
        denied: decision("denied"),
        failed: decision("error"),
        cached: counter("mainstay_policy_cached_total", "Decisions of policies that had been made before."),
        shadow_differs: counter(
            "mainstay_policy_shadow_differs_total",
            "Decisions that the shadow policies would have made otherwise.",
        ),
    }
}

/// The cells of an endpoint.
pub fn endpoint(registry: &Registry, upstream: &str, endpoint: &str) -> EndpointMetrics {
    let both = [("upstream", upstream), ("endpoint", endpoint)];
    let outcome = |outcome| {
        let labels = [both[0], both[1], ("outcome", outcome)];
        registry.histogram(CLIENT_DURATION, CLIENT_HELP, &labels)
    };
    let pool = |state| registry.gauge(POOL, POOL_HELP, &[both[0], both[1], ("state", state)]);
    EndpointMetrics {
        answered: outcome("answered"),
        failed: outcome("failed"),
        cancelled: outcome("cancelled"),
        in_flight: registry.gauge("mainstay_upstream_in_flight", "Requests under way to an endpoint.", &both),
        pool_in_use: pool("in_use"),
        pool_idle: pool("idle"),
        pool_waiting: pool("waiting"),
        replaced: registry.counter(
            "mainstay_connections_replaced_total",
            "Requests sent again, unseen by the client, because a pooled connection had died.",
            &both,
        ),
    }
}

/// The cells of an upstream's policies.
pub fn policies(registry: &Registry, upstream: &str) -> PolicyMetrics {
    let counter = |name, help, label: (&'static str, &str)| {
        registry.counter(name, help, &[("upstream", upstream), label])
    };
    let retries = |cause| {
        let help = "Further attempts at an upstream, by what the attempt before failed of.";
        counter("mainstay_retries_total", help, ("cause", cause))
    };
    let hedges = |result| {
        let help = "Second attempts beside a slow first one; won: that answered first.";
        counter("mainstay_hedges_total", help, ("result", result))
    };
    let shed = |reason| {
        let help = "Requests that an upstream was spared because it had enough.";
        counter("mainstay_shed_total", help, ("reason", reason))
    };
    let degraded = |by| {
        let help = "Answers that something else gave in place of the upstream.";
        counter("mainstay_degraded_total", help, ("by", by))
    };
    PolicyMetrics {
        retries: CAUSES.map(retries),
        hedges: hedges("sent"),
        hedges_won: hedges("won"),
        shed_full: shed("queue_full"),
        shed_wait: shed("queue_timeout"),
        shed_rate: shed("rate_max"),
        degraded_upstream: degraded("upstream"),
        degraded_respond: degraded("respond"),
    }
}
