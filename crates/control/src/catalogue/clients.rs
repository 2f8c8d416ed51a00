//! OAuth clients: the secret of one is in the answer that made it, and nowhere else.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use mainstay_core::catalogue::port::{List, Page};
use mainstay_core::catalogue::{Change, ClientKind, Kind, OauthClient, Record, Stored};
use mainstay_identity::key;
use serde::Serialize;

use super::{Listed, Versioned, at, consumers, created, edit, keys, other_kind, random, refused, remove};
use crate::caller::{Basis, Caller, Id};
use crate::calls::Call;
use crate::fields::{Fields, Patch};
use crate::oauth::redirect;
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::App;

/// A client as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    client_id: String,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    grants: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<serde_json::Value>,
    mode: &'static str,
    disabled: bool,
    created_at: String,
}

impl Shown {
    fn new(client: OauthClient) -> Self {
        Self {
            kind: kind_name(client.kind),
            mode: client.mode.name(),
            created_at: at(client.created_at),
            jwks: client.jwks.as_deref().and_then(|jwks| serde_json::from_str(jwks).ok()),
            client_id: client.id,
            name: client.name,
            consumer: client.consumer,
            redirect_uris: client.redirect_uris,
            scopes: client.scopes,
            grants: client.grants,
            disabled: client.disabled,
        }
    }

    fn stored(stored: Stored) -> Result<Versioned<Self>, Refusal> {
        let etag = stored.etag;
        Ok(Versioned::new(Self::new(of(stored.record)?), etag))
    }
}

/// A client that was made now, or has a new secret: the only shape that has it.
#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    shown: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

const fn kind_name(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Confidential => "confidential",
        ClientKind::Public => "public",
    }
}

