//! What all workers know together of an upstream: its endpoints, their addresses and how many connections there are.
//!
//! Live state is keyed by upstream, endpoint and connection settings, and carried over a reload when these
//! are equal. Everything here is shared between threads, so everything here is an atomic or a lock that is
//! never held across a wait.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use mainstay_telemetry::{Counter, Gauge, Histogram};
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, watch};

/// An upstream, over all workers.
pub struct UpstreamShared {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints.
    pub endpoints: Vec<Arc<EndpointShared>>,
    /// In which order endpoints take turns: indices, each as often as its weight, spread out.
    pub schedule: Vec<usize>,
}

impl UpstreamShared {
    /// Spreads the turns of the endpoints by smooth weighted round robin.
    pub fn new(name: Arc<str>, endpoints: Vec<Arc<EndpointShared>>) -> Self {
        let schedule = smooth_schedule(&endpoints.iter().map(|e| e.settings.weight).collect::<Vec<_>>());
        Self { name, endpoints, schedule }
    }
}

/// Each index as often as its weight (reduced by their common divisor), spread as evenly as possible.
fn smooth_schedule(weights: &[u32]) -> Vec<usize> {
    fn gcd(a: u32, b: u32) -> u32 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        for (c, w) in credit.iter_mut().zip(&weights) {
            *c += w;
        }
        if let Some(best) = (0..credit.len()).max_by_key(|i| (credit[*i], usize::MAX - i)) {
            credit[best] -= total;
            schedule.push(best);
        }
    }
    schedule
}

/// Connection settings of an endpoint: equal settings mean that connections may live on after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// As written in the configuration.
    pub display: String,
    /// Name or address literal.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Take turns over all addresses of the name, instead of the first that connects.
    pub all_addresses: bool,
    /// Turns in relation to the others.
    pub weight: u32,
    /// HTTP/2 with prior knowledge.
    pub h2: bool,
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
    /// Requests under way.
    pub in_flight: AtomicUsize,
    /// Turns over several addresses.
    turn: AtomicUsize,
    /// What the name resolves to.
    resolved: watch::Sender<Resolved>,
    /// Opens connections to what runs within the process.
    pub dialer: Option<Dialer>,
    /// Metric cells.
    pub metrics: EndpointMetrics,
}

/// Opens a connection within the process, in place of a socket.
pub type Dialer = Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>;

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

impl EndpointShared {
    /// A new endpoint; an address literal is resolved already.
    pub fn new(upstream: Arc<str>, settings: EndpointSettings, metrics: EndpointMetrics) -> Self {
        let addresses = match settings.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, settings.port)],
            Err(_) => Vec::new(),
        };
        let pending = addresses.is_empty();
        let host =
            if settings.host.contains(':') { format!("[{}]", settings.host) } else { settings.host.clone() };
        let authority = if settings.port == 80 { host } else { format!("{host}:{}", settings.port) };
        Self {
            upstream,
            authority: HeaderValue::try_from(authority)
                .unwrap_or_else(|_| HeaderValue::from_static("invalid")),
            slots: Arc::new(Semaphore::new(settings.connections_max)),
            waiting: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            resolved: watch::Sender::new(Resolved { addresses, pending, error: None }),
            dialer: None,
            metrics,
            settings,
        }
    }

    /// True for a name, which has to be looked up again and again.
    pub fn is_name(&self) -> bool {
        self.settings.host.parse::<IpAddr>().is_err()
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
        if self.settings.all_addresses {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(turn);
        }
        Ok(addresses)
    }

    /// Open connections over all workers.
    pub fn connections(&self) -> usize {
        self.settings.connections_max - self.slots.available_permits().min(self.settings.connections_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_weights_and_are_spread() {
        assert_eq!(smooth_schedule(&[1]), [0]);
        assert_eq!(smooth_schedule(&[5, 5]), [0, 1]);
        assert_eq!(smooth_schedule(&[3, 1]), [0, 0, 1, 0]);
        let counts = smooth_schedule(&[7, 2, 1]);
        assert_eq!((0..3).map(|i| counts.iter().filter(|x| **x == i).count()).collect::<Vec<_>>(), [7, 2, 1]);
    }
}
