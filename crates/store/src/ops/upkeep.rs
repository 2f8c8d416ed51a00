//! What keeps a store in order: the last use of keys, clean-up, new seals.

use std::sync::Arc;

use mainstay_core::catalogue::oauth::CleanedUp;
use mainstay_core::catalogue::{Kind, Record, Sealer as _, StoreError};

use crate::db::{Operation, Tx, params};
use crate::encode::{Encoded, decode};
use crate::schema::Schema;
use crate::seal::Keyring;
use crate::{limits, sql};

/// Revisions whose changes are kept: who has been away for longer loads everything.
const CHANGES_KEPT: i64 = 100_000;

/// When keys were seen last.
pub(crate) struct Touch {
    used: Vec<(String, i64)>,
}

impl Touch {
    /// In the order of the ids, so that two nodes that touch the same keys do not wait for each other in a ring.
    pub(crate) fn new(mut used: Vec<(String, i64)>) -> Result<Self, StoreError> {
        if used.len() > limits::TOUCHED_AT_ONCE_MAX {
            let why = format!("has {} entries; at most {}", used.len(), limits::TOUCHED_AT_ONCE_MAX);
            return Err(StoreError::Invalid { field: "used", why });
        }
        used.sort();
        Ok(Self { used })
    }
}

impl Operation for Touch {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        for (id, at) in &self.used {
            tx.run(sql::KEY_USED, params![*at, id.as_str(), *at]).await?;
        }
        Ok(())
    }
}

/// Removes what has expired.
pub(crate) struct CleanUp {
    pub(crate) bound: u32,
}

impl Operation for CleanUp {
    type Output = CleanedUp;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<CleanedUp, StoreError> {
        let (now, bound) = (tx.now(), u64::from(self.bound));
        let mut done = CleanedUp::default();
        let mut count = |removed: u64| {
            done.removed += removed;
            done.more |= bound > 0 && removed >= bound;
        };
        for statement in [
            sql::CODES_EXPIRED,
            sql::REFRESH_EXPIRED,
            sql::ACCESS_EXPIRED,
            sql::FAMILIES_EXPIRED,
            sql::SESSIONS_EXPIRED,
            sql::USED_IDS_EXPIRED,
        ] {
            count(tx.run(statement, params![now, bound]).await?);
        }
        let revoked = tx.run(sql::REVOKED_EXPIRED, params![now, bound]).await?;
        tx.run(sql::TALLY_DOWN, params![revoked, Kind::RevokedToken.name()]).await?;
        count(revoked);
        count(forget_changes(tx, bound).await?);
        Ok(done)
    }
}

async fn forget_changes<T: Tx>(tx: &mut T, bound: u64) -> Result<u64, StoreError> {
    let row = tx.row(sql::REVISION, &[]).await?;
    let last = row.map_or(Ok(0), |row| row.int(0))? - CHANGES_KEPT;
    let old = tx.row(sql::CHANGES_OLD, params![last, bound]).await?;
    let Some(floor) = old.map(|row| row.opt_int(0)).transpose()?.flatten() else { return Ok(0) };
    tx.run(sql::SET_FLOOR, params![floor]).await?;
    tx.run(sql::CHANGES_DELETE, params![floor]).await
}

/// Brings the schema up to the newest that this release knows.
pub(crate) struct Migrate {
    pub(crate) schema: Schema,
    /// How the database spells a statement.
    pub(crate) dialect: fn(&str) -> String,
}

impl Operation for Migrate {
    type Output = (u32, u32);

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(u32, u32), StoreError> {
        // Writing the row of the state first keeps other nodes out, those that migrate and those that change something.
        tx.run(sql::LOCK_STATE, &[]).await?;
        let row = tx.row(sql::SCHEMA, &[]).await?;
        let from = self.schema.accept(row.map_or(Ok(0), |row| row.int(0))?)?;
        for statement in self.schema.steps(from) {
            tx.script(&(self.dialect)(statement)).await?;
        }
        let newest = self.schema.newest();
        tx.run(sql::SET_SCHEMA, params![i64::from(newest)]).await?;
        Ok((from, newest))
    }
}

/// Seals a batch of records with the newest key. Returns where to go on, and how many were sealed anew.
pub(crate) struct Reseal {
    pub(crate) keys: Arc<Keyring>,
    pub(crate) after: String,
}

impl Operation for Reseal {
    type Output = (Option<String>, u64);

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(Option<String>, u64), StoreError> {
        const BATCH: usize = 50;
        let kind = Kind::SigningKey;
        let rows = tx.rows(sql::RECORDS, params![kind.name(), self.after.as_str(), BATCH as u64]).await?;
        let (mut last, mut sealed_anew) = (None, 0);
        for row in &rows {
            let stored = decode(row)?;
            last = Some(stored.record.id().to_owned());
            let Record::SigningKey(mut key) = stored.record else { continue };
            if key.private.0.is_empty() || self.keys.is_newest(&key.private) {
                continue;
            }
            let plain = self.keys.open(kind, &key.id, &key.private)?;
            key.private = self.keys.seal(kind, &key.id, &plain)?;
            // What it says is unchanged, so its revision is: nobody needs to hear of it.
            let encoded = Encoded::new(&Record::SigningKey(key))?;
            let sum = encoded.sum(row.int(4)?);
            let Encoded { body, id, .. } = encoded;
            tx.run(sql::RECORD_RESEAL, params![body, sum, kind.name(), id]).await?;
            sealed_anew += 1;
        }
        Ok((last.filter(|_| rows.len() == BATCH), sealed_anew))
    }
}
