//! A connection over HTTP/1.1, read and written by hand.

use std::fmt::Write as _;
use std::future::pending;
use std::io;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::time::Instant;

use super::reply::Fate;
use super::{Received, Reply, Shared};
use crate::line::Line;

/// A head that is longer is none of a test's.
const HEAD_BYTES_MAX: usize = 1 << 20;

pub(super) async fn serve(stream: impl Line, shared: &Shared, connection: usize) {
    let mut link = Link { stream, unread: Vec::new() };
    for nth in 1.. {
        // A connection that ends between requests has done what it could.
        let Ok(head) = link.until(b"\r\n\r\n").await else { return };
        let request = parse(&head, connection, nth);
        let (framing, is_last) = (Framing::of(&request), is_last(&request));
        let is_head = request.method == "HEAD";
        let (number, reply) = shared.ask(request);
        if link.take_body(&framing, &reply, shared, number).await.is_err() {
            return shared.cancelled(number);
        }
        let ends = is_last || !reply.reads_body || reply.fate == Fate::AnswerAndClose;
        let waited = tokio::select! {
            biased;
            slot = shared.wait(&reply, number) => Ok(slot),
            gone = link.gone(&reply) => Err(gone),
        };
        let Ok(_slot) = waited else { return shared.cancelled(number) };
        match link.answer(&reply, is_head).await {
            Err(_gone) => return shared.cancelled(number),
            Ok(Next::Reset) => return link.stream.reset(),
            Ok(Next::Answered) => shared.answered(number),
        }
        if ends || matches!(reply.fate, Fate::Raw(_)) {
            return link.close().await;
        }
    }
}

enum Next {
    Answered,
    Reset,
}

struct Link<S> {
    stream: S,
    /// What has been read and belongs to nothing yet.
    unread: Vec<u8>,
}

impl<S: Line> Link<S> {
    /// Reads more. An end is an error: nothing may end where more is read.
    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Everything up to `wanted`, with it.
    async fn until(&mut self, wanted: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.unread.windows(wanted.len()).position(|window| window == wanted);
            if let Some(at) = found {
                return Ok(self.unread.drain(..at + wanted.len()).collect());
            }
            assert!(
                self.unread.len() <= HEAD_BYTES_MAX,
                "no end of a head or line within {HEAD_BYTES_MAX} bytes"
            );
            self.fill().await?;
        }
    }

    async fn take_body(
        &mut self,
        framing: &Framing,
        reply: &Reply,
        to: &Shared,
        number: usize,
    ) -> io::Result<()> {
        if !reply.reads_body {
            return Ok(());
        }
        if framing.wants_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        match framing.length {
            Some(length) => self.take(length, to, number).await?,
            None => loop {
                let line = self.until(b"\r\n").await?;
                let length = String::from_utf8_lossy(&line);
                let length = usize::from_str_radix(length.trim(), 16).expect("the length of a chunk");
                if length == 0 {
                    // Trailers, up to an empty line.
                    while self.until(b"\r\n").await? != b"\r\n" {}
                    break;
                }
                self.take(length, to, number).await?;
                self.until(b"\r\n").await?;
            },
        }
        to.body(number, b"", true);
        Ok(())
    }

    /// So many bytes of a body, which are remembered as they come.
    async fn take(&mut self, mut length: usize, to: &Shared, number: usize) -> io::Result<()> {
        while length > 0 {
            if self.unread.is_empty() {
                self.fill().await?;
            }
            let here = length.min(self.unread.len());
            to.body(number, &self.unread[..here], false);
            self.unread.drain(..here);
            length -= here;
        }
        Ok(())
    }

    /// Ends when the client does. An unread body hides that.
    async fn gone(&mut self, reply: &Reply) -> io::Error {
        if !reply.reads_body {
            return pending().await;
        }
        loop {
            if let Err(gone) = self.fill().await {
                return gone;
            }
        }
    }

    async fn answer(&mut self, reply: &Reply, is_head: bool) -> io::Result<Next> {
        match &reply.fate {
            Fate::Answer | Fate::AnswerAndClose => {
                self.send(reply, is_head).await?;
                Ok(Next::Answered)
            }
            Fate::Reset(at) => {
                if at.is_some() {
                    self.send(reply, is_head).await?;
                }
                Ok(Next::Reset)
            }
            Fate::Raw(bytes) => {
                self.stream.write_all(bytes).await?;
                Ok(Next::Answered)
            }
            Fate::Hold => Err(self.gone(reply).await),
            Fate::ResetStream(_) | Fate::GoAway => panic!("{:?} is HTTP/2's alone", reply.fate),
        }
    }

    /// The answer, up to where the reply ends it.
    async fn send(&mut self, reply: &Reply, is_head: bool) -> io::Result<()> {
        let is_chunked = reply.headers.iter().any(|(name, _)| name == "transfer-encoding");
        self.stream.write_all(&head(reply)).await?;
        if is_head {
            return Ok(());
        }
        let (first, rest) = reply.parts();
        self.send_part(first, is_chunked).await?;
        if let Some((_, gate)) = &reply.pause {
            tokio::select! {
                biased;
                () = gate.passed() => {}
                gone = self.gone(reply) => return Err(gone),
            }
        }
        self.send_part(rest, is_chunked).await?;
        if is_chunked && !matches!(reply.fate, Fate::Reset(_)) {
            self.stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    async fn send_part(&mut self, bytes: &[u8], is_chunked: bool) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !is_chunked {
            return self.stream.write_all(bytes).await;
        }
        let size = format!("{:x}\r\n", bytes.len());
        self.stream.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat()).await
    }

    /// In good order: bytes that nobody has read would make it a reset.
    async fn close(mut self) {
        // A client that has reset it is as gone as one that has closed it.
        drop(self.stream.shutdown().await);
        drop(copy(&mut self.stream, &mut sink()).await);
    }
}

fn head(reply: &Reply) -> Vec<u8> {
    let status = StatusCode::from_u16(reply.status).expect("a status of three digits");
    let mut text = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("-"));
    for (name, value) in &reply.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let frames = |(name, _): &(String, String)| name == "content-length" || name == "transfer-encoding";
    let has_body = !matches!(reply.status, 100..=199 | 204 | 304);
    if has_body && !reply.headers.iter().any(frames) {
        let _ = write!(text, "content-length: {}\r\n", reply.body.len());
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// How a request's body ends.
struct Framing {
    /// `None`: it is chunked.
    length: Option<usize>,
    wants_continue: bool,
}

impl Framing {
    fn of(request: &Received) -> Self {
        let length = match request.header("transfer-encoding") {
            Some(_) => None,
            None => {
                Some(request.header("content-length").map_or(0, |length| length.parse().expect("a length")))
            }
        };
        Self { length, wants_continue: request.header("expect").is_some() }
    }
}

fn is_last(request: &Received) -> bool {
    request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

fn parse(head: &[u8], connection: usize, nth: usize) -> Received {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Received {
        number: 0,
        connection,
        nth,
        method,
        path,
        headers: lines.map(field).collect(),
        body: Vec::new(),
        is_whole: false,
        at: Instant::now(),
    }
}
