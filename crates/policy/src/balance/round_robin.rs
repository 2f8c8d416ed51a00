//! Turns by weight, spread out.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::hash::{fraction, mix};
use super::pool::Eligible;

/// A schedule that is walked round and round by all workers together.
#[derive(Debug, Default)]
pub(super) struct Turns {
    schedule: Box<[u32]>,
    next: AtomicUsize,
}

impl Turns {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { schedule: smooth_schedule(weights).into(), next: AtomicUsize::new(0) }
    }

    /// Whose turn it is. The turn of one that is not eligible is lost, and so is, by chance, the turn of one that starts
    /// slowly; whoever comes next gets a turn early, and the order goes on behind it.
    pub(super) fn take(&self, eligible: &Eligible<'_>, random: u64) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut slow = None;
        for skipped in 0..self.schedule.len() {
            let index = self.schedule[turn.wrapping_add(skipped) % self.schedule.len()] as usize;
            if !eligible.has(index) {
                continue;
            }
            let factor = eligible.slow_start_factor(index);
            if factor >= 1.0 || fraction(mix(random.wrapping_add(skipped as u64))) < factor {
                if skipped > 0 {
                    self.next.fetch_add(skipped, Ordering::Relaxed);
                }
                return index;
            }
            slow.get_or_insert(index);
        }
        // Everybody starts slowly, or nobody is eligible any more.
        slow.unwrap_or_else(|| eligible.nth(0))
    }
}

/// Each index as often as its weight (reduced by their common divisor), spread as evenly as possible.
pub(super) fn smooth_schedule(weights: &[u32]) -> Vec<u32> {
    fn gcd(a: u32, b: u32) -> u32 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        for (c, w) in credit.iter_mut().zip(&weights) {
            *c += w;
        }
        if let Some(best) = (0..credit.len()).max_by_key(|i| (credit[*i], usize::MAX - i)) {
            credit[best] -= total;
            schedule.push(best as u32);
        }
    }
    schedule
}
