//! What an upstream's `concurrency` says.

/// How many requests there may be at once, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedPlan {
    pub limit: LimitPlan,
    /// Requests that may wait; 0: whoever does not fit is refused.
    pub queue: u32,
    /// The longest wait. The caller keeps to it; here it says when the queue is overloaded.
    pub queue_wait_ms: u64,
}

/// How many requests there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPlan {
    /// So many.
    Fixed(u32),
    /// As many as latency allows.
    Adaptive {
        /// But never more than so many.
        max: u32,
    },
}
