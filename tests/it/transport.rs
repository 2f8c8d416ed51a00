//! What carries a request: TLS, unix sockets, the PROXY protocol.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Peer, canned};
use mainstay_testkit::rig::Rig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::paused::paused;
use crate::setup::{Setup, blocking, payments, read_head, until};

/// A CA, and what it has signed.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `NAME.pem` and `NAME.key`, and `ca.pem` beside them.
    pub(crate) fn issue(&self, folder: &Path, name: &str, hosts: &[&str], expired: bool) {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join("ca.pem"), self.0.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    }

    /// A client that trusts this CA, and shows a certificate of its own if it has one.
    pub(crate) fn connector(
        &self,
        alpn: &[&[u8]],
        shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    pub(crate) fn client_pair(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

pub(crate) fn config(server: &str, upstreams: &str) -> String {
    format!(
        "server: {{ workers: 2, {server} }}\ncontrol: {{ listen: 127.0.0.1:0 }}\nupstreams: {{ {upstreams} }}\n\
         telemetry: {{ log: {{ output: none }} }}\napis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ \
         upstream: up, operations: {{ \"* /{{*rest}}\": {{ body: 64MiB }} }} }} }} }} }}\n"
    )
}

pub(crate) fn plain_upstream(address: SocketAddr) -> String {
    format!("up: {{ endpoints: [\"http://{address}\"] }}")
}

/// A folder with certificates for `a.test` and `b.test`, and a configuration that shows them.
fn tls_server(folder: &Path, more: &str) -> String {
    let at = folder.display();
    format!(
        "listen: {{ address: 127.0.0.1:0, tls: main }}, tls: {{ main: {{ certificates: [\
         {{ cert: {at}/a.pem, key: {at}/a.key }}, {{ cert: {at}/b.pem, key: {at}/b.key }}]{more} }} }}"
    )
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    name: &'static str,
    stream: S,
) -> std::io::Result<TlsStream<S>> {
    connector.connect(ServerName::try_from(name).unwrap(), stream).await
}

/// One request over HTTP/1.1; everything until the engine closes it.
async fn get(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), host: &str) -> String {
    let head = format!("GET /v1/echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = String::new();
    // Without a farewell this would be an error.
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_a_connection_serves_what_it_was_made_for() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test", "www.a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let text = config(&tls_server(folder.path(), ""), &plain_upstream(service.addr));
    let setup = Setup::start_text(&text, Clock::System).await;
    let connector = authority.connector(&[], None);
    let rows = [
        ("a.test", "a.test", "HTTP/1.1 200 "),
        ("b.test", "B.test", "HTTP/1.1 200 "),
        // The same certificate names both.
        ("a.test", "www.a.test", "HTTP/1.1 200 "),
        ("a.test", "b.test", "HTTP/1.1 421 "),
        ("b.test", "a.test", "HTTP/1.1 421 "),
    ];
    for (name, host, expected) in rows {
        let tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
        let mut stream = shake(&connector, name, tcp).await.unwrap();
        let answer = get(&mut stream, host).await;
        assert!(answer.starts_with(expected), "{name} {host}\n{answer}");
        assert_eq!(answer.contains("misdirected"), expected.contains("421"), "{answer}");
        if expected.contains("200") {
            assert!(answer.contains("[\"x-forwarded-proto\",\"https\"]"), "{answer}");
        }
    }
    // Nobody has this name: the first certificate is shown, and the client refuses it.
    let tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
    assert!(shake(&connector, "c.test", tcp).await.is_err());
    // Whoever speaks plainly is told so, and no service sees it.
    let answer = setup.get("/v1/echo").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("malformed_request"), "{answer}");
    // What is neither gets no answer that could be taken for one.
    let answer = setup.exchange("\0\u{1}SMB").await;
    assert!(!answer.contains("HTTP"), "{answer}");
    until("the failures are counted", || {
        setup.metric("mainstay_tls_handshakes_total result=\"failed\"") >= 3.0
    })
    .await;
    setup.engine.stop().await;
}

#[tokio::test]
async fn alpn_decides_what_is_spoken_on_either_side() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let inner = config(&tls_server(folder.path(), ""), &plain_upstream(service.addr));
    let inner = Setup::start_text(&inner, Clock::System).await;
    for (protocol, inside) in [("auto", "2"), ("http1", "1.1"), ("h2", "2")] {
        // An engine in front of the engine.
        let upstream = format!(
            "up: {{ endpoints: [\"https://{}\"], protocol: {protocol}, tls: {{ ca: {}, server_name: a.test }} }}",
            inner.address(),
            folder.path().join("ca.pem").display()
        );
        let text = config(&tls_server(folder.path(), ""), &upstream);
        let outer = Setup::start_text(&text, Clock::System).await;
        for alpn in [&b"h2"[..], b"http/1.1"] {
            let connector = authority.connector(&[alpn], None);
            let tcp = tokio::net::TcpStream::connect(outer.address()).await.unwrap();
            let mut stream = shake(&connector, "a.test", tcp).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
            let answer = if alpn == b"h2" {
                let mut client = crate::frames::Frames::over(stream, &[]).await;
                let fields = [
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":authority", "a.test"),
                    (":path", "/v1/echo"),
                ];
                format!("{:?}", client.ask(1, &fields).await)
            } else {
                get(&mut stream, "a.test").await
            };
            assert!(answer.contains("x-request-id") && answer.contains("/v1/echo"), "{protocol} {answer}");
            // Each engine says what was spoken to it.
            let outside = if alpn == b"h2" { "2" } else { "1.1" };
            let via = format!("[\"via\",\"{outside} mainstay, {inside} mainstay\"]");
            assert!(answer.replace("\\\"", "\"").contains(&via), "{protocol} {via}\n{answer}");
        }
        outer.engine.stop().await;
    }
    inner.engine.stop().await;
}

