//! Everything that can go wrong on purpose, switched while requests are running.
//!
//! A fault is switched by a method of [`Faults`], by [`Faults::set`] with a whole [`FaultSettings`], or from a shell:
//!
//! ```text
//! curl http://127.0.0.1:9001/_faults
//! curl -X PUT http://127.0.0.1:9001/_faults -d '{"latency_ms":200,"status":{"code":503,"percent":30}}'
//! curl -X PUT http://127.0.0.1:9001/_faults -d '{"refuse":true,"for_ms":10000}'
//! curl -X PUT http://127.0.0.1:9001/_faults -d '{}'
//! ```
//!
//! `PUT` replaces all settings. `/_faults` and `/_stats` over HTTP/1.1 suffer from no fault but `refuse`, during which only
//! connections that are open already reach them: use `for_ms`.
//!
//! Where a fault acts:
//!
//! | Fault | Acts on | The ledger has changed? |
//! |---|---|---|
//! | `refuse` | the port: connections are refused, open ones go on | |
//! | `hang` | new connections (their bytes are left unread) and each request on open ones, until it is switched off | after the hang |
//! | `slots`, `latency_ms`, `jitter_ms` | each request, before it is worked on | after the wait |
//! | `reset` `on_arrival` | the connection of a chosen request, once its head has arrived | no |
//! | `status` | each chosen request | no; yes with `after_effect` |
//! | `reset` `before_head`, `in_head`, `mid_body` | the connection of a chosen request, where it says | yes |
//! | `garbage_percent` | the connection of a chosen request, instead of its answer | yes |
//! | `slow_body` | the body of each answer | yes |
//! | `close_after` | each connection, after so many answers | yes |
//!
//! They act in the order of the table. `path_prefix` narrows all but `refuse` and the unread connections of `hang`.
//! A reset is a TCP reset of the whole connection; with `stream_only`, on HTTP/2 only the stream is reset (except
//! `in_head`, which needs the connection).
//!
//! Shares are exact and repeatable: of 100 requests after a switch, a fault of 30 percent hits 30, evenly spread.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::gate::Gate;

/// The longest delay a fault may cause.
const DELAY_MAX_MS: u64 = 600_000;
/// Jitter is the same in every run.
const JITTER_SEED: u64 = 0x6d61_696e;

/// All switches. The default is no fault at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSettings {
    /// Wait before each request is worked on, up to ten minutes.
    pub latency_ms: u64,
    /// Up to this much more, at random from a fixed seed.
    pub jitter_ms: u64,
    pub status: Option<StatusFault>,
    pub reset: Option<ResetFault>,
    /// Share of requests answered with bytes that are no HTTP.
    pub garbage_percent: u8,
    pub close_after: Option<CloseAfter>,
    /// Accept, then say nothing, as a stopped process does. Requests go on when it ends.
    pub hang: bool,
    pub slow_body: Option<SlowBody>,
    /// Refuse connections, as if nothing listened.
    pub refuse: bool,
    pub slots: Option<Slots>,
    /// Only requests whose path begins with this.
    pub path_prefix: Option<String>,
    /// All of this ends by itself after so long.
    pub for_ms: Option<u64>,
}

/// An answer in place of the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusFault {
    /// 200 to 599.
    pub code: u16,
    /// Share of requests, 0 to 100.
    #[serde(default = "all")]
    pub percent: u8,
    /// Do the work first: the caller is told of a failure that was none.
    #[serde(default)]
    pub after_effect: bool,
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

/// Where a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetPoint {
    /// The request's head has arrived; nothing is worked on.
    OnArrival,
    /// The work is done; no byte of the answer is sent.
    BeforeHead,
    /// A few bytes of the answer's head are sent.
    InHead,
    /// The head and half of the body are sent (of a stream without length, its first piece).
    MidBody,
}

/// Connections that are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetFault {
    pub at: ResetPoint,
    /// Share of requests, 0 to 100.
    #[serde(default = "all")]
    pub percent: u8,
    /// Only from the second request of a connection on: what a pool meets when an idle connection has died.
    #[serde(default)]
    pub reused_only: bool,
    /// On HTTP/2, reset the stream and not the connection.
    #[serde(default)]
    pub stream_only: bool,
}

/// Connections that end after some answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseAfter {
    /// Answers per connection, at least 1.
    pub requests: u64,
    /// Say so with `Connection: close`. HTTP/2 always says so, with GOAWAY.
    #[serde(default)]
    pub announce: bool,
}

