//! Seals: AES-256-GCM with `stores.secret_key`, for what must be recoverable.
//!
//! A seal is `1`, four bytes that name the key, a random nonce of twelve, the ciphertext, a tag of sixteen. What kind of
//! record it belongs to and its id are bound in: a seal that is moved to another record does not open there. With several
//! keys the first one seals and all of them open, until `reseal` has gone through everything.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use mainstay_core::catalogue::{Kind, Sealed, Sealer, StoreError};

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;
const KEYS_MAX: usize = 16;
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// The keys of `stores.secret_key`, the sealing one first.
pub struct Keyring {
    keys: Vec<SecretKey>,
}

struct SecretKey {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

impl Keyring {
    /// Reads keys of 64 hex digits each, separated by white space: the newest, which seals, first.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let invalid = |why: &str| StoreError::Invalid { field: "stores.secret_key", why: why.to_owned() };
        let mut keys = Vec::new();
        for word in text.split_whitespace() {
            let bytes = hex::decode(word).ok().filter(|bytes| bytes.len() == 32);
            let bytes = bytes.ok_or_else(|| invalid("each key is 32 random bytes as 64 hex digits"))?;
            let key =
                RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| invalid("is no AES-256 key"))?;
            keys.push(SecretKey { id: key_id(&bytes), key });
        }
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(invalid(&format!("holds {} keys; 1 to {KEYS_MAX} are expected", keys.len())));
        }
        Ok(Self { keys })
    }

    /// Reads the key file, or makes one with a new key that only its owner can read.
    ///
    /// # Errors
    /// It cannot be read or written, others can read it, or it holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, StoreError> {
        if let Some(text) = read_private(path)? {
            return Self::parse(&text);
        }
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| no_randomness())?;
        create_private(path, &format!("{}\n", hex::encode(bytes)))?;
        // Read back, whoever made it: another process may have been first.
        let text = read_private(path)?.ok_or_else(|| unusable(path, "it is gone again"))?;
        Self::parse(&text)
    }

    /// Reads a key file that must be there.
    ///
    /// # Errors
    /// As [`Keyring::load_or_create`], and when there is none.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let text = read_private(path)?.ok_or_else(|| unusable(path, "there is no such file"))?;
        Self::parse(&text)
    }

    /// Puts a new key in front of those of the file: it seals from then on, and the others open still. Returns all of them.
    ///
    /// # Errors
    /// As [`Keyring::load`]; or there are as many as there may be already. The file is as it was then.
    pub fn add_to(path: &Path) -> Result<Self, StoreError> {
        let old = read_private(path)?.ok_or_else(|| unusable(path, "there is no such file"))?;
        Self::parse(&old)?;
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| no_randomness())?;
        let text = format!("{}\n{}\n", hex::encode(bytes), old.trim());
        let keys = Self::parse(&text)?;
        replace_private(path, &text)?;
        Ok(keys)
    }

    /// Leaves only the newest key in the file. Returns how many went.
    ///
    /// # Errors
    /// As [`Keyring::load`]. The file is as it was then.
    pub fn forget_old(path: &Path) -> Result<usize, StoreError> {
        let old = read_private(path)?.ok_or_else(|| unusable(path, "there is no such file"))?;
        let keys = Self::parse(&old)?.keys.len();
        let newest = old.split_whitespace().next().unwrap_or_default();
        if keys > 1 {
            replace_private(path, &format!("{newest}\n"))?;
        }
        Ok(keys - 1)
    }

    /// Whether something is sealed with the key that seals now.
    pub(crate) fn is_newest(&self, sealed: &Sealed) -> bool {
        sealed.0.get(1..=KEY_ID_BYTES) == Some(&self.keys[0].id)
    }
}

impl Sealer for Keyring {
    fn seal(&self, kind: Kind, id: &str, plain: &[u8]) -> Result<Sealed, StoreError> {
        let newest = &self.keys[0];
        let mut secret = plain.to_vec();
        let nonce = newest
            .key
            .seal_in_place_append_tag(Aad::from(place(kind, id)), &mut secret)
            .map_err(|_| no_randomness())?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + secret.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&newest.id);
        bytes.extend_from_slice(nonce.as_ref());
        bytes.append(&mut secret);
        Ok(Sealed(bytes))
    }

    fn open(&self, kind: Kind, id: &str, sealed: &Sealed) -> Result<Vec<u8>, StoreError> {
        let damaged =
            |why: String| StoreError::Damaged { what: format!("the seal of {} {id:?} {why}", kind.name()) };
        let Some((header, secret)) = sealed.0.split_at_checked(HEADER_BYTES) else {
            return Err(damaged("is cut off".to_owned()));
        };
        if header[0] != VERSION {
            return Err(damaged(format!("is of version {}, which this release does not know", header[0])));
        }
        let key_id = &header[1..=KEY_ID_BYTES];
        let Some(key) = self.keys.iter().find(|key| key.id == key_id) else {
            let wanted = hex::encode(key_id);
            let why = format!("was made with key {wanted}, which is not among stores.secret_key");
            return Err(damaged(why));
        };
        let nonce = Nonce::try_assume_unique_for_key(&header[1 + KEY_ID_BYTES..])
            .map_err(|_| damaged("has no nonce".to_owned()))?;
        let mut secret = secret.to_vec();
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(place(kind, id)), &mut secret)
            .map_err(|_| damaged("is broken: it was altered, or belongs to another record".to_owned()))?;
        Ok(plain.to_vec())
    }
}

/// Names a key without telling anything about it.
fn key_id(key: &[u8]) -> [u8; KEY_ID_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"mainstay key id\0");
    context.update(key);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&context.finish().as_ref()[..KEY_ID_BYTES]);
    id
}

/// What a seal is bound to.
fn place(kind: Kind, id: &str) -> Vec<u8> {
    format!("mainstay\0{}\0{id}", kind.name()).into_bytes()
}

fn no_randomness() -> StoreError {
    StoreError::Unavailable { cause: "the machine gives no random bytes".to_owned() }
}

fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Invalid { field: "stores.secret_key", why: format!("{}: {why}", path.display()) }
}

/// The text of a key file; `None` when there is none.
fn read_private(path: &Path) -> Result<Option<String>, StoreError> {
    let file = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, &error.to_string())),
        Ok(file) => file,
    };
    if file.permissions().mode() & 0o077 != 0 {
        return Err(unusable(
            path,
            "others than its owner can read it; chmod 600 it, and think of whether they did",
        ));
    }
    if file.len() > KEY_FILE_BYTES_MAX {
        return Err(unusable(path, &format!("has more than {KEY_FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map(Some).map_err(|error| unusable(path, &error.to_string()))
}

/// Writes a file beside `path` that only its owner can read.
fn write_beside(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
    Ok(temporary)
}

/// Puts a text in the place of a file's, all of it or nothing.
fn replace_private(path: &Path, text: &str) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| unusable(path, &error.to_string());
    let temporary = write_beside(path, text).map_err(failed)?;
    fs::rename(&temporary, path).and_then(|()| sync_folder(path)).map_err(failed)
}

/// Writes a file that is there as a whole or not at all. One that is there already is left as it is.
fn create_private(path: &Path, text: &str) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| unusable(path, &error.to_string());
    let temporary = write_beside(path, text).map_err(failed)?;
    // A link, not a rename: it never takes the place of a key that another process has just made.
    let linked = match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(failed),
    };
    let _ = fs::remove_file(&temporary);
    linked?;
    sync_folder(path).map_err(failed)
}

/// A name in a folder outlives a power cut only when the folder is written too.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
