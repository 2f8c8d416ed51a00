//! What the engine does about an upstream that fails: each rule where it shows, over an engine in memory whose time stands
//! still until nothing else is left to do, or over sockets where the operating system has a part in it.
//!
//! What can go wrong, and where it is shown. Tests over sockets end with the question whether anything is left behind
//! ([`sockets::World::nothing_left`]): no request, place, permit, task, connection, and nothing that holds an old configuration.
//!
//! | what goes wrong | over sockets | in memory, on paused time |
//! |---|---|---|
//! | refused, reset or closed on arrival, in the head | [`faults`] | [`causes`], [`exact`] |
//! | a blackhole for handshakes; no answer; a minute late; a byte a second | [`faults`] | [`exact`], [`endpoints`] |
//! | reset, end or silence in the body; chunks that break | [`faults`] | [`exact`], [`retry`] |
//! | slow close | [`faults`] | [`exact`] |
//! | garbage, wrong lengths, heads, trailers and interim answers without end | [`faults`], `pool`, `answers` | [`causes`] |
//! | TLS fails, or never comes about | [`faults`], `transport` | [`breaker`] |
//! | a name does not resolve, or changes | [`dns`], `pool` | |
//! | flapping; one of three replicas is bad | [`one_of_three`] | [`endpoints`] |
//! | breaker: threshold, probes among a thousand, operations apart, clients' mistakes, closing again | [`half_open`] | [`breaker`] |
//! | retry: unsafe ones, large bodies, budget at 100 % failure, deadline, `Retry-After`, after the head | [`again`], [`stale`] | [`retry`], [`h2`], [`hedge`], [`fallback`] |
//! | retry: spread of the waits | | `policy::retry` |
//! | a pooled connection dies as the request leaves | [`stale`] | |
//! | overload: goodput and latency at 2, 5 and 10 times the capacity, recovery | [`curve`], [`full`] (no more than there are places) | [`overload`], [`shed`] |
//! | overload: health and admin reachable, priorities over several workers, a reload while the queue is full | [`full`] | [`shed`] |
//! | too little time left | | [`deadline`] |
//! | health checks that fail, or never end | [`health`], [`checks`] | |
//! | the clock is stepped, or the machine suspended | | [`clock`] |
//!
//! Where a cell of the second column is empty, the operating system has no part in it: what decides is the time, which only the
//! engine in memory lets a test choose. Redis, the limits of consumers and 429 come with what they belong to.

mod again;
mod breaker;
mod causes;
mod checks;
mod clock;
mod curve;
mod deadline;
mod dns;
mod endpoints;
mod exact;
mod fallback;
mod faults;
mod full;
mod h2;
mod half_open;
mod health;
mod hedge;
mod one_of_three;
mod overload;
mod retry;
mod shed;
mod sockets;
mod stale;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Dial, Peer, STREAM_BYTES};
use mainstay_testkit::rig::Rig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

/// The configuration of an upstream `up` with these endpoints and keys, and one operation for everything.
pub(super) fn config(endpoints: &[&str], upstream: &str, operation: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|e| format!("\"http://{e}\"")).collect();
    format!(
        "server: {{ workers: 1 }}\nupstreams:\n  up: {{ endpoints: [{}]{upstream} }}\n\
         telemetry: {{ log: {{ output: none }} }}\napis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ \
         upstream: up, operations: {{ \"* /{{*rest}}\": {{ {operation} }} }} }} }} }} }}\n",
        endpoints.join(", ")
    )
}

pub(super) const GET: &str = "GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n";
pub(super) const POST: &str = "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub(super) const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";

