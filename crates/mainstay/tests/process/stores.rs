//! What becomes of the catalogue when its store is lost, damaged or away, and what a backup brings back.

use std::fs;
use std::io::Write as _;

use crate::run::{
    Engine, Payments, Process, answer, ask, connect, folder_with, forward_to, get, mainstay, until,
};

const SNAPSHOT: &str = "mainstay.last-good.catalogue";

/// In front of a service, for whoever has a key.
pub(crate) fn for_keys(service: &Payments) -> String {
    forward_to(service.address).replace("auth: none", "auth: api_key")
}

/// The status that a key is answered with.
pub(crate) fn status_with(engine: &Engine, key: &str) -> u16 {
    let mut stream = connect(engine.address);
    let head =
        format!("GET /v1/bytes/1 HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    answer(&mut stream).status
}

/// A consumer, and a key of it that the data plane knows.
#[track_caller]
pub(crate) fn key_of(engine: &Engine, consumer: &str) -> (String, String) {
    let made = engine.ask(&["consumer", "create", consumer, "--name", consumer]);
    assert_eq!(made.code, 0, "{made:?}");
    let made = engine.ask(&["key", "create", "--consumer", consumer, "--output", "json"]);
    assert_eq!(made.code, 0, "{made:?}");
    let text = |name: &str| made.json()[name].as_str().unwrap().to_owned();
    until(|| status_with(engine, &text("key")) == 200);
    (text("id"), text("key"))
}

/// The snapshot knows what the store knew.
pub(crate) fn until_in_snapshot(engine: &Engine, key_id: &str) {
    until(|| fs::read_to_string(engine.path(SNAPSHOT)).is_ok_and(|text| text.contains(key_id)));
}

pub(crate) fn killed(engine: Engine) -> tempfile::TempDir {
    let Engine { process, folder, .. } = engine;
    // It is killed, and has ended when this returns.
    drop(process);
    folder
}

pub(crate) fn start_again(folder: tempfile::TempDir) -> Engine {
    Engine::start_in(folder)
}

#[test]
fn a_backup_is_taken_beside_a_running_engine_and_restored_into_a_new_store() {
    let payments = Payments::start();
    let engine = Engine::start(&for_keys(&payments));
    let (id, key) = key_of(&engine, "acme");
    let backup = engine.ask(&["backup", "monday.backup", "--output", "json"]);
    assert_eq!(backup.code, 0, "{backup:?}");
    assert_eq!(backup.json()["audit_records"], 2, "{backup:?}");
    let text = fs::read_to_string(engine.path("monday.backup")).unwrap();
    assert!(text.contains(&id) && !text.contains(&key));
    // What came after it is not in it; the file that is there is not written over.
    let (_, later) = key_of(&engine, "later");
    let again = engine.ask(&["backup", "monday.backup"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert_eq!(fs::read_to_string(engine.path("monday.backup")).unwrap(), text);
    // Whoever runs has the store.
    let refused = engine.ask(&["restore", "monday.backup"]);
    assert!(refused.code == 1 && refused.err.contains("in use by process"), "{refused:?}");

    let folder = killed(engine);
    let refused = ask(folder.path(), &["restore", "monday.backup"]);
    assert!(refused.code == 1 && refused.err.contains("not empty"), "{refused:?}");
    for name in ["mainstay.db", "mainstay.db-wal", "mainstay.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    // Damaged on the way: nothing of it is taken.
    fs::write(folder.path().join("bent.backup"), text.replacen("acme", "acne", 1)).unwrap();
    let refused = ask(folder.path(), &["restore", "bent.backup"]);
    assert!(refused.code == 1 && refused.err.contains("damaged"), "{refused:?}");
    let restored = ask(folder.path(), &["restore", "monday.backup", "--output", "json"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(restored.json()["rows"], backup.json()["rows"]);

    let engine = start_again(folder);
    assert_eq!(status_with(&engine, &key), 200);
    assert_eq!(status_with(&engine, &later), 401);
    let verified = engine.ask(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    key_of(&engine, "new");
    engine.stop();
}

#[test]
fn a_backup_needs_a_store_and_its_folder() {
    let payments = Payments::start();
    let folder = folder_with(&for_keys(&payments));
    let none_yet = ask(folder.path(), &["backup", "b"]);
    assert!(none_yet.code == 1 && none_yet.err.contains("there is no"), "{none_yet:?}");
    assert!(!folder.path().join("mainstay.db").exists());
    let restored = ask(folder.path(), &["restore", "b"]);
    assert_eq!(restored.code, 1, "{restored:?}");
    let migrated = ask(folder.path(), &["migrate"]);
    assert!(migrated.code == 0 && migrated.out.contains("already"), "{migrated:?}");
    let unwritable = ask(folder.path(), &["backup", "none/b"]);
    assert!(unwritable.code == 1 && unwritable.err.contains("none/b"), "{unwritable:?}");
    fs::write(folder.path().join("mainstay.yaml"), forward_to(payments.address)).unwrap();
    let without = ask(folder.path(), &["backup", "b"]);
    assert!(without.code == 1 && without.err.contains("no `stores`"), "{without:?}");
}

/// Callers notice nothing of a store that cannot be had at the start; whoever wants to change something is told.
#[test]
fn without_its_store_an_engine_starts_from_the_last_good_snapshot() {
    let payments = Payments::start();
    let engine = Engine::start(&for_keys(&payments));
    let (id, key) = key_of(&engine, "acme");
    until_in_snapshot(&engine, &id);
    let folder = killed(engine);
    // The folder of the files is away.
    for name in ["mainstay.db", "mainstay.db-wal", "mainstay.db-shm"] {
        let _ = fs::rename(folder.path().join(name), folder.path().join(format!("away.{name}")));
    }
    fs::create_dir(folder.path().join("mainstay.db")).unwrap();

    let engine = start_again(folder);
    let used = engine.process.event("catalogue_snapshot_used", 1);
    assert!(used["records"].as_u64() >= Some(2) && used["age_s"].is_u64(), "{used}");
    assert_eq!(status_with(&engine, &key), 200);
    let refused = engine.ask(&["consumer", "create", "late", "--name", "Late"]);
    assert!(refused.code == 1 && refused.err.contains("store"), "{refused:?}");
    until(|| get(engine.control, "/readyz").body.contains("the catalogue has not been read for"));

    fs::remove_dir(engine.path("mainstay.db")).unwrap();
    for name in ["mainstay.db", "mainstay.db-wal", "mainstay.db-shm"] {
        let _ = fs::rename(engine.path(&format!("away.{name}")), engine.path(name));
    }
    engine.process.event("catalogue_recovered", 1);
    assert_eq!(status_with(&engine, &key), 200);
    let (second, _) = key_of(&engine, "late");
    until_in_snapshot(&engine, &second);
    engine.stop();
}

#[test]
fn a_damaged_store_and_an_empty_one_are_told_apart() {
    let payments = Payments::start();
    let engine = Engine::start(&for_keys(&payments));
    let (id, key) = key_of(&engine, "acme");
    until_in_snapshot(&engine, &id);
    let folder = killed(engine);
    let file = folder.path().join("mainstay.db");

    // Nonsense in the files: who is known is known still.
    let _ = fs::remove_file(folder.path().join("mainstay.db-wal"));
    fs::write(&file, b"this is no database, and never was one").unwrap();
    let engine = start_again(folder);
    engine.process.event("catalogue_snapshot_used", 1);
    assert_eq!(status_with(&engine, &key), 200);
    let folder = killed(engine);

    // No files: an empty store would refuse everybody, so nothing starts until somebody has decided.
    for name in ["mainstay.db", "mainstay.db-wal", "mainstay.db-shm"] {
        let _ = fs::remove_file(folder.path().join(name));
    }
    let mut refused = Process::start(mainstay(folder.path()).arg("run"));
    assert_eq!(refused.code(), 1, "{}", refused.err());
    assert!(
        refused.err().contains("is empty, and was not") && refused.err().contains(SNAPSHOT),
        "{}",
        refused.err()
    );
    fs::remove_file(folder.path().join(SNAPSHOT)).unwrap();
    let engine = start_again(folder);
    assert_eq!(status_with(&engine, &key), 401);
    engine.stop();
}

/// Another store's snapshot says nothing about this one.
#[test]
fn a_snapshot_of_another_store_is_not_used() {
    let payments = Payments::start();
    let engine = Engine::start(&for_keys(&payments));
    let (id, key) = key_of(&engine, "acme");
    until_in_snapshot(&engine, &id);
    let configuration = engine.configuration();
    let folder = killed(engine);
    let other = format!("{configuration}\nstores: {{ catalogue: sqlite:other.db }}\n");
    fs::write(folder.path().join("mainstay.yaml"), &other).unwrap();
    fs::create_dir(folder.path().join("other.db")).unwrap();
    let mut refused = Process::start(mainstay(folder.path()).arg("run"));
    assert_eq!(refused.code(), 1, "{}", refused.err());
    fs::remove_dir(folder.path().join("other.db")).unwrap();
    // New, and rightly empty.
    let engine = start_again(folder);
    assert_eq!(status_with(&engine, &key), 401);
    engine.stop();
}
