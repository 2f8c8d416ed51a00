//! A key as the index keeps it: small, because there are a million of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Mode;
use mainstay_core::scopes::ScopeSet;

use super::network::Network;
use super::people::{ConsumerSlot, text_hash};
use super::table::Place;
use crate::refusal::KeyRefusal;

/// A key. What many of them have in common is shared.
pub(super) struct KeyRecord {
    pub(super) sha256: Sha256,
    pub(super) id: KeyId,
    pub(super) consumer: Arc<ConsumerSlot>,
    pub(super) scopes: Arc<ScopeSet>,
    pub(super) restrictions: Option<Arc<Restrictions>>,
    /// `i64::MAX`: never.
    pub(super) expires_at_ms: i64,
    /// The index's generation in which it was last changed.
    pub(super) generation: u64,
    pub(super) last_used: LastUsed,
    pub(super) mode: Mode,
    pub(super) is_revoked: bool,
    pub(super) is_from_file: bool,
}

impl KeyRecord {
    /// A record that no text leads to: its consumer does not exist.
    pub(super) fn nobodys() -> Self {
        Self {
            sha256: Sha256([0; 32]),
            id: KeyId::new(""),
            consumer: Arc::new(ConsumerSlot::unknown("")),
            scopes: Arc::default(),
            restrictions: None,
            expires_at_ms: i64::MAX,
            generation: 0,
            last_used: LastUsed::default(),
            mode: Mode::Test,
            is_revoked: false,
            is_from_file: false,
        }
    }

    /// Whether nothing is different that could make a difference to a caller.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
            && self.id == other.id
            && Arc::ptr_eq(&self.consumer, &other.consumer)
            && self.scopes == other.scopes
            && self.restrictions == other.restrictions
            && self.expires_at_ms == other.expires_at_ms
            && self.mode == other.mode
            && self.is_revoked == other.is_revoked
            && self.is_from_file == other.is_from_file
    }
}

/// The table that callers are looked up in.
pub(super) struct ByHash;

impl Place<Arc<KeyRecord>> for ByHash {
    #[inline]
    fn hash(entry: &Arc<KeyRecord>) -> u64 {
        sha_hash(&entry.sha256)
    }
}

/// The table that changes are looked up in.
pub(super) struct ByKeyId;

impl Place<Arc<KeyRecord>> for ByKeyId {
    fn hash(entry: &Arc<KeyRecord>) -> u64 {
        entry.id.with_text(text_hash)
    }
}

/// SHA-256 is even enough as it is.
#[inline]
pub(super) fn sha_hash(sha256: &Sha256) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

const ID_PREFIX: &str = "key_";
const ID_DIGITS: usize = 22;

/// The id of a key: `key_` and 22 digits without another allocation, anything else as it is.
#[derive(PartialEq, Eq)]
pub(super) enum KeyId {
    Ours([u8; ID_DIGITS]),
    Other(Box<str>),
}

impl KeyId {
    pub(super) fn new(text: &str) -> Self {
        let digits = text.strip_prefix(ID_PREFIX).map(str::as_bytes);
        match digits.and_then(|digits| <[u8; ID_DIGITS]>::try_from(digits).ok()) {
            Some(digits) if digits.iter().all(u8::is_ascii_alphanumeric) => Self::Ours(digits),
            _ => Self::Other(text.into()),
        }
    }

    pub(super) fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Other(text) => read(text),
            Self::Ours(digits) => {
                let mut text = [0; ID_PREFIX.len() + ID_DIGITS];
                text[..ID_PREFIX.len()].copy_from_slice(ID_PREFIX.as_bytes());
                text[ID_PREFIX.len()..].copy_from_slice(digits);
                read(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    }
}

/// Where and for what a key may be used.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Restrictions {
    /// `None`: from everywhere. An empty list: from nowhere (its entries could not be read).
    pub(super) addresses: Option<Box<[Network]>>,
    /// `None`: for all.
    pub(super) apis: Option<Box<[Box<str>]>>,
}

impl Restrictions {
    pub(super) fn check(&self, address: Option<IpAddr>, api: &str) -> Result<(), KeyRefusal> {
        if let Some(networks) = &self.addresses {
            // A client without an address (a local socket) is in no network.
            let is_in = address.is_some_and(|it| networks.iter().any(|network| network.contains(it)));
            if !is_in {
                return Err(KeyRefusal::Address);
            }
        }
        match &self.apis {
            Some(apis) if !apis.iter().any(|it| **it == *api) => Err(KeyRefusal::Api),
            _ => Ok(()),
        }
    }
}

/// The minute of the last use, and the minute that was last drained.
#[derive(Default)]
pub(super) struct LastUsed(AtomicU64);

impl LastUsed {
    /// As it is stored: what came from the store need not be written there again.
    pub(super) fn stored(at_ms: Option<i64>) -> Self {
        let minute = at_ms.map_or(0, minute);
        Self(AtomicU64::new(u64::from(minute) << 32 | u64::from(minute)))
    }

    /// The later of both, for a record that takes another's place.
    pub(super) fn merged(&self, older: &Self) -> Self {
        let (a, b) = (self.0.load(Ordering::Relaxed), older.0.load(Ordering::Relaxed));
        let used = (a >> 32).max(b >> 32);
        let drained = (a & 0xffff_ffff).max(b & 0xffff_ffff);
        Self(AtomicU64::new(used << 32 | drained))
    }

    #[inline]
    pub(super) fn touch(&self, now: UnixMs) {
        let now = u64::from(minute(now.0));
        let seen = self.0.load(Ordering::Relaxed);
        if seen >> 32 < now {
            // Another worker may do the same in between: both write the same minute. A drain in between is done again.
            self.0.store(now << 32 | (seen & 0xffff_ffff), Ordering::Relaxed);
        }
    }

    pub(super) fn at(&self) -> Option<UnixMs> {
        let used = self.0.load(Ordering::Relaxed) >> 32;
        (used > 0).then(|| UnixMs(used as i64 * 60_000))
    }

    /// The time of a use since the last drain.
    pub(super) fn drain(&self) -> Option<UnixMs> {
        let seen = self.0.load(Ordering::Relaxed);
        let used = seen >> 32;
        if used <= seen & 0xffff_ffff {
            return None;
        }
        // A use in between wins: it is then drained the next time.
        let drained = used << 32 | used;
        let _ = self.0.compare_exchange(seen, drained, Ordering::Relaxed, Ordering::Relaxed);
        Some(UnixMs(used as i64 * 60_000))
    }
}

fn minute(at_ms: i64) -> u32 {
    u32::try_from(at_ms.div_euclid(60_000)).unwrap_or(0)
}
