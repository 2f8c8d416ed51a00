//! Names of endpoints, over real sockets and with a resolver of the test's: it fails, it is silent, it changes its mind.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_proxy::forward::resolve::{Lookup, Pace, Resolver};
use mainstay_testkit::fault::FaultProxy;
use mainstay_testkit::upstream::{Gate, Reply, Upstream};

use super::causes::{Owed, is_owed};
use super::sockets::{ONCE, RETRIES, World, get, post, text};
use crate::setup::{Client, until};

const DNS: Owed = (502, "upstream_dns", "dns_error", false);

/// What the resolver says.
#[derive(Clone)]
enum Says {
    Addresses(Vec<SocketAddr>),
    NoSuchName,
    Nothing,
}

#[derive(Clone)]
struct Names(Arc<Mutex<(Says, usize)>>);

impl Names {
    fn new(says: Says) -> Self {
        Self(Arc::new(Mutex::new((says, 0))))
    }

    fn say(&self, says: Says) {
        self.0.lock().unwrap().0 = says;
    }

    /// Waits until it has been asked anew, and the answer has been taken.
    async fn heard(&self) {
        let asked = || self.0.lock().unwrap().1;
        // The first of them may have been answered before.
        let enough = asked() + 2;
        until("the resolver is asked", || asked() >= enough).await;
    }

    fn resolver(&self, lookup_max: Duration) -> Resolver {
        let names = self.clone();
        let soon = Duration::from_millis(1);
        let pace = Pace { again_after: soon, again_after_failure: soon, lookup_max };
        let ask = move |host: &str, _port: u16| -> Lookup {
            assert_eq!(host, "service.test");
            let says = {
                let mut state = names.0.lock().unwrap();
                state.1 += 1;
                state.0.clone()
            };
            Box::pin(async move {
                match says {
                    Says::Addresses(addresses) => Ok(addresses),
                    Says::NoSuchName => Err(io::Error::other("no such name")),
                    Says::Nothing => std::future::pending().await,
                }
            })
        };
        Resolver::new(ask, pace)
    }
}

/// One endpoint that is a name.
fn named(endpoint: &str, keys: &str) -> String {
    let placeholder = SocketAddr::from(([127, 0, 0, 1], 1));
    text(&[placeholder], keys).replace(&format!("http://{placeholder}"), endpoint)
}

const FIRST: &str = "http://service.test:80";
const ALL: &str = "dns:service.test:80";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_and_used_as_soon_as_it_does() {
    let service = Upstream::http1(|_| Reply::ok("ok"));
    let network = FaultProxy::start(service.address);
    let rows = [
        (Says::NoSuchName, SECOND),
        (Says::Addresses(Vec::new()), SECOND),
        // Its time is up before that of the request's connection, and after.
        (Says::Nothing, Duration::from_millis(50)),
        (Says::Nothing, SECOND),
    ];
    for (says, lookup_max) in rows {
        let names = Names::new(says);
        let world = World::start_with(&named(FIRST, ONCE), names.resolver(lookup_max)).await;
        for request in [get("/v1/quick/x"), post("/v1/quick/x")] {
            is_owed(&world.ask(&request).await, DNS);
        }
        let event = world.setup.event("dns_failed").await;
        assert_eq!((event["upstream"].as_str(), event["host"].as_str()), (Some("up"), Some("service.test")));
        names.say(Says::Addresses(vec![network.address]));
        until("the address is known", || !world.upstream().endpoints[0].addresses.is_empty()).await;
        let answer = world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // A failure takes nothing away.
        names.say(Says::NoSuchName);
        names.heard().await;
        let answer = world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        world.nothing_left(&[]).await;
        world.stop().await;
    }
}

