//! Each fault, as raw sockets see it; times in memory, on a clock that stands still until nothing else is left to do.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::{Arrival, Cut, FaultProxy, Faults, Switch, Way, around};
use crate::GUARD;
use crate::memory::{Peer, Scripted};

/// A proxy in front of an upstream that is the test itself.
async fn proxy() -> (FaultProxy, TcpListener) {
    let upstream = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    (FaultProxy::start(upstream.local_addr().unwrap()), upstream)
}

/// A client, and its connection as the upstream sees it.
async fn pair(proxy: &FaultProxy, upstream: &TcpListener) -> (TcpStream, TcpStream) {
    let client = connect(proxy.address).await.unwrap();
    (client, in_time(upstream.accept()).await.unwrap().0)
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(address).await
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(GUARD, what).await.expect("it comes")
}

/// All that comes, and how it ends.
async fn read(stream: &mut TcpStream) -> (String, Result<(), ErrorKind>) {
    let mut seen = Vec::new();
    let end = in_time(stream.read_to_end(&mut seen)).await;
    (String::from_utf8(seen).unwrap(), end.map(drop).map_err(|error| error.kind()))
}

async fn read_exactly(stream: &mut TcpStream, length: usize) -> String {
    let mut seen = vec![0; length];
    in_time(stream.read_exact(&mut seen)).await.unwrap();
    String::from_utf8(seen).unwrap()
}

const RESET: Result<(), ErrorKind> = Err(ErrorKind::ConnectionReset);

#[tokio::test]
async fn a_port_refuses_and_opens_again_and_open_connections_go_on() {
    let (proxy, upstream) = proxy().await;
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    for _ in 0..2 {
        proxy.refuse();
        assert_eq!(connect(proxy.address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read_exactly(&mut service, 4).await, "ping");
        proxy.listen();
        let (mut late, mut service) = pair(&proxy, &upstream).await;
        late.write_all(b"late").await.unwrap();
        assert_eq!(read_exactly(&mut service, 4).await, "late");
    }
}

/// While nobody listens, no other socket of the machine may be given the port.
#[tokio::test]
async fn a_port_that_refuses_stays_reserved() {
    let (proxy, _upstream) = proxy().await;
    proxy.refuse();
    // As any socket that is given a port by the kernel: it shares with nobody.
    let other = TcpSocket::new_v4().unwrap();
    assert_eq!(other.bind(proxy.address).unwrap_err().kind(), ErrorKind::AddrInUse);
}

/// The clock moves only when nothing else can happen, so a handshake that is done at all is done before.
#[tokio::test(start_paused = true)]
async fn a_full_backlog_leaves_handshakes_without_an_answer() {
    let (proxy, upstream) = proxy().await;
    let open = pair(&proxy, &upstream).await;
    for _ in 0..2 {
        proxy.fill_backlog();
        let connecting = timeout(Duration::from_secs(60), connect(proxy.address));
        assert!(connecting.await.is_err(), "a handshake was answered");
        proxy.listen();
        pair(&proxy, &upstream).await;
    }
    drop(open);
}

#[tokio::test]
async fn a_blackhole_passes_nothing_until_it_ends() {
    let (proxy, upstream) = proxy().await;
    proxy.set(Faults::blackhole());
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    // Everything has arrived, and nothing went on.
    let counts = proxy.until(|counts| counts.clients_ended == 1).await;
    assert_eq!((counts.to_upstream_bytes, counts.to_client_bytes, counts.open), (0, 0, 1));
    proxy.clear();
    assert_eq!(read(&mut service).await, ("request".to_owned(), Ok(())));
    service.write_all(b"answer").await.unwrap();
    drop(service);
    assert_eq!(read(&mut client).await, ("answer".to_owned(), Ok(())));
    proxy.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_request_is_reset_after_so_many_bytes() {
    let (proxy, upstream) = proxy().await;
    for (at, arrived) in [(0, ""), (1, "r"), (6, "reques")] {
        proxy.set(Faults::cut_request(at, Cut::Reset));
        let (mut client, mut service) = pair(&proxy, &upstream).await;
        client.write_all(b"request").await.unwrap();
        assert_eq!(read(&mut service).await, (arrived.to_owned(), RESET), "{at}");
        assert_eq!(read(&mut client).await, (String::new(), RESET), "{at}");
    }
    proxy.set(Faults::cut_request(7, Cut::Reset));
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    client.write_all(b"request").await.unwrap();
    assert_eq!(read_exactly(&mut service, 7).await, "request");
    // No byte is due any more, so there is nothing to cut.
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut service).await, (String::new(), Ok(())));
}

