//! The last good snapshot: what an engine starts from while its store is down.
//!
//! It holds what the index in memory needs and nothing that only the authorisation server needs: no password hashes, no hashes
//! of client secrets, no private keys. Written beside its place and put there as a whole, with a checksum; only its owner
//! can read it.

use std::path::Path;

use mainstay_core::catalogue::{Record, Revision, Store, StoreError};
use mainstay_core::clock::{Clock, UnixMs};
use serde::{Deserialize, Serialize};

use crate::checked_file::{Existing, Reader, Writer};

const KIND: &str = "mainstay snapshot";
const FORMAT: u32 = 1;

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// What the catalogue was at.
    pub revision: Revision,
    /// When it was read from the store, in milliseconds since 1970.
    pub taken_at: i64,
    /// How many records it holds.
    pub records: u64,
}

impl SnapshotInfo {
    /// How old its knowledge is; 0 when the clock has been set back since.
    pub fn age_ms(&self, now: UnixMs) -> u64 {
        u64::try_from(now.0.saturating_sub(self.taken_at)).unwrap_or(0)
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    kind: String,
    format: u32,
    /// Which store it is of: another one's says nothing.
    store: String,
}

/// Reads the store and writes the snapshot, in the place of an older one.
///
/// # Errors
/// The store's, or [`StoreError::Unavailable`] when the file cannot be written; the older one is still there.
pub async fn save_snapshot(
    store: &dyn Store,
    path: &Path,
    clock: &Clock,
) -> Result<SnapshotInfo, StoreError> {
    let mut file = Writer::create(path)?;
    file.line(&Header { kind: KIND.to_owned(), format: FORMAT, store: store.place() })?;
    let taken_at = clock.now().0;
    let (mut records, mut outcome) = (0, Ok(()));
    let revision = store
        .load(&mut |record| {
            if outcome.is_ok() {
                records += 1;
                outcome = file.line(&without_secrets(record));
            }
        })
        .await?;
    outcome?;
    let info = SnapshotInfo { revision, taken_at, records };
    file.line(&info)?;
    let finished = tokio::task::spawn_blocking(move || file.finish(Existing::Replace)).await;
    finished.unwrap_or_else(|error| Err(StoreError::Unavailable { cause: error.to_string() }))?;
    Ok(info)
}

fn without_secrets(mut record: Record) -> Record {
    match &mut record {
        Record::User(user) => user.password_hash.clear(),
        Record::Client(client) => client.secret_sha256 = None,
        Record::SigningKey(key) => key.private.0.clear(),
        Record::Consumer(_) | Record::Key(_) | Record::RevokedToken(_) | Record::AdminToken(_) => {}
    }
    record
}

/// Reads a snapshot of the store at that [place](mainstay_core::catalogue::Upkeep::place): first all of it, to see that it is
/// whole, then each record to `visit`.
///
/// # Errors
/// [`StoreError::Damaged`]: it is not what was written, or another release's. [`StoreError::Unavailable`]: there is none, or
/// it cannot be read. [`StoreError::Conflict`]: it is of another store.
pub fn load_snapshot(
    path: &Path,
    store: &str,
    visit: &mut dyn FnMut(Record),
) -> Result<SnapshotInfo, StoreError> {
    let mut file = Reader::open(path)?;
    let strange = file.damaged("it is no snapshot that this release can read");
    let last = file.lines().checked_sub(1).ok_or_else(|| strange.clone())?;
    let mut info = None;
    file.each(|number, line| {
        if number == 0 {
            let header: Header = serde_json::from_slice(line).map_err(|_| strange.clone())?;
            if header.kind != KIND || header.format != FORMAT {
                return Err(strange.clone());
            }
            if header.store != store {
                let what = format!("{} is of another store ({})", path.display(), header.store);
                return Err(StoreError::Conflict { what });
            }
        } else if number == last {
            info = Some(serde_json::from_slice(line).map_err(|_| strange.clone())?);
        } else {
            visit(serde_json::from_slice(line).map_err(|_| strange.clone())?);
        }
        Ok(())
    })?;
    info.ok_or(strange)
}
