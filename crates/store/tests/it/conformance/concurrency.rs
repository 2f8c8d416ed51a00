//! Many at once: nothing is lost, nothing happens twice, one chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_core::catalogue::change::Verified;
use mainstay_core::catalogue::oauth::{RefreshState, TakenCode};
use mainstay_core::catalogue::{Change, Store, StoreError};
use tokio::task::JoinSet;

use super::for_every_store;
use crate::rig::{Rig, load};
use crate::samples::*;

for_every_store!(
    a_hundred_writers_make_one_chain,
    of_many_updates_with_one_etag_one_wins,
    of_many_who_take_a_code_one_gets_it,
    of_many_who_rotate_a_token_one_gets_it,
);

/// Runs one call on each of many tasks, every second one on another node.
async fn at_once<R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    rig: &Rig,
    tasks: usize,
    call: impl Fn(Arc<dyn Store>, usize) -> F,
) -> Vec<R> {
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let store = if task % 2 == 0 { &rig.store } else { &rig.other };
        running.spawn(call(Arc::clone(store), task));
    }
    running.join_all().await
}

async fn a_hundred_writers_make_one_chain(rig: &Rig) {
    let applied = at_once(rig, 100, |store, task| async move {
        let made = store.apply(Change::CreateConsumer(consumer(&format!("c{task}"))), actor(), None).await;
        // Every second change is refused, in the same batch as others.
        let again = store.apply(Change::CreateConsumer(consumer(&format!("c{task}"))), actor(), None).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
        made.unwrap()
    })
    .await;
    let revisions: BTreeSet<u64> = applied.iter().map(|applied| applied.revision.0).collect();
    let numbers: BTreeSet<u64> = applied.iter().map(|applied| applied.audit).collect();
    assert_eq!(revisions, (1..=100).collect());
    assert_eq!(numbers, (1..=100).collect());
    assert!(matches!(rig.store.verify_audit().await, Ok(Verified::Whole { records: 100, .. })));
    assert_eq!(load(&*rig.store).await.1.len(), 100);
}

async fn of_many_updates_with_one_etag_one_wins(rig: &Rig) {
    let etag = rig.given(Change::CreateConsumer(consumer("acme"))).await.etag;
    let answers = at_once(rig, 20, |store, task| async move {
        let mut changed = consumer("acme");
        changed.name = format!("name {task}");
        store.apply(Change::UpdateConsumer(changed), actor(), Some(etag)).await
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let stale = answers.iter().filter(|answer| matches!(answer, Err(StoreError::Stale { .. }))).count();
    assert_eq!(stale, 19, "{answers:?}");
}

async fn of_many_who_take_a_code_one_gets_it(rig: &Rig) {
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    let answers =
        at_once(rig, 20, |store, _| async move { store.take_code(hash("c1"), "app").await.unwrap() }).await;
    let taken = answers.iter().filter(|answer| matches!(answer, TakenCode::Taken(_))).count();
    let reused = answers.iter().filter(|answer| matches!(answer, TakenCode::Reused { .. })).count();
    assert_eq!((taken, reused), (1, 19));
}

async fn of_many_who_rotate_a_token_one_gets_it(rig: &Rig) {
    rig.store.store_refresh(refresh("r", "f1")).await.unwrap();
    let answers = at_once(rig, 20, |store, task| async move {
        store.rotate_refresh(hash("r"), "app", refresh(&format!("r{task}"), "f1")).await.unwrap()
    })
    .await;
    let count = |wanted: fn(&RefreshState) -> bool| answers.iter().filter(|state| wanted(state)).count();
    assert_eq!(count(|state| matches!(state, RefreshState::Good(_))), 1);
    assert_eq!(count(|state| matches!(state, RefreshState::Reused { .. })), 1, "it ends the family");
    assert_eq!(count(|state| matches!(state, RefreshState::Revoked)), 18);
}