#[tokio::test]
async fn an_answer_is_reset_after_so_many_bytes_and_a_connection_before_the_first() {
    let (proxy, upstream) = proxy().await;
    for (at, arrived) in [(0, ""), (3, "ans")] {
        proxy.set(Faults::cut_answer(at, Cut::Reset));
        let (mut client, mut service) = pair(&proxy, &upstream).await;
        client.write_all(b"request").await.unwrap();
        assert_eq!(read_exactly(&mut service, 7).await, "request");
        service.write_all(b"answer").await.unwrap();
        assert_eq!(read(&mut client).await, (arrived.to_owned(), RESET), "{at}");
        assert_eq!(read(&mut service).await, (String::new(), RESET), "{at}");
    }
    for (arrival, end) in [(Arrival::Reset, RESET), (Arrival::Close, Ok(()))] {
        proxy.set(Faults { arrival, ..Faults::default() });
        let mut client = connect(proxy.address).await.unwrap();
        assert_eq!(read(&mut client).await, (String::new(), end), "{arrival:?}");
    }
}

#[tokio::test]
async fn garbage_comes_instead_of_an_answer() {
    let (proxy, upstream) = proxy().await;
    for (at, seen) in [(0, "\x16garbage"), (2, "an\x16garbage")] {
        proxy.set(Faults::cut_answer(at, Cut::Garbage(b"\x16garbage".to_vec())));
        let (mut client, mut service) = pair(&proxy, &upstream).await;
        client.write_all(b"request").await.unwrap();
        assert_eq!(read_exactly(&mut service, 7).await, "request");
        service.write_all(b"answer").await.unwrap();
        assert_eq!(read(&mut client).await, (seen.to_owned(), Ok(())), "{at}");
        drop(client);
        assert_eq!(read(&mut service).await, (String::new(), Ok(())), "{at}");
    }
}

#[tokio::test]
async fn one_direction_is_closed_and_the_other_goes_on() {
    let (proxy, upstream) = proxy().await;
    proxy.next(Faults::cut_request(3, Cut::HalfClose));
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    client.write_all(b"request").await.unwrap();
    assert_eq!(read(&mut service).await, ("req".to_owned(), Ok(())));
    service.write_all(b"answer").await.unwrap();
    assert_eq!(read_exactly(&mut client, 6).await, "answer");

    proxy.next(Faults::cut_answer(2, Cut::HalfClose));
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    service.write_all(b"answer").await.unwrap();
    assert_eq!(read(&mut client).await, ("an".to_owned(), Ok(())));
    client.write_all(b"more").await.unwrap();
    assert_eq!(read_exactly(&mut service, 4).await, "more");
}

#[tokio::test]
async fn both_directions_are_closed_in_good_order() {
    let (proxy, upstream) = proxy().await;
    proxy.set(Faults::cut_answer(2, Cut::Close));
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    // Not read by anybody: it must not turn the close into a reset.
    client.write_all(b"request").await.unwrap();
    service.write_all(b"answer").await.unwrap();
    assert_eq!(read(&mut client).await, ("an".to_owned(), Ok(())));
    let (seen, end) = read(&mut service).await;
    assert!("request".starts_with(&seen) && end == Ok(()), "{seen} {end:?}");
    drop((client, service));
    proxy.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn resets_and_ends_are_passed_on_as_what_they_are() {
    let (proxy, upstream) = proxy().await;
    let (mut client, service) = pair(&proxy, &upstream).await;
    service.set_zero_linger().unwrap();
    drop(service);
    assert_eq!(read(&mut client).await, (String::new(), RESET));

    let (mut client, mut service) = pair(&proxy, &upstream).await;
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut service).await, (String::new(), Ok(())));
    drop(service);
    assert_eq!(read(&mut client).await, (String::new(), Ok(())));

    drop(upstream);
    let mut client = connect(proxy.address).await.unwrap();
    assert_eq!(read(&mut client).await, (String::new(), RESET));
    proxy.until(|counts| counts.open == 0 && counts.accepted == 3).await;
}

