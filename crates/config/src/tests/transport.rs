//! Listeners, TLS on both sides, kinds of endpoints, and protocols that may be switched to.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{check, good, load_files, options, told, whole};
use crate::checked::{
    CertificateFiles, Checked, EndpointAddress, ListenAddress, Listener, Protocol, TlsSet, UpstreamTls,
};
use crate::{Change, Options, diff, effective, load, render_text};

/// Files that are there, whatever is in them.
const PEM: &[(&str, &str)] =
    &[("a.pem", ""), ("a.key", ""), ("certs/b.pem", ""), ("certs/b.key", ""), ("ca.pem", "")];
const SETS: &str = "tls: { a: { certificates: { cert: a.pem, key: a.key } } }";

fn load_with_pem(text: &str) -> crate::Outcome {
    let text = whole(text);
    let files: Vec<(&str, &str)> =
        [("mainstay.yaml", text.as_str())].into_iter().chain(PEM.iter().copied()).collect();
    load_files(&files, &options())
}

#[track_caller]
fn check_with_pem(text: &str, expected: &[&str]) {
    let outcome = load_with_pem(text);
    assert_eq!(told(&outcome.problems), expected, "\n{text}\n{}", render_text(&outcome.problems));
}

#[track_caller]
fn good_with_pem(text: &str) -> Checked {
    let outcome = load_with_pem(text);
    outcome.checked.unwrap_or_else(|| panic!("{text}\n{}", render_text(&outcome.problems)))
}

#[track_caller]
fn message(text: &str) -> (String, String) {
    let problem = load_with_pem(text).problems.remove(0);
    (problem.message, problem.help.unwrap_or_default())
}

#[test]
fn listeners() {
    let listen = |text: &str, expected: &[&str]| check(&format!("server: {{ listen: {text} }}"), expected);
    listen("'unix:'", &["error bad_address 1:19"]);
    listen("'unix:  '", &["error bad_address 1:19"]);
    listen("unix:/run/", &["error bad_address 1:19"]);
    listen("\"unix:/run/a\\0b\"", &["error bad_address 1:19"]);
    listen("{ address: localhost:8080 }", &["error bad_address 1:30"]);
    listen("{ proxy_protocol: true }", &["error missing_key 1:19"]);
    listen("{ address: 127.0.0.1:1, proxy_protocol: yes }", &["error bad_boolean 1:59"]);
    listen("{ address: 127.0.0.1:1, proxy: true }", &["error unknown_key 1:43"]);
    listen("[unix:/run/a, unix:/run/b, 'unix:/run//a']", &["error duplicate_listen 1:46"]);
    listen("[127.0.0.1:1, { address: 127.0.0.1:1 }]", &["error duplicate_listen 1:44"]);
    listen("[127.0.0.1:0, unix:/run/a, { address: unix:a.sock, proxy_protocol: true }]", &[]);
    check("control: { listen: 'unix:/run/c' }", &["error bad_address 1:20"]);
}

#[test]
fn a_socket_has_a_short_path() {
    let path = |bytes: usize| format!("/{}", "s".repeat(bytes - 1));
    let listen = |path: &str| format!("server: {{ listen: 'unix:{path}' }}");
    let endpoint = |path: &str| format!("upstreams: {{ up: {{ endpoints: 'unix:{path}' }} }}");
    check(&listen(&path(107)), &[]);
    check(&listen(&path(108)), &["error socket_path_too_long 1:19"]);
    check(&endpoint(&path(107)), &[]);
    check(&endpoint(&path(108)), &["error socket_path_too_long 1:31"]);
    // What counts is the path that the system is told.
    let main = format!("/{}/mainstay.yaml", "d".repeat(100));
    let outcome = load_files(&[(&main, &whole(&listen("a.sock")))], &options());
    assert_eq!(outcome.problems[0].code, "socket_path_too_long");
    assert!(outcome.problems[0].message.contains("108 bytes"), "{}", outcome.problems[0].message);
}