fn of(record: Record) -> Result<OauthClient, Refusal> {
    match record {
        Record::Client(client) => Ok(client),
        _ => Err(other_kind()),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    mut parameters: Parameters,
) -> Result<Json<Listed<Versioned<Shown>>>, Refusal> {
    let (limit, after) = (parameters.limit(), parameters.take("cursor"));
    let consumer = parameters.take("consumer");
    parameters.done()?;
    let list = List { kind: Kind::Client, consumer, after, limit };
    let Page { items, next } = app.catalogue()?.list(list).await.map_err(refused)?;
    let items = items.into_iter().map(Shown::stored).collect::<Result<_, _>>()?;
    Ok(Json(Listed { items, next }))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Result<Versioned<Shown>, Refusal> {
    Shown::stored(app.catalogue()?.get(Kind::Client, &id).await.map_err(refused)?)
}

/// What a body says about a client.
#[derive(Clone)]
struct Wanted {
    name: Patch<String>,
    consumer: Patch<String>,
    redirect_uris: Patch<Vec<String>>,
    scopes: Patch<Vec<String>>,
    grants: Patch<Vec<String>>,
    jwks: Patch<String>,
    disabled: Patch<bool>,
}

impl Wanted {
    fn read(fields: &mut Fields) -> Self {
        Self {
            name: fields.text("name"),
            consumer: fields.text("consumer"),
            redirect_uris: fields.texts("redirect_uris"),
            scopes: fields.texts("scopes"),
            grants: fields.texts("grants"),
            jwks: fields.object("jwks"),
            disabled: fields.flag("disabled"),
        }
    }

    fn onto(self, client: &mut OauthClient) {
        self.name.onto(&mut client.name);
        self.redirect_uris.onto(&mut client.redirect_uris);
        self.scopes.onto(&mut client.scopes);
        self.grants.onto(&mut client.grants);
        self.disabled.onto(&mut client.disabled);
        for (patch, field) in [(self.consumer, &mut client.consumer), (self.jwks, &mut client.jwks)] {
            match patch {
                Patch::Keep => {}
                changed => *field = changed.set(),
            }
        }
    }
}

/// What a client is for must be possible with what it has. Gives the field and what is wrong with it.
fn check(client: &OauthClient) -> Result<(), (&'static str, String)> {
    let has = |grant: &str| client.grants.iter().any(|known| known == grant);
    for uri in &client.redirect_uris {
        redirect::acceptable(uri).map_err(|why| ("redirect_uris", why.to_owned()))?;
    }
    if has("client_credentials") && client.kind == ClientKind::Public {
        return Err((
            "grants",
            "a public client has no credentials of its own (RFC 6749, section 4.4)".into(),
        ));
    }
    if has("client_credentials") && client.consumer.is_none() {
        return Err(("consumer", "is missing: with client_credentials it acts for a consumer".into()));
    }
    if has("authorization_code") && client.redirect_uris.is_empty() {
        return Err(("redirect_uris", "has none: with authorization_code it needs one".into()));
    }
    if has("refresh_token") && !has("authorization_code") {
        return Err(("grants", "refresh_token comes with authorization_code alone".into()));
    }
    Ok(())
}

fn read_kind(fields: &mut Fields) -> ClientKind {
    let kind = fields.text("type");
    match fields.required("type", kind).as_str() {
        "public" => return ClientKind::Public,
        // An empty one was told already.
        "confidential" | "" => {}
        _ => fields.wrong("type", "must be confidential or public"),
    }
    ClientKind::Confidential
}

/// Twice 128 random bits.
fn new_secret() -> Result<String, Refusal> {
    Ok(key::id("mcs_", &random()?) + &key::id("", &random()?))
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let mut fields = Fields::of(&body)?;
    let (kind, mode) = (read_kind(&mut fields), keys::read_mode(&mut fields));
    let wanted = Wanted::read(&mut fields);
    fields.required("name", wanted.name.clone());
    let mut client = OauthClient {
        id: key::id("client_", &random()?),
        name: String::new(),
        kind,
        consumer: None,
        redirect_uris: Vec::new(),
        scopes: Vec::new(),
        grants: Vec::new(),
        secret_sha256: None,
        jwks: None,
        mode,
        disabled: false,
        created_at: app.clock.now().0,
    };
    wanted.onto(&mut client);
    if client.grants.is_empty() {
        let usual: &[&str] = match client.redirect_uris.is_empty() {
            true => &["client_credentials"],
            false => &["authorization_code", "refresh_token"],
        };
        client.grants = usual.iter().map(|grant| (*grant).to_owned()).collect();
    }
    if let Err((field, why)) = check(&client) {
        fields.wrong(field, why);
    }
    fields.done()?;
    // One that signs has nothing to keep secret here (private_key_jwt).
    let has_secret = kind == ClientKind::Confidential && client.jwks.is_none();
    let secret = if has_secret { Some(new_secret()?) } else { None };
    client.secret_sha256 = secret.as_deref().map(|secret| key::sha256(secret.as_bytes()));
    let consumer_in_file =
        client.consumer.as_deref().is_some_and(|consumer| consumers::in_file(&app, consumer).is_some());
    let work = async move {
        let change = Change::CreateClient { client, consumer_in_file };
        let applied = catalogue.apply(change, caller.actor(), None).await.map_err(refused)?;
        let Versioned { record: shown, etag } = Shown::stored(applied.stored.ok_or_else(other_kind)?)?;
        let id = shown.client_id.clone();
        Ok(created("clients", &id, Versioned { record: Made { shown, client_secret: secret }, etag }))
    };
    app.change(call, work).await
}

pub(crate) async fn update(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let mut fields = Fields::of(&body)?;
    for name in ["client_id", "type", "mode", "created_at", "etag", "client_secret"] {
        fields.fixed(name);
    }
    let wanted = Wanted::read(&mut fields);
    if wanted.name == Patch::Clear {
        fields.wrong("name", "cannot be taken away");
    }
    fields.done()?;
    let engine = app.clone();
    let alter = move |record| {
        let mut client = of(record)?;
        wanted.clone().onto(&mut client);
        check(&client).map_err(|(field, why)| Refusal::invalid(vec![super::field_error(field, why)]))?;
        let in_file = client.consumer.as_deref().and_then(|consumer| consumers::in_file(&engine, consumer));
        Ok(Change::UpdateClient { client, consumer_in_file: in_file.is_some() })
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::Client, &id), &basis, &caller.actor(), alter).await?;
        Ok(Shown::stored(applied.stored.ok_or_else(other_kind)?)?.into_response())
    };
    app.change(call, work).await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
) -> Result<StatusCode, Refusal> {
    remove(&app, (call, caller, basis), (Kind::Client, id), |id| Change::DeleteClient { id }).await
}

/// Another secret in the place of the old one, which is accepted no more.
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(id): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    Fields::of(&body)?.done()?;
    let secret = new_secret()?;
    let sha256 = key::sha256(secret.as_bytes());
    let alter = move |record| {
        let client = of(record)?;
        if client.kind == ClientKind::Public {
            return Err(Refusal::conflict("A public client cannot keep a secret, so it has none."));
        }
        Ok(Change::SetClientSecret { id: client.id, sha256: Some(sha256) })
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::Client, &id), &basis, &caller.actor(), alter).await?;
        let Versioned { record: shown, etag } = Shown::stored(applied.stored.ok_or_else(other_kind)?)?;
        Ok(Versioned { record: Made { shown, client_secret: Some(secret) }, etag }.into_response())
    };
    app.change(call, work).await
}
