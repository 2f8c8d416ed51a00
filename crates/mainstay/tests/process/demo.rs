//! The demo as a new user meets it: what it prints is typed, and answers as it says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::run::{Process, ask, get, mainstay, request, until};

/// What the demo has printed when it is ready.
struct Demo {
    process: Process,
    introduction: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = mainstay(Path::new("/"));
        command.arg("demo").args(arguments);
        let process = Process::start(&mut command);
        let last_line = "Stop with Ctrl-C.\n";
        let introduction = process
            .out_until(|text| text.find(last_line).map(|end| text[..end + last_line.len()].to_owned()));
        Self { process, introduction }
    }

    /// The second word of the line that begins so, an address.
    #[track_caller]
    fn address(&self, label: &str) -> SocketAddr {
        let rest = self.after(label);
        rest.strip_prefix("http://").and_then(|url| url.parse().ok()).unwrap_or_else(|| panic!("{rest}"))
    }

    #[track_caller]
    fn after(&self, label: &str) -> &str {
        let line = self.introduction.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("{label}: {}", self.introduction))
    }

    /// The commands to try, with the line that says what each shows.
    fn commands(&self) -> Vec<(&str, &str)> {
        let lines: Vec<_> = self.introduction.lines().map(str::trim_start).collect();
        let pairs = lines.windows(2).filter(|pair| pair[1].starts_with("curl "));
        pairs.map(|pair| (pair[0].trim_start_matches("# "), pair[1])).collect()
    }

    fn stop(mut self, signal: Signal) -> String {
        self.process.signal(signal);
        assert_eq!(self.process.code(), 0, "{}", self.process.err());
        self.process.out()
    }
}

/// A line of a shell as its words; the commands quote with single quotes alone.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
            continue;
        }
        for (nth, word) in part.split(' ').enumerate() {
            if nth > 0 {
                words.push(String::new());
            }
            words.last_mut().unwrap().push_str(word);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Head and body that the command prints, by curl where there is one.
fn typed(line: &str) -> (String, String) {
    let words = words(line);
    let text = match Command::new("curl").args(["-sS", "-i"]).args(&words[1..]).output() {
        Ok(output) => {
            assert!(output.status.success(), "{line}\n{output:?}");
            String::from_utf8(output.stdout).unwrap()
        }
        Err(_no_curl) => by_hand(&words),
    };
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{line}\n{text}"));
    (head.to_owned(), body.to_owned())
}

/// The request that curl would make of these words.
fn by_hand(words: &[String]) -> String {
    let after = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        Some(words[at + 1].as_str())
    };
    let url = words.iter().find_map(|word| word.strip_prefix("http://")).expect("a URL");
    let (host, path) = url.split_once('/').expect("a path");
    let body = after("-d").unwrap_or_default();
    let method = after("-X").unwrap_or(if body.is_empty() { "GET" } else { "POST" });
    let fields = after("-H").map(|field| format!("{field}\r\n")).unwrap_or_default();
    let answer = request(
        host.parse().unwrap(),
        &format!(
            "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        ),
    );
    format!("{}\r\n\r\n{}", answer.head, answer.body)
}

#[test]
fn the_five_commands_answer_as_the_demo_says() {
    let demo = Demo::start(&[]);
    let commands = demo.commands();
    assert_eq!(commands.len(), 5, "{}", demo.introduction);
    let json = |body: &str| -> Value { serde_json::from_str(body).unwrap() };
    for (nth, (what, line)) in commands.into_iter().enumerate() {
        let (head, body) = typed(line);
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        let shown = format!("{what}\n{head}\n{body}");
        match nth {
            0 => {
                assert_eq!((status.as_str(), &json(&body)["id"]), ("200", &"pay_000001".into()), "{shown}");
                for field in ["\ndeprecation: @", "\nsunset: ", "rel=\"successor-version\""] {
                    assert!(head.contains(field), "{field} {shown}");
                }
                assert!(what.contains("old version"), "{shown}");
            }
            1 => {
                assert_eq!(status, "201", "{shown}");
                assert!(json(&body)["id"].is_string() && !head.contains("deprecation"), "{shown}");
                assert!(what.contains("new version"), "{shown}");
            }
            2 => {
                assert_eq!((status.as_str(), body.matches("data:").count()), ("200", 3), "{shown}");
                assert!(what.contains("events"), "{shown}");
            }
            3 => {
                let problem = json(&body);
                assert_eq!((status.as_str(), &problem["code"]), ("404", &"not_found".into()), "{shown}");
                assert!(problem["help"].is_string() && what.contains("does not exist"), "{shown}");
            }
            _ => {
                assert_eq!(json(&body)["code"], "method_not_allowed", "{shown}");
                assert!(status == "405" && head.contains("\nallow: get, head, options"), "{shown}");
                assert!(what.contains("method"), "{shown}");
            }
        }
    }
    let out = demo.stop(Signal::INT);
    assert!(out.ends_with("stopped\n"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("{\"ts\"")).count(), 5, "{out}");
}

#[test]
fn the_demo_can_be_asked_about_and_leaves_nothing_behind() {
    let demo = Demo::start(&[]);
    let (engine, control) = (demo.address("the engine"), demo.address("control"));
    let configuration = demo.after("configuration").to_owned();
    assert_eq!(get(demo.address("payments service"), "/v1/payments/pay_000001").status, 200);
    assert_eq!(get(engine, "/healthz").status, 200);
    assert_eq!(get(control, "/readyz").status, 200);
    let versions = ask(Path::new("/"), &["versions", "-c", &configuration]);
    assert!(versions.code == 0 && versions.out.contains("v1  deprecated"), "{versions:?}");
    // What it was started with is a file that can be changed.
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, text.replace("/healthz", "/alive")).unwrap();
    demo.process.signal(Signal::HUP);
    demo.process.event("config_reloaded", 1);
    assert_eq!(get(engine, "/alive").status, 200);
    demo.stop(Signal::TERM);
    assert!(!Path::new(&configuration).exists());
    assert!(std::net::TcpStream::connect(engine).is_err());
}

#[test]
fn two_demos_do_not_get_in_each_others_way() {
    let demos = [Demo::start(&[]), Demo::start(&[])];
    assert_ne!(demos[0].address("the engine"), demos[1].address("the engine"));
    for demo in demos {
        assert_eq!(get(demo.address("the engine"), "/v2/banks").status, 200);
        demo.stop(Signal::INT);
    }
}

#[test]
fn traffic_shows_in_the_metrics_and_none_of_it_is_lost() {
    let demo = Demo::start(&["--traffic"]);
    let control = demo.address("control");
    assert!(demo.introduction.contains("requests a second"), "{}", demo.introduction);
    let counted = |part: &str| {
        let metrics = get(control, "/metrics").body;
        let counts = metrics.lines().filter(|line| {
            line.starts_with("http_server_request_duration_seconds_count{") && line.contains(part)
        });
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    until(|| counted("version=\"v1\"") > 0 && counted("version=\"v2\"") > 3);
    let out = demo.stop(Signal::TERM);
    let words: Vec<_> = out.lines().find(|line| line.starts_with("traffic: ")).unwrap().split(' ').collect();
    assert_eq!((words[1], words[2], words[4]), (words[3], "requests,", "answered"), "{out}");
    assert!(words[1].parse::<u64>().unwrap() > 3, "{out}");
}
