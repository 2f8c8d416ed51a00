//! The catalogue's vocabulary: who is known, and what they hold.
//!
//! The store keeps these records, identity indexes them, control shows and changes them; they meet here. Times are
//! milliseconds since 1970 (UTC). No record holds a secret: what a caller presents is kept as a hash only, and what must
//! be recoverable is [`Sealed`].
//!
//! [`record`] puts the kinds of records under one roof, [`change`] says what may happen to them and what is remembered
//! of it, [`oauth`] what the authorisation server keeps between two requests, and [`port`] how a store is asked.

pub mod change;
pub mod error;
pub mod oauth;
pub mod port;
pub mod record;

pub use change::{Actor, Applied, AuditRecord, Change};
pub use error::StoreError;
pub use port::{Catalogue, OauthState, Sealer, Store, Upkeep};
pub use record::{AdminToken, Etag, Kind, Record, RevokedToken, Role, Stored};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::principal::{Attributes, Mode};

/// Counts every committed change of a catalogue up by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// The party that has the contract, the plan and the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// 1 to 64 of `a-z A-Z 0-9 _ - .`; never changes.
    pub id: String,
    /// For people.
    pub name: String,
    /// What its tier is called; `None`: the default one.
    #[serde(default)]
    pub plan: Option<String>,
    /// For policies.
    #[serde(default)]
    pub groups: Vec<String>,
    /// For policies.
    #[serde(default)]
    pub attributes: Attributes,
    /// Nothing it holds is accepted.
    #[serde(default)]
    pub suspended: bool,
    /// When it was made.
    pub created_at: i64,
}

/// An API key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// `key_` and 22 base62 digits.
    pub id: String,
    /// Whose it is.
    pub consumer: String,
    /// Live or test.
    pub mode: Mode,
    /// SHA-256 of the whole key.
    pub sha256: Sha256,
    /// What it may be used for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Networks it may be used from; empty: all.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Apis it may be used for; empty: all.
    #[serde(default)]
    pub apis: Vec<String>,
    /// When it was made.
    pub created_at: i64,
    /// From then on it is not accepted.
    #[serde(default)]
    pub expires_at: Option<i64>,
    /// Since then it is not accepted.
    #[serde(default)]
    pub revoked_at: Option<i64>,
    /// When it was seen last, to the minute; written now and then, never for a request.
    #[serde(default)]
    pub last_used_at: Option<i64>,
}

/// An OAuth client (RFC 6749, section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthClient {
    /// `client_` and 22 base62 digits.
    pub id: String,
    /// Shown on the consent page.
    pub name: String,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// On whose behalf it acts.
    #[serde(default)]
    pub consumer: Option<String>,
    /// Compared exactly (RFC 9700, section 2.1).
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// `client_credentials`, `authorization_code`, `refresh_token`.
    #[serde(default)]
    pub grants: Vec<String>,
    /// SHA-256 of its secret, which has 256 random bits.
    #[serde(default)]
    pub secret_sha256: Option<Sha256>,
    /// Its public keys for `private_key_jwt`, a JWK set as text.
    #[serde(default)]
    pub jwks: Option<String>,
    /// Live or test: what its tokens reach.
    pub mode: Mode,
    /// Nothing it presents is accepted.
    #[serde(default)]
    pub disabled: bool,
    /// When it was made.
    pub created_at: i64,
}

/// Whether an OAuth client can keep a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// It can: it runs on a server.
    Confidential,
    /// It cannot: it runs in a browser or on a telephone.
    Public,
}

/// A person of the engine's own user store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they log in with; never changes.
    pub name: String,
    /// Argon2id in the PHC format; not shown by the admin API.
    #[serde(default)]
    pub password_hash: String,
    /// For policies.
    #[serde(default)]
    pub groups: Vec<String>,
    /// For policies.
    #[serde(default)]
    pub attributes: Attributes,
    /// May not log in, and tokens are not accepted.
    #[serde(default)]
    pub disabled: bool,
    /// When it was made.
    pub created_at: i64,
}

/// A key that signs access tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// `kid` in tokens.
    pub id: String,
    /// `ES256` or `EdDSA` or `RS256`.
    pub algorithm: String,
    /// The public half, a JWK as text.
    pub public_jwk: String,
    /// The private half, PKCS#8, sealed.
    #[serde(default)]
    pub private: Sealed,
    /// When it was made; it is published from then on.
    pub created_at: i64,
    /// From then on it signs.
    pub active_from: i64,
    /// From then on it signs no more, and verifies still.
    #[serde(default)]
    pub retired_at: Option<i64>,
    /// From then on it is gone.
    #[serde(default)]
    pub removed_at: Option<i64>,
}

/// SHA-256 of something that nobody may read back. Written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl Sha256 {
    /// 64 lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex_digits(&self.0)
    }

    /// From 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        read_hex(text, &mut bytes)?;
        Some(Self(bytes))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
    }
}

/// What only the holder of `stores.secret_key` can open. Its bytes may be stored anywhere. Written as hex digits.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl Serialize for Sealed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex_digits(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = vec![0; text.len() / 2];
        match read_hex(&text, &mut bytes) {
            Some(()) => Ok(Self(bytes)),
            None => Err(serde::de::Error::custom("expected hex digits")),
        }
    }
}

fn hex_digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Fills `bytes` from exactly twice as many hex digits.
fn read_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(())
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_hex_and_read_back() {
        let hash = Sha256([0xa5; 32]);
        assert_eq!(hash.to_hex(), "a5".repeat(32));
        assert_eq!(Sha256::from_hex(&"A5".repeat(32)), Some(hash));
        for bad in ["", "a5", &"a5".repeat(33), &"g5".repeat(32), &"é".repeat(32)] {
            assert_eq!(Sha256::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_sealed_is_written_as_hex_and_read_back() {
        let sealed = Sealed(vec![0, 0x7f, 0xff]);
        let text = serde_json::to_string(&sealed).unwrap();
        assert_eq!(text, "\"007fff\"");
        assert_eq!(serde_json::from_str::<Sealed>(&text).unwrap(), sealed);
        for bad in ["\"0\"", "\"0g\"", "\"0é\"", "[1]"] {
            assert!(serde_json::from_str::<Sealed>(bad).is_err(), "{bad}");
        }
    }
}
