//! `stores.secret_key`: read, made at the first start, proven against what is sealed, and exchanged.

use std::path::Path;
use std::sync::Arc;

use mainstay_config::checked::{Checked, SecretKey, Store};
use mainstay_core::catalogue::port::{List, PAGE_MAX};
use mainstay_core::catalogue::{Catalogue, Kind, Record, Sealer, StoreError};
use mainstay_store::{FileLock, Keyring, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

/// Reads the keys, and makes a first one where that is for this process to do.
pub(crate) fn load(place: &SecretKey) -> Result<Keyring, StoreError> {
    match place {
        SecretKey::File(path) => Keyring::load_or_create(path),
        SecretKey::SharedFile(path) => Keyring::load(path),
        SecretKey::Variable(name) => match std::env::var(name) {
            Ok(text) => Keyring::parse(&text),
            Err(_) => Err(invalid(format!("the environment variable {name} is not set"))),
        },
    }
}

/// Whether everything sealed can be opened. Found out at the start, and not when a signing key is needed.
pub(crate) async fn check<C: Catalogue + ?Sized>(store: &C, keys: &Keyring) -> Result<(), StoreError> {
    let list = List { kind: Kind::SigningKey, consumer: None, after: None, limit: PAGE_MAX };
    for stored in store.list(list).await?.items {
        let Record::SigningKey(key) = stored.record else { continue };
        if !key.private.0.is_empty() {
            keys.open(Kind::SigningKey, &key.id, &key.private).map_err(|error| wrong(&error))?;
        }
    }
    Ok(())
}

fn wrong(error: &StoreError) -> StoreError {
    invalid(format!(
        "it does not open what is sealed in the catalogue: {error}. Put the key that was used before back (a copy of the \
         old file, or the one beside the backup that was restored)"
    ))
}

fn invalid(why: String) -> StoreError {
    StoreError::Invalid { field: "stores.secret_key", why }
}

/// What of an exchange to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put a new key in front of the others.
    Add,
    /// Seal everything with the newest.
    Reseal,
    /// Both.
    Rotate,
    /// Leave only the newest in the file.
    Forget,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// A new key is in the file.
    pub(crate) added: bool,
    /// Records that were sealed anew.
    pub(crate) resealed: u64,
    /// Keys that are not in the file any more.
    pub(crate) forgotten: usize,
}

/// Exchanges the key, a step at a time or all at once. The engine must not run where the store is in files.
pub(crate) async fn exchange(checked: &Checked, step: Step) -> Result<Done, StoreError> {
    let stores = checked.identity.stores.as_ref();
    let stores = stores.ok_or_else(|| invalid("this configuration has no `stores`".to_owned()))?;
    let path = match &stores.secret_key {
        Some(SecretKey::File(path) | SecretKey::SharedFile(path)) => path,
        Some(SecretKey::Variable(name)) => {
            let why = format!(
                "it is in the environment variable {name}, which a command cannot change; put the new \
                               key before the old one there, separated by a space, and run `secret-key reseal`"
            );
            if step != Step::Reseal {
                return Err(invalid(why));
            }
            let keys = Arc::new(load(&SecretKey::Variable(name.clone()))?);
            return Ok(Done { resealed: reseal(&stores.catalogue, &keys).await?, ..Done::default() });
        }
        None => return Err(invalid("nothing is sealed: there is neither `auth.oauth` nor a key".to_owned())),
    };
    in_file(&stores.catalogue, path, step).await
}

async fn in_file(store: &Store, path: &Path, step: Step) -> Result<Done, StoreError> {
    // Taken before the file is touched: a running engine has read the old one.
    let lock = match store {
        Store::Sqlite(files) => Some(FileLock::take(files)?),
        Store::Postgres(_) => None,
    };
    let mut done = Done::default();
    if matches!(step, Step::Add | Step::Rotate) {
        Keyring::add_to(path)?;
        done.added = true;
    }
    drop(lock);
    if matches!(step, Step::Reseal | Step::Rotate | Step::Forget) {
        let keys = Arc::new(Keyring::load(path)?);
        done.resealed = reseal(store, &keys).await?;
    }
    if step == Step::Forget {
        done.forgotten = Keyring::forget_old(path)?;
    }
    Ok(done)
}

async fn reseal(store: &Store, keys: &Arc<Keyring>) -> Result<u64, StoreError> {
    match store {
        Store::Sqlite(path) => SqliteStore::open(SqliteOptions::new(path)).await?.reseal(keys).await,
        Store::Postgres(url) => PostgresStore::open(PostgresOptions::new(url)).await?.reseal(keys).await,
    }
}
