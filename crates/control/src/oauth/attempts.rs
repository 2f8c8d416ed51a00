//! Wrong passwords and client secrets, counted so that the next one does not cost.
//!
//! Three tables of fixed size: each address (any name), each address with each client id, and each user name (any
//! address). A client id is not counted over all addresses: its secret has 256 random bits and cannot be guessed, so such a
//! limit would only let strangers lock a client out. A password can be guessed, so there it is worth that.

use std::net::{IpAddr, Ipv6Addr};

use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::MonoMs;
use mainstay_identity::key::sha256;
use mainstay_identity::preauth::{Failures, RatePlan};
use mainstay_identity::refusal::Refusal;

use super::error::Refused;

/// Wrong ones of an address: thirty at once, then one in two seconds.
const BY_ADDRESS: RatePlan = RatePlan { interval_ms: 2_000, burst: 30 };
/// Wrong ones for a name: ten at once, then one in six seconds.
const BY_NAME: RatePlan = RatePlan { interval_ms: 6_000, burst: 10 };
/// Addresses and names that are counted at once.
const COUNTED: usize = 16 * 1024;

/// Who tries what.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt<'a> {
    /// A client's credentials.
    Client(&'a str),
    /// A user's password.
    User(&'a str),
}

/// The wrong ones so far.
pub(crate) struct Attempts {
    of_addresses: Failures,
    of_users: Failures,
}

impl Attempts {
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        Self {
            of_addresses: Failures::new(BY_ADDRESS, BY_NAME, COUNTED, seed),
            of_users: Failures::new(BY_NAME, BY_NAME, COUNTED, seed),
        }
    }

    /// Whether the next one is looked at.
    pub(crate) fn check(&self, address: IpAddr, attempt: Attempt<'_>, now: MonoMs) -> Result<(), Refused> {
        let (hash, user) = parts(attempt);
        self.of_addresses.check(address, Some(&hash.0), now).map_err(|refusal| refused(&refusal))?;
        match user {
            Some(user) => self.of_users.check(user, None, now).map_err(|refusal| refused(&refusal)),
            None => Ok(()),
        }
    }

    /// It was wrong.
    pub(crate) fn failed(&self, address: IpAddr, attempt: Attempt<'_>, now: MonoMs) {
        let (hash, user) = parts(attempt);
        self.of_addresses.failed(address, Some(&hash.0), now);
        if let Some(user) = user {
            self.of_users.failed(user, None, now);
        }
    }
}

/// The name as bytes of one length, and for a user as an address: the table counts by the upper half of one.
fn parts(attempt: Attempt<'_>) -> (Sha256, Option<IpAddr>) {
    match attempt {
        Attempt::Client(id) => (sha256(id.as_bytes()), None),
        Attempt::User(name) => {
            let hash = sha256(name.as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&hash.0[..16]);
            // Never a mapped IPv4 address, of which other bytes would count.
            bytes[0] |= 0x80;
            (hash, Some(Ipv6Addr::from(bytes).into()))
        }
    }
}

fn refused(refusal: &Refusal) -> Refused {
    match refusal {
        Refusal::TooManyAttempts { retry_after_s } => Refused::attempts(*retry_after_s),
        _ => Refused::attempts(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(attempts: &Attempts, address: &str, attempt: Attempt<'_>, now: u64) -> bool {
        let address = address.parse().unwrap();
        let looked_at = attempts.check(address, attempt, MonoMs(now)).is_ok();
        if looked_at {
            attempts.failed(address, attempt, MonoMs(now));
        }
        looked_at
    }

    fn first(attempts: &Attempts, number: usize, mut attempt: impl FnMut(&Attempts, usize) -> bool) -> usize {
        (0..number).take_while(|n| attempt(attempts, *n)).count()
    }

    #[test]
    fn a_password_is_guessed_ten_times_wherever_from() {
        let attempts = Attempts::new([1, 2]);
        let guess = |all: &Attempts, n: usize| tried(all, &format!("10.0.{n}.1"), Attempt::User("alice"), 0);
        assert_eq!(first(&attempts, 50, guess), 10);
        assert!(tried(&attempts, "10.1.0.1", Attempt::User("bob"), 0), "others go on");
        assert!(tried(&attempts, "10.1.0.1", Attempt::User("alice"), 6_000), "one more in six seconds");
        assert!(!tried(&attempts, "10.1.0.1", Attempt::User("alice"), 6_000));
    }

    #[test]
    fn an_address_guesses_thirty_times_whatever_name() {
        let attempts = Attempts::new([1, 2]);
        let guess = |all: &Attempts, n: usize| tried(all, "10.0.0.1", Attempt::User(&format!("user{n}")), 0);
        assert_eq!(first(&attempts, 50, guess), 30);
        assert!(tried(&attempts, "10.0.0.2", Attempt::User("user0"), 0), "others go on");
    }

    #[test]
    fn nobody_locks_a_client_out_from_elsewhere() {
        let attempts = Attempts::new([1, 2]);
        let guess = |all: &Attempts, _| tried(all, "10.0.0.1", Attempt::Client("client_a"), 0);
        assert_eq!(first(&attempts, 50, guess), 10);
        assert!(tried(&attempts, "10.0.0.2", Attempt::Client("client_a"), 0));
        assert!(tried(&attempts, "10.0.0.1", Attempt::Client("client_b"), 0));
    }
}
