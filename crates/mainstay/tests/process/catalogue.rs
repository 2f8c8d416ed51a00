//! The commands about consumers, keys, tokens and the audit, against a control listener with a store behind it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use mainstay_control::{Parts, Token};
use mainstay_core::catalogue::Consumer;
use mainstay_core::clock::Clock;
use mainstay_core::port::{
    Engine, Json, Loaded, PlanReport, PortFuture, Question, Readiness, ReloadRefused, Unanswerable,
    UpstreamReport, VersionReport,
};
use mainstay_store::{SqliteOptions, SqliteStore};
use mainstay_telemetry::{EventClock, EventLog, Output, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::run::{Answer, ask};

/// An engine with two plans, two apis and a consumer in its file.
struct Still;

impl Engine for Still {
    fn reload(&self) -> PortFuture<'_, Result<Loaded, ReloadRefused>> {
        Box::pin(async { Ok(self.loaded()) })
    }

    fn loaded(&self) -> Loaded {
        Loaded { generation: 1, digest: "0123456789ab".to_owned() }
    }

    fn effective_config(&self) -> Json {
        Json("{}".to_owned())
    }

    fn versions(&self) -> Vec<VersionReport> {
        Vec::new()
    }

    fn upstreams(&self) -> Vec<UpstreamReport> {
        Vec::new()
    }

    fn apis(&self) -> Vec<String> {
        ["accounts", "payments"].map(str::to_owned).to_vec()
    }

    fn plans(&self) -> Vec<PlanReport> {
        vec![PlanReport { plan: "gold".to_owned(), priority: "high" }]
    }

    fn file_consumers(&self) -> Vec<Consumer> {
        vec![Consumer {
            id: "filed".to_owned(),
            name: "In the file".to_owned(),
            plan: None,
            groups: Vec::new(),
            attributes: Default::default(),
            suspended: false,
            created_at: 0,
        }]
    }

    fn authorize(&self, _: &Question) -> Result<Json, Unanswerable> {
        Ok(Json("{}".to_owned()))
    }

    fn request(&self, _: &str) -> PortFuture<'_, Option<Json>> {
        Box::pin(async { None })
    }

    fn readiness(&self) -> Readiness {
        Readiness { ready: true, notes: Vec::new() }
    }

    fn problem_type_base(&self) -> String {
        "urn:mainstay:error:".to_owned()
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// A control listener with a store.
struct Desk {
    admin: String,
    store: Arc<SqliteStore>,
    runtime: Runtime,
    folder: TempDir,
}

impl Desk {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_token(folder.path(), "t", &"a".repeat(64));
        let token = Token::load(&folder.path().join("t")).unwrap();
        let runtime = Runtime::new().unwrap();
        let options = SqliteOptions::new(folder.path().join("catalogue.db"));
        let store = Arc::new(runtime.block_on(SqliteStore::open(options)).unwrap());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let events = Output::File(folder.path().join("events.log"));
        let parts = Parts {
            tls: None,
            token,
            engine: Arc::new(Still),
            catalogue: Some(Arc::<SqliteStore>::clone(&store)),
            events: EventLog::start(events, &Registry::new(), EventClock::system()).unwrap(),
            clock: Clock::System,
        };
        runtime.spawn(mainstay_control::serve(listener, parts, std::future::pending()));
        Self { admin, store, runtime, folder }
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        ask(self.folder.path(), &[arguments, &["--admin", &self.admin, "--token-file", "t"]].concat())
    }

    /// A command that works, with its answer for programs.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
        answer.json()
    }

    /// A command that works, with what people see.
    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?} {answer:?}");
        answer.out
    }
}

