//! The limit of requests at once: a number, or what latency allows.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use mainstay_core::clock::MonoMs;

use super::LimitPlan;

/// An adaptive limit never falls below this: with fewer places there are too few samples to find a way up again.
pub const LIMIT_MIN: u32 = 4;
/// Where an adaptive limit begins.
const LIMIT_FIRST: u32 = 20;
/// The shortest time that a limit counts before it is looked at again.
const WINDOW_MS: u64 = 100;
/// And the fewest samples.
const SAMPLES_MIN: u64 = 20;
/// A window with few samples ends after this.
const WINDOW_MAX_MS: u64 = 1_000;
/// Latency that is longer by this factor is not yet a queue.
const TOLERANCE: f64 = 1.5;
/// What a new limit counts for.
const SMOOTHING: f64 = 0.2;
/// What is left after an overload.
const AFTER_DROPS: f64 = 0.9;
/// How fast the long-term latency follows in each window: downwards; upwards while there are free places, so that the
/// latency is the upstream's own; and upwards in full use, where it may as well be a queue.
const LONG_DOWN: f64 = 0.5;
const LONG_UP_FREE: f64 = 0.05;
const LONG_UP_IN_USE: f64 = 0.0005;
/// In use: so much of the limit was taken at some time of the window.
const IN_USE: f64 = 0.8;

#[derive(Debug)]
pub(super) struct Limit {
    now: AtomicU32,
    adaptive: Option<Adaptive>,
}

#[derive(Debug)]
struct Adaptive {
    max: u32,
    /// Sums of the window.
    us: AtomicU64,
    samples: AtomicU64,
    /// The most that was in flight.
    peak: AtomicU32,
    dropped: AtomicBool,
    /// When the window ends; read before the lock is tried.
    ends_ms: AtomicU64,
    learnt: Mutex<Learnt>,
}

#[derive(Debug)]
struct Learnt {
    began_ms: u64,
    /// The long-term latency; 0 before the first window.
    long_us: f64,
    /// The limit with its fraction.
    limit: f64,
}

impl Limit {
    pub(super) fn new(plan: LimitPlan) -> Self {
        match plan {
            LimitPlan::Fixed(limit) => Self { now: AtomicU32::new(limit.max(1)), adaptive: None },
            LimitPlan::Adaptive { max } => {
                let first = LIMIT_FIRST.min(max.max(1));
                let learnt = Learnt { began_ms: 0, long_us: 0.0, limit: f64::from(first) };
                let adaptive = Adaptive {
                    max: max.max(1),
                    us: AtomicU64::new(0),
                    samples: AtomicU64::new(0),
                    peak: AtomicU32::new(0),
                    dropped: AtomicBool::new(false),
                    ends_ms: AtomicU64::new(0),
                    learnt: Mutex::new(learnt),
                };
                Self { now: AtomicU32::new(first), adaptive: Some(adaptive) }
            }
        }
    }

    pub(super) fn get(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Takes a sample. True: the limit has grown.
    pub(super) fn sample(&self, us: u64, in_flight: u32, dropped: bool, now: MonoMs) -> bool {
        let Some(adaptive) = &self.adaptive else { return false };
        if dropped {
            adaptive.dropped.store(true, Relaxed);
        } else {
            adaptive.us.fetch_add(us, Relaxed);
            adaptive.samples.fetch_add(1, Relaxed);
        }
        if adaptive.peak.load(Relaxed) < in_flight {
            adaptive.peak.fetch_max(in_flight, Relaxed);
        }
        if now.0 < adaptive.ends_ms.load(Relaxed) {
            return false;
        }
        let Some(next) = adaptive.end_window(now) else { return false };
        next > self.now.swap(next, Relaxed)
    }
}

impl Adaptive {
    /// The limit from what the window has shown; `None`: it goes on, or another thread ends it.
    fn end_window(&self, now: MonoMs) -> Option<u32> {
        let mut learnt = self.learnt.try_lock().ok()?;
        let samples = self.samples.load(Relaxed);
        let dropped = self.dropped.load(Relaxed);
        let age_ms = now.0.saturating_sub(learnt.began_ms);
        if samples < SAMPLES_MIN && !dropped && age_ms < WINDOW_MAX_MS {
            return None;
        }
        let samples = self.samples.swap(0, Relaxed);
        let us = self.us.swap(0, Relaxed);
        let peak = self.peak.swap(0, Relaxed);
        self.dropped.store(false, Relaxed);
        learnt.began_ms = now.0;
        self.ends_ms.store(now.0 + WINDOW_MS, Relaxed);
        let short_us = (samples > 0).then(|| us as f64 / samples as f64);
        let limit = learnt.next(short_us, peak, dropped);
        learnt.limit = limit.clamp(f64::from(LIMIT_MIN.min(self.max)), f64::from(self.max));
        Some(learnt.limit as u32)
    }
}

impl Learnt {
    fn next(&mut self, short_us: Option<f64>, peak: u32, dropped: bool) -> f64 {
        let in_use = f64::from(peak) >= self.limit * IN_USE;
        if let Some(short_us) = short_us {
            let follow = match (short_us < self.long_us, in_use) {
                (true, _) => LONG_DOWN,
                (false, false) => LONG_UP_FREE,
                (false, true) => LONG_UP_IN_USE,
            };
            self.long_us = if self.long_us == 0.0 {
                short_us
            } else {
                self.long_us + (short_us - self.long_us) * follow
            };
        }
        if dropped {
            return self.limit * AFTER_DROPS;
        }
        let Some(short_us) = short_us else { return self.limit };
        let gradient = (TOLERANCE * self.long_us / short_us.max(1.0)).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        let next = self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING;
        // What was not used says nothing about more of it.
        if next > self.limit && !in_use { self.limit } else { next }
    }
}
