//! Who calls: the one type that authentication and authorisation share.
//!
//! Authentication makes a [`Principal`] and forgets the credential; authorisation reads it and never asks how it came
//! about. Nothing secret is in it, so it may be shown, logged and kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::scopes::ScopeSet;

/// The caller of a request, as far as it is known.
#[derive(Clone, Debug, Default)]
pub enum Principal {
    /// Nobody in particular: the operation says `auth: none`.
    #[default]
    Anonymous,
    /// Somebody who proved it.
    Caller(Arc<Caller>),
}

impl Principal {
    /// The one who proved it, if anybody did.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Anonymous => None,
            Self::Caller(caller) => Some(caller),
        }
    }
}

/// Somebody who proved who they are.
///
/// At least one of [`Caller::consumer`] and [`Caller::user`] is there: a token of the engine's own authorisation server
/// may have both, the client's consumer and the person who consented.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The consumer: the party that has the contract, the plan and the keys.
    pub consumer: Option<Arc<str>>,
    /// The person, where one logged in.
    pub user: Option<Arc<str>>,
    /// What the consumer's tier is called.
    pub plan: Option<Arc<str>>,
    /// Groups of consumer and user together.
    pub groups: Arc<[Arc<str>]>,
    /// What the catalogue says about the consumer, or about the user where there is one.
    pub attributes: Arc<Attributes>,
    /// Whether it may move real money.
    pub mode: Mode,
    /// How it was proved.
    pub method: AuthMethod,
    /// The id of the API key, never the key.
    pub key_id: Option<Arc<str>>,
    /// The OAuth client that got the token.
    pub client_id: Option<Arc<str>>,
    /// What the credential may be used for.
    pub scopes: Arc<ScopeSet>,
    /// Changes whenever anything above changes in the catalogue: decisions that were made for another one are void.
    pub generation: u64,
}

/// How a caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A key of the catalogue.
    ApiKey,
    /// A JSON Web Token of an issuer that the configuration names.
    Jwt,
    /// A token of the engine's own authorisation server.
    Oauth,
    /// A token that another authorisation server vouched for (RFC 7662).
    Introspection,
    /// A client certificate.
    Mtls,
}

impl AuthMethod {
    /// All methods.
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::Jwt, Self::Oauth, Self::Introspection, Self::Mtls];

    /// The name in the configuration, in `X-Auth-Method`, in the log and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Jwt => "jwt",
            Self::Oauth => "oauth",
            Self::Introspection => "introspection",
            Self::Mtls => "mtls",
        }
    }
}

/// Whether a credential is for real work or for trying things out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Real money.
    #[default]
    Live,
    /// Reaches a version's sandbox, and nothing else ever.
    Test,
}

impl Mode {
    /// The name on the command line, in keys, in the log and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// Attributes by name, in the order of their names, so that equal ones are written equally.
pub type Attributes = BTreeMap<String, Attribute>;

/// A value that policies can compare. There is no floating-point number in it on purpose: money is counted, not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Long(i64),
    /// A text.
    Text(String),
    /// Several values.
    List(Vec<Self>),
    /// Values by name.
    Record(BTreeMap<String, Self>),
}
