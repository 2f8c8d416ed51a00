//! The schema, its versions, and which of them a release works on.
//!
//! Release N works on schema N and N-1. A migration only *expands*: it adds what release N-1 does not look at. What nobody
//! uses any more is taken away (*contracted*) one schema later. So an upgrade of several nodes goes: install N on every
//! node, which goes on with schema N-1, then migrate once. A release never migrates by itself, except an empty store:
//! until the new release serves, the old one must be able to go on.

use mainstay_core::catalogue::StoreError;
use mainstay_core::catalogue::error::SchemaMismatch;

/// One step from a schema to the next. Statements are separated by `;` at the end of a line.
#[derive(Clone, Copy, Debug)]
pub struct Migration(pub &'static str);

/// The migrations that a release knows, and the oldest schema that it works on.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The first one makes schema 1 of an empty store.
    pub migrations: &'static [Migration],
    /// It works on this schema and all later ones it knows.
    pub oldest: u32,
}

impl Schema {
    /// This release's.
    pub const CURRENT: Self = Self { migrations: &[FIRST], oldest: 1 };

    /// The schema that this release makes.
    pub fn newest(&self) -> u32 {
        u32::try_from(self.migrations.len()).unwrap_or(u32::MAX)
    }

    /// Whether this release works on that schema.
    pub(crate) fn accept(&self, found: i64) -> Result<u32, StoreError> {
        let found = u32::try_from(found)
            .map_err(|_| StoreError::Damaged { what: format!("the schema's version is {found}") })?;
        let mismatch = |what_to_do: &str| SchemaMismatch {
            found,
            oldest: self.oldest,
            newest: self.newest(),
            what_to_do: what_to_do.to_owned(),
        };
        if found > self.newest() {
            return Err(StoreError::SchemaTooNew(mismatch(
                "run the release that migrated it, or restore a backup that is older than the migration",
            )));
        }
        if found < self.oldest {
            return Err(StoreError::SchemaTooOld(mismatch(
                "upgrade one release at a time: start the release before this one and run its migration first",
            )));
        }
        Ok(found)
    }

    /// The statements that lead from one version to the newest.
    pub(crate) fn steps(&self, from: u32) -> impl Iterator<Item = &'static str> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.migrations.len());
        self.migrations[from..].iter().flat_map(|migration| statements(migration.0))
    }
}

fn statements(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// Texts are compared by their bytes, whatever the database's language is, so that pages are the same everywhere.
pub(crate) fn for_postgres(statement: &str) -> String {
    statement.replace(" TEXT", " TEXT COLLATE \"C\"").replace(") STRICT", ")")
}

/// SQLite's only whole number is called INTEGER, in a table that keeps to its types.
pub(crate) fn for_sqlite(statement: &str) -> String {
    statement.replace(" BIGINT", " INTEGER")
}

const FIRST: Migration = Migration(include_str!("schema/0001.sql"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_works_on_its_own_schema_and_the_one_before() {
        let schema = Schema { migrations: &[Migration(""); 5], oldest: 4 };
        assert!(matches!(schema.accept(3), Err(StoreError::SchemaTooOld(_))));
        assert_eq!(schema.accept(4), Ok(4));
        assert_eq!(schema.accept(5), Ok(5));
        let Err(StoreError::SchemaTooNew(mismatch)) = schema.accept(6) else { panic!() };
        assert_eq!((mismatch.found, mismatch.oldest, mismatch.newest), (6, 4, 5));
        assert!(matches!(schema.accept(-1), Err(StoreError::Damaged { .. })));
        assert!(Schema::CURRENT.newest() - Schema::CURRENT.oldest <= 1);
    }
}
