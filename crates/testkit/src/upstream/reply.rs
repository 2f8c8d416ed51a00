//! What an upstream does with one request.

use std::time::Duration;

use tokio::sync::watch;

/// What is done with a request, step by step: wait, then answer, up to where it ends.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// HTTP/2 alone.
    pub(super) trailers: Vec<(String, String)>,
    pub(super) reads_body: bool,
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    /// After so many bytes of the body.
    pub(super) pause: Option<(usize, Gate)>,
    pub(super) fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answer,
    /// Then the connection ends; HTTP/2 says so with GOAWAY.
    AnswerAndClose,
    Hold,
    /// Before the head, or after so many bytes of the body.
    Reset(Option<usize>),
    Raw(Vec<u8>),
    /// HTTP/2 alone: the stream is reset with this code.
    ResetStream(u32),
    /// HTTP/2 alone: the connection takes no stream from this one on, and says that this one was not begun.
    GoAway,
}

impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            reads_body: true,
            delay: Duration::ZERO,
            gate: None,
            pause: None,
            fate: Fate::Answer,
        }
    }

    /// 200 with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(200) }
    }

    /// No answer, for as long as the client waits.
    pub fn hold() -> Self {
        Self { fate: Fate::Hold, ..Self::status(200) }
    }

    /// These bytes and no others, over HTTP/1.1; then the connection ends.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { fate: Fate::Raw(bytes.into()), ..Self::status(200) }
    }

    /// The connection is reset before a byte of the answer, on HTTP/2 the stream.
    pub fn reset() -> Self {
        Self { fate: Fate::Reset(None), ..Self::status(200) }
    }

    /// HTTP/2: the stream was not begun and may be sent again.
    pub fn refused_stream() -> Self {
        Self::reset_stream(7)
    }

    /// HTTP/2: the stream ends with this error code.
    pub fn reset_stream(code: u32) -> Self {
        Self { fate: Fate::ResetStream(code), ..Self::status(200) }
    }

    /// HTTP/2: GOAWAY with the last stream before this one, so that neither this one nor later ones were begun. Earlier ones
    /// are answered.
    pub fn go_away() -> Self {
        Self { fate: Fate::GoAway, ..Self::status(200) }
    }

    /// HTTP/2: the answer of a gRPC method, with this status.
    pub fn grpc(status: u8, message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).expect("a message of a test").to_be_bytes();
        let reply =
            Self::ok([&[0][..], &length, message].concat()).header("content-type", "application/grpc");
        Self { trailers: vec![("grpc-status".to_owned(), status.to_string())], ..reply }
    }

    /// HTTP/2: the answer of `grpc.health.v1.Health/Check`: SERVING or `NOT_SERVING`.
    pub fn grpc_health(is_serving: bool) -> Self {
        Self::grpc(0, &[8, if is_serving { 1 } else { 2 }])
    }

    /// A field of the head. One that says how the body is framed, over HTTP/1.1, takes the place of `content-length`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// At once when the head has come, with the body unread. Over HTTP/1.1 the connection ends afterwards.
    #[must_use]
    pub fn early(self) -> Self {
        Self { reads_body: false, ..self }
    }

    /// So much later.
    #[must_use]
    pub fn late(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Once the gate is open.
    #[must_use]
    pub fn after(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// The head and so many bytes of the body; the rest once the gate is open.
    #[must_use]
    pub fn pause_at(self, bytes: usize, gate: &Gate) -> Self {
        Self { pause: Some((bytes, gate.clone())), ..self }
    }

    /// The head and so many bytes of the body, then a reset.
    #[must_use]
    pub fn reset_at(self, bytes: usize) -> Self {
        Self { fate: Fate::Reset(Some(bytes)), ..self }
    }

    /// The connection ends after the answer, without having said so over HTTP/1.1.
    #[must_use]
    pub fn then_close(self) -> Self {
        Self { fate: Fate::AnswerAndClose, ..self }
    }

    /// How much of the body is sent before the pause, and until the end.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        let end = match self.fate {
            Fate::Reset(Some(bytes)) => bytes.min(self.body.len()),
            _ => self.body.len(),
        };
        let pause = self.pause.as_ref().map_or(end, |(bytes, _)| (*bytes).min(end));
        (&self.body[..pause], &self.body[pause..end])
    }
}

/// What replies wait for until the test opens it.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Closed.
    #[expect(clippy::new_without_default, reason = "that it is closed is worth a word")]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        let mut opened = self.0.subscribe();
        // We hold a sender, so the wait ends with the opening alone.
        drop(opened.wait_for(|is_open| *is_open).await);
    }
}
