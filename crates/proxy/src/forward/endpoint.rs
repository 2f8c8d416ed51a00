//! What all workers know together of an upstream: its endpoints, their addresses and how many connections there are.
//!
//! Live state is keyed by upstream, endpoint and connection settings, and carried over a reload when these
//! are equal. Everything here is shared between threads, so everything here is an atomic or a lock that is
//! never held across a wait.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use mainstay_policy::balance::{EndpointState, Pool, PoolPlan};
use mainstay_policy::deadline::{Gate, Recent};
use mainstay_telemetry::{Counter, Gauge, Histogram};
use rustls::pki_types::ServerName;
use tokio::sync::{Semaphore, watch};

use super::health::HealthPlan;
use super::policies::HashOn;
use crate::stream::Plain;
use crate::tls::client::{ClientFiles, ClientTls};

/// An upstream, over all workers.
pub struct UpstreamShared {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<Arc<EndpointShared>>,
    /// Chooses among them, by the same indices.
    pub pool: Pool,
    /// What keeps requests together at one endpoint.
    pub hash_on: Option<HashOn>,
}

impl UpstreamShared {
    /// Endpoints, and the plan by which one is chosen.
    pub fn new(
        name: Arc<str>,
        endpoints: Vec<Arc<EndpointShared>>,
        plan: PoolPlan,
        hash_on: Option<HashOn>,
    ) -> Self {
        let pool = Pool::new(plan, endpoints.iter().map(|e| Arc::clone(&e.state)).collect());
        Self { name, endpoints, pool, hash_on }
    }
}

/// Connection settings of an endpoint: equal settings mean that connections may live on after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// As written in the configuration.
    pub display: String,
    /// Where it is.
    pub address: Address,
    /// Turns in relation to the others.
    pub weight: u32,
    /// What is spoken there.
    pub protocol: Protocol,
    /// How it is spoken to over TLS.
    pub secure: Option<SecureSettings>,
    /// Open connections, engine-wide.
    pub connections_max: usize,
    /// Idle connections, engine-wide; each worker keeps its share.
    pub idle_max: usize,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// A connection takes no new request after this.
    pub lifetime_max: Duration,
    /// Longest wait for a connection at the cap.
    pub wait: Duration,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Reached over TCP.
    Tcp {
        /// Name or address literal.
        host: String,
        /// TCP port.
        port: u16,
        /// Take turns over all addresses of the name, instead of the first that connects.
        all_addresses: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// A service within the process.
    Local(String),
}

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: with prior knowledge, or by ALPN over TLS.
    H2,
    /// What ALPN comes to; without TLS HTTP/1.1.
    Auto,
}

/// Settings of TLS: equal ones mean that connections may live on after a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureSettings {
    /// Whom to trust, what to show.
    pub files: ClientFiles,
    /// The name that the endpoint must prove.
    pub server_name: String,
}

/// What connections over TLS are made with.
pub struct Secure {
    /// Shared by the endpoints of an upstream.
    pub tls: Arc<ClientTls>,
    /// The name that the endpoint must prove.
    pub name: ServerName<'static>,
}

/// Metric cells of an endpoint.
#[derive(Clone, Copy)]
pub struct EndpointMetrics {
    /// An answer came (any status).
    pub answered: Histogram,
    /// The attempt failed.
    pub failed: Histogram,
    /// The client left first.
    pub cancelled: Histogram,
    /// Requests under way.
    pub in_flight: Gauge,
    /// Connections with a request.
    pub pool_in_use: Gauge,
    /// Connections without one.
    pub pool_idle: Gauge,
    /// Requests that wait for a connection.
    pub pool_waiting: Gauge,
    /// Requests sent again because a pooled connection had died.
    pub replaced: Counter,
}

/// One endpoint, over all workers.
pub struct EndpointShared {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// Connection settings.
    pub settings: EndpointSettings,
    /// `host:port`, for `Host`.
    pub authority: HeaderValue,
    /// One permit per open connection.
    pub slots: Arc<Semaphore>,
    /// Requests that wait for a connection, on any worker.
    pub waiting: AtomicUsize,
    /// Requests under way, how long they take, and whether it may have more.
    pub state: Arc<EndpointState>,
    /// How long its answers took, in the last seconds.
    pub recent: Recent,
    /// Refuses what has too little time left.
    pub gate: Gate,
    /// How it is asked whether it would serve, once it has been asked at all.
    checks: OnceLock<watch::Sender<Option<HealthPlan>>>,
    /// Turns over several addresses.
    turn: AtomicUsize,
    /// What the name resolves to.
    resolved: watch::Sender<Resolved>,
    /// Opens connections to what runs within the process.
    pub dialer: Option<Dialer>,
    /// Set where the endpoint is spoken to over TLS.
    pub secure: Option<Secure>,
    /// The last connection came to HTTP/2 by ALPN.
    pub prefers_h2: AtomicBool,
    /// Metric cells.
    pub metrics: EndpointMetrics,
}

