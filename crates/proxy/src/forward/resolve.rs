//! Names of endpoints, looked up again and again beside the data plane.
//!
//! Runs on the control runtime. A failed lookup keeps the last good addresses; addresses that disappear take no
//! new connections, and connections that stand are left alone: DNS says where to go, not whom to leave.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_telemetry::{Event, EventLog};

use super::endpoint::EndpointShared;

/// How often a name is looked up. The system's resolver does not tell how long an answer holds.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The same after a failure.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// A lookup that takes longer counts as failed.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// Keeps an endpoint's addresses fresh for as long as somebody holds the endpoint.
pub async fn keep_resolved(endpoint: Weak<EndpointShared>, events: EventLog) {
    let mut failed_before = false;
    loop {
        let Some(strong) = endpoint.upgrade() else { return };
        let Some((host, port)) = strong.settings.address.name() else { return };
        let answer = lookup(host, port).await;
        if let Err(error) = &answer
            && !failed_before
        {
            let event = Event::DnsFailed { upstream: &strong.upstream, host, cause: error };
            events.emit(&event);
        }
        failed_before = answer.is_err();
        strong.set_resolved(answer);
        drop(strong);
        tokio::time::sleep(if failed_before { AGAIN_AFTER_FAILURE } else { AGAIN_AFTER }).await;
    }
}

/// Starts looking up every endpoint that is a name and is new.
pub fn start(endpoints: &[Arc<EndpointShared>], events: &EventLog, runtime: &tokio::runtime::Handle) {
    for endpoint in endpoints.iter().filter(|e| e.settings.address.name().is_some()) {
        runtime.spawn(keep_resolved(Arc::downgrade(endpoint), events.clone()));
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.take(ADDRESSES_MAX).collect();
            if addresses.is_empty() { Err("the name has no address".into()) } else { Ok(addresses) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no answer in time".into()),
    }
}
