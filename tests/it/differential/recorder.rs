//! An upstream that records every byte, and reads it in its own way: it shares no code with the engine.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::setup::{GUARD, any_port};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Answers the first request of each connection with 200, and reads on until the connection is closed.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<Recorded>, Condvar)>,
}

#[derive(Default)]
struct Recorded {
    /// All bytes of each connection, in the order in which they were opened.
    connections: Vec<Vec<u8>>,
    open: usize,
    /// Ports that connections came from.
    accepted: HashSet<u16>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(any_port()).unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<(Mutex<Recorded>, Condvar)> = Arc::default();
        let inside = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                let shared = Arc::clone(&inside);
                let number = shared.0.lock().unwrap().opened(from.port());
                std::thread::spawn(move || {
                    let bytes = record(stream);
                    let mut recorded = shared.0.lock().unwrap();
                    recorded.connections[number] = bytes;
                    recorded.open -= 1;
                    shared.1.notify_all();
                });
            }
        });
        Self { address, shared }
    }

    /// What has come since the last time, once all of it is there: a connection that was opened before this call is
    /// accepted before the one that is opened here, and all are waited for until they have ended.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        let port = TcpStream::connect(self.address).unwrap().local_addr().unwrap().port();
        let (recorded, changed) = &*self.shared;
        let is_missing = |recorded: &mut Recorded| recorded.open > 0 || !recorded.accepted.contains(&port);
        let waited = changed.wait_timeout_while(recorded.lock().unwrap(), GUARD, is_missing).unwrap();
        assert!(!waited.1.timed_out(), "a connection to the upstream stays open");
        let mut recorded = waited.0;
        recorded.accepted.clear();
        let all = std::mem::take(&mut recorded.connections);
        all.into_iter().filter(|bytes| !bytes.is_empty()).collect()
    }
}

impl Recorded {
    fn opened(&mut self, port: u16) -> usize {
        self.accepted.insert(port);
        self.open += 1;
        self.connections.push(Vec::new());
        self.connections.len() - 1
    }
}

fn record(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(GUARD)).unwrap();
    let (mut bytes, mut buffer, mut has_answered) = (Vec::new(), [0; 65_536], false);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        if !has_answered && requests(&bytes, STRICT).iter().any(|request| request.is_whole) {
            has_answered = true;
            // Who asked may have gone; then reading ends as well.
            let _ = stream.write_all(ANSWER);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }
    bytes
}

/// How bytes are read where servers differ.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// A line feed ends a line, with or without a carriage return before it.
    bare_line_feeds: bool,
    /// Content-Length counts even beside Transfer-Encoding.
    length_first: bool,
    /// Spaces before the colon, `_` for `-`, and any value with `chunked` in it are taken.
    sloppy_names: bool,
    /// Fields that stand twice: the first counts, not the last.
    first_counts: bool,
}

pub(crate) const STRICT: Reading =
    Reading { bare_line_feeds: false, length_first: false, sloppy_names: false, first_counts: true };

/// Ways in which servers behind the engine may read.
pub(crate) const READINGS: [Reading; 4] = [
    STRICT,
    Reading { bare_line_feeds: true, length_first: true, sloppy_names: false, first_counts: true },
    Reading { bare_line_feeds: true, length_first: false, sloppy_names: true, first_counts: false },
    Reading { bare_line_feeds: false, length_first: true, sloppy_names: true, first_counts: false },
];

/// A request as an upstream reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) framing: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<String>,
    /// All of it has come.
    pub(crate) is_whole: bool,
}

impl Request {
    fn values<'a>(&'a self, name: &'a str, how: Reading) -> impl DoubleEndedIterator<Item = &'a str> {
        let is_meant = move |given: &str| {
            let given = given.to_ascii_lowercase();
            if how.sloppy_names { given.trim_end().replace('_', "-") == name } else { given == name }
        };
        self.fields.iter().filter(move |(given, _)| is_meant(given)).map(|(_, value)| value.as_str())
    }

