//! Two releases on one database: N works on schema N and N-1, and on nothing else.

use mainstay_core::catalogue::error::SchemaMismatch;
use mainstay_core::catalogue::port::Migrated;
use mainstay_core::catalogue::{Catalogue as _, Change, Kind, Revision, StoreError, Upkeep as _};
use mainstay_store::{Migration, PostgresOptions, PostgresStore, Schema, SqliteOptions, SqliteStore};

use crate::rig::{Database, postgres_server, run};
use crate::samples::*;

const FIRST: Migration = Schema::CURRENT.migrations[0];
const SECOND: Migration =
    Migration("ALTER TABLE record ADD COLUMN note TEXT;\nCREATE TABLE extra (id TEXT) STRICT;\n");
const THIRD: Migration = Migration("DROP TABLE extra;\n");
const BROKEN: Migration =
    Migration("CREATE TABLE half (id TEXT) STRICT;\nALTER TABLE nothing ADD COLUMN x TEXT;\n");

const RELEASE_1: Schema = Schema { migrations: &[FIRST], oldest: 1 };
const RELEASE_2: Schema = Schema { migrations: &[FIRST, SECOND], oldest: 1 };
const RELEASE_3: Schema = Schema { migrations: &[FIRST, SECOND, THIRD], oldest: 2 };
const RELEASE_BROKEN: Schema = Schema { migrations: &[FIRST, BROKEN], oldest: 1 };

fn too_new<T: std::fmt::Debug>(answer: Result<T, StoreError>, expected: (u32, u32, u32)) {
    let Err(StoreError::SchemaTooNew(SchemaMismatch { found, oldest, newest, what_to_do })) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((found, oldest, newest), expected);
    assert!(what_to_do.contains("release"), "{what_to_do}");
}

fn too_old<T: std::fmt::Debug>(answer: Result<T, StoreError>, expected: (u32, u32, u32)) {
    let Err(StoreError::SchemaTooOld(SchemaMismatch { found, oldest, newest, what_to_do })) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((found, oldest, newest), expected);
    assert!(what_to_do.contains("one release at a time"), "{what_to_do}");
}

fn create(id: &str) -> Change {
    Change::CreateConsumer(consumer(id))
}

#[test]
fn two_releases_live_on_one_database() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let open =
            |schema| PostgresStore::open(PostgresOptions { schema, ..PostgresOptions::new(&database.url) });
        let old = open(RELEASE_1).await.unwrap();
        let new = open(RELEASE_2).await.unwrap();
        too_old(open(RELEASE_3).await, (1, 2, 3));

        // On the schema of the older one both work, and each sees what the other does.
        old.apply(create("by_old"), actor(), None).await.unwrap();
        new.apply(create("by_new"), actor(), None).await.unwrap();
        assert!(new.get(Kind::Consumer, "by_old").await.is_ok());
        assert!(old.get(Kind::Consumer, "by_new").await.is_ok());

        assert_eq!(new.migrate().await, Ok(Migrated { from: 1, to: 2 }));
        assert_eq!(new.migrate().await, Ok(Migrated { from: 2, to: 2 }), "once is enough");
        // The old one, running or started again, touches nothing any more.
        too_new(old.apply(create("late"), actor(), None).await, (2, 1, 1));
        too_new(old.changes(Revision(0)).await, (2, 1, 1));
        too_new(old.load(&mut |_| {}).await, (2, 1, 1));
        too_new(open(RELEASE_1).await, (2, 1, 1));
        new.apply(create("after"), actor(), None).await.unwrap();

        let newest = open(RELEASE_3).await.unwrap();
        newest.apply(create("by_newest"), actor(), None).await.unwrap();
        assert!(new.get(Kind::Consumer, "by_newest").await.is_ok());
        assert_eq!(newest.migrate().await, Ok(Migrated { from: 2, to: 3 }));
        too_new(new.revision().await, (3, 1, 2));
        assert_eq!(newest.revision().await, Ok(Revision(4)));
        drop((old, new, newest));
        database.drop().await;
    });
}

