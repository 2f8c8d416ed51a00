//! Another protocol on the same connection: WebSocket, or what an operation allows besides (RFC 9110, 7.8).
//!
//! Nothing of it leaves before both sides have agreed: what a client sends early waits until the upstream has said
//! 101, and an upstream that says anything else is answered for as usual. From then on bytes pass both ways,
//! each direction no faster than its reader takes them, until both have ended, or one breaks, or nothing has passed for
//! `timeouts.idle`. A tunnel that the engine ends says so where it can: WebSocket peers get a close frame (1001)
//! between two frames.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, header};
use mainstay_core::Stage;
use mainstay_wire::websocket::{FrameScan, GOING_AWAY, going_away_masked};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use super::exchange::InFlight;
use super::h1::H1Connection;
use crate::accept::connection::{ConnCx, Interrupt};
use crate::fill::{READ_BYTES, poll_fill};
use crate::request::far_future;
use crate::stream::Stream;

/// How long both sides have to end after they were told goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// The token of `Upgrade` that was asked for and is allowed here, in lower case.
pub fn allowed<'a>(fields: &HeaderMap, allowed: &'a [Box<str>]) -> Option<&'a str> {
    let asked = fields.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    let mut asked = asked.flat_map(|value| value.split(',')).map(str::trim);
    asked.find_map(|asked| allowed.iter().find(|token| token.eq_ignore_ascii_case(asked))).map(|t| &**t)
}

