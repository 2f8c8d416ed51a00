//! A worker's queue: lines wait here for the writer's thread.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::writer::{Mode, Shared};
use crate::lock;

/// A buffer that grew beyond this for one long line is not kept.
const SCRATCH_KEPT: usize = 64 * 1024;

/// The lines of one worker that are not yet written.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) lines: Mutex<Vec<u8>>,
}

/// The worker's end. Dropping it loses nothing: what it holds is still written.
pub struct LogQueue {
    slot: Arc<Slot>,
    shared: Arc<Shared>,
    /// A line is formatted here, outside the lock.
    scratch: Cell<Vec<u8>>,
}

impl LogQueue {
    pub(super) fn new(slot: Arc<Slot>, shared: Arc<Shared>) -> Self {
        Self { slot, shared, scratch: Cell::default() }
    }

    /// False when lines go nowhere, so that a caller need not even collect what they would say.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.shared.mode() == Mode::On
    }

    /// Appends the line that `write` puts into the empty buffer; a missing newline at its end is added. Where
    /// the queue is full, or the writer has stopped, the line is dropped and counted.
    #[inline]
    pub fn push_with(&self, write: impl FnOnce(&mut Vec<u8>)) {
        match self.shared.mode() {
            Mode::On => {}
            Mode::Off => return,
            Mode::Stopped => return self.shared.line_after_stop(),
        }
        let mut line = self.scratch.take();
        line.clear();
        write(&mut line);
        if line.last().is_some_and(|byte| *byte != b'\n') {
            line.push(b'\n');
        }
        self.append(&line);
        if line.capacity() <= SCRATCH_KEPT {
            self.scratch.set(line);
        }
    }

    fn append(&self, line: &[u8]) {
        let half = self.shared.queue_bytes_max / 2;
        let mut lines = lock(&self.slot.lines);
        let before = lines.len();
        let after = before + line.len();
        if after > self.shared.queue_bytes_max {
            drop(lines);
            return self.shared.line_without_room();
        }
        lines.extend_from_slice(line);
        drop(lines);
        // Waking costs a system call: only when nobody would look, or when waiting a round could be too long.
        if self.shared.asleep.load(Ordering::Relaxed) || (before < half && after >= half) {
            self.shared.wake();
        }
    }
}
