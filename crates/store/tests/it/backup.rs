//! Backup and restore, from each kind of store into each.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::oauth::RefreshState;
use mainstay_core::catalogue::port::{BackedUp, Changes};
use mainstay_core::catalogue::{
    AuditRecord, Catalogue as _, Change, Record, Revision, RevokedToken, Store, StoreError,
};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use crate::rig::{Database, Rig, load, on_postgres, on_sqlite, postgres_server};
use crate::samples::*;

async fn empty_sqlite(folder: &Path, name: &str) -> SqliteStore {
    let clock = Clock::manual(UnixMs(NOW));
    SqliteStore::open(SqliteOptions { clock, ..SqliteOptions::new(folder.join(name)) }).await.unwrap()
}

async fn fill(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    rig.given(create_client("app", Some("acme"))).await;
    rig.given(Change::CreateUser(user("alice"))).await;
    rig.given(Change::AddSigningKey(signing_key("k1"))).await;
    rig.given(Change::CreateAdminToken(admin_token("tok"))).await;
    rig.given(Change::RevokeKey { id: "key_1".to_owned() }).await;
    rig.store.touch_keys(vec![("key_1".to_owned(), NOW)]).await.unwrap();
    rig.store.revoke_tokens(vec![RevokedToken { id: "jti".to_owned(), expires_at: NOW + 1 }]).await.unwrap();
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    rig.store.take_code(hash("c1"), "app").await.unwrap();
    rig.store.store_refresh(refresh("r1", "f1")).await.unwrap();
    rig.store.rotate_refresh(hash("r1"), "app", refresh("r2", "f1")).await.unwrap();
    rig.store.store_session(session("s1", "alice")).await.unwrap();
    rig.store.first_use("jti-1", NOW + 1).await.unwrap();
}

async fn audit_of(store: &dyn Store) -> Vec<AuditRecord> {
    store.audit(AuditQuery { limit: 500, ..AuditQuery::default() }).await.unwrap()
}

/// Everything that a caller can see is the same.
async fn check_same(restored: &dyn Store, original: &dyn Store) {
    let ((revision, records), (old_revision, old_records)) = (load(restored).await, load(original).await);
    assert_eq!(records, old_records);
    assert_eq!(revision.0, old_revision.0 + 1);
    assert_eq!(audit_of(restored).await, audit_of(original).await);
    assert_eq!(restored.verify_audit().await, original.verify_audit().await);
    assert_eq!(restored.session(hash("s1")).await.unwrap(), Some(session("s1", "alice")));
    assert_eq!(restored.first_use("jti-1", NOW + 1).await, Ok(false));
    assert_eq!(restored.refresh(hash("r2"), "app").await, Ok(RefreshState::Good(refresh("r2", "f1"))));
    let reused = RefreshState::Reused { family: "f1".to_owned() };
    assert_eq!(restored.refresh(hash("r1"), "app").await, Ok(reused));
    // Who followed the old store loads again.
    assert_eq!(restored.changes(old_revision).await, Ok(Changes::LoadAgain));
    // It goes on from there: revisions, audit, counts.
    let applied = restored.apply(Change::CreateConsumer(consumer("next")), actor(), None).await.unwrap();
    assert_eq!(applied.revision, Revision(revision.0 + 1));
    assert!(matches!(restored.verify_audit().await, Ok(Verified::Whole { .. })));
}

async fn restores_into_files(rig: &Rig) {
    fill(rig).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let written = rig.store.backup(&file).await.unwrap();
    assert_eq!((written.audit_records, written.revision, written.taken_at), (7, Revision(8), NOW));
    let target = empty_sqlite(folder.path(), "restored.db").await;
    assert_eq!(target.restore(&file).await, Ok(written));
    check_same(&target, &*rig.store).await;
    let again = target.restore(&file).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "it is not empty: {again:?}");
    let refused = rig.store.backup(&file).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { .. })),
        "a backup is never written over: {refused:?}"
    );
}

async fn restores_into_postgres(rig: &Rig) {
    let Some(server) = postgres_server() else { return };
    fill(rig).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let written = rig.store.backup(&file).await.unwrap();
    let database = Database::create(&server).await;
    let options =
        PostgresOptions { clock: Clock::manual(UnixMs(NOW)), ..PostgresOptions::new(&database.url) };
    let target = PostgresStore::open(options).await.unwrap();
    assert_eq!(target.restore(&file).await, Ok(written));
    check_same(&target, &*rig.store).await;
    drop(target);
    database.drop().await;
}

