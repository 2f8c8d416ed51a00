//! Records: made, changed, found, removed.

use mainstay_core::catalogue::port::List;
use mainstay_core::catalogue::{Change, Etag, Kind, Record, StoreError};

use super::for_every_store;
use crate::rig::{Rig, load};
use crate::samples::*;

for_every_store!(
    every_kind_is_kept_as_it_was_written,
    what_is_not_there_is_not_found,
    what_is_there_is_a_conflict,
    a_lost_update_is_refused,
    an_update_keeps_what_is_not_its_business,
    a_key_is_rotated_restricted_expired_and_revoked,
    a_deleted_consumer_takes_its_keys_and_clients_along,
    a_key_may_belong_to_a_consumer_of_the_file,
    signing_keys_are_retired_before_they_are_removed,
    lists_come_in_pages,
    the_last_use_is_remembered_without_a_revision,
);

fn list(kind: Kind) -> List {
    List { kind, consumer: None, after: None, limit: 500 }
}

async fn every_kind_is_kept_as_it_was_written(rig: &Rig) {
    let changes = [
        Change::CreateConsumer(consumer("acme")),
        create_key("key_1", "acme"),
        create_client("app", Some("acme")),
        Change::CreateUser(user("alice@example.com")),
        Change::AddSigningKey(signing_key("2026-11")),
        Change::CreateAdminToken(admin_token("tok_1")),
    ];
    let mut written = Vec::new();
    for (index, change) in changes.into_iter().enumerate() {
        let stored = rig.given(change).await;
        assert_eq!(stored.etag, Etag(index as u64 + 1));
        let read = rig.other.get(stored.record.kind(), stored.record.id()).await.unwrap();
        assert_eq!(read, stored);
        written.push(stored.record);
    }
    let (revision, loaded) = load(&*rig.store).await;
    assert_eq!((revision.0, loaded), (6, written));
    assert_eq!(rig.store.revision().await, Ok(revision));
}

async fn what_is_not_there_is_not_found(rig: &Rig) {
    let missing = |kind, id: &str| StoreError::NotFound { kind, id: id.to_owned() };
    let rows = [
        (Change::UpdateConsumer(consumer("acme")), missing(Kind::Consumer, "acme")),
        (Change::DeleteConsumer { id: "acme".to_owned() }, missing(Kind::Consumer, "acme")),
        (create_key("key_1", "acme"), missing(Kind::Consumer, "acme")),
        (Change::RevokeKey { id: "key_1".to_owned() }, missing(Kind::Key, "key_1")),
        (
            Change::RotateKey { id: "key_1".to_owned(), new: key("key_2", "acme"), old_expires_at: NOW },
            missing(Kind::Key, "key_1"),
        ),
        (create_client("app", Some("acme")), missing(Kind::Consumer, "acme")),
        (Change::SetClientSecret { id: "app".to_owned(), sha256: None }, missing(Kind::Client, "app")),
        (Change::DeleteUser { name: "alice".to_owned() }, missing(Kind::User, "alice")),
        (
            Change::SetPassword { name: "alice".to_owned(), password_hash: HASH.to_owned() },
            missing(Kind::User, "alice"),
        ),
        (Change::RetireSigningKey { id: "k".to_owned(), at: NOW }, missing(Kind::SigningKey, "k")),
        (Change::RevokeAdminToken { id: "tok".to_owned() }, missing(Kind::AdminToken, "tok")),
    ];
    for (change, error) in rows {
        assert_eq!(rig.apply(change.clone()).await, Err(error), "{change:?}");
    }
    assert_eq!(rig.store.get(Kind::Key, "key_1").await, Err(missing(Kind::Key, "key_1")));
    assert_eq!(load(&*rig.store).await, (mainstay_core::catalogue::Revision(0), vec![]));
}

async fn what_is_there_is_a_conflict(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    let mut same_hash = key("key_2", "acme");
    same_hash.sha256 = hash("key_1");
    let rows = [
        (Change::CreateConsumer(consumer("acme")), "there is a consumer \"acme\" already"),
        (create_key("key_1", "acme"), "there is a key \"key_1\" already"),
        (Change::ImportKey { key: same_hash, consumer_in_file: false }, "key \"key_1\" has the same hash"),
    ];
    for (change, what) in rows {
        assert_eq!(rig.apply(change).await, Err(StoreError::Conflict { what: what.to_owned() }));
    }
    assert_eq!(load(&*rig.store).await.0.0, 2);
}

