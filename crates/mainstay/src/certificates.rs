//! Certificates that change on disk come into use without a reload of the configuration.
//!
//! Beside the traffic, every few seconds, the files of each TLS set and of each upstream are looked at. What does
//! not load changes nothing: it is an event, a metric, and tried again until it does.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_proxy::plan::Snapshot;
use mainstay_proxy::tls::fresh::Looked;
use mainstay_telemetry::{Event, Registry};

use crate::reload::Handle;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Keeps certificates fresh for as long as the engine lives.
pub async fn keep_fresh(handle: Weak<Handle>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(handle) = handle.upgrade() else { return };
        // Reading and checking files blocks; a failure of the thread itself shows in the next round.
        let _ = tokio::task::spawn_blocking(move || look(&handle)).await;
    }
}

/// Looks at all files once.
pub fn look(handle: &Handle) {
    let snapshot = handle.shared.snapshot.load_full();
    let now_s = handle.shared.clock.now().seconds();
    for set in &snapshot.server.tls_sets {
        told(handle, &format!("server.tls.{}", set.name), set.look(now_s));
    }
    for upstream in &snapshot.upstreams {
        if let Some(tls) = &upstream.tls {
            told(handle, &format!("upstreams.{}.tls", upstream.name), tls.look(now_s));
        }
    }
}

fn told(handle: &Handle, key: &str, looked: Looked) {
    match looked {
        Looked::Same => {}
        Looked::Loaded => {
            handle.count(handle.certificates.loaded);
            handle.events.emit(&Event::CertificatesLoaded { key });
        }
        Looked::Refused(error) => {
            handle.count(handle.certificates.refused);
            handle.events.emit(&Event::CertificatesRefused { key, cause: &error.0 });
        }
    }
}

/// Shows in each scrape when the certificates of each set end.
pub fn observe(registry: &Registry, handle: &Arc<Handle>) {
    registry.observe_while(Arc::downgrade(handle), |handle, scrape| {
        let snapshot: Arc<Snapshot> = handle.shared.snapshot.load_full();
        for set in &snapshot.server.tls_sets {
            let help = "When the first certificate of a TLS set ends, Unix seconds.";
            let name = "mainstay_tls_certificate_not_after_seconds";
            scrape.gauge(name, help, &[("set", &set.name)], set.current().not_after_s as f64);
        }
    });
}
