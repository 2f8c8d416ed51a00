//! What the authorisation server keeps between two requests.
//!
//! Every secret is handed in as its hash. Each answer is an atomic step: of two callers with the same code or token, one
//! gets it, and the other is told that it was used.

use serde::{Deserialize, Serialize};

use super::{RevokedToken, Sha256};

/// An authorisation code (RFC 6749, section 4.1), good for one use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// SHA-256 of the code.
    pub sha256: Sha256,
    /// Which client asked.
    pub client: String,
    /// Who consented.
    pub user: String,
    /// What the request said; the token request must say the same. `None`: it said nothing.
    #[serde(default)]
    pub redirect_uri: Option<String>,
    /// What was consented to.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Resource indicators (RFC 8707).
    #[serde(default)]
    pub resources: Vec<String>,
    /// The PKCE challenge (RFC 7636, S256).
    pub challenge: String,
    /// What all tokens that come of this consent have in common; revoked together.
    pub family: String,
    /// When the user logged in.
    pub auth_time: i64,
    /// From then on it is not accepted.
    pub expires_at: i64,
}

/// What came of presenting a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenCode {
    /// It is the caller's, and nobody else gets it.
    Taken(AuthorizationCode),
    /// It was used before. Everything that came of it is revoked now (RFC 6749, section 4.1.2).
    Reused {
        /// What was revoked.
        family: String,
    },
    /// It was good once.
    Expired,
    /// There is no such code of this client.
    Unknown,
}

/// A refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshToken {
    /// SHA-256 of the token.
    pub sha256: Sha256,
    /// What all tokens of one consent have in common.
    pub family: String,
    /// Whose it is.
    pub client: String,
    /// Who consented.
    #[serde(default)]
    pub user: Option<String>,
    /// What it may be exchanged for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Resource indicators (RFC 8707).
    #[serde(default)]
    pub resources: Vec<String>,
    /// When the user logged in.
    pub auth_time: i64,
    /// When it was made.
    pub created_at: i64,
    /// From then on it is not accepted.
    pub expires_at: i64,
    /// The access token that was given out with it: revoked with the family.
    #[serde(default)]
    pub access: Option<RevokedToken>,
}

/// What a refresh token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshState {
    /// It may be exchanged. For [`super::OauthState::rotate_refresh`]: it has been, and the new one is in its place.
    Good(RefreshToken),
    /// It had been exchanged before, so two parties have it: the whole family is revoked now (RFC 9700, section 4.14).
    /// For [`super::OauthState::refresh`], which only looks: it had been exchanged, and nothing is revoked.
    Reused {
        /// Which family.
        family: String,
    },
    /// Its family is revoked.
    Revoked,
    /// It was good once.
    Expired,
    /// There is no such token of this client.
    Unknown,
}

/// Somebody logged in with a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub sha256: Sha256,
    /// Who.
    pub user: String,
    /// When they logged in.
    pub created_at: i64,
    /// From then on it is over.
    pub expires_at: i64,
}

/// How much a clean-up removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedUp {
    /// Rows that are gone.
    pub removed: u64,
    /// The bound of one run was reached: there may be more.
    pub more: bool,
}
