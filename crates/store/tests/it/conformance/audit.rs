//! The audit: written with the change or not at all, and bound to what was before.

use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::{Actor, Change, Kind, StoreError};

use super::for_every_store;
use crate::rig::Rig;
use crate::samples::*;

for_every_store!(
    every_change_leaves_one_record,
    a_refused_change_leaves_none,
    no_secret_and_no_hash_of_one_is_in_it,
    it_is_listed_in_pages_and_by_record,
);

fn all() -> AuditQuery {
    AuditQuery { limit: 500, ..AuditQuery::default() }
}

async fn every_change_leaves_one_record(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.later(5);
    let mut suspended = consumer("acme");
    suspended.suspended = true;
    let by = Actor { request_id: Some("req-1".to_owned()), ..actor() };
    let applied = rig.store.apply(Change::UpdateConsumer(suspended), by.clone(), None).await.unwrap();
    assert_eq!(applied.audit, 2);
    rig.apply(Change::DeleteConsumer { id: "acme".to_owned() }).await.unwrap();

    let records = rig.other.audit(all()).await.unwrap();
    let seen: Vec<_> = records.iter().map(|r| (r.number, r.action.as_str(), r.at - NOW)).collect();
    assert_eq!(seen, [(3, "consumer.delete", 5), (2, "consumer.update", 5), (1, "consumer.create", 0)]);
    let [deleted, updated, created] = &records[..] else { panic!() };
    assert_eq!((updated.kind, updated.id.as_str(), &updated.actor), (Kind::Consumer, "acme", &by));
    assert!(created.before.is_none() && deleted.after.is_none());
    assert_eq!(updated.before, created.after);
    assert_eq!(updated.after, deleted.before);
    assert!(updated.before.as_ref().unwrap().0.contains("\"suspended\":false"));
    assert!(updated.after.as_ref().unwrap().0.contains("\"suspended\":true"));
    let verified = rig.store.verify_audit().await.unwrap();
    assert_eq!(verified, Verified::Whole { records: 3, head: deleted.hash });
}

async fn a_refused_change_leaves_none(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    let nobody = Actor { id: String::new(), ..actor() };
    let change = Change::DeleteConsumer { id: "acme".to_owned() };
    let refused = rig.store.apply(change, nobody, None).await;
    assert!(matches!(refused, Err(StoreError::Invalid { field: "actor", .. })));
    assert!(rig.apply(Change::CreateConsumer(consumer("acme"))).await.is_err());
    assert!(rig.apply(create_key("key_1", "nobody")).await.is_err());
    assert_eq!(rig.store.audit(all()).await.unwrap().len(), 1);
    assert!(matches!(rig.store.verify_audit().await, Ok(Verified::Whole { records: 1, .. })));
    assert_eq!(rig.store.revision().await.unwrap().0, 1);
}

async fn no_secret_and_no_hash_of_one_is_in_it(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    let new = key("key_2", "acme");
    rig.given(Change::RotateKey { id: "key_1".to_owned(), new, old_expires_at: NOW + 1 }).await;
    rig.given(create_client("app", None)).await;
    let sha256 = Some(hash("another secret"));
    rig.given(Change::SetClientSecret { id: "app".to_owned(), sha256 }).await;
    rig.given(Change::CreateUser(user("alice"))).await;
    rig.given(Change::AddSigningKey(signing_key("k1"))).await;
    rig.given(Change::CreateAdminToken(admin_token("tok_1"))).await;
    let records = rig.store.audit(all()).await.unwrap();
    assert_eq!(records.len(), 8);
    let secrets =
        ["key_1", "key_2", "client secret", "another secret", "tok_1"].map(|text| hash(text).to_hex());
    for record in &records {
        for json in [&record.before, &record.after].into_iter().flatten() {
            for secret in secrets.iter().map(String::as_str).chain([HASH, "010203", "sha256", "private"]) {
                assert!(!json.0.contains(secret), "{secret} in {record:?}");
            }
        }
    }
}

async fn it_is_listed_in_pages_and_by_record(rig: &Rig) {
    for id in ["acme", "bank"] {
        rig.given(Change::CreateConsumer(consumer(id))).await;
        rig.given(create_key(&format!("key_{id}"), id)).await;
    }
    let rows = [
        (AuditQuery { limit: 3, ..all() }, vec![4, 3, 2]),
        (AuditQuery { before: Some(2), ..all() }, vec![1]),
        (AuditQuery { kind: Some(Kind::Key), ..all() }, vec![4, 2]),
        (AuditQuery { kind: Some(Kind::Key), id: Some("key_acme".to_owned()), ..all() }, vec![2]),
        (AuditQuery { id: Some("nobody".to_owned()), ..all() }, vec![]),
    ];
    for (query, numbers) in rows {
        let found = rig.store.audit(query.clone()).await.unwrap();
        assert_eq!(found.iter().map(|record| record.number).collect::<Vec<_>>(), numbers, "{query:?}");
    }
}
