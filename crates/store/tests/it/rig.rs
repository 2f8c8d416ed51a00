//! A store of each kind, empty, for one test.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::catalogue::{
    Applied, Catalogue, Change, Etag, Record, Revision, Store, StoreError, Stored,
};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use crate::samples::{NOW, actor};

/// Longer than anything takes on a busy machine; a test that reaches it has failed.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    /// The same catalogue as another node has it; with files the same one.
    pub(crate) other: Arc<dyn Store>,
    pub(crate) clock: Clock,
}

impl Rig {
    pub(crate) async fn apply(&self, change: Change) -> Result<Applied, StoreError> {
        self.store.apply(change, actor(), None).await
    }

    pub(crate) async fn apply_at(&self, change: Change, etag: Etag) -> Result<Applied, StoreError> {
        self.store.apply(change, actor(), Some(etag)).await
    }

    /// For what a test needs to be there.
    pub(crate) async fn given(&self, change: Change) -> Stored {
        let applied = self.apply(change.clone()).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
        applied.stored.unwrap_or_else(|| panic!("{change:?} leaves nothing"))
    }

    pub(crate) fn later(&self, ms: i64) {
        assert!(self.clock.set(UnixMs(self.clock.now().0 + ms)));
    }
}

/// Everything in a store, in its order.
pub(crate) async fn load(store: &dyn Catalogue) -> (Revision, Vec<Record>) {
    let mut records = Vec::new();
    let revision = store.load(&mut |record| records.push(record)).await.unwrap();
    (revision, records)
}

/// Runs a test on a runtime of its own, and not for ever.
pub(crate) fn run<R>(test: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(GUARD, test).await.expect("the test takes too long") })
}

/// Runs a test with a new store in files.
pub(crate) fn on_sqlite(test: impl AsyncFnOnce(&Rig)) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(UnixMs(NOW));
    run(async {
        let path = folder.path().join("mainstay.db");
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::new(path) };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).await.unwrap());
        test(&Rig { other: Arc::clone(&store), store, clock }).await;
    });
}

/// Runs a test with a new database of the server, on which there are two nodes.
pub(crate) fn on_postgres(test: impl AsyncFnOnce(&Rig)) {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let clock = Clock::manual(UnixMs(NOW));
        let options = PostgresOptions { clock: clock.clone(), ..PostgresOptions::new(&database.url) };
        let store: Arc<dyn Store> = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
        let other: Arc<dyn Store> = Arc::new(PostgresStore::open(options).await.unwrap());
        test(&Rig { store, other, clock }).await;
        database.drop().await;
    });
}

/// The URL of the server for tests, without a database. None: the test is skipped, and says so.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn postgres_server() -> Option<String> {
    let server = std::env::var("MAINSTAY_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    if server.is_none() {
        println!("SKIPPED: MAINSTAY_TEST_POSTGRES names no server; `cargo xtask test` starts one");
    }
    server
}

/// A database of its own for one test.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    admin: tokio_postgres::Client,
}

impl Database {
    pub(crate) async fn create(server: &str) -> Self {
        let at_server = format!("{server}/postgres");
        let (admin, connection) = tokio_postgres::connect(&at_server, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        // The name of a temporary folder is one that nobody else has.
        let folder = tempfile::tempdir().unwrap();
        let unique =
            folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_lowercase();
        let name = format!("test_{}_{unique}", std::process::id());
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = format!("{server}/{name}");
        Self { url, name, admin }
    }

    pub(crate) async fn drop(self) {
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }
}
