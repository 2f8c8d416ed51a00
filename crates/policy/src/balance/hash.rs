//! Weighted rendezvous with bounded load.

use super::pool::Eligible;

/// How far above its fair share of what is in flight an endpoint may be.
const LOAD_MAX: f64 = 1.25;

impl Eligible<'_> {
    /// The endpoint of this hash: the best draw among those that are not overloaded.
    pub(super) fn rendezvous(&self, hash: u64) -> usize {
        let (mut in_flight, mut share, mut is_even) = (1.0, 0.0, true);
        let mut last_weight = None;
        for index in self.indices() {
            let weight = self.weight_now(index);
            in_flight += f64::from(self.pool.endpoints[index].in_flight());
            share += weight;
            is_even &= last_weight.is_none_or(|last: f64| last == weight);
            last_weight = Some(weight);
        }
        let load_max = LOAD_MAX * in_flight / share;
        let (mut best, mut best_of_all) = (None, None);
        for index in self.indices() {
            let weight = self.weight_now(index);
            let drawn = fraction(mix(hash ^ mix(self.pool.seeds[index])));
            // The winner of an exponential race: the chance to be the smallest is in proportion to the weight. With
            // equal weights the larger of the draws themselves is the same one.
            let time = if is_even { 1.0 - drawn } else { -drawn.ln() / weight };
            let after = f64::from(self.pool.endpoints[index].in_flight() + 1);
            if after <= (load_max * weight).ceil() {
                keep_smaller(&mut best, time, index);
            }
            keep_smaller(&mut best_of_all, time, index);
        }
        // While others come and go, all may look overloaded.
        best.or(best_of_all).map_or_else(|| self.nth(0), |(_, index)| index)
    }

    /// Slow start is a smaller weight: keys come to an endpoint one after the other, and each moves once.
    fn weight_now(&self, index: usize) -> f64 {
        f64::from(self.pool.endpoints[index].weight()) * self.slow_start_factor(index)
    }
}

fn keep_smaller(best: &mut Option<(f64, usize)>, time: f64, index: usize) {
    if best.is_none_or(|(known, _)| time < known) {
        *best = Some((time, index));
    }
}

/// Spreads the bits (the finaliser of MurmurHash3).
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// Between 0 and 1, neither of them: 52 bits and the half behind them are what a double holds exactly.
pub(super) fn fraction(bits: u64) -> f64 {
    ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}
