//! What a worker has found in the index of who is known, kept for as long as nothing changes there.

use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::UnixMs;
use mainstay_identity::KeyRefusal;
use mainstay_identity::index::{Found, Index};
use mainstay_identity::key::sha256;
use rustc_hash::FxHashMap;

/// Keys of one worker. More than are in use at a time on most engines, and about half a MiB.
const KEYS_MAX: usize = 2048;

/// Keys that were found, by the hash of their text.
#[derive(Default)]
pub struct KnownKeys {
    generation: u64,
    found: FxHashMap<Sha256, Found>,
}

impl KnownKeys {
    /// Who holds the key. Only good ones are kept: a wrong one costs the same each time.
    ///
    /// # Errors
    /// See [`Index::authenticate`].
    pub fn find(&mut self, index: &Index, text: &[u8], now: UnixMs) -> Result<Found, KeyRefusal> {
        // Read before the lookup: what changes meanwhile makes it out of date.
        let generation = index.generation();
        if self.generation != generation {
            self.found.clear();
            self.generation = generation;
        }
        let hash = sha256(text);
        if let Some(found) = self.found.get(&hash)
            && found.expires_at().is_none_or(|at| now < at)
        {
            return Ok(found.clone());
        }
        let found = index.authenticate(text, now)?;
        if self.found.len() >= KEYS_MAX {
            // All of them: which are in use shows at once, and looking one up again is cheap.
            self.found.clear();
        }
        self.found.insert(hash, found.clone());
        Ok(found)
    }
}
