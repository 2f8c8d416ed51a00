//! The catalogue over the admin API, with the real store behind it.

mod audit;
mod clients;
mod consumers;
mod hostile;
mod keys;
mod secrets;
mod store;
mod tokens;

use std::sync::Arc;

use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::port::{Answer as Kept, Changes, List, Page};
use mainstay_core::catalogue::{
    Actor, Applied, AuditRecord, Catalogue, Change, Etag, Kind, Record, Revision, StoreError, Stored,
};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_core::port::PortFuture;
use mainstay_store::{SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use super::{Answer, Fake, SECRET, Server, soon};
use crate::limits::Limits;
use crate::routes::OPENAPI;

/// 2026-11-24T10:00:00Z.
const NOW_MS: i64 = 1_795_514_400_000;

/// A control side with a store.
struct Desk {
    server: Server,
    store: Arc<SqliteStore>,
    clock: Clock,
    folder: TempDir,
}

impl Desk {
    async fn open() -> Self {
        Self::with(Fake::default()).await
    }

    async fn with(engine: Fake) -> Self {
        Self::behind(engine, |store| store).await
    }

    /// With something before the store.
    async fn behind<C: Catalogue>(engine: Fake, wrap: impl FnOnce(Arc<SqliteStore>) -> Arc<C>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(UnixMs(NOW_MS));
        let mut options = SqliteOptions::new(folder.path().join("catalogue.db"));
        options.clock = clock.clone();
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        let catalogue = wrap(Arc::clone(&store));
        let limits = Limits::default();
        let server = Server::with("127.0.0.1:0", None, limits, engine, Some(catalogue), clock.clone()).await;
        Self { server, store, clock, folder }
    }

    /// A call with a token and further lines of the head.
    async fn call(&self, token: &str, method_and_path: &str, lines: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method_and_path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\n{lines}\r\n{body}"
        );
        self.server.ask(&request).await
    }

    /// The owner asks.
    async fn get(&self, path: &str) -> Answer {
        self.call(SECRET, &format!("GET {path}"), "", "").await
    }

    /// The owner changes something.
    async fn change(&self, method_and_path: &str, body: &Value) -> Answer {
        self.call(SECRET, method_and_path, "", &body.to_string()).await
    }

    /// The same, if the record is at this version still.
    async fn change_if(&self, etag: &str, method_and_path: &str, body: &Value) -> Answer {
        let lines = format!("If-Match: {etag}\r\n");
        self.call(SECRET, method_and_path, &lines, &body.to_string()).await
    }

    async fn consumer(&self, id: &str) -> Answer {
        let made = self.change("POST /admin/v1/consumers", &json!({ "id": id })).await;
        assert_eq!(made.status, 201, "{made:?}");
        made
    }

    async fn key(&self, consumer: &str, body: &Value) -> Value {
        let made = self.change(&format!("POST /admin/v1/consumers/{consumer}/keys"), body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    }

    /// A token of this role, limited to these apis.
    async fn token(&self, role: &str, apis: &[&str]) -> (String, String) {
        let body = json!({ "name": "somebody", "role": role, "apis": apis });
        let made = self.change("POST /admin/v1/tokens", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        (text(&made, "id"), text(&made, "token"))
    }

    /// Every page of a list.
    async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}?limit={limit}{cursor}")).await;
            assert_eq!(page.status, 200, "{page:?}");
            let page = page.json();
            let on_page = page["items"].as_array().unwrap();
            assert!(on_page.len() <= limit, "{} of {limit}", on_page.len());
            items.extend(on_page.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// How many changes there were, after their chain was followed.
    async fn verified(&self) -> u64 {
        let verdict = self.get("/admin/v1/audit/verify").await;
        assert_eq!((verdict.status, &verdict.json()["ok"]), (200, &json!(true)), "{verdict:?}");
        conforms("Verdict", &verdict.json());
        verdict.json()["records"].as_u64().unwrap()
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}")).to_owned()
}

/// Whether an answer has the fields that the description promises, and no others.
fn conforms(schema: &str, value: &Value) {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut schemas = vec![document["components"]["schemas"][schema].clone()];
    let bases = schemas[0]["allOf"].as_array().cloned().unwrap_or_default();
    schemas.extend(bases.iter().map(|base| {
        document.pointer(base["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).unwrap().clone()
    }));
    for name in value.as_object().unwrap().keys() {
        assert!(schemas.iter().any(|schema| schema["properties"].get(name).is_some()), "{schema}: {name}");
    }
    for required in schemas.iter().flat_map(|schema| schema["required"].as_array().into_iter().flatten()) {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{schema}: no {required} in {value}");
    }
}

/// Stands before the store, and does what the network and other callers may do.
struct Between {
    store: Arc<SqliteStore>,
    /// Somebody else changes the consumer just before each of the next changes.
    meddles: Semaphore,
    /// A change waits for this once `holds` is set.
    begun: Notify,
    release: Notify,
    holds: std::sync::atomic::AtomicBool,
    /// What a verification finds, if it is not the truth.
    verdict: Option<Verified>,
}

impl Between {
    fn new(store: Arc<SqliteStore>) -> Self {
        Self {
            store,
            meddles: Semaphore::new(0),
            begun: Notify::new(),
            release: Notify::new(),
            holds: false.into(),
            verdict: None,
        }
    }

    async fn before_apply(&self, change: &Change) {
        if self.holds.load(std::sync::atomic::Ordering::SeqCst) {
            self.begun.notify_one();
            self.release.notified().await;
        }
        let Change::UpdateConsumer(consumer) = change else { return };
        if let Ok(permit) = self.meddles.try_acquire() {
            permit.forget();
            let stored = self.store.get(Kind::Consumer, &consumer.id).await.unwrap();
            let Record::Consumer(mut other) = stored.record else { panic!("{stored:?}") };
            other.groups.push(format!("g{}", other.groups.len()));
            let by = Actor { id: "somebody".to_owned(), address: None, request_id: None };
            self.store.apply(Change::UpdateConsumer(other), by, None).await.unwrap();
        }
    }
}

impl Catalogue for Between {
    fn load<'a>(&'a self, visit: &'a mut (dyn FnMut(Record) + Send)) -> Kept<'a, Revision> {
        self.store.load(visit)
    }

    fn changes(&self, since: Revision) -> Kept<'_, Changes> {
        self.store.changes(since)
    }

    fn changed(&self, since: Revision) -> PortFuture<'_, ()> {
        self.store.changed(since)
    }

    fn revision(&self) -> Kept<'_, Revision> {
        self.store.revision()
    }

    fn get(&self, kind: Kind, id: &str) -> Kept<'_, Stored> {
        self.store.get(kind, id)
    }

    fn list(&self, list: List) -> Kept<'_, Page> {
        self.store.list(list)
    }

    fn apply(&self, change: Change, by: Actor, expected: Option<Etag>) -> Kept<'_, Applied> {
        Box::pin(async move {
            self.before_apply(&change).await;
            self.store.apply(change, by, expected).await
        })
    }

    fn audit(&self, query: AuditQuery) -> Kept<'_, Vec<AuditRecord>> {
        self.store.audit(query)
    }

    fn verify_audit(&self) -> Kept<'_, Verified> {
        match self.verdict.clone() {
            Some(verdict) => Box::pin(async move { Ok(verdict) }),
            None => self.store.verify_audit(),
        }
    }

    fn touch_keys(&self, used: Vec<(String, i64)>) -> Kept<'_, ()> {
        self.store.touch_keys(used)
    }
}

/// What a store says that cannot be asked.
fn dead() -> StoreError {
    StoreError::Unavailable { cause: "somebody pulled the plug".to_owned() }
}
