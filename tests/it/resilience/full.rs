//! An upstream that is full, over real sockets and several workers: who watches is heard, a reload loses nobody, and who is
//! more important comes first.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_core::port::Engine as _;
use mainstay_testkit::fault::FaultProxy;
use mainstay_testkit::upstream::{Gate, Reply, Upstream};

use super::sockets::{ONCE, World, ask, get, text};
use crate::setup::{ByHand, Client, OK, read_head, serving, until};

/// Two places at the upstream, four in its queue; answers come when the gate is open.
struct Full {
    upstream: Upstream,
    network: FaultProxy,
    world: World,
    gate: Gate,
    clients: Vec<Client>,
}

const CONCURRENCY: &str = "concurrency: { limit: 2, queue: 4, queue_wait: 60s }";

impl Full {
    async fn start() -> Self {
        let gate = Gate::new();
        let held = gate.clone();
        let upstream = Upstream::http1(move |_| Reply::ok("ok").after(&held));
        let network = FaultProxy::start(upstream.address);
        let keys = format!("{ONCE}, timeouts: off, {CONCURRENCY}");
        let server = "workers: 2, health_path: /up, limits: { requests_in_flight: 6 }";
        let text = text(&[network.address], &keys).replace("workers: 2", server);
        let world = World::start(&text).await;
        let mut full = Self { upstream, network, world, gate, clients: Vec::new() };
        for n in 0..6 {
            let before = full.is_in();
            // One caller has at most half of the queue.
            full.ask_from([127, 0, 0, 1 + n % 3]).await;
            until("it is in", || full.is_in() == before + 1).await;
        }
        assert_eq!(full.upstream.requests(2).await.len(), 2);
        full
    }

