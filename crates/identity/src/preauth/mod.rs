//! Attempts to prove an identity, limited before they cost (`server.preauth`).
//!
//! What counts is attempts that failed ([`Failures`]), by address, and by address and the beginning of the key. Over the limit: 429
//! before the next credential is looked at, a good one too, so that guessing on learns nothing. The beginning of the key
//! counts together with the address only: by itself it would let anybody lock out the owner of a key whose beginning is
//! known.
//!
//! An IPv6 client has a whole /64 to itself and counts as that network.
//!
//! # The table
//! GCRA: a limit is one number, the time at which it is whole again (the theoretical arrival time). A cell is one
//! `AtomicU64`: 24 bits of the key's hash and 40 bits of that time in milliseconds. A key may be in any of eight cells of its
//! set; who is nowhere takes, of the eight, the one that is whole earliest. If that one is whole already, nothing is lost;
//! if not, the newcomer goes on with what the other had used up. So a flood of addresses cannot buy bursts by pushing one another
//! out: however many there are, a table of N cells admits no more than N clients would be. Two clients of one set with
//! the same 24 bits share a cell, one pair in two million for each pair of addresses in a set; the hash has a secret
//! seed, so nobody can choose to share.
//!
//! Times are milliseconds of a clock that does not go back.

mod cells;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use cells::Cells;
use mainstay_core::clock::MonoMs;

use crate::refusal::Refusal;

/// A limit: so many at once, and so many more as time goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePlan {
    /// One more each so many milliseconds; at least one.
    pub interval_ms: u64,
    /// At once; at least one.
    pub burst: u64,
}

impl RatePlan {
    /// From a rate per second, as it is configured.
    pub fn per_second(rate: f64, burst: u64) -> Self {
        // A rate that is none is one a day; more than a thousand a second is a thousand.
        let interval_ms =
            if rate > 0.0 { (1000.0 / rate).round().clamp(1.0, 86_400_000.0) } else { 86_400_000.0 };
        Self { interval_ms: interval_ms as u64, burst: burst.max(1) }
    }
}

/// Failed attempts.
#[derive(Debug)]
pub struct Failures {
    by_address: Cells,
    by_key: Cells,
}

/// So much of a key's text is its beginning: the mark, the mode and three digits.
const KEY_BEGINNING_BYTES: usize = 12;

impl Failures {
    /// `by_address`: for all of a client; `by_key`: for each beginning of a key that it tries.
    pub fn new(by_address: RatePlan, by_key: RatePlan, clients: usize, seed: [u64; 2]) -> Self {
        Self { by_address: Cells::new(by_address, clients, seed), by_key: Cells::new(by_key, clients, seed) }
    }

    /// Whether this client's next credential is looked at. `key`: its text, where it is an API key.
    ///
    /// # Errors
    /// It is not: too many before it were wrong.
    #[inline]
    pub fn check(&self, client: IpAddr, key: Option<&[u8]>, now: MonoMs) -> Result<(), Refusal> {
        let network = network(client);
        self.by_address.look(&network, &[], now).map_err(refusal)?;
        match key {
            Some(key) => self.by_key.look(&network, beginning(key), now).map_err(refusal),
            None => Ok(()),
        }
    }

    /// It was wrong ([`Refusal::is_failed_attempt`]).
    pub fn failed(&self, client: IpAddr, key: Option<&[u8]>, now: MonoMs) {
        let network = network(client);
        // A failure over the limit counts no more than the limit: it is the next attempt that is refused.
        let _ = self.by_address.take(&network, &[], now);
        if let Some(key) = key {
            let _ = self.by_key.take(&network, beginning(key), now);
        }
    }
}

fn beginning(key: &[u8]) -> &[u8] {
    &key[..key.len().min(KEY_BEGINNING_BYTES)]
}

/// IPv4 and mapped IPv4 as they are, IPv6 without its lower half.
fn network(client: IpAddr) -> [u8; 9] {
    let mut bytes = [0; 9];
    match client.to_canonical() {
        IpAddr::V4(v4) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&v6.octets()[..8]);
        }
    }
    bytes
}

fn refusal(wait_ms: u64) -> Refusal {
    let retry_after_s = wait_ms.div_ceil(1000).max(1);
    Refusal::TooManyAttempts { retry_after_s: u32::try_from(retry_after_s).unwrap_or(u32::MAX) }
}
