//! The gate: who is in, who waits, who is next.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::Priority;
use mainstay_core::clock::MonoMs;

use super::ShedPlan;
use super::limit::Limit;
use super::queue::{Queue, Ticket, Waiting};

/// After somebody had to wait, priorities count for so long.
const SCARCE_MS: u64 = 1_000;
/// Of a hundred places of the limit, by [`Priority::index`].
const SHARES: [u64; 4] = [100, 100, 95, 80];

/// The places of an upstream, shared by all workers. `T` wakes whoever waits for one.
#[derive(Debug)]
pub struct Gate<T> {
    plan: ShedPlan,
    limit: Limit,
    in_flight: AtomicU32,
    /// Waiters; read without the lock, changed with it.
    waiting: AtomicU32,
    /// Until when priorities count.
    scarce_until_ms: AtomicU64,
    queue: Mutex<Queue<T>>,
}

/// What became of a request that did not enter at once.
#[derive(Debug)]
pub enum Queued<T> {
    /// It has a place after all.
    Admitted(T),
    /// It waits.
    Waiting(Ticket),
    /// It is refused.
    Refused { why: Why, waiter: T },
}

/// What [`Gate::queue`] comes to.
#[derive(Debug)]
pub struct Asked<T> {
    pub queued: Queued<T>,
    /// Somebody less important who was pushed out, and has to be told.
    pub pushed_out: Option<T>,
    /// Somebody who waited and has a place now.
    pub called: Option<T>,
}

impl<T> Asked<T> {
    fn only(queued: Queued<T>) -> Self {
        Self { queued, pushed_out: None, called: None }
    }
}

/// Why somebody may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The queue is full of what is as important.
    QueueFull,
    /// The caller has half of the queue already.
    CallerFull,
}

impl Why {
    /// For the trail.
    pub fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "the queue for a place is full",
            Self::CallerFull => "this caller has half of the queue for a place already",
        }
    }
}

impl<T> Gate<T> {
    pub fn new(plan: ShedPlan) -> Self {
        Self {
            plan,
            limit: Limit::new(plan.limit),
            in_flight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            scarce_until_ms: AtomicU64::new(0),
            queue: Mutex::new(Queue::new()),
        }
    }

    /// Takes a place, if there is one for this class and nobody waits for it.
    pub fn enter(&self, priority: Priority, now: MonoMs) -> bool {
        self.waiting.load(SeqCst) == 0 && self.take(self.share(priority, now))
    }

    /// Waits for a place.
    pub fn queue(&self, waiter: T, priority: Priority, caller: u64, now: MonoMs) -> Asked<T> {
        let mut queue = self.lock();
        self.scarce_until_ms.store(now.0 + SCARCE_MS, Relaxed);
        // A place may have become free before the lock was ours.
        if queue.len() == 0 && self.take(self.share(priority, now)) {
            return Asked::only(Queued::Admitted(waiter));
        }
        let most = self.plan.queue as usize;
        if most > 0 && queue.of_caller(caller) >= (most / 2).max(1) {
            return Asked::only(Queued::Refused { why: Why::CallerFull, waiter });
        }
        let mut pushed_out = None;
        if queue.len() >= most {
            pushed_out = queue.push_out_below(priority);
            if pushed_out.is_none() {
                return Asked::only(Queued::Refused { why: Why::QueueFull, waiter });
            }
        }
        let ticket = queue.push(waiter, priority, caller, now);
        self.waiting.store(queue.len() as u32, SeqCst);
        // Whoever left just before did not see us, and what is free may be for us alone.
        match self.admit(&mut queue, now) {
            Some(next) if next.number == ticket.number => {
                Asked { queued: Queued::Admitted(next.waiter), pushed_out, called: None }
            }
            next => {
                Asked { queued: Queued::Waiting(ticket), pushed_out, called: next.map(|next| next.waiter) }
            }
        }
    }

    /// Gives a place back. Whoever comes next has one; there may be more of them, see [`Gate::next`]. Asks for the time only if
    /// somebody waits.
    pub fn leave(&self, now: impl FnOnce() -> MonoMs) -> Option<T> {
        self.in_flight.fetch_sub(1, SeqCst);
        if self.waiting.load(SeqCst) == 0 { None } else { self.next(now()) }
    }

    /// The next one who waits, if there is a place. Asked again until there is none: a limit may have grown.
    pub fn next(&self, now: MonoMs) -> Option<T> {
        if self.waiting.load(SeqCst) == 0 {
            return None;
        }
        let mut queue = self.lock();
        self.scarce_until_ms.store(now.0 + SCARCE_MS, Relaxed);
        self.admit(&mut queue, now).map(|next| next.waiter)
    }

    /// Ends a wait. False: a place had come first, and has to be left; or the waiter was pushed out, and has been told.
    pub fn give_up(&self, ticket: Ticket) -> bool {
        let mut queue = self.lock();
        let was_there = queue.remove(ticket).is_some();
        self.waiting.store(queue.len() as u32, SeqCst);
        was_there
    }

    /// How long an answer took, and whether the upstream timed out or said that it is overloaded.
    pub fn sample(&self, us: u64, dropped: bool, now: MonoMs) {
        self.limit.sample(us, self.in_flight(), dropped, now);
    }

    /// How many there may be now.
    pub fn limit(&self) -> u32 {
        self.limit.get()
    }

    /// How many there are.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// How many of a class wait.
    pub fn waiting(&self, priority: Priority) -> u32 {
        if self.waiting.load(Relaxed) == 0 { 0 } else { self.lock().of(priority) as u32 }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place below `most`.
    fn take(&self, most: u32) -> bool {
        let enter = |in_flight: u32| (in_flight < most).then(|| in_flight + 1);
        self.in_flight.fetch_update(SeqCst, Relaxed, enter).is_ok()
    }

    /// How much of the limit a class may fill now.
    fn share(&self, priority: Priority, now: MonoMs) -> u32 {
        let limit = self.limit.get();
        if now.0 >= self.scarce_until_ms.load(Relaxed) {
            return limit;
        }
        // Rounded up: of a small limit nobody's share is nothing, and little of the whole lies idle.
        (u64::from(limit) * SHARES[priority.index()]).div_ceil(100) as u32
    }

    /// Takes a place for the next one, with the lock held.
    fn admit(&self, queue: &mut Queue<T>, now: MonoMs) -> Option<Waiting<T>> {
        let newest = queue.busy_ms(now) > self.plan.queue_wait_ms / 2;
        for priority in Priority::ALL {
            if queue.of(priority) == 0 {
                continue;
            }
            if !self.take(self.share(priority, now)) {
                // The lower classes may fill no more than this one.
                return None;
            }
            let next = queue.pop(newest, priority);
            self.waiting.store(queue.len() as u32, SeqCst);
            return next;
        }
        None
    }
}
