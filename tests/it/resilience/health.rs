//! Health checks over sockets: who fails them gets no requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::sockets::World;
use crate::frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, block, frame};
use crate::setup::{any_port, read_head, serving};

/// An HTTP/1.1 service with a health page, and the count of everything else.
struct Service {
    address: SocketAddr,
    is_well: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    heads: Arc<std::sync::Mutex<Vec<String>>>,
}

fn service() -> Service {
    let (is_well, served) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let heads = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let (well, counted, seen) = (Arc::clone(&is_well), Arc::clone(&served), Arc::clone(&heads));
    let address = serving(move |_, mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let status = if !head.starts_with("GET /healthz ") {
                counted.fetch_add(1, Ordering::SeqCst);
                "200 OK"
            } else {
                seen.lock().unwrap().push(head);
                if well.load(Ordering::SeqCst) { "204 No Content" } else { "500 X" }
            };
            if write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    });
    Service { address, is_well, served, heads }
}

fn text(endpoints: &[SocketAddr], keys: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|e| format!("\"http://{e}\"")).collect();
    format!(
        "server: {{ listen: 127.0.0.1:0, workers: 2 }}\ncontrol: {{ listen: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [{}], balance: round_robin, {keys} }} }}\n\
         apis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, \
         operations: {{ \"* /{{*rest}}\": {{}} }} }} }} }} }}\ntelemetry: {{ log: {{ output: none }} }}\n",
        endpoints.join(", ")
    )
}

const QUICK: &str = "interval: 100ms, timeout: 90ms, healthy_after: 2, unhealthy_after: 3";

#[tokio::test]
async fn an_endpoint_that_fails_its_check_gets_no_requests_until_it_passes_again() {
    let (one, other) = (service(), service());
    one.is_well.store(false, Ordering::SeqCst);
    let keys = format!("panic_below: 0, slow_start: 0s, health: {{ path: /healthz, {QUICK} }}");
    let world = World::start(&text(&[one.address, other.address], &keys)).await;
    let setup = &world.setup;
    setup.until_metric("mainstay_upstream_endpoints health=\"unhealthy\"", 1.0).await;
    let event = setup.event("endpoint_unhealthy").await;
    assert_eq!((event["upstream"].as_str(), event["cause"].as_str()), (Some("up"), Some("status 500")));
    let head = one.heads.lock().unwrap()[0].clone();
    assert!(head.contains(&format!("host: {}\r\n", one.address)) && head.contains("mainstay/"), "{head}");
    let before = one.served.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(setup.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(one.served.load(Ordering::SeqCst), before);
    assert!(other.served.load(Ordering::SeqCst) >= 10);

    one.is_well.store(true, Ordering::SeqCst);
    setup.until_metric("mainstay_upstream_endpoints health=\"healthy\"", 2.0).await;
    for _ in 0..10 {
        assert!(setup.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    assert!(one.served.load(Ordering::SeqCst) > before);

    // All of them fail: nobody is asked, unless panic is allowed.
    one.is_well.store(false, Ordering::SeqCst);
    other.is_well.store(false, Ordering::SeqCst);
    setup.until_metric("mainstay_upstream_endpoints health=\"unhealthy\"", 2.0).await;
    let answer = setup.get("/v1/x").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"no_healthy_endpoint\""), "{answer}");
    let panics = text(&[one.address, other.address], &keys).replace("panic_below: 0", "panic_below: 0.3");
    std::fs::write(setup.config_path(), panics).unwrap();
    mainstay_core::port::Engine::reload(&setup.port()).await.unwrap();
    assert!(setup.get("/v1/x").await.starts_with("HTTP/1.1 200 "));

    // A reload that asks no more makes them healthy.
    let unasked = text(&[one.address, other.address], "panic_below: 0");
    std::fs::write(setup.config_path(), unasked).unwrap();
    mainstay_core::port::Engine::reload(&setup.port()).await.unwrap();
    setup.until_metric("mainstay_upstream_endpoints health=\"healthy\"", 2.0).await;
    assert!(setup.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    world.nothing_left(&[]).await;
    world.stop().await;
}

#[tokio::test]
async fn tcp_asks_for_a_connection_alone() {
    let alive = service();
    let gone = TcpListener::bind(any_port()).unwrap();
    let dead = gone.local_addr().unwrap();
    drop(gone);
    let keys = format!("health: {{ tcp: true, {QUICK} }}");
    let world = World::start(&text(&[alive.address, dead], &keys)).await;
    let setup = &world.setup;
    setup.until_metric("mainstay_upstream_endpoints health=\"unhealthy\"", 1.0).await;
    assert_eq!(setup.event("endpoint_unhealthy").await["endpoint"].as_str(), Some(dead.to_string().as_str()));
    for _ in 0..4 {
        assert!(setup.get("/v1/x").await.starts_with("HTTP/1.1 200 "));
    }
    world.nothing_left(&[]).await;
    world.stop().await;
}

/// Speaks the health protocol of gRPC, and says that it serves or does not.
fn grpc(mut stream: TcpStream, serves: &AtomicBool, asked: &std::sync::Mutex<Vec<u8>>) -> Option<()> {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (SETTINGS, flags) if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).ok()?,
            (DATA, flags) if flags & END_STREAM != 0 => {
                *asked.lock().unwrap() = payload;
                let status = if serves.load(Ordering::SeqCst) { 1 } else { 2 };
                let fields = block(&[(":status", "200"), ("content-type", "application/grpc")]);
                let answer = [
                    frame(HEADERS, END_HEADERS, id, &fields),
                    frame(DATA, 0, id, &[0, 0, 0, 0, 2, 8, status]),
                    frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&[("grpc-status", "0")])),
                ];
                stream.write_all(&answer.concat()).ok()?;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn grpc_is_asked_in_its_own_protocol() {
    let (serves, asked) = (Arc::new(AtomicBool::new(false)), Arc::<std::sync::Mutex<Vec<u8>>>::default());
    let (said, seen) = (Arc::clone(&serves), Arc::clone(&asked));
    let address = serving(move |_, stream| {
        grpc(stream, &said, &seen);
    });
    let keys = format!("protocol: h2, health: {{ grpc: pay.Payments, {QUICK} }}");
    let world = World::start(&text(&[address], &keys)).await;
    let setup = &world.setup;
    setup.until_metric("mainstay_upstream_endpoints health=\"unhealthy\"", 1.0).await;
    assert_eq!(*asked.lock().unwrap(), b"\0\0\0\0\x0e\x0a\x0cpay.Payments");
    serves.store(true, Ordering::SeqCst);
    setup.until_metric("mainstay_upstream_endpoints health=\"healthy\"", 1.0).await;
    world.nothing_left(&[]).await;
    world.stop().await;
}
