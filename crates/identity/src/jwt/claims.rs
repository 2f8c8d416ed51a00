//! The claims, checked against an issuer's plan and our clock (RFC 7519, section 4.1; RFC 9068, section 4).

use mainstay_core::clock::UnixMs;
use serde_json::{Map, Value};

use super::plan::{IssuerPlan, Subject};
use super::refusal::TokenRefusal;

/// The last second of the year 9999: later times are nonsense, and adding to them must not overflow.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// Claims that only ID tokens have (OpenID Connect Core, section 3.3.2.11), or security events (RFC 8417).
const OF_OTHER_TOKENS: [&str; 4] = ["at_hash", "c_hash", "s_hash", "events"];

/// What a `typ` among the claims says of tokens that are no access tokens (Keycloak).
const OTHER_TYPES: [&str; 4] = ["id", "refresh", "offline", "logout"];

/// Claims that are checked.
pub(super) struct Checked {
    /// From then on the token is over, clock skew included.
    pub(super) ends_at: UnixMs,
}

/// Checks everything that needs no key and no index.
pub(super) fn check(
    claims: &Map<String, Value>,
    plan: &IssuerPlan,
    now: UnixMs,
) -> Result<Checked, TokenRefusal> {
    check_kind(claims)?;
    check_audience(claims.get("aud"), &plan.audiences)?;
    let skew_ms = plan.clock_skew_ms;
    let ends_at = UnixMs(time_ms(claims, "exp", f64::floor)?.ok_or(TokenRefusal::Claim)? + skew_ms);
    let not_before_ms = time_ms(claims, "nbf", f64::ceil)?;
    let issued_at_ms = time_ms(claims, "iat", f64::floor)?;
    if matches!(plan.subject, Subject::Own) {
        check_own(claims)?;
    }
    if now >= ends_at {
        return Err(TokenRefusal::Expired);
    }
    let is_later = |at: Option<i64>| at.is_some_and(|at| now.0.saturating_add(skew_ms) < at);
    if is_later(not_before_ms) || is_later(issued_at_ms) {
        return Err(TokenRefusal::NotYetValid);
    }
    // Bound to a key by DPoP or a certificate (RFC 9449, RFC 8705): taking it from anybody would undo that.
    if claims.contains_key("cnf") {
        return Err(TokenRefusal::Bound);
    }
    Ok(Checked { ends_at })
}

pub(crate) fn check_kind(claims: &Map<String, Value>) -> Result<(), TokenRefusal> {
    let says_other = claims
        .get("typ")
        .and_then(Value::as_str)
        .is_some_and(|typ| OTHER_TYPES.contains(&typ.to_ascii_lowercase().as_str()));
    if says_other || OF_OTHER_TOKENS.iter().any(|name| claims.contains_key(*name)) {
        return Err(TokenRefusal::Type);
    }
    Ok(())
}

pub(crate) fn check_audience(aud: Option<&Value>, audiences: &[Box<str>]) -> Result<(), TokenRefusal> {
    let is_ours = |aud: &str| audiences.iter().any(|ours| **ours == *aud);
    let is_for_us = match aud {
        None => return Err(TokenRefusal::Audience),
        Some(Value::String(aud)) => is_ours(aud),
        Some(Value::Array(all)) => {
            let mut found = false;
            for aud in all {
                found |= is_ours(aud.as_str().ok_or(TokenRefusal::Claim)?);
            }
            found
        }
        Some(_) => return Err(TokenRefusal::Claim),
    };
    if is_for_us { Ok(()) } else { Err(TokenRefusal::Audience) }
}

/// What RFC 9068, section 2.2, requires.
fn check_own(claims: &Map<String, Value>) -> Result<(), TokenRefusal> {
    let is_text = |name: &str| claims.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if is_text("sub") && is_text("client_id") && is_text("jti") && claims.contains_key("iat") {
        Ok(())
    } else {
        Err(TokenRefusal::Claim)
    }
}

/// A NumericDate in milliseconds: a JSON number, fractions allowed, of a year that exists.
pub(crate) fn time_ms(
    claims: &Map<String, Value>,
    name: &str,
    round: impl Fn(f64) -> f64,
) -> Result<Option<i64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(TokenRefusal::Claim)?;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(TokenRefusal::Claim);
    }
    Ok(Some(round(seconds) as i64 * 1000))
}