#[tokio::test]
async fn a_service_that_cannot_prove_who_it_is_gets_no_request() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    let stranger = Authority::new();
    authority.issue(folder.path(), "a", &["a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let inner = config(&tls_server(folder.path(), ""), &plain_upstream(service.addr));
    let inner = Setup::start_text(&inner, Clock::System).await;
    let other = tempfile::tempdir().unwrap();
    stranger.issue(other.path(), "x", &["a.test"], false);
    let rows = [(folder.path(), "c.test"), (other.path(), "a.test")];
    for (trusted, name) in rows {
        let upstream = format!(
            "up: {{ endpoints: [\"https://{}\"], tls: {{ ca: {}, server_name: {name} }} }}",
            inner.address(),
            trusted.join("ca.pem").display()
        );
        let outer = Setup::start_text(&config("listen: 127.0.0.1:0", &upstream), Clock::System).await;
        let answer = outer.get("/v1/echo").await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_tls"), "{answer}");
        assert!(answer.contains("proxy-status: mainstay; error=tls_protocol_error"), "{answer}");
        outer.engine.stop().await;
    }
    // One that speaks no TLS at all.
    let upstream = format!(
        "up: {{ endpoints: [\"https://{}\"], tls: {{ ca: {} }} }}",
        service.addr,
        folder.path().join("ca.pem").display()
    );
    let outer = Setup::start_text(&config("listen: 127.0.0.1:0", &upstream), Clock::System).await;
    assert!(outer.get("/v1/echo").await.contains("upstream_tls"));
    assert_eq!(service.stats().effects(), 0);
    outer.engine.stop().await;
    inner.engine.stop().await;
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_checked() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test", "www.a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let client_ca = format!(", client_ca: {}", folder.path().join("ca.pem").display());
    let text = config(&tls_server(folder.path(), &client_ca), &plain_upstream(service.addr));
    let setup = Setup::start_text(&text, Clock::System).await;
    let rows = [
        (None, "a.test", "HTTP/1.1 200 "),
        (Some(authority.client_pair()), "a.test", "HTTP/1.1 200 "),
        // Where certificates of clients count, a connection is for one name only.
        (None, "www.a.test", "HTTP/1.1 421 "),
        (Some(Authority::new().client_pair()), "a.test", ""),
    ];
    for (shown, host, expected) in rows {
        let connector = authority.connector(&[], shown);
        let tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
        let mut stream = shake(&connector, "a.test", tcp).await.unwrap();
        let head = format!("GET /v1/bytes/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        // In TLS 1.3 a client learns of its refusal only when it reads.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        assert_eq!(read.is_err(), expected.is_empty(), "{read:?} {answer}");
        assert!(answer.starts_with(expected), "{answer}");
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn certificates_that_change_come_into_use_and_bad_ones_do_not() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let text = config(&tls_server(folder.path(), ""), &plain_upstream(service.addr));
    let setup = Setup::start_text(&text, Clock::System).await;
    let connector = authority.connector(&[], None);
    let shown = async || {
        let tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
        let stream = shake(&connector, "a.test", tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let look = || mainstay::certificates::look(&setup.engine.handle);
    let first = shown().await;
    let good = std::fs::read(folder.path().join("a.pem")).unwrap();
    let bad: [&dyn Fn(); 4] = [
        &|| std::fs::write(folder.path().join("a.pem"), &good[..good.len() / 2]).unwrap(),
        &|| std::fs::write(folder.path().join("a.pem"), "").unwrap(),
        // The key of another certificate.
        &|| assert!(std::fs::copy(folder.path().join("b.pem"), folder.path().join("a.pem")).is_ok()),
        &|| authority.issue(folder.path(), "a", &["a.test"], true),
    ];
    for (n, spoil) in bad.iter().enumerate() {
        spoil();
        look();
        assert_eq!(setup.metric("mainstay_certificate_loads_total result=\"refused\""), 1.0 + n as f64);
        assert_eq!(shown().await, first, "{n}");
        // The same again is no news.
        look();
        assert_eq!(setup.metric("mainstay_certificate_loads_total result=\"refused\""), 1.0 + n as f64);
    }
    authority.issue(folder.path(), "a", &["a.test"], false);
    look();
    assert_ne!(shown().await, first);
    assert_eq!(setup.metric("mainstay_certificate_loads_total result=\"loaded\""), 1.0);
    setup.engine.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_half_there_is_finished_although_the_engine_drains() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    let text = config(&tls_server(folder.path(), ""), &plain_upstream(service.addr));
    let setup = Setup::start_text(&text, Clock::System).await;
    let mut tcp = tokio::net::TcpStream::connect(setup.address()).await.unwrap();
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let (go, wait_for_go) = tokio::sync::oneshot::channel::<()>();
    let wire = tokio::spawn(async move {
        let mut half_a_hello = [0; 50];
        far.read_exact(&mut half_a_hello).await.unwrap();
        tcp.write_all(&half_a_hello).await.unwrap();
        wait_for_go.await.unwrap();
        tokio::io::copy_bidirectional(&mut far, &mut tcp).await
    });
    let connector = authority.connector(&[], None);
    let client = tokio::spawn(async move {
        let mut stream = shake(&connector, "a.test", near).await.unwrap();
        get(&mut stream, "a.test").await
    });
    let Setup { engine, folder: _folder } = setup;
    let handle = Arc::clone(&engine.handle);
    let connections = || handle.shared.connections.load(std::sync::atomic::Ordering::Relaxed);
    until("it is accepted", || connections() == 1).await;
    let drained = tokio::spawn(engine.shut_down("test"));
    until("it drains", || handle.shared.is_draining.load(std::sync::atomic::Ordering::Relaxed)).await;
    go.send(()).unwrap();
    let answer = client.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    wire.await.unwrap().unwrap();
    assert!(drained.await.unwrap());
}

/// Guards against: what lay in the TLS session of a client that reads nothing did not count as untaken, so the connection
/// was held for ever once the rest of an answer fitted in there.
#[test]
fn a_client_that_takes_nothing_ends_over_tls_too() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "a", &["a.test"], false);
    authority.issue(folder.path(), "b", &["b.test"], false);
    // More than the stream in memory holds, by less than the session does.
    const BODY: usize = 90_000;
    static ANSWER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; BODY]].concat()
    });
    paused(async {
        let server = format!("{}, limits: {{ body_timeout: 2s }}", tls_server(folder.path(), ""));
        let text = config(&server, "up: { endpoints: [\"http://127.0.0.1:1\"] }");
        let rig = Rig::start(&text, Clock::System, Output::None, &canned(&ANSWER));
        let Peer(stream) = rig.connect();
        let mut client = shake(&authority.connector(&[], None), "a.test", stream).await.unwrap();
        client.write_all(b"GET /v1/x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
        client.flush().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(rig.metric("http_server_active_requests"), Some(1.0));
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        assert_eq!(rig.metric("http_server_active_requests"), Some(0.0));
        drop(client);
    });
}

