//! One attempt against the median of the recent ones.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use mainstay_core::clock::MonoMs;

use super::Recent;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is time enough, or nothing is known.
    Go,
    /// The time is too short, and the request is sent to see whether that is still so.
    Trial,
    /// Refuse, 504 `deadline_too_short`.
    TooShort { median_us: u64 },
}

/// One of so many requests whose time is too short is a trial.
const TRIAL_OF: u64 = 20;

/// After so long the next one is a trial in any case.
const TRIAL_EVERY_MS: u64 = 1_000;

/// Lets the trials through: one for each upstream (or endpoint) that has a [`Recent`], shared by all workers.
pub struct Gate {
    /// Milliseconds of the last trial, and below them, in [`REFUSED_BITS`], how many were refused since.
    word: AtomicU64,
}

const REFUSED_BITS: u32 = 5;
const REFUSED_MAX: u64 = TRIAL_OF - 1;
const _: () = assert!(REFUSED_MAX < 1 << REFUSED_BITS);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        // As if enough had been refused: the first is a trial.
        Self { word: AtomicU64::new(REFUSED_MAX) }
    }

    /// What becomes of an attempt with `left_us` until the request's deadline.
    pub fn decide(&self, left_us: u64, recent: &Recent, now: MonoMs) -> Verdict {
        match recent.median_us(now) {
            Some(median_us) if left_us < median_us => self.too_short(median_us, now),
            _ => Verdict::Go,
        }
    }

    fn too_short(&self, median_us: u64, now: MonoMs) -> Verdict {
        let before = self.word.update(Relaxed, Relaxed, |word| {
            if is_trial(word, now) { last_trial(word).max(now).0 << REFUSED_BITS } else { word + 1 }
        });
        if is_trial(before, now) { Verdict::Trial } else { Verdict::TooShort { median_us } }
    }
}

fn is_trial(word: u64, now: MonoMs) -> bool {
    let refused = word & ((1 << REFUSED_BITS) - 1);
    refused >= REFUSED_MAX || now.since(last_trial(word)) >= TRIAL_EVERY_MS
}

fn last_trial(word: u64) -> MonoMs {
    MonoMs(word >> REFUSED_BITS)
}
