//! What clients saw, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use super::clients::{Kind, Outcome};

/// The figures of a number of calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) good: u64,
    /// Good ones that something else than the upstream answered.
    pub(super) degraded: u64,
    /// Failed ones by the problem's code.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Tally {
    pub(super) fn of<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Self {
        let mut tally = Self::default();
        let mut took = Vec::new();
        for outcome in outcomes {
            tally.requests += 1;
            tally.good += u64::from(outcome.is_good());
            tally.degraded += u64::from(outcome.is_good() && outcome.is_degraded());
            if let Some(failure) = outcome.failure() {
                *tally.failures.entry(failure).or_insert(0) += 1;
            }
            took.push(outcome.took);
        }
        took.sort_unstable();
        tally.p50_ms = percentile_ms(&took, 50);
        tally.p99_ms = percentile_ms(&took, 99);
        tally
    }

    pub(super) fn of_kind(outcomes: &[Outcome], kind: Kind) -> Self {
        Self::of(outcomes.iter().filter(|outcome| outcome.kind == kind))
    }

    pub(super) fn safe(outcomes: &[Outcome]) -> Self {
        Self::of(outcomes.iter().filter(|outcome| outcome.kind.is_safe()))
    }

    pub(super) fn failed(&self) -> u64 {
        self.requests - self.good
    }
}

/// The smallest of the sorted times that so many of a hundred do not exceed.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

/// A share as people read it. Only what is whole is said to be 100 %.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    if part == whole {
        return "100 %".to_owned();
    }
    let tenths = part.saturating_mul(1000) / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::clients::{Answer, Kind, Outcome};
    use super::{Tally, percent};

    fn outcome(kind: Kind, took_ms: u64, answer: Option<(u16, Option<&str>, bool)>) -> Outcome {
        let answer = answer.map(|(status, code, degraded)| Answer {
            status,
            code: code.map(str::to_owned),
            retry_after_s: None,
            degraded,
        });
        let took = Duration::from_millis(took_ms);
        Outcome { kind, number: 1, took, ended: Instant::now(), answer }
    }

    #[test]
    fn what_is_counted() {
        let mut outcomes = vec![
            outcome(Kind::Payment, 9, None),
            outcome(Kind::Payment, 8, Some((502, Some("upstream_reset"), false))),
            outcome(Kind::Read, 7, Some((502, Some("upstream_reset"), false))),
            outcome(Kind::Read, 6, Some((404, None, false))),
            outcome(Kind::Read, 5, Some((503, None, true))),
        ];
        outcomes.extend((1..=95).map(|_| outcome(Kind::Report, 2, Some((200, None, true)))));
        let tally = Tally::of(&outcomes);
        assert_eq!((tally.requests, tally.good, tally.degraded, tally.failed()), (100, 95, 95, 5));
        let failures: Vec<_> = tally.failures.iter().map(|(code, n)| (code.as_str(), *n)).collect();
        let expected = [("no whole answer", 1), ("status 404", 1), ("status 503", 1), ("upstream_reset", 2)];
        assert_eq!(failures, expected);
        assert_eq!((tally.p50_ms, tally.p99_ms), (2.0, 8.0));
        assert_eq!(
            (Tally::of_kind(&outcomes, Kind::Payment).requests, Tally::safe(&outcomes).requests),
            (2, 98)
        );
        assert_eq!(Tally::of([]), Tally::default());
    }

    #[test]
    fn nothing_is_rounded_up_to_all() {
        let rows =
            [(0, 0, "-"), (0, 9, "0.0 %"), (1, 3, "33.3 %"), (99_999, 100_000, "99.9 %"), (7, 7, "100 %")];
        for (part, whole, expected) in rows {
            assert_eq!(percent(part, whole), expected);
        }
    }
}
