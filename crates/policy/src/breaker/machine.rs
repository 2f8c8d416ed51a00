//! One call through the breaker, and the transitions between its states.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::clock::MonoMs;

use super::BreakerPlan;
use super::phase::{Kind, Phase, PhaseCell};
use crate::sliding::{Ring, TICKS};

/// What is said while half-open, when nobody knows how long the probes take.
const HALF_OPEN_RETRY_AFTER_MS: u64 = 1_000;

/// The share by which the time of an open breaker is varied, either way.
const JITTER: f64 = 0.1;

/// The breaker of an upstream, or of an operation of it, shared by all workers.
pub struct Breaker {
    plan: BreakerPlan,
    probes: u16,
    tick_ms: u64,
    phase: PhaseCell,
    window: Window,
    /// When the open state ends; of the last one if there is none.
    open_until_ms: AtomicU64,
    history: Mutex<History>,
}

/// What only transitions need.
struct History {
    /// Half-open states that failed since it was last closed for a window.
    failed_in_a_row: u32,
    /// None: it has been closed from the beginning.
    closed_at: Option<MonoMs>,
}

/// Admitted. It has to come back, by [`Breaker::done`] or [`Breaker::cancelled`].
#[must_use = "the place of a probe stays taken until its pass comes back"]
#[derive(Debug)]
pub struct Pass {
    generation: u32,
    is_probe: bool,
    half_opened: bool,
}

impl Pass {
    /// [`Change::HalfOpened`] if this call began the half-open state.
    pub fn change(&self) -> Option<Change> {
        self.half_opened.then_some(Change::HalfOpened)
    }

    /// Whether it is one of the calls that decide how the half-open state ends.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }
}

/// Not admitted: 503 `circuit_open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// At least 1. What is left of the open state; while half-open, an estimate.
    pub retry_after_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The ratios of the window; of a half-open state that failed, those of the probe that failed it.
    Opened {
        failure_ratio: f64,
        slow_ratio: f64,
        for_ms: u64,
    },
    HalfOpened,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    /// Also when the time of an open one is over and no call has come yet: the next is a probe.
    HalfOpen,
}

/// The calls of the window that were done while it was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: u64,
    pub failures: u64,
    pub slow: u64,
}

impl Breaker {
    pub fn new(plan: BreakerPlan) -> Self {
        Self {
            probes: u16::try_from(plan.probes).unwrap_or(u16::MAX).max(1),
            tick_ms: (plan.window_ms / u64::from(TICKS)).max(1),
            phase: PhaseCell::closed(),
            window: Window::new(),
            open_until_ms: AtomicU64::new(0),
            history: Mutex::new(History { failed_in_a_row: 0, closed_at: None }),
            plan,
        }
    }

    /// Whether a call may be made.
    pub fn admit(&self, now: MonoMs) -> Result<Pass, Refused> {
        let phase = self.phase.load();
        match phase.kind {
            Kind::Closed => Ok(Pass { generation: phase.generation, is_probe: false, half_opened: false }),
            Kind::Open => match self.open_left_ms(now) {
                0 => self.half_open_or_probe(now),
                retry_after_ms => Err(Refused { retry_after_ms }),
            },
            Kind::HalfOpen => self.probe(phase, false),
        }
    }

    /// A call is done. `failed` says that the upstream is to blame; `jitter` lies evenly between 0 (included) and 1
    /// (excluded).
    #[expect(clippy::needless_pass_by_value, reason = "a pass can be given back once")]
    pub fn done(&self, pass: Pass, failed: bool, took_us: u64, now: MonoMs, jitter: f64) -> Option<Change> {
        let slow = self.plan.slow_call_us.is_some_and(|slow_call_us| took_us >= slow_call_us);
        let phase = self.phase.load();
        if phase.generation != pass.generation {
            return None;
        }
        match phase.kind {
            Kind::Closed => self.done_while_closed(phase, failed, slow, now, jitter),
            Kind::HalfOpen if failed || slow => {
                let ratios = [failed, slow].map(|bad| if bad { 1.0 } else { 0.0 });
                self.probe_failed(phase, ratios, now, jitter)
            }
            Kind::HalfOpen => self.probe_succeeded(phase, now),
            Kind::Open => None,
        }
    }

    /// A call ended without a verdict on the upstream: its client left, or something else stopped it.
    #[expect(clippy::needless_pass_by_value, reason = "a pass can be given back once")]
    pub fn cancelled(&self, pass: Pass, _now: MonoMs) {
        if pass.is_probe {
            self.phase.probe_is_cancelled(pass.generation);
        }
    }

    pub fn state(&self, now: MonoMs) -> State {
        match self.phase.load().kind {
            Kind::Closed => State::Closed,
            Kind::Open if self.open_left_ms(now) > 0 => State::Open,
            Kind::Open | Kind::HalfOpen => State::HalfOpen,
        }
    }

    /// For the admin API.
    pub fn counts(&self, now: MonoMs) -> Counts {
        self.window.counts(self.tick(now))
    }

    // Closed.

    fn done_while_closed(
        &self,
        phase: Phase,
        failed: bool,
        slow: bool,
        now: MonoMs,
        jitter: f64,
    ) -> Option<Change> {
        let tick = self.tick(now);
        self.window.add(tick, failed, slow);
        if self.window.is_good(tick) {
            return None;
        }
        let ratios = self.too_bad(self.window.counts(tick))?;
        let mut history = self.lock_if_still(phase)?;
        let calm = history.closed_at.is_none_or(|closed_at| now.since(closed_at) >= self.plan.window_ms);
        if calm {
            history.failed_in_a_row = 0;
        }
        Some(self.open(phase, &history, ratios, now, jitter))
    }

