//! How long attempts took in the last 10 s.

use std::array::from_fn;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use mainstay_core::clock::MonoMs;

/// Fewer samples than these say nothing.
pub const SAMPLES_MIN: u64 = 20;

/// So old may a quantile be.
pub const QUANTILES_EVERY_MS: u64 = 100;

/// One for each second.
const SLOTS: usize = 10;

/// Two to this power are the buckets of a doubling. Eight: the middle of a bucket is within 1/16 of all it stands for.
const STEPS_LOG2: u32 = 3;
const STEPS: usize = 1 << STEPS_LOG2;

/// The first eight hold one value each, and the largest value has 26 bits (67 s).
const VALUE_BITS: u32 = 26;
const BUCKETS: usize = STEPS * (VALUE_BITS - STEPS_LOG2 + 1) as usize;

/// In place of a slot's second while it is emptied; as a number it lies after every second.
const BEING_EMPTIED: u64 = u64::MAX;

/// The latencies of the last 10 s, shared by all workers. Takes 8 KB.
pub struct Recent {
    slots: [Slot; SLOTS],
    quantiles_due_ms: AtomicU64,
    /// A [`Quantiles`], packed.
    quantiles: AtomicU64,
}

struct Slot {
    /// The second that the counts are of.
    second: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

impl Recent {
    pub fn new() -> Self {
        Self {
            slots: from_fn(|_| Slot { second: AtomicU64::new(0), counts: from_fn(|_| AtomicU32::new(0)) }),
            quantiles_due_ms: AtomicU64::new(0),
            quantiles: AtomicU64::new(Quantiles::default().packed()),
        }
    }

    /// Counts an attempt that ended at `now` and took `us`. Only what says how fast the upstream answers belongs here:
    /// a refused connection is quick and means nothing.
    pub fn record(&self, now: MonoMs, us: u64) {
        let second = now.0 / 1_000;
        let slot = &self.slots[(second % SLOTS as u64) as usize];
        if slot.second.load(Acquire) == second || slot.begin(second) {
            slot.counts[bucket_of(us)].fetch_add(1, Relaxed);
        }
    }

    /// How many samples there are. Adds up every counter: for the admin API, not for each request.
    pub fn count(&self, now: MonoMs) -> u64 {
        self.sums(now).iter().sum()
    }

    /// Half of the attempts took no longer; none below [`SAMPLES_MIN`] samples.
    pub fn median_us(&self, now: MonoMs) -> Option<u64> {
        self.quantiles(now).median_us.map(u64::from)
    }

    /// 95 of 100 attempts took no longer; none below [`SAMPLES_MIN`] samples.
    pub fn p95_us(&self, now: MonoMs) -> Option<u64> {
        self.quantiles(now).p95_us.map(u64::from)
    }

    fn quantiles(&self, now: MonoMs) -> Quantiles {
        let due_ms = self.quantiles_due_ms.load(Relaxed);
        let claim = || {
            let next_ms = now.0.saturating_add(QUANTILES_EVERY_MS);
            self.quantiles_due_ms.compare_exchange(due_ms, next_ms, Relaxed, Relaxed).is_ok()
        };
        if now.0 >= due_ms && claim() {
            let fresh = Quantiles::of(&self.sums(now));
            self.quantiles.store(fresh.packed(), Relaxed);
            return fresh;
        }
        Quantiles::unpacked(self.quantiles.load(Relaxed))
    }

    fn sums(&self, now: MonoMs) -> [u64; BUCKETS] {
        let second = now.0 / 1_000;
        let mut sums = [0; BUCKETS];
        for slot in &self.slots {
            let of = slot.second.load(Acquire);
            // A second ahead of `now` is one that another worker's clock has reached already.
            if of != BEING_EMPTIED && of.saturating_add(SLOTS as u64) > second {
                for (sum, count) in sums.iter_mut().zip(&slot.counts) {
                    *sum += u64::from(count.load(Relaxed));
                }
            }
        }
        sums
    }
}

impl Slot {
    /// Empties the slot for `second`. False if this is for another thread to do, or if the slot is ahead.
    #[cold]
    fn begin(&self, second: u64) -> bool {
        let of = self.second.load(Relaxed);
        if of >= second || self.second.compare_exchange(of, BEING_EMPTIED, Acquire, Relaxed).is_err() {
            return false;
        }
        for count in &self.counts {
            count.store(0, Relaxed);
        }
        self.second.store(second, Release);
        true
    }
}

/// Values of 26 bits, or none.
#[derive(Clone, Copy, Default)]
struct Quantiles {
    median_us: Option<u32>,
    p95_us: Option<u32>,
}

impl Quantiles {
    fn of(sums: &[u64; BUCKETS]) -> Self {
        let total: u64 = sums.iter().sum();
        if total < SAMPLES_MIN {
            return Self::default();
        }
        let at = |percent: u64| {
            let rank = (total * percent).div_ceil(100);
            let mut below = 0;
            sums.iter().position(|count| {
                below += count;
                below >= rank
            })
        };
        Self { median_us: at(50).map(middle_of), p95_us: at(95).map(middle_of) }
    }

    /// Both in one word, so that they are of the same moment; 0 is none, and every value is one more than it is.
    fn packed(self) -> u64 {
        let word = |us: Option<u32>| us.map_or(0, |us| u64::from(us) + 1);
        (word(self.median_us) << 32) | word(self.p95_us)
    }

    fn unpacked(word: u64) -> Self {
        let us = |word: u32| word.checked_sub(1);
        Self { median_us: us((word >> 32) as u32), p95_us: us(word as u32) }
    }
}

/// The value itself up to 7; above, the place of its highest bit and the three bits after that.
fn bucket_of(us: u64) -> usize {
    let us = us.min((1 << VALUE_BITS) - 1);
    let Some(shift) = us.checked_ilog2().and_then(|log2| log2.checked_sub(STEPS_LOG2)) else {
        return us as usize;
    };
    // The highest bit of the shifted value is 8, which is the count of the buckets before the first doubling.
    shift as usize * STEPS + (us >> shift) as usize
}

/// What stands for the values of a bucket.
fn middle_of(bucket: usize) -> u32 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let lowest = (bucket - shift * STEPS) << shift;
    (lowest + (1 << shift) / 2) as u32
}
