//! The kinds of records under one roof, as they are listed, loaded and followed.

use serde::{Deserialize, Serialize};

use super::{ApiKey, Consumer, OauthClient, Sha256, SigningKey, User};

/// Which version of a record somebody saw: the revision of the change that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Etag(pub u64);

/// What sort of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Consumer`], by its id.
    Consumer,
    /// [`ApiKey`], by its id; belongs to a consumer.
    Key,
    /// [`OauthClient`], by its id; may belong to a consumer.
    Client,
    /// [`User`], by the name.
    User,
    /// [`SigningKey`], by its id.
    SigningKey,
    /// [`RevokedToken`], by the token's id.
    RevokedToken,
    /// [`AdminToken`], by its id.
    AdminToken,
}

impl Kind {
    /// All kinds, in the order in which they are loaded: an owner before what it owns.
    pub const ALL: [Self; 7] = [
        Self::Consumer,
        Self::Key,
        Self::Client,
        Self::User,
        Self::SigningKey,
        Self::RevokedToken,
        Self::AdminToken,
    ];

    /// The name in the store, in the audit and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Key => "key",
            Self::Client => "client",
            Self::User => "user",
            Self::SigningKey => "signing_key",
            Self::RevokedToken => "revoked_token",
            Self::AdminToken => "admin_token",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A record of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A consumer.
    Consumer(Consumer),
    /// An API key.
    Key(ApiKey),
    /// An OAuth client.
    Client(OauthClient),
    /// A person.
    User(User),
    /// A key that signs access tokens.
    SigningKey(SigningKey),
    /// An access token that is not accepted although it has not expired.
    RevokedToken(RevokedToken),
    /// A credential of the admin API.
    AdminToken(AdminToken),
}

impl Record {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Consumer(_) => Kind::Consumer,
            Self::Key(_) => Kind::Key,
            Self::Client(_) => Kind::Client,
            Self::User(_) => Kind::User,
            Self::SigningKey(_) => Kind::SigningKey,
            Self::RevokedToken(_) => Kind::RevokedToken,
            Self::AdminToken(_) => Kind::AdminToken,
        }
    }

    /// What it is found by among its kind.
    pub fn id(&self) -> &str {
        match self {
            Self::Consumer(consumer) => &consumer.id,
            Self::Key(key) => &key.id,
            Self::Client(client) => &client.id,
            Self::User(user) => &user.name,
            Self::SigningKey(key) => &key.id,
            Self::RevokedToken(token) => &token.id,
            Self::AdminToken(token) => &token.id,
        }
    }
}

/// A record as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub record: Record,
    /// To be handed in with a change, so that nobody's work is overwritten.
    pub etag: Etag,
}

/// An access token that is not accepted although it has not expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedToken {
    /// The token's `jti`.
    pub id: String,
    /// From then on nobody accepts it anyway, and the record goes.
    pub expires_at: i64,
}

/// A credential of the admin API, without the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminToken {
    /// Names it in lists and in the audit.
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256 of the token, which has 256 random bits.
    pub sha256: Sha256,
    /// What it may do.
    pub role: Role,
    /// Apis it may change and see; empty: all.
    #[serde(default)]
    pub apis: Vec<String>,
    /// When it was made.
    pub created_at: i64,
    /// From then on it is not accepted.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// Since then it is not accepted.
    #[serde(default)]
    pub revoked_at: Option<i64>,
}

/// What a token of the admin API may do. Each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees.
    Viewer,
    /// Changes what comes and goes in daily work: consumers, keys, clients, caches.
    Operator,
    /// Everything, tokens of the admin API and signing keys included.
    Owner,
}
