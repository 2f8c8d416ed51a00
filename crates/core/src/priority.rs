//! How important a request is when not everything can be served.

/// The class of an operation. Under pressure a lower one is refused before a higher one ever waits.
///
/// Ordered by importance: `Low < Normal < High < Critical`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Refused first: what can be done again later.
    Low,
    /// What says nothing else.
    #[default]
    Normal,
    /// Somebody waits for it.
    High,
    /// Refused last: what moves money.
    Critical,
}

impl Priority {
    /// All classes, the most important one first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The name in the configuration, in the log and in labels of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Its place in [`Priority::ALL`]: 0 for the most important one.
    pub const fn index(self) -> usize {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn order_names_and_places_agree() {
        assert_eq!(Priority::ALL.map(Priority::name), ["critical", "high", "normal", "low"]);
        assert_eq!(Priority::ALL.map(Priority::index), [0, 1, 2, 3]);
        assert!(Priority::ALL.is_sorted_by(|a, b| a > b));
        assert_eq!(Priority::default(), Priority::Normal);
    }
}
