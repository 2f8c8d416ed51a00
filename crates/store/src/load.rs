//! Everything at once, for the index in memory.

use mainstay_core::catalogue::{Record, Revision, StoreError};

use crate::db::Backend;
use crate::encode::decode;
use crate::sql;

/// Hands over every record as of the revision that is returned. Only a part of them is in memory at a time.
pub(crate) async fn load<B: Backend>(
    backend: &B,
    visit: &mut (dyn FnMut(Record) + Send),
) -> Result<Revision, StoreError> {
    let mut revision = Revision::default();
    let mut take = |statement: usize, row: crate::db::Row| {
        if statement == 0 {
            revision = Revision(row.unsigned(0)?);
        } else if revision.0 == 0 {
            // Every change makes a revision, so these records were not made by one.
            return Err(StoreError::Damaged {
                what: "a restore was interrupted; run it again, or begin with a new store".to_owned(),
            });
        } else {
            visit(decode(&row)?.record);
        }
        Ok(())
    };
    backend.stream(&sql::LOAD, &mut take).await?;
    Ok(revision)
}
