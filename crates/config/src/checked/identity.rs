//! Who calls, after every check.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::principal::{Attributes, AuthMethod};
use serde::{Deserialize, Serialize};

use super::{Forward, IntrospectionServer, JwtIssuer, Outbound, Priority};

/// `stores`, `auth`, `plans` and `consumers`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Identity {
    /// `None`: nothing is kept, because no operation asks for credentials and no `stores` is written.
    pub stores: Option<Stores>,
    /// `auth.api_keys`.
    pub api_keys: ApiKeysAuth,
    /// `auth.jwt.issuers`.
    pub issuers: Vec<JwtIssuer>,
    /// `auth.introspection`.
    pub introspection: Vec<IntrospectionServer>,
    /// `auth.outbound`.
    pub outbound: Outbound,
    /// `auth.forward`.
    pub forward: Forward,
    /// `auth.oauth`; `None`: there is no authorisation server.
    #[serde(default)]
    pub oauth: Option<Oauth>,
    /// By name.
    pub plans: BTreeMap<String, Plan>,
    /// By id, without duplicates.
    pub consumers: Vec<Consumer>,
}

/// `stores`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stores {
    /// Consumers, keys and their audit.
    pub catalogue: Store,
    /// Where the key is that seals; `None`: nothing is sealed.
    #[serde(default)]
    pub secret_key: Option<SecretKey>,
}

/// `stores.secret_key`: where it is, never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretKey {
    /// A file, made when it is not there. Absolute, or relative to the working directory.
    File(PathBuf),
    /// A file that must be there, because others have to have the same.
    SharedFile(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// `auth.oauth`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oauth {
    /// `iss`, without a trailing slash.
    pub issuer: String,
    /// Its host in lower case, without a port; what requests are matched by.
    pub host: String,
    /// Its path, without a trailing slash; empty for none.
    pub path: String,
    /// How long an access token is good.
    pub access_token: Duration,
    /// How long a refresh token is good that nobody uses.
    pub refresh_token: Duration,
}

/// One store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// Absolute, or relative to the working directory.
    Sqlite(PathBuf),
    /// `postgres://...`; may hold a password.
    Postgres(String),
}

/// `auth.api_keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeysAuth {
    /// In lower case.
    pub header: String,
}

impl Default for ApiKeysAuth {
    fn default() -> Self {
        Self { header: "x-api-key".to_owned() }
    }
}

/// `plans.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// For operations that do not say so themselves.
    pub priority: Priority,
}

/// One of `consumers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// 1 to 64 letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// For people; the id where there is none.
    pub name: String,
    /// One of the plans.
    pub plan: Option<String>,
    /// For policies.
    pub groups: Vec<String>,
    /// For policies.
    pub attributes: Attributes,
}

/// `server.preauth`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preauth {
    /// Wrong credentials of one address that are looked at in a second.
    pub rate_per_s: f64,
    /// How many of them may come at once.
    pub burst: u32,
}

/// Who may call an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// Anyone.
    #[default]
    None,
    /// Whoever passes one of these; at least one.
    Any(Vec<AuthRule>),
}

/// One way to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthRule {
    /// By one proof.
    One(AuthMethod),
    /// By all of these together; at least two.
    All(Vec<AuthMethod>),
}

impl std::fmt::Display for AuthRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(method) => f.write_str(method.name()),
            Self::All(methods) => {
                f.write_str(&methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(" and "))
            }
        }
    }
}
