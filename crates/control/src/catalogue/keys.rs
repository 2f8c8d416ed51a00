//! API keys: the text of one is in the answer that made it, and nowhere else.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use mainstay_core::catalogue::port::{List, Page};
use mainstay_core::catalogue::{ApiKey, Change, Kind, Record, Sha256, Stored};
use mainstay_core::principal::Mode;
use mainstay_core::units::parse_duration;
use mainstay_identity::key::{self, ApiKeyText};
use serde::Serialize;

use super::{Listed, Versioned, at, consumers, created, edit, other_kind, random, refused};
use crate::caller::{Basis, Caller, Id};
use crate::calls::Call;
use crate::fields::{Fields, Patch};
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::App;

/// How long a key that is rotated is accepted beside the new one, where nothing is said.
const OVERLAP_DEFAULT: &str = "10m";
/// A year: who needs longer needs two keys.
const OVERLAP_MAX_MS: i64 = 366 * 86_400_000;

/// A key as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: String,
    consumer: String,
    mode: &'static str,
    /// `active`, `expired` or `revoked`.
    state: &'static str,
    scopes: Vec<String>,
    addresses: Vec<String>,
    apis: Vec<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

impl Shown {
    fn new(key: ApiKey, now: i64) -> Self {
        let state = state(key.expires_at, key.revoked_at, now);
        Self {
            mode: key.mode.name(),
            state,
            created_at: at(key.created_at),
            expires_at: key.expires_at.map(at),
            revoked_at: key.revoked_at.map(at),
            last_used_at: key.last_used_at.map(at),
            id: key.id,
            consumer: key.consumer,
            scopes: key.scopes,
            addresses: key.addresses,
            apis: key.apis,
        }
    }

    fn stored(stored: Stored, now: i64) -> Result<Versioned<Self>, Refusal> {
        let etag = stored.etag;
        Ok(Versioned::new(Self::new(of(stored.record)?, now), etag))
    }
}

/// What became of a credential.
pub(super) fn state(expires_at: Option<i64>, revoked_at: Option<i64>, now: i64) -> &'static str {
    match (revoked_at, expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= now => "expired",
        (None, _) => "active",
    }
}

/// A key that was made now: the only shape that has its text.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    shown: Shown,
    key: &'a str,
}

fn of(record: Record) -> Result<ApiKey, Refusal> {
    match record {
        Record::Key(key) => Ok(key),
        _ => Err(other_kind()),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(consumer): Id,
    mut parameters: Parameters,
) -> Result<Json<Listed<Versioned<Shown>>>, Refusal> {
    let (limit, after) = (parameters.limit(), parameters.take("cursor"));
    parameters.done()?;
    let catalogue = app.catalogue()?;
    consumers::require(&app, catalogue.as_ref(), &consumer).await?;
    let list = List { kind: Kind::Key, consumer: Some(consumer), after, limit };
    let Page { items, next } = catalogue.list(list).await.map_err(refused)?;
    let now = app.clock.now().0;
    let mut shown = Vec::with_capacity(items.len());
    for Stored { record, etag } in items {
        let key = of(record)?;
        if caller.bearer.covers(&key.apis) {
            shown.push(Versioned::new(Shown::new(key, now), etag));
        }
    }
    Ok(Json(Listed { items: shown, next }))
}

pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
) -> Result<Versioned<Shown>, Refusal> {
    let Stored { record, etag } = app.catalogue()?.get(Kind::Key, &id).await.map_err(refused)?;
    let key = of(record)?;
    caller.bearer.require_key(&key)?;
    Ok(Versioned::new(Shown::new(key, app.clock.now().0), etag))
}

/// Where and for what a key may be used.
struct Limits {
    scopes: Patch<Vec<String>>,
    addresses: Patch<Vec<String>>,
    apis: Patch<Vec<String>>,
}

impl Limits {
    fn read(app: &App, fields: &mut Fields) -> Self {
        let limits = Self {
            scopes: fields.texts("scopes"),
            addresses: fields.texts("addresses"),
            apis: fields.texts("apis"),
        };
        if let Patch::Set(apis) = &limits.apis {
            check_apis(app, fields, apis);
        }
        limits
    }

    fn is_absent(&self) -> bool {
        [&self.scopes, &self.addresses, &self.apis].into_iter().all(|list| *list == Patch::Keep)
    }
}

/// A misspelt api would make a credential that is good for nothing.
pub(super) fn check_apis(app: &App, fields: &mut Fields, wanted: &[String]) {
    let apis = app.engine.apis();
    if let Some(unknown) = wanted.iter().find(|api| !apis.contains(api)) {
        let unknown: String = unknown.chars().take(64).collect();
        let apis = consumers::names(&apis);
        fields.wrong("apis", format!("no api {unknown:?} in the configuration, which has {apis}"));
    }
}

pub(super) fn read_mode(fields: &mut Fields) -> Mode {
    match fields.text("mode").set().as_deref() {
        None | Some("live") => Mode::Live,
        Some("test") => Mode::Test,
        Some(_) => {
            fields.wrong("mode", "must be live or test");
            Mode::Live
        }
    }
}

