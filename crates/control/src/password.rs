//! Passwords: hashed and compared with argon2id, on threads where that holds nobody up, and only a few at a time.
//!
//! One takes some 20 MiB and tens of milliseconds on purpose. So the number under way and the number that wait are bounded: a
//! flood of logins costs at most that, and who comes too late is told to come again.

use std::sync::{Arc, OnceLock};

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::token::random_bytes;

/// Passwords that are hashed at once.
const AT_ONCE_MAX: usize = 2;
/// Passwords that wait for it.
const WAITING_MAX: usize = 32;
/// Bytes of a password; longer ones are refused before they cost.
pub(crate) const BYTES_MAX: usize = 256;
/// Characters of a password (NIST SP 800-63B asks for at least 8).
pub(crate) const CHARS_MIN: usize = 12;

/// Why a password was not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHashed {
    /// Too many wait already.
    Busy,
    /// A defect, or no randomness or memory.
    Failed,
}

/// Hashes passwords. Clones share one bound.
#[derive(Clone)]
pub(crate) struct Hasher {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            waiting: Arc::new(Semaphore::new(AT_ONCE_MAX + WAITING_MAX)),
        }
    }

    /// The hash of a new password, in the PHC format.
    pub(crate) async fn hash(&self, password: String) -> Result<String, NotHashed> {
        self.run(move || {
            let salt = random_bytes::<16>().map_err(|_| NotHashed::Failed)?;
            hash_with(password.as_bytes(), &salt)
        })
        .await
    }

    /// Whether a password is the one that was hashed. `None`: there is nobody to compare with, which takes as long.
    pub(crate) async fn matches(&self, password: String, hash: Option<String>) -> Result<bool, NotHashed> {
        self.run(move || {
            let stand_in = || STAND_IN.get_or_init(|| hash_with(b"nobody", &[7; 16]).unwrap_or_default());
            let known = hash.as_deref().unwrap_or_else(|| stand_in().as_str());
            let is_it = Argon2::default().verify_password(password.as_bytes(), known).is_ok();
            Ok(is_it && hash.is_some())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, NotHashed> + Send + 'static,
    ) -> Result<T, NotHashed> {
        let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() else { return Err(NotHashed::Busy) };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| NotHashed::Failed)?;
        let work = tokio::task::spawn_blocking(move || {
            // Both go with the work and not with its caller: a caller who leaves has still cost it.
            let (_waiting, _place) = (waiting, place);
            work()
        });
        work.await.unwrap_or(Err(NotHashed::Failed))
    }
}

/// What a name that nobody has is compared with.
static STAND_IN: OnceLock<String> = OnceLock::new();

fn hash_with(password: &[u8], salt: &[u8]) -> Result<String, NotHashed> {
    let hashed = Argon2::default().hash_password_with_salt(password, salt);
    hashed.map(|hash| hash.to_string()).map_err(|_| NotHashed::Failed)
}
