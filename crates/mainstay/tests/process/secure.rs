//! Commands that ask an engine whose control listener speaks TLS.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::run::{Answer, Engine, ask, folder_with, forward_to, until};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Its certificate is in `NAME.pem`.
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), ca.pem()).unwrap();
        Self(ca)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, folder: &Path, name: &str, expired: bool) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    }
}

/// A control listener that shows `ops.pem`. `more` stands in its set.
fn secured(control: SocketAddr, more: &str) -> String {
    let text = forward_to("127.0.0.1:1".parse().unwrap());
    text.replace(
        "control: { listen: 127.0.0.1:0 }",
        &format!("  tls: {{ ops: {{ certificates: [{{ cert: ops.pem, key: ops.key }}]{more} }} }}\ncontrol: {{ listen: {control}, tls: ops }}"),
    )
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An engine with TLS in a folder with certificates, and `ask.yaml` that says where it is.
fn start(more: &str) -> (Engine, Authority) {
    let folder = folder_with(&secured(any_port(), more));
    let authority = Authority::new(folder.path(), "ca");
    authority.issue(folder.path(), "ops", false);
    let engine = Engine::start_in(folder);
    std::fs::write(engine.path("ask.yaml"), secured(engine.control, more)).unwrap();
    (engine, authority)
}

#[track_caller]
fn check(folder: &Path, arguments: &[&str], code: i32, part: &str) -> Answer {
    let answer = ask(folder, arguments);
    assert_eq!(answer.code, code, "{arguments:?} {answer:?}");
    assert!(format!("{}{}", answer.out, answer.err).contains(part), "{part}: {arguments:?} {answer:?}");
    answer
}

#[test]
fn whom_a_command_does_not_know_it_does_not_ask() {
    let (engine, authority) = start("");
    let folder = engine.folder.path();
    Authority::new(folder, "other-ca");
    authority.issue(folder, "other", false);
    let admin = |scheme: &str, host: &str| format!("{scheme}://{host}:{}", engine.control.port());
    let (https, http, named) =
        (admin("https", "127.0.0.1"), admin("http", "127.0.0.1"), admin("https", "localhost"));
    let other = secured(engine.control, "").replace("ops.pem", "other.pem");
    std::fs::write(engine.path("other.yaml"), other).unwrap();
    let missing = secured(engine.control, "").replace("ops.pem", "ca.key");
    std::fs::write(engine.path("missing.yaml"), missing).unwrap();
    let token = ["--token-file", "mainstay.token"];
    let rows: &[(&[&str], i32, &str)] = &[
        (&["--admin", &https], 3, "--admin-ca FILE"),
        (&["--admin", &https, "--admin-ca", "other-ca.pem"], 3, "--admin-ca FILE"),
        (&["--admin", &https, "--admin-ca", "nowhere.pem"], 3, "nowhere.pem cannot be read"),
        (&["--admin", &named, "--admin-ca", "ca.pem"], 3, "use one of them in --admin"),
        (&["--admin", &http], 3, "write https:// instead"),
        (&["--admin", &http, "--admin-ca", "ca.pem"], 2, "are for https"),
        (&["--admin", &https, "--admin-cert", "ops.pem"], 2, "--admin-key"),
        (&["-c", "other.yaml"], 3, "is not that of"),
        (&["-c", "ask.yaml", "--admin-ca", "other-ca.pem"], 3, "--admin-ca FILE"),
        (&["-c", "missing.yaml"], 2, "ca.key"),
    ];
    for (arguments, code, part) in rows {
        check(folder, &[&["reload"], *arguments, &token].concat(), *code, part);
    }
    assert!(!engine.process.err().contains("config_reloaded"), "{}", engine.process.err());
    engine.stop();
    // The other way round: there is no TLS where it is expected.
    let plain = Engine::start(&forward_to("127.0.0.1:1".parse().unwrap()));
    Authority::new(plain.folder.path(), "ca");
    let https = format!("https://{}", plain.control);
    let arguments = ["reload", "--admin", &https, "--admin-ca", "ca.pem", "--token-file", "mainstay.token"];
    check(plain.folder.path(), &arguments, 3, "speaks no TLS");
    plain.stop();
}

#[test]
fn commands_ask_over_tls_as_the_configuration_says() {
    let (engine, authority) = start("");
    let folder = engine.folder.path();
    let https = format!("https://{}", engine.control);
    let named = ["--admin", &https, "--admin-ca", "ca.pem", "--token-file", "mainstay.token"];
    for here in [&named[..], &["-c", "ask.yaml"], &["-c", "ask.yaml", "--admin-ca", "ca.pem"]] {
        for command in [&["reload"][..], &["versions"], &["upstreams"], &["plan", "mainstay.yaml"]] {
            check(folder, &[command, here].concat(), 0, "");
        }
        check(folder, &[&["explain", "--request-id", "x"], here].concat(), 1, "does not remember");
    }
    // Whatever has happened to the file since.
    std::fs::copy(engine.path("ask.yaml"), engine.path("mainstay.yaml")).unwrap();
    // Another certificate lies there now, and is shown without a restart.
    authority.issue(folder, "ops", false);
    until(|| engine.process.err().contains("certificates_loaded"));
    check(folder, &["versions", "-c", "ask.yaml"], 0, "pay v1");
    engine.stop();
}

#[test]
fn a_client_certificate_that_is_asked_for_is_shown() {
    let (engine, authority) = start(", client_ca: ca.pem");
    let folder = engine.folder.path();
    authority.issue(folder, "operator", false);
    Authority::new(folder, "other-ca").issue(folder, "stranger", false);
    let shown = |name: &str| (format!("{name}.pem"), format!("{name}.key"));
    let (operator, stranger) = (shown("operator"), shown("stranger"));
    let asked = ["versions", "-c", "ask.yaml"];
    check(folder, &asked, 3, "--admin-cert FILE and --admin-key FILE");
    for ((cert, key), code, part) in [(stranger, 3, "client_ca"), (operator, 0, "pay v1")] {
        let pair = ["--admin-cert", &cert, "--admin-key", &key];
        check(folder, &[&asked[..], &pair].concat(), code, part);
    }
    let mixed = ["--admin-cert", "operator.pem", "--admin-key", "stranger.key"];
    check(folder, &[&asked[..], &mixed].concat(), 3, "make no pair");
    engine.stop();
}

#[test]
fn sets_that_are_not_there_or_not_usable_are_found_before_anything_runs() {
    let folder = folder_with(&secured(any_port(), "").replace("tls: ops }", "tls: opps }"));
    let authority = Authority::new(folder.path(), "ca");
    authority.issue(folder.path(), "ops", false);
    check(folder.path(), &["check"], 1, "unknown_tls");
    check(folder.path(), &["run"], 1, "unknown_tls");
    std::fs::write(folder.path().join("mainstay.yaml"), secured(any_port(), "")).unwrap();
    authority.issue(folder.path(), "ops", true);
    check(folder.path(), &["check"], 1, "server.tls.ops: ops.pem has expired");
    check(folder.path(), &["run"], 1, "server.tls.ops: ops.pem has expired");
    authority.issue(folder.path(), "ops", false);
    check(folder.path(), &["check"], 0, "ok:");
}

/// A server that shows a certificate, whoever has its key, and answers nothing.
fn impostor(folder: &Path, cert: &str, key: &str) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from_pem_file(folder.join(cert)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join(key)).unwrap();
    let key = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key))));
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // It ends with whatever the client says of it.
            while connection.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
        }
    });
    address
}

#[test]
fn a_certificate_in_the_file_is_the_engines_only_while_it_holds_and_with_its_key() {
    let folder = folder_with("");
    let authority = Authority::new(folder.path(), "ca");
    authority.issue(folder.path(), "other", false);
    std::fs::write(folder.path().join("mainstay.token"), "a".repeat(64)).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("mainstay.token"), mode).unwrap();
    let rows = [(true, "ops.key", "ops.pem has expired"), (false, "other.key", "does not have its key")];
    for (expired, key, part) in rows {
        authority.issue(folder.path(), "ops", expired);
        let address = impostor(folder.path(), "ops.pem", key);
        std::fs::write(folder.path().join("mainstay.yaml"), secured(address, "")).unwrap();
        check(folder.path(), &["versions"], 3, part);
    }
}
