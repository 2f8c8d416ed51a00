//! Consumers: those of the catalogue, and beside them, to look at only, those that stand in the configuration.

use std::cmp::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use mainstay_core::catalogue::port::{List, Page};
use mainstay_core::catalogue::{Catalogue, Change, Consumer, Kind, Record, Stored};
use mainstay_core::principal::{Attribute, Attributes};
use serde::Serialize;

use super::{Listed, Versioned, at, created, edit, other_kind, refused, remove};
use crate::caller::{Basis, Caller, Id};
use crate::calls::Call;
use crate::fields::{Fields, Patch, merge_attributes, new_attributes};
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::App;

/// A consumer as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: String,
    name: String,
    plan: Option<String>,
    groups: Vec<String>,
    attributes: Attributes,
    suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// `file`: it is changed in the configuration.
    source: &'static str,
}

impl Shown {
    fn new(consumer: Consumer, source: &'static str) -> Self {
        let created_at = (source == "catalogue").then(|| at(consumer.created_at));
        let Consumer { id, name, plan, groups, attributes, suspended, .. } = consumer;
        Self { id, name, plan, groups, attributes, suspended, created_at, source }
    }

    fn of_file(app: &App, consumer: Consumer) -> Versioned<Self> {
        let etag = Some(format!("file-{}", app.engine.loaded().digest));
        Versioned { record: Self::new(consumer, "file"), etag }
    }

    fn stored(stored: Stored) -> Result<Versioned<Self>, Refusal> {
        match stored.record {
            Record::Consumer(consumer) => Ok(Versioned::new(Self::new(consumer, "catalogue"), stored.etag)),
            _ => Err(other_kind()),
        }
    }
}

/// The consumer of this id in the configuration.
pub(super) fn in_file(app: &App, id: &str) -> Option<Consumer> {
    app.engine.file_consumers().into_iter().find(|consumer| consumer.id == id)
}

/// Refuses an id that neither the configuration nor the catalogue knows.
pub(super) async fn require(app: &App, catalogue: &dyn Catalogue, id: &str) -> Result<(), Refusal> {
    if in_file(app, id).is_none() {
        catalogue.get(Kind::Consumer, id).await.map_err(refused)?;
    }
    Ok(())
}

pub(crate) async fn list(
    State(app): State<App>,
    mut parameters: Parameters,
) -> Result<Json<Listed<Versioned<Shown>>>, Refusal> {
    let (limit, after) = (parameters.limit(), parameters.take("cursor"));
    parameters.done()?;
    let list = List { kind: Kind::Consumer, consumer: None, after: after.clone(), limit };
    let Page { items, next } = app.catalogue()?.list(list).await.map_err(refused)?;
    let mut of_file = app.engine.file_consumers();
    of_file.retain(|consumer| after.as_deref().is_none_or(|after| consumer.id.as_str() > after));
    let (mut page, mut more) = (Vec::new(), next.is_some());
    let (mut stored, mut of_file) = (items.into_iter().peekable(), of_file.into_iter().peekable());
    loop {
        let order = match (stored.peek(), of_file.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some(file)) => stored.record.id().cmp(&file.id),
        };
        if page.len() == limit {
            more = true;
            break;
        }
        // One that stands in both is the file's: there it can be changed.
        let from_store = if order == Ordering::Greater { None } else { stored.next() };
        let from_file = if order == Ordering::Less { None } else { of_file.next() };
        match (from_file, from_store) {
            (Some(consumer), _) => page.push(Shown::of_file(&app, consumer)),
            (None, Some(consumer)) => page.push(Shown::stored(consumer)?),
            (None, None) => break,
        }
    }
    let next = page.last().filter(|_| more).map(|last| last.record.id.clone());
    Ok(Json(Listed { items: page, next }))
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id) -> Result<Versioned<Shown>, Refusal> {
    match in_file(&app, &id) {
        Some(consumer) => Ok(Shown::of_file(&app, consumer)),
        None => Shown::stored(app.catalogue()?.get(Kind::Consumer, &id).await.map_err(refused)?),
    }
}

