//! Everyone who is known, in memory: consumers, keys, OAuth clients, users and the engine's public signing keys.
//!
//! The control side fills an [`Index`] record by record, then follows the catalogue's changes in place, under one lock that
//! only writers take. Workers read without waiting: a shard of a table is an immutable value behind an atomic pointer, and
//! a change replaces the one shard it belongs to.
//!
//! # What a lookup costs
//! A key is found by the SHA-256 of its text in a table of [`SHARDS`] shards, each open addressing at no more than half
//! full: the same few instructions for ten keys and for a million. A worker may keep what it [`Found`] for as long as
//! [`Index::generation`] has not changed, one load for each request; the generation changes with every change that could
//! make a difference, and with no other (a written last use is none).
//!
//! # What a refusal costs
//! The same, whatever the reason: an unknown key is checked against a record that nobody has, so that hash, comparison,
//! state of the consumer and times are looked at in any case, and the reason is chosen last ([`Index::authenticate`]
//! hashes and looks up even what the checksum has already refused). The comparison of hashes takes the same time wherever
//! they differ. How many slots a search looks at depends on hashes alone, which nobody can choose.
//!
//! # Two layers
//! Consumers and keys of the configuration file lie under the catalogue: a record of the catalogue with the same id
//! (of keys: with the same hash) hides the file's, whatever the file says, so a key revoked in the catalogue
//! stays revoked. The order in which the records arrive makes no difference: a key may come before its consumer, and is
//! unknown until that has come.
//!
//! # What cannot be read
//! A record of a newer binary, or nonsense, must not widen anything: an address that cannot be read matches nobody,
//! and still restricts; a scope without a number is left out. [`Notes`] says so.
//!
//! # Last use
//! A lookup that succeeds is stamped with its minute in the record ([`Found::touch`]): one load, and one store a minute.
//! The control side collects the stamps in batches ([`Index::drain_last_used`]). A stamp that is set at the very moment
//! in which a record is replaced may be lost until the next use.

mod caller;
mod intern;
mod key;
mod lookup;
mod network;
mod people;
mod sharded;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use mainstay_core::catalogue::{Revision, SigningKey};
use mainstay_core::clock::UnixMs;
use mainstay_core::scopes::ScopeNames;

pub use caller::Found;
pub use network::Network;
pub use people::{ClientEntry, ConsumerView, UserEntry};
pub use sharded::SHARDS;
pub use write::{Change, Loader, Notes};

use key::KeyRecord;
use people::ConsumerSlot;
use sharded::Sharded;
use write::Writer;

/// Everyone who is known.
pub struct Index {
    keys: Sharded<Arc<KeyRecord>, key::ByHash>,
    consumers: Sharded<Arc<ConsumerSlot>, people::ById>,
    clients: Sharded<Arc<ClientEntry>, people::ById>,
    users: Sharded<Arc<UserEntry>, people::ById>,
    signing_keys: ArcSwap<Vec<Arc<SigningKey>>>,
    /// What an unknown key is checked against.
    nobodys: Arc<KeyRecord>,
    scope_names: Arc<ScopeNames>,
    generation: Arc<AtomicU64>,
    revision: AtomicU64,
    revision_at_ms: AtomicI64,
    writer: Mutex<Writer>,
}

/// How old an index's knowledge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last change of the catalogue that is in it.
    pub revision: Revision,
    /// When the catalogue was last known to hold nothing newer.
    pub at: UnixMs,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// API keys, revoked and expired ones included.
    pub keys: usize,
    /// Consumers.
    pub consumers: usize,
    /// OAuth clients.
    pub clients: usize,
    /// Users.
    pub users: usize,
}

impl Index {
    /// One that knows nobody.
    pub fn new(scope_names: Arc<ScopeNames>) -> Self {
        Self::with_generation(scope_names, Arc::new(AtomicU64::new(1)))
    }

    /// An empty one that takes this one's place once it is filled: for a load from the start, while this one serves. Both
    /// count the same generation, so nothing that was kept from this one is taken for knowledge of that one, as long
    /// as [`Index::changed`] is called after the exchange.
    pub fn successor(&self) -> Self {
        Self::with_generation(Arc::clone(&self.scope_names), Arc::clone(&self.generation))
    }

    fn with_generation(scope_names: Arc<ScopeNames>, generation: Arc<AtomicU64>) -> Self {
        Self {
            keys: Sharded::new(),
            consumers: Sharded::new(),
            clients: Sharded::new(),
            users: Sharded::new(),
            signing_keys: ArcSwap::default(),
            nobodys: Arc::new(KeyRecord::nobodys()),
            scope_names,
            generation,
            revision: AtomicU64::new(0),
            revision_at_ms: AtomicI64::new(0),
            writer: Mutex::new(Writer::new()),
        }
    }

    /// A number that changes with every change of anything known. Read it before a lookup, and keep what was found
    /// only for as long as it is the same.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes all that was kept out of date: for changes outside the index, such as another configuration.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The scopes' numbers.
    pub fn scope_names(&self) -> &Arc<ScopeNames> {
        &self.scope_names
    }

    /// Says how new the knowledge is: after a load, after each change, and after each poll that found nothing newer.
    pub fn set_as_of(&self, as_of: AsOf) {
        self.revision.store(as_of.revision.0, Ordering::Relaxed);
        self.revision_at_ms.store(as_of.at.0, Ordering::Relaxed);
    }

    /// How new the knowledge is.
    pub fn as_of(&self) -> AsOf {
        AsOf {
            revision: Revision(self.revision.load(Ordering::Relaxed)),
            at: UnixMs(self.revision_at_ms.load(Ordering::Relaxed)),
        }
    }

    /// How much there is.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            keys: self.keys.len(),
            consumers: self.consumers.len(),
            clients: self.clients.len(),
            users: self.users.len(),
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({:?}, generation {})", self.sizes(), self.generation())
    }
}
