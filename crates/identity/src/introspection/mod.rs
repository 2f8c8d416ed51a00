//! Opaque tokens of other servers: what their answers to introspection (RFC 7662) say. Nothing here asks.
//!
//! An answer is read once ([`read`]) and kept as what it is: claims that the server vouches for, until a time. Who that
//! is ([`Active::caller`]) is asked of the index each time that it may have changed, so a suspended consumer is out at once
//! although the server still says `active`.
//!
//! - An answer is kept until the token's own `exp`, and never longer than [`ServerPlan::keep_ms`]: that long a token is accepted
//!   after the server has taken it back. One that says `active: false` is kept for [`REFUSED_MS`], so that a token
//!   that somebody keeps sending does not cost a question each time.
//! - `active` alone lets nobody in: `iss`, `aud`, `nbf` and `exp` are checked against the plan and our clock where they stand in
//!   the answer, and so is what kind of token it is.
//! - What is no such answer is [`NoAnswer`]: the server has failed, which is 503 and never 401.

#[cfg(test)]
mod tests;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{AuthMethod, Caller};
use serde_json::{Map, Value};

use crate::index::Index;
use crate::jwt::claims::{check_audience, check_kind, time_ms};
use crate::jwt::who::who;
use crate::jwt::{Subject, TokenRefusal, json};

/// How long it is remembered that a token is not accepted.
pub const REFUSED_MS: i64 = 10_000;
/// Longer answers are not read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One of `auth.introspection`.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// What it is called, and what `iss` must say where it stands in an answer.
    pub issuer: Box<str>,
    /// One of them must stand in `aud`. None: the answer needs none, for the server knows who asks.
    pub audiences: Vec<Box<str>>,
    /// How far its clock and ours may be apart.
    pub clock_skew_ms: i64,
    /// How long an answer is kept at the most.
    pub keep_ms: i64,
    /// Who its tokens are of; never [`Subject::Own`].
    pub subject: Subject,
}

/// What a server vouches for.
#[derive(Clone, Debug)]
pub struct Active {
    claims: Map<String, Value>,
    /// From then on it has to be asked again.
    pub ends_at: UnixMs,
}

/// The server has given no answer that can be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// Reads an answer.
///
/// # Errors
/// It is none.
pub fn read(text: &[u8], plan: &ServerPlan, now: UnixMs) -> Result<Result<Active, TokenRefusal>, NoAnswer> {
    let claims = json::object(text).ok_or(NoAnswer)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(check(claims, plan, now)),
        Some(Value::Bool(false)) => Ok(Err(TokenRefusal::Inactive)),
        _ => Err(NoAnswer),
    }
}

fn check(claims: Map<String, Value>, plan: &ServerPlan, now: UnixMs) -> Result<Active, TokenRefusal> {
    check_kind(&claims)?;
    if claims.get("iss").is_some_and(|iss| iss.as_str() != Some(&plan.issuer)) {
        return Err(TokenRefusal::Issuer);
    }
    if !plan.audiences.is_empty() {
        check_audience(claims.get("aud"), &plan.audiences)?;
    }
    if claims.contains_key("cnf") {
        return Err(TokenRefusal::Bound);
    }
    let ends_at_ms = time_ms(&claims, "exp", f64::floor)?;
    if ends_at_ms.is_some_and(|at| now.0 >= at.saturating_add(plan.clock_skew_ms)) {
        return Err(TokenRefusal::Expired);
    }
    let not_before_ms = time_ms(&claims, "nbf", f64::ceil)?;
    if not_before_ms.is_some_and(|at| now.0.saturating_add(plan.clock_skew_ms) < at) {
        return Err(TokenRefusal::NotYetValid);
    }
    let kept_until_ms = now.0.saturating_add(plan.keep_ms);
    // Without the skew: it is for tokens, not for how long something may be kept.
    let ends_at = UnixMs(ends_at_ms.map_or(kept_until_ms, |at| at.max(now.0 + 1).min(kept_until_ms)));
    Ok(Active { claims, ends_at })
}

impl Active {
    /// Who it is, by what the index says now.
    ///
    /// # Errors
    /// It names nobody who is let in.
    pub fn caller(&self, plan: &ServerPlan, index: &Index) -> Result<Caller, TokenRefusal> {
        who(&self.claims, &plan.subject, AuthMethod::Introspection, index)
    }
}
