//! Who waits for a place.

use std::collections::VecDeque;

use mainstay_core::Priority;
use mainstay_core::clock::MonoMs;

/// Names one waiter of one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) number: u64,
    pub(super) priority: Priority,
}

#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) number: u64,
    caller: u64,
    pub(super) waiter: T,
}

/// The waiters by priority, each class from the oldest to the newest.
#[derive(Debug)]
pub(super) struct Queue<T> {
    classes: [VecDeque<Waiting<T>>; 4],
    next: u64,
    /// Since when it has not been empty.
    since: MonoMs,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { classes: [const { VecDeque::new() }; 4], next: 0, since: MonoMs(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    pub(super) fn of(&self, priority: Priority) -> usize {
        self.classes[priority.index()].len()
    }

    /// Places that a caller has.
    pub(super) fn of_caller(&self, caller: u64) -> usize {
        self.classes.iter().flatten().filter(|waiting| waiting.caller == caller).count()
    }

    pub(super) fn push(&mut self, waiter: T, priority: Priority, caller: u64, now: MonoMs) -> Ticket {
        if self.len() == 0 {
            self.since = now;
        }
        let number = self.next;
        self.next += 1;
        self.classes[priority.index()].push_back(Waiting { number, caller, waiter });
        Ticket { number, priority }
    }

    /// Pushes the newest of the lowest class out, if that is below `priority`.
    pub(super) fn push_out_below(&mut self, priority: Priority) -> Option<T> {
        let lower = self.classes.iter_mut().enumerate().rev().take_while(|(i, _)| *i > priority.index());
        lower.map(|(_, class)| class).find(|class| !class.is_empty())?.pop_back().map(|w| w.waiter)
    }

    /// Who of a class is next: the oldest, or the newest in an overload.
    pub(super) fn pop(&mut self, newest: bool, priority: Priority) -> Option<Waiting<T>> {
        let class = &mut self.classes[priority.index()];
        if newest { class.pop_back() } else { class.pop_front() }
    }

    /// Takes a waiter out; `None`: it is not there any more.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let class = &mut self.classes[ticket.priority.index()];
        let at = class.binary_search_by_key(&ticket.number, |waiting| waiting.number).ok()?;
        class.remove(at).map(|waiting| waiting.waiter)
    }

    /// For how long somebody has been waiting without a break.
    pub(super) fn busy_ms(&self, now: MonoMs) -> u64 {
        if self.len() == 0 { 0 } else { now.since(self.since) }
    }
}
