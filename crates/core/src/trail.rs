//! The trail of a request: each decision on the way that was not plain, with its reason.

use std::borrow::Cow;
use std::fmt;

/// Where in a request's life a decision was taken, in the order of that life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Bytes became a request, or were refused as one.
    Accept,
    /// Host, path and method chose an operation.
    Route,
    /// The lifecycle of the version was applied.
    Version,
    /// Who calls was found out.
    Authenticate,
    /// The body was bounded.
    Body,
    /// What the caller may do was decided.
    Authorize,
    /// The time left was compared with what the service usually takes.
    Deadline,
    /// A place among the upstream's requests was taken, or waited for.
    Queue,
    /// The circuit breaker was asked.
    Breaker,
    /// An endpoint was chosen.
    Balance,
    /// A connection was had.
    Connect,
    /// The request was sent and its answer awaited.
    Send,
    /// A second attempt was made beside a slow first one.
    Hedge,
    /// A further attempt was made, or was not.
    Retry,
    /// Something else was tried after the upstream had been asked in vain.
    Fallback,
    /// What had begun was finished without its client.
    Settle,
    /// The answer was passed on.
    Respond,
}

impl Stage {
    /// The name shown in logs and by `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Route => "route",
            Self::Version => "version",
            Self::Authenticate => "authenticate",
            Self::Body => "body",
            Self::Authorize => "authorize",
            Self::Deadline => "deadline",
            Self::Queue => "queue",
            Self::Breaker => "breaker",
            Self::Balance => "balance",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Hedge => "hedge",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Settle => "settle",
            Self::Respond => "respond",
        }
    }
}

/// At most this many entries are kept for one request; the others are counted ([`Trail::left_out`]).
pub const ENTRIES_MAX: usize = 32;

/// What happened to a request, in order. Empty (and without an allocation) where everything was plain.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    entries: Vec<(Stage, Cow<'static, str>)>,
    left_out: usize,
}

impl Trail {
    /// Adds a decision. Its reason never holds a secret or bytes that came from outside unescaped.
    pub fn add(&mut self, stage: Stage, reason: impl Into<Cow<'static, str>>) {
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push((stage, reason.into()));
        } else {
            self.left_out += 1;
        }
    }

    /// True when nothing out of the ordinary happened.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.left_out == 0
    }

    /// How many decisions came after the last one that was kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The same trail without its entries, for where there is no room for them: only their number is left.
    #[must_use]
    pub fn only_counted(&self) -> Self {
        Self { entries: Vec::new(), left_out: self.entries.len() + self.left_out }
    }

    /// Each decision in order.
    pub fn entries(&self) -> impl Iterator<Item = (Stage, &str)> {
        self.entries.iter().map(|(stage, reason)| (*stage, reason.as_ref()))
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (stage, reason)) in self.entries().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {reason}", stage.name())?;
        }
        if self.left_out > 0 {
            let separator = if self.entries.is_empty() { "" } else { "; " };
            write!(f, "{separator}{} more", self.left_out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_is_bounded_and_says_what_it_left_out() {
        let mut trail = Trail::default();
        for _ in 0..ENTRIES_MAX + 3 {
            trail.add(Stage::Send, "again");
        }
        assert_eq!(trail.entries().count(), ENTRIES_MAX);
        assert_eq!(trail.left_out(), 3);
        assert!(trail.to_string().ends_with("; 3 more"));
        let counted = trail.only_counted();
        assert_eq!((counted.entries().count(), counted.left_out()), (0, ENTRIES_MAX + 3));
        assert!(!counted.is_empty() && Trail::default().only_counted().is_empty());
        assert_eq!(counted.to_string(), format!("{} more", ENTRIES_MAX + 3));
    }
}
