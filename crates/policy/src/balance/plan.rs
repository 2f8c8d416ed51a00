//! How the endpoints of an upstream share its requests.

/// How one of the eligible endpoints is chosen; see the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Power of two choices on latency and requests in flight.
    #[default]
    LeastLoaded,
    /// Turns by weight.
    RoundRobin,
    /// By a hash that the caller takes of the request; a request without one goes anywhere.
    Hash,
}

/// When an endpoint is left out because requests to it fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectPlan {
    /// Failures in a row that lead to it, at least 1.
    pub consecutive_failures: u32,
    /// How long the first one takes.
    pub time_ms: u64,
    /// How long one takes at most, before the share that chance adds.
    pub time_max_ms: u64,
    /// From 0 (never) to 1: the share of the pool that may be ejected at the same time.
    pub share_max: f64,
}

/// All of it for one upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolPlan {
    /// How one is chosen.
    pub balance: Balance,
    /// How long it takes from a tenth to the whole of an endpoint's share after it became healthy; 0: no slow start.
    pub slow_start_ms: u64,
    /// From 0 (never) to 1: below this healthy share, health is ignored.
    pub panic_below: f64,
    /// `None`: no endpoint is ejected.
    pub eject: Option<EjectPlan>,
}
