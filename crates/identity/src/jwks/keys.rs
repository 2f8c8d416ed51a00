//! What is held of one issuer, and what to do now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use mainstay_core::clock::MonoMs;

use super::set::{KeyNote, KeySet, SetError};
use crate::jwt::{Algorithm, TokenRefusal};
use crate::refusal::Refusal;

/// When to fetch, and for how long what was fetched is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePlan {
    /// A set is not fetched again sooner, whatever its `max-age`.
    pub refresh_min_ms: u64,
    /// A set is fetched again then at the latest; also what holds where there is no `max-age`.
    pub refresh_max_ms: u64,
    /// How long a set is used after it was fetched when no newer one can be got.
    pub keep_ms: u64,
    /// How often an unknown `kid` may lead to a fetch.
    pub unknown_key_every_ms: u64,
    /// How long to wait after a first failure; twice as long after each further one.
    pub retry_min_ms: u64,
    /// How long to wait after many failures.
    pub retry_max_ms: u64,
    /// A fetch that has not come back by then is given up.
    pub fetch_timeout_ms: u64,
    /// How long a request waits for a fetch (`auth.outbound.wait`).
    pub wait_ms: u64,
}

impl Default for SourcePlan {
    fn default() -> Self {
        Self {
            refresh_min_ms: 60_000,
            refresh_max_ms: 3_600_000,
            keep_ms: 86_400_000,
            unknown_key_every_ms: 10_000,
            retry_min_ms: 1_000,
            retry_max_ms: 60_000,
            fetch_timeout_ms: 5_000,
            wait_ms: 500,
        }
    }
}

/// What to do with a token now.
#[derive(Debug)]
pub enum Decision {
    /// Check it with these.
    Verify(Arc<KeySet>),
    /// Let the control side fetch, wait for it, then ask [`Keys::after_wait`].
    Fetch(Wait),
    /// Answer this.
    Refuse(Refusal),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At most so long.
    pub wait_ms: u64,
    /// The number of the fetch that has to be over.
    attempt: u64,
}

/// How good what is held is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was ever fetched.
    Never,
    /// As its issuer wants it.
    Fresh,
    /// Its time is over, and it is still used.
    Stale,
    /// It is not used any more.
    TooOld,
}

/// The keys of one issuer.
pub struct Keys {
    plan: SourcePlan,
    held: ArcSwapOption<Held>,
    generation: AtomicU64,
    flight: Mutex<Flight>,
}

struct Held {
    set: Arc<KeySet>,
    /// Its text, to know an unchanged one by.
    text: Box<[u8]>,
    refresh_at: MonoMs,
    fresh_until: MonoMs,
    /// `None`: for ever, because it was not fetched.
    usable_until: Option<MonoMs>,
}

#[derive(Default)]
struct Flight {
    /// When the fetch under way began.
    since: Option<MonoMs>,
    /// A token asked for it.
    wanted: bool,
    /// Fetches begun so far; the number of the one under way.
    attempts: u64,
    /// The last one that brought a set.
    succeeded: u64,
    succeeded_at: Option<MonoMs>,
    failures_in_a_row: u32,
    retry_at: MonoMs,
}

impl Keys {
    /// Of an issuer whose set is fetched.
    pub fn new(plan: SourcePlan) -> Self {
        Self { plan, held: ArcSwapOption::empty(), generation: AtomicU64::new(1), flight: Mutex::default() }
    }

    /// Of an issuer whose set is a file, or is ours: never fetched, exchanged with [`Keys::replace`].
    pub fn fixed(set: KeySet, text: &[u8]) -> Self {
        let keys = Self::new(SourcePlan::default());
        keys.replace(set, text);
        keys
    }

