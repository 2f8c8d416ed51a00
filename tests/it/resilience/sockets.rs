//! What the tests over real sockets share: an engine of two workers whose upstreams misbehave on demand, and the question
//! whether anything is left behind.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_core::clock::Clock;
use mainstay_core::port::{Engine as _, UpstreamReport};
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_testkit::fault::{FaultProxy, Switch};
use mainstay_testkit::upstream::{Received, Reply, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::setup::{GUARD, Setup, until};

/// Nothing is tried twice, and nobody is left out.
pub(super) const ONCE: &str = ", retries: off, breaker: off, eject: off";

/// What is sent again is not bounded by a budget.
pub(super) const RETRIES: &str = ", breaker: off, retries: { budget: { floor: 1000/s } }";

/// What `/v1/quick/...` has: so little that a test waits for the end of it. Everything else has all the time there is.
const QUICK: &str = "timeouts: { connect: 300ms, attempt: 1s, total: 5s, idle: 300ms, settle: 300ms }";

/// A configuration with these endpoints.
pub(super) fn text(endpoints: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"http://{endpoint}\"")).collect();
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2 }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
         upstreams:\n  up: {{ endpoints: [{}]{keys} }}\n\
         telemetry: {{ log: {{ output: none }} }}\napis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, \
         operations: {{ \"* /quick/{{*rest}}\": {{ {QUICK} }}, \"* /{{*rest}}\": {{}} }} }} }} }} }}\n",
        endpoints.join(", ")
    )
}

/// An engine, and how many tasks it had before anybody came.
pub(super) struct World {
    pub(super) setup: Setup,
    tasks: f64,
    /// A connection of HTTP/2 is driven by two tasks (its frames, its streams) for as long as it is there; one of HTTP/1 has none.
    has_h2_upstreams: bool,
}

const TASKS: &str = "mainstay_worker_tasks";

impl World {
    pub(super) async fn start(text: &str) -> Self {
        Self::start_with(text, Resolver::default()).await
    }

    pub(super) async fn start_with(text: &str, resolver: Resolver) -> Self {
        let setup = Setup::start_with(text, Clock::System, resolver).await;
        let tasks = setup.metric(TASKS);
        assert!(tasks >= 1.0, "each worker accepts: {tasks}");
        Self { setup, tasks, has_h2_upstreams: text.contains("protocol: h2") }
    }

    /// Waits until so much of the floor is saved up.
    pub(super) async fn until_budget(&self, tokens: f64) {
        until("a budget", || self.setup.metric("mainstay_retry_budget") >= tokens).await;
    }

    /// The first upstream.
    pub(super) fn upstream(&self) -> UpstreamReport {
        self.setup.port().upstreams().remove(0)
    }

    /// A request with `Connection: close`, and all that came of it, be its end good or bad.
    pub(super) async fn ask(&self, request: &str) -> String {
        ask(self.setup.address(), request).await
    }

    pub(super) async fn get(&self, path: &str) -> String {
        self.ask(&get(path)).await
    }

    /// Once its clients are gone, an engine holds no request, no place in a queue or at an upstream, no task, and of
    /// connections those to upstreams that are idle; `networks` are what stands before these, and agree. No request
    /// holds the configuration that it was served by, nor anything beside it.
    pub(super) async fn nothing_left(&self, networks: &[&Switch]) {
        let began = Instant::now();
        loop {
            let left = self.left(networks);
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < GUARD, "left behind: {left:?}");
            tokio::task::yield_now().await;
        }
        let before = Arc::downgrade(&self.setup.engine.handle.shared.snapshot.load_full());
        self.setup.engine.handle.reload_now().await.unwrap();
        until("nobody holds the old snapshot", || before.strong_count() == 0).await;
    }

    /// What there is and should not be.
    fn left(&self, networks: &[&Switch]) -> Vec<String> {
        let metric = |series: &str| (series.to_owned(), self.setup.metric(series));
        let idle = metric("mainstay_pool_connections state=\"idle\"").1;
        let none = [
            "http_server_active_requests",
            "mainstay_connections",
            "mainstay_settling",
            "mainstay_upstream_in_flight",
            "mainstay_upstream_queue_depth",
            "mainstay_pool_connections state=\"in_use\"",
            "mainstay_pool_connections state=\"waiting\"",
        ];
        let mut counts: Vec<_> = none.map(metric).map(|(name, count)| (name, count, 0.0)).into();
        let drivers = if self.has_h2_upstreams { 2.0 * idle } else { 0.0 };
        counts.push((TASKS.to_owned(), metric(TASKS).1, self.tasks + drivers));
        for upstream in self.setup.port().upstreams() {
            let name = &upstream.upstream;
            let connections = upstream.endpoints.iter().map(|e| e.connections).sum::<u64>();
            let in_flight = upstream.endpoints.iter().map(|e| e.in_flight).sum::<u64>();
            let places = upstream.concurrency.map_or(0, |places| places.in_flight);
            counts.push((format!("places under the cap of {name}"), connections as f64, idle));
            counts.push((format!("requests at {name}"), in_flight as f64, 0.0));
            counts.push((format!("places at {name}"), places as f64, 0.0));
        }
        if !networks.is_empty() {
            let open = networks.iter().map(|network| network.counts().open).sum::<u64>();
            counts.push(("connections at upstreams".to_owned(), open as f64, idle));
        }
        let differs = |(_, count, expected): &(String, f64, f64)| count != expected;
        counts.iter().filter(|one| differs(one)).map(|(n, c, e)| format!("{n}: {c}, not {e}")).collect()
    }

    pub(super) async fn stop(self) {
        self.setup.engine.stop().await;
    }
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

pub(super) fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
}

pub(super) async fn ask(engine: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(engine).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    // A reset is an end, too: what came before it counts.
    let read = timeout(GUARD, client.read_to_end(&mut seen)).await;
    let _ = read.unwrap_or_else(|_| panic!("no end after {:?}", String::from_utf8_lossy(&seen)));
    String::from_utf8_lossy(&seen).into_owned()
}

/// An upstream, the network before it, and the engine before that.
pub(super) struct Faulty {
    pub(super) upstream: Upstream,
    pub(super) network: FaultProxy,
    pub(super) world: World,
}

impl Faulty {
    pub(super) async fn start(keys: &str) -> Self {
        Self::serving(keys, |_| Reply::ok("ok")).await
    }

    pub(super) async fn serving(
        keys: &str,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::http1(script);
        let network = FaultProxy::start(upstream.address);
        let world = World::start(&text(&[network.address], keys)).await;
        Self { upstream, network, world }
    }

    /// Nothing goes wrong any more: it serves, and nothing is left of what was.
    pub(super) async fn recovers(self) {
        self.network.clear();
        self.network.listen();
        self.upstream.script(|_| Reply::ok("ok"));
        let answer = self.world.get("/v1/x").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        self.world.nothing_left(&[&self.network]).await;
        self.world.stop().await;
    }
}
