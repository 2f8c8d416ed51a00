//! Tokens that were verified, kept by a worker: no lock, no second look at a signature.
//!
//! What is kept is known by the SHA-256 of the token; the token itself is not kept. An answer is given again only as long as
//! everything that it was made from is the same: the token's own end, its issuer's key set (which also becomes another when
//! it is too old to be used), the index of who is known, the numbers of scopes, and the configuration ([`Epoch`]). A
//! revocation or suspension changes the index's generation and so voids what was kept with the next request.
//!
//! Two parts, so that nonsense cannot push good tokens out: good ones, bounded in bytes; and a few of those that are wrong for
//! good ([`TokenRefusal::Malformed`], [`TokenRefusal::Signature`]), for a short time. Anything that may be
//! different the next time, an unknown key before all, is not kept.

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Caller;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::jwt::{TokenRefusal, Verified};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Bytes of good tokens, as estimated; an entry counts at least [`ENTRY_BYTES`].
    pub bytes_max: u64,
    /// Number of wrong ones.
    pub wrong_max: usize,
    /// How long a wrong one is kept.
    pub wrong_ms: i64,
}

/// What an entry counts before its texts.
pub const ENTRY_BYTES: u64 = 512;

impl Default for CachePlan {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, wrong_max: 1024, wrong_ms: 10_000 }
    }
}

/// What answers depend on beside the token and its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// [`crate::index::Index::generation`], read before the index was asked.
    pub index: u64,
    /// [`mainstay_core::scopes::ScopeNames::len`].
    pub scopes: usize,
    /// The configuration's.
    pub config: u64,
}

/// The tokens that a worker knows.
pub struct TokenCache {
    good: Cache<[u8; 32], Good, Bytes, Keyed>,
    wrong: Cache<[u8; 32], Wrong, quick_cache::UnitWeighter, Keyed>,
    wrong_ms: i64,
}

struct Good {
    caller: Arc<Caller>,
    ends_at: UnixMs,
    issuer: usize,
    keys: u64,
    epoch: Epoch,
}

struct Wrong {
    refusal: TokenRefusal,
    until: UnixMs,
    /// Zero where no key was asked.
    issuer_keys: Option<(usize, u64)>,
    config: u64,
}

impl TokenCache {
    /// An empty one. The seed keeps clients from choosing tokens that collide.
    pub fn new(plan: CachePlan, seed: [u64; 2]) -> Self {
        let keyed = Keyed(seed);
        let entries = usize::try_from(plan.bytes_max / ENTRY_BYTES).unwrap_or(usize::MAX).max(1);
        let good = Cache::with(entries, plan.bytes_max.max(1), Bytes, keyed, Default::default());
        let wrong_max = plan.wrong_max.max(1);
        let wrong = Cache::with(wrong_max, wrong_max as u64, Default::default(), keyed, Default::default());
        Self { good, wrong, wrong_ms: plan.wrong_ms }
    }

    /// What is known of the token with this hash. `keys`: the generation of an issuer's key set.
    #[inline]
    pub fn get(
        &mut self,
        token: &Sha256,
        epoch: &Epoch,
        keys: impl Fn(usize) -> u64,
        now: UnixMs,
    ) -> Option<Result<&Arc<Caller>, TokenRefusal>> {
        if let Some(good) = self.good.get(&token.0) {
            let is_same = good.epoch == *epoch && good.keys == keys(good.issuer);
            return (is_same && now < good.ends_at).then_some(Ok(&good.caller));
        }
        let wrong = self.wrong.get(&token.0)?;
        let is_same = wrong.config == epoch.config
            && wrong.issuer_keys.is_none_or(|(issuer, generation)| generation == keys(issuer));
        (is_same && now < wrong.until).then_some(Err(wrong.refusal))
    }

    /// Keeps what came of a token. `issuer_keys`: its issuer and the generation of the key set, both read before it
    /// was verified; `None` where it did not come to that.
    pub fn put(
        &mut self,
        token: &Sha256,
        epoch: Epoch,
        issuer_keys: Option<(usize, u64)>,
        outcome: &Result<Verified, TokenRefusal>,
        now: UnixMs,
    ) {
        match (outcome, issuer_keys) {
            (Ok(verified), Some((issuer, keys))) => {
                let caller = Arc::clone(&verified.caller);
                let good = Good { caller, ends_at: verified.ends_at, issuer, keys, epoch };
                self.good.insert(token.0, good);
            }
            (Err(refusal @ (TokenRefusal::Malformed | TokenRefusal::Signature)), issuer_keys) => {
                let until = UnixMs(now.0.saturating_add(self.wrong_ms));
                let wrong = Wrong { refusal: *refusal, until, issuer_keys, config: epoch.config };
                self.wrong.insert(token.0, wrong);
            }
            _ => {}
        }
    }

    /// How many good and wrong tokens are kept.
    pub fn len(&self) -> (usize, usize) {
        (self.good.len(), self.wrong.len())
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// Estimated bytes of good tokens.
    pub fn bytes(&self) -> u64 {
        self.good.weight()
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCache({:?})", self.len())
    }
}

/// An estimate: what belongs to the token alone. Groups, attributes and plan are the index's.
#[derive(Clone)]
struct Bytes;

impl Weighter<[u8; 32], Good> for Bytes {
    fn weight(&self, _: &[u8; 32], good: &Good) -> u64 {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
        let caller = &good.caller;
        let texts =
            text(&caller.consumer) + text(&caller.user) + text(&caller.client_id) + text(&caller.plan);
        // A set of scopes is at most SCOPE_NAMES_MAX bits.
        ENTRY_BYTES + texts as u64
    }
}

/// Eight bytes of a SHA-256, stirred with a secret: even already, and nobody outside knows which collide.
#[derive(Clone, Copy)]
struct Keyed([u64; 2]);

impl BuildHasher for Keyed {
    type Hasher = Stir;

    #[inline]
    fn build_hasher(&self) -> Stir {
        Stir { seed: self.0, hash: 0 }
    }
}

struct Stir {
    seed: [u64; 2],
    hash: u64,
}

impl Hasher for Stir {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // The length of the array comes first; only the array itself has eight bytes or more.
        if let Some((first, _)) = bytes.split_first_chunk::<8>().filter(|_| bytes.len() == 32) {
            let product =
                u128::from(u64::from_le_bytes(*first) ^ self.seed[0]) * u128::from(self.seed[1] | 1);
            self.hash = (product >> 64) as u64 ^ product as u64;
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}
