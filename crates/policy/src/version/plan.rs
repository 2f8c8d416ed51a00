//! The dated record of a version.

/// The dates of a version or operation, in seconds since the Unix epoch. The default has none: served for ever.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LifecyclePlan {
    pub deprecated_s: Option<i64>,
    pub sunset_s: Option<i64>,
    /// Sorted by `from_s`; windows may overlap.
    pub brownouts: Vec<Brownout>,
}

/// A window in which a share of the requests is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Brownout {
    /// First second of the window.
    pub from_s: i64,
    /// First second behind it.
    pub until_s: i64,
    /// From 0 (none) to 1 (all).
    pub share: f64,
}