/// Opens a connection within the process, in place of a socket. Called on the worker that will use it.
pub type Dialer = Arc<dyn Fn() -> io::Result<Plain> + Send + Sync>;

/// What a name resolves to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// The last good answer.
    pub addresses: Vec<SocketAddr>,
    /// Nobody has asked yet.
    pub pending: bool,
    /// Why the newest question failed, if it did.
    pub error: Option<String>,
}

impl Address {
    /// The address, where it is written as such.
    fn literal(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { host, port, .. } => host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port)),
            Self::Unix(_) | Self::Local(_) => None,
        }
    }

    /// Host and port of a name, which has to be looked up again and again.
    pub fn name(&self) -> Option<(&str, u16)> {
        match self {
            Self::Tcp { host, port, .. } if self.literal().is_none() => Some((host, *port)),
            _ => None,
        }
    }

    fn is_name(&self) -> bool {
        self.name().is_some()
    }

    /// What `Host` says by default: as a client would say it that was given the same address.
    fn authority(&self, usual_port: u16) -> String {
        match self {
            Self::Tcp { host, port, .. } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                if *port == usual_port { host } else { format!("{host}:{port}") }
            }
            // RFC 9112, 3.2, wants a Host; there is no name for what has none.
            Self::Unix(_) => "localhost".into(),
            Self::Local(name) => name.clone(),
        }
    }
}

impl EndpointShared {
    /// A new endpoint; an address literal is resolved already.
    pub fn new(upstream: Arc<str>, settings: EndpointSettings, metrics: EndpointMetrics) -> Self {
        let addresses = settings.address.literal().into_iter().collect();
        let pending = settings.address.is_name();
        let authority = settings.address.authority(if settings.secure.is_some() { 443 } else { 80 });
        Self {
            upstream,
            authority: HeaderValue::try_from(authority)
                .unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            slots: Arc::new(Semaphore::new(settings.connections_max)),
            waiting: AtomicUsize::new(0),
            state: Arc::new(EndpointState::new(settings.weight)),
            recent: Recent::new(),
            gate: Gate::new(),
            checks: OnceLock::new(),
            turn: AtomicUsize::new(0),
            resolved: watch::Sender::new(Resolved { addresses, pending, error: None }),
            dialer: None,
            secure: None,
            prefers_h2: AtomicBool::new(false),
            metrics,
            settings,
        }
    }

    /// True when requests go over HTTP/2, as far as is known.
    pub fn speaks_h2(&self) -> bool {
        match self.settings.protocol {
            Protocol::Http1 => false,
            Protocol::H2 => true,
            Protocol::Auto => self.prefers_h2.load(Ordering::Relaxed),
        }
    }

    /// Stores an answer of the resolver. A failure keeps the last good addresses.
    pub fn set_resolved(&self, answer: Result<Vec<SocketAddr>, String>) {
        self.resolved.send_modify(|resolved| {
            resolved.pending = false;
            match answer {
                Ok(mut addresses) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    resolved.addresses = addresses;
                    resolved.error = None;
                }
                Err(error) => resolved.error = Some(error),
            }
        });
    }

    /// What is known now.
    pub fn resolved(&self) -> Resolved {
        self.resolved.borrow().clone()
    }

    /// The addresses to try, in order. Waits for the first answer of the resolver.
    ///
    /// # Errors
    /// The resolver's sentence when it has no address.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let mut watch = self.resolved.subscribe();
        let resolved =
            watch.wait_for(|r| !r.pending).await.map_err(|_| "the resolver has stopped".to_owned())?;
        if resolved.addresses.is_empty() {
            return Err(resolved.error.clone().unwrap_or_else(|| "the name has no address".into()));
        }
        let mut addresses = resolved.addresses.clone();
        drop(resolved);
        if matches!(self.settings.address, Address::Tcp { all_addresses: true, .. }) {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        Ok(addresses)
    }

    /// Says how it is asked from now on whether it would serve. For the first plan that there is, gives what its asker
    /// reads plans from.
    pub fn check(&self, plan: Option<HealthPlan>) -> Option<watch::Receiver<Option<HealthPlan>>> {
        match self.checks.get() {
            Some(plans) => {
                plans.send_if_modified(|held| {
                    let is_new = *held != plan;
                    *held = plan;
                    is_new
                });
                None
            }
            None => plan.map(|plan| {
                let (sender, receiver) = watch::channel(Some(plan));
                let _ = self.checks.set(sender);
                receiver
            }),
        }
    }

    /// True when it is a service within the process.
    pub fn is_local(&self) -> bool {
        matches!(self.settings.address, Address::Local(_))
    }

    /// Open connections over all workers.
    pub fn connections(&self) -> usize {
        self.settings.connections_max - self.slots.available_permits().min(self.settings.connections_max)
    }
}
