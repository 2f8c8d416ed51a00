//! What may happen to the catalogue, who did it, and what is remembered of it.

use serde::{Deserialize, Serialize};

use super::{
    AdminToken, ApiKey, Consumer, Etag, Kind, OauthClient, Record, Revision, Sha256, SigningKey, Stored, User,
};
use crate::port::Json;

/// One change. It and its audit record are written together, or neither.
///
/// An update replaces the whole record, except for what the variant says it keeps: read, alter, write back with the ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new consumer.
    CreateConsumer(Consumer),
    /// Keeps `created_at`.
    UpdateConsumer(Consumer),
    /// With its keys and its OAuth clients.
    DeleteConsumer {
        /// Whose id.
        id: String,
    },
    /// A new key.
    CreateKey {
        /// The key.
        key: ApiKey,
        /// Its consumer stands in the configuration, so the catalogue need not have it.
        consumer_in_file: bool,
    },
    /// A key that was issued elsewhere.
    ImportKey {
        /// The key.
        key: ApiKey,
        /// Its consumer stands in the configuration, so the catalogue need not have it.
        consumer_in_file: bool,
    },
    /// Another key in the place of this one, which is accepted for a while still.
    RotateKey {
        /// The old one; it must be accepted now.
        id: String,
        /// The new one, of the same consumer and mode.
        new: ApiKey,
        /// When the old one expires, if it does not do so before.
        old_expires_at: i64,
    },
    /// What a key may be used for and from where.
    RestrictKey {
        /// The key's id.
        id: String,
        /// In place of [`ApiKey::scopes`].
        scopes: Vec<String>,
        /// In place of [`ApiKey::addresses`].
        addresses: Vec<String>,
        /// In place of [`ApiKey::apis`].
        apis: Vec<String>,
    },
    /// Sets when a key expires.
    ExpireKey {
        /// The key's id.
        id: String,
        /// From then on it is not accepted.
        at: i64,
    },
    /// From now on it is not accepted, for ever. Of several times the first one stands.
    RevokeKey {
        /// The key's id.
        id: String,
    },
    /// A new OAuth client.
    CreateClient {
        /// The client.
        client: OauthClient,
        /// Its consumer stands in the configuration, so the catalogue need not have it.
        consumer_in_file: bool,
    },
    /// Keeps `created_at`, `kind` and `secret_sha256`.
    UpdateClient {
        /// The client.
        client: OauthClient,
        /// Its consumer stands in the configuration, so the catalogue need not have it.
        consumer_in_file: bool,
    },
    /// With its codes and refresh tokens.
    DeleteClient {
        /// The client's id.
        id: String,
    },
    /// The old secret is accepted no more.
    SetClientSecret {
        /// The client's id.
        id: String,
        /// `None`: it has none.
        sha256: Option<Sha256>,
    },
    /// A new person.
    CreateUser(User),
    /// Keeps `created_at` and `password_hash`.
    UpdateUser(User),
    /// Ends the user's browser sessions.
    SetPassword {
        /// Whose.
        name: String,
        /// Argon2id in the PHC format.
        password_hash: String,
    },
    /// With the user's sessions, codes and refresh tokens.
    DeleteUser {
        /// Whose.
        name: String,
    },
    /// A new signing key.
    AddSigningKey(SigningKey),
    /// It signs no more, and verifies still.
    RetireSigningKey {
        /// The key's id.
        id: String,
        /// From then on.
        at: i64,
    },
    /// A retired key is gone; its private half is erased at once.
    RemoveSigningKey {
        /// The key's id.
        id: String,
        /// From then on.
        at: i64,
    },
    /// A new credential of the admin API.
    CreateAdminToken(AdminToken),
    /// From now on it is not accepted.
    RevokeAdminToken {
        /// The token's id.
        id: String,
    },
}

impl Change {
    /// Its name in the audit.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::CreateConsumer(_) => "consumer.create",
            Self::UpdateConsumer(_) => "consumer.update",
            Self::DeleteConsumer { .. } => "consumer.delete",
            Self::CreateKey { .. } => "key.create",
            Self::ImportKey { .. } => "key.import",
            Self::RotateKey { .. } => "key.rotate",
            Self::RestrictKey { .. } => "key.restrict",
            Self::ExpireKey { .. } => "key.expire",
            Self::RevokeKey { .. } => "key.revoke",
            Self::CreateClient { .. } => "client.create",
            Self::UpdateClient { .. } => "client.update",
            Self::DeleteClient { .. } => "client.delete",
            Self::SetClientSecret { .. } => "client.secret",
            Self::CreateUser(_) => "user.create",
            Self::UpdateUser(_) => "user.update",
            Self::SetPassword { .. } => "user.password",
            Self::DeleteUser { .. } => "user.delete",
            Self::AddSigningKey(_) => "signing_key.add",
            Self::RetireSigningKey { .. } => "signing_key.retire",
            Self::RemoveSigningKey { .. } => "signing_key.remove",
            Self::CreateAdminToken(_) => "admin_token.create",
            Self::RevokeAdminToken { .. } => "admin_token.revoke",
        }
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The id of the admin token, or which part of the engine (`engine:key_rotation`).
    pub id: String,
    /// Where they called from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The request that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A change that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The catalogue's revision with it.
    pub revision: Revision,
    /// Where its audit record is.
    pub audit: u64,
    /// The record as it is now (the new key of a rotation); `None` when it is deleted.
    pub stored: Option<Stored>,
}

impl Applied {
    /// What the record is at now.
    pub fn etag(&self) -> Option<Etag> {
        self.stored.as_ref().map(|stored| stored.etag)
    }

    /// The record as it is now.
    pub fn record(&self) -> Option<&Record> {
        self.stored.as_ref().map(|stored| &stored.record)
    }
}

/// What is remembered of a change, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// From 1, without gaps.
    pub number: u64,
    /// When.
    pub at: i64,
    /// Who.
    pub actor: Actor,
    /// What: [`Change::action`].
    pub action: String,
    /// To which kind of record.
    pub kind: Kind,
    /// To which record.
    pub id: String,
    /// The record before, without secrets and without their hashes; absent when it was made.
    pub before: Option<Json>,
    /// The record after, likewise; absent when it was deleted.
    pub after: Option<Json>,
    /// SHA-256 over the hash of the record before this one and over all of the above.
    pub hash: Sha256,
}

/// Which audit records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Older than this number; `None`: from the newest on.
    pub before: Option<u64>,
    /// About this kind of record only.
    pub kind: Option<Kind>,
    /// About the record of this id only.
    pub id: Option<String>,
    /// How many; at most [`super::port::PAGE_MAX`].
    pub limit: usize,
}

/// Whether the audit is what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is.
    Whole {
        /// How many records there are.
        records: u64,
        /// The last one's hash: whoever keeps it elsewhere can tell later that nothing before it was altered.
        head: Sha256,
    },
    /// It is not.
    Broken {
        /// The first record that is not what was written, or is missing.
        number: u64,
        /// A sentence that says what is wrong with it.
        why: String,
    },
}
