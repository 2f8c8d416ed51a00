//! Sealing: what must be recoverable, by whoever has the key and by nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use mainstay_core::catalogue::{Catalogue as _, Change, Kind, Record, Sealed, Sealer as _, StoreError};
use mainstay_store::{Keyring, SqliteOptions, SqliteStore};

use crate::rig::run;
use crate::samples::*;

const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn keys(text: &str) -> Keyring {
    Keyring::parse(text).unwrap()
}

fn damaged(answer: Result<Vec<u8>, StoreError>) -> String {
    match answer {
        Err(StoreError::Damaged { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sealed_opens_in_its_place_only() {
    let keys = keys(OLD);
    let sealed = keys.seal(Kind::SigningKey, "k1", b"private").unwrap();
    assert_eq!(keys.open(Kind::SigningKey, "k1", &sealed).unwrap(), b"private");
    assert!(!sealed.0.windows(7).any(|window| window == b"private"));
    assert_ne!(keys.seal(Kind::SigningKey, "k1", b"private").unwrap(), sealed, "the nonce is random");
    for (kind, id) in [(Kind::SigningKey, "k2"), (Kind::Client, "k1")] {
        assert!(damaged(keys.open(kind, id, &sealed)).contains("broken"));
    }
    for position in 0..sealed.0.len() {
        let mut altered = sealed.clone();
        altered.0[position] ^= 1;
        damaged(keys.open(Kind::SigningKey, "k1", &altered));
    }
    for length in 0..sealed.0.len() {
        damaged(keys.open(Kind::SigningKey, "k1", &Sealed(sealed.0[..length].to_vec())));
    }
}

#[test]
fn a_wrong_key_is_named_as_the_reason() {
    let sealed = keys(OLD).seal(Kind::SigningKey, "k1", b"private").unwrap();
    let what = damaged(keys(NEW).open(Kind::SigningKey, "k1", &sealed));
    assert!(what.contains("not among stores.secret_key"), "{what}");
    let both = keys(&format!("{NEW}\n{OLD}\n"));
    assert_eq!(both.open(Kind::SigningKey, "k1", &sealed).unwrap(), b"private");
    let sealed_anew = both.seal(Kind::SigningKey, "k1", b"private").unwrap();
    assert_eq!(keys(NEW).open(Kind::SigningKey, "k1", &sealed_anew).unwrap(), b"private");
}

#[test]
fn a_key_is_64_hex_digits_and_never_quoted() {
    let planted = "planted-secret";
    let seventeen = vec![OLD; 17].join(" ");
    for text in ["", "abc", planted, &OLD[1..], &format!("{OLD}0"), &format!("{OLD} {planted}"), &seventeen] {
        let error = Keyring::parse(text).unwrap_err();
        assert!(matches!(error, StoreError::Invalid { field: "stores.secret_key", .. }), "{error}");
        assert!(!error.to_string().contains(planted));
    }
    assert_eq!(format!("{:?}", keys(OLD)), "Keyring(1 keys)");
}

#[test]
fn a_key_file_is_made_once_and_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainstay.key");
    let sealed = Keyring::load_or_create(&path).unwrap().seal(Kind::SigningKey, "k1", b"x").unwrap();
    let again = Keyring::load_or_create(&path).unwrap();
    assert_eq!(again.open(Kind::SigningKey, "k1", &sealed).unwrap(), b"x", "the same key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    for mode in [0o640, 0o604, 0o660, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Keyring::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("mainstay.key"), "{error}");
    }
    let nowhere = folder.path().join("missing").join("mainstay.key");
    assert!(matches!(Keyring::load_or_create(&nowhere), Err(StoreError::Invalid { .. })));
}

#[test]
fn everything_is_sealed_anew_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = SqliteStore::open(SqliteOptions::new(folder.path().join("mainstay.db"))).await.unwrap();
        let old = keys(OLD);
        for number in 0..60 {
            let id = format!("k{number:02}");
            let mut key = signing_key(&id);
            key.private = old.seal(Kind::SigningKey, &id, id.as_bytes()).unwrap();
            store.apply(Change::AddSigningKey(key), actor(), None).await.unwrap();
        }
        // Without the old key nothing can be done, and nothing is.
        let refused = store.reseal(&Arc::new(keys(NEW))).await;
        assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");

        let revision = store.revision().await.unwrap();
        let both = Arc::new(keys(&format!("{NEW} {OLD}")));
        assert_eq!(store.reseal(&both).await, Ok(60));
        assert_eq!(store.reseal(&both).await, Ok(0), "it is done");
        assert_eq!(store.revision().await.unwrap(), revision, "what the records say is the same");
        let new = keys(NEW);
        let (_, records) = crate::rig::load(&store).await;
        for record in records {
            let Record::SigningKey(key) = record else { panic!() };
            assert_eq!(new.open(Kind::SigningKey, &key.id, &key.private).unwrap(), key.id.as_bytes());
        }
    });
}
