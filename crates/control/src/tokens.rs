//! Who holds which token: the engine's own, from its file, and those of the catalogue, as a copy in memory.
//!
//! A token is found by its hash, so the time that takes says nothing about how near a guess was; and both kinds are always
//! looked for. The copy follows the catalogue. With the store down it goes on with what it knew; if it never knew
//! anything, nobody is told that a token is wrong which may be right.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mainstay_core::catalogue::port::{Changes, List, PAGE_MAX, RecordChange};
use mainstay_core::catalogue::{AdminToken, Catalogue, Kind, Record, Revision, Sha256, StoreError};
use mainstay_identity::key;
use tokio::time::sleep;

use crate::caller::Bearer;
use crate::catalogue::refused;
use crate::problem::Refusal;
use crate::token::Token;

/// After a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// All tokens that open the admin API.
pub(crate) struct Tokens {
    file: Token,
    catalogue: Option<Arc<dyn Catalogue>>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_hash: HashMap<Sha256, AdminToken>,
    /// `None`: the catalogue has not been read yet.
    at: Option<Revision>,
}

impl Tokens {
    pub(crate) fn new(file: Token, catalogue: Option<Arc<dyn Catalogue>>) -> Self {
        Self { file, catalogue, known: RwLock::default() }
    }

    /// Whose token this is.
    pub(crate) async fn find(&self, presented: &[u8], now: i64) -> Result<Bearer, Refusal> {
        let is_file = self.file.matches(presented);
        let hash = key::sha256(presented);
        let found = self.look_up(hash);
        if is_file {
            return Ok(Bearer::owner());
        }
        let found = match (found, &self.catalogue) {
            (Some(token), _) => Some(token),
            (None, Some(catalogue)) if self.at().is_none() => {
                self.load(catalogue.as_ref()).await.map_err(refused)?;
                self.look_up(hash)
            }
            (None, _) => None,
        };
        let wrong = |detail| Err(Refusal::invalid_token(detail));
        match found {
            None => wrong("The token is not one of this engine."),
            Some(token) if token.revoked_at.is_some() => wrong("The token has been revoked."),
            Some(token) if token.expires_at.is_some_and(|at| at <= now) => wrong("The token has expired."),
            Some(AdminToken { id, role, apis, .. }) => Ok(Bearer { id, role, apis }),
        }
    }

    /// Takes a token as it is now, without waiting for the change to come around.
    pub(crate) fn note(&self, token: AdminToken) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.note(token);
    }

    /// Follows the catalogue for as long as it is polled.
    pub(crate) async fn follow(&self) {
        let Some(catalogue) = &self.catalogue else { return };
        loop {
            let done = match self.at() {
                None => self.load(catalogue.as_ref()).await,
                Some(at) => {
                    catalogue.changed(at).await;
                    self.catch_up(catalogue.as_ref(), at).await
                }
            };
            if done.is_err() {
                sleep(PAUSE).await;
            }
        }
    }

    async fn catch_up(&self, catalogue: &dyn Catalogue, since: Revision) -> Result<(), StoreError> {
        match catalogue.changes(since).await? {
            Changes::LoadAgain => self.load(catalogue).await,
            Changes::Since { revision, records, .. } => {
                let tokens = records.into_iter().filter_map(|change| match change {
                    RecordChange::Changed(Record::AdminToken(token)) => Some(token),
                    _ => None,
                });
                self.take(tokens, revision);
                Ok(())
            }
        }
    }

    async fn load(&self, catalogue: &dyn Catalogue) -> Result<(), StoreError> {
        // Asked first: what changes meanwhile is read twice rather than never.
        let revision = catalogue.revision().await?;
        let (mut tokens, mut after) = (Vec::new(), None);
        loop {
            let list = List { kind: Kind::AdminToken, consumer: None, after, limit: PAGE_MAX };
            let page = catalogue.list(list).await?;
            tokens.extend(page.items.into_iter().filter_map(|stored| match stored.record {
                Record::AdminToken(token) => Some(token),
                _ => None,
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.take(tokens.into_iter(), revision);
        Ok(())
    }

    fn take(&self, tokens: impl Iterator<Item = AdminToken>, at: Revision) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        tokens.for_each(|token| known.note(token));
        // Of two loads that overlap the earlier one may come last; then a little is read twice.
        known.at = Some(at);
    }

    fn look_up(&self, hash: Sha256) -> Option<AdminToken> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_hash.get(&hash).cloned()
    }

    fn at(&self) -> Option<Revision> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).at
    }
}

impl Known {
    /// A revocation is for ever, so it is not undone by something that was read before it.
    fn note(&mut self, mut token: AdminToken) {
        if let Some(known) = self.by_hash.get(&token.sha256) {
            token.revoked_at = token.revoked_at.or(known.revoked_at);
        }
        self.by_hash.insert(token.sha256, token);
    }
}
