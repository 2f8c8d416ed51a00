//! Tokens of the admin API: the engine's own is in its file; these are for everybody else, each with a role.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use mainstay_core::catalogue::port::{List, Page};
use mainstay_core::catalogue::{AdminToken, Change, Kind, Record, Role, Stored};
use mainstay_identity::key;
use serde::Serialize;

use super::{Listed, Versioned, at, created, edit, keys, other_kind, random, refused};
use crate::caller::{Basis, Caller, Id, role_name};
use crate::calls::Call;
use crate::fields::Fields;
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::App;

/// A token as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: String,
    name: String,
    role: &'static str,
    apis: Vec<String>,
    /// `active`, `expired` or `revoked`.
    state: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl Shown {
    fn new(token: AdminToken, now: i64) -> Self {
        Self {
            role: role_name(token.role),
            state: keys::state(token.expires_at, token.revoked_at, now),
            created_at: at(token.created_at),
            expires_at: token.expires_at.map(at),
            revoked_at: token.revoked_at.map(at),
            id: token.id,
            name: token.name,
            apis: token.apis,
        }
    }

    fn stored(stored: Stored, now: i64) -> Result<Versioned<Self>, Refusal> {
        let etag = stored.etag;
        Ok(Versioned::new(Self::new(of(stored.record)?, now), etag))
    }
}

/// A token that was made now: the only shape that has its text.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    shown: Shown,
    token: &'a str,
}

fn of(record: Record) -> Result<AdminToken, Refusal> {
    match record {
        Record::AdminToken(token) => Ok(token),
        _ => Err(other_kind()),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    mut parameters: Parameters,
) -> Result<Json<Listed<Versioned<Shown>>>, Refusal> {
    let (limit, after) = (parameters.limit(), parameters.take("cursor"));
    parameters.done()?;
    let list = List { kind: Kind::AdminToken, consumer: None, after, limit };
    let Page { items, next } = app.catalogue()?.list(list).await.map_err(refused)?;
    let now = app.clock.now().0;
    let items = items.into_iter().map(|stored| Shown::stored(stored, now)).collect::<Result<_, _>>()?;
    Ok(Json(Listed { items, next }))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Result<Versioned<Shown>, Refusal> {
    let stored = app.catalogue()?.get(Kind::AdminToken, &id).await.map_err(refused)?;
    Shown::stored(stored, app.clock.now().0)
}

fn read_role(fields: &mut Fields) -> Role {
    let role = fields.text("role");
    match fields.required("role", role).as_str() {
        "viewer" => return Role::Viewer,
        "operator" => return Role::Operator,
        "owner" => return Role::Owner,
        // Told already.
        "" => {}
        _ => fields.wrong("role", "must be viewer, operator or owner"),
    }
    Role::Viewer
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let mut fields = Fields::of(&body)?;
    let name = fields.text("name");
    let name = fields.required("name", name);
    let role = read_role(&mut fields);
    let apis = fields.texts("apis").set().unwrap_or_default();
    keys::check_apis(&app, &mut fields, &apis);
    if role == Role::Owner && !apis.is_empty() {
        fields.wrong("apis", "an owner is not limited to apis");
    }
    let expires_at = fields.expiry(now).set();
    fields.done()?;
    // Twice 128 random bits.
    let secret = key::id("mat_", &random()?) + &key::id("", &random()?);
    let token = AdminToken {
        id: key::id("token_", &random()?),
        name,
        sha256: key::sha256(secret.as_bytes()),
        role,
        apis,
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    let tokens = app.tokens.clone();
    let work = async move {
        let change = Change::CreateAdminToken(token.clone());
        let applied = catalogue.apply(change, caller.actor(), None).await.map_err(refused)?;
        tokens.note(token);
        let Versioned { record: shown, etag } = Shown::stored(applied.stored.ok_or_else(other_kind)?, now)?;
        let id = shown.id.clone();
        Ok(created("tokens", &id, Versioned { record: Made { shown, token: &secret }, etag }))
    };
    app.change(call, work).await
}

pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let now = app.clock.now().0;
    let tokens = app.tokens.clone();
    let work = async move {
        let about = (Kind::AdminToken, id.as_str());
        let revoke = |_| Ok(Change::RevokeAdminToken { id: id.clone() });
        let applied = edit(catalogue.as_ref(), about, &basis, &caller.actor(), revoke).await?;
        let stored = applied.stored.ok_or_else(other_kind)?;
        // It opens nothing from now on; the answer says so.
        tokens.note(of(stored.record.clone())?);
        Ok(Shown::stored(stored, now)?.into_response())
    };
    app.change(call, work).await
}
