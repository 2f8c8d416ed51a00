//! The catalogue over HTTP: a file for each kind of record, and here what they have in common.
//!
//! A change is read from its body before it begins; once it has begun it is done to its end, whoever leaves. A record that
//! is there is changed in three steps: read, alter, write only if nobody was faster. So two callers never undo each
//! other's work without noticing, with `If-Match` or without.

pub(crate) mod audit;
pub(crate) mod clients;
pub(crate) mod consumers;
pub(crate) mod keys;
pub(crate) mod plans;
pub(crate) mod tokens;
pub(crate) mod users;

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use mainstay_core::ProblemCode;
use mainstay_core::catalogue::{Actor, Applied, Catalogue, Change, Etag, Kind, Record, StoreError};
use mainstay_core::units::show_date;
use serde::Serialize;

use crate::caller::{Basis, Caller};
use crate::calls::Call;
use crate::client::path_segment;
use crate::problem::{FieldError, Refusal};
use crate::routes::App;
use crate::token::random_bytes;

/// When a dead store is worth another try.
const STORE_RETRY_AFTER_S: u32 = 2;
/// How often a change without `If-Match` begins again because somebody was faster.
const EDITS_MAX: usize = 5;

impl App {
    /// The catalogue, or what to configure for one.
    pub(crate) fn catalogue(&self) -> Result<Arc<dyn Catalogue>, Refusal> {
        self.catalogue.clone().ok_or_else(|| {
            let detail = "This engine keeps no catalogue. Set stores.catalogue in its configuration and start it \
                          again.";
            Refusal::new(ProblemCode::NotFound, detail)
        })
    }

    /// Makes a change, to its end even if the caller leaves.
    async fn change<T: Send + 'static>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = Arc::clone(&self.changing).acquire_owned().await;
        call.run(async move {
            let result = work.await;
            drop(place);
            result
        })
        .await
    }
}

/// What a caller is told when the store did not do it.
pub(crate) fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::NotFound { kind, id } => not_found(kind, &id),
        StoreError::Conflict { what } => Refusal::conflict(format!("Nothing was changed: {what}.")),
        StoreError::Stale { current } => Refusal::stale(Some(entity_tag(current))),
        StoreError::Invalid { field, why } => Refusal::invalid(vec![FieldError::pointer(field, why)]),
        StoreError::Damaged { what } => {
            let detail = format!("What is stored is damaged, so a backup has to be restored: {what}.");
            Refusal::new(ProblemCode::Internal, detail)
        }
        StoreError::Unavailable { .. }
        | StoreError::Locked { .. }
        | StoreError::SchemaTooNew(_)
        | StoreError::SchemaTooOld(_) => Refusal::store(sentence(&error.to_string()), STORE_RETRY_AFTER_S),
    }
}

/// A message as a sentence of its own.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn not_found(kind: Kind, id: &str) -> Refusal {
    let kind = kind.name().replace('_', " ");
    Refusal::new(ProblemCode::NotFound, format!("There is no {kind} {id:?}."))
}

/// What is wrong with a field, found out only beside the record.
fn field_error(field: &str, why: String) -> FieldError {
    FieldError::pointer(field, why)
}

/// Cannot happen: the store was asked for another kind.
fn other_kind() -> Refusal {
    Refusal::internal("The store gave a record of another kind.")
}

/// Reads a record, alters it and writes it back, unless it is not what the caller knows or somebody was faster.
async fn edit(
    catalogue: &dyn Catalogue,
    (kind, id): (Kind, &str),
    basis: &Basis,
    actor: &Actor,
    alter: impl Fn(Record) -> Result<Change, Refusal>,
) -> Result<Applied, Refusal> {
    for _ in 0..EDITS_MAX {
        let stored = catalogue.get(kind, id).await.map_err(refused)?;
        if !basis.takes(stored.etag.0) {
            return Err(Refusal::stale(Some(entity_tag(stored.etag))));
        }
        let change = alter(stored.record)?;
        match catalogue.apply(change, actor.clone(), Some(stored.etag)).await {
            Err(StoreError::Stale { .. }) if *basis == Basis::Any => {}
            applied => return applied.map_err(refused),
        }
    }
    Err(Refusal::conflict("Others change this record at the same time; read it and try again."))
}

/// Takes a record away, if it is what the caller knows.
async fn remove(
    app: &App,
    (call, caller, basis): (Call, Caller, Basis),
    (kind, id): (Kind, String),
    change: fn(String) -> Change,
) -> Result<StatusCode, Refusal> {
    let catalogue = app.catalogue()?;
    let work = async move {
        let delete = |_| Ok(change(id.clone()));
        edit(catalogue.as_ref(), (kind, &id), &basis, &caller.actor(), delete).await?;
        Ok(StatusCode::NO_CONTENT)
    };
    app.change(call, work).await
}

/// Milliseconds since 1970 as they are shown.
fn at(unix_ms: i64) -> String {
    show_date(unix_ms.div_euclid(1000))
}

fn entity_tag(etag: Etag) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}\"", etag.0)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A record with its version.
#[derive(Serialize)]
pub(crate) struct Versioned<T> {
    #[serde(flatten)]
    record: T,
    /// What stands in `ETag`, without the quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl<T> Versioned<T> {
    fn new(record: T, etag: Etag) -> Self {
        Self { record, etag: Some(etag.0.to_string()) }
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let etag = self.etag.as_ref().and_then(|etag| HeaderValue::try_from(format!("\"{etag}\"")).ok());
        let mut response = Json(self).into_response();
        if let Some(etag) = etag {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }
}

/// 201 with where the new record is.
fn created(collection: &str, id: &str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::CREATED;
    let location = format!("/admin/v1/{collection}/{}", path_segment(id));
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct Listed<T> {
    items: Vec<T>,
    /// To be sent as `cursor` for the next page; absent: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Random bytes for a secret or an id.
fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    random_bytes().map_err(|_| Refusal::internal("The machine gives no random numbers; nothing was changed."))
}
