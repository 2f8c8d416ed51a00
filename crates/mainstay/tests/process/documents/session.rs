//! What a reader of a document has before him: a folder, a configuration, an engine that runs, a shell.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::run::{Answer, Payments, Process, any_port, ask};

/// The configuration that a document begins with; fragments take the place of its keys.
const BASE: &str = "server:\n  listen: 127.0.0.1:8080\nupstreams:\n  payments: { endpoints: [http://127.0.0.1:9001, http://127.0.0.1:9002] }\n  \
    rates: { endpoints: [http://127.0.0.1:9004] }\napis:\n  payments:\n    defaults: { auth: none }\n    versions:\n      v1:\n        upstream: payments\n        \
    operations: { \"GET /payments/{id}\": {} }\n";

/// The file of a team, which a sample may include.
const TEAM: &str = "upstreams: { team-rates: { endpoints: [http://127.0.0.1:9004] } }\napis:\n  team-rates:\n    base_path: /team\n    defaults: { auth: none }\n    \
    versions: { v1: { upstream: team-rates, operations: { \"GET /rates/{pair}\": {} } } }\n";

/// Ports that were free may be taken by others; so often others are tried.
const STARTS_MAX: usize = 10;

pub(super) struct Session {
    folder: tempfile::TempDir,
    services: [Payments; 3],
    /// In place of 8080 and 9090.
    ports: [u16; 2],
    engine: Option<Process>,
    /// What a reader would have copied from the last answers: variables of the shell.
    copied: BTreeMap<&'static str, String>,
}

/// Members of answers in JSON, and what documents call them.
const COPIED: [(&str, &str); 3] = [("id", "KEY_ID"), ("key", "KEY"), ("token", "TOKEN")];

impl Session {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["bin", "openapi", "teams/rates"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mainstay"), folder.path().join("bin/mainstay"))
            .unwrap();
        write("openapi/payments-v1.yaml", mainstay_payments::OPENAPI_V1);
        write("openapi/payments-v2.yaml", mainstay_payments::OPENAPI_V2);
        write("teams/rates/mainstay.yaml", TEAM);
        write("sample.yaml", BASE);
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/permissions");
        copy(&example, &folder.path().join("examples/permissions"));
        for name in ["policies", "policies-next"] {
            let to = folder.path().join(name).join("payments");
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(example.join("policies/payments/refunds.cedar"), to.join("refunds.cedar")).unwrap();
        }
        let services = [Payments::start(), Payments::start(), Payments::start()];
        let mut session =
            Self { folder, services, ports: free_ports(), engine: None, copied: BTreeMap::new() };
        session.write_configuration();
        session
    }

    /// A whole configuration: it passes the check, and the commands after it find it.
    pub(super) fn configure(&mut self, text: &str) -> Result<(), String> {
        self.stop_engine()?;
        std::fs::write(self.folder.path().join("sample.yaml"), text).unwrap();
        self.write_configuration();
        passes(&ask(self.folder.path(), &["check", "mainstay.yaml"]))
    }

    /// A part of a configuration: whole keys of the file, which stand in place of those of [`BASE`].
    pub(super) fn check_fragment(&self, text: &str) -> Result<(), String> {
        if text.starts_with(' ') {
            return Err("a fragment begins in the first column, with a key of the file".into());
        }
        let given: Vec<_> = text.lines().filter_map(top_key).collect();
        let mut merged = String::new();
        let mut kept = true;
        for line in BASE.lines() {
            if let Some(key) = top_key(line) {
                kept = !given.contains(&key);
            }
            if kept {
                merged.push_str(&format!("{line}\n"));
            }
        }
        std::fs::write(self.folder.path().join("fragment.yaml"), merged + text).unwrap();
        passes(&ask(self.folder.path(), &["check", "fragment.yaml"]))
    }

    /// Each line is a command that succeeds, or ends as its comment says.
    pub(super) fn type_lines(&mut self, text: &str) -> Result<(), String> {
        let joined = text.replace("\\\n", " ");
        joined
            .lines()
            .filter(|line| !line.trim().is_empty())
            .try_for_each(|line| self.type_line(line).map(drop))
    }

    /// Lines with `$ ` are commands; each line after one is a line of its output.
    pub(super) fn converse(&mut self, text: &str) -> Result<(), String> {
        let mut output = String::new();
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                output = self.type_line(command)?;
            } else if !output.lines().any(|printed| printed.trim_end() == line.trim_end()) {
                return Err(format!("`{line}` is not in:\n{output}"));
            }
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<(), String> {
        self.stop_engine()
    }