/// True when an upstream's 101 switches to what was asked for, and to nothing else.
pub fn is_agreed(fields: &HeaderMap, asked: &str) -> bool {
    let mut said = fields.get_all(header::UPGRADE).iter();
    let one = said.next().filter(|_| said.next().is_none());
    one.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

/// The upstream's side of a connection that has switched.
pub struct Tunnel {
    /// The upstream's connection, with what came behind its 101.
    pub connection: H1Connection,
    /// The request's counts and its record, until the tunnel has ended.
    pub flight: InFlight,
    /// Longest silence of both sides.
    pub idle_max: Option<Duration>,
    /// Goodbyes can be said.
    pub is_websocket: bool,
}

/// One direction.
#[derive(Default)]
struct Way {
    waiting: BytesMut,
    frames: FrameScan,
    passed: u64,
    room: usize,
    /// The source has ended, or is listened to no more.
    ended: bool,
    /// The sink has been told that no more will come.
    shut: bool,
    /// Whether the sink was told goodbye.
    goodbye: bool,
}

impl Way {
    fn new(early: BytesMut) -> Self {
        let mut way = Self { room: READ_BYTES, ..Self::default() };
        way.frames.advance(&early);
        way.waiting = early;
        way
    }

    /// Moves what can be moved; ready when the sink has all of it and knows that no more will come.
    fn poll(&mut self, from: &mut Stream, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.waiting.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.waiting.advance(n);
                self.passed += n as u64;
            }
            if self.ended && !self.shut {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.shut = true;
            }
            if self.ended {
                return if self.goodbye { self.poll_farewell(from, cx) } else { Poll::Ready(Ok(())) };
            }
            match poll_fill(from, &mut self.waiting, &mut self.room, cx)? {
                Poll::Ready(0) => self.ended = true,
                Poll::Ready(n) => {
                    let new = self.waiting.len() - n;
                    self.frames.advance(&self.waiting[new..]);
                }
                Poll::Pending => {
                    // Over TLS what was written may still lie in the session.
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Waits for the source's own end. What it still sends is taken off the socket: closing it with something unread
    /// would be a reset, which makes the other side forget what it has not read yet.
    fn poll_farewell(&mut self, from: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let n = ready!(poll_fill(from, &mut self.waiting, &mut self.room, cx))?;
            self.waiting.clear();
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Says goodbye if this is between two frames; what the source sends after that is not passed on.
    fn say_goodbye(&mut self, frame: &[u8]) {
        if !self.goodbye && !self.ended && self.waiting.is_empty() && self.frames.is_between_frames() {
            self.waiting.extend_from_slice(frame);
            self.goodbye = true;
            self.ended = true;
        }
    }
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Both,
    Client,
    Upstream,
    Idle,
    Drain,
}

impl Ended {
    fn reason(self) -> &'static str {
        match self {
            Self::Both => "the tunnel was ended by both sides",
            Self::Client => "the client's side of the tunnel broke",
            Self::Upstream => "the service's side of the tunnel broke",
            Self::Idle => "nothing passed through the tunnel for timeouts.idle",
            Self::Drain => "the tunnel was ended because the connection had to end",
        }
    }
}

struct Running {
    client: Stream,
    upstream: Stream,
    up: Way,
    down: Way,
    is_websocket: bool,
    idle_max: Option<Duration>,
    active: Instant,
    passed: u64,
    mask: [u8; 4],
    /// Set once the engine wants an end, with why and until when.
    ending: Option<(Ended, Instant)>,
}

impl Tunnel {
    /// Runs until it has ended. `early` is what the client sent before it knew.
    pub async fn run(self, conn: Rc<ConnCx>, client: Stream, early: BytesMut) {
        let cx = Rc::clone(self.flight.cx());
        let (upstream, behind, _permit) = self.connection.into_parts();
        let mut running = Running {
            client,
            upstream,
            up: Way::new(early),
            down: Way::new(behind),
            is_websocket: self.is_websocket,
            idle_max: self.idle_max,
            active: Instant::now(),
            passed: 0,
            mask: (conn.worker.random.bits() as u32).to_be_bytes(),
            ending: None,
        };
        let mut timer = pin!(tokio::time::sleep_until(running.deadline()));
        let ended = poll_fn(|task| running.poll(&conn, timer.as_mut(), task)).await;
        cx.facts.bytes_in.set(running.up.passed);
        cx.facts.bytes_out.set(running.down.passed);
        cx.trail(Stage::Respond, ended.reason());
        match ended {
            Ended::Both => {}
            Ended::Client => cx.aborted("client"),
            Ended::Upstream => cx.aborted("upstream"),
            Ended::Idle | Ended::Drain => cx.aborted("engine"),
        }
        cx.client_done();
    }
}

impl Running {
    fn deadline(&self) -> Instant {
        match self.ending {
            Some((_, until)) => until,
            None => self.idle_max.and_then(|max| self.active.checked_add(max)).unwrap_or_else(far_future),
        }
    }

    fn poll(&mut self, conn: &ConnCx, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Ended> {
        if conn.poll_interrupt(cx) == Some(Interrupt::Close) && self.ending.is_none() {
            self.end(Ended::Drain);
        }
        loop {
            if self.ending.is_some() && self.is_websocket {
                self.down.say_goodbye(&GOING_AWAY);
                self.up.say_goodbye(&going_away_masked(self.mask));
            }
            let up = self.up.poll(&mut self.client, &mut self.upstream, cx);
            let down = self.down.poll(&mut self.upstream, &mut self.client, cx);
            let passed = self.up.passed + self.down.passed;
            if passed != self.passed {
                self.passed = passed;
                self.active = Instant::now();
            }
            match (up, down, self.ending) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(())), None) => return Poll::Ready(Ended::Both),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(())), Some((why, _))) => return Poll::Ready(why),
                (Poll::Ready(Err(_)), _, _) | (_, Poll::Ready(Err(_)), _) => {
                    return Poll::Ready(self.who_broke());
                }
                _ => {}
            }
            let may_say_goodbye = self.ending.is_some()
                && self.is_websocket
                && ((!self.down.goodbye && !self.down.ended && self.down.frames.is_between_frames())
                    || (!self.up.goodbye && !self.up.ended && self.up.frames.is_between_frames()));
            if may_say_goodbye {
                continue;
            }
            timer.as_mut().reset(self.deadline());
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match self.ending {
                Some((why, _)) => return Poll::Ready(why),
                None => self.end(Ended::Idle),
            }
        }
    }

    /// The engine wants an end. Without a way to say so there is nothing to wait for.
    fn end(&mut self, why: Ended) {
        let within = if self.is_websocket { GOODBYE_MAX } else { Duration::ZERO };
        self.ending = Some((why, Instant::now() + within));
    }

    fn who_broke(&self) -> Ended {
        match self.ending {
            Some((why, _)) => why,
            // A side that has ended its own direction did so in order; the other one broke.
            None if self.down.ended && !self.up.ended => Ended::Client,
            None if self.up.ended && !self.down.ended => Ended::Upstream,
            None => Ended::Client,
        }
    }
}
