//! A record as a row, and back.
//!
//! What a record is found by stands in columns; all of it is JSON beside them (ADR 10). A sum over the row tells a bit that
//! flipped on the disk from what was written: SQLite itself notices only damage to the shape of its pages.

use aws_lc_rs::digest;
use mainstay_core::catalogue::{Etag, Kind, Record, Sha256, StoreError, Stored};
use serde::Serialize;
use serde_json::Value as Json;

use crate::db::{Row, Value};

/// A record in the columns of its table.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) owner: Option<String>,
    pub(crate) uniq: Option<String>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) body: String,
}

impl Encoded {
    pub(crate) fn new(record: &Record) -> Result<Self, StoreError> {
        Ok(Self {
            kind: record.kind(),
            id: record.id().to_owned(),
            owner: owner(record).map(str::to_owned),
            uniq: uniq(record).map(Sha256::to_hex),
            expires_at: match record {
                Record::RevokedToken(token) => Some(token.expires_at),
                _ => None,
            },
            body: body(record)?,
        })
    }

    pub(crate) fn sum(&self, revision: i64) -> i64 {
        let revision_digits = revision.to_string();
        sum([
            self.kind.name(),
            &self.id,
            self.owner.as_deref().unwrap_or(""),
            self.uniq.as_deref().unwrap_or(""),
            &revision_digits,
            &self.body,
        ])
    }

    /// Values for an insertion.
    pub(crate) fn insertion(&self, revision: i64) -> [Value; 8] {
        [
            self.kind.name().into(),
            self.id.as_str().into(),
            self.owner.as_deref().into(),
            self.uniq.as_deref().into(),
            revision.into(),
            self.body.as_str().into(),
            self.sum(revision).into(),
            self.expires_at.into(),
        ]
    }

    /// Values for an update.
    pub(crate) fn update(&self, revision: i64) -> [Value; 8] {
        let [kind, id, owner, uniq, revision, body, sum, expires_at] = self.insertion(revision);
        [owner, uniq, revision, body, sum, expires_at, kind, id]
    }
}

/// The consumer that a record belongs to.
pub(crate) fn owner(record: &Record) -> Option<&str> {
    match record {
        Record::Key(key) => Some(&key.consumer),
        Record::Client(client) => client.consumer.as_deref(),
        _ => None,
    }
}

/// A hash that only one record of its kind may have.
fn uniq(record: &Record) -> Option<Sha256> {
    match record {
        Record::Key(key) => Some(key.sha256),
        Record::AdminToken(token) => Some(token.sha256),
        _ => None,
    }
}

/// JSON without what says nothing: a catalogue of a million keys is read at each start.
fn body(record: &Record) -> Result<String, StoreError> {
    let mut value = inner(record)?;
    if let Json::Object(fields) = &mut value {
        fields.remove("last_used_at");
        fields.retain(|_, value| match value {
            Json::Null | Json::Bool(false) => false,
            Json::Array(items) => !items.is_empty(),
            Json::Object(items) => !items.is_empty(),
            _ => true,
        });
    }
    Ok(value.to_string())
}

/// JSON for the audit: nothing secret, and no hash of a secret.
pub(crate) fn shown(record: &Record) -> Result<Json, StoreError> {
    let mut value = inner(record)?;
    if let Json::Object(fields) = &mut value {
        for secret in ["sha256", "secret_sha256", "password_hash", "private", "last_used_at"] {
            fields.remove(secret);
        }
    }
    Ok(value)
}

fn inner(record: &Record) -> Result<Json, StoreError> {
    match record {
        Record::Consumer(consumer) => json(consumer),
        Record::Key(key) => json(key),
        Record::Client(client) => json(client),
        Record::User(user) => json(user),
        Record::SigningKey(key) => json(key),
        Record::RevokedToken(token) => json(token),
        Record::AdminToken(token) => json(token),
    }
}

fn json<T: Serialize>(value: &T) -> Result<Json, StoreError> {
    serde_json::to_value(value)
        .map_err(|error| StoreError::Invalid { field: "record", why: error.to_string() })
}

/// Reads a row of `SELECT kind, id, owner, uniq, revision, body, sum, used_at`.
pub(crate) fn decode(row: &Row) -> Result<Stored, StoreError> {
    let (kind, id, revision, body) = (row.text(0)?, row.text(1)?, row.int(4)?, row.text(5)?);
    let damaged = |why: &str| StoreError::Damaged { what: format!("record {kind}/{id}: {why}") };
    let revision_digits = revision.to_string();
    let owner = row.opt_text(2)?.unwrap_or("");
    let found = sum([kind, id, owner, row.opt_text(3)?.unwrap_or(""), &revision_digits, body]);
    if found != row.int(6)? {
        return Err(damaged("its checksum does not fit it; restore a backup"));
    }
    let kind = Kind::from_name(kind).ok_or_else(|| damaged("no such kind of record"))?;
    let mut record = read(kind, body).map_err(|error| damaged(&error.to_string()))?;
    if let Record::Key(key) = &mut record {
        key.last_used_at = row.opt_int(7)?;
    }
    Ok(Stored { record, etag: Etag(u64::try_from(revision).unwrap_or(0)) })
}

fn read(kind: Kind, body: &str) -> Result<Record, serde_json::Error> {
    Ok(match kind {
        Kind::Consumer => Record::Consumer(serde_json::from_str(body)?),
        Kind::Key => Record::Key(serde_json::from_str(body)?),
        Kind::Client => Record::Client(serde_json::from_str(body)?),
        Kind::User => Record::User(serde_json::from_str(body)?),
        Kind::SigningKey => Record::SigningKey(serde_json::from_str(body)?),
        Kind::RevokedToken => Record::RevokedToken(serde_json::from_str(body)?),
        Kind::AdminToken => Record::AdminToken(serde_json::from_str(body)?),
    })
}

/// The first 64 bits of SHA-256 over the parts, each with its length.
fn sum(parts: [&str; 6]) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    i64::from_be_bytes(first)
}
