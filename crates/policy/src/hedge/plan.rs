//! What an upstream's `hedge` says.

/// When a second attempt is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgePlan {
    pub after: After,
    /// Above 0, to 1: hedges for each request.
    pub max_ratio: f64,
}

/// How long the first attempt is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// What 95 of 100 recent requests took.
    P95,
    /// So many milliseconds.
    Ms(u64),
}