    /// Takes a set that was not fetched, with its text. True: it is another one than before.
    pub fn replace(&self, set: KeySet, text: &[u8]) -> bool {
        if self.held.load().as_ref().is_some_and(|held| *held.text == *text) {
            return false;
        }
        let far = MonoMs(u64::MAX);
        let (set, text) = (Arc::new(set), text.into());
        self.hold(Held { set, text, refresh_at: far, fresh_until: far, usable_until: None });
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// What to do with a token that says this.
    pub fn decide(&self, id: Option<&str>, algorithm: Algorithm, now: MonoMs) -> Decision {
        let held = self.held.load();
        let usable = held.as_ref().filter(|held| held.is_usable(now));
        match usable.map(|held| (held, held.set.find(id, algorithm))) {
            Some((held, Ok(_))) => Decision::Verify(Arc::clone(&held.set)),
            Some((held, Err(TokenRefusal::UnknownKey))) if held.usable_until.is_some() => {
                self.fetch_or_refuse(true, now)
            }
            Some((_, Err(refusal))) => Decision::Refuse(Refusal::Token(refusal)),
            None => self.fetch_or_refuse(false, now),
        }
    }

    /// What to do with it after the wait, whether it ended with the fetch or with the time.
    pub fn after_wait(&self, wait: Wait, id: Option<&str>, algorithm: Algorithm, now: MonoMs) -> Decision {
        let held = self.held.load();
        if let Some(held) = held.as_ref().filter(|held| held.is_usable(now)) {
            match held.set.find(id, algorithm) {
                Ok(_) => return Decision::Verify(Arc::clone(&held.set)),
                Err(TokenRefusal::UnknownKey) => {}
                Err(refusal) => return Decision::Refuse(Refusal::Token(refusal)),
            }
        }
        let flight = self.flight();
        // Only a set that was fetched since says that there is no such key.
        if flight.succeeded >= wait.attempt && held.is_some() {
            return Decision::Refuse(Refusal::Token(TokenRefusal::UnknownKey));
        }
        Decision::Refuse(unavailable(&flight, now))
    }

    /// Whether what is waited for has ended already.
    pub fn is_over(&self, wait: Wait) -> bool {
        let flight = self.flight();
        flight.attempts > wait.attempt || (flight.attempts == wait.attempt && flight.since.is_none())
    }

    /// How long ago what is held was fetched; `None`: it was not fetched.
    pub fn age_ms(&self, now: MonoMs) -> Option<u64> {
        self.flight().succeeded_at.map(|at| now.since(at))
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.held.load().as_ref().map_or(0, |held| held.set.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fetch_or_refuse(&self, holds_others: bool, now: MonoMs) -> Decision {
        let mut flight = self.flight();
        let since = flight.since.filter(|since| now.since(*since) < self.plan.fetch_timeout_ms);
        if since.is_some() {
            return Decision::Fetch(Wait { wait_ms: self.plan.wait_ms, attempt: flight.attempts });
        }
        let is_known_not_to_be = holds_others
            && flight.failures_in_a_row == 0
            && flight.succeeded_at.is_some_and(|at| now.since(at) < self.plan.unknown_key_every_ms);
        if is_known_not_to_be {
            return Decision::Refuse(Refusal::Token(TokenRefusal::UnknownKey));
        }
        if now < flight.retry_at {
            return Decision::Refuse(unavailable(&flight, now));
        }
        flight.wanted = true;
        Decision::Fetch(Wait { wait_ms: self.plan.wait_ms, attempt: flight.attempts + 1 })
    }

    /// Whether to fetch now. Who is told yes fetches, and says what came of it.
    pub fn begin(&self, now: MonoMs) -> bool {
        if self.next_due(now).is_none_or(|due| now < due) {
            return false;
        }
        let mut flight = self.flight();
        if flight.since.is_some_and(|since| now.since(since) < self.plan.fetch_timeout_ms) {
            return false;
        }
        flight.since = Some(now);
        flight.wanted = false;
        flight.attempts += 1;
        true
    }

    /// When [`Keys::begin`] will say yes, if no token asks for it before. `None`: it never will.
    pub fn next_due(&self, now: MonoMs) -> Option<MonoMs> {
        let held = self.held.load();
        if held.as_ref().is_some_and(|held| held.usable_until.is_none()) {
            return None;
        }
        let flight = self.flight();
        if let Some(since) = flight.since {
            return Some(MonoMs(since.0 + self.plan.fetch_timeout_ms));
        }
        let due = match &*held {
            Some(held) if !flight.wanted => held.refresh_at,
            _ => now,
        };
        Some(due.max(flight.retry_at))
    }

    /// The fetch brought this text, with this `Cache-Control: max-age`. A redirect, another status than 200, or more than
    /// [`super::SET_BYTES_MAX`] is for [`Keys::failed`]. Gives notes on keys that are left out.
    ///
    /// # Errors
    /// It is no usable set: a failed fetch, and counted as one.
    pub fn succeeded(
        &self,
        text: &[u8],
        max_age_s: Option<u64>,
        now: MonoMs,
    ) -> Result<Vec<(usize, KeyNote)>, SetError> {
        let (set, notes) = KeySet::parse(text).inspect_err(|_| self.failed(now))?;
        let fresh_ms = max_age_s.map_or(self.plan.refresh_max_ms, |s| s.saturating_mul(1000));
        // Written so that a plan whose bounds are crossed does not panic.
        let fresh_ms = fresh_ms.min(self.plan.refresh_max_ms).max(self.plan.refresh_min_ms);
        let known = self.held.load();
        let is_same = known.as_ref().is_some_and(|known| *known.text == *text);
        self.hold(Held {
            set: known
                .as_ref()
                .filter(|_| is_same)
                .map_or_else(|| Arc::new(set), |known| Arc::clone(&known.set)),
            text: text.into(),
            refresh_at: MonoMs(now.0.saturating_add(fresh_ms / 5 * 4)),
            fresh_until: MonoMs(now.0.saturating_add(fresh_ms)),
            usable_until: Some(MonoMs(now.0.saturating_add(self.plan.keep_ms.max(fresh_ms)))),
        });
        if !is_same {
            self.generation.fetch_add(1, Ordering::Release);
        }
        let mut flight = self.flight();
        flight.since = None;
        flight.succeeded = flight.attempts;
        flight.succeeded_at = Some(now);
        flight.failures_in_a_row = 0;
        flight.retry_at = MonoMs(0);
        Ok(notes)
    }

    /// The fetch brought nothing.
    pub fn failed(&self, now: MonoMs) {
        let mut flight = self.flight();
        flight.since = None;
        flight.wanted = false;
        let doubled = self.plan.retry_min_ms.saturating_mul(1 << flight.failures_in_a_row.min(20));
        flight.failures_in_a_row = flight.failures_in_a_row.saturating_add(1);
        flight.retry_at = MonoMs(now.0.saturating_add(doubled.min(self.plan.retry_max_ms)));
    }

    /// Changes with the set, and when it becomes too old to be used: tokens that were verified with another one have to be
    /// verified again.
    #[inline]
    pub fn generation(&self, now: MonoMs) -> u64 {
        let is_usable = self.held.load().as_ref().is_some_and(|held| held.is_usable(now));
        if is_usable { self.generation.load(Ordering::Acquire) } else { 0 }
    }

    /// How good what is held is.
    pub fn freshness(&self, now: MonoMs) -> Freshness {
        match &*self.held.load() {
            None => Freshness::Never,
            Some(held) if now < held.fresh_until => Freshness::Fresh,
            Some(held) if held.is_usable(now) => Freshness::Stale,
            Some(_) => Freshness::TooOld,
        }
    }

    /// Whether a fetch is under way.
    pub fn is_refreshing(&self, now: MonoMs) -> bool {
        self.flight().since.is_some_and(|since| now.since(since) < self.plan.fetch_timeout_ms)
    }

    fn hold(&self, held: Held) {
        self.held.store(Some(Arc::new(held)));
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_usable(&self, now: MonoMs) -> bool {
        self.usable_until.is_none_or(|until| now < until)
    }
}

/// At least a second, so that nobody is told to come back at once.
fn unavailable(flight: &Flight, now: MonoMs) -> Refusal {
    let retry_after_s = flight.retry_at.since(now).div_ceil(1000).max(1);
    Refusal::Unavailable { retry_after_s: u32::try_from(retry_after_s).unwrap_or(u32::MAX) }
}
