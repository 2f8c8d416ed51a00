//! People of the engine's own user store. A password comes in and is never shown, nor is its hash.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use mainstay_core::catalogue::port::{List, Page};
use mainstay_core::catalogue::{Change, Kind, Record, Stored, User};
use mainstay_core::principal::{Attribute, Attributes};
use serde::Serialize;

use super::{Listed, Versioned, at, created, edit, other_kind, refused, remove};
use crate::caller::{Basis, Caller, Id};
use crate::calls::Call;
use crate::fields::{Fields, Patch, merge_attributes, new_attributes};
use crate::password::{BYTES_MAX, CHARS_MIN, NotHashed};
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::App;

/// A person as they are shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    name: String,
    groups: Vec<String>,
    attributes: Attributes,
    disabled: bool,
    created_at: String,
}

impl Shown {
    fn stored(stored: Stored) -> Result<Versioned<Self>, Refusal> {
        let etag = stored.etag;
        let User { name, groups, attributes, disabled, created_at, .. } = of(stored.record)?;
        Ok(Versioned::new(Self { name, groups, attributes, disabled, created_at: at(created_at) }, etag))
    }
}

fn of(record: Record) -> Result<User, Refusal> {
    match record {
        Record::User(user) => Ok(user),
        _ => Err(other_kind()),
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    mut parameters: Parameters,
) -> Result<Json<Listed<Versioned<Shown>>>, Refusal> {
    let (limit, after) = (parameters.limit(), parameters.take("cursor"));
    parameters.done()?;
    let list = List { kind: Kind::User, consumer: None, after, limit };
    let Page { items, next } = app.catalogue()?.list(list).await.map_err(refused)?;
    let items = items.into_iter().map(Shown::stored).collect::<Result<_, _>>()?;
    Ok(Json(Listed { items, next }))
}

pub(crate) async fn show(State(app): State<App>, Id(name): Id) -> Result<Versioned<Shown>, Refusal> {
    Shown::stored(app.catalogue()?.get(Kind::User, &name).await.map_err(refused)?)
}

/// What a body says about a person, beside the password.
#[derive(Clone)]
struct Wanted {
    groups: Patch<Vec<String>>,
    attributes: Patch<Vec<(String, Option<Attribute>)>>,
    disabled: Patch<bool>,
}

impl Wanted {
    fn read(fields: &mut Fields) -> Self {
        Self {
            groups: fields.texts("groups"),
            attributes: fields.attributes("attributes"),
            disabled: fields.flag("disabled"),
        }
    }

    fn is_absent(&self) -> bool {
        self.groups == Patch::Keep && self.attributes == Patch::Keep && self.disabled == Patch::Keep
    }
}

fn check_password(fields: &mut Fields, password: &str) {
    if password.len() > BYTES_MAX {
        fields.wrong("password", format!("has more than {BYTES_MAX} bytes"));
    } else if password.chars().count() < CHARS_MIN {
        fields.wrong("password", format!("has fewer than {CHARS_MIN} characters"));
    }
}

async fn hashed(app: &App, password: String) -> Result<String, Refusal> {
    app.hasher.hash(password).await.map_err(|error| match error {
        NotHashed::Busy => Refusal::busy("Too many passwords are being hashed.", 1),
        NotHashed::Failed => Refusal::internal("The password could not be hashed; nothing was changed."),
    })
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let mut fields = Fields::of(&body)?;
    let (name, password) = (fields.text("name"), fields.text("password"));
    let name = fields.required("name", name);
    let given = password != Patch::Keep;
    let password = fields.required("password", password);
    if given {
        check_password(&mut fields, &password);
    }
    if [".", ".."].contains(&name.as_str()) {
        fields.wrong("name", "would be lost in a path");
    }
    let wanted = Wanted::read(&mut fields);
    fields.done()?;
    let created_at = app.clock.now().0;
    let password_hash = hashed(&app, password).await?;
    let user = User {
        name,
        password_hash,
        groups: wanted.groups.set().unwrap_or_default(),
        attributes: new_attributes(wanted.attributes),
        disabled: wanted.disabled.set().unwrap_or_default(),
        created_at,
    };
    let work = async move {
        let applied =
            catalogue.apply(Change::CreateUser(user), caller.actor(), None).await.map_err(refused)?;
        let shown = Shown::stored(applied.stored.ok_or_else(other_kind)?)?;
        let name = shown.record.name.clone();
        Ok(created("users", &name, shown))
    };
    app.change(call, work).await
}

/// A new password is a change of its own, with its own line in the audit.
pub(crate) async fn update(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(name): Id,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let mut fields = Fields::of(&body)?;
    for name in ["name", "created_at", "etag"] {
        fields.fixed(name);
    }
    let wanted = Wanted::read(&mut fields);
    let password = match fields.text("password") {
        Patch::Keep => None,
        Patch::Clear => {
            fields.wrong("password", "cannot be taken away; disable the user instead");
            None
        }
        Patch::Set(password) => {
            check_password(&mut fields, &password);
            Some(password)
        }
    };
    if password.is_some() && !wanted.is_absent() {
        fields.wrong("password", "stands beside other fields; send it in a request of its own");
    }
    fields.done()?;
    let password_hash = match password {
        Some(password) => Some(hashed(&app, password).await?),
        None => None,
    };
    let alter = move |record| {
        let mut user = of(record)?;
        if let Some(password_hash) = password_hash.clone() {
            return Ok(Change::SetPassword { name: user.name, password_hash });
        }
        wanted.groups.clone().onto(&mut user.groups);
        merge_attributes(&mut user.attributes, wanted.attributes.clone());
        wanted.disabled.clone().onto(&mut user.disabled);
        Ok(Change::UpdateUser(user))
    };
    let work = async move {
        let applied = edit(catalogue.as_ref(), (Kind::User, &name), &basis, &caller.actor(), alter).await?;
        Ok(Shown::stored(applied.stored.ok_or_else(other_kind)?)?.into_response())
    };
    app.change(call, work).await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    basis: Basis,
    Id(name): Id,
) -> Result<StatusCode, Refusal> {
    remove(&app, (call, caller, basis), (Kind::User, name), |name| Change::DeleteUser { name }).await
}
