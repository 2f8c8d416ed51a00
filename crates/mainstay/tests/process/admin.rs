//! Who may ask a running process, and what it never says.

use std::os::unix::fs::PermissionsExt;

use crate::run::{Engine, Exchange, Payments, forward_to, request};

fn admin(engine: &Engine, target: &str, fields: &str) -> Exchange {
    let method = if target.ends_with("/reload") { "POST" } else { "GET" };
    let head =
        format!("{method} {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n");
    request(engine.control, &head)
}

#[test]
fn the_admin_api_takes_nobody_without_its_token() {
    let engine = Engine::start(&forward_to("127.0.0.1:1".parse().unwrap()));
    let host = format!("Host: {}\r\n", engine.control);
    let bearer = format!("Authorization: Bearer {}\r\n", engine.token());
    let rows = [
        (host.clone(), 401, "unauthenticated"),
        (format!("{host}Authorization: Bearer {}\r\n", "0".repeat(64)), 401, "unauthenticated"),
        (format!("{host}Authorization: Basic {}\r\n", engine.token()), 401, "unauthenticated"),
        (format!("Host: rebound.example\r\n{bearer}"), 421, "misdirected"),
        (format!("{host}Origin: https://rebound.example\r\n{bearer}"), 403, "origin_refused"),
    ];
    for target in ["/admin/v1/reload", "/admin/v1/config", "/admin/v1/versions", "/admin/v1/requests/x"] {
        for (fields, status, code) in &rows {
            let refused = admin(&engine, target, fields);
            assert_eq!(refused.status, *status, "{target} {refused:?}");
            assert_eq!(refused.json()["code"], *code, "{target} {refused:?}");
        }
    }
    for (target, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200)] {
        assert_eq!(admin(&engine, target, &host).status, status, "{target}");
        assert_eq!(admin(&engine, target, "Host: rebound.example\r\n").status, 421, "{target}");
    }
    let reloaded = admin(&engine, "/admin/v1/reload", &format!("{host}{bearer}"));
    assert_eq!((reloaded.status, &reloaded.json()["generation"]), (200, &2.into()), "{reloaded:?}");
    engine.configure("server: [");
    let refused = admin(&engine, "/admin/v1/reload", &format!("{host}{bearer}"));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(refused.json()["problems"][0]["severity"], "error", "{refused:?}");
    engine.stop();
}

#[test]
fn the_token_is_its_owners_and_is_never_printed() {
    let service = Payments::start();
    let engine = Engine::start(&forward_to(service.address));
    for name in ["mainstay.token", "mainstay.last-good.json"] {
        let mode = std::fs::metadata(engine.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(engine.process.err().contains("mainstay.token"), "{}", engine.process.err());
    let token = engine.token();
    assert!(token.len() >= 32 && !token.contains(char::is_whitespace));
    let host = format!("Host: {}\r\n", engine.control);
    let bearer = format!("{host}Authorization: Bearer {token}\r\n");
    let wrong = format!("{host}Authorization: Bearer {token}0\r\n");
    request(engine.address, &format!("GET /v1/bytes/1 HTTP/1.1\r\nConnection: close\r\n{bearer}\r\n"));
    let mut said = String::new();
    for target in [
        "/metrics",
        "/readyz",
        "/admin/v1/config",
        "/admin/v1/versions",
        "/admin/v1/upstreams",
        "/admin/v1/x",
    ] {
        said.push_str(&format!("{:?}{:?}", admin(&engine, target, &bearer), admin(&engine, target, &wrong)));
    }
    for command in [&["reload"][..], &["versions"], &["upstreams"], &["plan"], &["check"]] {
        let answer = engine.ask(command);
        assert_eq!(answer.code, 0, "{command:?} {answer:?}");
        said.push_str(&format!("{answer:?}"));
    }
    let Engine { mut process, folder, .. } = engine;
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.code(), 0);
    said.push_str(&process.err());
    said.push_str(&process.out());
    said.push_str(&std::fs::read_to_string(folder.path().join("mainstay.last-good.json")).unwrap());
    assert!(said.contains("\"started\"") && said.contains("bytes"), "{said}");
    assert!(!said.contains(&token), "{said}");
}

#[test]
fn a_token_that_others_can_read_is_not_used() {
    let folder = crate::run::folder_with(&forward_to("127.0.0.1:1".parse().unwrap()));
    let path = folder.path().join("mainstay.token");
    std::fs::write(&path, format!("{}\n", "a".repeat(64))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = crate::run::ask(folder.path(), &["run"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("mainstay.token") && refused.err.contains("chmod 600"), "{refused:?}");
}
