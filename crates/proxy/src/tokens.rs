//! Tokens on the request path: whose keys are held, and what a worker has verified already.
//!
//! [`TokensPlan`] is the table of issuers of one configuration. Each issuer has [`IssuerKeys`], which outlive the configuration
//! where the next one names the same: fetched by URL, read from a file, or handed in from inside the process.
//! Whoever lowers a configuration builds the table with [`TokensPlan::new`]; an issuer of the engine's own (`Subject::Own`) is
//! one more pair in it, with [`IssuerKeys::inside`] and [`Keys::replace`] whenever its keys change.
//!
//! A worker never fetches. Where keys are missing it says so ([`IssuerKeys::want`]), waits a bounded time for the control side
//! ([`IssuerKeys::ended`]), and decides with what is there then. [`KnownTokens`] is what one worker has verified:
//! for a token that comes again, a hash and a look into a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::introspection::Introspection;
use mainstay_core::Caller;
use mainstay_core::catalogue::Sha256;
use mainstay_core::clock::{MonoMs, UnixMs};
use mainstay_core::random::Random;
use mainstay_identity::Refusal;
use mainstay_identity::cache::{CachePlan, Epoch, TokenCache};
use mainstay_identity::index::Index;
use mainstay_identity::jwks::{Decision, Keys, Wait};
use mainstay_identity::jwt::{self, IssuerPlan, Issuers, Prepared, TokenRefusal, Verified};
use mainstay_identity::key::sha256;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// All issuers of a configuration, with their keys.
#[derive(Clone, Default)]
pub struct TokensPlan {
    issuers: Issuers,
    keys: Vec<Arc<IssuerKeys>>,
    /// Whether a token that was used goes on to the upstream.
    pub is_forwarded: bool,
    /// Servers that say whether opaque tokens are good.
    pub introspection: Option<Arc<Introspection>>,
}

impl TokensPlan {
    /// From each issuer and its keys.
    pub fn new(issuers: Vec<(IssuerPlan, Arc<IssuerKeys>)>, is_forwarded: bool) -> Self {
        let (plans, keys) = issuers.into_iter().unzip();
        Self { issuers: Issuers::new(plans), keys, is_forwarded, introspection: None }
    }

    /// The keys of all issuers.
    pub fn keys(&self) -> &[Arc<IssuerKeys>] {
        &self.keys
    }

    /// The keys of an issuer, by its number.
    pub fn of(&self, issuer: usize) -> Option<&IssuerKeys> {
        self.keys.get(issuer).map(|keys| &**keys)
    }
}

/// The keys of one issuer, and who waits for them.
pub struct IssuerKeys {
    /// What its tokens say of it.
    pub issuer: Box<str>,
    /// Where its keys come from, and everything that has to be the same for them to go on over a reload.
    pub source: Box<str>,
    /// What is held.
    pub keys: Keys,
    wanted: Arc<Notify>,
    ended: Notify,
    is_kept: AtomicBool,
}

impl IssuerKeys {
    /// With keys that somebody keeps up to date.
    pub fn new(issuer: &str, source: &str, keys: Keys) -> Self {
        Self {
            issuer: issuer.into(),
            source: source.into(),
            keys,
            wanted: Arc::default(),
            ended: Notify::new(),
            is_kept: AtomicBool::new(false),
        }
    }

    /// With keys from inside the process.
    pub fn inside(issuer: &str, keys: Keys) -> Self {
        Self::new(issuer, "inside", keys)
    }

    /// True once: for whoever is to keep them up to date.
    pub fn begin_keeping(&self) -> bool {
        !self.is_kept.swap(true, Ordering::Relaxed)
    }

    /// Asks for a fetch.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Told each time that somebody asks for a fetch. Apart from the keys, so that waiting for it does not keep them.
    pub fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.wanted)
    }

    /// A fetch is over, whatever came of it.
    pub fn tell_ended(&self) {
        self.ended.notify_waiters();
    }

    /// Ends with the next fetch that is over.
    pub fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// Waits for a fetch, a bounded time.
    pub async fn wait(&self, wait: Wait) {
        let mut ended = std::pin::pin!(self.ended());
        // In this order: what is over now would not be told again.
        ended.as_mut().enable();
        if self.keys.is_over(wait) {
            return;
        }
        self.want();
        let _ = tokio::time::timeout(Duration::from_millis(wait.wait_ms), ended).await;
    }
}

/// What a token turned out to be.
pub enum Looked {
    /// Whose it is; whether that was known already.
    Known(Arc<Caller>, bool),
    /// Keys have to be fetched, of the issuer with this number.
    Wait(usize, Wait),
    /// The servers have been asked about the token with this hash.
    Asked(Sha256),
}

