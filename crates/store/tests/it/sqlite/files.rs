//! Files: who may have them, and what happens when there is no room in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use mainstay_core::catalogue::change::Verified;
use mainstay_core::catalogue::{Catalogue as _, Change, Kind, Revision, StoreError};
use mainstay_store::{FileLock, SqliteOptions, SqliteStore};
use tokio::task::JoinSet;

use crate::rig::{load, run};
use crate::samples::*;

fn create(id: &str) -> Change {
    Change::CreateConsumer(consumer(id))
}

#[test]
fn a_second_one_is_kept_out_and_told_who_is_in() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let first = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        let Err(StoreError::Locked { by }) = SqliteStore::open(SqliteOptions::new(&path)).await else {
            panic!()
        };
        assert!(
            by.contains("mainstay.db") && by.contains(&format!("process {}", std::process::id())),
            "{by}"
        );
        // An offline command asks for the lock alone.
        assert!(matches!(FileLock::take(&path), Err(StoreError::Locked { .. })));
        drop(first);
        drop(FileLock::take(&path).unwrap());
        SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
    });
}

#[test]
fn files_are_handed_over_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let old = Arc::new(SqliteStore::open(SqliteOptions::new(&path)).await.unwrap());
        // What was begun is finished first.
        let mut writing = JoinSet::new();
        for number in 0..50 {
            let old = Arc::clone(&old);
            writing.spawn(async move { old.apply(create(&format!("c{number}")), actor(), None).await });
        }
        let first = writing.join_next().await;
        old.hand_over().await;
        old.hand_over().await;
        let mut acknowledged = u64::from(first.unwrap().unwrap().is_ok());
        while let Some(answer) = writing.join_next().await {
            match answer.unwrap() {
                Ok(_) => acknowledged += 1,
                Err(StoreError::Unavailable { cause }) => assert!(cause.contains("handed over"), "{cause}"),
                Err(other) => panic!("{other}"),
            }
        }
        let refused = old.get(Kind::Consumer, "c0").await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");

        let new = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        assert_eq!(new.revision().await, Ok(Revision(acknowledged)));
        new.apply(create("by_new"), actor(), None).await.unwrap();
        assert!(matches!(old.take_back().await, Err(StoreError::Locked { .. })));
        drop(new);
        old.take_back().await.unwrap();
        old.take_back().await.unwrap();
        assert!(old.get(Kind::Consumer, "by_new").await.is_ok());
        // Who followed before is woken by what happened meanwhile.
        old.changed(Revision(acknowledged)).await;
        old.apply(create("by_old"), actor(), None).await.unwrap();
    });
}

#[test]
fn only_the_owner_can_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        store.apply(create("acme"), actor(), None).await.unwrap();
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["mainstay.db", "mainstay.db-shm", "mainstay.db-wal", "mainstay.db.lock"]);
        assert_eq!(mainstay_core::catalogue::Upkeep::place(&store), format!("sqlite:{}", path.display()));
    });
}

#[test]
fn where_there_can_be_no_file_there_is_no_store() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        for path in [folder.path().join("missing").join("mainstay.db"), folder.path().to_owned()] {
            let refused = SqliteStore::open(SqliteOptions::new(&path)).await;
            assert!(matches!(&refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        }
    });
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let options = SqliteOptions { pages_max: Some(100), ..SqliteOptions::new(&path) };
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        let mut writing = JoinSet::new();
        for number in 0..600 {
            let store = Arc::clone(&store);
            writing.spawn(async move {
                let id = format!("c{number}");
                (store.apply(create(&id), actor(), None).await, id)
            });
        }
        let (mut kept, mut refused) = (Vec::new(), Vec::new());
        for (answer, id) in writing.join_all().await {
            match answer {
                Ok(_) => kept.push(id),
                Err(StoreError::Unavailable { cause }) => {
                    assert!(cause.contains("no room"), "{cause}");
                    refused.push(id);
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(kept.len() > 20 && refused.len() > 20, "{} kept, {} refused", kept.len(), refused.len());
        // It goes on reading; each acknowledged change is there with its record, and no other.
        check_exactly(&store, &kept).await;
        for id in &refused {
            assert!(matches!(store.get(Kind::Consumer, id).await, Err(StoreError::NotFound { .. })));
        }
        // With room again it goes on writing, with the same files.
        drop(Arc::into_inner(store).unwrap());
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        check_exactly(&store, &kept).await;
        store.apply(create(&refused[0]), actor(), None).await.unwrap();
    });
}

async fn check_exactly(store: &SqliteStore, ids: &[String]) {
    let (revision, records) = load(store).await;
    let mut found: Vec<&str> = records.iter().map(mainstay_core::catalogue::Record::id).collect();
    let mut expected: Vec<&str> = ids.iter().map(String::as_str).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(revision.0, ids.len() as u64);
    let verified = store.verify_audit().await.unwrap();
    assert!(matches!(verified, Verified::Whole { records, .. } if records == revision.0), "{verified:?}");
}
