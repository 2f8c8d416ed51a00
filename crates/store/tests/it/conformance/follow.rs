//! Following: what changed since, and being woken.

use std::time::Duration;

use mainstay_core::catalogue::port::{Changes, RecordChange};
use mainstay_core::catalogue::{Change, Kind, Record, Revision, RevokedToken};

use super::for_every_store;
use crate::rig::{Rig, load};
use crate::samples::*;

for_every_store!(
    changes_are_told_once_with_what_is_there_now,
    what_was_removed_is_named,
    another_node_is_woken_within_two_seconds,
    who_has_been_away_too_long_loads_again,
    following_leads_to_what_loading_gives,
);

async fn since(rig: &Rig, revision: u64) -> (u64, Vec<RecordChange>) {
    match rig.other.changes(Revision(revision)).await.unwrap() {
        Changes::Since { revision, more, records } => {
            assert!(!more);
            (revision.0, records)
        }
        Changes::LoadAgain => panic!("load again"),
    }
}

async fn changes_are_told_once_with_what_is_there_now(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    let mut now = consumer("acme");
    for name in ["one", "two"] {
        now.name = name.to_owned();
        rig.given(Change::UpdateConsumer(now.clone())).await;
    }
    let expected = vec![RecordChange::Changed(Record::Consumer(now))];
    for revision in 0..3 {
        assert_eq!(since(rig, revision).await, (3, expected.clone()));
    }
    assert_eq!(since(rig, 3).await, (3, vec![]));
}

async fn what_was_removed_is_named(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    rig.given(create_client("app", Some("acme"))).await;
    rig.apply(Change::DeleteConsumer { id: "acme".to_owned() }).await.unwrap();
    let (revision, mut records) = since(rig, 3).await;
    records.sort_by_key(|change| format!("{change:?}"));
    let gone = |kind, id: &str| RecordChange::Removed { kind, id: id.to_owned() };
    let expected = vec![gone(Kind::Client, "app"), gone(Kind::Consumer, "acme"), gone(Kind::Key, "key_1")];
    assert_eq!((revision, records), (4, expected));
}

async fn another_node_is_woken_within_two_seconds(rig: &Rig) {
    for round in 0..3 {
        let waiting = rig.other.changed(Revision(round));
        rig.given(Change::CreateConsumer(consumer(&format!("c{round}")))).await;
        tokio::time::timeout(Duration::from_secs(2), waiting).await.expect("not woken");
        assert_eq!(since(rig, round).await.1.len(), 1);
    }
    let token = RevokedToken { id: "jti".to_owned(), expires_at: NOW + 1 };
    let waiting = rig.other.changed(Revision(3));
    rig.store.revoke_tokens(vec![token.clone()]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(2), waiting).await.expect("not woken");
    assert_eq!(since(rig, 3).await, (4, vec![RecordChange::Changed(Record::RevokedToken(token))]));
}

async fn who_has_been_away_too_long_loads_again(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    assert_eq!(rig.store.changes(Revision(2)).await, Ok(Changes::LoadAgain), "a revision that never was");
    // More records in one change than are handed over at once.
    let tokens = |from: u32| {
        let each = |n| RevokedToken { id: format!("t{n}"), expires_at: NOW + 1 };
        (from..from + 1000).map(each).collect::<Vec<_>>()
    };
    for from in 0..6 {
        rig.store.revoke_tokens(tokens(from * 1000)).await.unwrap();
    }
    let (mut at, mut seen) = (Revision(1), 0);
    loop {
        let Changes::Since { revision, more, records } = rig.store.changes(at).await.unwrap() else {
            panic!()
        };
        (at, seen) = (revision, seen + records.len());
        if !more {
            break;
        }
    }
    assert_eq!((at.0, seen), (7, 6000));
}

async fn following_leads_to_what_loading_gives(rig: &Rig) {
    let (start, _) = load(&*rig.store).await;
    for id in ["a", "b", "c"] {
        rig.given(Change::CreateConsumer(consumer(id))).await;
        rig.given(create_key(&format!("key_{id}"), id)).await;
    }
    rig.given(Change::RevokeKey { id: "key_a".to_owned() }).await;
    rig.apply(Change::DeleteConsumer { id: "b".to_owned() }).await.unwrap();
    let (revision, records) = since(rig, start.0).await;
    let mut followed: Vec<Record> = records
        .into_iter()
        .filter_map(|change| match change {
            RecordChange::Changed(record) => Some(record),
            RecordChange::Removed { .. } => None,
        })
        .collect();
    let (loaded_at, mut loaded) = load(&*rig.store).await;
    followed.sort_by_key(|record| record.id().to_owned());
    loaded.sort_by_key(|record| record.id().to_owned());
    assert_eq!((revision, followed), (loaded_at.0, loaded));
}