fn write_token(folder: &Path, name: &str, token: &str) {
    std::fs::write(folder.join(name), format!("{token}\n")).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn consumers_are_made_listed_changed_and_deleted() {
    let desk = Desk::open();
    let create = [
        "consumer",
        "create",
        "acme",
        "--name",
        "Acme Ltd",
        "--plan",
        "gold",
        "--group",
        "a",
        "--group",
        "b",
        "--attribute",
        "limit=500",
        "--attribute",
        "country=\"de\"",
    ];
    let made = desk.json(&create);
    assert_eq!((&made["id"], &made["groups"]), (&json!("acme"), &json!(["a", "b"])));
    assert_eq!(made["attributes"], json!({ "country": "de", "limit": 500 }));
    let again = desk.run(&create);
    assert!(again.code == 1 && again.out.is_empty() && again.err.contains("already"), "{again:?}");

    assert_eq!(desk.json(&["consumer", "show", "acme"]), made);
    let shown = desk.text(&["consumer", "show", "acme"]);
    assert!(shown.contains("plan          gold\n") && shown.contains("groups        a,b\n"), "{shown}");
    let listed = desk.text(&["consumer", "list"]);
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
        .collect();
    assert_eq!(rows[0], ["ID", "NAME", "PLAN", "GROUPS", "STATE", "SOURCE"]);
    assert_eq!(rows[1], ["acme", "Acme Ltd", "gold", "a,b", "active", "catalogue"]);
    assert_eq!(rows[2], ["filed", "In the file", "-", "-", "active", "file"]);

    let changed = desk.json(&[
        "consumer",
        "update",
        "acme",
        "--no-plan",
        "--no-groups",
        "--attribute",
        "limit=null",
        "--suspend",
    ]);
    assert_eq!(
        (&changed["plan"], &changed["groups"], &changed["suspended"]),
        (&Value::Null, &json!([]), &json!(true))
    );
    assert_eq!((&changed["name"], &changed["attributes"]), (&json!("Acme Ltd"), &json!({ "country": "de" })));
    assert_eq!(desk.json(&["consumer", "update", "acme", "--resume"])["suspended"], false);
    let filed = desk.run(&["consumer", "update", "filed", "--plan", "gold"]);
    assert!(filed.code == 1 && filed.err.contains("configuration file"), "{filed:?}");

    assert_eq!(desk.text(&["consumer", "delete", "acme"]), "acme is deleted, with its keys\n");
    for gone in [
        &["consumer", "show", "acme"][..],
        &["consumer", "delete", "acme"],
        &["key", "list", "--consumer", "acme"],
    ] {
        let answer = desk.run(gone);
        assert!(answer.code == 1 && answer.err.contains("There is no consumer \"acme\""), "{answer:?}");
    }
}

#[test]
fn keys_are_made_rotated_revoked_and_imported() {
    let desk = Desk::open();
    desk.json(&["consumer", "create", "acme"]);
    let create = [
        "key",
        "create",
        "--consumer",
        "acme",
        "--mode",
        "test",
        "--scope",
        "pay:read",
        "--address",
        "10.0.0.0/8",
        "--api",
        "payments",
        "--expires-in",
        "30d",
    ];
    let answer = desk.run(&[&create[..], &["--output", "json"]].concat());
    let made = answer.json();
    assert_eq!(names(&made), ["id", "key", "mode", "expires_at"].into(), "{made}");
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with("msk_test_") && !answer.err.contains(key), "{answer:?}");
    assert!(answer.err.contains("only time that the key is shown"), "{answer:?}");
    let text = desk.run(&["key", "create", "--consumer", "acme"]);
    assert!(text.code == 0 && text.out.contains("key           msk_live_"), "{text:?}");
    let endless = desk.json(&["key", "create", "--consumer", "filed"]);
    assert_eq!((&endless["mode"], &endless["expires_at"]), (&json!("live"), &Value::Null));

    let rotated = desk.json(&["key", "rotate", id, "--overlap", "1h"]);
    assert_eq!(names(&rotated), ["id", "key"].into(), "{rotated}");
    assert!(rotated["key"].as_str().unwrap().starts_with("msk_test_"), "{rotated}");
    assert_eq!(desk.text(&["key", "revoke", id]), format!("{id} is revoked\n"));
    let imported = desk.json(&["key", "import", "--consumer", "acme", "--sha256", &"5a".repeat(32)]);
    assert_eq!((imported.get("key"), imported.get("sha256")), (None, None), "{imported}");

    let listed = desk.text(&["key", "list", "--consumer", "acme"]);
    let row = listed.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(row.contains("revoked") && row.contains("pay:read") && row.contains("10.0.0.0/8"), "{listed}");
    assert_eq!(listed.lines().count(), 5, "{listed}");
    let listed = desk.json(&["key", "list", "--consumer", "acme"]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 4);
    assert!(!listed.to_string().contains(key), "{listed}");

    for (arguments, code, part) in [
        (&["key", "create"][..], 2, "--consumer"),
        (&["key", "create", "--consumer", "acme", "--mode", "prod"], 2, "prod"),
        (
            &["key", "create", "--consumer", "acme", "--expires-in", "30"],
            1,
            "expires_in: the unit is missing",
        ),
        (&["key", "create", "--consumer", "acme", "--address", "10.0.0.0/99"], 1, "addresses: "),
        (&["key", "create", "--consumer", "acme", "--api", "paymnets"], 1, "accounts, payments"),
        (&["key", "import", "--consumer", "acme", "--sha256", "5a"], 1, "sha256: must be"),
        (&["key", "rotate", "../../consumers"], 1, "There is no key"),
        (&["key", "rotate", id], 1, "revoked"),
        (&["consumer", "update", "acme"], 2, "say what to change"),
        (&["consumer", "update", "acme", "--suspend", "--resume"], 2, "--resume"),
        (&["consumer", "create", "b", "--attribute", "x=de"], 2, "in quotes"),
    ] {
        let answer = desk.run(arguments);
        assert!(answer.code == code && answer.err.contains(part), "{arguments:?} {answer:?}");
    }
    let refused = desk.run(&["key", "revoke", "key_nothing", "--output", "json"]);
    assert_eq!((refused.code, &refused.json()["code"]), (1, &json!("not_found")), "{refused:?}");
}

