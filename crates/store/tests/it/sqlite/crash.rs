//! `kill -9` in the middle of writes: what was acknowledged is there, with its audit record.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::{AuditRecord, Catalogue as _, Change, Kind, Record};
use mainstay_store::{SqliteOptions, SqliteStore};

use crate::rig::{load, run};
use crate::samples::*;

/// Where the child writes, and what its ids begin with.
const CHILD: &str = "MAINSTAY_TEST_CRASH_CHILD";

/// The child: it is a test, so that it is in this binary, and does nothing unless it is asked.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (prefix, path) = told.split_once(':').unwrap();
    run(async {
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(path)).await.unwrap());
        let mut writing = tokio::task::JoinSet::new();
        for task in 0..8 {
            let (store, prefix) = (Arc::clone(&store), prefix.to_owned());
            writing.spawn(async move {
                for number in 0.. {
                    let id = format!("{prefix}-{task}-{number}");
                    let change = Change::CreateConsumer(consumer(&id));
                    let applied = store.apply(change, actor(), None).await.unwrap();
                    // One write, so that a line is there as a whole.
                    let line = format!("ack {id} {}\n", applied.audit);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
        writing.join_all().await;
    });
}

/// Kills a child after so many acknowledged changes; returns all of those, with the numbers of their audit records.
fn kill_after(acknowledged: usize, prefix: &str, path: &Path) -> BTreeMap<String, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::crash::child_that_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD, format!("{prefix}:{}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = BTreeMap::new();
    let mut note = |line: String| {
        let mut words = line.split(' ');
        if words.next() == Some("ack") {
            let (id, number) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
            seen.insert(id, number);
        }
        seen.len()
    };
    while note(lines.next().expect("the child ended by itself").unwrap()) < acknowledged {}
    child.kill().unwrap();
    // What it said before it died counts too.
    for line in lines {
        note(line.unwrap());
    }
    assert!(!child.wait().unwrap().success());
    seen
}

async fn audit_of(store: &SqliteStore) -> BTreeMap<u64, AuditRecord> {
    let (mut all, mut before) = (BTreeMap::new(), None);
    loop {
        let query = AuditQuery { before, limit: 500, ..AuditQuery::default() };
        let page = store.audit(query).await.unwrap();
        let Some(last) = page.last() else { return all };
        before = Some(last.number);
        all.extend(page.into_iter().map(|record| (record.number, record)));
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.db");
    let mut acknowledged = BTreeMap::new();
    for (round, changes) in [1, 100, 333].into_iter().enumerate() {
        acknowledged.extend(kill_after(changes, &format!("r{round}"), &path));
        run(async {
            // The kernel gave the lock up with the process.
            let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
            let (revision, records) = load(&store).await;
            let audit = audit_of(&store).await;
            for (id, number) in &acknowledged {
                assert!(records.iter().any(|record| record.id() == id), "{id} is lost");
                let record = &audit[number];
                assert_eq!((record.kind, record.id.as_str()), (Kind::Consumer, id.as_str()));
            }
            // What was not acknowledged may be there, but only together with its audit record.
            assert_eq!(records.len(), audit.len());
            assert_eq!(revision.0, audit.len() as u64);
            assert!(records.iter().all(|record| matches!(record, Record::Consumer(_))));
            let whole = store.verify_audit().await.unwrap();
            assert!(matches!(whole, Verified::Whole { records, .. } if records == revision.0), "{whole:?}");
        });
    }
}
