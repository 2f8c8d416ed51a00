//! Keys of other issuers, kept up to date beside the traffic: fetched by URL, read again from files.
//!
//! When to fetch, and what to make of what comes, is decided in [`mainstay_identity::jwks`]; here it is done. There is one task
//! for each issuer, which ends when no configuration has the issuer any more. What cannot be had, or is no
//! key set, changes nothing: the keys before go on as long as they may, it is an event and a metric, and it is tried again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use mainstay_config::checked::{Checked, FetchUrl, KeyPlace};
use mainstay_identity::jwks::{self, SET_BYTES_MAX, SourcePlan};
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_proxy::plan::Snapshot;
use mainstay_proxy::tokens::IssuerKeys;
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::{Cells, Counter, Event, EventLog, Registry};

use crate::lower::tokens::{parse, read, why};
use crate::outbound::{Bounds, Outbound};

/// How often files are looked at, and whether anybody still wants the keys.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What keeping keys takes.
struct Keeper {
    keys: Weak<IssuerKeys>,
    shared: Weak<EngineShared>,
    events: EventLog,
    cells: Cells,
    ok: Counter,
    failed: Counter,
    is_failing: bool,
}

/// Keeps the keys of a configuration that nobody keeps yet.
pub(crate) fn start(
    checked: &Checked,
    snapshot: &Snapshot,
    shared: &Arc<EngineShared>,
    registry: &Arc<Registry>,
    events: &EventLog,
    resolver: &Resolver,
) {
    let outbound = Outbound::new(&checked.identity.outbound, resolver.clone());
    for keys in snapshot.identity.tokens.keys() {
        let issuer = checked.identity.issuers.iter().find(|issuer| *issuer.issuer == *keys.issuer);
        let Some(issuer) = issuer.filter(|_| keys.begin_keeping()) else { continue };
        let keeper = Keeper::new(keys, shared, registry, events);
        match &issuer.keys {
            KeyPlace::Url(url) => drop(tokio::spawn(keeper.fetch(url.clone(), outbound.clone()))),
            KeyPlace::File(path) => drop(tokio::spawn(keeper.read(path.clone()))),
        }
    }
}

impl Keeper {
    fn new(
        keys: &Arc<IssuerKeys>,
        shared: &Arc<EngineShared>,
        registry: &Arc<Registry>,
        events: &EventLog,
    ) -> Self {
        let counter = |result| {
            let help = "Loads of key sets of other issuers.";
            registry.counter(
                "mainstay_key_set_loads_total",
                help,
                &[("issuer", &keys.issuer), ("result", result)],
            )
        };
        Self {
            keys: Arc::downgrade(keys),
            shared: Arc::downgrade(shared),
            events: events.clone(),
            cells: registry.worker(),
            ok: counter("ok"),
            failed: counter("failed"),
            is_failing: false,
        }
    }

    async fn fetch(mut self, url: FetchUrl, outbound: Outbound) {
        let Some(wanted) = self.keys.upgrade().map(|keys| keys.wanted()) else { return };
        loop {
            let Some((keys, shared)) = self.keys.upgrade().zip(self.shared.upgrade()) else { return };
            let now = shared.mono_ms();
            if keys.keys.begin(now) {
                self.fetch_once(&keys, &shared, &url, &outbound).await;
                keys.tell_ended();
                continue;
            }
            let due = keys.keys.next_due(now).map_or(LOOK_EVERY, |at| Duration::from_millis(at.since(now)));
            // Held while nothing is done, keys would never end.
            drop((keys, shared));
            let _ = tokio::time::timeout(due.min(LOOK_EVERY), wanted.notified()).await;
        }
    }

