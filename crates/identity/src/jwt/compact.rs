//! A token as bytes: three parts, canonical base64url, a JSON object in the first two (RFC 7515, section 7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::object;
use super::refusal::TokenRefusal;
use crate::credentials::CREDENTIAL_BYTES_MAX;

/// A token that can be read, and is not believed.
pub(super) struct Compact<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// The bytes that are signed: header, dot, claims.
    pub(super) signed: &'a [u8],
    /// Canonical base64url, not empty.
    pub(super) signature: &'a str,
}

/// Reads a token without believing it.
pub(super) fn read(token: &[u8]) -> Result<Compact<'_>, TokenRefusal> {
    if token.len() > CREDENTIAL_BYTES_MAX {
        return Err(TokenRefusal::Malformed);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    // Five parts are an encrypted token: nothing of it is looked at.
    let mut next = || parts.next();
    let (Some(header), Some(claims), Some(signature), None) = (next(), next(), next(), next()) else {
        return Err(TokenRefusal::Kind);
    };
    let signature = std::str::from_utf8(signature).map_err(|_| TokenRefusal::Malformed)?;
    if decode(signature.as_bytes())?.is_empty() {
        return Err(TokenRefusal::Signature);
    }
    Ok(Compact {
        header: object(&decode(header)?).ok_or(TokenRefusal::Malformed)?,
        claims: object(&decode(claims)?).ok_or(TokenRefusal::Malformed)?,
        signed: &token[..token.len() - signature.len() - 1],
        signature,
    })
}

/// No padding, no other alphabet, no bits left over: one text for each value.
fn decode(part: &[u8]) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}
