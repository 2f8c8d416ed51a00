//! Backup and restore: one file format for every kind of store, so that a backup of one restores into another.
//!
//! A line for each row, as of one moment, while others go on writing. What was taken is checked on the way: the chain of the
//! audit, the sum of each record. A restore reads the whole file first, and changes nothing if anything in it is wrong.

use std::path::Path;

use mainstay_core::catalogue::change::Verified;
use mainstay_core::catalogue::port::BackedUp;
use mainstay_core::catalogue::{Revision, Sha256, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::audit::{Head, Walk};
use crate::checked_file::{Existing, Reader, Writer};
use crate::db::{Backend, Operation, Row, Tx, Value, params};
use crate::encode::decode;
use crate::schema::Schema;
use crate::sql;
use crate::store::Database;

const KIND: &str = "mainstay backup";
const FORMAT: u32 = 1;
/// Rows of one transaction of a restore.
const BATCH_ROWS: usize = 1000;

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    kind: String,
    format: u32,
    schema: u32,
    taken_at: i64,
    revision: u64,
    audit_records: u64,
    audit_head: Sha256,
}

impl Header {
    fn head(&self) -> Head {
        Head { number: self.audit_records, hash: self.audit_head }
    }

    fn done(&self, rows: u64) -> BackedUp {
        BackedUp {
            rows,
            revision: Revision(self.revision),
            audit_records: self.audit_records,
            taken_at: self.taken_at,
        }
    }
}

/// Writes everything as of one moment into a new file.
pub(crate) async fn backup<B: Backend>(store: &Database<B>, to: &Path) -> Result<BackedUp, StoreError> {
    let mut export = Export { file: Writer::create(to)?, now: store.clock.now().0, header: None, walk: None };
    let mut take = |statement: usize, row: Row| export.take(statement, &row);
    store.backend.stream(sql::BACKUP, &mut take).await?;
    let Export { file, header, walk, .. } = export;
    let (Some(header), Some(walk)) = (header, walk) else {
        return Err(StoreError::Damaged { what: "the store has no state".to_owned() });
    };
    whole(&walk)?;
    let done = header.done(file.lines() - 1);
    // Waiting for the disk holds a thread up that nobody else needs.
    let finished = tokio::task::spawn_blocking(move || file.finish(Existing::Refuse)).await;
    finished.unwrap_or_else(|error| Err(StoreError::Unavailable { cause: error.to_string() }))?;
    Ok(done)
}

struct Export {
    file: Writer,
    now: i64,
    header: Option<Header>,
    walk: Option<Walk>,
}

impl Export {
    /// Statement 0 is the state; after it comes a statement for each table.
    fn take(&mut self, statement: usize, row: &Row) -> Result<(), StoreError> {
        let Some(table) = statement.checked_sub(1) else {
            let head = Head::read(row, 2, 3)?;
            let header = Header {
                kind: KIND.to_owned(),
                format: FORMAT,
                schema: u32::try_from(row.int(0)?).unwrap_or(0),
                taken_at: self.now,
                revision: row.unsigned(1)?,
                audit_records: head.number,
                audit_head: head.hash,
            };
            self.file.line(&header)?;
            self.walk = Some(Walk::new(head));
            self.header = Some(header);
            return Ok(());
        };
        check(table, row, self.walk.as_mut())?;
        self.file.line(&(sql::TABLES[table].name, row.0.iter().map(to_json).collect::<Vec<_>>()))
    }
}