/// What a body says about a consumer.
struct Wanted {
    name: Patch<String>,
    plan: Patch<String>,
    groups: Patch<Vec<String>>,
    attributes: Patch<Vec<(String, Option<Attribute>)>>,
    suspended: Patch<bool>,
}

impl Wanted {
    fn read(app: &App, fields: &mut Fields) -> Self {
        let wanted = Self {
            name: fields.text("name"),
            plan: fields.text("plan"),
            groups: fields.texts("groups"),
            attributes: fields.attributes("attributes"),
            suspended: fields.flag("suspended"),
        };
        if let Patch::Set(plan) = &wanted.plan {
            let plans: Vec<_> = app.engine.plans().into_iter().map(|report| report.plan).collect();
            if !plans.contains(plan) {
                fields
                    .wrong("plan", format!("no such plan in the configuration, which has {}", names(&plans)));
            }
        }
        wanted
    }
}

/// A list of names for a message.
pub(super) fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub(crate) async fn create(
    State(app): State<App>,
    Extension(call): Extension<Call>,
    caller: Caller,
    body: Bytes,
) -> Result<Response, Refusal> {
    let catalogue = app.catalogue()?;
    let mut fields = Fields::of(&body)?;
    let id = fields.text("id");
    let id = fields.required("id", id);
    if [".", ".."].contains(&id.as_str()) {
        fields.wrong("id", "would be lost in a path");
    }
    let wanted = Wanted::read(&app, &mut fields);
    fields.done()?;
    if in_file(&app, &id).is_some() {
        return Err(Refusal::conflict(format!(
            "The consumer {id:?} stands in the configuration file already."
        )));
    }
    let consumer = Consumer {
        name: wanted.name.set().unwrap_or_else(|| id.clone()),
        plan: wanted.plan.set(),
        groups: wanted.groups.set().unwrap_or_default(),
        attributes: new_attributes(wanted.attributes),
        suspended: wanted.suspended.set().unwrap_or_default(),
        created_at: app.clock.now().0,
        id,
    };
    let work = async move {
        let change = Change::CreateConsumer(consumer);
        let applied = catalogue.apply(change, caller.actor(), None).await.map_err(refused)?;
        let shown = Shown::stored(applied.stored.ok_or_else(other_kind)?)?;
        let id = shown.record.id.clone();
        Ok(created("consumers", &id, shown))
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
    refuse_file(&app, &id)?;
    let mut fields = Fields::of(&body)?;
    ["id", "created_at", "source", "etag"].into_iter().for_each(|name| fields.fixed(name));
    let wanted = Wanted::read(&app, &mut fields);
    if wanted.name == Patch::Clear {
        fields.wrong("name", "cannot be taken away");
    }
    fields.done()?;
    let Wanted { name, plan, groups, attributes, suspended } = wanted;
    let alter = move |record| {
        let Record::Consumer(mut consumer) = record else { return Err(other_kind()) };
        name.clone().onto(&mut consumer.name);
        match plan.clone() {
            Patch::Keep => {}
            changed => consumer.plan = changed.set(),
        }
        groups.clone().onto(&mut consumer.groups);
        merge_attributes(&mut consumer.attributes, attributes.clone());
        suspended.clone().onto(&mut consumer.suspended);
        Ok(Change::UpdateConsumer(consumer))
    };
    let work = async move {
        let about = (Kind::Consumer, id.as_str());
        let applied = edit(catalogue.as_ref(), about, &basis, &caller.actor(), alter).await?;
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
    refuse_file(&app, &id)?;
    remove(&app, (call, caller, basis), (Kind::Consumer, id), |id| Change::DeleteConsumer { id }).await
}

fn refuse_file(app: &App, id: &str) -> Result<(), Refusal> {
    if in_file(app, id).is_none() {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "The consumer {id:?} stands in the configuration file: change it there and reload. Its keys are made and \
         revoked here."
    )))
}