#[test]
fn from_files_to_files() {
    on_sqlite(restores_into_files);
}

#[test]
fn from_files_to_postgres() {
    on_sqlite(restores_into_postgres);
}

#[test]
fn from_postgres_to_files() {
    on_postgres(restores_into_files);
}

#[test]
fn from_postgres_to_postgres() {
    on_postgres(restores_into_postgres);
}

/// While somebody goes on writing, a backup is what there was at one moment.
async fn is_of_one_moment(rig: &Rig) {
    for number in 0..50 {
        rig.given(Change::CreateConsumer(consumer(&format!("c{number:05}")))).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, stop) = (Arc::clone(&rig.store), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut number = 50;
            while !stop.load(Ordering::Relaxed) {
                let change = Change::CreateConsumer(consumer(&format!("c{number:05}")));
                store.apply(change, actor(), None).await.unwrap();
                number += 1;
            }
            number
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let mut last = BackedUp { rows: 0, revision: Revision(0), audit_records: 0, taken_at: 0 };
    // Until one was taken that somebody wrote before and after.
    for round in 0.. {
        let file = folder.path().join(format!("backup{round}"));
        last = rig.other.backup(&file).await.unwrap();
        let target = empty_sqlite(folder.path(), &format!("restored{round}.db")).await;
        assert_eq!(target.restore(&file).await.unwrap(), last);
        let (_, records) = load(&target).await;
        // Each change made one record and one revision, so the revision says which records there were.
        let expected: Vec<String> = (0..last.revision.0).map(|number| format!("c{number:05}")).collect();
        let mut ids: Vec<String> = records.iter().map(|record: &Record| record.id().to_owned()).collect();
        ids.sort();
        assert_eq!(ids, expected);
        assert_eq!(last.audit_records, last.revision.0);
        if last.revision.0 > 50 {
            break;
        }
    }
    let now = rig.store.revision().await.unwrap();
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(now > last.revision, "nobody was held up");
}

#[test]
fn a_backup_of_files_is_of_one_moment() {
    on_sqlite(is_of_one_moment);
}

#[test]
fn a_backup_of_postgres_is_of_one_moment() {
    on_postgres(is_of_one_moment);
}

#[test]
fn a_damaged_backup_changes_nothing() {
    on_sqlite(async |rig: &Rig| {
        fill(rig).await;
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
        rig.store.backup(&good).await.unwrap();
        let bytes = fs::read(&good).unwrap();
        let target = empty_sqlite(folder.path(), "restored.db").await;
        let mut cases: Vec<Vec<u8>> = (0..bytes.len()).step_by(131).map(|at| bytes[..at].to_vec()).collect();
        for position in (0..bytes.len()).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            cases.push(flipped);
        }
        cases.push(b"{}\n{}\n".to_vec());
        for case in cases {
            fs::write(&bad, &case).unwrap();
            let refused = target.restore(&bad).await;
            assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
            assert_eq!(target.revision().await, Ok(Revision(0)));
        }
        assert!(load(&target).await.1.is_empty());
        target.restore(&good).await.unwrap();
        check_same(&target, &*rig.store).await;
    });
}

#[test]
fn an_interrupted_restore_is_known_and_can_be_done_again() {
    on_sqlite(async |rig: &Rig| {
        fill(rig).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        rig.store.backup(&file).await.unwrap();
        let target = empty_sqlite(folder.path(), "restored.db").await;
        target.hand_over().await;
        let half = rusqlite::Connection::open(folder.path().join("restored.db")).unwrap();
        half.execute_batch(
            "INSERT INTO record (kind, id, revision, body, sum) VALUES ('consumer', 'half', 3, '{}', 0);
             INSERT INTO session VALUES ('s', 'alice', 1, 2);",
        )
        .unwrap();
        drop(half);
        target.take_back().await.unwrap();
        let refused = target.load(&mut |_| {}).await;
        assert!(
            matches!(&refused, Err(StoreError::Damaged { what }) if what.contains("interrupted")),
            "{refused:?}"
        );
        target.restore(&file).await.unwrap();
        check_same(&target, &*rig.store).await;
    });
}
