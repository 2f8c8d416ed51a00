//! The event log: counts every event, and writes those that do not come too often.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::clock::{Clock, MonoMs, UnixMs, monotonic};

use super::Event;
use crate::lock;
use crate::log::{LogQueue, LogWriter, Output, push_stamp, push_string, push_u64};
use crate::metrics::{Cells, Counter, Registry};

/// Lines of one kind that may come at once.
const BURST: u64 = 10;
/// After that, one more in this time.
const REFILL_MS: u64 = 10_000;
/// What may wait for standard error to take it.
const QUEUE_BYTES_MAX: usize = 256 * 1024;

/// The two times that an event needs: the date for its line, and a clock that never goes back for its limit.
#[derive(Clone)]
pub struct EventClock(Arc<dyn Fn() -> (UnixMs, MonoMs) + Send + Sync>);

impl EventClock {
    /// The machine's clocks.
    pub fn system() -> Self {
        let start = monotonic();
        Self::from_fn(move || {
            let passed_ms = monotonic().saturating_duration_since(start).as_millis();
            (Clock::System.now(), MonoMs(u64::try_from(passed_ms).unwrap_or(u64::MAX)))
        })
    }

    /// Whatever `now` says.
    pub fn from_fn(now: impl Fn() -> (UnixMs, MonoMs) + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }
}

impl fmt::Debug for EventClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventClock")
    }
}

/// Writes events; a clone writes to the same log. Emitting never waits for the output.
///
/// Each kind has a token bucket: ten lines at once, then one every ten seconds. A line that was held back is
/// counted, and the next line of its kind says how many there were (`suppressed`).
#[derive(Clone)]
pub struct EventLog(Arc<Inner>);

struct Inner {
    writer: LogWriter,
    clock: EventClock,
    state: Mutex<State>,
}

struct State {
    queue: LogQueue,
    cells: Cells,
    /// In the order of [`Event::NAMES`].
    kinds: Vec<Kind>,
}

struct Kind {
    name: &'static str,
    counter: Counter,
    /// When the bucket will be full again: it has room while that is not further away than a full bucket takes.
    full_at_ms: u64,
    suppressed: u64,
}

impl Kind {
    /// Takes a token; how many lines were held back before this one, or nothing if it is held back too.
    fn admit(&mut self, now: MonoMs) -> Option<u64> {
        let from = self.full_at_ms.max(now.0);
        if from - now.0 > (BURST - 1) * REFILL_MS {
            self.suppressed += 1;
            return None;
        }
        self.full_at_ms = from + REFILL_MS;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl EventLog {
    /// Starts a log with a thread of its own, so that an access log that blocks does not hold up its own report.
    ///
    /// # Errors
    /// The output cannot be opened, or no thread started.
    pub fn start(output: Output, registry: &Arc<Registry>, clock: EventClock) -> io::Result<Self> {
        let writer = LogWriter::start(output, QUEUE_BYTES_MAX)?;
        let kind = |name: &&'static str| Kind {
            name,
            counter: registry.counter("mainstay_events_total", "Events by kind.", &[("event", name)]),
            full_at_ms: 0,
            suppressed: 0,
        };
        let kinds = Event::NAMES.iter().map(kind).collect();
        let state = State { queue: writer.worker(), cells: registry.worker(), kinds };
        Ok(Self(Arc::new(Inner { writer, clock, state: Mutex::new(state) })))
    }

    /// Counts the event and, unless its kind comes too often, queues its line.
    pub fn emit(&self, event: &Event<'_>) {
        let (date, now) = (self.0.clock.0)();
        let mut state = lock(&self.0.state);
        let State { queue, cells, kinds } = &mut *state;
        let Some(kind) = kinds.iter_mut().find(|kind| kind.name == event.name()) else { return };
        cells.inc(kind.counter);
        if let Some(suppressed) = kind.admit(now) {
            queue.push_with(|out| push_event(out, event, date, suppressed));
        }
    }

    /// Waits until what was emitted has been written; false when that took longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.writer.flush(timeout)
    }

    /// Writes what is queued and ends the log, for all clones. Returns how many lines were never written.
    pub fn flush_and_stop(&self, timeout: Duration) -> u64 {
        self.0.writer.flush_and_stop(timeout)
    }
}

fn push_event(out: &mut Vec<u8>, event: &Event<'_>, date: UnixMs, suppressed: u64) {
    out.extend_from_slice(b"{\"ts\":\"");
    push_stamp(out, date);
    out.extend_from_slice(b"\",\"level\":");
    push_string(out, event.level().name());
    out.extend_from_slice(b",\"event\":");
    push_string(out, event.name());
    out.extend_from_slice(b",\"message\":");
    push_string(out, event.message());
    event.push_fields(out);
    if suppressed > 0 {
        out.extend_from_slice(b",\"suppressed\":");
        push_u64(out, suppressed);
    }
    out.extend_from_slice(b"}\n");
}