/// What an upstream does with one request.
#[derive(Clone)]
pub(super) enum Act {
    /// Answers at once.
    Say(&'static str),
    /// Answers after so many milliseconds.
    Later(u64, &'static str),
    /// Says this and closes.
    Break(&'static str),
    /// Never answers.
    Hang,
}

/// What becomes of a request, by its number and its text.
type Rule = dyn Fn(usize, &str) -> Act + Send + Sync;

/// An upstream in memory that treats each request by a rule, and counts them.
#[derive(Clone)]
pub(super) struct Upstream {
    rule: Arc<Rule>,
    requests: Arc<AtomicUsize>,
    refused: Arc<std::sync::atomic::AtomicBool>,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    delay_ms: Arc<AtomicUsize>,
}

impl Upstream {
    /// The rule is asked with the number of the request, from 0.
    pub(super) fn new(rule: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self::treats(move |number, _request| rule(number))
    }

    /// The answer depends on the request line.
    pub(super) fn by_path(rule: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Self {
        Self::treats(move |_number, request| Act::Say(rule(request.lines().next().unwrap_or_default())))
    }

    fn treats(rule: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        Self {
            rule: Arc::new(rule),
            requests: Arc::default(),
            refused: Arc::default(),
            seen: Arc::default(),
            delay_ms: Arc::default(),
        }
    }

    /// From now on everything takes so much longer.
    pub(super) fn set_delay(&self, ms: usize) {
        self.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Requests that have come.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// All of them as they came, bodies included.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// From now on connections are refused, or are not.
    pub(super) fn refuse(&self, refused: bool) {
        self.refused.store(refused, Ordering::SeqCst);
    }

    pub(super) fn dial(&self) -> Dial {
        let upstream = self.clone();
        Arc::new(move || {
            if upstream.refused.load(Ordering::SeqCst) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(STREAM_BYTES);
            tokio::task::spawn_local(upstream.clone().serve(Peer(far)));
            Ok(near.into())
        })
    }

    async fn serve(self, mut peer: Peer) {
        while let Some(request) = next_request(&mut peer).await {
            let act = (self.rule)(self.requests.fetch_add(1, Ordering::SeqCst), &request);
            self.seen.lock().unwrap().push(request);
            sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst) as u64)).await;
            let said = match act {
                Act::Say(answer) => peer.0.write_all(answer.as_bytes()).await,
                Act::Later(ms, answer) => {
                    sleep(Duration::from_millis(ms)).await;
                    peer.0.write_all(answer.as_bytes()).await
                }
                Act::Break(answer) => {
                    let _ = peer.0.write_all(answer.as_bytes()).await;
                    return;
                }
                Act::Hang => {
                    let _ = peer.read_to_end().await;
                    return;
                }
            };
            if said.is_err() {
                return;
            }
        }
    }
}

/// One request with its body, which has a length or is chunked.
pub(super) async fn next_request(peer: &mut Peer) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        if let Some(head) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            let is_whole = if text.contains("transfer-encoding: chunked") {
                seen.ends_with(b"0\r\n\r\n")
            } else {
                seen.len() >= head + 4 + length
            };
            if is_whole {
                return Some(String::from_utf8_lossy(&seen).into_owned());
            }
        }
        if peer.0.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

/// An engine whose endpoints are these upstreams, in the order of their names `127.0.0.1:1`, `127.0.0.2:1` and so on.
pub(super) fn rig(upstreams: &[Upstream], upstream: &str, operation: &str) -> Rig {
    let names: Vec<_> = (1..=upstreams.len()).map(|n| format!("127.0.0.{n}:1")).collect();
    let config = config(&names.iter().map(String::as_str).collect::<Vec<_>>(), upstream, operation);
    rig_of(&config, upstreams)
}

/// The same with one endpoint.
pub(super) fn alone(upstream: &Upstream, keys: &str, operation: &str) -> Rig {
    rig(std::slice::from_ref(upstream), keys, operation)
}

/// The same with a configuration of its own.
pub(super) fn rig_of(config: &str, upstreams: &[Upstream]) -> Rig {
    let dial = |display: &str| {
        let number = display.split(['.', ':']).nth(3).and_then(|n| n.parse::<usize>().ok());
        upstreams[number.unwrap() - 1].dial()
    };
    Rig::start_each(config, Clock::System, Output::None, &dial)
}

/// One request on a connection of its own, and its answer up to the end of the connection.
pub(super) async fn ask(rig: &Rig, request: &str) -> String {
    let mut client = rig.connect();
    client.send(request.replacen("Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1)).await;
    client.read_to_end().await
}

/// The status of an answer.
pub(super) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
}