#[test]
fn releases_follow_each_other_on_files() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let open = |schema| SqliteStore::open(SqliteOptions { schema, ..SqliteOptions::new(&path) });
        let old = open(RELEASE_1).await.unwrap();
        old.apply(create("by_old"), actor(), None).await.unwrap();
        // The newer release starts, and the old one takes over again because it failed: nothing was migrated.
        old.hand_over().await;
        let new = open(RELEASE_2).await.unwrap();
        new.apply(create("by_new"), actor(), None).await.unwrap();
        drop(new);
        old.take_back().await.unwrap();
        assert!(old.get(Kind::Consumer, "by_new").await.is_ok());
        old.hand_over().await;
        too_old(open(RELEASE_3).await, (1, 2, 3));

        let new = open(RELEASE_2).await.unwrap();
        assert_eq!(new.migrate().await, Ok(Migrated { from: 1, to: 2 }));
        new.apply(create("after"), actor(), None).await.unwrap();
        drop(new);
        too_new(old.take_back().await, (2, 1, 1));
        let newest = open(RELEASE_3).await.unwrap();
        assert_eq!(newest.revision().await, Ok(Revision(3)));
    });
}

#[test]
fn a_new_store_has_the_newest_schema() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let open = |schema| SqliteStore::open(SqliteOptions { schema, ..SqliteOptions::new(&path) });
        drop(open(RELEASE_3).await.unwrap());
        too_new(open(RELEASE_2).await, (3, 1, 2));
    });
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let schema = RELEASE_BROKEN;
        drop(SqliteStore::open(SqliteOptions::new(&path)).await.unwrap());
        let store = SqliteStore::open(SqliteOptions { schema, ..SqliteOptions::new(&path) }).await.unwrap();
        assert!(store.migrate().await.is_err());
        store.apply(create("acme"), actor(), None).await.unwrap();
        drop(store);
        // Tables that the first statement made are gone, or the next attempt would find them.
        let store = SqliteStore::open(SqliteOptions { schema: RELEASE_1, ..SqliteOptions::new(&path) }).await;
        assert_eq!(store.unwrap().revision().await, Ok(Revision(1)));
        let file = rusqlite::Connection::open(&path).unwrap();
        let tables = "SELECT count(*) FROM sqlite_master WHERE name = 'half'";
        assert_eq!(file.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    });
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let first = PostgresStore::open(PostgresOptions::new(&database.url)).await.unwrap();
        let options = PostgresOptions { schema: RELEASE_BROKEN, ..PostgresOptions::new(&database.url) };
        let store = PostgresStore::open(options).await.unwrap();
        assert!(store.migrate().await.is_err());
        first.apply(create("acme"), actor(), None).await.unwrap();
        drop((first, store));
        database.drop().await;
    });
}

#[test]
fn of_nodes_that_start_at_once_one_makes_the_schema() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let options = PostgresOptions { schema: RELEASE_2, ..PostgresOptions::new(&database.url) };
            opening.spawn(PostgresStore::open(options));
        }
        let stores: Vec<PostgresStore> = opening.join_all().await.into_iter().map(Result::unwrap).collect();
        for (number, store) in stores.iter().enumerate() {
            store.apply(create(&format!("c{number}")), actor(), None).await.unwrap();
        }
        assert_eq!(stores[0].revision().await, Ok(Revision(8)));
        drop(stores);
        database.drop().await;
    });
}

#[test]
fn of_nodes_that_migrate_at_once_one_does() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        drop(PostgresStore::open(PostgresOptions::new(&database.url)).await.unwrap());
        let mut migrating = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let options = PostgresOptions { schema: RELEASE_2, ..PostgresOptions::new(&database.url) };
            let store = PostgresStore::open(options).await.unwrap();
            migrating.spawn(async move { store.migrate().await.unwrap() });
        }
        let done = migrating.join_all().await;
        assert_eq!(done.iter().filter(|migrated| migrated.from == 1).count(), 1, "{done:?}");
        database.drop().await;
    });
}
