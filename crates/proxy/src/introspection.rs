//! Opaque tokens on the request path: what their servers have said of them, and what has to be asked.
//!
//! A worker never asks. [`Introspection`] is shared by all of them: answers that are still good, and the questions that are under
//! way. Where an answer is missing, the worker hands the token over ([`Introspection::ask`]), waits a bounded time
//! ([`Introspection::wait`]), and decides with what is there then. However many requests carry a token, there is one question.
//! Everything is bounded: the answers, the questions that wait for their turn, and the wait.
//!
//! The control side takes the questions ([`Introspection::questions`]), asks the servers in their order, and tells what came of it
//! ([`Introspection::answered`]). A server that fails is remembered for [`FAILED_MS`]: whoever comes with the token is 503 until
//! then, at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::Caller;
use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::UnixMs;
use mainstay_identity::Refusal;
use mainstay_identity::index::Index;
use mainstay_identity::introspection::{Active, REFUSED_MS, ServerPlan};
use mainstay_identity::jwt::TokenRefusal;
use quick_cache::unsync::Cache;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc};

/// Answers that are kept: a few hundred bytes each.
const ANSWERS_MAX: usize = 32_768;
/// Tokens that are not accepted, so that nonsense pushes out no good ones.
const REFUSED_MAX: usize = 4_096;
/// Questions that wait for their turn or for an answer.
const QUESTIONS_MAX: usize = 256;
/// How long it is remembered that a server failed.
pub const FAILED_MS: i64 = 1_000;

/// A question for the servers.
pub struct Question {
    /// The token's hash.
    pub hash: Sha256,
    /// The token. It has no `Debug`, and goes nowhere but to the servers.
    pub token: Vec<u8>,
}

/// What the servers have said.
#[derive(Clone)]
pub enum Answer {
    /// The server with this number vouches for it.
    Active(usize, Arc<Active>),
    /// None of them does.
    Refused(TokenRefusal),
    /// One that was asked has not answered.
    Failed,
}

/// The servers of a configuration, and what they have said.
pub struct Introspection {
    servers: Vec<ServerPlan>,
    /// Everything that has to be the same for answers to go on over a reload.
    pub source: Box<str>,
    wait_max: Duration,
    state: Mutex<State>,
    asks: mpsc::Sender<Question>,
    questions: Mutex<Option<mpsc::Receiver<Question>>>,
}

struct State {
    active: Cache<[u8; 32], (usize, Arc<Active>)>,
    /// With the time until which it holds; `None`: a server failed.
    refused: Cache<[u8; 32], (Option<TokenRefusal>, UnixMs)>,
    under_way: FxHashMap<[u8; 32], Arc<Notify>>,
}

impl Introspection {
    /// With nothing known.
    pub fn new(servers: Vec<ServerPlan>, source: &str, wait_max: Duration) -> Self {
        let (asks, questions) = mpsc::channel(QUESTIONS_MAX);
        let state = State {
            active: Cache::new(ANSWERS_MAX),
            refused: Cache::new(REFUSED_MAX),
            under_way: FxHashMap::default(),
        };
        let questions = Mutex::new(Some(questions));
        Self { servers, source: source.into(), wait_max, state: Mutex::new(state), asks, questions }
    }

    /// In the order in which they are asked.
    pub fn servers(&self) -> &[ServerPlan] {
        &self.servers
    }

    /// What is asked; once, for whoever is to ask.
    pub fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a token.
    pub fn known(&self, hash: &Sha256, now: UnixMs) -> Option<Answer> {
        let state = self.state();
        if let Some((server, active)) = state.active.get(&hash.0)
            && now < active.ends_at
        {
            return Some(Answer::Active(*server, Arc::clone(active)));
        }
        let (refusal, until) = state.refused.get(&hash.0).copied()?;
        (now < until).then(|| refusal.map_or(Answer::Failed, Answer::Refused))
    }

    /// Asks, unless somebody has asked already.
    ///
    /// # Errors
    /// Too many questions wait.
    pub fn ask(&self, hash: Sha256, token: &[u8]) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.under_way.contains_key(&hash.0) {
            return Ok(());
        }
        let question = Question { hash, token: token.to_vec() };
        if state.under_way.len() >= QUESTIONS_MAX || self.asks.try_send(question).is_err() {
            return Err(Refusal::Unavailable { retry_after_s: 1 });
        }
        state.under_way.insert(hash.0, Arc::default());
        Ok(())
    }

    /// Waits until a question is answered, a bounded time.
    pub async fn wait(&self, hash: &Sha256) {
        let Some(told) = self.state().under_way.get(&hash.0).cloned() else { return };
        let mut told = std::pin::pin!(told.notified());
        // In this order: what was told before would not be told again.
        told.as_mut().enable();
        if self.state().under_way.contains_key(&hash.0) {
            let _ = tokio::time::timeout(self.wait_max, told).await;
        }
    }

    /// Keeps an answer, and tells whoever waits for it.
    pub fn answered(&self, hash: &Sha256, answer: Answer, now: UnixMs) {
        let mut state = self.state();
        let until = |ms: i64| UnixMs(now.0.saturating_add(ms));
        match answer {
            Answer::Active(server, active) => {
                state.refused.remove(&hash.0);
                state.active.insert(hash.0, (server, active));
            }
            Answer::Refused(refusal) => {
                state.active.remove(&hash.0);
                state.refused.insert(hash.0, (Some(refusal), until(REFUSED_MS)));
            }
            Answer::Failed => state.refused.insert(hash.0, (None, until(FAILED_MS))),
        }
        if let Some(told) = state.under_way.remove(&hash.0) {
            told.notify_waiters();
        }
    }

    /// Ends a question that nobody answers any more. One that was answered is left as it is.
    pub fn give_up(&self, hash: &Sha256, now: UnixMs) {
        if self.state().under_way.contains_key(&hash.0) {
            self.answered(hash, Answer::Failed, now);
        }
    }

    /// Whose a token is, by an answer.
    ///
    /// # Errors
    /// Nobody's who is let in; or it is not known, because a server has failed.
    pub fn caller(&self, answer: Answer, index: &Index) -> Result<(Arc<Caller>, UnixMs), Refusal> {
        match answer {
            Answer::Active(server, active) => {
                let plan = self.servers.get(server).ok_or(Refusal::Token(TokenRefusal::Issuer))?;
                let caller = active.caller(plan, index).map_err(Refusal::Token)?;
                Ok((Arc::new(caller), active.ends_at))
            }
            Answer::Refused(refusal) => Err(Refusal::Token(refusal)),
            Answer::Failed => Err(Refusal::Unavailable { retry_after_s: 1 }),
        }
    }
}
