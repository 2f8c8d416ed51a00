//! The writer's thread: collects what workers have queued, and writes it.
//!
//! Rounds: while there is work the thread comes by every [`ROUND`]; after [`IDLE_ROUNDS`] without any it parks,
//! and the first line after that wakes it. How the two sides cannot miss each other: the thread says that it
//! sleeps *before* it looks at each queue a last time, a worker asks whether it sleeps *after* it appended, and
//! the queue's lock orders the two.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use super::queue::{LogQueue, Slot};
use super::sink::{Lost, Output, Sink, count_lines};
use crate::event::{Event, EventLog};
use crate::lock;
use crate::metrics::Registry;

/// How often the thread looks for lines while there are any.
pub(super) const ROUND: Duration = Duration::from_millis(20);
/// After how many rounds without a line it parks.
const IDLE_ROUNDS: u32 = 10;
/// What a buffer may keep of its size over an idle time.
const IDLE_CAPACITY: usize = 64 * 1024;

/// What becomes of a line that is pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    On,
    Off,
    Stopped,
}

#[derive(Default)]
struct Commands {
    /// Outputs that the thread has not changed to yet, in the order in which they were asked for.
    sinks: Vec<Sink>,
    reopen: bool,
    stop: bool,
    /// Told when all that was queued before has been written.
    flushed: Vec<SyncSender<()>>,
    /// Set by the thread as the last thing it does.
    ended: bool,
}

/// What workers, the thread and the control side share.
pub(super) struct Shared {
    pub(super) queue_bytes_max: usize,
    mode: AtomicU8,
    /// The thread parks, or is about to.
    pub(super) asleep: AtomicBool,
    /// Lines that found their queue full.
    without_room: AtomicU64,
    /// Lines are being dropped for want of room; the thread resets it when that is over.
    dropping: AtomicBool,
    /// Lines that were lost otherwise: by a write that failed, or after the stop.
    lost: AtomicU64,
    write_errors: AtomicU64,
    /// Lines in the batch that is being written.
    in_hand: AtomicU64,
    /// The stop has timed out: an output that takes nothing is not waited for any longer.
    abandoned: AtomicBool,
    slots: Mutex<Vec<Arc<Slot>>>,
    commands: Mutex<Commands>,
    thread: OnceLock<Thread>,
    events: OnceLock<EventLog>,
    output_name: Mutex<String>,
}

impl Shared {
    fn new(queue_bytes_max: usize, output: &Output) -> Self {
        Self {
            queue_bytes_max,
            mode: AtomicU8::new(mode_of(output) as u8),
            asleep: AtomicBool::new(false),
            without_room: AtomicU64::new(0),
            dropping: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            in_hand: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
            slots: Mutex::default(),
            commands: Mutex::default(),
            thread: OnceLock::new(),
            events: OnceLock::new(),
            output_name: Mutex::new(output.name()),
        }
    }

    #[inline]
    pub(super) fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            mode if mode == Mode::On as u8 => Mode::On,
            mode if mode == Mode::Off as u8 => Mode::Off,
            _ => Mode::Stopped,
        }
    }

    fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Counts a line that found no room. The first one of a row says so as an event: the writer's thread may be
    /// held up by the very output that takes nothing.
    #[cold]
    pub(super) fn line_without_room(&self) {
        self.without_room.fetch_add(1, Ordering::Relaxed);
        if !self.dropping.swap(true, Ordering::Relaxed) {
            self.emit(&Event::LogDropping { output: &lock(&self.output_name) });
        }
    }

    #[cold]
    pub(super) fn line_after_stop(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn dropped(&self) -> u64 {
        self.without_room.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }

    fn emit(&self, event: &Event<'_>) {
        if let Some(events) = self.events.get() {
            events.emit(event);
        }
    }

    fn has_work(&self) -> bool {
        let queued = || lock(&self.slots).iter().any(|slot| !lock(&slot.lines).is_empty());
        let commands = lock(&self.commands);
        let commanded =
            !commands.sinks.is_empty() || commands.reopen || commands.stop || !commands.flushed.is_empty();
        drop(commands);
        commanded || queued()
    }

    /// Lines that are neither written nor counted as dropped.
    fn unwritten(&self) -> u64 {
        let queued: u64 = lock(&self.slots).iter().map(|slot| count_lines(&lock(&slot.lines))).sum();
        queued + self.in_hand.load(Ordering::Relaxed)
    }
}

fn mode_of(output: &Output) -> Mode {
    if matches!(output, Output::None) { Mode::Off } else { Mode::On }
}

/// A log with its thread. Dropping it writes what is queued, without waiting for that.
pub struct LogWriter {
    shared: Arc<Shared>,
}