/// A made token opens the admin API for the commands, as far as its role goes.
#[test]
fn a_token_of_a_role_is_made_used_and_revoked() {
    let desk = Desk::open();
    let made = desk.json(&["token", "create", "the dashboard", "--role", "viewer", "--expires-in", "90d"]);
    assert_eq!(names(&made), ["id", "token", "role", "expires_at"].into(), "{made}");
    write_token(desk.folder.path(), "viewer", made["token"].as_str().unwrap());
    let with = |arguments: &[&str]| {
        let admin = ["--admin", &desk.admin, "--token-file", "viewer"];
        ask(desk.folder.path(), &[arguments, &admin].concat())
    };
    assert_eq!(with(&["consumer", "list"]).code, 0);
    let refused = with(&["consumer", "create", "acme"]);
    assert!(refused.code == 1 && refused.err.contains("takes the role operator"), "{refused:?}");
    let listed = desk.text(&["token", "list"]);
    assert!(listed.contains("the dashboard") && listed.contains("viewer"), "{listed}");
    desk.text(&["token", "revoke", made["id"].as_str().unwrap()]);
    let refused = with(&["consumer", "list"]);
    assert!(refused.code == 1 && refused.err.contains("right token file"), "{refused:?}");
}

#[test]
fn the_audit_is_shown_and_verified() {
    let desk = Desk::open();
    for id in ["a", "b", "c"] {
        desk.json(&["consumer", "create", id]);
    }
    desk.json(&["key", "create", "--consumer", "b"]);
    let listed = desk.text(&["audit", "list"]);
    let actions: Vec<&str> =
        listed.lines().skip(1).map(|line| line.split_whitespace().nth(4).unwrap()).collect();
    assert_eq!(actions, ["key.create", "consumer.create", "consumer.create", "consumer.create"], "{listed}");
    for (filter, count) in [(&["--kind", "key"][..], 1), (&["--id", "a"], 1), (&["--limit", "2"], 2)] {
        let listed = desk.json(&[&["audit", "list"][..], filter].concat());
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{filter:?}");
    }
    let bad = desk.run(&["audit", "list", "--kind", "keys"]);
    assert!(bad.code == 1 && bad.err.contains("kind: must be one of consumer, key"), "{bad:?}");
    let verified = desk.json(&["audit", "verify"]);
    assert_eq!((&verified["ok"], &verified["records"]), (&json!(true), &json!(4)));
    assert!(desk.text(&["audit", "verify"]).starts_with("ok: 4 records, head "));

    desk.runtime.block_on(desk.store.hand_over());
    let dead = desk.run(&["audit", "verify"]);
    assert!(dead.code == 1 && dead.err.contains("The store is unavailable"), "{dead:?}");
}

#[test]
fn without_an_engine_the_commands_end_with_3() {
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), "t", &"a".repeat(64));
    for command in [
        &["consumer", "list"][..],
        &["key", "list", "--consumer", "a"],
        &["token", "list"],
        &["audit", "verify"],
    ] {
        let nobody = ["--admin", "http://127.0.0.1:1", "--token-file", "t"];
        let answer = ask(folder.path(), &[command, &nobody].concat());
        assert!(answer.code == 3 && answer.err.contains("no engine is reachable"), "{command:?} {answer:?}");
    }
}