    async fn ask_from(&mut self, address: [u8; 4]) {
        let mut client = Client::connect_from(address, self.world.setup.address()).await;
        client.send("GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        self.clients.push(client);
    }

    /// At the upstream, or in the queue.
    fn is_in(&self) -> u64 {
        let places = self.world.upstream().concurrency.expect("it is on");
        places.in_flight + places.waiting.iter().map(|waiting| waiting.requests).sum::<u64>()
    }

    async fn end(mut self) {
        self.gate.open();
        for client in &mut self.clients {
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
        }
        self.clients.clear();
        self.world.nothing_left(&[&self.network]).await;
        self.world.stop().await;
    }
}

#[tokio::test]
async fn health_and_admin_are_reachable_while_all_else_is_refused() {
    let full = Full::start().await;
    for _ in 0..20 {
        let answer = full.world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: "), "{answer}");
    }
    let answer = full.world.get("/up").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let token = std::fs::read_to_string(full.world.setup.folder.path().join("mainstay.token")).unwrap();
    for path in ["/livez", "/readyz", "/metrics", "/admin/v1/upstreams"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
            token.trim()
        );
        let answer = ask(full.world.setup.engine.control, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    full.end().await;
}

/// Those who are in keep their places, whatever becomes of the limit; those who come later have the new one.
#[tokio::test]
async fn a_reload_loses_nobody_who_waits() {
    let rows = [
        (CONCURRENCY, "concurrency: { limit: 2, queue: 4, queue_wait: 60s }", 0),
        (CONCURRENCY, "concurrency: { limit: 3, queue: 4, queue_wait: 60s }", 1),
        (CONCURRENCY, "concurrency: { limit: 1, queue: 0, queue_wait: 60s }", 1),
        (CONCURRENCY, "concurrency: off", 1),
    ];
    for (old, new, enters) in rows {
        let mut full = Full::start().await;
        let path = full.world.setup.config_path();
        let text =
            std::fs::read_to_string(&path).unwrap().replace("requests_in_flight: 6", "requests_in_flight: 9");
        std::fs::write(&path, text.replace(old, new)).unwrap();
        full.world.setup.port().reload().await.unwrap();
        assert_eq!(full.upstream.log().requests.len(), 2, "{new}: nobody was sent by the reload");
        // A waiter leaves, and somebody comes.
        drop(full.clients.remove(5));
        until("it has left", || full.world.setup.metric("http_server_active_requests") == 5.0).await;
        full.ask_from([127, 0, 0, 9]).await;
        full.upstream.requests(2 + enters).await;
        until("it is in", || full.world.setup.metric("http_server_active_requests") == 6.0).await;
        full.end().await;
    }
}

/// A reload while those before still wait, ten times.
#[tokio::test]
async fn reloads_in_a_row_lose_nobody_either() {
    let full = Full::start().await;
    let path = full.world.setup.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    for limit in 3..13 {
        std::fs::write(&path, text.replace("limit: 2", &format!("limit: {limit}"))).unwrap();
        full.world.setup.port().reload().await.unwrap();
    }
    assert_eq!(full.upstream.log().requests.len(), 2);
    full.end().await;
}

/// Many more clients than places, each of which asks again as soon as it has an answer: the upstream never has more than there are
/// places, whoever is refused is told when to come again, and all is well as soon as they are gone.
#[tokio::test]
async fn an_upstream_never_has_more_than_its_places() {
    const CLIENTS: usize = 64;
    const EACH: usize = 10;
    const PLACES: usize = 4;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (Arc::clone(&now), Arc::clone(&most));
    let address = serving(move |_, mut stream| {
        while read_head(&mut stream).is_some() {
            peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // So that others come meanwhile.
            for _ in 0..100 {
                std::thread::yield_now();
            }
            counted.fetch_sub(1, Ordering::SeqCst);
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    });
    let keys =
        format!("{ONCE}, timeouts: off, concurrency: {{ limit: {PLACES}, queue: 8, queue_wait: 100ms }}");
    let world = World::start(&text(&[address], &keys)).await;
    let engine = world.setup.address();
    let asked = (0..CLIENTS).map(|_| async move {
        let mut served = 0;
        for _ in 0..EACH {
            let answer = ask(engine, &get("/v1/x")).await;
            let is_refused = answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: ");
            assert!(is_refused || answer.starts_with("HTTP/1.1 200 "), "{answer}");
            served += usize::from(!is_refused);
        }
        served
    });
    let served: usize = futures_util::future::join_all(asked).await.into_iter().sum();
    assert!(served >= PLACES, "{served}");
    assert!(most.load(Ordering::SeqCst) <= PLACES, "{most:?} at once");
    for _ in 0..20 {
        assert!(world.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    world.nothing_left(&[]).await;
    world.stop().await;
}

const CLASSES: [&str; 4] = ["low", "normal", "high", "critical"];

/// Requests of all classes come over many connections, which are on different workers. Each place goes to the most important
/// one that waits anywhere, and to the oldest of these.
#[tokio::test]
async fn what_is_important_comes_first_wherever_it_waits() {
    const EACH: usize = 5;
    let mut upstream = ByHand::start();
    let operations: Vec<_> = CLASSES.map(|c| format!("\"GET /{c}/{{n}}\": {{ priority: {c} }}")).into();
    let keys = format!("{ONCE}, timeouts: off, concurrency: {{ limit: 1, queue: 40, queue_wait: 60s }}");
    let text = text(&[upstream.address], &keys).replace("workers: 2", "workers: 4");
    let begin = text.find("\"* /quick/").unwrap();
    let end = text.find(" } } } }").unwrap();
    let text = format!("{}{}{}", &text[..begin], operations.join(", "), &text[end..]);
    let world = World::start(&text).await;
    let mut first = Client::connect(world.setup.address()).await;
    first.send_get("/v1/low/first").await;
    let running = upstream.asked().await;
    let mut clients = vec![first];
    for n in 0..EACH {
        for class in CLASSES {
            let depth = world.setup.metric("mainstay_upstream_queue_depth");
            let mut client = Client::connect(world.setup.address()).await;
            client.send_get(&format!("/v1/{class}/{n}")).await;
            clients.push(client);
            until("it waits", || world.setup.metric("mainstay_upstream_queue_depth") == depth + 1.0).await;
        }
    }
    let has_clients =
        |worker| world.setup.metric(&format!("mainstay_worker_tasks worker=\"{worker}\"")) > 1.0;
    assert!((0..4).filter(|worker| has_clients(*worker)).count() > 1, "they are spread");
    running.ok();
    for class in CLASSES.iter().rev() {
        for n in 0..EACH {
            let asked = upstream.asked().await;
            let line = asked.head.lines().next().unwrap().to_owned();
            assert!(line.contains(&format!("/{class}/{n} ")), "{class} {n}: {line}");
            assert!(upstream.is_quiet(), "one at a time");
            asked.ok();
        }
    }
    for client in &mut clients {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    drop(clients);
    world.nothing_left(&[]).await;
    world.stop().await;
}
