//! The header: what may stand in it, and what it may say (RFC 8725).

use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::plan::{IssuerPlan, TypeRule};
use super::refusal::TokenRefusal;

/// Longer key ids are not looked for.
const KEY_ID_BYTES_MAX: usize = 256;

/// Parameters that bring a key along, name a place to fetch one from, change what is signed, or say that something else is
/// inside. None is ever followed; a token with one was made for somebody else, or against us.
const REFUSED: [&str; 10] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "cty", "enc", "zip", "p2c"];

/// What the header says, as far as it is followed.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<Box<str>>,
}

/// Checks the header against what its issuer may send.
pub(super) fn check(header: &Map<String, Value>, plan: &IssuerPlan) -> Result<Header, TokenRefusal> {
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenRefusal::Header);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
    let algorithm = algorithm.filter(|it| plan.algorithms.contains(it)).ok_or(TokenRefusal::Algorithm)?;
    check_type(header.get("typ"), plan.types)?;
    Ok(Header { algorithm, key_id: key_id(header.get("kid"))? })
}

/// RFC 9068, section 4; media types are compared without case, and `application/` may be left out (RFC 7515, section 4.1.9).
fn check_type(typ: Option<&Value>, rule: TypeRule) -> Result<(), TokenRefusal> {
    let typ = match typ {
        None => None,
        Some(Value::String(typ)) => Some(typ.to_ascii_lowercase()),
        Some(_) => return Err(TokenRefusal::Type),
    };
    let is_fine = match typ.as_deref() {
        Some("at+jwt" | "application/at+jwt") => true,
        None | Some("jwt") => rule == TypeRule::Any,
        Some(_) => false,
    };
    if is_fine { Ok(()) } else { Err(TokenRefusal::Type) }
}

/// Only ever compared with the ids of keys that are held: never a path, a query or a line of a log.
fn key_id(kid: Option<&Value>) -> Result<Option<Box<str>>, TokenRefusal> {
    match kid {
        None => Ok(None),
        Some(Value::String(kid)) if kid.len() <= KEY_ID_BYTES_MAX && !kid.chars().any(char::is_control) => {
            Ok(Some(kid.as_str().into()))
        }
        Some(_) => Err(TokenRefusal::KeyId),
    }
}
