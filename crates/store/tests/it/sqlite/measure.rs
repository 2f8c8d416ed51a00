//! Numbers for the record, and the one that is promised: group commit.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::catalogue::{Catalogue as _, Change};
use mainstay_core::clock::monotonic;
use mainstay_store::{Commits, SqliteOptions, SqliteStore};
use tokio::task::JoinSet;

use crate::rig::run;
use crate::samples::*;

/// So many tasks make so many changes each; returns how long it took.
async fn write(store: &Arc<SqliteStore>, prefix: &str, tasks: usize, each: usize) -> Duration {
    let start = monotonic();
    let mut writing = JoinSet::new();
    for task in 0..tasks {
        let (store, prefix) = (Arc::clone(store), prefix.to_owned());
        writing.spawn(async move {
            for number in 0..each {
                let change = Change::CreateConsumer(consumer(&format!("{prefix}-{task}-{number}")));
                store.apply(change, actor(), None).await.unwrap();
            }
        });
    }
    writing.join_all().await;
    start.elapsed()
}

#[test]
fn many_writers_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let path = folder.path().join("mainstay.db");
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        // Somebody holds the file up, so that all of them are waiting when the writer can go on.
        let mut other = rusqlite::Connection::open(&path).unwrap();
        let held = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        let mut waiting: Vec<_> = (0..64)
            .map(|number| store.apply(Change::CreateConsumer(consumer(&format!("c{number}"))), actor(), None))
            .collect();
        // Polled once, each has handed its change to the writer (the runtime's budget for one task would stop some).
        tokio::task::unconstrained(poll_fn(|cx| {
            for call in &mut waiting {
                assert!(call.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(())
        }))
        .await;
        held.rollback().unwrap();
        for call in waiting {
            call.await.unwrap();
        }
        let Commits { transactions, operations } = store.commits().await;
        assert_eq!(operations, 64);
        assert!(transactions <= 2, "the first, and all others together: {transactions}");
    });
}

#[test]
#[ignore = "a measurement: prints how many changes a second one writer and 64 make"]
fn changes_per_second() {
    // Beside the build, not in memory: what is measured is the wait for the disk.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    run(async {
        let options = SqliteOptions::new(folder.path().join("mainstay.db"));
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        for (tasks, each) in [(1, 500), (64, 100)] {
            let before = store.commits().await;
            let took = write(&store, &format!("w{tasks}"), tasks, each).await;
            let after = store.commits().await;
            let operations = after.operations - before.operations;
            let transactions = after.transactions - before.transactions;
            println!(
                "{tasks} writers: {operations} changes in {transactions} commits, {:.0} changes/s",
                operations as f64 / took.as_secs_f64()
            );
            assert_eq!(operations, (tasks * each) as u64);
        }
    });
}
