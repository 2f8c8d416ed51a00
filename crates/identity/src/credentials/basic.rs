//! `Authorization: Basic`, as OAuth clients use it (RFC 6749, section 2.3.1): two form-encoded texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::query::percent_decoded;
use super::{bounded, only, split};
use crate::refusal::Refusal;

/// A client's id and secret. Neither is shown by `Debug`.
#[derive(PartialEq, Eq)]
pub struct BasicPair {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for BasicPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BasicPair(secret)")
    }
}

/// Reads the values of `Authorization` at an OAuth endpoint. `None`: there is none.
///
/// # Errors
/// The field stands twice, has another scheme, or is no pair.
pub fn basic<'a>(authorization: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<BasicPair>, Refusal> {
    let Some(value) = only(authorization)? else { return Ok(None) };
    let (scheme, credential) = split(value)?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(Refusal::Scheme);
    }
    let pair = STANDARD.decode(bounded(credential)?).map_err(|_| Refusal::MalformedField)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(Refusal::MalformedField)?;
    let id = percent_decoded(&pair[..colon]);
    let secret = percent_decoded(&pair[colon + 1..]);
    let id = String::from_utf8(id).map_err(|_| Refusal::MalformedField)?;
    if id.is_empty() || id.chars().any(char::is_control) {
        return Err(Refusal::MalformedField);
    }
    Ok(Some(BasicPair { id, secret }))
}