#[tokio::test]
async fn a_killed_upstream_takes_its_connections_along() {
    let (proxy, upstream) = proxy().await;
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    proxy.kill();
    assert_eq!(read(&mut client).await, (String::new(), RESET));
    assert_eq!(read(&mut service).await, (String::new(), RESET));
    assert_eq!(connect(proxy.address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    proxy.listen();
    pair(&proxy, &upstream).await;
}

#[tokio::test]
async fn faults_of_one_connection_are_its_own_and_others_are_switched_while_they_are_open() {
    let (proxy, upstream) = proxy().await;
    let (mut first, mut first_service) = pair(&proxy, &upstream).await;
    proxy.next(Faults::cut_answer(1, Cut::Reset));
    let (mut second, mut second_service) = pair(&proxy, &upstream).await;
    let (mut third, mut third_service) = pair(&proxy, &upstream).await;
    for service in [&mut first_service, &mut second_service, &mut third_service] {
        service.write_all(b"answer").await.unwrap();
    }
    assert_eq!(read(&mut second).await, ("a".to_owned(), RESET));
    for client in [&mut first, &mut third] {
        assert_eq!(read_exactly(client, 6).await, "answer");
    }
    // From now on, on connections that have carried something.
    proxy.set(Faults::cut_request(0, Cut::Reset));
    first.write_all(b"request").await.unwrap();
    assert_eq!(read(&mut first_service).await, (String::new(), RESET));
    proxy.clear();
    third.write_all(b"request").await.unwrap();
    assert_eq!(read_exactly(&mut third_service, 7).await, "request");
}

#[tokio::test]
async fn a_proxy_that_is_dropped_leaves_nothing_open() {
    let (proxy, upstream) = proxy().await;
    let (address, switch) = (proxy.address, Switch::clone(&proxy));
    let (mut client, mut service) = pair(&proxy, &upstream).await;
    drop(proxy);
    assert_eq!(read(&mut client).await.0, "");
    assert_eq!(read(&mut service).await.0, "");
    switch.until(|counts| counts.open == 0).await;
    assert_eq!(connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Both ends of a connection in memory.
async fn in_memory() -> (Switch, Peer, Peer) {
    let (mut upstream, dial) = Scripted::new();
    let (dial, switch) = around(&dial);
    let mainstay_proxy::stream::Plain::Memory(client) = dial().unwrap() else { panic!("in memory") };
    (switch, Peer(client), upstream.accept().await)
}

const MS: Duration = Duration::from_millis(1);

/// Timers go off in the millisecond after their time.
#[track_caller]
fn took(began: Instant, expected_ms: u64) {
    let took_ms = began.elapsed().as_millis() as u64;
    assert!((expected_ms..=expected_ms + 2).contains(&took_ms), "{took_ms} ms, not {expected_ms}");
}

#[tokio::test(start_paused = true)]
async fn latency_is_exact_in_each_direction_and_costs_no_bandwidth() {
    let (switch, mut client, mut service) = in_memory().await;
    let way = |ms| Way { latency: MS * ms, ..Way::default() };
    switch.set(Faults { to_upstream: way(300), to_client: way(700), ..Faults::default() });
    let began = Instant::now();
    client.send("ping").await;
    tokio::time::sleep(100 * MS).await;
    client.send("more").await;
    service.read_until("ping").await;
    took(began, 300);
    service.read_until("more").await;
    took(began, 400);
    let began = Instant::now();
    service.send("pong").await;
    client.read_until("pong").await;
    took(began, 700);
}

#[tokio::test(start_paused = true)]
async fn a_latency_that_ends_lets_go_what_it_held() {
    let (switch, mut client, mut service) = in_memory().await;
    switch.set(Faults::slow(Duration::from_secs(3600)));
    service.send("answer").await;
    let began = Instant::now();
    assert!(timeout(Duration::from_secs(60), client.read_until("answer")).await.is_err());
    switch.clear();
    client.read_until("answer").await;
    took(began, 60_000);
}

#[tokio::test(start_paused = true)]
async fn bandwidth_is_what_was_asked_for() {
    for (bytes_per_s, length, expected_ms) in [(1, 4, 3_000), (100, 1_000, 9_990), (100_000, 50_000, 490)] {
        let (switch, mut client, mut service) = in_memory().await;
        let way = Way { bytes_per_s: Some(bytes_per_s), ..Way::default() };
        switch.set(Faults { to_client: way, ..Faults::default() });
        let began = Instant::now();
        service.send(vec![b'x'; length]).await;
        client.read_exactly(&mut vec![0; length]).await;
        let took_ms = began.elapsed().as_millis() as u64;
        // Each step may wait for the next tick of the timer.
        let steps = (length as u64).div_ceil((bytes_per_s / 100).max(1));
        assert!((expected_ms..=expected_ms + steps + 1).contains(&took_ms), "{bytes_per_s}: {took_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_close_comes_long_after_the_answer() {
    let (switch, mut client, mut service) = in_memory().await;
    let way = Way { close_delay: Duration::from_secs(30), ..Way::default() };
    switch.set(Faults { to_client: way, ..Faults::default() });
    let began = Instant::now();
    service.send("answer").await;
    drop(service);
    client.read_until("answer").await;
    took(began, 0);
    assert_eq!(client.read_to_end().await, "");
    took(began, 30_000);
}

#[tokio::test(start_paused = true)]
async fn what_is_stalled_is_bounded_and_then_the_sender_waits() {
    const BYTES: usize = 1 << 20;
    let (switch, mut client, mut service) = in_memory().await;
    switch.set(Faults::blackhole());
    let sending = client.send(vec![b'x'; BYTES]);
    tokio::pin!(sending);
    assert!(timeout(Duration::from_secs(60), &mut sending).await.is_err(), "a mebibyte was taken");
    assert_eq!(switch.counts().to_upstream_bytes, 0);
    switch.clear();
    let mut received = vec![0; BYTES];
    tokio::join!(sending, service.read_exactly(&mut received));
    assert!(received.iter().all(|byte| *byte == b'x'));
}

/// In memory, who writes to somebody who is gone hears of it at once: so it shows whether anybody takes what still comes.
#[tokio::test(start_paused = true)]
async fn after_an_orderly_close_the_rest_is_still_taken() {
    let (switch, mut client, mut service) = in_memory().await;
    switch.set(Faults::cut_answer(2, Cut::Close));
    service.send("answer").await;
    assert_eq!(client.read_to_end().await, "an");
    assert_eq!(service.read_to_end().await, "");
    client.send("late").await;
    service.send("late").await;
    drop((client, service));
    switch.until(|counts| counts.open == 0).await;

    let (_upstream, dial) = Scripted::new();
    let (dial, switch) = around(&dial);
    switch.set(Faults { arrival: Arrival::Close, ..Faults::default() });
    let mut client = dial().unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"late").await.unwrap();
    drop(client);
    switch.until(|counts| counts.accepted == 1 && counts.open == 0).await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_connections_are_refused_and_end_without_a_farewell() {
    let (mut upstream, dial) = Scripted::new();
    let (dial, switch) = around(&dial);
    switch.refuse();
    assert_eq!(dial().map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(upstream.is_idle());
    switch.listen();
    let mut client = dial().unwrap();
    let mut service = upstream.accept().await;
    switch.kill();
    assert_eq!(service.read_to_end().await, "");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"x").await.unwrap_err();
    assert!(dial().is_err());
}