/// Bodies that trickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowBody {
    /// Bytes per step, at least 1. The first step is not delayed.
    pub bytes: usize,
    pub interval_ms: u64,
}

/// A service that can do so much at once: further requests wait in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// At least 1.
    pub count: u32,
    /// How long each request holds its slot.
    pub service_ms: u64,
}

fn all() -> u8 {
    100
}

/// Why a switch could not be made. The settings are as before.
#[derive(Debug)]
pub enum SwitchError {
    /// What is wrong with the settings.
    Invalid(String),
    /// The port could not be listened on again.
    Listen(io::Error),
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(message) => f.write_str(message),
            Self::Listen(error) => write!(f, "the port cannot be listened on again: {error}"),
        }
    }
}

impl std::error::Error for SwitchError {}

impl FaultSettings {
    fn check(&self) -> Result<(), SwitchError> {
        let percents =
            [self.status.map(|s| s.percent), self.reset.map(|r| r.percent), Some(self.garbage_percent)];
        let waits = [
            Some(self.latency_ms),
            Some(self.jitter_ms),
            self.slow_body.map(|s| s.interval_ms),
            self.slots.map(|s| s.service_ms),
        ];
        let rules = [
            (percents.iter().flatten().all(|percent| *percent <= 100), "a percent is from 0 to 100"),
            (waits.iter().flatten().all(|wait_ms| *wait_ms <= DELAY_MAX_MS), "a wait is at most 600000 ms"),
            (self.status.is_none_or(|s| (200..=599).contains(&s.code)), "status.code is from 200 to 599"),
            (self.close_after.is_none_or(|c| c.requests >= 1), "close_after.requests is at least 1"),
            (self.slow_body.is_none_or(|s| s.bytes >= 1), "slow_body.bytes is at least 1"),
            (self.slots.is_none_or(|s| s.count >= 1), "slots.count is at least 1"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(SwitchError::Invalid((*rule).to_owned())),
            None => Ok(()),
        }
    }
}

/// The switches of one instance.
pub struct Faults {
    active: Mutex<Active>,
    gate: Gate,
    runtime: Handle,
    /// Counts the switches, so that waiting requests and timers notice them.
    generation: watch::Sender<u64>,
    status_seen: AtomicU64,
    reset_seen: AtomicU64,
    garbage_seen: AtomicU64,
}

struct Active {
    settings: FaultSettings,
    slots: Option<Arc<Semaphore>>,
    jitter: fastrand::Rng,
}

/// What shall happen to one request. Made once, when its head has arrived.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) slot: Option<(Arc<Semaphore>, Duration)>,
    pub(crate) delay: Duration,
    pub(crate) reset: Option<ResetFault>,
    pub(crate) status: Option<StatusFault>,
    pub(crate) garbage: bool,
    pub(crate) slow_body: Option<SlowBody>,
    /// This answer is the last of its connection; `true` if that is announced.
    pub(crate) last: Option<bool>,
}

impl Plan {
    /// If a reset takes the connection with it: always, unless only a stream of HTTP/2 was asked for.
    pub(crate) fn resets_link(&self, is_h2: bool) -> bool {
        !(is_h2 && self.reset.is_some_and(|reset| reset.stream_only))
    }
}

impl Faults {
    pub(crate) fn new(gate: Gate) -> Self {
        let jitter = fastrand::Rng::with_seed(JITTER_SEED);
        Self {
            active: Mutex::new(Active { settings: FaultSettings::default(), slots: None, jitter }),
            gate,
            runtime: Handle::current(),
            generation: watch::Sender::new(0),
            status_seen: AtomicU64::new(0),
            reset_seen: AtomicU64::new(0),
            garbage_seen: AtomicU64::new(0),
        }
    }

    #[must_use]
    pub fn current(&self) -> FaultSettings {
        self.active().settings.clone()
    }

