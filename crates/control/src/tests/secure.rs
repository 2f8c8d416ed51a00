use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::bounds::{SHORT, ends};
use super::{Answer, Fake, SECRET, Server, head, soon};
use crate::TlsSource;
use crate::client::{AdminAddress, CallError, call};
use crate::limits::Limits;

type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::named("a CA")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, host: &str, expired: bool) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// Shows a certificate for `host`; with `clients`, to those alone who have one of theirs.
    fn source(&self, host: &str, expired: bool, clients: Option<&Self>) -> TlsSource {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let verifier = clients
            .map(|ca| WebPkiClientVerifier::builder_with_provider(ca.roots(), provider()).build().unwrap());
        let builder = match verifier {
            Some(verifier) => builder.unwrap().with_client_cert_verifier(verifier),
            None => builder.unwrap().with_no_client_auth(),
        };
        let (certificate, key) = self.issue(host, expired);
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        Arc::new(move || Arc::clone(&config))
    }

    /// Trusts this CA, and shows a certificate if it has one.
    fn client(&self, shown: Option<Pair>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(self.roots());
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        })
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

const LOCAL: &str = "127.0.0.1";

async fn start(authority: &Authority, listen: &str, limits: Limits) -> Server {
    Server::at(listen, Some(authority.source(LOCAL, false, None)), limits, Fake::default()).await
}

async fn shake(address: SocketAddr, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let stream = soon(TcpStream::connect(local)).await?;
    let name = ServerName::try_from(LOCAL).unwrap();
    soon(TlsConnector::from(client).connect(name, stream)).await
}

