//! What loading costs. In here because the rows are made without the writer, which would take minutes for a million.

use std::path::Path;

use mainstay_core::catalogue::{ApiKey, Catalogue as _, Consumer, Record, Sha256};
use mainstay_core::clock::monotonic;
use mainstay_core::principal::Mode;
use rusqlite::params_from_iter;

use super::{SqliteOptions, SqliteStore};
use crate::encode::Encoded;
use crate::sql;

fn key(number: u64) -> Record {
    let mut sha256 = [0x5a; 32];
    // Hashes come in no order.
    sha256[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Record::Key(ApiKey {
        id: format!("key_{number:022}"),
        consumer: format!("consumer-{}", number / 1000),
        mode: Mode::Live,
        sha256: Sha256(sha256),
        scopes: vec!["payments:read".to_owned(), "payments:write".to_owned()],
        addresses: vec![],
        apis: vec![],
        created_at: 1_800_000_000_000,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    })
}

fn consumer(number: u64) -> Record {
    Record::Consumer(Consumer {
        id: format!("consumer-{number}"),
        name: format!("Consumer {number}"),
        plan: None,
        groups: vec![],
        attributes: Default::default(),
        suspended: false,
        created_at: 1_800_000_000_000,
    })
}

fn insert(path: &Path, keys: u64) {
    let mut connection = rusqlite::Connection::open(path).unwrap();
    let transaction = connection.transaction().unwrap();
    {
        let mut statement = transaction.prepare(sql::RECORD_INSERT).unwrap();
        for record in (0..keys / 1000).map(consumer).chain((0..keys).map(key)) {
            let values = Encoded::new(&record).unwrap().insertion(1);
            statement.execute(params_from_iter(&values)).unwrap();
        }
    }
    transaction.execute("UPDATE state SET revision = 1", []).unwrap();
    transaction.commit().unwrap();
}

#[test]
#[ignore = "a measurement: makes a million keys, and prints what loading them takes; MAINSTAY_KEEP names a folder for the file"]
fn a_million_keys() {
    const KEYS: u64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("MAINSTAY_KEEP").map(std::path::PathBuf::from);
    let path = kept.as_deref().unwrap_or(folder.path()).join("mainstay.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        drop(SqliteStore::open(SqliteOptions::new(&path)).await.unwrap());
        insert(&path, KEYS);
        let bytes = std::fs::metadata(&path).unwrap().len();
        let start = monotonic();
        let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
        let opened = start.elapsed();
        let mut keys = 0;
        store.load(&mut |record| keys += u64::from(matches!(record, Record::Key(_)))).await.unwrap();
        println!("opened in {opened:.2?}, loaded {keys} keys in {:.2?}, {bytes} bytes", start.elapsed());
        assert_eq!(keys, KEYS);
    });
}
