//! A JWK set (RFC 7517, section 5), read: the keys that can verify something here, and why others cannot.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::jwt::json::object;
use crate::jwt::{Algorithm, KeyKind, TokenRefusal, of_library};

/// Larger sets are not read.
pub const SET_BYTES_MAX: usize = 256 * 1024;
/// Keys behind these are not looked at.
pub const SET_KEYS_MAX: usize = 64;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT_MIN: u64 = 65_537;
const KEY_ID_BYTES_MAX: usize = 256;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

/// A key that can verify.
pub struct PublicKey {
    id: Option<Box<str>>,
    kind: KeyKind,
    /// The one algorithm it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Why a text is no set. The set that is held goes on being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// More than [`SET_BYTES_MAX`].
    TooLarge,
    /// Not a JSON object with a list of keys.
    Malformed,
    /// No key in it can be used. An empty set is a mistake of the issuer, not a revocation of all its tokens.
    NoUsableKey,
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNote {
    /// It is no object, or a member is missing, not canonical or of a wrong length.
    Malformed,
    /// Its type, curve or algorithm is not one of ours, or they do not fit one another.
    Unsupported,
    /// It is for something other than verifying signatures.
    OtherUse,
    /// Too short to be safe, or with an exponent that is.
    Weak,
    /// A private key or a shared secret: it has no business in a published set.
    Secret,
    /// Another key with this id and kind came before it.
    Duplicate,
    /// It stands behind as many as are looked at.
    TooMany,
}

impl KeySet {
    /// Reads a set, with a note for each key that is left out: its place in the list, and why.
    ///
    /// # Errors
    /// It is no set, or nothing of it can be used.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<(usize, KeyNote)>), SetError> {
        if text.len() > SET_BYTES_MAX {
            return Err(SetError::TooLarge);
        }
        let set = object(text).ok_or(SetError::Malformed)?;
        let Some(Value::Array(all)) = set.get("keys") else { return Err(SetError::Malformed) };
        let (mut keys, mut notes) = (Vec::<PublicKey>::new(), Vec::new());
        for (at, jwk) in all.iter().enumerate() {
            if at >= SET_KEYS_MAX {
                notes.push((at, KeyNote::TooMany));
                break;
            }
            match jwk.as_object().ok_or(KeyNote::Malformed).and_then(PublicKey::read) {
                Ok(key) if keys.iter().any(|k| k.id.is_some() && k.id == key.id && k.kind == key.kind) => {
                    notes.push((at, KeyNote::Duplicate));
                }
                Ok(key) => keys.push(key),
                Err(note) => notes.push((at, note)),
            }
        }
        if keys.is_empty() { Err(SetError::NoUsableKey) } else { Ok((Self { keys }, notes)) }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a token means.
    ///
    /// # Errors
    /// `UnknownKey`: there is none, and there may be in a newer set. Else nothing newer helps.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&PublicKey, TokenRefusal> {
        let fits = |key: &&PublicKey| {
            key.kind == KeyKind::of(algorithm) && key.algorithm.is_none_or(|it| it == algorithm)
        };
        if let Some(id) = id {
            let mut named = self.keys.iter().filter(|key| key.id.as_deref() == Some(id)).peekable();
            if named.peek().is_none() {
                return Err(TokenRefusal::UnknownKey);
            }
            return named.find(fits).ok_or(TokenRefusal::Algorithm);
        }
        let mut fitting = self.keys.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(TokenRefusal::AmbiguousKey),
            (None, _) => Err(TokenRefusal::UnknownKey),
        }
    }
}

impl PublicKey {
    /// Whether it made this signature, a text of base64url, with this algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        KeyKind::of(algorithm) == self.kind
            && jsonwebtoken::crypto::verify(signature, signed, &self.key, of_library(algorithm))
                .unwrap_or(false)
    }

    fn read(jwk: &Map<String, Value>) -> Result<Self, KeyNote> {
        if ["d", "p", "q", "k"].iter().any(|name| jwk.contains_key(*name)) {
            return Err(KeyNote::Secret);
        }
        check_use(jwk)?;
        let (kind, key) = match (text(jwk, "kty")?, text(jwk, "crv")) {
            ("RSA", _) => (KeyKind::Rsa, rsa(jwk)?),
            ("EC", Ok("P-256")) => (KeyKind::P256, curve_point(jwk, 32)?),
            ("EC", Ok("P-384")) => (KeyKind::P384, curve_point(jwk, 48)?),
            ("OKP", Ok("Ed25519")) => (KeyKind::Ed25519, edwards(jwk)?),
            _ => return Err(KeyNote::Unsupported),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => {
                let known = alg.as_str().and_then(Algorithm::from_name);
                Some(known.filter(|it| KeyKind::of(*it) == kind).ok_or(KeyNote::Unsupported)?)
            }
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= KEY_ID_BYTES_MAX => Some(id.as_str().into()),
            Some(_) => return Err(KeyNote::Malformed),
        };
        Ok(Self { id, kind, algorithm, key })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?}, {:?})", self.kind, self.algorithm)
    }
}

fn check_use(jwk: &Map<String, Value>) -> Result<(), KeyNote> {
    let for_signatures = match jwk.get("use") {
        None => true,
        Some(Value::String(it)) => it == "sig",
        Some(_) => return Err(KeyNote::Malformed),
    };
    let for_verifying = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(all)) => all.iter().any(|it| it == "verify"),
        Some(_) => return Err(KeyNote::Malformed),
    };
    if for_signatures && for_verifying { Ok(()) } else { Err(KeyNote::OtherUse) }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, KeyNote> {
    jwk.get(name).and_then(Value::as_str).ok_or(KeyNote::Malformed)
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, KeyNote> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| KeyNote::Malformed)
}

fn rsa(jwk: &Map<String, Value>) -> Result<DecodingKey, KeyNote> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // RFC 7518, section 6.3.1: as few bytes as there can be.
    let (Some(&first @ 1..), Some(1..)) = (n.first(), e.first()) else { return Err(KeyNote::Malformed) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    let exponent =
        e.iter().fold(0_u64, |value, byte| value.saturating_mul(256).saturating_add(u64::from(*byte)));
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !RSA_BITS.contains(&bits) || exponent < RSA_EXPONENT_MIN || !is_odd(&n) || !is_odd(&e) {
        return Err(KeyNote::Weak);
    }
    // More than the library takes.
    if exponent > u64::from(u32::MAX) {
        return Err(KeyNote::Unsupported);
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn curve_point(jwk: &Map<String, Value>, length: usize) -> Result<DecodingKey, KeyNote> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err(KeyNote::Malformed);
    }
    // A point that is not on the curve is refused by the library whenever it is used.
    Ok(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
}

fn edwards(jwk: &Map<String, Value>) -> Result<DecodingKey, KeyNote> {
    let x = bytes(jwk, "x")?;
    if x.len() == 32 { Ok(DecodingKey::from_ed_der(&x)) } else { Err(KeyNote::Malformed) }
}