async fn ask(server: &Server, authority: &Authority, request: &str) -> Answer {
    let mut stream = shake(server.address, authority.client(None)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // The engine says that it ends, else this would be an error.
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    Answer::parse(&bytes)
}

/// The description of the alert that a connection ends with.
async fn alert(server: &Server, sent: &[u8]) -> u8 {
    let mut stream = server.connect().await;
    stream.write_all(sent).await.unwrap();
    // It is there. A client that goes on sending first must find it all the same.
    soon(stream.readable()).await.unwrap();
    for _ in 0..20 {
        stream.write_all(b"more").await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!((bytes.len(), bytes.first()), (7, Some(&21)), "one alert and nothing else: {bytes:?}");
    bytes[6]
}

/// A ClientHello of TLS 1.`minor - 1` (RFC 5246, 7.4.1.2) with everything that the server needs.
fn hello(minor: u8) -> Vec<u8> {
    let suites = [0, 2, 0xc0, 0x2b];
    let extensions = [0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let body = [&[3, minor][..], &[7; 32], &[0], &suites, &[1, 0], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn what_is_no_tls_or_an_old_one_is_told_so_and_harms_nobody() {
    let authority = Authority::new();
    let server = start(&authority, "127.0.0.1:0", Limits::default()).await;
    const PROTOCOL_VERSION: u8 = 70;
    const DECODE_ERROR: u8 = 50;
    // More than is read in one piece: what stays unread must not cost the client the alert.
    let upload =
        format!("{}{}", head("POST /admin/v1/reload", "Content-Length: 50000\r\n"), "x".repeat(50_000));
    assert_eq!(alert(&server, head("GET /livez", "").as_bytes()).await, DECODE_ERROR);
    assert_eq!(alert(&server, upload.as_bytes()).await, DECODE_ERROR);
    assert_eq!(alert(&server, &hello(2)).await, PROTOCOL_VERSION);
    // What makes the difference is the version.
    let mut next = server.connect().await;
    next.write_all(&hello(3)).await.unwrap();
    assert_eq!(soon(next.read_u8()).await.unwrap(), 22);
    let mut http2 = ClientConfig::clone(&authority.client(None));
    http2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(shake(server.address, Arc::new(http2)).await.is_err(), "there is no HTTP/2");
    assert_eq!(ask(&server, &authority, &head("GET /livez", "")).await.status, 200);
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let authority = Authority::new();
    let limits = Limits { handshake: SHORT, ..Limits::default() };
    let server = start(&authority, "127.0.0.1:0", limits).await;
    for sent in [&b""[..], &hello(2)[..20]] {
        let mut slow = server.connect().await;
        slow.write_all(sent).await.unwrap();
        assert_eq!(ends(&mut slow).await, b"", "{sent:?}");
    }
    // Who goes on sending after a refusal is not listened to for longer.
    let mut talker = server.connect().await;
    talker.write_all(&hello(2)).await.unwrap();
    let mut first = [0_u8; 7];
    soon(talker.read_exact(&mut first)).await.unwrap();
    soon(async { while talker.write_all(b"more").await.is_ok() {} }).await;
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out() {
    let authority = Authority::new();
    let limits = Limits { connections: 1, handshakes: 2, ..Limits::default() };
    let server = start(&authority, "127.0.0.1:0", limits).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(server.connect().await);
    }
    assert_eq!(ask(&server, &authority, &head("GET /livez", "")).await.status, 200);
    // The oldest have made room, long before their time was up.
    for stream in &mut silent[..4] {
        assert_eq!(ends(stream).await, b"");
    }
    let waiting = silent[4].try_read(&mut [0_u8; 1]).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock, "the last one still has its time");
}

#[tokio::test]
async fn a_place_among_the_connections_is_waited_for() {
    let authority = Authority::new();
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = start(&authority, "127.0.0.1:0", limits).await;
    let mut first = shake(server.address, authority.client(None)).await.unwrap();
    first.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut begun = [0_u8; 8];
    soon(first.read_exact(&mut begun)).await.unwrap();
    let mut second = shake(server.address, authority.client(None)).await.unwrap();
    second.write_all(head("GET /readyz", "").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let answered = tokio::time::timeout(SHORT, second.read_to_end(&mut bytes)).await;
    assert!(answered.is_err(), "the one place is taken: {bytes:?}");
    drop(first);
    soon(second.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(Answer::parse(&bytes).status, 200);
}

#[tokio::test]
async fn off_loopback_metrics_are_for_those_with_the_token() {
    let authority = Authority::new();
    let token = format!("Authorization: Bearer {SECRET}\r\n");
    for (listen, without_token) in [("0.0.0.0:0", 401), ("127.0.0.1:0", 200)] {
        let server = start(&authority, listen, Limits::default()).await;
        let rows = [
            ("/metrics", "", without_token),
            ("/metrics", token.as_str(), 200),
            ("/livez", "", 200),
            ("/readyz", "", 200),
            ("/admin/v1/config", "", 401),
            ("/admin/v1/config", token.as_str(), 200),
        ];
        for (path, fields, status) in rows {
            let answer = ask(&server, &authority, &head(&format!("GET {path}"), fields)).await;
            assert_eq!(answer.status, status, "{listen} {path} {fields:?} {answer:?}");
        }
        // Which name leads here the certificate says; that a web page asks is a refusal as ever.
        let named = format!(
            "GET /livez HTTP/1.1\r\nHost: admin.example:{}\r\nConnection: close\r\n\r\n",
            server.address.port()
        );
        assert_eq!(ask(&server, &authority, &named).await.status, 200);
        let page = format!("{token}Origin: https://rebound.example\r\n");
        assert_eq!(ask(&server, &authority, &head("GET /admin/v1/config", &page)).await.status, 403);
    }
}

/// Asks an engine over TLS, and is refused before anything had an effect.
async fn refused(server: &Server, client: Arc<ClientConfig>) -> String {
    let address = AdminAddress::of(server.address, true).unwrap();
    let token = Some(&server.token);
    let asked = call(&address, Some(&client), Method::POST, "/admin/v1/reload", token, Vec::new());
    let error = soon(asked).await.unwrap_err();
    assert!(matches!(error, CallError::NotTrusted { .. }), "{error:?}");
    assert_eq!(server.engine.generation.load(std::sync::atomic::Ordering::SeqCst), 0);
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    text
}

#[tokio::test]
async fn the_client_says_what_is_wrong_and_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::named("another CA"));
    let usual = authority.source(LOCAL, false, None);
    let asking = authority.source(LOCAL, false, Some(&authority));
    let ours = || Some(authority.issue("operator", false));
    let rows = [
        (Arc::clone(&usual), other.client(None), "--admin-ca FILE"),
        (Arc::clone(&usual), Authority::new().client(None), "--admin-ca FILE"),
        (authority.source(LOCAL, true, None), authority.client(None), "has expired; renew"),
        (
            authority.source("admin.example", false, None),
            authority.client(None),
            "(DnsName(\"admin.example\"))",
        ),
        (Arc::clone(&asking), authority.client(None), "--admin-cert FILE and --admin-key FILE"),
        (Arc::clone(&asking), authority.client(Some(other.issue("operator", false))), "client_ca"),
        (Arc::clone(&asking), authority.client(Some(authority.issue("operator", true))), "client_ca"),
    ];
    for (source, client, part) in rows {
        let server = Server::at("127.0.0.1:0", Some(source), Limits::default(), Fake::default()).await;
        let text = refused(&server, client).await;
        assert!(text.contains(part), "{part}: {text}");
    }
    let plain = Server::start(Fake::default()).await;
    let text = refused(&plain, authority.client(None)).await;
    assert!(text.contains("speaks no TLS") && text.contains("http://"), "{text}");
    for (source, client) in [(usual, authority.client(None)), (asking, authority.client(ours()))] {
        let server = Server::at("127.0.0.1:0", Some(source), Limits::default(), Fake::default()).await;
        let address = AdminAddress::of(server.address, true).unwrap();
        let token = Some(&server.token);
        let asked = call(&address, Some(&client), Method::POST, "/admin/v1/reload", token, Vec::new());
        let (status, body) = soon(asked).await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (200, &br#"{"generation":1,"digest":"digest-1"}"#[..]));
    }
}

#[tokio::test]
async fn plain_http_to_tls_is_told_so() {
    let authority = Authority::new();
    let server = start(&authority, "127.0.0.1:0", Limits::default()).await;
    let address = AdminAddress::of(server.address, false).unwrap();
    let error = soon(call(&address, None, Method::GET, "/livez", None, Vec::new())).await.unwrap_err();
    assert!(error.to_string().contains("write https:// instead"), "{error}");
    // And an address with TLS is never asked without.
    let address = AdminAddress::of(server.address, true).unwrap();
    let error = soon(call(&address, None, Method::GET, "/livez", None, Vec::new())).await.unwrap_err();
    assert!(matches!(error, CallError::NotReachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = AdminAddress::of(listener.local_addr().unwrap(), true).unwrap();
    let bounds = crate::client::Bounds { whole: SHORT, ..Default::default() };
    let client = Authority::new().client(None);
    let asked =
        crate::client::call_within(bounds, &address, Some(&client), Method::GET, "/livez", None, Vec::new());
    let error = soon(asked).await.unwrap_err();
    assert!(matches!(error, CallError::NotTrusted { .. }), "{error}");
}

#[tokio::test]
async fn a_shutdown_waits_for_no_handshake() {
    let authority = Authority::new();
    let hour = std::time::Duration::from_secs(3600);
    let limits = Limits { handshake: hour, drain: hour, ..Limits::default() };
    let mut server = start(&authority, "127.0.0.1:0", limits).await;
    let mut silent = server.connect().await;
    assert_eq!(ask(&server, &authority, &head("GET /livez", "")).await.status, 200);
    server.stop();
    soon(&mut server.task).await.unwrap().unwrap();
    assert_eq!(ends(&mut silent).await, b"");
}
