//! What is asked without changing anything.

use std::collections::HashSet;

use mainstay_core::catalogue::port::{Changes, List, PAGE_MAX, Page, RecordChange};
use mainstay_core::catalogue::{Kind, Revision, StoreError, Stored};

use super::records;
use crate::db::{Operation, Row, Tx, params};
use crate::encode::decode;
use crate::sql;

/// Changes that are handed over at once.
const CHANGES_AT_ONCE: usize = 5_000;

/// One record.
pub(crate) struct Get {
    pub(crate) kind: Kind,
    pub(crate) id: String,
}

impl Operation for Get {
    type Output = Stored;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Stored, StoreError> {
        records::get(tx, self.kind, &self.id).await
    }
}

/// A page of records.
pub(crate) struct ListPage(pub(crate) List);

impl Operation for ListPage {
    type Output = Page;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Page, StoreError> {
        let List { kind, consumer, after, limit } = &self.0;
        let limit = (*limit).clamp(1, PAGE_MAX);
        let after = after.as_deref().unwrap_or("");
        // One more than asked for tells whether there is a next page.
        let wanted = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let mut rows = match consumer {
            Some(consumer) => {
                tx.rows(sql::RECORDS_OWNED, params![kind.name(), consumer.as_str(), after, wanted]).await?
            }
            None => tx.rows(sql::RECORDS, params![kind.name(), after, wanted]).await?,
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        let items: Vec<Stored> = rows.iter().map(decode).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| more).map(|last| last.record.id().to_owned());
        Ok(Page { items, next })
    }
}

/// The revision now.
pub(crate) struct ReadRevision;

impl Operation for ReadRevision {
    type Output = Revision;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Revision, StoreError> {
        Ok(state(tx).await?.0)
    }
}

/// The revision now, and up to which one changes are forgotten.
async fn state<T: Tx>(tx: &mut T) -> Result<(Revision, Revision), StoreError> {
    let row = tx.row(sql::REVISION, &[]).await?;
    let row = row.ok_or_else(|| StoreError::Damaged { what: "the store has no state".to_owned() })?;
    Ok((Revision(row.unsigned(0)?), Revision(row.unsigned(1)?)))
}

/// What has changed since a revision.
pub(crate) struct ReadChanges {
    pub(crate) since: Revision,
}

impl Operation for ReadChanges {
    type Output = Changes;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Changes, StoreError> {
        let wanted = i64::try_from(CHANGES_AT_ONCE + 1).unwrap_or(i64::MAX);
        let rows = tx.rows(sql::CHANGES, params![self.since.0, wanted]).await?;
        // Asked after the changes: if some of them were forgotten before they were read, this says so.
        let (revision, floor) = state(tx).await?;
        if self.since < floor || self.since > revision {
            return Ok(Changes::LoadAgain);
        }
        collect(self.since, &rows)
    }
}

/// Rows of a record, then revision, kind and id of the change.
fn collect(since: Revision, rows: &[Row]) -> Result<Changes, StoreError> {
    let more = rows.len() > CHANGES_AT_ONCE;
    // A revision is handed over whole, so the last one, which may be cut off, comes next time.
    let cut_off = if more { rows.last().map(|row| row.int(8)).transpose()? } else { None };
    let mut seen = HashSet::new();
    let (mut records, mut at) = (Vec::new(), since);
    for row in rows {
        if Some(row.int(8)?) == cut_off {
            break;
        }
        at = Revision(row.unsigned(8)?);
        let (kind, id) = (row.text(9)?, row.text(10)?);
        if !seen.insert((kind, id)) {
            continue;
        }
        records.push(match row.opt_text(0)? {
            Some(_) => RecordChange::Changed(decode(row)?.record),
            None => RecordChange::Removed {
                kind: Kind::from_name(kind)
                    .ok_or_else(|| StoreError::Damaged { what: format!("{kind:?} has changed") })?,
                id: id.to_owned(),
            },
        });
    }
    if more && at == since {
        // One change touched more records than are handed over at once.
        return Ok(Changes::LoadAgain);
    }
    Ok(Changes::Since { revision: at, more, records })
}