    /// The ratios, if one of them is at its limit.
    fn too_bad(&self, counts: Counts) -> Option<[f64; 2]> {
        if counts.calls < u64::from(self.plan.requests_min) {
            return None;
        }
        // As quotients: 7 of 100 is exactly what 0.07 is read as, while 0.07 * 100 is more than 7.
        let ratio = |bad: u64| bad as f64 / counts.calls.max(1) as f64;
        let (failures, slow) = (ratio(counts.failures), ratio(counts.slow));
        let over = (counts.failures > 0 && failures >= self.plan.failure_ratio)
            || (counts.slow > 0 && slow >= self.plan.slow_ratio);
        over.then_some([failures, slow])
    }

    // Open.

    /// For the holder of the lock.
    fn open(
        &self,
        phase: Phase,
        history: &History,
        [failure_ratio, slow_ratio]: [f64; 2],
        now: MonoMs,
        jitter: f64,
    ) -> Change {
        let doubled = 1_u64.checked_shl(history.failed_in_a_row).unwrap_or(u64::MAX);
        let planned_ms = self.plan.open_ms.saturating_mul(doubled).min(self.plan.open_max_ms);
        let varied_ms = planned_ms as f64 * (1.0 - JITTER + 2.0 * JITTER * jitter);
        let for_ms = (varied_ms as u64).min(self.plan.open_max_ms).max(1);
        // Before the phase: whoever sees it open sees until when.
        self.open_until_ms.store(now.0.saturating_add(for_ms), Relaxed);
        self.phase.begin(phase.next(Kind::Open));
        Change::Opened { failure_ratio, slow_ratio, for_ms }
    }

    fn open_left_ms(&self, now: MonoMs) -> u64 {
        MonoMs(self.open_until_ms.load(Relaxed)).since(now)
    }

    // Half-open.

    /// The time is over: whoever is first begins the half-open state.
    #[cold]
    fn half_open_or_probe(&self, now: MonoMs) -> Result<Pass, Refused> {
        let _history = self.lock();
        let phase = self.phase.load();
        match phase.kind {
            Kind::Open if self.open_left_ms(now) == 0 => {
                let next = phase.next(Kind::HalfOpen);
                self.phase.begin(next);
                self.probe(next, true)
            }
            Kind::Open => Err(Refused { retry_after_ms: self.open_left_ms(now) }),
            Kind::HalfOpen => self.probe(phase, false),
            Kind::Closed => Ok(Pass { generation: phase.generation, is_probe: false, half_opened: false }),
        }
    }

    fn probe(&self, phase: Phase, half_opened: bool) -> Result<Pass, Refused> {
        if self.phase.probe_begins(phase.generation, self.probes) {
            return Ok(Pass { generation: phase.generation, is_probe: true, half_opened });
        }
        Err(Refused { retry_after_ms: HALF_OPEN_RETRY_AFTER_MS })
    }

    #[cold]
    fn probe_failed(&self, phase: Phase, ratios: [f64; 2], now: MonoMs, jitter: f64) -> Option<Change> {
        let mut history = self.lock_if_still(phase)?;
        history.failed_in_a_row = history.failed_in_a_row.saturating_add(1);
        Some(self.open(phase, &history, ratios, now, jitter))
    }

    #[cold]
    fn probe_succeeded(&self, phase: Phase, now: MonoMs) -> Option<Change> {
        if self.phase.probe_succeeds(phase.generation)? < self.probes {
            return None;
        }
        let mut history = self.lock_if_still(phase)?;
        history.closed_at = Some(now);
        self.window.clear();
        self.phase.begin(phase.next(Kind::Closed));
        Some(Change::Closed)
    }

    // The lock.

    /// For a transition out of `phase`; none if another thread has made one.
    fn lock_if_still(&self, phase: Phase) -> Option<MutexGuard<'_, History>> {
        let history = self.lock();
        (self.phase.load().generation == phase.generation).then_some(history)
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self, now: MonoMs) -> u64 {
        now.0 / self.tick_ms
    }
}

/// Calls that were done while closed. Every call that is done writes here; what is only read lies in other cache lines.
#[repr(align(64))]
struct Window {
    calls: Ring,
    failures: Ring,
    slow: Ring,
    /// The first tick without a bad call in its window, so that a good call need not add them up.
    good_from: AtomicU64,
}

impl Window {
    fn new() -> Self {
        Self { calls: Ring::new(), failures: Ring::new(), slow: Ring::new(), good_from: AtomicU64::new(0) }
    }

    fn add(&self, tick: u64, failed: bool, slow: bool) {
        self.calls.add(tick as u32, 1);
        if failed {
            self.failures.add(tick as u32, 1);
        }
        if slow {
            self.slow.add(tick as u32, 1);
        }
        if failed || slow {
            self.good_from.fetch_max(tick + u64::from(TICKS), Relaxed);
        }
    }

    fn is_good(&self, tick: u64) -> bool {
        tick >= self.good_from.load(Relaxed)
    }

    fn counts(&self, tick: u64) -> Counts {
        // The other way round than they are added: there are never more bad calls than calls.
        let [slow, failures, calls] =
            [&self.slow, &self.failures, &self.calls].map(|ring| ring.sum(tick as u32));
        Counts { calls, failures, slow }
    }

    fn clear(&self) {
        for ring in [&self.calls, &self.failures, &self.slow] {
            ring.clear();
        }
    }
}