/// In the place of an issuer's number: the token was introspected, and no key has to do with it.
const INTROSPECTED: usize = usize::MAX;

/// Tokens that a worker knows. Those that it has verified and those that a server has vouched for are kept apart: one text
/// may be both, and each operation asks for one of the two. Made when the first one comes.
#[derive(Default)]
pub struct KnownTokens {
    verified: Option<TokenCache>,
    introspected: Option<TokenCache>,
}

fn made<'a>(place: &'a mut Option<TokenCache>, random: &Random) -> &'a mut TokenCache {
    place.get_or_insert_with(|| TokenCache::new(CachePlan::default(), [random.bits(), random.bits()]))
}

/// What a token is looked at with.
pub struct With<'a> {
    /// Who may issue tokens.
    pub tokens: &'a TokensPlan,
    /// Who is known.
    pub index: &'a Index,
    /// The number of the configuration.
    pub config: u64,
    /// The date.
    pub now: UnixMs,
    /// Time of the engine.
    pub mono: MonoMs,
    /// A fetch that was waited for.
    pub waited: Option<Wait>,
}

impl With<'_> {
    /// What everything that is kept depends on.
    fn epoch(&self) -> Epoch {
        let (index, scopes) = (self.index.generation(), self.index.scope_names().len());
        Epoch { index, scopes, config: self.config }
    }
}

impl KnownTokens {
    /// Whose a token is.
    ///
    /// # Errors
    /// It is not accepted, or its issuer's keys cannot be had.
    pub fn look(&mut self, token: &[u8], with: &With<'_>, random: &Random) -> Result<Looked, Refusal> {
        let cache = made(&mut self.verified, random);
        let hash = sha256(token);
        // Read before anything is asked: what changes meanwhile makes the answer out of date.
        let epoch = with.epoch();
        let generation = |issuer| with.tokens.of(issuer).map_or(0, |it| it.keys.generation(with.mono));
        match cache.get(&hash, &epoch, generation, with.now) {
            Some(Ok(caller)) => return Ok(Looked::Known(Arc::clone(caller), true)),
            Some(Err(refusal)) => return Err(Refusal::Token(refusal)),
            None => {}
        }
        let prepared = jwt::prepare(token, &with.tokens.issuers, with.now).map_err(|refusal| {
            cache.put(&hash, epoch, None, &Err(refusal), with.now);
            Refusal::Token(refusal)
        })?;
        let issuer = prepared.issuer();
        let issuer_keys = (issuer, generation(issuer));
        let set = match decide(with, &prepared)? {
            Decision::Verify(set) => set,
            Decision::Fetch(wait) => return Ok(Looked::Wait(issuer, wait)),
            Decision::Refuse(refusal) => return Err(refusal),
        };
        let outcome = prepared.verify(&set, with.index);
        cache.put(&hash, epoch, Some(issuer_keys), &outcome, with.now);
        outcome.map(|verified| Looked::Known(verified.caller, false)).map_err(Refusal::Token)
    }

    /// Whose an opaque token is. `waited`: it has been asked, and the wait is over.
    ///
    /// # Errors
    /// It is not accepted, or it is not known whether it is.
    pub fn look_opaque(
        &mut self,
        token: &[u8],
        (with, servers, waited): (&With<'_>, &Introspection, bool),
        random: &Random,
    ) -> Result<Looked, Refusal> {
        let cache = made(&mut self.introspected, random);
        let hash = sha256(token);
        let epoch = with.epoch();
        if let Some(Ok(caller)) = cache.get(&hash, &epoch, |_| 0, with.now) {
            return Ok(Looked::Known(Arc::clone(caller), true));
        }
        let Some(answer) = servers.known(&hash, with.now) else {
            if waited {
                return Err(Refusal::Unavailable { retry_after_s: 1 });
            }
            return servers.ask(hash, token).map(|()| Looked::Asked(hash));
        };
        let (caller, ends_at) = servers.caller(answer, with.index)?;
        let verified = Verified { caller: Arc::clone(&caller), ends_at, issuer: INTROSPECTED };
        cache.put(&hash, epoch, Some((INTROSPECTED, 0)), &Ok(verified), with.now);
        Ok(Looked::Known(caller, false))
    }
}

fn decide(with: &With<'_>, prepared: &Prepared<'_>) -> Result<Decision, Refusal> {
    let source = with.tokens.of(prepared.issuer()).ok_or(Refusal::Token(TokenRefusal::Issuer))?;
    let (id, algorithm) = (prepared.key_id(), prepared.algorithm());
    Ok(match with.waited {
        None => source.keys.decide(id, algorithm, with.mono),
        Some(wait) => source.keys.after_wait(wait, id, algorithm, with.mono),
    })
}