/// Nothing was sent, so another endpoint has the request, whatever its method.
#[tokio::test]
async fn another_endpoint_helps_out() {
    let fine = Upstream::http1(|_| Reply::ok("ok"));
    let placeholder = SocketAddr::from(([127, 0, 0, 1], 1));
    let keys = format!("{RETRIES}, balance: round_robin, eject: off");
    let text = text(&[placeholder, fine.address], &keys).replace(&format!("http://{placeholder}"), FIRST);
    let names = Names::new(Says::NoSuchName);
    let world = World::start_with(&text, names.resolver(SECOND)).await;
    world.until_budget(8.0).await;
    for _ in 0..3 {
        for request in [get("/v1/x"), post("/v1/x")] {
            let answer = world.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
    assert_eq!(fine.log().requests.len(), 6);
    assert_eq!(world.setup.metric("mainstay_retries_total cause=\"connect\""), 3.0);
    world.nothing_left(&[]).await;
    world.stop().await;
}

/// An upstream that answers when it may, and says how many connections it has had.
fn held(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::http1(move |_| Reply::ok("ok").after(&gate))
}

/// So many requests at once, each of which needs a connection of its own.
async fn ask_at_once(world: &World, count: usize, all: &[&Upstream]) -> Vec<Client> {
    let asked = || all.iter().map(|upstream| upstream.log().requests.len()).sum::<usize>();
    let before = asked();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(world.setup.address()).await;
        client.send_get("/v1/x").await;
        clients.push(client);
    }
    until("they are all asked", || asked() == before + count).await;
    clients
}

/// New connections go where the name leads now, over all of its addresses; those that stand are left alone, and what runs
/// over them is answered.
#[tokio::test]
async fn a_name_with_many_addresses_is_followed_while_connections_stand() {
    let gate = Gate::new();
    let upstreams: Vec<_> = (0..4).map(|_| held(&gate)).collect();
    let all: Vec<_> = upstreams.iter().collect();
    let address = |index: usize| upstreams[index].address;
    let opened = || upstreams.iter().map(|upstream| upstream.log().opened).collect::<Vec<_>>();
    let names = Names::new(Says::Addresses(vec![address(0), address(1), address(2)]));
    let keys = format!("{ONCE}, timeouts: off");
    let world = World::start_with(&named(ALL, &keys), names.resolver(SECOND)).await;
    let mut clients = ask_at_once(&world, 6, &all).await;
    assert_eq!(opened(), [2, 2, 2, 0]);
    // One goes, another one comes.
    names.say(Says::Addresses(vec![address(3), address(1), address(0), address(0)]));
    let expected: BTreeSet<_> = [0, 1, 3].map(|index| address(index).to_string()).into();
    let known = || world.upstream().endpoints[0].addresses.iter().cloned().collect::<BTreeSet<_>>();
    until("the new addresses are known", || known() == expected).await;
    clients.extend(ask_at_once(&world, 6, &all).await);
    assert_eq!(opened(), [4, 4, 2, 2]);
    // The same again, and a failure: nothing changes.
    names.say(Says::NoSuchName);
    names.heard().await;
    clients.extend(ask_at_once(&world, 3, &all).await);
    assert_eq!(opened(), [5, 5, 2, 3]);
    assert!(upstreams.iter().all(|upstream| upstream.log().closed.is_empty()), "somebody was cut off");
    gate.open();
    for client in &mut clients {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    // Connections to the address that is gone were good, and serve on.
    let before = opened();
    assert!(world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(opened(), before);
    drop(clients);
    world.nothing_left(&[]).await;
    world.stop().await;
}

/// A reload that brings a name asks for its addresses, as the start does; one that takes it away asks no more.
#[tokio::test]
async fn a_reload_brings_names_and_takes_them() {
    let service = Upstream::http1(|_| Reply::ok("ok"));
    let names = Names::new(Says::Addresses(vec![service.address]));
    let world = World::start_with(&text(&[service.address], ONCE), names.resolver(SECOND)).await;
    let asked = || names.0.lock().unwrap().1;
    assert_eq!(asked(), 0, "an address is no name");
    std::fs::write(world.setup.config_path(), named(FIRST, ONCE)).unwrap();
    world.setup.engine.handle.reload_now().await.unwrap();
    assert!(world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    names.heard().await;
    let old =
        Arc::downgrade(&world.setup.engine.handle.shared.snapshot.load().upstreams[0].shared.endpoints[0]);
    std::fs::write(world.setup.config_path(), text(&[service.address], ONCE)).unwrap();
    world.setup.engine.handle.reload_now().await.unwrap();
    until("nobody asks for the old name", || old.strong_count() == 0).await;
    let before = asked();
    world.nothing_left(&[]).await;
    assert!(asked() <= before + 1, "one that was under way");
    world.stop().await;
}