async fn a_lost_update_is_refused(rig: &Rig) {
    let first = rig.given(Change::CreateConsumer(consumer("acme"))).await.etag;
    let mut suspended = consumer("acme");
    suspended.suspended = true;
    let second =
        rig.apply_at(Change::UpdateConsumer(suspended.clone()), first).await.unwrap().etag().unwrap();
    let stale = Err(StoreError::Stale { current: second });
    assert_eq!(rig.apply_at(Change::UpdateConsumer(consumer("acme")), first).await, stale);
    assert_eq!(rig.apply_at(Change::DeleteConsumer { id: "acme".to_owned() }, first).await, stale);
    let now = rig.store.get(Kind::Consumer, "acme").await.unwrap();
    assert_eq!((now.record, now.etag), (Record::Consumer(suspended), second));
    rig.apply_at(Change::DeleteConsumer { id: "acme".to_owned() }, second).await.unwrap();
}

async fn an_update_keeps_what_is_not_its_business(rig: &Rig) {
    let (old_client, old_user) = (client("app", None), user("alice"));
    rig.given(Change::CreateClient { client: old_client.clone(), consumer_in_file: false }).await;
    rig.given(Change::CreateUser(old_user.clone())).await;
    let mut new_client = old_client.clone();
    (new_client.secret_sha256, new_client.created_at, new_client.disabled) = (None, 0, true);
    let mut new_user = old_user.clone();
    (new_user.password_hash, new_user.created_at, new_user.disabled) = (String::new(), 0, true);

    let client = rig.given(Change::UpdateClient { client: new_client, consumer_in_file: false }).await.record;
    let Record::Client(client) = client else { panic!() };
    assert!(client.disabled);
    assert_eq!((client.secret_sha256, client.created_at), (old_client.secret_sha256, NOW));
    let Record::User(user) = rig.given(Change::UpdateUser(new_user)).await.record else { panic!() };
    assert!(user.disabled);
    assert_eq!((user.password_hash.as_str(), user.created_at), (HASH, NOW));

    let change = Change::SetClientSecret { id: "app".to_owned(), sha256: Some(hash("another")) };
    let Record::Client(client) = rig.given(change).await.record else { panic!() };
    assert_eq!(client.secret_sha256, Some(hash("another")));
    let password_hash = format!("{HASH}2");
    let change = Change::SetPassword { name: "alice".to_owned(), password_hash: password_hash.clone() };
    let Record::User(user) = rig.given(change).await.record else { panic!() };
    assert_eq!(user.password_hash, password_hash);
}

async fn a_key_is_rotated_restricted_expired_and_revoked(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    let rotate = |old: &str, new: &str, at| Change::RotateKey {
        id: old.to_owned(),
        new: key(new, "acme"),
        old_expires_at: at,
    };
    let new = rig.given(rotate("key_1", "key_2", NOW + 1000)).await.record;
    assert_eq!(new, Record::Key(key("key_2", "acme")));
    let expiry = |record: Record| match record {
        Record::Key(key) => key.expires_at,
        _ => panic!(),
    };
    let old = rig.store.get(Kind::Key, "key_1").await.unwrap().record;
    assert_eq!(expiry(old), Some(NOW + 1000));
    // A second rotation never makes the first key live longer.
    rig.given(rotate("key_1", "key_3", NOW + 9000)).await;
    assert_eq!(expiry(rig.store.get(Kind::Key, "key_1").await.unwrap().record), Some(NOW + 1000));
    rig.later(1000);
    let refused = rig.apply(rotate("key_1", "key_4", NOW + 9000)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what }) if what.contains("expired")));

    let restrict = Change::RestrictKey {
        id: "key_2".to_owned(),
        scopes: vec![],
        addresses: vec!["127.0.0.1".to_owned()],
        apis: vec![],
    };
    let Record::Key(restricted) = rig.given(restrict).await.record else { panic!() };
    assert_eq!((restricted.scopes.len(), restricted.addresses.len()), (0, 1));
    let expire = Change::ExpireKey { id: "key_2".to_owned(), at: NOW + 5000 };
    assert_eq!(expiry(rig.given(expire).await.record), Some(NOW + 5000));

    for _ in 0..2 {
        let revoked = rig.given(Change::RevokeKey { id: "key_2".to_owned() }).await.record;
        assert!(matches!(revoked, Record::Key(key) if key.revoked_at == Some(NOW + 1000)));
        rig.later(1);
    }
    let refused = rig.apply(rotate("key_2", "key_5", NOW + 9000)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { what }) if what.contains("revoked")));
    let mut other_mode = key("key_6", "acme");
    other_mode.mode = mainstay_core::principal::Mode::Test;
    let refused =
        rig.apply(Change::RotateKey { id: "key_3".to_owned(), new: other_mode, old_expires_at: NOW }).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "key", .. })));
}

