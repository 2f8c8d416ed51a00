//! What an instance has seen: counters for tests and for people at a shell.
//!
//! A test never sleeps to wait for a count: [`Stats::until`] returns when a condition on them holds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

/// How many different "METHOD /path" are counted one by one; the rest is counted as [`OTHER`].
const KEYS_MAX: usize = 4_096;
const OTHER: &str = "other";

/// All counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatsView {
    /// Requests by `"METHOD /path"` as they arrived, without query; refused and faulted ones included.
    pub requests: BTreeMap<String, u64>,
    pub requests_total: u64,
    /// Changes of the ledger made through this instance: payments, cancellations, refunds.
    pub effects: u64,
    pub connections_accepted: u64,
    pub connections_open: u64,
    /// From the arrival of a request's head to the end of its answer's body.
    pub in_flight: u64,
    pub in_flight_max: u64,
    /// Answers of which the last byte was handed to the connection.
    pub completed: u64,
    /// Requests that ended earlier: the client left, or a fault cut them.
    pub cut_short: u64,
}

/// The counters of one instance. `/_faults` and `/_stats` themselves are not counted as requests.
#[derive(Default)]
pub struct Stats {
    view: Mutex<StatsView>,
    changed: Notify,
}

impl Stats {
    #[must_use]
    pub fn view(&self) -> StatsView {
        self.with(StatsView::clone)
    }

    /// How often `"METHOD /path"` has arrived.
    #[must_use]
    pub fn requests(&self, method_and_path: &str) -> u64 {
        self.with(|view| view.requests.get(method_and_path).copied().unwrap_or(0))
    }

    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.with(|view| view.requests_total)
    }

    #[must_use]
    pub fn effects(&self) -> u64 {
        self.with(|view| view.effects)
    }

    #[must_use]
    pub fn connections_accepted(&self) -> u64 {
        self.with(|view| view.connections_accepted)
    }

    #[must_use]
    pub fn connections_open(&self) -> u64 {
        self.with(|view| view.connections_open)
    }

    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.with(|view| view.in_flight)
    }

    #[must_use]
    pub fn in_flight_max(&self) -> u64 {
        self.with(|view| view.in_flight_max)
    }

    #[must_use]
    pub fn completed(&self) -> u64 {
        self.with(|view| view.completed)
    }

    #[must_use]
    pub fn cut_short(&self) -> u64 {
        self.with(|view| view.cut_short)
    }

    /// Forgets what has been counted. What is open or in flight stays counted, and `in_flight_max` starts from it.
    pub fn reset(&self) {
        self.change(|view| {
            let (connections_open, in_flight) = (view.connections_open, view.in_flight);
            *view =
                StatsView { connections_open, in_flight, in_flight_max: in_flight, ..StatsView::default() };
        });
    }

    /// Returns once `condition` holds. Put a timeout around it: it waits for ever for what never happens.
    pub async fn until(&self, condition: impl Fn(&StatsView) -> bool) {
        loop {
            // The waiter is registered before the look, so a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.with(|view| condition(view)) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn effect(&self) {
        self.change(|view| view.effects += 1);
    }

    pub(crate) fn connection_opened(&self) {
        self.change(|view| {
            view.connections_accepted += 1;
            view.connections_open += 1;
        });
    }

    pub(crate) fn connection_closed(&self) {
        self.change(|view| view.connections_open -= 1);
    }

    pub(crate) fn request_began(&self, method_and_path: String) {
        self.change(|view| {
            let known = view.requests.len() < KEYS_MAX || view.requests.contains_key(&method_and_path);
            let key = if known { method_and_path } else { OTHER.to_owned() };
            *view.requests.entry(key).or_insert(0) += 1;
            view.requests_total += 1;
            view.in_flight += 1;
            view.in_flight_max = view.in_flight_max.max(view.in_flight);
        });
    }

    pub(crate) fn request_ended(&self, completed: bool) {
        self.change(|view| {
            view.in_flight -= 1;
            *(if completed { &mut view.completed } else { &mut view.cut_short }) += 1;
        });
    }

    fn with<T>(&self, read: impl FnOnce(&StatsView) -> T) -> T {
        read(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut StatsView) -> T) -> T {
        let result = change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
        result
    }
}