impl LogWriter {
    /// Opens the output and starts the thread.
    ///
    /// A worker's queue holds at most `queue_bytes_max` bytes; one batch of at most that size more is in the
    /// hands of the thread.
    ///
    /// # Errors
    /// The output cannot be opened, or no thread started.
    pub fn start(output: Output, queue_bytes_max: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(queue_bytes_max, &output));
        let sink = Sink::open(output)?;
        let job = Job::new(Arc::clone(&shared), sink);
        let handle = thread::Builder::new().name("mainstay-log".into()).spawn(move || job.run())?;
        shared.thread.get_or_init(|| handle.thread().clone());
        // A line may have come before the thread could be named.
        shared.wake();
        Ok(Self { shared })
    }

    /// A queue for one more worker.
    pub fn worker(&self) -> LogQueue {
        let slot = Arc::new(Slot::default());
        lock(&self.shared.slots).push(Arc::clone(&slot));
        LogQueue::new(slot, Arc::clone(&self.shared))
    }

    /// Has dropped lines and failing writes reported as events, once per change. The first call counts.
    pub fn report_to(&self, events: &EventLog) {
        self.shared.events.get_or_init(|| events.clone());
    }

    /// Shows `mainstay_log_dropped_total` and `mainstay_log_write_errors_total` in scrapes.
    pub fn observe(&self, registry: &Registry) {
        registry.observe_while(Arc::downgrade(&self.shared), |shared, scrape| {
            let help = "Access log lines that were not written.";
            scrape.counter("mainstay_log_dropped_total", help, &[], shared.dropped());
            let help = "Writes of the access log that failed.";
            let errors = shared.write_errors.load(Ordering::Relaxed);
            scrape.counter("mainstay_log_write_errors_total", help, &[], errors);
        });
    }

    /// Opens a file output anew before the next write (SIGHUP). If that fails the old file goes on.
    pub fn reopen(&self) {
        self.command(|commands| commands.reopen = true);
    }

    /// Sends all further batches to another output. One that blocks now is left when its write ends. After a stop
    /// there are no further batches.
    ///
    /// # Errors
    /// The output cannot be opened; the old one goes on.
    pub fn retarget(&self, output: Output) -> io::Result<()> {
        if self.shared.mode() == Mode::Stopped {
            return Ok(());
        }
        let (mode, name) = (mode_of(&output), output.name());
        let sink = Sink::open(output)?;
        *lock(&self.shared.output_name) = name;
        self.command(|commands| commands.sinks.push(sink));
        self.shared.set_mode(mode);
        Ok(())
    }

    /// Waits until all that is queued now has been written or lost; false when that took longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.flushed(timeout, false)
    }

    /// Takes no more lines, writes what is queued, ends the thread. Returns how many lines were never written
    /// since the start, those included that an output which takes nothing left over at the end of `timeout`.
    pub fn flush_and_stop(&self, timeout: Duration) -> u64 {
        self.shared.set_mode(Mode::Stopped);
        let in_time = self.flushed(timeout, true);
        if !in_time {
            self.shared.abandoned.store(true, Ordering::Relaxed);
        }
        self.dropped() + self.shared.unwritten()
    }

    /// Lines that were not written since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped()
    }

    /// Failed writes since the start.
    pub fn write_errors(&self) -> u64 {
        self.shared.write_errors.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.shared.asleep.load(Ordering::Relaxed)
    }

    fn flushed(&self, timeout: Duration, stop: bool) -> bool {
        let (sender, receiver) = sync_channel(1);
        self.command(|commands| {
            commands.stop |= stop;
            if !commands.ended {
                commands.flushed.push(sender);
            }
        });
        // Without a thread the sender is dropped, which ends the wait: there is nothing left to write.
        !matches!(receiver.recv_timeout(timeout), Err(std::sync::mpsc::RecvTimeoutError::Timeout))
    }

    fn command(&self, change: impl FnOnce(&mut Commands)) {
        change(&mut lock(&self.shared.commands));
        self.shared.wake();
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.set_mode(Mode::Stopped);
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.command(|commands| commands.stop = true);
    }
}

/// The thread.
struct Job {
    shared: Arc<Shared>,
    sink: Sink,
    /// Swapped with a queue's buffer, so that both keep their memory.
    batch: Vec<u8>,
    failing: bool,
    /// Lines lost since writing began to fail.
    lost: u64,
    /// [`Shared::without_room`] at the last round, and at the last report.
    without_room: u64,
    without_room_reported: u64,
}

