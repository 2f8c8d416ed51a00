//! What a lookup gives.

use std::net::IpAddr;
use std::sync::Arc;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{AuthMethod, Caller};

use super::key::KeyRecord;
use super::people::ConsumerState;
use crate::refusal::KeyRefusal;

/// A key that is accepted, with whose it is. Good for as long as the index's generation has not changed and
/// [`Found::expires_at`] has not come.
#[derive(Clone)]
pub struct Found {
    caller: Arc<Caller>,
    record: Arc<KeyRecord>,
}

impl Found {
    pub(super) fn new(record: &Arc<KeyRecord>, state: &ConsumerState) -> Self {
        let caller = Caller {
            consumer: Some(Arc::clone(&record.consumer.id)),
            user: None,
            plan: state.plan.clone(),
            groups: Arc::clone(&state.groups),
            attributes: Arc::clone(&state.attributes),
            mode: record.mode,
            method: AuthMethod::ApiKey,
            key_id: Some(record.id.with_text(|id| id.into())),
            client_id: None,
            scopes: Arc::clone(&record.scopes),
            generation: record.generation.max(state.generation),
        };
        Self { caller: Arc::new(caller), record: Arc::clone(record) }
    }

    /// Who it is.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// From then on the key is not accepted; `None`: it has no end.
    pub fn expires_at(&self) -> Option<UnixMs> {
        let at = self.record.expires_at_ms;
        (at != i64::MAX).then_some(UnixMs(at))
    }

    /// Whether the key may be used from this address, for this api.
    ///
    /// # Errors
    /// It may not. Of both, the address is said first.
    #[inline]
    pub fn check(&self, address: Option<IpAddr>, api: &str) -> Result<(), KeyRefusal> {
        match &self.record.restrictions {
            None => Ok(()),
            Some(restrictions) => restrictions.check(address, api),
        }
    }

    /// Notes that the key is used now, to the minute.
    #[inline]
    pub fn touch(&self, now: UnixMs) {
        self.record.last_used.touch(now);
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Found").field(&self.caller).finish()
    }
}
