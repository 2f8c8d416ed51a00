//! A table in parts that are exchanged whole: readers take a pointer and wait for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::table::{Place, Table};

/// Into how many parts a table is cut. A change copies one: with a million keys 244 pointers.
pub const SHARDS: usize = 4096;
const SHIFT: u32 = 64 - SHARDS.trailing_zeros();

pub(super) struct Sharded<T, P> {
    shards: Box<[ArcSwap<Table<T, P>>]>,
    empty: Arc<Table<T, P>>,
    len: AtomicUsize,
}

impl<T: Clone, P: Place<T>> Sharded<T, P> {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Table::new());
        let shards = (0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect();
        Self { shards, empty, len: AtomicUsize::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Looks for an entry and reads it in place.
    #[inline]
    pub(super) fn read<R>(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        read: impl FnOnce(Option<&T>) -> R,
    ) -> R {
        let shard = self.shards[(hash >> SHIFT) as usize].load();
        read(shard.find(hash, is_it))
    }

    pub(super) fn get(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.shards[(hash >> SHIFT) as usize].load().find(hash, is_it).cloned()
    }

    /// Changes the part in which the hash belongs. `is_private`: nobody reads yet, so nothing has to be copied.
    /// Callers hold the writer's lock.
    pub(super) fn change<R>(
        &self,
        hash: u64,
        is_private: bool,
        change: impl FnOnce(&mut Table<T, P>) -> R,
    ) -> R {
        let shard = &self.shards[(hash >> SHIFT) as usize];
        let mut table = if is_private {
            Arc::unwrap_or_clone(shard.swap(Arc::clone(&self.empty)))
        } else {
            Table::clone(&shard.load())
        };
        let before = table.len();
        let result = change(&mut table);
        // Wrapping on purpose: the difference may be negative.
        self.len.fetch_add(table.len().wrapping_sub(before), Ordering::Relaxed);
        shard.store(Arc::new(table));
        result
    }

    /// All entries, a part at a time.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&T)) {
        for shard in &self.shards {
            shard.load().iter().for_each(&mut visit);
        }
    }
}
