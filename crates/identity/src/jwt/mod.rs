//! JSON Web Tokens: read strictly, checked against their issuer's plan, verified, and turned into a caller.
//!
//! In two steps, because between them lies what may have to be fetched:
//! 1. [`prepare`] reads the token, finds its issuer by the `iss` that it claims, and checks all that needs no key: header,
//!    type, audience, times. It costs a few microseconds and never leads to a fetch, so forged and foreign tokens
//!    end here.
//! 2. [`Prepared::verify`] takes the issuer's keys ([`crate::jwks`]), checks the signature with one of them, and says who it
//!    is. From the claimed issuer on everything is bound to it: its algorithms, its audiences, its keys. The same `kid` at two
//!    issuers is two keys.
//!
//! The rules are those of RFC 8725 (best current practices) and RFC 9068 (access tokens), read strictly:
//! - Three parts of canonical base64url; JSON objects without a name twice; at most 16 KiB.
//! - `alg` is one that the issuer may use, fits the kind of its key, and is the key's own where that names one. There is no
//!   `none`, and no algorithm with a shared secret.
//! - Nothing in a header is followed: a token with `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64`, `cty`, `enc`, `zip` or `p2c` is refused.
//! - `exp` must be there; `exp`, `nbf` and `iat` are numbers of a year that exists.
//! - ID tokens, refresh tokens and tokens that are bound to a key are no bearer tokens.

mod algorithm;
pub(crate) mod claims;
mod compact;
mod header;
pub(crate) mod json;
mod plan;
mod refusal;
#[cfg(test)]
mod tests;
pub(crate) mod who;

use std::sync::Arc;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{AuthMethod, Caller};
use serde_json::Value;

pub(crate) use algorithm::of_library;
pub use algorithm::{Algorithm, KeyKind};
pub use plan::{IssuerPlan, Issuers, Subject, TypeRule};
pub use refusal::TokenRefusal;

use crate::index::Index;
use crate::jwks::KeySet;
use compact::Compact;
use header::Header;

/// A token whose text is in order, and that only its issuer's key can still refuse.
pub struct Prepared<'a> {
    compact: Compact<'a>,
    header: Header,
    plan: &'a IssuerPlan,
    issuer: usize,
    ends_at: UnixMs,
}

/// A token that is good.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who it is.
    pub caller: Arc<Caller>,
    /// From then on it is not.
    pub ends_at: UnixMs,
    /// The number of its issuer.
    pub issuer: usize,
}

/// Reads a token and checks all that needs no key.
///
/// # Errors
/// It is not accepted, whatever its signature.
pub fn prepare<'a>(token: &'a [u8], issuers: &'a Issuers, now: UnixMs) -> Result<Prepared<'a>, TokenRefusal> {
    let compact = compact::read(token)?;
    let claimed = compact.claims.get("iss").and_then(Value::as_str).ok_or(TokenRefusal::Issuer)?;
    let (issuer, plan) = issuers.find(claimed).ok_or(TokenRefusal::Issuer)?;
    let header = header::check(&compact.header, plan)?;
    let checked = claims::check(&compact.claims, plan, now)?;
    Ok(Prepared { compact, header, plan, issuer, ends_at: checked.ends_at })
}

impl Prepared<'_> {
    /// The number of the issuer whose keys are needed.
    pub fn issuer(&self) -> usize {
        self.issuer
    }

    /// Which key it says.
    pub fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_deref()
    }

    /// How it says that it is signed.
    pub fn algorithm(&self) -> Algorithm {
        self.header.algorithm
    }

    /// `jti`, by which a token can be taken back.
    pub fn token_id(&self) -> Option<&str> {
        self.compact.claims.get("jti").and_then(Value::as_str)
    }

    /// Checks the signature alone, for tokens that say who somebody is in their own way. From when on it is over.
    ///
    /// # Errors
    /// The key is not among them, or the signature is wrong.
    pub fn verify_signature(&self, keys: &KeySet) -> Result<UnixMs, TokenRefusal> {
        let key = keys.find(self.key_id(), self.algorithm())?;
        if !key.verify(self.algorithm(), self.compact.signed, self.compact.signature) {
            return Err(TokenRefusal::Signature);
        }
        Ok(self.ends_at)
    }

    /// Checks the signature with the issuer's keys, and says who it is.
    ///
    /// # Errors
    /// The key is not among them, the signature is wrong, or nobody is known by the claims.
    pub fn verify(&self, keys: &KeySet, index: &Index) -> Result<Verified, TokenRefusal> {
        self.verify_signature(keys)?;
        let caller = Arc::new(who::who(&self.compact.claims, &self.plan.subject, AuthMethod::Jwt, index)?);
        Ok(Verified { caller, ends_at: self.ends_at, issuer: self.issuer })
    }
}

impl std::fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared(issuer {}, {})", self.issuer, self.header.algorithm.name())
    }
}
