//! The last good snapshot on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mainstay_core::catalogue::{Change, Record, RevokedToken, StoreError};
use mainstay_core::clock::UnixMs;
use mainstay_store::{SnapshotInfo, load_snapshot, save_snapshot};

use crate::rig::{Rig, load, on_sqlite};
use crate::samples::*;

async fn fill(rig: &Rig) {
    rig.given(Change::CreateConsumer(consumer("acme"))).await;
    rig.given(create_key("key_1", "acme")).await;
    rig.given(create_client("app", Some("acme"))).await;
    rig.given(Change::CreateUser(user("alice"))).await;
    rig.given(Change::AddSigningKey(signing_key("k1"))).await;
    rig.given(Change::CreateAdminToken(admin_token("tok"))).await;
    rig.store.revoke_tokens(vec![RevokedToken { id: "jti".to_owned(), expires_at: NOW + 1 }]).await.unwrap();
}

#[test]
fn what_the_index_needs_is_in_it_and_no_more() {
    on_sqlite(async |rig: &Rig| {
        fill(rig).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.snapshot");
        let info = save_snapshot(&*rig.store, &path, &rig.clock).await.unwrap();
        let mut read = Vec::new();
        assert_eq!(load_snapshot(&path, &rig.store.place(), &mut |record| read.push(record)).unwrap(), info);
        let (revision, mut expected) = load(&*rig.store).await;
        assert_eq!(info, SnapshotInfo { revision, taken_at: NOW, records: 7 });
        assert_eq!((info.age_ms(UnixMs(NOW + 5)), info.age_ms(UnixMs(NOW - 5))), (5, 0));
        for record in &mut expected {
            match record {
                Record::User(user) => user.password_hash.clear(),
                Record::Client(client) => client.secret_sha256 = None,
                Record::SigningKey(key) => key.private.0.clear(),
                _ => {}
            }
        }
        assert_eq!(read, expected);
        let text = fs::read_to_string(&path).unwrap();
        for secret in [HASH, &hash("client secret").to_hex(), "010203"] {
            assert!(!text.contains(secret), "{secret}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        // A newer one takes its place, and nothing is left beside it.
        rig.apply(Change::DeleteConsumer { id: "acme".to_owned() }).await.unwrap();
        let newer = save_snapshot(&*rig.store, &path, &rig.clock).await.unwrap();
        assert_eq!(load_snapshot(&path, &rig.store.place(), &mut |_| {}).unwrap(), newer);
        assert_eq!(newer.records, 4);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    });
}

#[test]
fn what_is_not_whole_is_refused_before_anything_is_taken_from_it() {
    on_sqlite(async |rig: &Rig| {
        fill(rig).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue.snapshot");
        save_snapshot(&*rig.store, &path, &rig.clock).await.unwrap();
        let good = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut taken = 0;
            match load_snapshot(&path, &rig.store.place(), &mut |_| taken += 1) {
                Err(StoreError::Damaged { what }) => assert!(what.contains("catalogue.snapshot"), "{what}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(taken, 0);
        };
        for position in (0..good.len()).step_by(7) {
            let mut flipped = good.clone();
            flipped[position] ^= 4;
            refused(&flipped);
        }
        for length in (0..good.len()).step_by(101) {
            refused(&good[..length]);
        }
        refused(b"something else\n");
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            load_snapshot(&path, &rig.store.place(), &mut |_| {}),
            Err(StoreError::Unavailable { .. })
        ));
        save_snapshot(&*rig.store, &path, &rig.clock).await.unwrap();
        let other = load_snapshot(&path, "sqlite:other.db", &mut |record| panic!("{record:?}"));
        assert!(matches!(other, Err(StoreError::Conflict { .. })), "{other:?}");
    });
}