    fn value<'a>(&'a self, name: &'a str, how: Reading) -> Option<&'a str> {
        let mut values = self.values(name, how);
        if how.first_counts { values.next() } else { values.next_back() }
    }

    /// Method, target, host, framing, body; then what is worth a look: an old version, fields that belong to a hop,
    /// fields the test put there, trailers.
    pub(crate) fn canonical(&self, upstream: SocketAddr) -> String {
        let mut words: Vec<String> = self.line.split(' ').map(shortened).collect();
        let version = words.pop().unwrap_or_default();
        let host: Vec<&str> = self.values("host", STRICT).collect();
        let host = if host.is_empty() { "-".to_owned() } else { host.join("|") };
        let host = host.replace(&upstream.to_string(), "upstream");
        let mut text = format!("{} {host} {}", words.join(" "), self.framing);
        match self.body.len() {
            0 => {}
            1..80 => text = format!("{text} {}", self.body.escape_ascii()),
            long => text = format!("{text} {long} bytes"),
        }
        if version != "HTTP/1.1" {
            text = format!("{text} {version}");
        }
        for (name, value) in &self.fields {
            let name = name.to_ascii_lowercase();
            if HOP.contains(&name.as_str()) {
                text = format!("{text} hop:{name}");
            } else if name == "cookie" || name.starts_with("x-probe") || name.starts_with("x_probe") {
                text = format!("{text} {name}=[{}]", value.escape_debug());
            }
        }
        for name in &self.trailers {
            text = format!("{text} trailer:{name}");
        }
        text
    }
}

fn shortened(word: &str) -> String {
    if word.len() < 80 { word.to_owned() } else { format!("({} bytes)", word.len()) }
}

const HOP: [&str; 7] =
    ["keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "proxy-authorization"];

/// All requests of a connection, read in one way. What is left of a beginning is a request that is not whole.
pub(crate) fn requests(bytes: &[u8], how: Reading) -> Vec<Request> {
    let (mut rest, mut all) = (Bytes { rest: bytes, how }, Vec::new());
    while !rest.rest.is_empty() {
        let mut request = Request::default();
        request.is_whole = rest.request(&mut request).is_some();
        let is_whole = request.is_whole;
        all.push(request);
        if !is_whole {
            break;
        }
    }
    all
}

struct Bytes<'a> {
    rest: &'a [u8],
    how: Reading,
}

impl<'a> Bytes<'a> {
    /// A line without its end; `None`: it has none yet.
    fn line(&mut self) -> Option<String> {
        let mut from = 0;
        loop {
            let at = from + self.rest[from..].iter().position(|byte| *byte == b'\n')?;
            let line = self.rest[..at].strip_suffix(b"\r");
            if let Some(line) = line.or(self.how.bare_line_feeds.then_some(&self.rest[..at])) {
                self.rest = &self.rest[at + 1..];
                return Some(line.iter().map(|byte| char::from(*byte)).collect());
            }
            from = at + 1;
        }
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn request(&mut self, request: &mut Request) -> Option<()> {
        request.line = self.line()?;
        request.fields = self.fields()?;
        let how = self.how;
        let coding = request.value("transfer-encoding", how).map(str::to_ascii_lowercase);
        let is_chunked = coding.is_some_and(|coding| match how.sloppy_names {
            true => coding.contains("chunked"),
            false => coding == "chunked",
        });
        let length = request.value("content-length", how).map(str::to_owned);
        if let Some(length) = length.filter(|_| how.length_first || !is_chunked) {
            request.framing = "length";
            let Ok(length) = length.parse() else {
                // Nobody knows where it ends.
                request.framing = "unreadable";
                request.body = std::mem::take(&mut self.rest).to_vec();
                return Some(());
            };
            request.body = self.take(length)?.to_vec();
            return Some(());
        }
        if !is_chunked {
            request.framing = "none";
            return Some(());
        }
        request.framing = "chunked";
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                request.trailers =
                    self.fields()?.into_iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
                return Some(());
            }
            request.body.extend_from_slice(self.take(size)?);
            self.line().filter(String::is_empty)?;
        }
    }
}
