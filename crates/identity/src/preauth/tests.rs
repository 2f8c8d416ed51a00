use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const PLAN: RatePlan = RatePlan { interval_ms: 20, burst: 5 };

/// A table by itself, of which each request takes one.
struct Preauth(Cells);

impl Preauth {
    fn new(plan: RatePlan, clients: usize, seed: [u64; 2]) -> Self {
        Self(Cells::new(plan, clients, seed))
    }

    fn admit(&self, client: IpAddr, now: MonoMs) -> Result<(), Refusal> {
        self.0.take(&network(client), &[], now).map_err(refusal)
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn admitted(preauth: &Preauth, client: IpAddr, now: MonoMs) -> usize {
    (0..100).filter(|_| preauth.admit(client, now).is_ok()).count()
}

#[test]
fn a_burst_and_then_the_rate() {
    let preauth = Preauth::new(PLAN, 64, [1, 2]);
    let client = address("192.0.2.1");
    assert_eq!(admitted(&preauth, client, MonoMs(1000)), 5);
    assert_eq!(admitted(&preauth, client, MonoMs(1019)), 0);
    assert_eq!(admitted(&preauth, client, MonoMs(1020)), 1);
    assert_eq!(admitted(&preauth, client, MonoMs(1060)), 2);
    assert_eq!(admitted(&preauth, client, MonoMs(9000)), 5, "never more than the burst");
    assert_eq!(admitted(&preauth, address("192.0.2.2"), MonoMs(9000)), 5, "another client");
}

#[test]
fn retry_after_is_true() {
    let plan = RatePlan { interval_ms: 2500, burst: 2 };
    let preauth = Preauth::new(plan, 64, [1, 2]);
    let client = address("192.0.2.1");
    assert_eq!(admitted(&preauth, client, MonoMs(0)), 2);
    for (now, expected) in [(0, 3), (499, 3), (500, 2), (1500, 1), (2499, 1)] {
        let refused = preauth.admit(client, MonoMs(now));
        assert_eq!(refused, Err(Refusal::TooManyAttempts { retry_after_s: expected }), "{now}");
    }
    assert_eq!(preauth.admit(client, MonoMs(2500)), Ok(()));
    let refusal = preauth.admit(client, MonoMs(2500)).unwrap_err();
    assert_eq!(refusal.problem().code.code(), "too_many_attempts");
    assert_eq!(refusal.problem().code.status(), 429);
    assert_eq!(refusal.problem().retry_after_s, Some(3));
}

#[test]
fn an_ipv6_client_is_its_network() {
    let preauth = Preauth::new(PLAN, 1024, [1, 2]);
    let now = MonoMs(1000);
    let one =
        (0..100_u32).filter(|n| preauth.admit(address(&format!("2001:db8::{n:x}")), now).is_ok()).count();
    assert_eq!(one, 5, "a client that goes through its /64");
    assert_eq!(preauth.admit(address("2001:db8:0:1::1"), now), Ok(()), "another /64");
    assert_eq!(admitted(&preauth, address("192.0.2.1"), now), 5);
    assert_eq!(admitted(&preauth, address("::ffff:192.0.2.1"), now), 0, "the same client, mapped");
}

#[test]
fn a_flood_of_addresses_buys_no_bursts() {
    let cells = 64;
    let preauth = Preauth::new(PLAN, cells, [1, 2]);
    let now = MonoMs(1000);
    let flood =
        (0..100_000_u32).filter(|n| preauth.admit(IpAddr::from(n.to_be_bytes()), now).is_ok()).count();
    assert!(flood <= cells * 5, "{flood} of as many as the table has cells for");
    let later = MonoMs(1020);
    let flood =
        (0..100_000_u32).filter(|n| preauth.admit(IpAddr::from(n.to_be_bytes()), later).is_ok()).count();
    assert!(flood <= cells, "{flood}");
    assert_eq!(admitted(&preauth, address("192.0.2.1"), MonoMs(9000)), 5, "over when it is over");
}

#[test]
fn failures_by_address_and_by_key() {
    let by_address = RatePlan { interval_ms: 1000, burst: 10 };
    let by_key = RatePlan { interval_ms: 5000, burst: 3 };
    let failures = Failures::new(by_address, by_key, 1024, [1, 2]);
    let (client, other, now) = (address("192.0.2.1"), address("192.0.2.2"), MonoMs(1000));
    let (a, b) = (Some(b"msk_live_AAAtried".as_slice()), Some(b"msk_live_BBBtried".as_slice()));
    for _ in 0..3 {
        assert_eq!(failures.check(client, a, now), Ok(()));
        failures.failed(client, a, now);
    }
    let five = Err(Refusal::TooManyAttempts { retry_after_s: 5 });
    assert_eq!(failures.check(client, a, now), five);
    assert_eq!(
        failures.check(client, Some(b"msk_live_AAAanother".as_slice()), now),
        five,
        "the same beginning"
    );
    assert_eq!(failures.check(client, b, now), Ok(()), "another key");
    assert_eq!(failures.check(other, a, now), Ok(()), "the owner, elsewhere, is not locked out");
    for _ in 0..7 {
        failures.failed(client, None, now);
    }
    let one = Err(Refusal::TooManyAttempts { retry_after_s: 1 });
    assert_eq!(failures.check(client, b, now), one, "all of the address");
    assert_eq!(failures.check(client, None, now), one);
    for _ in 0..1000 {
        failures.failed(client, None, now);
    }
    assert_eq!(failures.check(client, None, MonoMs(2000)), Ok(()), "no debt grows");
    assert_eq!(failures.check(client, b, now), one);
    assert_eq!(failures.check(other, None, now), Ok(()));
}

#[test]
fn rates_as_they_are_configured() {
    for (rate, burst, interval_ms, at_once) in
        [(50.0, 100, 20, 100), (0.1, 1, 10_000, 1), (1e9, 0, 1, 1), (0.0, 5, 86_400_000, 5)]
    {
        let expected = RatePlan { interval_ms, burst: at_once };
        assert_eq!(RatePlan::per_second(rate, burst), expected, "{rate}");
    }
}

#[test]
fn workers_share_a_limit() {
    let preauth = Preauth::new(RatePlan { interval_ms: 1_000_000, burst: 1000 }, 64, [1, 2]);
    let total: usize = std::thread::scope(|scope| {
        let count = || (0..1000).filter(|_| preauth.admit(address("192.0.2.1"), MonoMs(5)).is_ok()).count();
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(total, 1000, "exact");
}

proptest! {
    /// Against a bucket of tokens for each client, while there are cells enough.
    #[test]
    fn as_a_bucket(steps in proptest::collection::vec((0..6_u8, 0..50_u64), 0..200)) {
        let preauth = Preauth::new(PLAN, 4096, [1, 2]);
        let (mut now, mut twin) = (MonoMs(1), HashMap::<u8, (f64, u64)>::new());
        for (client, ms) in steps {
            now = MonoMs(now.0 + ms);
            let (tokens, at) = twin.entry(client).or_insert((5.0, now.0));
            *tokens = (*tokens + (now.0 - *at) as f64 / 20.0).min(5.0);
            *at = now.0;
            let expected = *tokens >= 1.0 - 1e-9;
            if expected {
                *tokens -= 1.0;
            }
            prop_assert_eq!(preauth.admit(IpAddr::from([192, 0, 2, client]), now).is_ok(), expected);
        }
    }
}
