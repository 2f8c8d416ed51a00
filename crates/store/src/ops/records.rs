//! Steps that changes are made of: one record read, written, removed.

use mainstay_core::catalogue::{Etag, Kind, Record, Revision, StoreError, Stored};

use crate::audit::Head;
use crate::db::{Tx, params};
use crate::encode::{Encoded, decode};
use crate::{limits, sql};

/// The revision that a transaction makes. Holding it keeps every other change of the catalogue out until the commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) revision: i64,
    pub(crate) audit: Head,
}

impl Turn {
    pub(crate) async fn take<T: Tx>(tx: &mut T) -> Result<Self, StoreError> {
        let row = tx.row(sql::NEXT_REVISION, &[]).await?;
        let row = row.ok_or_else(|| StoreError::Damaged { what: "the store has no state".to_owned() })?;
        Ok(Self { revision: row.int(0)?, audit: Head::read(&row, 1, 2)? })
    }

    pub(crate) fn revision(self) -> Revision {
        Revision(u64::try_from(self.revision).unwrap_or(0))
    }
}

pub(crate) async fn find<T: Tx>(tx: &mut T, kind: Kind, id: &str) -> Result<Option<Stored>, StoreError> {
    let row = tx.row(sql::RECORD, params![kind.name(), id]).await?;
    row.as_ref().map(decode).transpose()
}

pub(crate) async fn get<T: Tx>(tx: &mut T, kind: Kind, id: &str) -> Result<Stored, StoreError> {
    find(tx, kind, id).await?.ok_or_else(|| StoreError::NotFound { kind, id: id.to_owned() })
}

/// One that may be changed: it is there, and still what the caller saw.
pub(crate) async fn get_expected<T: Tx>(
    tx: &mut T,
    kind: Kind,
    id: &str,
    expected: Option<Etag>,
) -> Result<Stored, StoreError> {
    let stored = get(tx, kind, id).await?;
    match expected {
        Some(expected) if expected != stored.etag => Err(StoreError::Stale { current: stored.etag }),
        _ => Ok(stored),
    }
}

pub(crate) async fn insert<T: Tx>(tx: &mut T, turn: Turn, record: &Record) -> Result<(), StoreError> {
    let (kind, id) = (record.kind(), record.id());
    let encoded = Encoded::new(record)?;
    if find(tx, kind, id).await?.is_some() {
        return Err(StoreError::Conflict { what: format!("there is a {} {id:?} already", kind.name()) });
    }
    if let Some(uniq) = &encoded.uniq
        && let Some(row) = tx.row(sql::RECORD_BY_UNIQ, params![kind.name(), uniq.as_str()]).await?
    {
        let other = row.text(0)?;
        return Err(StoreError::Conflict { what: format!("{} {other:?} has the same hash", kind.name()) });
    }
    let max = limits::records_max(kind);
    if tx.run(sql::TALLY_UP, params![1_i64, kind.name(), 1_i64, max]).await? == 0 {
        return Err(StoreError::Invalid { field: "id", why: format!("there are {max} of its kind already") });
    }
    tx.run(sql::RECORD_INSERT, &encoded.insertion(turn.revision)).await?;
    note(tx, turn, kind, id).await
}

pub(crate) async fn update<T: Tx>(tx: &mut T, turn: Turn, record: &Record) -> Result<(), StoreError> {
    let encoded = Encoded::new(record)?;
    tx.run(sql::RECORD_UPDATE, &encoded.update(turn.revision)).await?;
    note(tx, turn, record.kind(), record.id()).await
}

pub(crate) async fn delete<T: Tx>(tx: &mut T, turn: Turn, kind: Kind, id: &str) -> Result<(), StoreError> {
    tx.run(sql::RECORD_DELETE, params![kind.name(), id]).await?;
    tx.run(sql::TALLY_DOWN, params![1_i64, kind.name()]).await?;
    note(tx, turn, kind, id).await
}

/// Removes what a consumer owns, and says to followers which ones.
pub(crate) async fn delete_owned<T: Tx>(
    tx: &mut T,
    turn: Turn,
    kind: Kind,
    owner: &str,
) -> Result<(), StoreError> {
    tx.run(sql::RECORDS_OWNED_CHANGED, params![turn.revision, kind.name(), owner]).await?;
    let removed = tx.run(sql::RECORDS_OWNED_DELETE, params![kind.name(), owner]).await?;
    tx.run(sql::TALLY_DOWN, params![removed, kind.name()]).await?;
    Ok(())
}

/// Whether a consumer may own one more of a kind.
pub(crate) async fn check_owned<T: Tx>(
    tx: &mut T,
    kind: Kind,
    owner: &str,
    max: i64,
) -> Result<(), StoreError> {
    let row = tx.row(sql::RECORDS_OWNED_COUNT, params![kind.name(), owner, max]).await?;
    if row.map_or(Ok(0), |row| row.int(0))? >= max {
        let why = format!("{owner:?} has {max} of kind {} already", kind.name());
        return Err(StoreError::Invalid { field: "consumer", why });
    }
    Ok(())
}

async fn note<T: Tx>(tx: &mut T, turn: Turn, kind: Kind, id: &str) -> Result<(), StoreError> {
    tx.run(sql::CHANGE_INSERT, params![turn.revision, kind.name(), id]).await?;
    Ok(())
}