#[test]
fn sets_of_certificates() {
    let set = |text: &str, expected: &[&str]| {
        let text = format!("server: {{ listen: {{ address: unix:/run/a, tls: a }}, tls: {{ a: {text} }} }}");
        check_with_pem(&text, expected);
    };
    set("{}", &["error missing_key 1:60"]);
    set("{ certificates: [] }", &["error empty_list 1:79"]);
    set("{ client_ca: ca.pem }", &["error missing_key 1:60"]);
    set("{ certificates: { cert: a.pem } }", &["error missing_key 1:79"]);
    set("{ certificates: { key: a.key } }", &["error missing_key 1:79"]);
    set("{ certificates: [a.pem] }", &["error wrong_type 1:80"]);
    set("{ certificates: { cert: a.pem, key: a.key, ca: ca.pem } }", &["error unknown_key 1:106"]);
    set(
        "{ certificates: { cert: b.pem, key: b.key } }",
        &["error missing_file 1:87", "error missing_file 1:99"],
    );
    set("{ certificates: { cert: a.pem, key: a.key }, client_ca: ./cb.pem }", &["error missing_file 1:119"]);
    set("{ certificates: { cert: a.pem, key: a.key } }", &[]);
    set(
        "{ certificates: [{ cert: a.pem, key: a.key }, { cert: certs/b.pem, key: certs/b.key }], client_ca: ca.pem }",
        &[],
    );
    check("server: { tls: { 'a b': {} } }", &["error bad_name 1:18"]);
}

#[test]
fn sets_are_named() {
    let server = |listen: &str, expected: &[&str]| {
        check_with_pem(&format!("server: {{ {SETS}, listen: {listen} }}"), expected);
    };
    server("{ address: 127.0.0.1:1, tls: b }", &["warning unused_tls 1:18", "error unknown_tls 1:107"]);
    server("127.0.0.1:1", &["warning unused_tls 1:18"]);
    // A name that could not be read may have been this one.
    server("{ address: 127.0.0.1:1, tls: [] }", &["error wrong_type 1:107"]);
    server("{ address: 127.0.0.1:1, tls: '${NOBODY}' }", &["error env_missing 1:107"]);
    server("{ addres: 127.0.0.1:1, tls: a }", &["error missing_key 1:78", "error unknown_key 1:80"]);
    server("[{ address: 127.0.0.1:1, tls: a }, { address: unix:/run/a, tls: a }]", &[]);
    check("server: { listen: { address: 127.0.0.1:1, tls: a } }", &["error unknown_tls 1:48"]);
    check("server: { tls: [], listen: { address: 127.0.0.1:1, tls: a } }", &["error wrong_type 1:16"]);
    let near = "server: { tls: { partners: { certificates: { cert: a.pem, key: a.key } } }, listen: { address: 127.0.0.1:1, tls: partner } }";
    let problem = load_with_pem(near).problems.remove(1);
    assert_eq!(problem.key, "server.listen.tls");
    assert_eq!(problem.message, "there is no TLS set `partner`");
    assert_eq!(problem.help.as_deref(), Some("did you mean `partners`? known here: partners"));
}

#[test]
fn control_off_loopback_has_tls() {
    let control = |text: &str, expected: &[&str]| {
        check_with_pem(&format!("server: {{ {SETS} }}\ncontrol: {{ {text} }}"), expected);
    };
    let unused = "warning unused_tls 1:18";
    control("listen: 0.0.0.0:9090", &[unused, "error control_off_loopback 2:20"]);
    control("listen: 0.0.0.0:9090, tls: b", &[unused, "error unknown_tls 2:39"]);
    control("listen: 0.0.0.0:9090, tls: []", &["error wrong_type 2:39"]);
    control("listen: 0.0.0.0:9090, tls: a", &[]);
    control("tls: a", &[]);
    let checked = good_with_pem(&format!("server: {{ {SETS} }}\ncontrol: {{ tls: a }}"));
    assert_eq!(checked.control.tls.as_deref(), Some("a"));
}