async fn a_deleted_consumer_takes_its_keys_and_clients_along(rig: &Rig) {
    for id in ["acme", "bank"] {
        rig.given(Change::CreateConsumer(consumer(id))).await;
        rig.given(create_key(&format!("key_{id}"), id)).await;
        rig.given(create_client(&format!("app_{id}"), Some(id))).await;
    }
    assert_eq!(rig.apply(Change::DeleteConsumer { id: "acme".to_owned() }).await.unwrap().stored, None);
    let (_, left) = load(&*rig.store).await;
    let ids: Vec<&str> = left.iter().map(Record::id).collect();
    assert_eq!(ids, ["bank", "key_bank", "app_bank"]);
    // The hash of a key that is gone may come back, with another consumer.
    rig.given(create_key("key_acme", "bank")).await;
}

async fn a_key_may_belong_to_a_consumer_of_the_file(rig: &Rig) {
    rig.given(Change::CreateKey { key: key("key_1", "filed"), consumer_in_file: true }).await;
    rig.given(Change::CreateClient { client: client("app", Some("filed")), consumer_in_file: true }).await;
    let owned = List { consumer: Some("filed".to_owned()), ..list(Kind::Key) };
    assert_eq!(rig.store.list(owned).await.unwrap().items.len(), 1);
}

async fn signing_keys_are_retired_before_they_are_removed(rig: &Rig) {
    rig.given(Change::AddSigningKey(signing_key("k1"))).await;
    let remove = Change::RemoveSigningKey { id: "k1".to_owned(), at: NOW + 10 };
    assert!(matches!(rig.apply(remove.clone()).await, Err(StoreError::Conflict { .. })));
    rig.given(Change::RetireSigningKey { id: "k1".to_owned(), at: NOW }).await;
    let Record::SigningKey(removed) = rig.given(remove).await.record else { panic!() };
    assert_eq!((removed.retired_at, removed.removed_at), (Some(NOW), Some(NOW + 10)));
    assert!(removed.private.0.is_empty(), "the private half is erased");
}

async fn lists_come_in_pages(rig: &Rig) {
    // In the order of bytes, whatever the language of the database: capitals, then the underscore, then the rest.
    let ids = ["B", "Z", "_", "a", "b", "z"];
    for id in ids.iter().rev() {
        rig.given(Change::CreateConsumer(consumer(id))).await;
    }
    rig.given(create_key("key_1", "B")).await;
    for limit in 1..=7 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = rig.store.list(List { after, limit, ..list(Kind::Consumer) }).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|stored| stored.record.id().to_owned()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids, "{limit} at a time");
    }
    for (consumer, expected) in [("B", 1), ("Z", 0)] {
        let keys = List { consumer: Some(consumer.to_owned()), ..list(Kind::Key) };
        assert_eq!(rig.store.list(keys).await.unwrap().items.len(), expected);
    }
}

async fn the_last_use_is_remembered_without_a_revision(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    let made = rig.given(create_key("key_1", "acme")).await;
    let used = |at| vec![("key_gone".to_owned(), at), ("key_1".to_owned(), at)];
    rig.store.touch_keys(used(NOW + 60_000)).await.unwrap();
    rig.store.touch_keys(used(NOW)).await.unwrap();
    let read = rig.store.get(Kind::Key, "key_1").await.unwrap();
    assert_eq!(read.etag, made.etag);
    let Record::Key(mut read) = read.record else { panic!() };
    assert_eq!(read.last_used_at.take(), Some(NOW + 60_000), "later wins");
    assert_eq!(Record::Key(read), made.record);
    assert_eq!(rig.store.revision().await.unwrap().0, 2);
    // A change of the key keeps it.
    rig.given(Change::ExpireKey { id: "key_1".to_owned(), at: NOW }).await;
    let read = rig.store.get(Kind::Key, "key_1").await.unwrap().record;
    assert!(matches!(read, Record::Key(key) if key.last_used_at.is_some()));
    let too_many = vec![("key_1".to_owned(), NOW); 10_001];
    assert!(matches!(rig.store.touch_keys(too_many).await, Err(StoreError::Invalid { .. })));
}
