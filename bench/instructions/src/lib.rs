//! What the benchmarks measure: whole requests over streams in memory.
//!
//! Counts are instructions of user space, taken by valgrind, of the client's and the upstream's few copies as
//! well as of the engine; the kernel has no part in them. They are compared with `baseline.json`, which says for
//! which compiler it holds.

use mainstay_core::clock::{Clock, UnixMs};
use mainstay_telemetry::Output;
use mainstay_testkit::memory::{Peer, canned};
use mainstay_testkit::rig::Rig;
use tokio::runtime::LocalRuntime;

/// Requests per measurement: enough that what happens once hardly counts.
pub const REQUESTS: usize = 64;

/// When all of it is measured.
pub const NOW_MS: i64 = 1_795_507_200_000;

/// A payment, as an upstream answers it.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nserver: nginx/1.22.1\r\ndate: Tue, 24 Nov 2026 08:00:14 GMT\r\n\
content-type: application/json\r\ncontent-length: 96\r\nconnection: keep-alive\r\n\r\n\
{\"id\":\"pay_01HZX3KQ5T7W8Y9Z0A1B2C3D4E\",\"object\":\"payment\",\"amount\":125000,\"currency\":\"ZAR\"}     ";

/// The fields of a request that carries an API key, as a client library sends them.
pub const FIELDS: &str = "Host: api.example.com\r\nUser-Agent: payments-client/3.1\r\nAccept: application/json\r\n\
Authorization: Bearer msk_test_0123456789\r\n";

/// One endpoint, and whatever is on where nobody says otherwise.
pub const DEFAULTS: &str = "endpoints: [http://127.0.0.1:1]";
/// Nothing that looks after failures, over three endpoints.
pub const RESILIENCE_OFF: &str = "endpoints: [http://127.0.0.1:1, http://127.0.0.1:2, http://127.0.0.1:3], \
balance: round_robin, retries: off, breaker: off, eject: off";
/// What is on where nobody says otherwise, over three endpoints.
pub const RESILIENCE_DEFAULT: &str =
    "endpoints: [http://127.0.0.1:1, http://127.0.0.1:2, http://127.0.0.1:3]";
/// Everything that looks after failures, over three endpoints.
pub const RESILIENCE_ON: &str = "endpoints: [http://127.0.0.1:1, http://127.0.0.1:2, http://127.0.0.1:3], \
retries: {}, breaker: { scope: operation }, eject: {}, hedge: { after: 600s }, concurrency: {}, rate_max: 1000000/s, \
health: { tcp: true }, fallback: [{ respond: { status: 503 } }]";

/// An engine in memory with a connected client.
pub struct Driver {
    runtime: LocalRuntime,
    client: Peer,
    request: Vec<u8>,
    answer: Vec<u8>,
    _rig: Rig,
}

impl Driver {
    /// Starts with so many operations, and has served some requests when it returns.
    ///
    /// # Panics
    /// When the engine does not answer as it should.
    pub fn start(operations: usize, log: Output, request: Vec<u8>, status: &str) -> Self {
        Self::start_with(DEFAULTS, operations, log, request, status)
    }

    /// The same with an upstream that says this of itself.
    ///
    /// # Panics
    /// When the engine does not answer as it should.
    pub fn start_with(
        upstream: &str,
        operations: usize,
        log: Output,
        request: Vec<u8>,
        status: &str,
    ) -> Self {
        let output = if matches!(log, Output::None) { "none" } else { "stdout" };
        Self::start_text(&config(upstream, operations, output), log, request, status, |_| {})
    }

    /// The same from a whole configuration; `prepare` may tell the engine more before the first request.
    ///
    /// # Panics
    /// When the engine does not answer as it should.
    pub fn start_text(
        config: &str,
        log: Output,
        request: Vec<u8>,
        status: &str,
        prepare: impl FnOnce(&Rig),
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        let (rig, mut client) = runtime.block_on(async {
            let clock = Clock::manual(UnixMs(NOW_MS));
            let rig = Rig::start(config, clock, log, &canned(ANSWER));
            prepare(&rig);
            let client = rig.connect();
            (rig, client)
        });
        let answer = runtime.block_on(async {
            client.send(&request).await;
            let head = client.read_until("\r\n\r\n").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.and_then(|n| n.parse().ok()).unwrap_or(0)];
            client.read_exactly(&mut body).await;
            vec![0; head.len() + body.len()]
        });
        let mut driver = Self { runtime, client, request, answer, _rig: rig };
        driver.run();
        driver
    }

    /// Serves [`REQUESTS`] requests, one after the other.
    pub fn run(&mut self) {
        let Self { runtime, client, request, answer, .. } = self;
        runtime.block_on(async {
            for _ in 0..REQUESTS {
                client.send(&request).await;
                client.read_exactly(answer).await;
            }
        });
    }
}

fn config(upstream: &str, operations: usize, log: &str) -> String {
    let mut text = format!(
        "server: {{ workers: 1 }}\nupstreams: {{ up: {{ {upstream} }} }}\n\
         telemetry: {{ log: {{ output: {log} }} }}\napis:\n  payments:\n    defaults: {{ auth: none }}\n    \
         versions:\n      v1:\n        upstream: up\n        operations:\n"
    );
    for n in 0..operations {
        text.push_str(&format!("          \"GET /resource{n:04}/{{id}}\": {{}}\n"));
        text.push_str(&format!("          \"POST /resource{n:04}\": {{}}\n"));
    }
    text
}