#[test]
fn a_missing_file_is_told_as_it_was_looked_for() {
    let text = "server: { listen: { address: unix:/run/a, tls: a }, tls: { a: { certificates: { cert: x.pem, key: '${SECRET}.key' } } } }";
    let text = whole(text);
    let outcome = load_files(&[("/etc/mainstay/main.yaml", &text)], &options());
    let [cert, key] = outcome.problems.as_slice() else { panic!("{}", render_text(&outcome.problems)) };
    assert_eq!(cert.message, "/etc/mainstay/x.pem cannot be read: there is no such file");
    assert_eq!(cert.key, "server.tls.a.certificates.cert");
    // What was substituted stays where it was.
    assert_eq!(key.message, "/etc/mainstay/${SECRET}.key cannot be read: there is no such file");
}

#[test]
fn files_on_disk() {
    let home = tempfile::tempdir().expect("a folder");
    let write = |name: &str, mode: u32| {
        let path = home.path().join(name);
        std::fs::write(&path, "").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    write("a.pem", 0o644);
    write("mine.key", 0o600);
    write("open.key", 0o644);
    write("group.key", 0o640);
    std::fs::create_dir(home.path().join("folder")).expect("made");
    let load_key = |key: &str| {
        let text = whole(&format!(
            "server: {{ listen: {{ address: unix:a.sock, tls: a }}, tls: {{ a: {{ certificates: {{ cert: a.pem, key: {key} }} }} }} }}
upstreams: {{ up: {{ endpoints: https://a, tls: {{ cert: a.pem, key: {key} }} }} }}"
        ));
        let path = home.path().join("mainstay.yaml");
        std::fs::write(&path, text).expect("written");
        let outcome = load(&path, &Options { now_s: super::NOW_S, ..Options::default() });
        let row = |p: &crate::Problem| (p.code, p.key.clone(), p.message.clone());
        outcome.problems.iter().map(row).collect::<Vec<_>>()
    };
    let (listener, upstream) = ("server.tls.a.certificates.key", "upstreams.up.tls.key");
    assert_eq!(load_key("mine.key"), []);
    for (key, mode) in [("open.key", "0644"), ("group.key", "0640")] {
        let shown = home.path().join(key);
        let message =
            format!("others than its owner may use the private key {} (mode {mode})", shown.display());
        let row = |place: &str| ("open_key_file", place.to_owned(), message.clone());
        assert_eq!(load_key(key), [row(listener), row(upstream)]);
    }
    for (key, why) in [("none.key", "No such file"), ("folder", "this is no regular file")] {
        let rows = load_key(key);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows.iter().all(|(code, _, text)| *code == "missing_file" && text.contains(why)), "{rows:?}");
    }
}

#[test]
fn endpoints() {
    let endpoint = |text: &str, expected: &[&str]| {
        check(&format!("upstreams: {{ up: {{ endpoints: [{text}] }} }}"), expected);
    };
    let bad = &["error bad_endpoint 1:32"];
    for text in [
        "https://",
        "https://a/path",
        "https://a?q",
        "https://a#f",
        "https://u:p@a",
        "'https://a:0'",
        "https://a..b",
        "https://-a",
        "https://a-.b",
        "https://1.2.3",
        "'https://[::1'",
        "ftp://a",
        "a",
        "HTTPS://a",
        "'unix:'",
        "unix:/run/",
        "'local:'",
        "local:Svc",
        "local:1svc",
        "local:a.b",
        "'local:a:1'",
        "http://a?q",
    ] {
        endpoint(text, bad);
    }
    endpoint(&format!("https://{}.example.com", "a".repeat(64)), bad);
    endpoint(&format!("local:{}", "a".repeat(65)), bad);
    endpoint("https://a, 'http://a:443'", &["error duplicate_endpoint 1:43"]);
    endpoint("unix:/run/a, 'unix:/run/./a'", &["error duplicate_endpoint 1:45"]);
    endpoint("local:a, local:a", &["error duplicate_endpoint 1:41"]);
    endpoint(
        "https://a, https://A:8443/, 'https://[::1]', https://127.0.0.1, unix:/run/a, unix:b.sock, local:a_b-1, { url: https://c, weight: 3 }",
        &[],
    );
}

#[test]
fn tls_to_upstreams() {
    let tls = |text: &str, expected: &[&str]| {
        check_with_pem(&format!("upstreams: {{ up: {{ endpoints: https://a, tls: {text} }} }}"), expected);
    };
    tls("{ cert: a.pem }", &["error missing_key 1:55"]);
    tls("{ key: a.key }", &["error missing_key 1:54"]);
    tls("{ ca: x.pem }", &["error missing_file 1:53"]);
    tls("{ cert: x.pem, key: a.key }", &["error missing_file 1:55"]);
    tls("{ cert: a.pem, key: x.key }", &["error missing_file 1:67"]);
    tls("{ sni: a }", &["error unknown_key 1:49"]);
    for name in ["''", "a b", "'a:443'", "https://a", "-a", "a_.-", "1.2.3", "'*.a'", "'[::1'", "'[a]'"] {
        tls(&format!("{{ server_name: {name} }}"), &["error bad_host 1:62"]);
    }
    for name in ["Payments.Internal", "10.0.0.1", "'::1'", "'[::1]'", "a_b.internal"] {
        tls(&format!("{{ server_name: {name} }}"), &[]);
    }
    tls("{ ca: ca.pem, cert: a.pem, key: a.key, server_name: a }", &[]);
    tls("{}", &[]);
    tls("off", &[]);
    tls("'off'", &["error wrong_type 1:47"]);
    let plain = |text: &str, expected: &[&str]| {
        check_with_pem(
            &format!("upstreams: {{ up: {{ endpoints: [http://a, unix:b, local:c], tls: {text} }} }}"),
            expected,
        );
    };
    plain("{ ca: ca.pem }", &["error unused_key 1:65"]);
    plain("off", &[]);
    // Where no endpoint could be read, nobody knows.
    check_with_pem(
        "upstreams: { up: { endpoints: https://a/b, tls: { ca: ca.pem } } }",
        &["error bad_endpoint 1:31"],
    );
    check_with_pem("upstreams: { up: { tls: { ca: ca.pem } } }", &["error missing_key 1:14"]);
    check_with_pem("upstreams: { up: { endpoints: [], tls: { ca: ca.pem } } }", &["error empty_list 1:31"]);
}

#[test]
fn tls_under_every_upstream() {
    let two = |defaults: &str, up: &str| {
        format!(
            "upstream_defaults: {{ tls: {defaults} }}\nupstreams: {{ up: {{ endpoints: https://a, {up} }}, plain: {{ endpoints: http://b }} }}"
        )
    };
    check_with_pem(&two("{ cert: x.pem, key: a.key }", ""), &["error missing_file 1:35"]);
    // Halves of two places are no pair.
    check_with_pem(
        &two("{ cert: a.pem }", "tls: { key: certs/b.key }"),
        &["error missing_key 1:35", "error missing_key 2:54"],
    );
    check_with_pem("upstream_defaults: { tls: { ca: ca.pem } }", &["warning unused_key 1:27"]);
    check_with_pem("upstream_defaults: { tls: off }", &[]);
    let of = |defaults: &str, up: &str| {
        let checked = good_with_pem(&two(defaults, up));
        assert_eq!(checked.upstreams["plain"].tls, UpstreamTls::default());
        checked.upstreams["up"].tls.clone()
    };
    let all = "{ ca: ca.pem, cert: a.pem, key: a.key, server_name: Default.Internal }";
    let path = |name: &str| Some(PathBuf::from(name));
    let expected = UpstreamTls {
        ca: path("ca.pem"),
        cert: path("a.pem"),
        key: path("a.key"),
        server_name: Some("default.internal".to_owned()),
    };
    assert_eq!(of(all, ""), expected);
    let own = UpstreamTls { cert: path("certs/b.pem"), key: path("certs/b.key"), ..expected.clone() };
    assert_eq!(of(all, "tls: { cert: certs/b.pem, key: certs/b.key }"), own);
    assert_eq!(of(all, "tls: off"), UpstreamTls::default());
}

#[test]
fn names_start_where_they_stand() {
    let team = "upstreams:
  up: { endpoints: ['unix:run/up.sock', https://a], tls: { ca: ca.pem } }
";
    let main = whole(
        "include: [teams/a.yaml]\nserver: { tls: { a: { certificates: { cert: a.pem, key: /abs/a.key }, client_ca: ../ca.pem } }, listen: [{ address: unix:a.sock, tls: a, proxy_protocol: true }, 0.0.0.0:1] }\n# upstreams:\n",
    );
    let files = [
        ("/etc/m/mainstay.yaml", main.as_str()),
        ("/etc/m/teams/a.yaml", team),
        ("/etc/m/teams/ca.pem", ""),
        ("/etc/m/a.pem", ""),
        ("/abs/a.key", ""),
        ("/etc/ca.pem", ""),
    ];
    let outcome = load_files(&files, &options());
    assert!(outcome.problems.is_empty(), "{}", render_text(&outcome.problems));
    let checked = outcome.checked.expect("no problems");
    let listeners = [
        Listener {
            address: ListenAddress::Unix("/etc/m/a.sock".into()),
            tls: Some("a".to_owned()),
            proxy_protocol: true,
        },
        Listener { address: ListenAddress::Tcp(([0, 0, 0, 0], 1).into()), tls: None, proxy_protocol: false },
    ];
    assert_eq!(checked.server.listen, listeners);
    let shown: Vec<String> =
        checked.server.listen.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(shown, ["unix:/etc/m/a.sock", "0.0.0.0:1"]);
    let pair = CertificateFiles { cert: "/etc/m/a.pem".into(), key: "/abs/a.key".into() };
    let set = TlsSet { certificates: vec![pair], client_ca: Some("/etc/m/../ca.pem".into()) };
    assert_eq!(checked.server.tls["a"], set);
    let up = &checked.upstreams["up"];
    assert_eq!(up.tls.ca.as_deref(), Some(Path::new("/etc/m/teams/ca.pem")));
    let endpoints: Vec<_> =
        up.endpoints.iter().map(|e| (e.display.as_str(), e.address.clone(), e.tls)).collect();
    let expected = [
        ("unix:/etc/m/teams/run/up.sock", EndpointAddress::Unix("/etc/m/teams/run/up.sock".into()), false),
        ("a:443", EndpointAddress::Tcp { host: "a".into(), port: 443, all_addresses: false }, true),
    ];
    assert_eq!(endpoints, expected);
}

#[test]
fn kinds_of_endpoints_arrive() {
    let checked = good(
        "upstreams: { up: { endpoints: ['https://[::1]:8443', local:svc, { url: https://A.b, weight: 2 }] } }",
    );
    let up = &checked.upstreams["up"];
    assert_eq!(up.protocol, Protocol::Auto);
    let shown: Vec<_> =
        up.endpoints.iter().map(|e| (e.display.as_str(), e.address.clone(), e.tls, e.weight)).collect();
    let tcp = |host: &str, port| EndpointAddress::Tcp { host: host.into(), port, all_addresses: false };
    let expected = [
        ("[::1]:8443", tcp("::1", 8443), true, 1),
        ("local:svc", EndpointAddress::Local("svc".into()), false, 1),
        ("a.b:443", tcp("a.b", 443), true, 2),
    ];
    assert_eq!(shown, expected);
}

/// One operation with these keys, over a class and defaults.
fn upgrading(class: &str, defaults: &str, entry: &str) -> String {
    format!(
        "classes: {{ c: {{ auth: none, {class} }} }}\napis: {{ a: {{ defaults: {{ auth: none, {defaults} }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{ class: c, {entry} }} }} }} }} }} }}\n"
    )
}

#[test]
fn upgrades() {
    let entry =
        |text: &str, expected: &[&str]| check(&upgrading("", "", &format!("upgrade: {text}")), expected);
    let bad = &["error bad_upgrade 2:117"];
    for text in [
        "h2c",
        "H2C",
        "h2",
        "http/2",
        "HTTP/2.0",
        "HTTP",
        "TLS/1.0",
        "tls",
        "'tls/1.3, HTTP/1.1'",
        "''",
        "a b",
        "foo/1",
        "'websocket,foo'",
        "\"web\\0socket\"",
        "caf\u{e9}",
        "'off'",
        "'${OFF}x/'",
    ] {
        entry(text, bad);
    }
    entry("[websocket, off]", &["error bad_upgrade 2:129"]);
    entry("[websocket, h2c]", &["error bad_upgrade 2:129"]);
    entry("[websocket, WebSocket]", &["error duplicate_upgrade 2:129"]);
    entry("[]", &["error empty_list 2:117"]);
    entry("{}", &["error wrong_type 2:117"]);
    for text in ["true", "false", "on", "none", "'*'"] {
        entry(text, bad);
    }
    entry("[WebSocket, x-proto]", &[]);
    let (told, help) = message(&upgrading("", "", "upgrade: h2c"));
    assert_eq!(told, "requests in a tunnel of HTTP would pass around every rule");
    assert!(help.contains("without an upgrade"), "{help}");
    let of = |class: &str, defaults: &str, entry: &str| {
        let checked = good(&upgrading(class, defaults, entry));
        checked.apis["a"].versions["v1"].operations[0].upgrade.clone()
    };
    assert_eq!(of("", "", ""), [""; 0]);
    assert_eq!(of("", "", "upgrade: WebSocket"), ["websocket"]);
    assert_eq!(of("", "upgrade: websocket", ""), ["websocket"]);
    assert_eq!(of("upgrade: [b, a]", "upgrade: websocket", ""), ["b", "a"]);
    assert_eq!(of("upgrade: off", "upgrade: websocket", ""), [""; 0]);
    assert_eq!(of("upgrade: b", "upgrade: websocket", "upgrade: off"), [""; 0]);
    assert_eq!(of("upgrade: b", "", "upgrade: '${OFF}'"), [""; 0]);
}

#[test]
fn upgrades_loosen() {
    let with = |class: &str, entry: &str, expected: &[&str]| check(&upgrading(class, "", entry), expected);
    with("upgrade: off", "upgrade: websocket", &["note loosens_class 2:117"]);
    with("upgrade: a", "upgrade: [a, b]", &["note loosens_class 2:117"]);
    with("upgrade: [a, b]", "upgrade: b", &[]);
    with("upgrade: a", "upgrade: off", &[]);
    let changes = |old: &str, new: &str| {
        let effects = |entry: &str| effective(&good(&upgrading("", "", entry)));
        diff(&effects(old), &effects(new)).iter().map(Change::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        changes("", "upgrade: websocket"),
        ["a v1 GET /x: upgrade absent -> [\"websocket\"] (loosens: more protocols can be switched to)"]
    );
    assert_eq!(changes("upgrade: websocket", ""), ["a v1 GET /x: upgrade [\"websocket\"] -> absent"]);
}

#[test]
fn effects_of_tls_are_named() {
    let effects = |up: &str| effective(&good_with_pem(&format!("upstreams: {{ up: {{ {up} }} }}")));
    let old = effects("endpoints: 'http://a:443'");
    let new = effects(
        "endpoints: { url: https://a, weight: 2 }, tls: { ca: ca.pem, cert: a.pem, key: a.key, server_name: b }",
    );
    let keys = &new["a v1 GET /x"];
    for (key, value) in [
        ("endpoints", json!(["https://a:443 (weight 2)"])),
        ("protocol", json!("auto")),
        ("tls.ca", json!("ca.pem")),
        ("tls.cert", json!("a.pem")),
        ("tls.key", json!("a.key")),
        ("tls.server_name", json!("b")),
    ] {
        assert_eq!(keys.get(key), Some(&value), "{key}");
    }
    let changed: Vec<String> = diff(&old, &new).into_iter().map(|change| change.key).collect();
    assert_eq!(changed, ["endpoints", "tls.ca", "tls.cert", "tls.key", "tls.server_name"]);
}

/// An upgrade that can never happen looks as if it could.
#[test]
fn upgrades_that_cannot_happen_are_told() {
    let text = |protocol: &str, operation: &str| {
        format!(
            "upstreams: {{ up: {{ endpoints: http://127.0.0.1:1, protocol: {protocol} }} }}\napis: {{ a: {{ defaults: {{ auth: none }}, \
             versions: {{ v1: {{ upstream: up, operations: {{ {operation} }} }} }} }} }}\n"
        )
    };
    let rows: [(&str, &str, &[&str]); 8] = [
        ("h2", "GET /x: { upgrade: websocket }", &["warning upgrade_impossible 2:105"]),
        ("http1", "POST /x: { upgrade: websocket }", &["warning upgrade_impossible 2:106"]),
        ("auto", "PUT /x: { upgrade: websocket }", &["warning upgrade_impossible 2:105"]),
        ("auto", "POST /x: { upgrade: tcp }", &[]),
        ("h2", "POST /x: { upgrade: off }", &[]),
        ("auto", "GET /x: { upgrade: websocket }", &[]),
        ("auto", "\"* /x\": { upgrade: websocket }", &[]),
        ("h2", "POST /x: {}", &[]),
    ];
    for (protocol, operation, expected) in rows {
        check(&text(protocol, operation), expected);
    }
    // What a wider place says of many operations need not apply to each.
    check(&upgrading("upgrade: websocket", "upgrade: websocket", "").replace("GET /x", "POST /x"), &[]);
}

/// Guards against: workers without a connection to an HTTP/2 upstream answered 503 to everybody they served.
#[test]
fn an_http2_pool_that_leaves_workers_without_a_connection_is_told() {
    let rows: [(&str, &str, &str, &[&str]); 7] = [
        ("4", "h2", "pool: { connections_max: 3 }", &["warning pool_below_workers 2:90"]),
        ("auto", "h2", "pool: { connections_max: 1 }", &["warning pool_below_workers 2:90"]),
        ("auto", "h2", "pool: { connections_max: 2 }", &[]),
        ("1", "h2", "pool: { connections_max: 1 }", &[]),
        ("4", "h2", "pool: { connections_max: 4 }", &[]),
        ("4", "h2", "", &[]),
        ("4", "http1", "pool: { connections_max: 3 }", &[]),
    ];
    for (workers, protocol, pool, expected) in rows {
        let up = format!("{{ endpoints: http://127.0.0.1:1, protocol: {protocol}, {pool} }}");
        check(&format!("server: {{ workers: {workers} }}\nupstreams: {{ up: {up} }}\n"), expected);
    }
    // A default of every upstream is as narrow.
    let text = "server: { workers: 4 }\nupstream_defaults: { protocol: h2, pool: { connections_max: 3 } }\n\
                upstreams: { up: { endpoints: http://127.0.0.1:1 } }\n";
    check(text, &["warning pool_below_workers 2:61"]);
}
