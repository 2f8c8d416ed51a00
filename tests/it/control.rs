//! The control listener over TLS, of a whole engine.

use std::path::Path;

use mainstay_core::clock::Clock;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::setup::{GUARD, Setup, payments};
use crate::transport::{Authority, config, plain_upstream};

/// A data plane without TLS, and a control listener that shows the set `ops`.
fn text(folder: &Path, upstream: std::net::SocketAddr, more: &str) -> String {
    let at = folder.display();
    let server = format!(
        "listen: 127.0.0.1:0, tls: {{ ops: {{ certificates: [{{ cert: {at}/ops.pem, key: {at}/ops.key }}]{more} }} }}"
    );
    let text = config(&server, &plain_upstream(upstream));
    text.replace("control: { listen: 127.0.0.1:0 }", "control: { listen: 127.0.0.1:0, tls: ops }")
}

/// `GET /livez`; the answer, and the certificate that was shown.
async fn ask(setup: &Setup, connector: &TlsConnector) -> std::io::Result<(String, CertificateDer<'static>)> {
    let asked = async {
        let tcp = TcpStream::connect(setup.engine.control).await?;
        let mut stream = connector.connect(ServerName::try_from("ops.test").unwrap(), tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: ops.test\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((answer, shown))
    };
    tokio::time::timeout(GUARD, asked).await.expect("an end in time")
}

#[tokio::test]
async fn a_control_listener_with_a_client_ca_lets_nobody_in_without_a_certificate() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "ops", &["ops.test"], false);
    let ca = format!(", client_ca: {}/ca.pem", folder.path().display());
    // A listener of the data plane with the same set lets them in: there each operation says whom it serves.
    let text = text(folder.path(), service.addr, &ca)
        .replace("listen: 127.0.0.1:0, tls: {", "listen: { address: 127.0.0.1:0, tls: ops }, tls: {");
    let setup = Setup::start_text(&text, Clock::System).await;
    let rows =
        [(None, false), (Some(Authority::new().client_pair()), false), (Some(authority.client_pair()), true)];
    for (n, (shown, gets_in)) in rows.into_iter().enumerate() {
        let answer = ask(&setup, &authority.connector(&[], shown)).await;
        assert_eq!(answer.is_ok(), gets_in, "{n}: {answer:?}");
        assert!(answer.map_or(true, |(answer, _)| answer.starts_with("HTTP/1.1 200 ")), "{n}");
    }
    // A session of the data plane opens nothing here: the same client would resume it if it could.
    let connector = authority.connector(&[], None);
    let tcp = TcpStream::connect(setup.address()).await.unwrap();
    let name = ServerName::try_from("ops.test").unwrap();
    let mut stream = connector.connect(name, tcp).await.unwrap();
    let head = b"GET /v1/bytes/1 HTTP/1.1\r\nHost: ops.test\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(ask(&setup, &connector).await.is_err());
    setup.engine.stop().await;
}

#[tokio::test]
async fn certificates_of_the_control_listener_change_on_disk_and_with_a_reload() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "ops", &["ops.test"], false);
    authority.issue(folder.path(), "next", &["ops.test"], false);
    let first_text = text(folder.path(), service.addr, "");
    let setup = Setup::start_text(&first_text, Clock::System).await;
    let connector = authority.connector(&[], None);
    let shown = async || ask(&setup, &connector).await.unwrap().1;
    let look = || mainstay::certificates::look(&setup.engine.handle);
    let first = shown().await;
    let good = std::fs::read(folder.path().join("ops.pem")).unwrap();
    let bad: [&dyn Fn(); 3] = [
        &|| std::fs::write(folder.path().join("ops.pem"), &good[..good.len() / 2]).unwrap(),
        // The key of another certificate.
        &|| {
            std::fs::copy(folder.path().join("next.key"), folder.path().join("ops.key")).unwrap();
            std::fs::write(folder.path().join("ops.pem"), &good).unwrap();
        },
        &|| authority.issue(folder.path(), "ops", &["ops.test"], true),
    ];
    for (n, spoil) in bad.iter().enumerate() {
        let refused = || setup.metric("mainstay_certificate_loads_total result=\"refused\"");
        let before = refused();
        spoil();
        look();
        assert!(refused() > before, "{n}");
        assert_eq!(shown().await, first, "{n}");
    }
    let refused = setup.event("certificates_refused").await;
    assert_eq!(refused["key"], "server.tls.ops", "{refused}");
    authority.issue(folder.path(), "ops", &["ops.test"], false);
    look();
    let second = shown().await;
    assert_ne!(second, first);
    assert_eq!(setup.metric("mainstay_certificate_loads_total result=\"loaded\""), 1.0);
    // Other files for the same set come with a reload, other sets with a restart.
    let next = first_text.replace("ops.pem", "next.pem").replace("ops.key", "next.key");
    std::fs::write(setup.config_path(), &next).unwrap();
    assert_eq!(setup.engine.handle.reload_now().await.unwrap().generation, 2);
    let third = shown().await;
    assert_ne!(third, second);
    for other in ["control: { listen: 127.0.0.1:0 }", "control: { listen: 127.0.0.1:0, tls: new }"] {
        let text = next
            .replace("control: { listen: 127.0.0.1:0, tls: ops }", other)
            .replace("tls: { ops:", "tls: { new:");
        std::fs::write(setup.config_path(), text).unwrap();
        let problems = setup.engine.handle.reload_now().await.unwrap_err();
        assert!(
            problems.iter().any(|p| p.code == "restart_needed" && p.key == "control.tls"),
            "{problems:?}"
        );
        assert_eq!(shown().await, third);
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_and_slow_handshakes_harm_nobody() {
    let (service, folder, authority) = (payments(), tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "ops", &["ops.test"], false);
    let setup = Setup::start_text(&text(folder.path(), service.addr, ""), Clock::System).await;
    // More than there are places for connections, and for handshakes.
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(setup.engine.control).await.unwrap();
        stream.write_all(&[22, 3, 1]).await.unwrap();
        silent.push(stream);
    }
    let mut plain = TcpStream::connect(setup.engine.control).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(GUARD, plain.read_to_end(&mut answer)).await;
    read.expect("an end in time").unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    assert!(ask(&setup, &authority.connector(&[b"h2"], None)).await.is_err(), "there is no HTTP/2");
    let (answer, _) = ask(&setup, &authority.connector(&[b"h2", b"http/1.1"], None)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(setup.get("/v1/bytes/1").await.starts_with("HTTP/1.1 200 "));
    drop(silent);
    setup.engine.stop().await;
}
