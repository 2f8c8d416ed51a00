//! Health checks against endpoints that never come to an end: each check ends by its own time, counts as a failure, and leaves
//! no connection behind.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_testkit::fault::{Counts, Cut, FaultProxy, Faults, Way};
use mainstay_testkit::upstream::{Gate, Reply, Upstream};

use super::sockets::{ONCE, World, text};
use crate::setup::{read_head, serving, until};

const CHECKS: &str = "interval: 100ms, timeout: 90ms, healthy_after: 2, unhealthy_after: 3";
/// How often it is asked in vain before a test looks at what is left of that.
const OFTEN: u64 = 6;

fn keys(health: &str) -> String {
    format!("{ONCE}, panic_below: 0, slow_start: 0s, health: {{ {health}, {CHECKS} }}")
}

/// Asks often, finds it unhealthy, and holds one connection at the most: that of the check that is under way.
async fn is_unhealthy(world: &World, network: &FaultProxy, what: &str) {
    world.setup.until_metric("mainstay_upstream_endpoints health=\"unhealthy\"", 1.0).await;
    network.until(|counts| counts.accepted >= OFTEN).await;
    // A reset is no end that is counted, and the network may still be busy with what nobody listens to any more.
    let is_left = |counts: &Counts| counts.open <= 1 || counts.accepted - counts.clients_ended <= 1;
    let counts = network.until(is_left).await;
    assert!(counts.accepted >= OFTEN, "{what}");
}

#[tokio::test]
async fn over_http() {
    let (gate, gate_of_body) = (Gate::new(), Gate::new());
    let rows: [(&str, Faults, Option<Reply>); 4] = [
        ("accepted, then silence", Faults::default(), Some(Reply::hold())),
        ("answers that are too late", Faults::default(), Some(Reply::ok("ok").after(&gate))),
        (
            "a byte a second",
            Faults { to_client: Way { bytes_per_s: Some(1), ..Way::default() }, ..Faults::default() },
            None,
        ),
        (
            "half a head",
            Faults::cut_answer(9, Cut::HalfClose),
            Some(Reply::ok("ok").pause_at(1, &gate_of_body)),
        ),
    ];
    for (what, faults, reply) in rows {
        let service = Upstream::http1(move |_| reply.clone().unwrap_or_else(|| Reply::ok("ok")));
        let network = FaultProxy::start(service.address);
        network.set(faults);
        let fine = Upstream::http1(|_| Reply::ok("ok"));
        let world = World::start(&text(&[network.address, fine.address], &keys("path: /healthz"))).await;
        is_unhealthy(&world, &network, what).await;
        assert!(world.get("/v1/x").await.starts_with("HTTP/1.1 200 "), "{what}");
        network.clear();
        service.script(|_| Reply::ok("ok"));
        world.setup.until_metric("mainstay_upstream_endpoints health=\"healthy\"", 2.0).await;
        world.nothing_left(&[]).await;
        world.stop().await;
    }
}

/// Heads without end and interim answers without end are read to a bound; of a body nothing is read: the status is all that
/// is asked for.
#[tokio::test]
async fn over_http_without_end() {
    let rows = [
        ("HTTP/1.1 200 OK\r\n", "x-field: value\r\n", "unhealthy"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n", "unhealthy"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "healthy"),
    ];
    for (begin, more, health) in rows {
        let (begun, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, ended) = (Arc::clone(&begun), Arc::clone(&left));
        let address = serving(move |_, mut stream: TcpStream| {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = read_head(&mut stream);
            let mut said = stream.write_all(begin.as_bytes());
            while said.is_ok() {
                said = stream.write_all(more.as_bytes());
            }
            ended.fetch_add(1, Ordering::SeqCst);
        });
        let world = World::start(&text(&[address], &keys("path: /healthz"))).await;
        until("it is asked often", || begun.load(Ordering::SeqCst) >= OFTEN as usize).await;
        world.setup.until_metric(&format!("mainstay_upstream_endpoints health=\"{health}\""), 1.0).await;
        let open = || begun.load(Ordering::SeqCst) - left.load(Ordering::SeqCst);
        until("earlier ones are left", || open() <= 1).await;
        world.nothing_left(&[]).await;
        world.stop().await;
    }
}

/// The message never comes, it never ends, or the status behind it never comes.
#[tokio::test]
async fn over_grpc() {
    let gate = Gate::new();
    let endless = vec![0; 1 << 20];
    let rows = [
        ("silence", Reply::hold()),
        ("half a message", Reply::grpc_health(true).pause_at(5, &gate)),
        ("no status", Reply::grpc_health(true).pause_at(7, &gate)),
        ("a message that is too long", Reply::grpc(0, &endless)),
        ("a message that is too long and goes on", Reply::grpc(0, &endless).pause_at(1 << 19, &gate)),
    ];
    for (what, reply) in rows {
        let service = Upstream::http2(move |_| reply.clone());
        let network = FaultProxy::start(service.address);
        let fine = Upstream::http2(|r| {
            if r.path.starts_with("/grpc.") { Reply::grpc_health(true) } else { Reply::ok("ok") }
        });
        let keys = format!("{}, protocol: h2", keys("grpc: pay.Payments"));
        let world = World::start(&text(&[network.address, fine.address], &keys)).await;
        is_unhealthy(&world, &network, what).await;
        assert!(world.get("/v1/x").await.starts_with("HTTP/1.1 200 "), "{what}");
        service.script(|_| Reply::grpc_health(true));
        world.setup.until_metric("mainstay_upstream_endpoints health=\"healthy\"", 2.0).await;
        world.nothing_left(&[]).await;
        world.stop().await;
    }
}
