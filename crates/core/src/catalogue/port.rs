//! How a store is asked. One port, whatever lies behind it.
//!
//! Every future is bounded in time: a store that does not answer is [`StoreError::Unavailable`]. A call whose future is
//! dropped may still be carried out, once and as a whole. The date comes from the clock that the store was opened with.

use std::path::Path;

use super::change::{AuditQuery, Verified};
use super::oauth::{AuthorizationCode, CleanedUp, RefreshState, RefreshToken, Session, TakenCode};
use super::{
    Actor, Applied, AuditRecord, Change, Etag, Kind, Record, Revision, RevokedToken, Sealed, Sha256,
    StoreError, Stored,
};
use crate::port::PortFuture;

/// The most items of one page.
pub const PAGE_MAX: usize = 500;

/// What a store answers.
pub type Answer<'a, T> = PortFuture<'a, Result<T, StoreError>>;

/// Everything there is behind `stores.catalogue`.
pub trait Store: Catalogue + OauthState + Upkeep {}

impl<T: Catalogue + OauthState + Upkeep> Store for T {}

/// Who is known, and what they hold.
pub trait Catalogue: Send + Sync + 'static {
    /// Hands every record to `visit`, owners before what they own, all as of the revision that is returned.
    ///
    /// Nothing is held back: a million keys need the memory of a thousand.
    fn load<'a>(&'a self, visit: &'a mut (dyn FnMut(Record) + Send)) -> Answer<'a, Revision>;

    /// What has changed since, oldest first; of a record that changed twice only how it is now.
    fn changes(&self, since: Revision) -> Answer<'_, Changes>;

    /// Returns when the catalogue has probably changed since, here or on another node, at the latest when something did
    /// within the last two seconds. It never fails: while the store cannot be asked it waits.
    fn changed(&self, since: Revision) -> PortFuture<'_, ()>;

    /// The revision now.
    fn revision(&self) -> Answer<'_, Revision>;

    /// One record, or [`StoreError::NotFound`].
    fn get(&self, kind: Kind, id: &str) -> Answer<'_, Stored>;

    /// A page of records of one kind, in the order of their ids.
    fn list(&self, list: List) -> Answer<'_, Page>;

    /// Makes a change and its audit record, or neither. With `expected`, only if the record is still at that version.
    fn apply(&self, change: Change, by: Actor, expected: Option<Etag>) -> Answer<'_, Applied>;

    /// A page of the audit, newest first.
    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<AuditRecord>>;

    /// Reads the whole audit and follows the chain of its hashes.
    fn verify_audit(&self) -> Answer<'_, Verified>;

    /// Remembers when keys were seen last. Later wins, keys that are gone are left out, nothing is audited and no
    /// revision is made.
    fn touch_keys(&self, used: Vec<(String, i64)>) -> Answer<'_, ()>;
}

/// Which records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Of this kind.
    pub kind: Kind,
    /// Belonging to this consumer only.
    pub consumer: Option<String>,
    /// After this cursor; `None`: from the first on.
    pub after: Option<String>,
    /// How many; at most [`PAGE_MAX`].
    pub limit: usize,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their ids.
    pub items: Vec<Stored>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
}

/// What has changed since a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These records.
    Since {
        /// With them the reader is at this revision.
        revision: Revision,
        /// There is more: ask again at once.
        more: bool,
        /// Oldest change first.
        records: Vec<RecordChange>,
    },
    /// It was too long ago: load everything.
    LoadAgain,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// It is new, or says something else than before.
    Changed(Record),
    /// It is gone.
    Removed {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
}

/// What the authorisation server keeps between two requests. Nothing of it is audited.
pub trait OauthState: Send + Sync + 'static {
    /// Keeps a code until it is taken or expires.
    fn store_code(&self, code: AuthorizationCode) -> Answer<'_, ()>;

    /// Takes a code, exactly once. One that belongs to another client is unknown, and stays.
    fn take_code(&self, sha256: Sha256, client: &str) -> Answer<'_, TakenCode>;

    /// Begins a family of refresh tokens with its first one.
    fn store_refresh(&self, token: RefreshToken) -> Answer<'_, ()>;

    /// Looks at a refresh token, and changes nothing.
    fn refresh(&self, sha256: Sha256, client: &str) -> Answer<'_, RefreshState>;

    /// Puts a new token of the same family in the place of a good one, which is returned. If somebody has done so before,
    /// the family is revoked.
    fn rotate_refresh(&self, old: Sha256, client: &str, new: RefreshToken) -> Answer<'_, RefreshState>;

    /// Remembers an access token that came of a consent without a refresh token, so that it ends with the family.
    fn store_access(&self, family: &str, token: RevokedToken) -> Answer<'_, ()>;

    /// Ends a family: its refresh tokens, and the access tokens that were given out with them.
    fn revoke_family(&self, family: &str) -> Answer<'_, ()>;

    /// Makes all nodes refuse these access tokens until they expire. Makes a revision.
    fn revoke_tokens(&self, tokens: Vec<RevokedToken>) -> Answer<'_, Revision>;

    /// Whether this is the first time that somebody shows this id (`jti` of a client assertion). It is remembered until then.
    fn first_use(&self, id: &str, expires_at: i64) -> Answer<'_, bool>;

    /// Somebody has logged in.
    fn store_session(&self, session: Session) -> Answer<'_, ()>;

    /// Who logged in, if it is not over.
    fn session(&self, sha256: Sha256) -> Answer<'_, Option<Session>>;

    /// Somebody logs out.
    fn end_session(&self, sha256: Sha256) -> Answer<'_, ()>;

    /// Somebody logs out everywhere.
    fn end_sessions_of(&self, user: &str) -> Answer<'_, ()>;
}

/// What keeps a store in order.
pub trait Upkeep: Send + Sync + 'static {
    /// Removes what has expired and changes that everybody has followed, at most `bound` rows of each table.
    fn clean_up(&self, bound: u32) -> Answer<'_, CleanedUp>;

    /// Writes everything, as of one moment, into one new file that any kind of store can be restored from.
    fn backup<'a>(&'a self, to: &'a Path) -> Answer<'a, BackedUp>;

    /// Brings the schema up to this release's, once no older release runs on it any more.
    fn migrate(&self) -> Answer<'_, Migrated>;

    /// What kind of store, and where, without a password.
    fn place(&self) -> String;
}

/// A backup that is written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Rows of all tables.
    pub rows: u64,
    /// As of this revision.
    pub revision: Revision,
    /// How many audit records, whose chain is whole.
    pub audit_records: u64,
    /// When it was taken.
    pub taken_at: i64,
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema before.
    pub from: u32,
    /// The schema now.
    pub to: u32,
}

/// Seals what must be recoverable, and opens it.
pub trait Sealer: Send + Sync + 'static {
    /// Seals for this place only: what is copied to another record does not open there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the machine has no randomness.
    fn seal(&self, kind: Kind, id: &str, plain: &[u8]) -> Result<Sealed, StoreError>;

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] that says whether the key is missing or the bytes were altered.
    fn open(&self, kind: Kind, id: &str, sealed: &Sealed) -> Result<Vec<u8>, StoreError>;
}