impl Job {
    fn new(shared: Arc<Shared>, sink: Sink) -> Self {
        Self {
            shared,
            sink,
            batch: Vec::new(),
            failing: false,
            lost: 0,
            without_room: 0,
            without_room_reported: 0,
        }
    }

    fn run(mut self) {
        let mut idle_rounds = 0;
        loop {
            let (stop, waiting) = {
                let mut commands = lock(&self.shared.commands);
                (commands.stop, std::mem::take(&mut commands.flushed))
            };
            let wrote = self.round();
            self.change_output(|_| true);
            self.report_dropping(stop);
            for flushed in waiting {
                // The one who waits may have given up.
                let _ = flushed.try_send(());
            }
            if stop {
                return self.end();
            }
            idle_rounds = if wrote { 0 } else { idle_rounds + 1 };
            if idle_rounds < IDLE_ROUNDS {
                thread::park_timeout(ROUND);
            } else {
                self.sleep();
            }
        }
    }

    fn end(self) {
        let mut commands = lock(&self.shared.commands);
        commands.ended = true;
        // One who came while the last round was under way.
        commands.flushed.clear();
    }

    /// Follows the changes of output that were asked for, up to the last `wanted` one.
    fn change_output(&mut self, wanted: impl Fn(&Sink) -> bool) {
        let (sink, reopen) = {
            let mut commands = lock(&self.shared.commands);
            let passed = commands.sinks.iter().rposition(wanted).map_or(0, |last| last + 1);
            let sink = commands.sinks.drain(..passed).next_back();
            (sink, std::mem::take(&mut commands.reopen))
        };
        if let Some(sink) = sink {
            self.sink = sink;
            // A new output that fails too is news.
            self.failing = false;
        }
        if reopen {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        if let Err(cause) = self.sink.reopen() {
            let (output, cause) = (self.sink.output().name(), cause.to_string());
            self.shared.emit(&Event::LogReopenFailed { output: &output, cause: &cause });
        }
    }

    /// Writes what each worker has queued; false if none had. Queues whose worker has ended go.
    fn round(&mut self) -> bool {
        let mut slots = lock(&self.shared.slots);
        slots.retain(|slot| Arc::strong_count(slot) > 1 || !lock(&slot.lines).is_empty());
        let all: Vec<_> = slots.clone();
        drop(slots);
        let mut wrote = false;
        for slot in all {
            std::mem::swap(&mut *lock(&slot.lines), &mut self.batch);
            if !self.batch.is_empty() {
                wrote = true;
                // After the lines were taken, so that none which came after the change goes to the old output. What
                // was formatted before the log was switched off is still owed to the old one.
                self.change_output(|next| mode_of(next.output()) != Mode::Off);
                self.write();
                self.batch.clear();
            }
        }
        wrote
    }

    fn write(&mut self) {
        self.shared.in_hand.store(count_lines(&self.batch), Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let written = self.sink.write_lines(&self.batch, || !shared.abandoned.load(Ordering::Relaxed));
        self.shared.in_hand.store(0, Ordering::Relaxed);
        match written {
            Ok(()) if self.failing || self.lost > 0 => {
                let output = self.sink.output().name();
                self.shared.emit(&Event::LogOutputRecovered { output: &output, lines: self.lost });
                (self.failing, self.lost) = (false, 0);
            }
            Ok(()) => {}
            Err(Lost { cause, lines }) => {
                self.shared.lost.fetch_add(lines, Ordering::Relaxed);
                self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                self.lost += lines;
                if !std::mem::replace(&mut self.failing, true) {
                    let (output, cause) = (self.sink.output().name(), cause.to_string());
                    self.shared.emit(&Event::LogOutputFailed { output: &output, cause: &cause });
                }
            }
        }
    }

    /// Says how many lines found no room, once a whole round has passed without one more.
    fn report_dropping(&mut self, last: bool) {
        let now = self.shared.without_room.load(Ordering::Relaxed);
        let over = last || std::mem::replace(&mut self.without_room, now) == now;
        if over && self.shared.dropping.swap(false, Ordering::Relaxed) {
            let output = self.sink.output().name();
            let lines = now - std::mem::replace(&mut self.without_room_reported, now);
            self.shared.emit(&Event::LogDropped { output: &output, lines });
        }
    }

    fn sleep(&mut self) {
        self.batch.shrink_to(IDLE_CAPACITY);
        for slot in lock(&self.shared.slots).iter() {
            lock(&slot.lines).shrink_to(IDLE_CAPACITY);
        }
        self.shared.asleep.store(true, Ordering::Relaxed);
        if !self.shared.has_work() {
            thread::park();
        }
        self.shared.asleep.store(false, Ordering::Relaxed);
    }
}
