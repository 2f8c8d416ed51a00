//! Amounts of a recent while: a ring of slots, each a word of its own.
//!
//! Time is cut into ticks (of a second, or of a tenth of a window). A slot holds its tick and an amount in one atomic
//! word, so no amount is ever counted for another tick than its own. What counts is the current tick and the nine
//! before it. To add is a load and an addition; the first amount of a tick takes the slot from the tick sixteen before,
//! which nobody counts any more, also if his clock lags: who reads two rings sees the same ticks in both. A worker
//! whose clock lags adds to the tick it sees, and counts those that are ahead of it.

use std::array::from_fn;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Ticks that count, the current one included.
pub(crate) const TICKS: u32 = 10;

/// Ticks that have a slot: more than count, and a power of two, so that the numbers of ticks may go round.
const SLOTS: usize = 16;

/// So far ahead of one worker's clock may be another's.
const AHEAD_MAX: i32 = 3;

/// The amount of a slot is in the lower half of its word. What would carry into the upper one is not added; half of
/// it is left free for threads that look at the same time.
const SLOT_MAX: u64 = 1 << 31;

#[derive(Debug)]
pub(crate) struct Ring {
    slots: [AtomicU64; SLOTS],
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { slots: from_fn(|_| AtomicU64::new(0)) }
    }

    /// Who sees the amount sees what the same thread added before, to this ring or another.
    pub(crate) fn add(&self, tick: u32, amount: u32) {
        let slot = &self.slots[tick as usize % SLOTS];
        let mut word = slot.load(Relaxed);
        loop {
            match age(word, tick) {
                0 if amount_of(word) + u64::from(amount) > SLOT_MAX => return,
                0 => {
                    slot.fetch_add(u64::from(amount), Release);
                    return;
                }
                // This thread's clock is a whole ring behind, or a few.
                -160..=-16 => return,
                _ => {
                    let first = (u64::from(tick) << 32) | u64::from(amount);
                    match slot.compare_exchange_weak(word, first, Release, Relaxed) {
                        Ok(_) => return,
                        Err(other) => word = other,
                    }
                }
            }
        }
    }

    pub(crate) fn sum(&self, tick: u32) -> u64 {
        self.slots.iter().map(|slot| slot.load(Acquire)).filter(|word| live(*word, tick)).map(amount_of).sum()
    }

    /// Takes `amount`, the oldest first. For one thread at a time, which has seen that there is enough: false, and what
    /// was found is gone, only if a tick ended meanwhile.
    pub(crate) fn take(&self, tick: u32, amount: u64) -> bool {
        let mut missing = amount;
        let oldest = tick.wrapping_sub(TICKS - 1);
        for later in 0..SLOTS as u32 {
            let slot = &self.slots[oldest.wrapping_add(later) as usize % SLOTS];
            missing -= take_up_to(slot, tick, missing);
            if missing == 0 {
                return true;
            }
        }
        false
    }

    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Relaxed);
        }
    }
}

fn take_up_to(slot: &AtomicU64, tick: u32, wanted: u64) -> u64 {
    let mut word = slot.load(Relaxed);
    while live(word, tick) {
        let part = amount_of(word).min(wanted);
        match slot.compare_exchange_weak(word, word - part, Relaxed, Relaxed) {
            Ok(_) => return part,
            Err(other) => word = other,
        }
    }
    0
}

/// How many ticks ago the slot's was; negative if it is ahead, as another thread's clock may be.
fn age(word: u64, tick: u32) -> i32 {
    tick.wrapping_sub((word >> 32) as u32) as i32
}

fn live(word: u64, tick: u32) -> bool {
    (-AHEAD_MAX..TICKS as i32).contains(&age(word, tick))
}

fn amount_of(word: u64) -> u64 {
    word & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::{Ring, SLOT_MAX};

    #[test]
    fn a_full_slot_takes_no_more_and_spoils_no_tick() {
        let ring = Ring::new();
        for _ in 0..5 {
            ring.add(7, 1 << 30);
        }
        assert_eq!(ring.sum(7), SLOT_MAX);
        assert_eq!(ring.sum(17), 0);
    }

    #[test]
    fn ticks_may_go_round() {
        let ring = Ring::new();
        ring.add(u32::MAX, 3);
        assert_eq!(ring.sum(0), 3);
        assert_eq!(ring.sum(9), 0);
        assert_eq!(ring.sum(u32::MAX / 2), 0);
    }

    #[test]
    fn a_thread_that_lags_a_whole_ring_spoils_nothing() {
        let ring = Ring::new();
        ring.add(25, 3);
        ring.add(9, 1);
        ring.add(24, 1);
        assert_eq!(ring.sum(25), 4);
        assert_eq!(ring.sum(24), 4, "and counts what is ahead");
    }

    #[test]
    fn the_oldest_is_taken_first_from_the_first_ticks_on() {
        for tick in 0..30 {
            let ring = Ring::new();
            ring.add(tick, 5);
            ring.add(tick + 3, 5);
            assert!(ring.take(tick + 4, 7));
            assert_eq!((ring.sum(tick + 4), ring.sum(tick + 10)), (3, 3), "from {tick}");
        }
    }

    proptest! {
        #[test]
        fn a_ring_is_a_map_that_forgets(
            steps in proptest::collection::vec((0..4_u32, 0..50_u32, 0..80_u64), 1..200),
            start in 0..3_000_000_000_u32,
        ) {
            let ring = Ring::new();
            let mut map = BTreeMap::<u32, u64>::new();
            let mut tick = start;
            for (step, amount, taken) in steps {
                tick += step;
                map.retain(|of, _| of + 10 > tick);
                ring.add(tick, amount);
                *map.entry(tick).or_default() += u64::from(amount);
                let sum: u64 = map.values().sum();
                prop_assert_eq!(ring.sum(tick), sum);
                if sum >= taken {
                    prop_assert!(ring.take(tick, taken));
                    let mut missing = taken;
                    for kept in map.values_mut() {
                        let part = missing.min(*kept);
                        *kept -= part;
                        missing -= part;
                    }
                }
            }
        }
    }
}
