//! Names of endpoints, looked up again and again beside the data plane.
//!
//! Runs on the control runtime. A failed lookup keeps the last good addresses; addresses that disappear take no
//! new connections, and connections that stand are left alone: DNS says where to go, not whom to leave.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_telemetry::{Event, EventLog};

use super::endpoint::EndpointShared;

/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// The addresses of a name, once they are known.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Looks up a name, whose addresses get this port.
type Ask = dyn Fn(&str, u16) -> Lookup + Send + Sync;

/// Who knows the addresses of names, and how often it is asked. The default is the machine's own resolver.
#[derive(Clone)]
pub struct Resolver {
    ask: Arc<Ask>,
    pace: Pace,
}

/// How often a name is looked up. The machine's resolver does not tell how long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one answer to the next question.
    pub again_after: Duration,
    /// The same after a failure.
    pub again_after_failure: Duration,
    /// A lookup that takes longer counts as failed.
    pub lookup_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            again_after: Duration::from_secs(10),
            again_after_failure: Duration::from_secs(2),
            lookup_max: Duration::from_secs(5),
        }
    }
}

impl Default for Resolver {
    fn default() -> Self {
        let ask = |host: &str, port| -> Lookup {
            let host = host.to_owned();
            Box::pin(async move {
                let addresses = tokio::net::lookup_host((host.as_str(), port)).await?;
                Ok(addresses.take(ADDRESSES_MAX).collect())
            })
        };
        Self::new(ask, Pace::default())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks this for the addresses of a name, which get the port that it is given.
    pub fn new(ask: impl Fn(&str, u16) -> Lookup + Send + Sync + 'static, pace: Pace) -> Self {
        Self { ask: Arc::new(ask), pace }
    }

    /// Starts looking up every endpoint that is a name and is new.
    pub fn start(
        &self,
        endpoints: &[Arc<EndpointShared>],
        events: &EventLog,
        runtime: &tokio::runtime::Handle,
    ) {
        for endpoint in endpoints.iter().filter(|e| e.settings.address.name().is_some()) {
            runtime.spawn(self.clone().keep_resolved(Arc::downgrade(endpoint), events.clone()));
        }
    }

    /// Keeps an endpoint's addresses fresh for as long as somebody holds the endpoint.
    async fn keep_resolved(self, endpoint: Weak<EndpointShared>, events: EventLog) {
        let mut failed_before = false;
        loop {
            let Some(strong) = endpoint.upgrade() else { return };
            let Some((host, port)) = strong.settings.address.name() else { return };
            let answer = self.lookup(host, port).await;
            if let Err(error) = &answer
                && !failed_before
            {
                let event = Event::DnsFailed { upstream: &strong.upstream, host, cause: error };
                events.emit(&event);
            }
            failed_before = answer.is_err();
            strong.set_resolved(answer);
            drop(strong);
            let Pace { again_after, again_after_failure, .. } = self.pace;
            tokio::time::sleep(if failed_before { again_after_failure } else { again_after }).await;
        }
    }

    /// Looks a name up once; a bounded number of addresses, and at least one.
    ///
    /// # Errors
    /// It has none, or nobody says in time.
    pub async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        match tokio::time::timeout(self.pace.lookup_max, (self.ask)(host, port)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err("the name has no address".into()),
            Ok(Ok(mut addresses)) => {
                addresses.truncate(ADDRESSES_MAX);
                Ok(addresses)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer in time".into()),
        }
    }
}
