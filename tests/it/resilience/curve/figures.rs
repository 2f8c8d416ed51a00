//! What a load came to.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use mainstay_testkit::upstream::{Log, Work};
use tokio::time::Instant;

use super::callers::{Asked, quantile};
use super::{SERVICE, SLOTS};

/// A line of the curve.
pub(super) struct Line {
    /// The load in times of the capacity.
    pub(super) times: f64,
    pub(super) seconds: f64,
    /// Requests that were due, and those of them that got a good answer.
    pub(super) offered: usize,
    pub(super) good: usize,
    /// Good answers that came meanwhile, to whomever.
    pub(super) came: usize,
    /// By status and code.
    pub(super) refused: BTreeMap<(u16, String), usize>,
    /// Of the slots' time, the share that was spent on requests whose callers got the good answer.
    pub(super) used: f64,
    /// How long a slot was taken for a request, on average.
    pub(super) service: Duration,
    /// Of those who got a good answer, from when they were due.
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Critical ones that were due, and those of them that were good.
    pub(super) critical: (usize, usize),
}

impl Line {
    pub(super) fn of(times: f64, span: &Range<Instant>, asked: &[Asked], log: &Log) -> Self {
        let here: Vec<_> = asked.iter().filter(|one| span.contains(&one.due)).collect();
        let good: Vec<_> = here.iter().copied().filter(|one| is_good(one)).collect();
        let mut took: Vec<_> = good.iter().map(|one| one.took).collect();
        let mut refused = BTreeMap::new();
        for one in here.iter().filter(|one| !is_good(one)) {
            *refused.entry((one.answer.status, one.answer.code.clone())).or_default() += 1;
        }
        let worth: HashSet<_> = asked.iter().filter(|one| is_good(one)).map(|one| one.number).collect();
        Self {
            times,
            seconds: (span.end - span.start).as_secs_f64(),
            offered: here.len(),
            good: good.len(),
            came: asked.iter().filter(|one| is_good(one) && span.contains(&(one.due + one.took))).count(),
            refused,
            used: used(span, log, &worth),
            service: service(span, log),
            p50: quantile(&mut took, 0.5),
            p99: quantile(&mut took, 0.99),
            critical: (critical(here.iter().copied()), critical(good.iter().copied())),
        }
    }
}

fn is_good(asked: &Asked) -> bool {
    asked.answer.status == 200
}

fn critical<'a>(all: impl Iterator<Item = &'a Asked>) -> usize {
    all.filter(|one| one.class == "critical").count()
}

/// The share of the slots' time that was spent on what is worth it.
fn used(span: &Range<Instant>, log: &Log, worth: &HashSet<usize>) -> f64 {
    let number = |work: &Work| {
        let path = &log.requests[work.number].path;
        path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
    };
    // What there is of it within the time that is looked at.
    let within = |work: &Work| work.to.min(span.end).saturating_duration_since(work.from.max(span.start));
    let spent: Duration = log.worked.iter().filter(|work| worth.contains(&number(work))).map(within).sum();
    spent.as_secs_f64() / (span.end - span.start).as_secs_f64() / SLOTS as f64
}

fn service(span: &Range<Instant>, log: &Log) -> Duration {
    let here = log.worked.iter().filter(|work| span.contains(&work.from));
    let all: Vec<_> = here.map(|work| work.to - work.from).collect();
    all.iter().sum::<Duration>().checked_div(all.len() as u32).unwrap_or(SERVICE)
}

pub(super) const HEAD: &str = "\
| times capacity | offered/s | good/s | refused/s | of the slots' time | critical | p50 ms | p99 ms |
|---|---|---|---|---|---|---|---|";

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a_second = |count: usize| count as f64 / self.seconds;
        let refused = self.refused.iter().map(|((status, code), count)| {
            let rate = a_second(*count);
            if *status == 503 { format!("{rate:.1} {code}") } else { format!("{rate:.1} {status} {code}") }
        });
        let refused = refused.collect::<Vec<_>>().join(", ");
        write!(
            f,
            "| {} | {:.1} | {:.1} | {} | {:.1} % of {:.0} ms | {} of {} | {} | {} |",
            self.times,
            a_second(self.offered),
            a_second(self.came),
            if refused.is_empty() { "-" } else { &refused },
            self.used * 100.0,
            self.service.as_secs_f64() * 1000.0,
            self.critical.1,
            self.critical.0,
            self.p50.as_millis(),
            self.p99.as_millis()
        )
    }
}
