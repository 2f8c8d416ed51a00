//! A hash table of small values, open addressing with linear probing, at most half full.
//!
//! `std`'s table needs the key beside the value or a comparison that it chooses; here an entry is one pointer and the key
//! stays in what it points to, which is what keeps a million keys small. Entries are removed by moving later ones back,
//! so that a search never passes graves.

use std::marker::PhantomData;

/// Where an entry belongs.
pub(super) trait Place<T> {
    /// The same for equal entries, spread evenly over all 64 bits.
    fn hash(entry: &T) -> u64;
}

pub(super) struct Table<T, P> {
    slots: Box<[Option<T>]>,
    len: usize,
    place: PhantomData<fn() -> P>,
}

impl<T: Clone, P> Clone for Table<T, P> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), len: self.len, place: PhantomData }
    }
}

impl<T, P: Place<T>> Table<T, P> {
    pub(super) fn new() -> Self {
        Self { slots: Box::default(), len: 0, place: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// The entry with this hash that is the one.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.slots.get(self.position(hash, is_it)?)?.as_ref()
    }

    /// Puts an entry in, and gives the one whose place it takes.
    pub(super) fn insert(&mut self, entry: T, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let hash = P::hash(&entry);
        if let Some(at) = self.position(hash, is_it) {
            return self.slots[at].replace(entry);
        }
        if (self.len + 1) * 2 > self.slots.len() {
            self.grow();
        }
        self.put(hash, entry);
        self.len += 1;
        None
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.position(hash, is_it)?;
        let removed = self.slots[at].take();
        self.len -= 1;
        self.close_gap(at);
        removed
    }

    #[inline]
    fn position(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // Half of the slots are empty, so this ends.
        while let Some(entry) = &self.slots[at] {
            if is_it(entry) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn put(&mut self, hash: u64, entry: T) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].is_some() {
            at = (at + 1) & mask;
        }
        self.slots[at] = Some(entry);
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(4);
        let old = std::mem::replace(&mut self.slots, (0..slots).map(|_| None).collect());
        for entry in old.into_iter().flatten() {
            self.put(P::hash(&entry), entry);
        }
    }

    /// Moves entries that stand behind the gap only because their place was taken.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len() - 1;
        let mut at = (gap + 1) & mask;
        while let Some(entry) = &self.slots[at] {
            let home = P::hash(entry) as usize & mask;
            let from_home = at.wrapping_sub(home) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                self.slots.swap(gap, at);
                gap = at;
            }
            at = (at + 1) & mask;
        }
    }
}
