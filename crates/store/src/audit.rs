//! The audit: what was changed by whom, each record bound to the one before.
//!
//! A record's hash is SHA-256 over the previous hash and a JSON array of its fields, in a fixed order; the first one follows
//! 32 zero bytes. Where the chain ends stands in the state of the store, so a record missing at the end is noticed too.

use aws_lc_rs::digest;
use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::port::PAGE_MAX;
use mainstay_core::catalogue::{Actor, AuditRecord, Kind, Sha256, StoreError};
use mainstay_core::port::Json;
use serde_json::Value;

use crate::db::{Backend, Operation, Row, Tx, params};
use crate::sql;

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) hash: Sha256,
}

impl Head {
    pub(crate) const NONE: Self = Self { number: 0, hash: Sha256([0; 32]) };

    /// From a row and the two columns that hold it.
    pub(crate) fn read(row: &Row, number: usize, hash: usize) -> Result<Self, StoreError> {
        let hash = Sha256::from_hex(row.text(hash)?)
            .ok_or_else(|| StoreError::Damaged { what: "the head of the audit is no hash".to_owned() })?;
        Ok(Self { number: row.unsigned(number)?, hash })
    }
}

/// What a change leaves behind.
pub(crate) struct Entry<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) action: &'a str,
    pub(crate) kind: Kind,
    pub(crate) id: &'a str,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// Appends a record and moves the head, within the transaction of the change.
pub(crate) async fn append<T: Tx>(tx: &mut T, head: Head, entry: Entry<'_>) -> Result<u64, StoreError> {
    let actor = serde_json::to_string(entry.actor)
        .map_err(|error| StoreError::Invalid { field: "actor", why: error.to_string() })?;
    let before = entry.before.map(|value| canonical(&value));
    let after = entry.after.map(|value| canonical(&value));
    let content = Content {
        number: head.number + 1,
        at: tx.now(),
        actor: &actor,
        action: entry.action,
        kind: entry.kind.name(),
        subject: entry.id,
        before: before.as_deref(),
        after: after.as_deref(),
    };
    let hash = content.hash(head.hash).to_hex();
    let Content { number, at, action, kind, subject, .. } = content;
    tx.run(
        sql::AUDIT_INSERT,
        params![
            number,
            at,
            actor.as_str(),
            action,
            kind,
            subject,
            before.as_deref(),
            after.as_deref(),
            hash.as_str()
        ],
    )
    .await?;
    tx.run(sql::SET_AUDIT_HEAD, params![number, hash]).await?;
    Ok(number)
}

/// What a record's hash is made of, besides the one before.
struct Content<'a> {
    number: u64,
    at: i64,
    actor: &'a str,
    action: &'a str,
    kind: &'a str,
    subject: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl Content<'_> {
    fn hash(&self, previous: Sha256) -> Sha256 {
        let Self { number, at, actor, action, kind, subject, before, after } = self;
        let text = serde_json::json!([number, at, actor, action, kind, subject, before, after]).to_string();
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&previous.0);
        context.update(text.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Sha256(hash)
    }
}

/// JSON with the names of each object in order, so that equal content is equal text.
fn canonical(value: &Value) -> String {
    fn ordered(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort();
                Value::Object(names.into_iter().map(|name| (name.clone(), ordered(&fields[name]))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
            other => other.clone(),
        }
    }
    ordered(value).to_string()
}

/// Walks along the chain, a record at a time.
#[derive(Debug)]
pub(crate) struct Walk {
    at: Head,
    end: Head,
}

impl Walk {
    pub(crate) fn new(end: Head) -> Self {
        Self { at: Head::NONE, end }
    }

    /// The next row of the audit; the answer is there once the chain is broken.
    pub(crate) fn step(&mut self, row: &Row) -> Result<Option<Verified>, StoreError> {
        let expected = self.at.number + 1;
        let broken = |why: &str| Ok(Some(Verified::Broken { number: expected, why: why.to_owned() }));
        let content = Content {
            number: row.unsigned(0)?,
            at: row.int(1)?,
            actor: row.text(2)?,
            action: row.text(3)?,
            kind: row.text(4)?,
            subject: row.text(5)?,
            before: row.opt_text(6)?,
            after: row.opt_text(7)?,
        };
        if content.number != expected {
            return broken("it is missing");
        }
        let hash = content.hash(self.at.hash);
        if row.text(8)? != hash.to_hex() {
            return broken("its hash does not fit what it says and the record before it");
        }
        self.at = Head { number: expected, hash };
        if expected == self.end.number && hash != self.end.hash {
            return broken("it is the last one, and the store remembers another");
        }
        Ok(None)
    }

    /// No more rows.
    pub(crate) fn end(&self) -> Verified {
        if self.at.number < self.end.number {
            let why = format!("it is missing, and so is every one up to {}", self.end.number);
            return Verified::Broken { number: self.at.number + 1, why };
        }
        Verified::Whole { records: self.at.number, head: self.at.hash }
    }

    fn is_at_end(&self) -> bool {
        self.at.number >= self.end.number
    }
}

/// Reads the audit a part at a time, so that it may be long and others may write meanwhile.
pub(crate) async fn verify<B: Backend>(backend: &B) -> Result<Verified, StoreError> {
    let mut walk = Walk::new(backend.read(ReadHead).await?);
    while !walk.is_at_end() {
        let rows = backend.read(Part { after: walk.at.number }).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            if walk.is_at_end() {
                break;
            }
            if let Some(broken) = walk.step(row)? {
                return Ok(broken);
            }
        }
    }
    Ok(walk.end())
}

struct ReadHead;

impl Operation for ReadHead {
    type Output = Head;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Head, StoreError> {
        let row = tx.row(sql::AUDIT_HEAD, &[]).await?;
        row.map_or(Ok(Head::NONE), |row| Head::read(&row, 0, 1))
    }
}

struct Part {
    after: u64,
}

impl Operation for Part {
    type Output = Vec<Row>;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Vec<Row>, StoreError> {
        tx.rows(sql::AUDIT_FROM, params![self.after, 1000_i64]).await
    }
}

/// A page of the audit, newest first.
pub(crate) struct ReadPage(pub(crate) AuditQuery);

impl Operation for ReadPage {
    type Output = Vec<AuditRecord>;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Vec<AuditRecord>, StoreError> {
        let AuditQuery { before, kind, id, limit } = &self.0;
        let limit = i64::try_from((*limit).clamp(1, PAGE_MAX)).unwrap_or(1);
        let before = before.unwrap_or(u64::MAX);
        let kind = kind.map(Kind::name);
        let rows = tx.rows(sql::AUDIT_PAGE, params![before, kind, id.as_deref(), limit]).await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<AuditRecord, StoreError> {
    let number = row.unsigned(0)?;
    let damaged = |what: &str| StoreError::Damaged { what: format!("audit record {number}: {what}") };
    let json = |column: usize| row.opt_text(column).map(|text| text.map(|text| Json(text.to_owned())));
    Ok(AuditRecord {
        number,
        at: row.int(1)?,
        actor: serde_json::from_str(row.text(2)?).map_err(|_| damaged("its actor is no JSON"))?,
        action: row.text(3)?.to_owned(),
        kind: Kind::from_name(row.text(4)?).ok_or_else(|| damaged("no such kind of record"))?,
        id: row.text(5)?.to_owned(),
        before: json(6)?,
        after: json(7)?,
        hash: Sha256::from_hex(row.text(8)?).ok_or_else(|| damaged("its hash is none"))?,
    })
}
