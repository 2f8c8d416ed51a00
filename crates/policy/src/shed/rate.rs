//! `rate_max`: a token bucket in one word (the generic cell rate algorithm).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// When the next attempt may leave, shared by all workers.
#[derive(Debug)]
pub struct Rate {
    /// Nanoseconds between two attempts.
    period_ns: u64,
    /// How far ahead of its time an attempt may leave: the burst.
    early_ns: u64,
    /// When the next one would leave if they came evenly.
    due_ns: AtomicU64,
}

impl Rate {
    /// So many a second, and at most `burst` at the same moment.
    pub fn new(per_second: f64, burst: f64) -> Self {
        let period_ns = (1e9 / per_second.max(1e-6)).ceil() as u64;
        let early_ns = (period_ns as f64 * (burst.max(1.0) - 1.0)) as u64;
        Self { period_ns, early_ns, due_ns: AtomicU64::new(0) }
    }

    /// A turn, and how long it has to be waited for in microseconds; `None`: longer than `wait_max_us`, and nothing is taken.
    pub fn reserve(&self, now_us: u64, wait_max_us: u64) -> Option<u64> {
        let now_ns = now_us.saturating_mul(1000);
        let may_leave = now_ns.saturating_add(self.early_ns);
        let latest = may_leave.saturating_add(wait_max_us.saturating_mul(1000));
        let take = |due: u64| {
            let due = due.max(now_ns);
            (due <= latest).then(|| due + self.period_ns)
        };
        let before = self.due_ns.fetch_update(Relaxed, Relaxed, take).ok()?.max(now_ns);
        Some(before.saturating_sub(may_leave).div_ceil(1000))
    }
}
