//! The proof at the end: the books of the services against what clients were told.

use std::collections::BTreeMap;

use mainstay_payments::Running;

use super::clients::{Outcome, name_of};

/// Problems that say that nothing was sent.
const NOTHING_SENT: [&str; 9] = [
    "upstream_refused",
    "upstream_unreachable",
    "upstream_connect_timeout",
    "no_healthy_endpoint",
    "circuit_open",
    "queue_full",
    "queue_timeout",
    "pool_exhausted",
    "deadline_too_short",
];

/// Payments by what the client was told, and by what the books say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// Payments that clients asked for, each once.
    pub(super) asked: u64,
    /// 201 was the answer.
    pub(super) accepted: u64,
    /// Of these, how many are not in the books.
    pub(super) accepted_missing: u64,
    /// The answer said that nothing was sent.
    pub(super) refused: u64,
    /// Of these, how many are in the books all the same.
    pub(super) refused_booked: u64,
    /// The answer left it open.
    pub(super) open: u64,
    /// Of these, how many are in the books.
    pub(super) open_booked: u64,
    /// In the books more than once.
    pub(super) twice: u64,
    /// Changes of the books that all services have counted.
    pub(super) effects: u64,
}

impl Proof {
    pub(super) fn of(payments: &[Outcome], services: &[Running]) -> Self {
        let mut booked = BTreeMap::new();
        // All services share one ledger.
        let ledger = services.first().map(Running::ledger);
        let all = ledger.map(|ledger| ledger.payments(usize::MAX, None).0).unwrap_or_default();
        for reference in all.into_iter().filter_map(|payment| payment.reference) {
            *booked.entry(reference).or_insert(0) += 1;
        }
        let effects = services.iter().map(|service| service.stats().effects()).sum();
        Self { effects, ..Self::compare(payments, &booked) }
    }

    fn compare(payments: &[Outcome], booked: &BTreeMap<String, u64>) -> Self {
        let mut proof = Self::default();
        for payment in payments {
            let times = booked.get(&name_of(payment.number)).copied().unwrap_or(0);
            proof.asked += 1;
            proof.twice += u64::from(times > 1);
            if payment.is_good() {
                proof.accepted += 1;
                proof.accepted_missing += u64::from(times == 0);
            } else if NOTHING_SENT.iter().any(|code| payment.has_code(code)) {
                proof.refused += 1;
                proof.refused_booked += u64::from(times > 0);
            } else {
                proof.open += 1;
                proof.open_booked += u64::from(times > 0);
            }
        }
        proof
    }

    /// Payments of the script that the books have, each counted once.
    pub(super) fn booked(&self) -> u64 {
        self.accepted - self.accepted_missing + self.refused_booked + self.open_booked
    }

    /// Nothing twice, nothing lost, and nobody told a lie.
    pub(super) fn holds(&self) -> bool {
        self.twice == 0 && self.accepted_missing == 0 && self.refused_booked == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::clients::{Answer, Kind, Outcome, name_of};
    use super::Proof;

    fn payment(number: u64, answer: Option<(u16, Option<&str>)>) -> Outcome {
        let answer = answer.map(|(status, code)| {
            let code = code.map(str::to_owned);
            Answer { status, code, retry_after_s: None, degraded: false }
        });
        Outcome { kind: Kind::Payment, number, took: Duration::ZERO, ended: Instant::now(), answer }
    }

    #[test]
    fn what_breaks_the_proof_and_what_does_not() {
        let (made, refused) = (Some((201, None)), Some((503, Some("circuit_open"))));
        let (reset, none) = (Some((502, Some("upstream_reset"))), None);
        // The answer, how often it is in the books, and whether that is as it should be.
        let rows = [
            (made, 2, false),
            (made, 0, false),
            (refused, 1, false),
            (refused, 2, false),
            (reset, 2, false),
            (none, 2, false),
            (made, 1, true),
            (refused, 0, true),
            (reset, 0, true),
            (reset, 1, true),
            (none, 1, true),
        ];
        for (answer, times, holds) in rows {
            let booked = BTreeMap::from([(name_of(7), times), (name_of(8), 5)]);
            let proof = Proof::compare(&[payment(7, answer)], &booked);
            assert_eq!(proof.holds(), holds, "{answer:?} {times} {proof:?}");
            assert_eq!((proof.asked, proof.booked()), (1, u64::from(times > 0)), "{answer:?} {times}");
        }
    }
}
