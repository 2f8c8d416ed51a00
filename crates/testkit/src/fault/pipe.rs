//! One direction of a connection: bytes wait until they are due, and go out as fast as they may, up to where they are cut.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Counts, Cut, Faults, Way};

/// What waits in a direction; then its source has to wait.
const WAITING_BYTES_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// With a bandwidth limit, bytes go out in steps of 1/100 s.
const STEPS_PER_S: u64 = 100;

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything was passed on, the end too.
    Ended,
    /// Both directions shall end now, in good order.
    Close,
    Reset,
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    ToUpstream,
    ToClient,
}

pub(super) struct Pipe<R, W> {
    pub(super) from: R,
    pub(super) to: W,
    direction: Direction,
    faults: watch::Receiver<Faults>,
    counts: watch::Sender<Counts>,
    waiting: VecDeque<Piece>,
    waiting_bytes: usize,
    passed_bytes: u64,
    has_ended: bool,
    /// Of the bandwidth: when the next bytes may go.
    free_at: Instant,
}

/// What was read at once. Nothing: the end.
struct Piece {
    read_at: Instant,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pipe<R, W> {
    pub(super) fn new(
        (from, to): (R, W),
        direction: Direction,
        faults: watch::Receiver<Faults>,
        counts: watch::Sender<Counts>,
    ) -> Self {
        Self {
            from,
            to,
            direction,
            faults,
            counts,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            passed_bytes: 0,
            has_ended: false,
            free_at: Instant::now(),
        }
    }

    /// Passes on what comes until the direction ends. An error of either side is a reset.
    pub(super) async fn run(&mut self) -> End {
        self.try_run().await.unwrap_or(End::Reset)
    }

    async fn try_run(&mut self) -> io::Result<End> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let way = self.way();
            let due = self.due(&way);
            let reads = !self.has_ended && self.waiting_bytes < WAITING_BYTES_MAX;
            tokio::select! {
                biased;
                changed = self.faults.changed() => if changed.is_err() {
                    // Whoever held the switch is gone, and with it the network.
                    return Ok(End::Reset);
                },
                () = until(due) => if let Some(end) = self.pass(&way).await? {
                    return Ok(end);
                },
                read = self.from.read(&mut buffer), if reads => {
                    let length = read?;
                    self.take(&buffer[..length]);
                }
            }
        }
    }

    fn way(&mut self) -> Way {
        let faults = self.faults.borrow_and_update();
        match self.direction {
            Direction::ToUpstream => faults.to_upstream.clone(),
            Direction::ToClient => faults.to_client.clone(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.has_ended = true;
            if matches!(self.direction, Direction::ToUpstream) {
                self.counts.send_modify(|counts| counts.clients_ended += 1);
            }
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Piece { read_at: Instant::now(), bytes: bytes.to_vec() });
    }

    /// When the next piece may go, by the faults of this moment.
    fn due(&self, way: &Way) -> Option<Instant> {
        let piece = self.waiting.front()?;
        if matches!(way.cut, Some((_, Cut::Stall))) && before_cut(way, self.passed_bytes) == 0 {
            return None;
        }
        let close_delay = if piece.bytes.is_empty() { way.close_delay } else { Duration::ZERO };
        Some(self.free_at.max(piece.read_at + way.latency + close_delay))
    }

    /// Passes on some of the first piece, which is due.
    async fn pass(&mut self, way: &Way) -> io::Result<Option<End>> {
        let Some(piece) = self.waiting.front_mut() else { return Ok(None) };
        if piece.bytes.is_empty() {
            self.to.shutdown().await?;
            return Ok(Some(End::Ended));
        }
        let length = piece.bytes.len() as u64;
        let step = way.bytes_per_s.map_or(length, |rate| (rate / STEPS_PER_S).max(1));
        let length = length.min(step).min(before_cut(way, self.passed_bytes));
        if length == 0 {
            return self.cut(way).await.map(Some);
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let written = self.to.write(&piece.bytes[..length]).await?;
        piece.bytes.drain(..written);
        if piece.bytes.is_empty() {
            self.waiting.pop_front();
        }
        self.passed(written, way.bytes_per_s);
        Ok(None)
    }

    fn passed(&mut self, bytes: usize, bytes_per_s: Option<u64>) {
        self.waiting_bytes -= bytes;
        self.passed_bytes += bytes as u64;
        if let Some(rate) = bytes_per_s {
            self.free_at = Instant::now() + Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate.max(1));
        }
        self.counts.send_modify(|counts| match self.direction {
            Direction::ToUpstream => counts.to_upstream_bytes += bytes as u64,
            Direction::ToClient => counts.to_client_bytes += bytes as u64,
        });
    }

    async fn cut(&mut self, way: &Way) -> io::Result<End> {
        match way.cut.as_ref().map(|(_, cut)| cut) {
            None | Some(Cut::Stall) => unreachable!("a stalled direction has nothing that is due"),
            Some(Cut::Reset) => Ok(End::Reset),
            Some(Cut::Close) => Ok(End::Close),
            Some(Cut::HalfClose) => {
                self.to.shutdown().await?;
                self.swallow().await?;
                Ok(End::Ended)
            }
            Some(Cut::Garbage(bytes)) => {
                self.to.write_all(bytes).await?;
                Ok(End::Close)
            }
        }
    }

    /// Ends the direction for its reader; what its source still says goes nowhere, so that the source is not reset.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.to.shutdown().await?;
        self.swallow().await
    }

    async fn swallow(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        while !self.has_ended {
            if self.from.read(&mut buffer).await? == 0 {
                self.take(&[]);
            }
        }
        Ok(())
    }
}

/// How many bytes may still pass before the cut.
fn before_cut(way: &Way, passed_bytes: u64) -> u64 {
    way.cut.as_ref().map_or(u64::MAX, |(at, _)| at.saturating_sub(passed_bytes))
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
