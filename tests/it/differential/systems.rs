//! The servers that are held beside each other, each in front of a recording upstream of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mainstay_core::clock::Clock;

use super::recorder::{Recorder, STRICT, requests};
use crate::setup::{GUARD, Setup, connect};

/// Sent after each row: whether it is answered, and what the upstream saw of it, tells where the row's bytes ended.
const AFTER: &[u8] = b"GET /v1/after HTTP/1.1\r\nHost: after\r\nConnection: close\r\n\r\n";

/// Where clients connect to.
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What came of some bytes.
pub(crate) struct Outcome {
    /// As rows write it.
    pub(crate) text: String,
    /// All bytes of each connection to the upstream.
    pub(crate) upstream: Vec<Vec<u8>>,
}

/// A server, as far as a row is concerned.
pub(crate) struct System {
    pub(crate) door: Door,
    pub(crate) recorder: Recorder,
}

impl System {
    /// Sends bytes on a connection of their own, waits until it has ended, and says what came of it.
    pub(crate) fn outcome(&self, bytes: &[u8]) -> Outcome {
        let answers = self.exchange(&[bytes, AFTER].concat());
        let upstream = self.recorder.take();
        let seen = upstream.iter().flat_map(|bytes| requests(bytes, STRICT));
        let mut seen: Vec<String> = seen
            .filter(|request| request.is_whole)
            .map(|request| request.canonical(self.recorder.address))
            .collect();
        let mut statuses = statuses(&answers);
        let is_kept = seen.last().is_some_and(|last| last.starts_with("GET /v1/after after none"));
        if is_kept {
            seen.pop();
            statuses.pop();
        }
        Outcome { text: outcome(&seen, &statuses, is_kept), upstream }
    }

    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.door {
            Door::Tcp(address) => converse(connect(*address), bytes),
            Door::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(GUARD)).unwrap();
                converse(stream, bytes)
            }
        }
    }
}

/// An outcome without what two servers may do in two ways and mean the same: how a body is framed that arrives whole,
/// and with which status a message is refused.
pub(crate) fn loosely(outcome: &str) -> String {
    if outcome.starts_with(['4', '5']) {
        return "refused".to_owned();
    }
    let words = outcome.split(' ').filter(|word| !["none", "length", "chunked"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

fn outcome(seen: &[String], statuses: &[String], is_kept: bool) -> String {
    let mut text = seen.join(" + ");
    let all_well = statuses.len() == seen.len() && statuses.iter().all(|status| status == "200");
    if !all_well || seen.is_empty() {
        let arrow = if seen.is_empty() { "" } else { " -> " };
        let statuses = if statuses.is_empty() { "nothing".to_owned() } else { statuses.join(" ") };
        let _ = write!(text, "{arrow}{statuses}");
    }
    if !is_kept {
        text.push_str(" closed");
    }
    text
}

fn converse(mut stream: impl Read + Write, bytes: &[u8]) -> Vec<u8> {
    // Who has refused the beginning may not take the end.
    let _ = stream.write_all(bytes);
    let (mut answers, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answers,
            Ok(read) => answers.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the connection stays open"),
            // A reset is an end, too.
            Err(_) => return answers,
        }
    }
}

/// The statuses of all final answers. Bodies have a length, or end with the connection.
fn statuses(mut answers: &[u8]) -> Vec<String> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let Some(end) = answers.windows(4).position(|four| four == b"\r\n\r\n") else {
            statuses.push("unreadable".to_owned());
            break;
        };
        let head = String::from_utf8_lossy(&answers[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
        answers = answers[end + 4..].get(length..).unwrap_or_default();
        if !status.starts_with('1') {
            statuses.push(status);
        }
    }
    statuses
}

/// The engine, with short waits for what never comes.
pub(crate) async fn engine() -> (Setup, System) {
    let recorder = Recorder::start();
    let text = format!(
        "server:\n  listen: 127.0.0.1:0\n  workers: 1\n  limits: {{ header_timeout: 2s, body_timeout: 2s, idle_timeout: 2s }}\n\
         control: {{ listen: 127.0.0.1:0 }}\n\
         upstreams: {{ up: {{ endpoints: [\"http://{}\"], host: preserve }} }}\n\
         apis: {{ pay: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ \"* /{{*rest}}\": {{}} }} }} }} }} }}\n\
         telemetry: {{ log: {{ output: none }} }}\n",
        recorder.address
    );
    let setup = Setup::start_text(&text, Clock::System).await;
    let door = Door::Tcp(setup.address());
    (setup, System { door, recorder })
}

/// Another server, in a folder of its own; it ends with this value.
pub(crate) struct Peer {
    pub(crate) system: System,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn nginx() -> Peer {
    peer("nginx", &["-e", "log", "-p", ".", "-c", "config"], |door, upstream| {
        format!(
            "daemon off;\nmaster_process off;\npid pid;\nerror_log log crit;\nevents {{}}\nhttp {{\n  access_log off;\n  \
             client_header_timeout 1s;\n  client_body_timeout 1s;\n  keepalive_timeout 1s;\n  lingering_timeout 1s;\n  \
             client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  \
             uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  server {{\n    listen unix:{door};\n    location / {{\n      \
             proxy_pass http://{upstream};\n      proxy_http_version 1.1;\n      proxy_request_buffering off;\n      \
             proxy_set_header Host $http_host;\n    }}\n  }}\n}}\n"
        )
    })
}

pub(crate) fn haproxy() -> Peer {
    peer("haproxy", &["-db", "-f", "config"], |door, upstream| {
        format!(
            "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 9s\n  timeout client 1s\n  timeout server 2s\n  timeout tunnel 1s\n  \
             timeout http-request 1s\n  timeout http-keep-alive 1s\n  retries 0\nfrontend front\n  bind unix@{door}\n  \
             default_backend up\nbackend up\n  server one {upstream}\n"
        )
    })
}

fn peer(name: &str, arguments: &[&str], config: impl FnOnce(&str, SocketAddr) -> String) -> Peer {
    let program = program(name);
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let door = folder.path().join("door");
    fs::write(folder.path().join("config"), config(&door.display().to_string(), recorder.address)).unwrap();
    let output = folder.path().join("output");
    let said = File::create(&output).unwrap();
    let process = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(said.try_clone().unwrap())
        .stderr(said)
        .spawn()
        .unwrap();
    let mut peer =
        Peer { system: System { door: Door::Unix(door.clone()), recorder }, process, _folder: folder };
    while UnixStream::connect(&door).is_err() {
        let ended = peer.process.try_wait().unwrap();
        assert!(ended.is_none(), "{name} does not start: {}", fs::read_to_string(&output).unwrap());
        std::thread::yield_now();
    }
    peer
}

/// Debian keeps servers in /usr/sbin, which is not on every user's path.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|program| Path::is_file(program));
    found.unwrap_or_else(|| {
        panic!(
            "{name} is missing, which the engine is compared with; as root: apt-get install -y \
             --no-install-recommends {name} (`cargo xtask test` does it)"
        )
    })
}

/// What `nginx -v` and its like say.
pub(crate) fn version(name: &str) -> String {
    let output = Command::new(program(name)).arg("-v").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
