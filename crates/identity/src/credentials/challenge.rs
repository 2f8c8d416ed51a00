//! `WWW-Authenticate`: what a client should have sent (RFC 9110, section 11.6.1; RFC 6750, section 3).
//!
//! Only fixed text and names from the configuration stand in a challenge, never anything that came with the request.

use std::fmt::Write;

use mainstay_core::principal::AuthMethod;

use super::Requirement;
use crate::refusal::{BearerError, Refusal};

/// What challenges are made from, beside the operation's requirement.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// The protection space: the api's name.
    pub realm: &'a str,
    /// The header that keys are taken from.
    pub api_key_header: &'a str,
    /// Scopes that the operation asks for, for `insufficient_scope`.
    pub scopes: &'a [&'a str],
}

/// The values of `WWW-Authenticate`, one for each way in that the operation accepts, in the order of its `auth`.
///
/// `Bearer` is the way of tokens and of keys; keys get `ApiKey` beside it, which names their header; certificates get
/// `ClientCertificate`. The latter two are no registered schemes: there is none for what they say, and a 401 without a
/// challenge would be no answer at all.
pub fn challenges(requirement: &Requirement, about: &Challenge<'_>, refusal: Option<Refusal>) -> Vec<String> {
    let mut values = Vec::new();
    let takes_bearer = AuthMethod::ALL.iter().any(|m| *m != AuthMethod::Mtls && requirement.accepts(*m));
    if takes_bearer {
        values.push(bearer(about, refusal));
    }
    if requirement.accepts(AuthMethod::ApiKey) {
        values.push(format!("ApiKey realm={}, header={}", quoted(about.realm), quoted(about.api_key_header)));
    }
    if requirement.accepts(AuthMethod::Mtls) {
        values.push(format!("ClientCertificate realm={}", quoted(about.realm)));
    }
    values
}

fn bearer(about: &Challenge<'_>, refusal: Option<Refusal>) -> String {
    let mut value = format!("Bearer realm={}", quoted(about.realm));
    let Some((error, refusal)) = refusal.and_then(|r| Some((r.bearer_error()?, r))) else { return value };
    // Writing to a String cannot fail.
    let _ = write!(value, ", error=\"{}\", error_description={}", error.name(), quoted(refusal.detail()));
    if error == BearerError::InsufficientScope && !about.scopes.is_empty() {
        let _ = write!(value, ", scope={}", quoted(&about.scopes.join(" ")));
    }
    value
}

/// A quoted string without what would end it: configured names with quotes or controls lose them.
fn quoted(text: &str) -> String {
    let inner: String = text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    format!("\"{inner}\"")
}
