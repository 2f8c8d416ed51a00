//! A connection over HTTP/2. The library behind it says nothing that is not true; a seam between it and the stream, at the
//! borders of frames, lets out the frames that it would not.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::reply::Fate;
use super::{Received, Reply, Shared};
use crate::line::Line;
use crate::memory::STREAM_BYTES;

const FRAME_HEAD_BYTES: usize = 9;
const GOAWAY: u8 = 7;
/// Frames that may wait to be let out.
const FRAMES_MAX: usize = 64;

pub(super) async fn serve(stream: impl Line, shared: Arc<Shared>, connection: usize) {
    let (near, far) = duplex(STREAM_BYTES);
    let (frames, let_out) = mpsc::channel(FRAMES_MAX);
    // Each ends when the other does: their streams are two ends of one. How it went shows in the log.
    let (_passed, _served) = tokio::join!(seam(stream, far, let_out), run(near, shared, connection, frames));
}

/// Passes everything on, and between two frames of the server those that are let out.
async fn seam(stream: impl Line, far: DuplexStream, mut let_out: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let (mut from_client, mut to_client) = split(stream);
    let (mut from_server, mut to_server) = split(far);
    let inwards = async {
        copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let outwards = async {
        let mut waiting = BytesMut::new();
        loop {
            while let Some(length) = first_frame(&waiting) {
                to_client.write_all(&waiting.split_to(length)).await?;
            }
            tokio::select! {
                Some(frame) = let_out.recv() => to_client.write_all(&frame).await?,
                read = from_server.read_buf(&mut waiting) => if read? == 0 {
                    return to_client.shutdown().await;
                },
            }
        }
    };
    tokio::try_join!(inwards, outwards).map(drop)
}

/// How long the first frame is, if all of it is here.
fn first_frame(bytes: &[u8]) -> Option<usize> {
    let [a, b, c, ..] = *bytes else { return None };
    let length = FRAME_HEAD_BYTES + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c);
    (bytes.len() >= length).then_some(length)
}

fn goaway(last_stream: u32) -> Vec<u8> {
    let head = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    [&head[..], &last_stream.to_be_bytes(), &u32::from(Reason::NO_ERROR).to_be_bytes()].concat()
}

async fn run(
    near: DuplexStream,
    shared: Arc<Shared>,
    connection: usize,
    frames: mpsc::Sender<Vec<u8>>,
) -> Result<(), h2::Error> {
    let mut server = h2::server::handshake(near).await?;
    let mut exchanges = JoinSet::new();
    let mut nth = 0;
    loop {
        tokio::select! {
            accepted = server.accept() => {
                let Some(Ok((request, respond))) = accepted else { break };
                nth += 1;
                let exchange = Exchange { shared: Arc::clone(&shared), respond, frames: frames.clone() };
                exchanges.spawn(exchange.run(request, connection, nth));
            }
            Some(ended) = exchanges.join_next() => if let Ok(true) = ended {
                server.graceful_shutdown();
            },
        }
    }
    // They notice that their connection is gone, and say so.
    while exchanges.join_next().await.is_some() {}
    Ok(())
}

/// One stream.
struct Exchange {
    shared: Arc<Shared>,
    respond: SendResponse<Bytes>,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Exchange {
    /// True when the connection ends after it.
    async fn run(mut self, request: Request<RecvStream>, connection: usize, nth: usize) -> bool {
        let (parts, mut body) = request.into_parts();
        let (number, reply) = self.shared.ask(received(&parts, connection, nth));
        if reply.reads_body && self.take_body(&mut body, number).await.is_err() {
            self.shared.cancelled(number);
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let waited = tokio::select! {
            biased;
            slot = shared.wait(&reply, number) => Some(slot),
            _ = poll_fn(|cx| self.respond.poll_reset(cx)) => None,
        };
        let answered = match waited {
            Some(_slot) => self.answer(&reply).await,
            None => Err(Reason::CANCEL.into()),
        };
        match answered {
            Ok(true) => self.shared.answered(number),
            Ok(false) => {}
            Err(_gone) => self.shared.cancelled(number),
        }
        reply.fate == Fate::AnswerAndClose
    }

    async fn take_body(&self, body: &mut RecvStream, number: usize) -> Result<(), h2::Error> {
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            self.shared.body(number, &data, false);
        }
        // Trailers mean nothing here.
        body.trailers().await?;
        self.shared.body(number, b"", true);
        Ok(())
    }

    /// False when it was not answered, on purpose.
    async fn answer(&mut self, reply: &Reply) -> Result<bool, h2::Error> {
        match &reply.fate {
            Fate::Answer | Fate::AnswerAndClose => {
                self.send(reply).await?;
                return Ok(true);
            }
            Fate::Reset(at) => {
                if at.is_some() {
                    let mut stream = self.send(reply).await?;
                    stream.send_reset(Reason::INTERNAL_ERROR);
                } else {
                    self.respond.send_reset(Reason::INTERNAL_ERROR);
                }
            }
            Fate::ResetStream(code) => self.respond.send_reset(Reason::from(*code)),
            Fate::Hold => self.gone().await?,
            Fate::GoAway => {
                let last = u32::from(self.respond.stream_id()).saturating_sub(2);
                // A connection that is gone has nobody to tell.
                let _ = self.frames.send(goaway(last)).await;
                self.gone().await?;
            }
            Fate::Raw(_) => panic!("raw bytes are HTTP/1.1's alone"),
        }
        Ok(false)
    }

    /// Ends with an error when the client gives the stream up, or the connection ends.
    async fn gone(&mut self) -> Result<(), h2::Error> {
        Err(poll_fn(|cx| self.respond.poll_reset(cx)).await?.into())
    }

    /// The answer, up to where the reply ends it.
    async fn send(&mut self, reply: &Reply) -> Result<SendStream<Bytes>, h2::Error> {
        let is_cut = matches!(reply.fate, Fate::Reset(_));
        let (first, rest) = reply.parts();
        let mut head = Response::builder().status(reply.status).body(()).expect("a status of three digits");
        *head.headers_mut() = fields(&reply.headers);
        let mut stream = self.respond.send_response(head, false)?;
        stream.send_data(Bytes::copy_from_slice(first), false)?;
        if let Some((_, gate)) = &reply.pause {
            tokio::select! {
                biased;
                () = gate.passed() => {}
                reason = poll_fn(|cx| stream.poll_reset(cx)) => return Err(reason?.into()),
            }
        }
        let has_trailers = !reply.trailers.is_empty();
        stream.send_data(Bytes::copy_from_slice(rest), !is_cut && !has_trailers)?;
        if has_trailers && !is_cut {
            stream.send_trailers(fields(&reply.trailers))?;
        }
        Ok(stream)
    }
}

fn fields(given: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name = HeaderName::try_from(name).expect("a name in lower case");
        (name, HeaderValue::try_from(value).expect("a value"))
    };
    let mut map = HeaderMap::new();
    for (name, value) in given.iter().map(field) {
        map.append(name, value);
    }
    map
}

fn received(parts: &http::request::Parts, connection: usize, nth: usize) -> Received {
    let fields = parts.headers.iter();
    Received {
        number: 0,
        connection,
        nth,
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: fields
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: Vec::new(),
        is_whole: false,
        at: Instant::now(),
    }
}
