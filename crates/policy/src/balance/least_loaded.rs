//! The better of two endpoints drawn at random.
//!
//! The best of all would be a herd: every worker sees the same best one, and all go there. Two at random are nearly
//! as good, and no two requests look at the same two.

use super::pool::Eligible;

impl Eligible<'_> {
    /// Both of two; of more, two different ones that are drawn.
    pub(super) fn least_loaded(&self, random: u64) -> usize {
        let (first, second) = if self.count == 2 {
            // In random order, for the first one wins a tie.
            let first = (random & 1) as usize;
            (first, 1 - first)
        } else {
            let first = below(random as u32, self.count);
            let second = below((random >> 32) as u32, self.count - 1);
            (first, if second >= first { second + 1 } else { second })
        };
        let (first, second) = (self.nth(first), self.nth(second));
        if self.load(second) < self.load(first) { second } else { first }
    }

    /// What it costs to send one more request there, in microseconds for an endpoint of weight 1.
    #[inline]
    fn load(&self, index: usize) -> f64 {
        let endpoint = &self.pool.endpoints[index];
        let latency_us = endpoint.latency_us(self.now).unwrap_or_else(|| self.lowest_latency_us());
        // Below a microsecond, what decayed is no measurement, and what is in flight must still count.
        let busy =
            latency_us.max(1.0) * (f64::from(endpoint.in_flight()) + 1.0) * endpoint.failure_factor(self.now);
        busy / (f64::from(endpoint.weight()) * self.slow_start_factor(index))
    }

    /// The latency of the fastest one that is known.
    #[cold]
    fn lowest_latency_us(&self) -> f64 {
        let known = self.pool.endpoints.iter().filter_map(|endpoint| endpoint.latency_us(self.now));
        known.reduce(f64::min).unwrap_or(1.0)
    }
}

/// Evenly from 0 to below `end`.
fn below(random: u32, end: usize) -> usize {
    ((u64::from(random) * end as u64) >> 32) as usize
}
