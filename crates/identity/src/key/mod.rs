//! API keys as texts: made, told apart offline, hashed. Nothing here knows which keys exist.
//!
//! A key is `msk_live_` or `msk_test_`, 43 base62 digits (`0-9A-Za-z`) of 32 random bytes, and 6 base62 digits of the
//! CRC-32 (IEEE) of all before it. The checksum is no secret and proves nothing: it lets a typing error be told as one,
//! and lets scanners find keys in repositories without asking anybody.
//!
//! What is kept of a key is the SHA-256 of the whole text. 256 random bits cannot be guessed, so no salt and no slow hash is
//! needed; and since the lookup goes by that hash, the time it takes depends on a value that nobody can steer: who tries
//! texts one after another learns nothing about how near one was.
//!
//! [`ApiKeyText`] is the one type that holds a key in the clear. It has neither `Display` nor a telling `Debug`; whoever
//! shows it to its owner, once, has to write [`ApiKeyText::reveal`].

mod base62;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use mainstay_core::catalogue::Sha256;
use mainstay_core::principal::Mode;

use base62::{decode_256, encode};

/// How long a key is.
pub const KEY_BYTES: usize = PREFIX_BYTES + DIGITS + CHECK_DIGITS;
/// What all our keys begin with.
const OURS: &[u8] = b"msk_";
const LIVE: &[u8] = b"msk_live_";
const TEST: &[u8] = b"msk_test_";
const PREFIX_BYTES: usize = 9;
const DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;
/// The digits of an id: 128 random bits.
const ID_DIGITS: usize = 22;

/// A key in the clear.
pub struct ApiKeyText([u8; KEY_BYTES]);

impl ApiKeyText {
    /// The key of these 32 bytes, which must come from a generator that is fit for secrets.
    pub fn generate(random: &[u8; 32], mode: Mode) -> Self {
        let mut text = [0; KEY_BYTES];
        text[..PREFIX_BYTES].copy_from_slice(match mode {
            Mode::Live => LIVE,
            Mode::Test => TEST,
        });
        encode(random, &mut text[PREFIX_BYTES..PREFIX_BYTES + DIGITS]);
        let check = check_digits(&text[..PREFIX_BYTES + DIGITS]);
        text[PREFIX_BYTES + DIGITS..].copy_from_slice(&check);
        Self(text)
    }

    /// What is stored of it.
    pub fn sha256(&self) -> Sha256 {
        sha256(&self.0)
    }

    /// The text, for the one answer that shows it to its owner.
    pub fn reveal(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyText(secret)")
    }
}

/// What a text is, as far as the text alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// No key of ours: it may have been issued elsewhere and imported.
    Foreign,
    /// It begins like one of ours and cannot be one: its length, a digit or its mode is wrong.
    Malformed,
    /// It looks like one of ours, and the checksum says that it was changed.
    WrongChecksum,
    /// It can be one of ours.
    Sound(Mode),
}

/// Reads a text as a key. Case counts, and so does every byte: nothing is trimmed.
pub fn form(text: &[u8]) -> KeyForm {
    if !text.starts_with(OURS) {
        return KeyForm::Foreign;
    }
    let mode = match text.get(..PREFIX_BYTES) {
        Some(LIVE) => Mode::Live,
        Some(TEST) => Mode::Test,
        _ => return KeyForm::Malformed,
    };
    let (body, check) = match text.split_at_checked(PREFIX_BYTES + DIGITS) {
        Some((body, check)) if check.len() == CHECK_DIGITS => (body, check),
        _ => return KeyForm::Malformed,
    };
    if decode_256(&body[PREFIX_BYTES..]).is_none() || !check.iter().all(u8::is_ascii_alphanumeric) {
        return KeyForm::Malformed;
    }
    if check_digits(body) == check { KeyForm::Sound(mode) } else { KeyForm::WrongChecksum }
}

/// SHA-256 of a credential's text: what stores, tables and caches know it by.
pub fn sha256(text: &[u8]) -> Sha256 {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text).as_ref());
    Sha256(bytes)
}

/// An id of the catalogue, such as `key_` or `client_` and 22 base62 digits of 16 random bytes.
pub fn id(prefix: &str, random: &[u8; 16]) -> String {
    let mut digits = [0; ID_DIGITS];
    encode(random, &mut digits);
    format!("{prefix}{}", std::str::from_utf8(&digits).unwrap_or_default())
}

fn check_digits(body: &[u8]) -> [u8; CHECK_DIGITS] {
    let mut digits = [0; CHECK_DIGITS];
    encode(&crc32fast::hash(body).to_be_bytes(), &mut digits);
    digits
}
