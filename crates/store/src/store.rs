//! The port, once for both databases.

use std::path::Path;
use std::sync::Arc;

use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::oauth::{
    AuthorizationCode, CleanedUp, RefreshState, RefreshToken, Session, TakenCode,
};
use mainstay_core::catalogue::port::{Answer, BackedUp, Changes, List, Migrated, Page};
use mainstay_core::catalogue::{
    Actor, Applied, AuditRecord, Catalogue, Change, Etag, Kind, OauthState, Record, Revision, RevokedToken,
    Sha256, StoreError, Stored, Upkeep,
};
use mainstay_core::clock::Clock;
use mainstay_core::port::PortFuture;

use crate::db::Backend;
use crate::ops::{apply, oauth, read, upkeep};
use crate::seal::Keyring;
use crate::{audit, backup, load};

/// A store in a database.
#[derive(Debug)]
pub struct Database<B> {
    pub(crate) backend: B,
    pub(crate) clock: Clock,
}

#[expect(private_bounds, reason = "which databases there are is this crate's business")]
impl<B: Backend> Database<B> {
    /// Seals everything that is sealed with the newest key. Returns how many records that were.
    ///
    /// # Errors
    /// A record does not open with any of the keys; those before it are sealed anew.
    pub async fn reseal(&self, keys: &Arc<Keyring>) -> Result<u64, StoreError> {
        let (mut after, mut total) = (String::new(), 0);
        loop {
            let batch = upkeep::Reseal { keys: Arc::clone(keys), after };
            let (next, sealed_anew) = self.backend.write(batch).await?;
            total += sealed_anew;
            match next {
                Some(id) => after = id,
                None => return Ok(total),
            }
        }
    }

    /// Fills this store, which must be empty, from a backup of any kind of store.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: the backup is not what was written, and nothing was changed. [`StoreError::Conflict`]: the
    /// store is not empty. After any other error the store is still empty.
    pub async fn restore(&self, from: &Path) -> Result<BackedUp, StoreError> {
        backup::restore(self, from).await
    }
}

impl<B: Backend> Catalogue for Database<B> {
    fn load<'a>(&'a self, visit: &'a mut (dyn FnMut(Record) + Send)) -> Answer<'a, Revision> {
        Box::pin(load::load(&self.backend, visit))
    }

    fn changes(&self, since: Revision) -> Answer<'_, Changes> {
        Box::pin(self.backend.read(read::ReadChanges { since }))
    }

    fn changed(&self, since: Revision) -> PortFuture<'_, ()> {
        Box::pin(self.backend.changed(since))
    }

    fn revision(&self) -> Answer<'_, Revision> {
        Box::pin(self.backend.read(read::ReadRevision))
    }

    fn get(&self, kind: Kind, id: &str) -> Answer<'_, Stored> {
        Box::pin(self.backend.read(read::Get { kind, id: id.to_owned() }))
    }

    fn list(&self, list: List) -> Answer<'_, Page> {
        Box::pin(self.backend.read(read::ListPage(list)))
    }

    fn apply(&self, change: Change, by: Actor, expected: Option<Etag>) -> Answer<'_, Applied> {
        Box::pin(self.backend.write(apply::Apply { change, by, expected }))
    }

    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<AuditRecord>> {
        Box::pin(self.backend.read(audit::ReadPage(query)))
    }

    fn verify_audit(&self) -> Answer<'_, Verified> {
        Box::pin(audit::verify(&self.backend))
    }

    fn touch_keys(&self, used: Vec<(String, i64)>) -> Answer<'_, ()> {
        Box::pin(async move { self.backend.write(upkeep::Touch::new(used)?).await })
    }
}

impl<B: Backend> OauthState for Database<B> {
    fn store_code(&self, code: AuthorizationCode) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::StoreCode(code)))
    }

    fn take_code(&self, sha256: Sha256, client: &str) -> Answer<'_, TakenCode> {
        Box::pin(self.backend.write(oauth::TakeCode { sha256, client: client.to_owned() }))
    }

    fn store_refresh(&self, token: RefreshToken) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::StoreRefresh(token)))
    }

    fn refresh(&self, sha256: Sha256, client: &str) -> Answer<'_, RefreshState> {
        Box::pin(self.backend.read(oauth::ReadRefresh { sha256, client: client.to_owned() }))
    }

    fn rotate_refresh(&self, old: Sha256, client: &str, new: RefreshToken) -> Answer<'_, RefreshState> {
        Box::pin(self.backend.write(oauth::RotateRefresh { old, client: client.to_owned(), new }))
    }

    fn store_access(&self, family: &str, token: RevokedToken) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::StoreAccess { family: family.to_owned(), token }))
    }

    fn revoke_family(&self, family: &str) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::RevokeFamily(family.to_owned())))
    }

    fn revoke_tokens(&self, tokens: Vec<RevokedToken>) -> Answer<'_, Revision> {
        Box::pin(self.backend.write(oauth::RevokeTokens(tokens)))
    }

    fn first_use(&self, id: &str, expires_at: i64) -> Answer<'_, bool> {
        Box::pin(self.backend.write(oauth::FirstUse { id: id.to_owned(), expires_at }))
    }

    fn store_session(&self, session: Session) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::StoreSession(session)))
    }

    fn session(&self, sha256: Sha256) -> Answer<'_, Option<Session>> {
        Box::pin(self.backend.read(oauth::ReadSession(sha256)))
    }

    fn end_session(&self, sha256: Sha256) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::EndSessions::One(sha256)))
    }

    fn end_sessions_of(&self, user: &str) -> Answer<'_, ()> {
        Box::pin(self.backend.write(oauth::EndSessions::Of(user.to_owned())))
    }
}

impl<B: Backend> Upkeep for Database<B> {
    fn clean_up(&self, bound: u32) -> Answer<'_, CleanedUp> {
        Box::pin(self.backend.write(upkeep::CleanUp { bound }))
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Answer<'a, BackedUp> {
        Box::pin(backup::backup(self, to))
    }

    fn migrate(&self) -> Answer<'_, Migrated> {
        Box::pin(async move {
            let (from, to) = self.backend.migrate().await?;
            Ok(Migrated { from, to })
        })
    }

    fn place(&self) -> String {
        self.backend.place()
    }
}
