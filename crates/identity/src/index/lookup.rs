//! Reading the index: what workers do.

use std::sync::Arc;

use mainstay_core::catalogue::{Sha256, SigningKey};
use mainstay_core::clock::UnixMs;
use subtle::ConstantTimeEq;

use super::key::{KeyRecord, sha_hash};
use super::people::{Named, text_hash};
use super::{ClientEntry, ConsumerView, Found, Index, UserEntry};
use crate::key::{KeyForm, form, sha256};
use crate::refusal::KeyRefusal;

/// Sees each step of a lookup. In tests it counts them; else it is `()` and costs nothing.
pub(super) trait Watch {
    fn step(&mut self, step: Step);
}

/// A step of a lookup that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    ReadForm,
    Hash,
    Search,
    Compare,
    ReadConsumer,
    Judge,
}

impl Watch for () {
    #[inline]
    fn step(&mut self, _: Step) {}
}

impl Index {
    /// Who holds the key with this text. The text is hashed and looked up whatever its form is, so that all refusals cost
    /// the same.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn authenticate(&self, text: &[u8], now: UnixMs) -> Result<Found, KeyRefusal> {
        self.authenticate_watched(text, now, &mut ())
    }

    pub(super) fn authenticate_watched(
        &self,
        text: &[u8],
        now: UnixMs,
        watch: &mut impl Watch,
    ) -> Result<Found, KeyRefusal> {
        watch.step(Step::ReadForm);
        let form = form(text);
        watch.step(Step::Hash);
        let found = self.lookup_watched(&sha256(text), now, watch);
        match form {
            KeyForm::Malformed => Err(KeyRefusal::Malformed),
            KeyForm::WrongChecksum => Err(KeyRefusal::WrongChecksum),
            KeyForm::Foreign | KeyForm::Sound(_) => found,
        }
    }

    /// Who holds the key with this hash.
    ///
    /// # Errors
    /// It is unknown, revoked, expired, or of a suspended consumer; of several reasons the first of these.
    #[inline]
    pub fn lookup_key(&self, sha256: &Sha256, now: UnixMs) -> Result<Found, KeyRefusal> {
        self.lookup_watched(sha256, now, &mut ())
    }

    #[inline]
    fn lookup_watched(
        &self,
        sha256: &Sha256,
        now: UnixMs,
        watch: &mut impl Watch,
    ) -> Result<Found, KeyRefusal> {
        watch.step(Step::Search);
        let hash = sha_hash(sha256);
        self.keys.read(
            hash,
            |record| record.sha256 == *sha256,
            |record| judge(record.unwrap_or(&self.nobodys), sha256, now, watch),
        )
    }

    /// The consumer with this id.
    pub fn consumer(&self, id: &str) -> Option<ConsumerView> {
        let slot = self.consumers.get(text_hash(id), |slot| slot.id() == id)?;
        let state = slot.state.load();
        state.exists.then(|| ConsumerView {
            id: Arc::clone(&slot.id),
            is_suspended: state.is_suspended,
            plan: state.plan.clone(),
            groups: Arc::clone(&state.groups),
            attributes: Arc::clone(&state.attributes),
            generation: state.generation,
        })
    }

    /// The OAuth client with this id, disabled or not.
    pub fn client(&self, id: &str) -> Option<Arc<ClientEntry>> {
        self.clients.get(text_hash(id), |entry| entry.id() == id)
    }

    /// The user with this name, disabled or not.
    pub fn user(&self, name: &str) -> Option<Arc<UserEntry>> {
        self.users.get(text_hash(name), |entry| entry.id() == name)
    }

    /// The engine's signing keys that are not removed, by the order of their ids. Their private halves stay sealed.
    pub fn signing_keys(&self, now: UnixMs) -> Vec<Arc<SigningKey>> {
        let keys = self.signing_keys.load();
        let is_there = |key: &&Arc<SigningKey>| key.removed_at.is_none_or(|at| now.0 < at);
        keys.iter().filter(is_there).cloned().collect()
    }

    /// When a key was last used, to the minute.
    pub fn last_used(&self, sha256: &Sha256) -> Option<UnixMs> {
        self.keys.read(sha_hash(sha256), |record| record.sha256 == *sha256, |record| record?.last_used.at())
    }

    /// Hands over ids of keys that were used since the last time, with the minute of their last use, at most so many:
    /// the rest comes with the next call. Goes through all keys, so it is for the control side, once a minute.
    pub fn drain_last_used(&self, keys_max: usize) -> Vec<(String, UnixMs)> {
        let mut used = Vec::new();
        self.keys.for_each(|record| {
            if used.len() < keys_max
                && let Some(at) = record.last_used.drain()
            {
                used.push((record.id.with_text(str::to_owned), at));
            }
        });
        used
    }
}

/// Looks at everything before it says anything: the reason must not show in the time.
fn judge(
    record: &Arc<KeyRecord>,
    sha256: &Sha256,
    now: UnixMs,
    watch: &mut impl Watch,
) -> Result<Found, KeyRefusal> {
    watch.step(Step::Compare);
    let is_it = bool::from(record.sha256.0.ct_eq(&sha256.0));
    watch.step(Step::ReadConsumer);
    let state = record.consumer.state.load();
    watch.step(Step::Judge);
    let is_known = is_it & state.exists;
    let is_expired = now.0 >= record.expires_at_ms;
    match (is_known, record.is_revoked, is_expired, state.is_suspended) {
        (false, ..) => Err(KeyRefusal::Unknown),
        (true, true, ..) => Err(KeyRefusal::Revoked),
        (true, _, true, _) => Err(KeyRefusal::Expired),
        (true, _, _, true) => Err(KeyRefusal::Suspended),
        (true, false, false, false) => Ok(Found::new(record, &state)),
    }
}
