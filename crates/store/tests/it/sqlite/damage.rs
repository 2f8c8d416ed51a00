//! Files that are not what was written: it is noticed, and said.

use std::fs;
use std::path::{Path, PathBuf};

use mainstay_core::catalogue::change::Verified;
use mainstay_core::catalogue::{Catalogue as _, Change, Kind, StoreError, Upkeep as _};
use mainstay_store::{SqliteOptions, SqliteStore};

use crate::rig::{load, run};
use crate::samples::*;

async fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("mainstay.db");
    let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
    for number in 0..40 {
        let id = format!("c{number}");
        store.apply(Change::CreateConsumer(consumer(&id)), actor(), None).await.unwrap();
    }
    path
}

/// What goes wrong when everything is read.
async fn read_all(path: &Path) -> Result<(), StoreError> {
    let store = SqliteStore::open(SqliteOptions::new(path)).await?;
    store.load(&mut |_| {}).await?;
    Ok(())
}

fn find(bytes: &[u8], text: &str) -> Vec<usize> {
    let windows = bytes.windows(text.len()).enumerate();
    windows.filter(|(_, window)| *window == text.as_bytes()).map(|(at, _)| at).collect()
}

#[test]
fn a_flipped_bit_in_a_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = filled(folder.path()).await;
        let good = fs::read(&path).unwrap();
        // The group of one record becomes another group: still JSON, still a consumer.
        let mut noticed = 0;
        for place in find(&good, "\"groups\":[\"tellers\"],\"attributes\"") {
            let mut bad = good.clone();
            bad[place + 12] ^= 1;
            fs::write(&path, bad).unwrap();
            match read_all(&path).await {
                Err(StoreError::Damaged { what }) => {
                    assert!(what.contains("record consumer/c") && what.contains("checksum"), "{what}");
                    noticed += 1;
                }
                // What is left of a page that was split is read by nobody.
                other => other.unwrap(),
            }
        }
        assert_eq!(noticed, 40, "one for each record");
        fs::write(&path, &good).unwrap();
        read_all(&path).await.unwrap();
    });
}

#[test]
fn torn_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = filled(folder.path()).await;
        let good = fs::read(&path).unwrap();
        let page = 4096;
        let mut cases: Vec<(String, Vec<u8>)> = (1..good.len() / page)
            .map(|pages| (format!("{pages} pages are left"), good[..pages * page].to_vec()))
            .collect();
        cases.push(("no database".to_owned(), b"something else entirely".repeat(500)));
        let mut header = good.clone();
        header[..16].fill(0);
        cases.push(("no header".to_owned(), header));
        for (case, bytes) in cases {
            fs::write(&path, bytes).unwrap();
            let refused = read_all(&path).await;
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{case}: {refused:?}");
        }
        let foreign = folder.path().join("foreign.db");
        let other = rusqlite::Connection::open(&foreign).unwrap();
        other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
        drop(other);
        let refused = read_all(&foreign).await;
        assert!(matches!(&refused, Err(StoreError::Damaged { what }) if what.contains("something else")));
    });
}

#[test]
fn a_page_of_noise_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = filled(folder.path()).await;
        let good = fs::read(&path).unwrap();
        let place = find(&good, "\"groups\":[\"tellers\"]")[0] / 4096 * 4096;
        let mut bad = good.clone();
        bad[place..place + 4096].fill(0xa5);
        fs::write(&path, bad).unwrap();
        let refused = read_all(&path).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    });
}

/// The first record that the verification names, after a statement was run behind the store's back.
async fn verified_after(statement: &str) -> Verified {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(statement).unwrap();
    drop(file);
    let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
    let verified = store.verify_audit().await.unwrap();
    // A backup says the same instead of carrying it on.
    let backup = folder.path().join("backup");
    let taken = store.backup(&backup).await;
    assert_eq!(taken.is_ok(), matches!(verified, Verified::Whole { .. }), "{taken:?}");
    assert_eq!(backup.exists(), taken.is_ok());
    verified
}

#[test]
fn an_altered_audit_names_the_first_broken_record() {
    let rows = [
        ("UPDATE audit SET at = at + 1 WHERE number = 7", 7),
        ("UPDATE audit SET actor = '{\"id\":\"somebody else\"}' WHERE number = 1", 1),
        ("UPDATE audit SET action = 'consumer.update' WHERE number = 40", 40),
        ("UPDATE audit SET body_after = replace(body_after, 'false', 'true') WHERE number = 12", 12),
        ("UPDATE audit SET body_before = '{}' WHERE number = 12", 12),
        ("UPDATE audit SET subject = 'c0' WHERE number = 12", 12),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE number = 3) WHERE number = 4", 4),
        ("DELETE FROM audit WHERE number = 20", 20),
        ("DELETE FROM audit WHERE number > 38", 39),
        ("DELETE FROM audit", 1),
        ("UPDATE state SET audit_hash = printf('%064d', 0)", 40),
    ];
    run(async {
        for (statement, expected) in rows {
            match verified_after(statement).await {
                Verified::Broken { number, .. } => assert_eq!(number, expected, "{statement}"),
                whole => panic!("{statement}: {whole:?}"),
            }
        }
        assert!(matches!(verified_after("SELECT 1").await, Verified::Whole { records: 40, .. }));
    });
}

#[test]
fn what_was_altered_behind_its_back_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = filled(folder.path()).await;
        let file = rusqlite::Connection::open(&path).unwrap();
        file.execute_batch("UPDATE record SET id = 'c99' WHERE id = 'c1'").unwrap();
        drop(file);
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        assert!(matches!(store.get(Kind::Consumer, "c99").await, Err(StoreError::Damaged { .. })));
        assert!(store.get(Kind::Consumer, "c2").await.is_ok(), "the others are as good as ever");
        assert!(store.load(&mut |_| {}).await.is_err());
        let refused = store.backup(&folder.path().join("backup")).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
        drop(store);
        fs::remove_file(&path).unwrap();
        let empty = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        assert!(load(&empty).await.1.is_empty());
    });
}

/// The system lets a file go on that has no name any more: what is written to it is lost with the process.
#[test]
fn nothing_is_acknowledged_that_went_to_a_file_which_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        store.apply(Change::CreateConsumer(consumer("before")), actor(), None).await.unwrap();
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let refused = store.apply(Change::CreateConsumer(consumer("gone")), actor(), None).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        fs::copy(&aside, &path).unwrap();
        let refused = store.apply(Change::CreateConsumer(consumer("other")), actor(), None).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        fs::rename(&aside, &path).unwrap();
        store.apply(Change::CreateConsumer(consumer("after")), actor(), None).await.unwrap();
        assert!(store.get(Kind::Consumer, "gone").await.is_err(), "what was refused was not done");
    });
}
