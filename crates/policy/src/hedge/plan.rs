//! What an upstream's `hedge` says.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgePlan {
    pub after: After,
    /// Hedges for each request.
    pub max_ratio: f64,
}

/// How long an answer is waited for before a second request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// As long as 95 of 100 recent ones took.
    P95,
    Ms(u64),
}