    async fn fetch_once(
        &mut self,
        keys: &IssuerKeys,
        shared: &EngineShared,
        url: &FetchUrl,
        outbound: &Outbound,
    ) {
        let before = keys.keys.generation(shared.mono_ms());
        let fetched = get(outbound, url, shared).await;
        let now = shared.mono_ms();
        let result = match fetched {
            Ok((text, max_age_s)) => match keys.keys.succeeded(&text, max_age_s, now) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{url}: {}", why(error))),
            },
            Err(cause) => {
                keys.keys.failed(now);
                Err(cause)
            }
        };
        self.tell(keys, result, before != keys.keys.generation(now));
    }

    async fn read(mut self, path: PathBuf) {
        // What was read while the configuration was lowered may be out of date already.
        let mut seen = Vec::new();
        loop {
            let Some(keys) = self.keys.upgrade() else { return };
            let file = path.clone();
            let looked = tokio::task::spawn_blocking(move || read(&file)).await;
            let looked = looked.unwrap_or_else(|error| Err(error.to_string()));
            if looked.as_ref().map_or(!self.is_failing, |text| *text != seen) {
                if looked.is_err() {
                    // The same text is news again once the file can be read.
                    seen.clear();
                }
                let result = looked.and_then(|text| replace(&keys, &path, &mut seen, text));
                let is_other = result.as_ref().is_ok_and(|is_other| *is_other);
                self.tell(&keys, result.map(drop), is_other);
            }
            drop(keys);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Once for each failure, however often it is tried.
    fn tell(&mut self, keys: &IssuerKeys, result: Result<(), String>, is_other: bool) {
        let issuer = &*keys.issuer;
        match result {
            Ok(()) => {
                self.cells.inc(self.ok);
                if std::mem::replace(&mut self.is_failing, false) {
                    self.events.emit(&Event::KeySetRecovered { issuer });
                }
                if is_other {
                    let number = keys.keys.len() as u64;
                    self.events.emit(&Event::KeySetChanged { issuer, keys: number });
                }
            }
            Err(cause) => {
                self.cells.inc(self.failed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    self.events.emit(&Event::KeySetFailed { issuer, cause: &cause });
                }
            }
        }
    }
}

/// Takes a text over, if it is a key set: whether it is another one. Remembers it in any case, so that it is not tried again
/// and again.
fn replace(keys: &IssuerKeys, path: &Path, seen: &mut Vec<u8>, text: Vec<u8>) -> Result<bool, String> {
    let set = parse(path, &text);
    *seen = text;
    Ok(keys.keys.replace(set?, seen))
}

/// The text of a set, and for how long it says that it is good.
async fn get(
    outbound: &Outbound,
    url: &FetchUrl,
    shared: &EngineShared,
) -> Result<(Vec<u8>, Option<u64>), String> {
    let within = Duration::from_millis(SourcePlan::default().fetch_timeout_ms);
    let bounds = Bounds { bytes_max: SET_BYTES_MAX, within };
    let request = Request::get("/")
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()));
    let request = request.map_err(|error| error.to_string())?;
    let answer = outbound.ask(url, request, bounds, shared.clock.now()).await;
    let answer = answer.map_err(|error| format!("{url}: {error}"))?;
    if answer.status != StatusCode::OK {
        return Err(format!("{url}: the answer is {}, not 200", answer.status.as_u16()));
    }
    let said = answer.headers.get_all(CACHE_CONTROL).iter();
    let said = said.filter_map(|value| value.to_str().ok()).filter_map(jwks::max_age_s).min();
    Ok((answer.body.to_vec(), said))
}

/// Shows in each scrape how many keys are held of each issuer, and how good they are.
pub(crate) fn observe(registry: &Registry, shared: &Arc<EngineShared>) {
    registry.observe_while(Arc::downgrade(shared), |shared, scrape| {
        let now = shared.mono_ms();
        for keys in shared.snapshot.load().identity.tokens.keys() {
            let labels = [("issuer", &*keys.issuer)];
            let help = "Keys of an issuer that tokens are checked with; 0: none can be.";
            let number = if keys.keys.generation(now) == 0 { 0 } else { keys.keys.len() };
            scrape.gauge("mainstay_key_set_keys", help, &labels, number as f64);
            if let Some(age_ms) = keys.keys.age_ms(now) {
                let help = "How long ago an issuer's keys were fetched.";
                scrape.gauge("mainstay_key_set_age_seconds", help, &labels, age_ms as f64 / 1000.0);
            }
        }
    });
}