    fn type_line(&mut self, typed: &str) -> Result<String, String> {
        let (line, comment) = typed.split_once(" # ").unwrap_or((typed, ""));
        let line = line.trim().replace("cargo run --release -- ", "mainstay ");
        match line.split(' ').take(2).collect::<Vec<_>>()[..] {
            // It is what runs this test.
            ["cargo", "xtask"] => return Ok(String::new()),
            ["mainstay", "demo"] => return self.demo(&line),
            ["mainstay", "run"] => return self.start_engine(&line).map(|()| String::new()),
            ["curl" | "kill", _] => self.engine_runs()?,
            ["mainstay", "reload" | "versions" | "upstreams" | "plan"] => self.engine_runs()?,
            ["mainstay", "consumer" | "key" | "token" | "client" | "user" | "audit" | "backup"] => {
                self.engine_runs()?;
            }
            ["mainstay", "restore" | "migrate" | "secret-key"] => self.stop_engine()?,
            _ if line.contains("--request-id") => self.engine_runs()?,
            _ => {}
        }
        let output = self.shell(&line);
        let text = self.as_written(&String::from_utf8_lossy(&output.stdout));
        let code = output.status.code().unwrap_or(-1);
        let expected = comment.strip_prefix("exit code ").map_or(0, |rest| number(rest).unwrap_or(-1));
        if code != expected {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{typed}`: exit code {code}\n{text}{errors}"));
        }
        self.copy(&text);
        match number(comment).filter(|_| line.starts_with("curl")) {
            Some(status) if !text.contains(&format!("HTTP/1.1 {status} ")) => {
                Err(format!("`{typed}` is answered\n{text}"))
            }
            _ => Ok(text),
        }
    }

    fn copy(&mut self, text: &str) {
        let answers = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for answer in answers {
            for (member, variable) in COPIED {
                if let Some(value) = answer[member].as_str() {
                    self.copied.insert(variable, value.to_owned());
                }
            }
        }
    }

    fn shell(&self, line: &str) -> Output {
        let pid = self.engine.as_ref().map_or(String::new(), |engine| engine.id().to_string());
        // There are engines of other tests on this machine.
        let line = self.with_ports(line).replace("$(pidof mainstay)", &pid);
        self.shell_command(&line).output().unwrap()
    }

    fn shell_command(&self, line: &str) -> Command {
        let path = format!(
            "{}:{}",
            self.folder.path().join("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path()).env("PATH", path).envs(&self.copied);
        command.stdin(Stdio::null());
        command
    }

    fn demo(&self, line: &str) -> Result<String, String> {
        let mut demo = Process::start(&mut self.shell_command(&format!("exec {line}")));
        let text = demo.out_until(|text| text.contains("Stop with Ctrl-C.").then(|| text.to_owned()));
        demo.signal(Signal::INT);
        match demo.code() {
            0 => Ok(text),
            code => Err(format!("`{line}`: exit code {code}\n{}", demo.err())),
        }
    }

    fn engine_runs(&mut self) -> Result<(), String> {
        if self.engine.is_some() { Ok(()) } else { self.start_engine("mainstay run") }
    }

    fn start_engine(&mut self, line: &str) -> Result<(), String> {
        self.stop_engine()?;
        for _ in 0..STARTS_MAX {
            let mut engine = Process::start(&mut self.shell_command(&format!("exec {line}")));
            if engine.started() {
                self.engine = Some(engine);
                return Ok(());
            }
            if !engine.err().contains("in use") {
                return Err(format!("`{line}` did not start\n{}", engine.err()));
            }
            self.ports = free_ports();
            self.write_configuration();
        }
        Err(format!("`{line}`: no free port"))
    }

    fn stop_engine(&mut self) -> Result<(), String> {
        let Some(mut engine) = self.engine.take() else { return Ok(()) };
        engine.signal(Signal::TERM);
        match engine.code() {
            0 => Ok(()),
            code => Err(format!("the engine ended with {code}\n{}", engine.err())),
        }
    }

    /// The sample with the ports of this session, as `mainstay.yaml`.
    fn write_configuration(&mut self) {
        let mut text = std::fs::read_to_string(self.folder.path().join("sample.yaml")).unwrap();
        for (key, port) in [("server", 8080), ("control", 9090)] {
            if !text.lines().any(|line| top_key(line) == Some(key)) {
                text.push_str(&format!("\n{key}: {{ listen: 127.0.0.1:{port} }}\n"));
            }
        }
        std::fs::write(self.folder.path().join("mainstay.yaml"), self.with_ports(&text)).unwrap();
    }

    fn ports(&self) -> [(&'static str, SocketAddr); 5] {
        let [engine, control] = self.ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let [a, b, rates] = [0, 1, 2].map(|service: usize| self.services[service].address);
        [
            ("127.0.0.1:8080", engine),
            ("127.0.0.1:9090", control),
            ("127.0.0.1:9001", a),
            ("127.0.0.1:9002", b),
            ("127.0.0.1:9004", rates),
        ]
    }

    fn with_ports(&self, text: &str) -> String {
        self.ports().iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, &to.to_string()))
    }

    /// Output as a document shows it.
    fn as_written(&self, text: &str) -> String {
        self.ports().iter().fold(text.to_owned(), |text, (to, from)| text.replace(&from.to_string(), to))
    }
}

fn free_ports() -> [u16; 2] {
    // Both are held until both are known, so that they differ.
    let held = [0, 1].map(|_: u8| TcpListener::bind(any_port()).unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn passes(check: &Answer) -> Result<(), String> {
    if check.code == 0 { Ok(()) } else { Err(check.err.clone()) }
}

/// The key of the file that a line begins with.
fn top_key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key).filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The number that a text begins with.
fn number(text: &str) -> Option<i32> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}
