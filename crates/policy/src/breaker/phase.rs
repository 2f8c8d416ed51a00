//! The state as one atomic word, and how it may change without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Which state, of which generation, and the probes of a half-open one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) kind: Kind,
    /// Goes round after a billion states.
    pub(super) generation: u32,
    pub(super) running: u16,
    pub(super) succeeded: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Closed,
    Open,
    HalfOpen,
}

const GENERATIONS: u32 = 1 << 30;

impl Phase {
    pub(super) fn next(self, kind: Kind) -> Self {
        Self { kind, generation: (self.generation + 1) % GENERATIONS, running: 0, succeeded: 0 }
    }

    fn packed(self) -> u64 {
        let kind = match self.kind {
            Kind::Closed => 0_u64,
            Kind::Open => 1,
            Kind::HalfOpen => 2,
        };
        (kind << 62)
            | (u64::from(self.generation) << 32)
            | (u64::from(self.running) << 16)
            | u64::from(self.succeeded)
    }

    fn unpacked(word: u64) -> Self {
        let kind = match word >> 62 {
            0 => Kind::Closed,
            1 => Kind::Open,
            _ => Kind::HalfOpen,
        };
        let generation = (word >> 32) as u32 % GENERATIONS;
        Self { kind, generation, running: (word >> 16) as u16, succeeded: word as u16 }
    }
}

/// The phase of now.
pub(super) struct PhaseCell(AtomicU64);

impl PhaseCell {
    pub(super) fn closed() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn load(&self) -> Phase {
        Phase::unpacked(self.0.load(Acquire))
    }

    /// For the holder of the lock. Probes that come or go at the same time belong to the phase that ends.
    pub(super) fn begin(&self, phase: Phase) {
        self.0.store(phase.packed(), Release);
    }

    /// Takes the place of a probe, of which there are `probes`, those that succeeded included.
    pub(super) fn probe_begins(&self, generation: u32, probes: u16) -> bool {
        self.change_half_open(generation, |phase| {
            let taken = u32::from(phase.running) + u32::from(phase.succeeded);
            (taken < u32::from(probes)).then(|| Phase { running: phase.running + 1, ..phase })
        })
        .is_some()
    }

    /// How many have succeeded with this one; none if their time is over.
    pub(super) fn probe_succeeds(&self, generation: u32) -> Option<u16> {
        let after = self.change_half_open(generation, |phase| {
            let running = phase.running.saturating_sub(1);
            Some(Phase { running, succeeded: phase.succeeded.saturating_add(1), ..phase })
        });
        after.map(|phase| phase.succeeded)
    }

    pub(super) fn probe_is_cancelled(&self, generation: u32) {
        self.change_half_open(generation, |phase| {
            Some(Phase { running: phase.running.saturating_sub(1), ..phase })
        });
    }

    /// The phase after the change, if it was half-open, of this generation, and `change` made one.
    fn change_half_open(&self, generation: u32, change: impl Fn(Phase) -> Option<Phase>) -> Option<Phase> {
        let changed = |word| {
            let phase = Phase::unpacked(word);
            let ours = phase.kind == Kind::HalfOpen && phase.generation == generation;
            if ours { change(phase).map(Phase::packed) } else { None }
        };
        let before = self.0.try_update(AcqRel, Acquire, changed).ok()?;
        change(Phase::unpacked(before))
    }
}