/// The hash of a key that was issued elsewhere.
fn read_hash(fields: &mut Fields) -> Option<Sha256> {
    let hex = fields.text("sha256").set()?;
    let hash = Sha256::from_hex(&hex);
    if hash.is_none() {
        fields.wrong("sha256", "must be the 64 hex digits of the key's SHA-256");
    }
    hash
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    Id(consumer): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let mut fields = Fields::of(&body)?;
    let (mode, imported) = (read_mode(&mut fields), read_hash(&mut fields));
    let limits = Limits::read(&app, &mut fields);
    let expires_at = fields.expiry(now).set();
    fields.done()?;
    let apis = limits.apis.set().unwrap_or_default();
    caller.bearer.require_apis(&apis)?;
    let text = match imported {
        None => Some(ApiKeyText::generate(&random()?, mode)),
        Some(_) => None,
    };
    let Some(sha256) = imported.or_else(|| text.as_ref().map(ApiKeyText::sha256)) else {
        return Err(Refusal::internal("There is neither a key nor a hash of one."));
    };
    let consumer_in_file = consumers::in_file(&app, &consumer).is_some();
    let key = ApiKey {
        id: key::id("key_", &random()?),
        consumer,
        mode,
        sha256,
        scopes: limits.scopes.set().unwrap_or_default(),
        addresses: limits.addresses.set().unwrap_or_default(),
        apis,
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let change = match text {
        Some(_) => Change::CreateKey { key, consumer_in_file },
        None => Change::ImportKey { key, consumer_in_file },
    };
    let work = async move {
        let applied = catalogue.apply(change, caller.actor(), None).await.map_err(refused)?;
        made(applied.stored, text.as_ref(), now)
    };
    app.change(call, work).await
}

/// 201 with the key, and with its text where it was made here.
fn made(stored: Option<Stored>, text: Option<&ApiKeyText>, now: i64) -> Result<Response, Refusal> {
    let Versioned { record: shown, etag } = Shown::stored(stored.ok_or_else(other_kind)?, now)?;
    let id = shown.id.clone();
    Ok(match text {
        Some(text) => {
            let made = Made { shown, key: text.reveal() };
            created("keys", &id, Versioned { record: made, etag })
        }
        None => created("keys", &id, Versioned { record: shown, etag }),
    })
}

/// Two kinds of change, each with its own line in the audit, so one of them at a time.
pub(crate) async fn update(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let mut fields = Fields::of(&body)?;
    for name in ["id", "consumer", "mode", "state", "created_at", "revoked_at", "last_used_at", "etag"] {
        fields.fixed(name);
    }
    let names_expiry = ["expires_at", "expires_in"].into_iter().find(|name| fields.has(name));
    let limits = Limits::read(&app, &mut fields);
    let expiry = fields.expiry(now);
    match (names_expiry, limits.is_absent()) {
        (Some(name), false) => {
            fields.wrong(name, "stands beside scopes, addresses or apis; send it in a request of its own");
        }
        (Some(name), true) if expiry == Patch::Clear => {
            fields.wrong(name, "cannot be taken away; make a key without an end, or rotate this one");
        }
        (None, true) => fields.wrong("", "says nothing that could be changed"),
        _ => {}
    }
    fields.done()?;
    let bearer = caller.bearer.clone();
    let alter = move |record| {
        let mut key = of(record)?;
        bearer.require_key(&key)?;
        if let Patch::Set(at) = expiry {
            return Ok(Change::ExpireKey { id: key.id, at });
        }
        limits.scopes.clone().onto(&mut key.scopes);
        limits.addresses.clone().onto(&mut key.addresses);
        limits.apis.clone().onto(&mut key.apis);
        bearer.require_key(&key)?;
        let ApiKey { id, scopes, addresses, apis, .. } = key;
        Ok(Change::RestrictKey { id, scopes, addresses, apis })
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::Key, &id), &basis, &caller.actor(), alter).await?;
        Ok(Shown::stored(applied.stored.ok_or_else(other_kind)?, now)?.into_response())
    };
    app.change(call, work).await
}

/// The key stays in the lists, so that its id in a log still says something.
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let bearer = caller.bearer.clone();
    let alter = move |record| {
        let key = of(record)?;
        bearer.require_key(&key)?;
        Ok(Change::RevokeKey { id: key.id })
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::Key, &id), &basis, &caller.actor(), alter).await?;
        Ok(Shown::stored(applied.stored.ok_or_else(other_kind)?, now)?.into_response())
    };
    app.change(call, work).await
}

/// The new key has what the old one had, and as long to live as that had from its making.
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let mut fields = Fields::of(&body)?;
    let overlap_ms = read_overlap(&mut fields);
    let expiry = fields.expiry(now);
    fields.done()?;
    let (new_id, bytes) = (key::id("key_", &random()?), random()?);
    let bearer = caller.bearer.clone();
    let alter = move |record| {
        let old = of(record)?;
        bearer.require_key(&old)?;
        let lifetime = old.expires_at.map(|at| now.saturating_add(at.saturating_sub(old.created_at).max(0)));
        let new = ApiKey {
            id: new_id.clone(),
            sha256: ApiKeyText::generate(&bytes, old.mode).sha256(),
            created_at: now,
            expires_at: match expiry {
                Patch::Keep => lifetime,
                Patch::Clear => None,
                Patch::Set(at) => Some(at),
            },
            revoked_at: None,
            last_used_at: None,
            ..old
        };
        Ok(Change::RotateKey { id: old.id, new, old_expires_at: now.saturating_add(overlap_ms) })
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::Key, &id), &basis, &caller.actor(), alter).await?;
        let mode = match applied.record() {
            Some(Record::Key(key)) => key.mode,
            _ => return Err(other_kind()),
        };
        made(applied.stored, Some(&ApiKeyText::generate(&bytes, mode)), now)
    };
    app.change(call, work).await
}

fn read_overlap(fields: &mut Fields) -> i64 {
    let text = fields.text("overlap").set().unwrap_or_else(|| OVERLAP_DEFAULT.to_owned());
    match parse_duration(&text).map(|overlap| i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX)) {
        Ok(ms) if ms <= OVERLAP_MAX_MS => return ms,
        Ok(_) => fields.wrong("overlap", "is longer than a year"),
        Err(error) => fields.wrong("overlap", error.0),
    }
    0
}
