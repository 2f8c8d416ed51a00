//! How fast an endpoint answers: a moving average that believes bad news at once and good news slowly.

use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::clock::MonoMs;

/// In this time the average forgets about 61 % of what was.
const TIME_CONSTANT_MS: f64 = 10_000.0;

/// The peak EWMA, in one word: the upper half is when it was true (milliseconds, wrapping), the lower half is the value
/// in microseconds as an `f32`. A whole number would not do: a thousand samples a second each move the value by a
/// ten-thousandth of the distance, which would be rounded away. 0: nothing was measured yet.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes a sample.
    pub(super) fn observe(&self, us: u64, now: MonoMs) {
        // What is measured is never 0, which stands for nothing.
        let sample = us.max(1) as f64;
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (value, at_ms) = unpack(word);
            let next = if value == 0.0 {
                pack(sample, now.0 as u32)
            } else {
                let age_ms = age_ms(at_ms, now);
                let kept = decay(age_ms);
                let decayed = value * kept;
                if sample >= decayed {
                    pack(sample, later(at_ms, age_ms))
                } else if age_ms == 0 {
                    // A faster answer in the same millisecond weighs nothing.
                    return;
                } else {
                    pack(decayed + sample * (1.0 - kept), later(at_ms, age_ms))
                }
            };
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// The value in microseconds, decayed until now; `None` before the first sample.
    pub(super) fn at(&self, now: MonoMs) -> Option<f64> {
        let (value, at_ms) = unpack(self.0.load(Ordering::Relaxed));
        (value != 0.0).then(|| value * decay(age_ms(at_ms, now)))
    }

    /// The value in microseconds when the last sample came.
    pub(super) fn last_us(&self) -> Option<u64> {
        let (value, _) = unpack(self.0.load(Ordering::Relaxed));
        (value != 0.0).then_some(value.round() as u64)
    }
}

fn unpack(word: u64) -> (f64, u32) {
    (f64::from(f32::from_bits(word as u32)), (word >> 32) as u32)
}

fn pack(value: f64, at_ms: u32) -> u64 {
    u64::from(at_ms) << 32 | u64::from((value as f32).to_bits())
}

/// 0 when `now` lies before: the clocks of two threads differ. (An endpoint without a sample for 24 days looks the same;
/// it has long been tried again by then.)
fn age_ms(at_ms: u32, now: MonoMs) -> u32 {
    let age = (now.0 as u32).wrapping_sub(at_ms);
    if age > i32::MAX as u32 { 0 } else { age }
}

/// Time in the word never goes back.
fn later(at_ms: u32, age_ms: u32) -> u32 {
    at_ms.wrapping_add(age_ms)
}

/// What is left of a value after this time: `exp(-t)` for short times, and close enough for long ones, without the cost.
fn decay(age_ms: u32) -> f64 {
    let eighth = 1.0 + f64::from(age_ms) * (1.0 / (8.0 * TIME_CONSTANT_MS));
    let quarter = eighth * eighth;
    let half = quarter * quarter;
    1.0 / (half * half)
}
