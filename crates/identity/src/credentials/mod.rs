//! What a request presents, and whether that is enough: functions of header values, without a look at any table.
//!
//! [`read`] says what was presented. Rules, in this order:
//! - A field that may stand once and stands several times is 400 `conflicting_credentials`, whatever is in it.
//! - `Authorization` is a scheme in any case, spaces, and one credential of the characters of RFC 6750 (`b64token`). Anything else
//!   is 401. Nothing is trimmed or unescaped, so a key in another case or with a look-alike is simply another text.
//! - `Bearer msk_...` is an API key. It and `X-API-Key` together must be the same text.
//! - A Bearer credential with exactly two dots is a JSON Web Token; any other is opaque (introspection).
//! - `Basic` is for the OAuth endpoints alone ([`basic()`]).
//! - Longer than [`CREDENTIAL_BYTES_MAX`] is 401 without another look.
//!
//! [`in_query`] finds credentials in a query string, which are refused and never used.
//!
//! [`Requirement`] is an operation's `auth`: any of several, each of one method or of several bound together. All
//! credentials that were presented, are accepted by the operation and were proved must belong to one consumer; else it
//! is 400. A credential in a header that is wrong refuses the request even where another would do: its sender
//! meant it. A client certificate belongs to the connection, not to the request, so a wrong one only counts where
//! nothing else is enough.

mod basic;
mod challenge;
mod query;
mod require;
#[cfg(test)]
mod tests;

pub use basic::{BasicPair, basic};
pub use challenge::{Challenge, challenges};
pub use query::in_query;
pub use require::{Attempt, Relevant, Requirement};

use crate::refusal::Refusal;

/// Longer credentials are not looked at.
pub const CREDENTIAL_BYTES_MAX: usize = 16 * 1024;

/// What a request presents in its header fields. Its `Debug` shows lengths only.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Presented<'a> {
    /// An API key, ours or an imported one.
    pub api_key: Option<&'a [u8]>,
    /// A token.
    pub token: Option<Token<'a>>,
}

/// A Bearer credential that is no API key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Three parts with dots between.
    Jwt(&'a [u8]),
    /// Anything else.
    Opaque(&'a [u8]),
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Presented(key: {:?} bytes, token: {:?})", self.api_key.map(<[u8]>::len), self.token)
    }
}

impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, text) = match self {
            Self::Jwt(text) => ("Jwt", text),
            Self::Opaque(text) => ("Opaque", text),
        };
        write!(f, "{kind}({} bytes)", text.len())
    }
}

/// Reads the values of the key's header (`auth.api_keys.header`) and of `Authorization`.
///
/// # Errors
/// A field stands twice, a value is no credential, or two keys differ.
pub fn read<'a>(
    api_key: impl IntoIterator<Item = &'a [u8]>,
    authorization: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Presented<'a>, Refusal> {
    let (key, authorization) = (only(api_key)?, only(authorization)?);
    let mut presented = Presented::default();
    if let Some(key) = key {
        presented.api_key = Some(bounded(key)?);
    }
    let Some(authorization) = authorization else { return Ok(presented) };
    let (scheme, credential) = split(authorization)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::Scheme);
    }
    let credential = bounded(credential)?;
    if !is_b64token(credential) {
        return Err(Refusal::MalformedField);
    }
    if credential.starts_with(b"msk_") {
        return match presented.api_key.replace(credential) {
            Some(other) if other != credential => Err(Refusal::RepeatedField),
            _ => Ok(presented),
        };
    }
    let dots = credential.iter().filter(|byte| **byte == b'.').count();
    presented.token = Some(if dots == 2 { Token::Jwt(credential) } else { Token::Opaque(credential) });
    Ok(presented)
}

fn only<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Refusal> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() { Err(Refusal::RepeatedField) } else { Ok(first) }
}

fn bounded(credential: &[u8]) -> Result<&[u8], Refusal> {
    if credential.len() > CREDENTIAL_BYTES_MAX { Err(Refusal::TooLong) } else { Ok(credential) }
}

/// `scheme 1*SP credential`.
fn split(authorization: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let space = authorization.iter().position(|byte| *byte == b' ').ok_or(Refusal::MalformedField)?;
    let (scheme, rest) = authorization.split_at(space);
    let begin = rest.iter().position(|byte| *byte != b' ').ok_or(Refusal::MalformedField)?;
    Ok((scheme, &rest[begin..]))
}

fn is_b64token(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = &text[..text.len() - padding];
    !body.is_empty()
        && body.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        })
}