    /// Replaces all settings; counters of shares start again. Requests that have begun keep what was planned for them.
    ///
    /// # Errors
    /// Settings out of range, or the port cannot be opened again. Nothing has changed then.
    pub fn set(self: &Arc<Self>, settings: FaultSettings) -> Result<(), SwitchError> {
        settings.check()?;
        let for_ms = settings.for_ms;
        let generation = self.switch(|current| *current = settings)?;
        if let Some(for_ms) = for_ms {
            // A weak pointer: a service that has been dropped is not kept alive by a timer.
            let faults = Arc::downgrade(self);
            self.runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
                if let Some(faults) = faults.upgrade()
                    && *faults.generation.borrow() == generation
                {
                    // If the port is lost to another process, refusing is all that is left, as the settings go on to say.
                    drop(faults.clear());
                }
            });
        }
        Ok(())
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// The port cannot be opened again.
    pub fn clear(&self) -> Result<(), SwitchError> {
        self.switch(|current| *current = FaultSettings::default()).map(drop)
    }

    /// Each request waits `fixed_ms` and up to `jitter_ms` more (each at most ten minutes). Zeros end it.
    pub fn latency(&self, fixed_ms: u64, jitter_ms: u64) {
        self.change(|settings| {
            settings.latency_ms = fixed_ms.min(DELAY_MAX_MS);
            settings.jitter_ms = jitter_ms.min(DELAY_MAX_MS);
        });
    }

    /// A share of requests is answered with this status, without effect. Zero percent ends it.
    pub fn status(&self, code: StatusCode, percent: u8) {
        let fault = StatusFault {
            code: code.as_u16().clamp(200, 599),
            percent: percent.min(100),
            after_effect: false,
            retry_after_s: None,
        };
        self.change(|settings| settings.status = (percent > 0).then_some(fault));
    }

    /// The connections of a share of requests are reset. Zero percent ends it.
    pub fn reset(&self, at: ResetPoint, percent: u8) {
        let fault = ResetFault { at, percent: percent.min(100), reused_only: false, stream_only: false };
        self.change(|settings| settings.reset = (percent > 0).then_some(fault));
    }

    /// A share of requests is answered with bytes that are no HTTP.
    pub fn garbage(&self, percent: u8) {
        self.change(|settings| settings.garbage_percent = percent.min(100));
    }

    /// Connections are closed after so many answers. Zero ends it.
    pub fn close_after(&self, requests: u64, announce: bool) {
        self.change(|settings| {
            settings.close_after = (requests > 0).then_some(CloseAfter { requests, announce });
        });
    }

    /// Silence on new connections and for new requests, until it is switched off.
    pub fn hang(&self, on: bool) {
        self.change(|settings| settings.hang = on);
    }

    /// Bodies trickle. Zero bytes ends it.
    pub fn slow_body(&self, bytes: usize, interval_ms: u64) {
        let fault = SlowBody { bytes, interval_ms: interval_ms.min(DELAY_MAX_MS) };
        self.change(|settings| settings.slow_body = (bytes > 0).then_some(fault));
    }

    /// So many requests are worked on at once, each for `service_ms`; others wait. Zero slots ends it.
    pub fn slots(&self, count: u32, service_ms: u64) {
        let fault = Slots { count, service_ms: service_ms.min(DELAY_MAX_MS) };
        self.change(|settings| settings.slots = (count > 0).then_some(fault));
    }

    /// Closes the port, or opens it again, before it returns.
    ///
    /// # Errors
    /// The port cannot be opened again.
    pub fn refuse(&self, on: bool) -> Result<(), SwitchError> {
        self.switch(|settings| settings.refuse = on).map(drop)
    }

    /// Plans what happens to the `nth` request (from 1) of a connection.
    pub(crate) fn plan(&self, path: &str, nth: u64) -> Plan {
        let mut active = self.active();
        let settings = &active.settings;
        if settings.path_prefix.as_deref().is_some_and(|prefix| !path.starts_with(prefix)) {
            return Plan::default();
        }
        let slot =
            active.slots.clone().zip(settings.slots.map(|slots| Duration::from_millis(slots.service_ms)));
        let reset = settings.reset.filter(|reset| {
            let eligible = !reset.reused_only || nth > 1;
            eligible && picks(&self.reset_seen, reset.percent)
        });
        let status = settings.status.filter(|status| picks(&self.status_seen, status.percent));
        let garbage = picks(&self.garbage_seen, settings.garbage_percent);
        let last = settings.close_after.filter(|close| nth >= close.requests).map(|close| close.announce);
        let (slow_body, fixed_ms, jitter_ms) = (settings.slow_body, settings.latency_ms, settings.jitter_ms);
        let jitter_ms = if jitter_ms == 0 { 0 } else { active.jitter.u64(0..=jitter_ms) };
        let delay = Duration::from_millis(fixed_ms + jitter_ms);
        Plan { slot, delay, reset, status, garbage, slow_body, last }
    }

    /// Returns once nothing hangs; `path` is that of a request, or nothing for a connection.
    pub(crate) async fn hang_over(&self, path: Option<&str>) {
        let mut generation = self.generation.subscribe();
        loop {
            generation.borrow_and_update();
            if !self.hangs(path) {
                return;
            }
            // The sender is a field of `self`, so it outlives this wait.
            if generation.changed().await.is_err() {
                return;
            }
        }
    }

    fn hangs(&self, path: Option<&str>) -> bool {
        let settings = &self.active().settings;
        let outside = |(prefix, path): (&String, &str)| !path.starts_with(prefix.as_str());
        settings.hang && !settings.path_prefix.as_ref().zip(path).is_some_and(outside)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// For changes that leave the port alone and therefore cannot fail.
    fn change(&self, change: impl FnOnce(&mut FaultSettings)) {
        let mut active = self.active();
        let mut settings = active.settings.clone();
        change(&mut settings);
        self.adopt(&mut active, settings);
    }

    fn switch(&self, change: impl FnOnce(&mut FaultSettings)) -> Result<u64, SwitchError> {
        let mut active = self.active();
        let mut settings = active.settings.clone();
        change(&mut settings);
        if settings.refuse {
            self.gate.close();
        } else {
            self.gate.reopen().map_err(SwitchError::Listen)?;
        }
        Ok(self.adopt(&mut active, settings))
    }

    /// Returns the number of the switch.
    fn adopt(&self, active: &mut Active, settings: FaultSettings) -> u64 {
        if active.settings.slots != settings.slots {
            // Requests that wait for the old slots still get them; new ones see the new number.
            active.slots = settings.slots.map(|slots| {
                Arc::new(Semaphore::new(usize::try_from(slots.count).unwrap_or(Semaphore::MAX_PERMITS)))
            });
        }
        active.settings = settings;
        for seen in [&self.status_seen, &self.reset_seen, &self.garbage_seen] {
            seen.store(0, Ordering::Relaxed);
        }
        // Only ever changed here, under the lock on `active`.
        let number = *self.generation.borrow() + 1;
        self.generation.send_replace(number);
        number
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one request and says if it belongs to the share: the whole part of `n * percent / 100` grows with it.
fn picks(seen: &AtomicU64, percent: u8) -> bool {
    let percent = u64::from(percent);
    let before = seen.fetch_add(1, Ordering::Relaxed) % 100;
    (before + 1) * percent / 100 > before * percent / 100
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::{FaultSettings, picks};

    #[test]
    fn a_share_is_exact_and_spread() {
        for percent in [0_u8, 1, 10, 30, 50, 99, 100] {
            let seen = AtomicU64::new(0);
            let hits: Vec<bool> = (0..300).map(|_| picks(&seen, percent)).collect();
            for hundred in hits.chunks(100) {
                assert_eq!(hundred.iter().filter(|hit| **hit).count(), usize::from(percent));
            }
        }
        let seen = AtomicU64::new(0);
        let hits: Vec<bool> = (0..10).map(|_| picks(&seen, 30)).collect();
        assert_eq!(hits, [false, false, false, true, false, false, true, false, false, true]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let rows = [
            r#"{"garbage_percent":101}"#,
            r#"{"status":{"code":503,"percent":101}}"#,
            r#"{"status":{"code":101}}"#,
            r#"{"reset":{"at":"in_head","percent":200}}"#,
            r#"{"latency_ms":600001}"#,
            r#"{"close_after":{"requests":0}}"#,
            r#"{"slow_body":{"bytes":0,"interval_ms":1}}"#,
            r#"{"slots":{"count":0,"service_ms":1}}"#,
        ];
        for row in rows {
            let settings: FaultSettings = serde_json::from_str(row).expect(row);
            assert!(settings.check().is_err(), "{row}");
        }
        for row in [r#"{"latency":1}"#, r#"{"reset":{"at":"never"}}"#, r#"{"status":{"code":503,"share":1}}"#]
        {
            assert!(serde_json::from_str::<FaultSettings>(row).is_err(), "{row}");
        }
        let settings: FaultSettings =
            serde_json::from_str(r#"{"reset":{"at":"on_arrival"}}"#).expect("defaults");
        assert_eq!(settings.reset.map(|reset| reset.percent), Some(100));
        settings.check().expect("in range");
    }
}