#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (front, behind) = (folder.path().join("front.sock"), folder.path().join("behind.sock"));
    let service = UnixListener::bind(&behind).unwrap();
    let heads = tokio::task::spawn_blocking(move || {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = service.accept().unwrap();
            heads.push(read_head(&mut stream).unwrap());
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
        }
        heads
    });
    // Left behind by a process that is gone.
    drop(UnixListener::bind(&front).unwrap());
    let text = config(
        &format!("listen: \"unix:{}\"", front.display()),
        &format!("up: {{ endpoints: [\"unix:{}\"] }}", behind.display()),
    );
    let setup = Setup::start_text(&text, Clock::System).await;
    let ask = |field: &'static str| {
        let front = front.clone();
        blocking(move || {
            let mut stream = UnixStream::connect(front).unwrap();
            let head = format!("GET /v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    };
    assert!(ask("").await.ends_with("ok"));
    // Whoever may open the socket is believed, as a trusted proxy is.
    assert!(ask("X-Forwarded-For: 192.0.2.9\r\n").await.ends_with("ok"));
    let heads = heads.await.unwrap();
    assert!(!heads[0].contains("x-forwarded-for"), "{}", heads[0]);
    assert!(heads[0].contains("forwarded: for=unknown;host=\"a\";proto=http\r\n"), "{}", heads[0]);
    assert!(heads[1].contains("x-forwarded-for: 192.0.2.9\r\n"), "{}", heads[1]);
    // Nobody listens there any more: another cause than a malformed answer.
    std::fs::remove_file(&behind).unwrap();
    let answer = ask("").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_refused"), "{answer}");
    setup.engine.stop().await;
    assert!(!front.exists());
}

#[tokio::test]
async fn a_load_balancers_word_counts_where_the_listener_says_so() {
    let service = payments();
    let server = "listen: { address: 127.0.0.1:0, proxy_protocol: true }, \
                  limits: { connections_per_client: 1, header_timeout: 300ms }";
    let setup = Setup::start_text(&config(server, &plain_upstream(service.addr)), Clock::System).await;
    let request = "GET /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let v2 = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\x12\x34\0\x50";
    let rows = [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 4660 443\r\n", "192.0.2.7"),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 4660 443\r\n", "2001:db8::7"),
        (v2, "10.1.2.3"),
        ("PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (header, client) in rows {
        let answer = setup.exchange(&format!("{header}{request}")).await;
        assert!(answer.contains(&format!("[\"x-forwarded-for\",\"{client}\"]")), "{header:?}\n{answer}");
    }
    // Without a header, with a broken one, or with none in time there is no answer and no request.
    let before = service.stats().requests_total();
    for bytes in [request, "PROXY TCP4 a b 1 2\r\nGET / HTTP/1.1\r\n\r\n", "PROXY TCP4 192.0"] {
        let address = setup.address();
        let answer = blocking(move || {
            let mut stream = crate::setup::connect(address);
            stream.write_all(bytes.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // Something is left unread there, so the end may be a reset.
            let _ = stream.read_to_end(&mut answer);
            answer
        });
        assert_eq!(answer.await, b"", "{bytes:?}");
    }
    assert_eq!(service.stats().requests_total(), before);
    assert_eq!(setup.metric("mainstay_connections_refused_total cap=\"proxy_header\""), 3.0);
    // The cap per client counts the load balancer's clients, not itself.
    let address = setup.address();
    let held = blocking(move || {
        let mut held = crate::setup::connect(address);
        held.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443\r\n").unwrap();
        held
    })
    .await;
    until("it is counted for its client", || {
        !setup.engine.handle.shared.per_client("192.0.2.7".parse().unwrap()).is_empty()
    })
    .await;
    let refused = setup.exchange(&format!("{}{request}", rows[0].0)).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(setup.exchange(&format!("{}{request}", rows[1].0)).await.starts_with("HTTP/1.1 200 "));
    drop(held);
    setup.engine.stop().await;
}
