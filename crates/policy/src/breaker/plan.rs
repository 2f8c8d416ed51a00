//! What an upstream's `breaker` says.

/// When calls stop, for how long, and what ends that. See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPlan {
    /// Calls that count: at least 10 ms.
    pub window_ms: u64,
    /// With fewer calls in the window it stays closed.
    pub requests_min: u32,
    /// Above 0, up to 1.
    pub failure_ratio: f64,
    /// A call that takes so long is slow, also if it succeeds. None: no call is.
    pub slow_call_us: Option<u64>,
    /// Above 0, up to 1.
    pub slow_ratio: f64,
    pub open_ms: u64,
    /// At least `open_ms`.
    pub open_max_ms: u64,
    /// From 1 to 65,535.
    pub probes: u32,
}
