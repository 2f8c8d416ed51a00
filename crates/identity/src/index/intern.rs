//! Equal values kept once: thousands of keys have the same scopes and the same networks.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// Values that are in use, and until the next sweep some that were.
pub(super) struct Interner<T> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: Eq + Hash> Interner<T> {
    pub(super) fn new() -> Self {
        Self { known: HashSet::new(), sweep_at: 64 }
    }

    /// The one value that is equal to this.
    pub(super) fn intern(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            // Those that only this table holds are nobody's.
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = (self.known.len() * 2).max(64);
        }
        let value = Arc::new(value);
        self.known.insert(Arc::clone(&value));
        value
    }
}
