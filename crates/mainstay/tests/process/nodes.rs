//! Two engines on one PostgreSQL: what one changes the other knows, and what both do while the database is away.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::clock::monotonic;

use crate::run::{Engine, Payments, any_port, get, until};
use crate::stores::{for_keys, key_of, killed, start_again, status_with, until_in_snapshot};

/// What a change may take to be known everywhere.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(2);

/// A database of its own for one test.
struct Database {
    name: String,
    server: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Database {
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn create() -> Option<Self> {
        let Some(url) = std::env::var("MAINSTAY_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            println!("SKIPPED: MAINSTAY_TEST_POSTGRES names no server; `cargo xtask test` starts one");
            return None;
        };
        let server = url.rsplit('@').next().unwrap().parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unique =
            folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_lowercase();
        let name = format!("nodes_{}_{unique}", std::process::id());
        let database = Self { name, server, runtime: tokio::runtime::Runtime::new().unwrap() };
        database.run(&format!("CREATE DATABASE {}", database.name));
        Some(database)
    }

    fn run(&self, sql: &str) {
        let url = format!("postgres://mainstay@{}/postgres", self.server);
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(sql).await.unwrap();
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// What lies between the engines and their database, and can be cut.
struct Network {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(any_port()).unwrap();
        let network =
            Self { address: listener.local_addr().unwrap(), is_cut: Arc::default(), open: Arc::default() };
        let (is_cut, open) = (Arc::clone(&network.is_cut), Arc::clone(&network.open));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else { continue };
                let mut open = open.lock().unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    open.push(from.try_clone().unwrap());
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || pump(&mut from, &mut to));
                }
            }
        });
        network
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn pump(from: &mut TcpStream, to: &mut TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The change is known at the other node in time.
#[track_caller]
fn in_time(known: impl FnMut() -> bool) {
    let began = monotonic();
    until(known);
    assert!(began.elapsed() < EVERYWHERE_WITHIN, "{:?}", began.elapsed());
}

#[test]
fn what_one_node_changes_the_other_knows_and_neither_needs_the_database_to_serve() {
    let Some(database) = Database::create() else { return };
    let (payments, network) = (Payments::start(), Network::before(database.server));
    let store =
        format!("stores: {{ state: \"postgres://mainstay@{}/{}\" }}\n", network.address, database.name);
    let configuration = for_keys(&payments) + &store;
    let (one, other) = (Engine::start(&configuration), Engine::start(&configuration));
    let (id, key) = key_of(&one, "acme");
    let (_, kept) = key_of(&other, "bank");
    for key in [&key, &kept] {
        for node in [&one, &other] {
            until(|| status_with(node, key) == 200);
        }
    }

    assert_eq!(other.ask(&["key", "revoke", &id]).code, 0);
    in_time(|| status_with(&one, &key) == 401);
    assert_eq!(one.ask(&["consumer", "update", "bank", "--suspend"]).code, 0);
    in_time(|| status_with(&other, &kept) == 401);
    assert_eq!(one.ask(&["consumer", "update", "bank", "--resume"]).code, 0);
    in_time(|| status_with(&other, &kept) == 200);
    assert_eq!(other.ask(&["audit", "verify"]).code, 0);
    let (last, _) = key_of(&one, "last");
    until_in_snapshot(&one, &last);

    network.cut();
    one.process.event("catalogue_unavailable", 1);
    for node in [&one, &other] {
        assert_eq!((status_with(node, &kept), status_with(node, &key)), (200, 401));
    }
    let refused = one.ask(&["consumer", "create", "late", "--name", "Late"]);
    assert!(refused.code == 1 && refused.err.contains("store"), "{refused:?}");
    until(|| get(other.control, "/readyz").body.contains("the catalogue has not been read for"));
    // One that is started now knows what it knew.
    let one = start_again(killed(one));
    one.process.event("catalogue_snapshot_used", 1);
    assert_eq!((status_with(&one, &kept), status_with(&one, &key)), (200, 401));

    network.mend();
    one.process.event("catalogue_recovered", 1);
    other.process.event("catalogue_recovered", 1);
    let (_, new) = key_of(&one, "late");
    until(|| status_with(&other, &new) == 200);
    one.stop();
    other.stop();
}
