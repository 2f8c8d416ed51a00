//! Why a store did not do what it was asked.

use std::fmt;

use super::{Etag, Kind};

/// Why a store did not do what it was asked. Nothing was changed, except perhaps with [`StoreError::Unavailable`]: a store that
/// fails while it commits may have done so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no such record.
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Under which id.
        id: String,
    },
    /// It does not fit what is there already.
    Conflict {
        /// A sentence that says with what.
        what: String,
    },
    /// Somebody else has changed the record since it was read.
    Stale {
        /// What it is at now.
        current: Etag,
    },
    /// What was handed in breaks a rule.
    Invalid {
        /// Which part of it.
        field: &'static str,
        /// A sentence that says how.
        why: String,
    },
    /// The store cannot be reached, or cannot write. Trying again later may help.
    Unavailable {
        /// For the log, not for callers of the data plane.
        cause: String,
    },
    /// Another process holds these files.
    Locked {
        /// Which file, and by whom as far as that is known.
        by: String,
    },
    /// The store was made, or migrated, by a later release than this one can work with.
    SchemaTooNew(SchemaMismatch),
    /// The store is older than this release can work with.
    SchemaTooOld(SchemaMismatch),
    /// What is stored is not what was written.
    Damaged {
        /// Which file, table or record, and what is wrong with it.
        what: String,
    },
}

/// A schema version that a binary cannot work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// What the store has.
    pub found: u32,
    /// The oldest that this binary works on.
    pub oldest: u32,
    /// The newest that this binary works on.
    pub newest: u32,
    /// A sentence for the operator.
    pub what_to_do: String,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { kind, id } => write!(f, "there is no {} {id:?}", kind.name()),
            Self::Conflict { what } => f.write_str(what),
            Self::Stale { current } => {
                write!(f, "the record has been changed since (it is at {})", current.0)
            }
            Self::Invalid { field, why } => write!(f, "{field}: {why}"),
            Self::Unavailable { cause } => write!(f, "the store is unavailable: {cause}"),
            Self::Locked { by } => f.write_str(by),
            Self::SchemaTooNew(mismatch) | Self::SchemaTooOld(mismatch) => mismatch.fmt(f),
            Self::Damaged { what } => write!(f, "the store is damaged: {what}"),
        }
    }
}

impl fmt::Display for SchemaMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, oldest, newest, what_to_do } = self;
        write!(f, "the store has schema {found}, this release works on {oldest} to {newest}: {what_to_do}")
    }
}

impl std::error::Error for StoreError {}
