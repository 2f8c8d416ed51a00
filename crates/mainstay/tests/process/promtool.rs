//! Prometheus' own checker reads a scrape of a running engine.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::run::{Process, get, mainstay};

/// `promtool`, as it is on the path or as `cargo xtask test` has put it among its tools.
fn promtool() -> Option<Command> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/promtool/bin/promtool");
    let candidates = [own.to_str().unwrap(), "promtool"];
    let answers =
        |program: &&str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    candidates.into_iter().find(answers).map(Command::new)
}

/// What `promtool check metrics` says, and whether it is content.
fn check(mut promtool: Command, text: &str) -> (bool, String) {
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), format!("{output:?}"))
}

#[test]
fn promtool_accepts_a_scrape() {
    if promtool().is_none() {
        println!("SKIPPED: there is no promtool here; `cargo xtask test` fetches it where there is apt-get");
        return;
    }
    let mut demo = Process::start(mainstay(Path::new("/")).arg("demo"));
    let started = demo.event("started", 1);
    let address = |key: &str| started[key].as_str().unwrap().parse().unwrap();
    for path in ["/v1/banks", "/v2/payments", "/nowhere"] {
        get(address("listen"), path);
    }
    demo.signal(Signal::HUP);
    demo.event("config_reloaded", 1);
    let scrape = get(address("control"), "/metrics").body;
    demo.signal(Signal::TERM);
    assert_eq!(demo.code(), 0);
    assert!(scrape.contains("http_server_request_duration_seconds_bucket"), "{scrape}");
    let (content, said) = check(promtool().unwrap(), &scrape);
    assert!(content, "{said}\n{scrape}");
    // It does look: what it is to refuse, it refuses.
    for wrong in [scrape.replace("le=\"+Inf\"", "le=\"inf\"x"), scrape.replace("_total", "_count")] {
        let (content, said) = check(promtool().unwrap(), &wrong);
        assert!(!content, "{said}");
    }
}
