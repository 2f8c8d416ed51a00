//! A bounded table of limits, each one number.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::clock::MonoMs;

use super::RatePlan;

/// Cells in which a key may be.
const WAYS: usize = 8;
/// Bits of a cell for the time: 34 years of milliseconds.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

pub(super) struct Cells {
    interval_ms: u64,
    /// How far the time of a limit may lie ahead: the burst.
    tolerance_ms: u64,
    sets: Box<[[AtomicU64; WAYS]]>,
    seed: [u64; 2],
}

/// Where a key belongs.
struct Home<'a> {
    set: &'a [AtomicU64; WAYS],
    tag: u64,
}

/// What is known of a key.
struct Seen<'a> {
    cell: &'a AtomicU64,
    value: u64,
    /// When it is whole again; before now if it is.
    whole_at: u64,
}

impl Cells {
    pub(super) fn new(plan: RatePlan, keys: usize, seed: [u64; 2]) -> Self {
        let sets = keys.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        let interval_ms = plan.interval_ms.max(1);
        Self {
            interval_ms,
            // Half of the time's range at most, so that a sum stays in it.
            tolerance_ms: interval_ms.saturating_mul(plan.burst.max(1)).min(TIME_MASK / 2),
            sets: (0..sets).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect(),
            seed,
        }
    }

    /// Takes one. The error is how long until the next one.
    pub(super) fn take(&self, key: &[u8], more: &[u8], now: MonoMs) -> Result<(), u64> {
        let (home, now) = (self.home(key, more), now.0 & TIME_MASK);
        loop {
            let seen = self.seen(&home, now);
            let next = seen.whole_at.max(now) + self.interval_ms;
            if next > now + self.tolerance_ms {
                return Err(next - now - self.tolerance_ms);
            }
            let value = home.tag << TIME_BITS | next & TIME_MASK;
            // Another worker was faster: look again.
            let done =
                seen.cell.compare_exchange_weak(seen.value, value, Ordering::Relaxed, Ordering::Relaxed);
            if done.is_ok() {
                return Ok(());
            }
        }
    }

    /// Whether one could be taken, for a key that is known. One that is not has used up nothing of its own.
    pub(super) fn look(&self, key: &[u8], more: &[u8], now: MonoMs) -> Result<(), u64> {
        let (home, now) = (self.home(key, more), now.0 & TIME_MASK);
        let seen = self.seen(&home, now);
        let next = seen.whole_at.max(now) + self.interval_ms;
        let is_over = seen.value >> TIME_BITS == home.tag && next > now + self.tolerance_ms;
        if is_over { Err(next - now - self.tolerance_ms) } else { Ok(()) }
    }

    fn home(&self, key: &[u8], more: &[u8]) -> Home<'_> {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.seed[0]);
        hasher.write_u64(self.seed[1]);
        hasher.write(key);
        hasher.write(more);
        let hash = hasher.finish();
        let set = &self.sets[hash as usize & (self.sets.len() - 1)];
        // Never zero, which is an empty cell.
        Home { set, tag: (hash >> TIME_BITS).max(1) }
    }

    /// The key's cell, or the one that it would take: of all in its set, the one that is whole earliest.
    fn seen<'a>(&self, home: &Home<'a>, now: u64) -> Seen<'a> {
        let mut earliest: Option<Seen<'a>> = None;
        for cell in home.set {
            let value = cell.load(Ordering::Relaxed);
            let mut whole_at = value & TIME_MASK;
            // Further ahead than any can be: from before the time's range began again.
            if whole_at > now + self.tolerance_ms {
                whole_at = 0;
            }
            let seen = Seen { cell, value, whole_at };
            if value >> TIME_BITS == home.tag {
                return seen;
            }
            if earliest.as_ref().is_none_or(|it| whole_at < it.whole_at) {
                earliest = Some(seen);
            }
        }
        // There are eight.
        earliest.unwrap_or(Seen { cell: &home.set[0], value: 0, whole_at: 0 })
    }
}

impl std::fmt::Debug for Cells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cells({})", self.sets.len() * WAYS)
    }
}