/// Whether a row is what was written: records by their sum, the audit by its chain.
fn check(table: usize, row: &Row, walk: Option<&mut Walk>) -> Result<(), StoreError> {
    match (sql::TABLES[table].name, walk) {
        ("record", _) => decode(row).map(drop),
        ("audit", Some(walk)) => match walk.step(row)? {
            Some(broken) => Err(broken_chain(&broken)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn whole(walk: &Walk) -> Result<u64, StoreError> {
    match walk.end() {
        Verified::Whole { records, .. } => Ok(records),
        broken => Err(broken_chain(&broken)),
    }
}

fn broken_chain(broken: &Verified) -> StoreError {
    let what = match broken {
        Verified::Broken { number, why } => format!("audit record {number}: {why}"),
        Verified::Whole { .. } => "the audit".to_owned(),
    };
    StoreError::Damaged { what }
}

/// Fills an empty store.
pub(crate) async fn restore<B: Backend>(store: &Database<B>, from: &Path) -> Result<BackedUp, StoreError> {
    let from = from.to_owned();
    let schema = store.backend.schema();
    let checked = tokio::task::spawn_blocking(move || inspect(&from, &schema)).await;
    let (mut file, header) =
        checked.unwrap_or_else(|error| Err(StoreError::Unavailable { cause: error.to_string() }))?;
    store.backend.write(Begin).await?;
    let filled = fill(store, &mut file).await;
    let rows = match filled {
        Ok(rows) => rows,
        Err(error) => {
            // What is half there must not stay; if this fails too, `load` and the next restore know it by its revision.
            let _ = store.backend.write(Begin).await;
            return Err(error);
        }
    };
    store.backend.write(Complete(header.clone())).await?;
    Ok(header.done(rows))
}

/// Reads the whole file and refuses one in which anything is wrong.
fn inspect(from: &Path, schema: &Schema) -> Result<(Reader, Header), StoreError> {
    let mut file = Reader::open(from)?;
    let (mut header, mut walk): (Option<Header>, Option<Walk>) = (None, None);
    let strange = file.damaged("it is no backup that this release can read");
    file.each(|number, line| {
        if number == 0 {
            let read: Header = serde_json::from_slice(line).map_err(|_| strange.clone())?;
            if read.kind != KIND || read.format != FORMAT {
                return Err(strange.clone());
            }
            schema.accept(i64::from(read.schema))?;
            walk = Some(Walk::new(read.head()));
            header = Some(read);
            return Ok(());
        }
        let (table, row) = parse(line).ok_or_else(|| strange.clone())?;
        check(table, &row, walk.as_mut())
    })?;
    let (Some(header), Some(walk)) = (header, walk) else { return Err(strange) };
    whole(&walk)?;
    Ok((file, header))
}

async fn fill<B: Backend>(store: &Database<B>, file: &mut Reader) -> Result<u64, StoreError> {
    let strange = file.damaged("it has changed while it was read");
    file.rewind()?;
    file.next_line()?;
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let rows = file.lines().saturating_sub(1);
    for number in 1..=rows {
        let line = file.next_line()?;
        batch.push(parse(&line).ok_or_else(|| strange.clone())?);
        if batch.len() == BATCH_ROWS || number == rows {
            store.backend.write(Insert(std::mem::take(&mut batch))).await?;
        }
    }
    Ok(rows)
}

fn parse(line: &[u8]) -> Option<(usize, Row)> {
    let (name, values): (String, Vec<Json>) = serde_json::from_slice(line).ok()?;
    let table = sql::TABLES.iter().position(|table| table.name == name)?;
    let values: Option<Vec<Value>> = values.into_iter().map(from_json).collect();
    Some((table, Row(values?)))
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.as_str()),
    }
}

fn from_json(value: Json) -> Option<Value> {
    match value {
        Json::Null => Some(Value::Null),
        Json::Number(number) => number.as_i64().map(Value::Int),
        Json::String(text) => Some(Value::Text(text)),
        _ => None,
    }
}

/// Nothing has happened in the store yet; remains of a restore that was interrupted go.
struct Begin;

impl Operation for Begin {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        check_untouched(tx).await?;
        for table in sql::TABLES {
            tx.run(table.clear, &[]).await?;
        }
        Ok(())
    }
}

async fn check_untouched<T: Tx>(tx: &mut T) -> Result<(), StoreError> {
    let row = tx.row(sql::REVISION, &[]).await?;
    let head = tx.row(sql::AUDIT_HEAD, &[]).await?;
    let (revision, audit) = (row.map_or(Ok(1), |row| row.int(0))?, head.map_or(Ok(1), |row| row.int(0))?);
    if revision != 0 || audit != 0 {
        let what = format!("the store is not empty (it is at revision {revision}); restore into a new one");
        return Err(StoreError::Conflict { what });
    }
    Ok(())
}

struct Insert(Vec<(usize, Row)>);

impl Operation for Insert {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        for (table, row) in &self.0 {
            tx.run(sql::TABLES[*table].insert, &row.0).await?;
        }
        Ok(())
    }
}

/// With the state in place the store is what was backed up, and nobody who followed the old one goes on from there.
struct Complete(Header);

impl Operation for Complete {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        tx.run(sql::LOCK_STATE, &[]).await?;
        check_untouched(tx).await?;
        let Header { revision, audit_records, audit_head, .. } = &self.0;
        let revision = revision + 1;
        let state = params![revision, revision, *audit_records, audit_head.to_hex()];
        tx.run(sql::RESTORE_STATE, state).await?;
        tx.run(sql::TALLY_SET, &[]).await?;
        tx.announce(Revision(revision)).await
    }
}
