//! What a row of the table is: bytes, and what is owed for them.

/// A row: what a client sends, and the outcome that is owed, written from the RFCs before anything was run.
///
/// An outcome is a line of text. What the upstream got comes first, in its canonical form: method, target, host,
/// framing (`none`, `length`, `chunked`) and body of each request, joined with ` + `. A refusal is its status alone.
/// `closed` says that the connection ended before the request that the test sends after the row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Where it is written: RFC and section.
    pub(crate) section: &'static str,
    pub(crate) bytes: &'static [u8],
    /// So many letters stand where the bytes have `@@`.
    pub(crate) grown: usize,
    pub(crate) owed: &'static str,
    /// Why more is refused than the RFC asks for.
    pub(crate) stricter: Option<&'static str>,
    pub(crate) nginx: Option<Differs>,
    pub(crate) haproxy: Option<Differs>,
}

/// What another server does instead, and why.
#[derive(Clone, Copy)]
pub(crate) struct Differs {
    pub(crate) outcome: &'static str,
    pub(crate) why: &'static str,
}

pub(crate) const fn row(
    name: &'static str,
    section: &'static str,
    bytes: &'static [u8],
    owed: &'static str,
) -> Row {
    Row { name, section, bytes, grown: 0, owed, stricter: None, nginx: None, haproxy: None }
}

impl Row {
    pub(crate) const fn grown(self, letters: usize) -> Self {
        Self { grown: letters, ..self }
    }

    pub(crate) const fn stricter(self, why: &'static str) -> Self {
        Self { stricter: Some(why), ..self }
    }

    pub(crate) const fn nginx(self, outcome: &'static str, why: &'static str) -> Self {
        Self { nginx: Some(Differs { outcome, why }), ..self }
    }

    pub(crate) const fn haproxy(self, outcome: &'static str, why: &'static str) -> Self {
        Self { haproxy: Some(Differs { outcome, why }), ..self }
    }

    /// Both do the same.
    pub(crate) const fn both(self, outcome: &'static str, why: &'static str) -> Self {
        self.nginx(outcome, why).haproxy(outcome, why)
    }

    /// The bytes as they are sent.
    pub(crate) fn sent(&self) -> Vec<u8> {
        let Some(at) = self.bytes.windows(2).position(|two| two == b"@@") else { return self.bytes.to_vec() };
        [&self.bytes[..at], &vec![b'a'; self.grown], &self.bytes[at + 2..]].concat()
    }
}

/// `GET target` with more fields.
macro_rules! get {
    ($target:literal) => {
        get!($target, "")
    };
    ($target:literal, $fields:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n").as_bytes()
    };
}

/// `POST /v1/a` with fields and what comes behind the head.
macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST /v1/a HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n", $body).as_bytes()
    };
}

/// `POST /v1/a` with what should be chunks.
macro_rules! chunks {
    ($body:literal) => {
        post!("Transfer-Encoding: chunked\r\n", $body)
    };
}

/// `GET /v1/a` with what stands instead of `Host: a`.
macro_rules! host {
    ($fields:literal) => {
        concat!("GET /v1/a HTTP/1.1\r\n", $fields, "\r\n").as_bytes()
    };
}

/// A request line as it is given, with a host.
macro_rules! line {
    ($line:literal) => {
        concat!($line, "\r\nHost: a\r\n\r\n").as_bytes()
    };
}

pub(crate) use {chunks, get, host, line, post};
