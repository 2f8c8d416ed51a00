//! Time as an input: the one place of the workspace that reads the machine's clocks.
//!
//! Two times, never mixed: [`MonoMs`] only moves forward and measures durations; [`UnixMs`] is the date,
//! may be stepped, and decides what is due (sunsets, brownouts, log time stamps). Code that decides takes
//! a value of one of these types; code at the edge asks a [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds of a clock that never goes back, from an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` lies after.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Whole seconds, rounded towards the past.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// Where a part of the engine asks what date it is.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// A date set by a test or by `explain --at`; it moves only when it is told to.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `now` until [`Clock::set`].
    pub fn manual(now: UnixMs) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(now.0)))
    }

    /// The date now.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn now(&self) -> UnixMs {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
                Err(before) => UnixMs(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
            },
            Self::Manual(at) => UnixMs(at.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock. A system clock is left alone, and `false` says so.
    pub fn set(&self, now: UnixMs) -> bool {
        match self {
            Self::System => false,
            Self::Manual(at) => {
                at.store(now.0, Ordering::Relaxed);
                true
            }
        }
    }
}

/// The monotonic clock, for code outside the data plane (the data plane uses its runtime's, which tests can pause).
#[expect(clippy::disallowed_methods, reason = "the one reader of the monotonic clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}
