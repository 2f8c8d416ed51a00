//! Decisions that were made before: for operations whose policies read who calls and what path, and nothing else.
//!
//! A decision is a function of what its policies read. Where that is the principal, the operation and its path, those are
//! the key, and where a policy looks at the context, nothing is kept. In the key are the version of the policies (any change
//! of them makes another one), the operation, the path parameters that are read, and the caller; beside the decision stands
//! the caller it was made for, and it is only good for one of whom everything is the same that policies can read: the
//! catalogue's `generation`, but also plan, groups and attributes themselves, since a token may bring its own.
//!
//! One for each worker: it takes no lock. What callers choose is hashed with a key that they do not know.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{Caller, Principal};
use quick_cache::Equivalent;
use quick_cache::unsync;

use crate::decide::{Decision, Input, decide};
use crate::facts::identity;
use crate::policies::{Kind, Plan, Policies};

/// A bounded number of decisions; old ones of little use go first.
#[derive(Debug)]
pub struct Cache {
    decisions: unsync::Cache<Key, Kept>,
    hits: u64,
    misses: u64,
}

/// How much good a cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Decisions that were there.
    pub hits: u64,
    /// Decisions that could have been, and were made.
    pub misses: u64,
    /// Decisions that are kept now.
    pub entries: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    caller: Option<Arc<Caller>>,
    decision: Decision,
}

#[derive(Debug)]
struct Key {
    version: u64,
    operation: usize,
    kind: Kind,
    id: Box<str>,
    generation: u64,
    path: Box<[Option<Box<str>>]>,
}

/// A key that owns nothing.
#[derive(Debug)]
struct Asked<'a> {
    version: u64,
    plan: &'a Plan,
    kind: Kind,
    id: &'a str,
    generation: u64,
    path: &'a [(&'a str, &'a str)],
}

impl Cache {
    /// Keeps up to so many decisions, each of some hundred bytes.
    pub fn new(entries_max: NonZeroUsize) -> Self {
        Self { decisions: unsync::Cache::new(entries_max.get()), hits: 0, misses: 0 }
    }

    /// As [`decide`], from memory where that is the same. `policies` are those that `plan` is of.
    pub fn decide(
        &mut self,
        policies: &Policies,
        plan: &Plan,
        principal: &Principal,
        input: &Input<'_>,
        now: UnixMs,
    ) -> Decision {
        if !plan.is_cached {
            return decide(plan, principal, input, now);
        }
        let (kind, id) = identity(principal);
        let generation = principal.caller().map_or(0, |caller| caller.generation);
        let asked = Asked { version: policies.version, plan, kind, id, generation, path: input.path };
        if let Some(kept) = self.decisions.get(&asked)
            && is_same(kept.caller.as_deref(), principal)
        {
            self.hits += 1;
            return kept.decision.clone();
        }
        self.misses += 1;
        let decision = decide(plan, principal, input, now);
        let caller = match principal {
            Principal::Anonymous => None,
            Principal::Caller(caller) => Some(Arc::clone(caller)),
        };
        self.decisions.insert(asked.owned(), Kept { caller, decision: decision.clone() });
        decision
    }

    /// How much good it did.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits, misses: self.misses, entries: self.decisions.len() }
    }
}

/// Whether everything is the same that policies can read of a caller without looking at the context. `plan` and `consumer` are
/// read as attributes; `method`, `mode`, `scopes` are context, and the key's and the client's id are nothing to policies.
fn is_same(kept: Option<&Caller>, principal: &Principal) -> bool {
    match (kept, principal) {
        (None, Principal::Anonymous) => true,
        (Some(kept), Principal::Caller(caller)) => {
            std::ptr::eq(kept, Arc::as_ptr(caller))
                || (kept.generation == caller.generation
                    && kept.consumer == caller.consumer
                    && kept.user == caller.user
                    && kept.plan == caller.plan
                    && kept.groups == caller.groups
                    && (Arc::ptr_eq(&kept.attributes, &caller.attributes)
                        || kept.attributes == caller.attributes))
        }
        _ => false,
    }
}

impl Asked<'_> {
    /// The values of the path parameters that policies read, in the order in which they are asked for.
    fn read_path(&self) -> impl Iterator<Item = Option<&str>> {
        self.plan.path_keys(self.path)
    }

    fn owned(&self) -> Key {
        Key {
            version: self.version,
            operation: self.plan.index,
            kind: self.kind,
            id: self.id.into(),
            generation: self.generation,
            path: self.read_path().map(|value| value.map(Box::from)).collect(),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let head = (self.version, self.operation, self.kind, &*self.id, self.generation);
        hash(head, self.path.iter().map(Option::as_deref), state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let head = (self.version, self.plan.index, self.kind, self.id, self.generation);
        hash(head, self.read_path(), state);
    }
}

/// One way for both, so that they cannot differ.
fn hash<'a, H: Hasher>(
    head: (u64, usize, Kind, &str, u64),
    path: impl Iterator<Item = Option<&'a str>>,
    state: &mut H,
) {
    head.hash(state);
    path.for_each(|value| value.hash(state));
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.version, self.operation, self.kind, self.generation)
            == (other.version, other.operation, other.kind, other.generation)
            && self.id == other.id
            && self.path == other.path
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.version, self.plan.index, self.kind, self.generation)
            == (key.version, key.operation, key.kind, key.generation)
            && *self.id == *key.id
            && self.read_path().eq(key.path.iter().map(Option::as_deref))
    }
}
