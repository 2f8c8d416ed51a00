//! What was changed, by whom: the audit, and whether it is what was written.

use axum::Json;
use axum::extract::State;
use mainstay_core::catalogue::change::{AuditQuery, Verified};
use mainstay_core::catalogue::{Actor, AuditRecord, Kind};
use serde::Serialize;
use serde_json::Value;

use super::{Listed, at, refused};
use crate::problem::Refusal;
use crate::query::Parameters;
use crate::routes::{App, parsed};

/// A record of the audit as it is shown.
#[derive(Serialize)]
pub(crate) struct Shown {
    number: u64,
    at: String,
    actor: Actor,
    action: String,
    kind: Kind,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
    hash: String,
}

impl Shown {
    fn new(record: AuditRecord) -> Result<Self, Refusal> {
        Ok(Self {
            number: record.number,
            at: at(record.at),
            actor: record.actor,
            action: record.action,
            kind: record.kind,
            id: record.id,
            before: record.before.as_ref().map(parsed).transpose()?,
            after: record.after.as_ref().map(parsed).transpose()?,
            hash: record.hash.to_hex(),
        })
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    mut parameters: Parameters,
) -> Result<Json<Listed<Shown>>, Refusal> {
    let limit = parameters.limit();
    let before = parameters.read("cursor", "must be the 'next' of a page", |text| text.parse().ok());
    let kinds = Kind::ALL.map(Kind::name).join(", ");
    let kind = parameters.read("kind", &format!("must be one of {kinds}"), Kind::from_name);
    let id = parameters.take("id");
    parameters.done()?;
    let query = AuditQuery { before, kind, id, limit };
    let records = app.catalogue()?.audit(query).await.map_err(refused)?;
    let next = records.last().filter(|last| records.len() == limit && last.number > 1);
    let next = next.map(|last| last.number.to_string());
    let items = records.into_iter().map(Shown::new).collect::<Result<_, _>>()?;
    Ok(Json(Listed { items, next }))
}

/// Whether the chain is whole.
#[derive(Serialize)]
pub(crate) struct Verdict {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

pub(crate) async fn verify(State(app): State<App>) -> Result<Json<Verdict>, Refusal> {
    let catalogue = app.catalogue()?;
    let Ok(_place) = app.verifying.try_acquire() else {
        let detail = "The audit is being verified for somebody else.";
        return Err(Refusal::busy(detail, 1));
    };
    let none = Verdict { ok: false, records: None, head: None, number: None, why: None };
    Ok(Json(match catalogue.verify_audit().await.map_err(refused)? {
        Verified::Whole { records, head } => {
            Verdict { ok: true, records: Some(records), head: Some(head.to_hex()), ..none }
        }
        Verified::Broken { number, why } => Verdict { number: Some(number), why: Some(why), ..none },
    }))
}
