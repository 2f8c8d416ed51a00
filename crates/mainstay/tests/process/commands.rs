//! Each command as it is typed: what it prints, and its exit code.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::run::{Engine, Payments, ask, folder_with, forward_to, get, request};

const DEPRECATED: &str = "server:\n  listen: 127.0.0.1:0\n  workers: 2\ncontrol: { listen: 127.0.0.1:0 }\nupstreams:\n  up: { endpoints: [\"http://UP\"] }\n\
    apis:\n  pay:\n    owner: team-pay\n    defaults: { auth: none }\n    versions:\n      v1:\n        upstream: up\n        \
    lifecycle: { deprecated: 2026-01-01, sunset: 2099-01-01, successor: v2 }\n        operations:\n          \"GET /bytes/{n}\": {}\n      \
    v2:\n        upstream: up\n        operations:\n          \"GET /bytes/{n}\": {}\n          \"POST /upload\": { body: 64KiB }\n";

fn deprecated(service: &Payments) -> String {
    DEPRECATED.replace("UP", &service.address.to_string())
}

#[test]
fn usage_errors_are_2_and_an_engine_that_is_not_there_is_3() {
    let folder = folder_with(&forward_to("127.0.0.1:1".parse().unwrap()));
    let rows: &[(&[&str], i32, &str)] = &[
        (&[], 2, "Usage: mainstay"),
        (&["serve"], 2, "unrecognized subcommand 'serve'"),
        (&["run", "--fast"], 2, "--fast"),
        (&["check", "--output", "xml"], 2, "xml"),
        (&["init", "--openapi", "a.yaml"], 2, "--upstream"),
        (&["explain", "mainstay.yaml"], 2, "FILE METHOD URL"),
        (&["explain", "mainstay.yaml", "GET", "v1/x"], 2, "begins with /"),
        (&["explain", "GET", "/v1/x", "--at", "tomorrow"], 2, "--at"),
        (&["explain", "GET", "/v1/x", "--request-id", "1"], 2, "--request-id"),
        (&["reload", "--admin", "http://127.0.0.1:1"], 2, "--token-file"),
        (&["reload", "--admin", "ftp://127.0.0.1:1", "--token-file", "t"], 2, "http or https"),
        (&["reload", "--admin", "http://192.0.2.1:1", "--token-file", "t"], 2, "on loopback only"),
        (&["versions", "-c", "nowhere.yaml"], 2, "does not tell where the engine is"),
        // No token: no engine has ever been started here.
        (&["reload"], 3, "start the engine once"),
        (&["--version"], 0, "mainstay "),
        (&["--help"], 0, "Usage: mainstay"),
    ];
    let check = |arguments: &[&str], code, part: &str| {
        let answer = ask(folder.path(), arguments);
        assert_eq!(answer.code, code, "{arguments:?} {answer:?}");
        assert!(format!("{}{}", answer.out, answer.err).contains(part), "{arguments:?} {answer:?}");
    };
    for (arguments, code, part) in rows {
        check(arguments, *code, part);
    }
    std::fs::write(folder.path().join("t"), format!("{}\n", "a".repeat(64))).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path().join("t"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let nobody = ["--admin", "http://127.0.0.1:1", "--token-file", "t"];
    for command in
        [&["reload"][..], &["versions"], &["upstreams"], &["plan"], &["explain", "--request-id", "x"]]
    {
        check(&[command, &nobody].concat(), 3, "no engine is reachable at http://127.0.0.1:1");
    }
}

#[test]
fn versions_and_upstreams_show_the_running_engine() {
    let service = Payments::start();
    let engine = Engine::start(&deprecated(&service));
    for path in ["/v1/bytes/1", "/v1/bytes/2", "/v2/bytes/1"] {
        assert_eq!(engine.get(path).status, 200);
    }
    let versions = engine.ask(&["versions"]);
    assert_eq!(versions.code, 0, "{versions:?}");
    assert_eq!(
        versions.out,
        "pay v1  deprecated  deprecated 2026-01-01T00:00:00Z  sunset 2099-01-01T00:00:00Z  successor v2\n    \
         2 requests from 127.0.0.1\npay v2  current\n"
    );
    let items = engine.ask(&["versions", "--output", "json"]).json();
    assert_eq!(items["items"][0]["callers"][0]["requests"], 2, "{items}");
    let metrics = engine.control("/metrics").body;
    assert!(
        metrics.contains(
            "mainstay_deprecated_requests_total{api=\"pay\",consumer=\"anonymous\",version=\"v1\"} 2"
        ),
        "{metrics}"
    );
    let upstreams = engine.ask(&["upstreams"]);
    assert_eq!(upstreams.code, 0, "{upstreams:?}");
    let endpoint = format!("    {0}  [{0}]  ", service.address);
    assert!(upstreams.out.starts_with(&format!("up\n{endpoint}")), "{upstreams:?}");
    let items = engine.ask(&["upstreams", "--output", "json"]).json();
    assert_eq!(items["items"][0]["endpoints"][0]["connections_max"], 256, "{items}");
    // Another token than the engine's.
    let other = folder_with("");
    let path = other.path().join("mainstay.token");
    std::fs::copy(engine.path("mainstay.token"), &path).unwrap();
    std::fs::write(&path, "b".repeat(64)).unwrap();
    let admin = format!("http://{}", engine.control);
    let refused = ask(other.path(), &["versions", "--admin", &admin, "--token-file", "mainstay.token"]);
    assert!(refused.code == 1 && refused.err.contains("right token file"), "{refused:?}");
    engine.stop();
}

#[test]
fn plan_says_what_would_change_and_whether_it_loosens() {
    let service = Payments::start();
    let engine = Engine::start(&deprecated(&service));
    let same = engine.ask(&["plan", "mainstay.yaml"]);
    assert_eq!((same.code, same.out.as_str()), (0, "no change\n"), "{same:?}");
    for (size, code) in [("1KiB", 0), ("2MiB", 1)] {
        std::fs::write(engine.path("new.yaml"), deprecated(&service).replace("64KiB", size)).unwrap();
        let plan = engine.ask(&["plan", "new.yaml"]);
        assert_eq!(plan.code, code, "{plan:?}");
        assert!(plan.out.contains("body") && plan.out.contains("pay v2 POST /upload"), "{plan:?}");
        assert_eq!(plan.out.lines().count(), 1, "{plan:?}");
        let plan = engine.ask(&["plan", "new.yaml", "--output", "json"]);
        assert_eq!((plan.code, &plan.json()["loosens"]), (code, &(code == 1).into()), "{plan:?}");
    }
    std::fs::write(engine.path("new.yaml"), "servr: {}\n").unwrap();
    let bad = engine.ask(&["plan", "new.yaml"]);
    assert!(bad.code == 1 && bad.err.contains("new.yaml:1:1: error"), "{bad:?}");
    engine.stop();
}

#[test]
fn explain_says_what_the_engine_does() {
    let service = Payments::start();
    let engine = Engine::start(&deprecated(&service));
    let rows = [
        ("GET", "/v1/bytes/1", 0, "pay v1 GET /bytes/{n}"),
        ("GET", "/v2/bytes/1", 0, "sent as GET /v2/bytes/1"),
        ("OPTIONS", "/v2/bytes/1", 0, "GET, HEAD, OPTIONS"),
        ("POST", "/v2/bytes/1", 1, "405 method_not_allowed"),
        ("GET", "/v2/nothing", 1, "404 not_found"),
        ("GET", "/v3/bytes/1", 1, "404 unknown_version"),
        ("GET", "/v2/%2e%2e/x", 1, "400 ambiguous_path"),
    ];
    for (method, path, code, part) in rows {
        let url = format!("http://{}{path}", engine.address);
        let explained = engine.ask(&["explain", method, &url]);
        assert_eq!(explained.code, code, "{explained:?}");
        assert!(explained.out.contains(part), "{method} {path} {explained:?}");
        let json = engine.ask(&["explain", "mainstay.yaml", method, path, "--output", "json"]).json();
        assert_eq!(json["served"], code == 0, "{json}");
        let bytes = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answered = request(engine.address, &bytes);
        assert_eq!(answered.status < 400, code == 0, "{path} {answered:?}");
        if code == 1 {
            assert_eq!(answered.json()["code"], json["problem"], "{path}");
        }
    }
    let later = ["explain", "GET", "/v1/bytes/1", "--at", "2099-02-01"];
    let retired = engine.ask(&later);
    assert!(retired.code == 1 && retired.out.contains("410 version_retired"), "{retired:?}");
    let unreadable = engine.ask(&["explain", "nowhere.yaml", "GET", "/v1/x"]);
    assert!(unreadable.code == 1 && unreadable.err.contains("nowhere.yaml"), "{unreadable:?}");
    engine.stop();
}

#[test]
fn explain_remembers_a_request_that_failed() {
    let engine = Engine::start(&forward_to("127.0.0.1:1".parse().unwrap()));
    let bytes = "GET /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: look-for-me-1\r\nConnection: close\r\n\r\n";
    assert_eq!(request(engine.address, bytes).json()["code"], "upstream_refused");
    let told = engine.ask(&["explain", "--request-id", "look-for-me-1"]);
    assert_eq!(told.code, 0, "{told:?}");
    let fields: Vec<_> = told.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    for field in [["request_id", "look-for-me-1"], ["status", "502"], ["problem", "upstream_refused"]] {
        assert!(fields.contains(&field.to_vec()), "{field:?} {told:?}");
    }
    let json = engine.ask(&["explain", "--request-id", "look-for-me-1", "--output", "json"]).json();
    assert_eq!(json["status"], 502, "{json}");
    for unknown in ["never-seen-1", "../versions", "%"] {
        let told = engine.ask(&["explain", "--request-id", unknown]);
        assert!(told.code == 1 && told.err.contains("does not remember"), "{unknown} {told:?}");
    }
    engine.stop();
}

#[test]
fn check_tells_every_problem_with_its_place() {
    let service = Payments::start();
    let folder = folder_with(&deprecated(&service));
    let good = ask(folder.path(), &["check", "mainstay.yaml"]);
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{good:?}");
    assert!(good.out.starts_with("ok: 1 apis, 3 operations, 1 upstreams (digest "), "{good:?}");
    let json = ask(folder.path(), &["check", "--output", "json"]);
    assert_eq!((json.code, json.out.as_str()), (0, "{\"ok\":true,\"problems\":[]}\n"));
    let wrong = deprecated(&service)
        .replace("workers: 2", "wrokers: 2")
        .replace("64KiB", "64KB")
        .replace("successor: v2", "successor: v3");
    std::fs::write(folder.path().join("wrong.yaml"), &wrong).unwrap();
    let text = ask(folder.path(), &["check", "wrong.yaml"]);
    assert_eq!((text.code, text.out.as_str()), (1, ""), "{text:?}");
    let json = ask(folder.path(), &["check", "wrong.yaml", "--output", "json"]);
    assert_eq!((json.code, json.err.as_str()), (1, ""), "{json:?}");
    let json = json.json();
    assert_eq!(keys(&json), ["ok", "problems"].into());
    assert_eq!(json["ok"], false);
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
    for problem in problems {
        let expected = ["severity", "code", "message", "file", "line", "column", "key", "help"];
        assert_eq!(keys(problem), expected.into(), "{problem}");
        let (line, column) = (problem["line"].as_u64().unwrap(), problem["column"].as_u64().unwrap());
        let source = wrong.lines().nth(line as usize - 1).unwrap();
        let at = format!("wrong.yaml:{line}:{column}: error: ");
        assert!(text.err.contains(&at) && text.err.contains(source), "{at} {text:?}");
    }
    assert!(text.err.contains("did you mean `workers`?"), "{text:?}");
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn check_compares_with_an_older_file() {
    let service = Payments::start();
    let folder = folder_with(&deprecated(&service));
    let rows = [
        ("64KiB", "2MiB", 0, "note: "),
        ("64KiB", "1KiB", 0, ""),
        ("sunset: 2099-01-01", "sunset: 2098-01-01", 1, "sunset_moved_earlier"),
        ("sunset: 2099-01-01", "sunset: 2100-01-01", 0, ""),
    ];
    for (old, new, code, part) in rows {
        std::fs::write(folder.path().join("new.yaml"), deprecated(&service).replace(old, new)).unwrap();
        let told = ask(folder.path(), &["check", "new.yaml", "--against", "mainstay.yaml"]);
        assert_eq!(told.code, code, "{new} {told:?}");
        assert!(told.err.contains(part) && told.err.is_empty() == part.is_empty(), "{new} {told:?}");
    }
}

#[test]
fn a_missing_variable_is_an_error_that_can_be_a_warning() {
    let service = Payments::start();
    let folder = folder_with(&deprecated(&service).replace("64KiB", "\"${MAINSTAY_TEST_NOWHERE}\""));
    let told = ask(folder.path(), &["check"]);
    assert!(told.code == 1 && told.err.contains("MAINSTAY_TEST_NOWHERE"), "{told:?}");
    let told = ask(folder.path(), &["check", "--allow-missing-env"]);
    assert!(told.code == 0 && told.err.contains("warning: "), "{told:?}");
}

#[test]
fn the_schema_is_the_committed_one() {
    let folder = folder_with("");
    let schema = ask(folder.path(), &["schema"]);
    assert_eq!(schema.code, 0, "{schema:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mainstay.schema.json");
    assert_eq!(schema.out, std::fs::read_to_string(path).unwrap());
}

#[test]
fn a_start_passes_and_one_from_a_document_serves() {
    let folder = folder_with("");
    let starter = ask(folder.path(), &["init"]);
    std::fs::write(folder.path().join("starter.yaml"), &starter.out).unwrap();
    assert_eq!(starter.code, 0);
    assert_eq!(ask(folder.path(), &["check", "starter.yaml"]).code, 0);
    let service = Payments::start();
    for (document, path) in [
        (mainstay_payments::OPENAPI_V1, "/payments/pay_000001"),
        (mainstay_payments::OPENAPI_V2, "/payments/pay_000001"),
    ] {
        std::fs::write(folder.path().join("api.yaml"), document).unwrap();
        let upstream = format!("http://{}", service.address);
        let made = ask(folder.path(), &["init", "--openapi", "api.yaml", "--upstream", &upstream]);
        assert_eq!(made.code, 0, "{made:?}");
        let made = made.out.replace("127.0.0.1:8080", "127.0.0.1:0");
        let engine_folder = folder_with(&format!("{made}\ncontrol: {{ listen: 127.0.0.1:0 }}\n"));
        std::fs::write(engine_folder.path().join("api.yaml"), document).unwrap();
        let version = if made.contains("      v2:") { "/v2" } else { "/v1" };
        let engine = Engine::start_in(engine_folder);
        let answered = get(engine.address, &format!("{version}{path}"));
        assert_eq!(answered.status, 200, "{answered:?}\n{made}");
        engine.stop();
    }
    for (arguments, part) in [
        (["--openapi", "nowhere.yaml", "--upstream", "http://127.0.0.1:1"], "nowhere.yaml"),
        (["--openapi", "api.yaml", "--upstream", "ftp://127.0.0.1:1"], "ftp://"),
        (["--openapi", "starter.yaml", "--upstream", "http://127.0.0.1:1"], "starter.yaml"),
    ] {
        let refused = ask(folder.path(), &[&["init"][..], &arguments].concat());
        assert!(refused.code == 1 && refused.out.is_empty(), "{refused:?}");
        assert!(refused.err.contains(part), "{refused:?}");
    }
}
