//! What the policies that serve now say about somebody and an operation, asked beside the traffic.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use mainstay_core::clock::UnixMs;
use mainstay_core::port::{Question, QuestionBody, Unanswerable};
use mainstay_core::principal::{AuthMethod, Mode};
use mainstay_core::units::parse_date;
use serde_json::Value;

use crate::caller::{Bearer, Caller};
use crate::fields::{Fields, Patch};
use crate::problem::{FieldError, Refusal};
use crate::routes::{App, parsed};

/// Of documentation (RFC 5737): in no network that a policy could mean.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Answers a question. Nothing is changed, and nothing is counted as a decision of the data plane.
pub(crate) async fn authorize(
    State(app): State<App>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let question = read(&body)?;
    within(&caller.bearer, &question)?;
    let unanswerable =
        |Unanswerable { part, message }| Refusal::invalid(vec![FieldError::pointer(part, message)]);
    Ok(Json(parsed(&app.engine.authorize(&question).map_err(unanswerable)?)?))
}

/// A limited token asks about its own apis. It does not see users, so it is not told what is known of one either.
fn within(bearer: &Bearer, question: &Question) -> Result<(), Refusal> {
    if question.user.is_some() {
        return bearer.require_all_apis();
    }
    if bearer.covers(std::slice::from_ref(&question.api)) {
        return Ok(());
    }
    let detail = format!("This token is limited to other apis than {:?}.", question.api);
    Err(Refusal::permission("other_apis", detail))
}

fn read(body: &[u8]) -> Result<Question, Refusal> {
    let mut fields = Fields::of(body)?;
    let mut must = |name| {
        let given = fields.text(name);
        fields.required(name, given)
    };
    let [api, version, operation] = ["api", "version", "operation"].map(&mut must);
    let question = Question {
        api,
        version,
        operation,
        consumer: fields.text("consumer").set(),
        user: fields.text("user").set(),
        path: fields.texts_by_name("path").set().unwrap_or_default(),
        body: sent(&mut fields),
        address: one_of(&mut fields, "address", "expected an IP address", |text| text.parse().ok())
            .unwrap_or(NOWHERE),
        method: one_of(
            &mut fields,
            "auth_method",
            "expected api_key, jwt, oauth, introspection or mtls",
            |text| AuthMethod::ALL.into_iter().find(|method| method.name() == text),
        )
        .unwrap_or(AuthMethod::ApiKey),
        mode: one_of(&mut fields, "mode", "expected live or test", |text| {
            [Mode::Live, Mode::Test].into_iter().find(|mode| mode.name() == text)
        })
        .unwrap_or_default(),
        scopes: fields.texts("scopes").set().unwrap_or_default(),
        at: one_of(&mut fields, "at", "expected a date or a time, such as 2027-02-01T22:30:00Z", |text| {
            Some(UnixMs(parse_date(text).ok()?.saturating_mul(1000)))
        }),
    };
    fields.done()?;
    Ok(question)
}

fn sent(fields: &mut Fields) -> QuestionBody {
    let (whole, named) = (fields.json("body"), fields.object("fields"));
    match (whole, named) {
        (Patch::Set(_), Patch::Set(_)) => {
            fields.wrong("fields", "stands beside body; one of them says it");
            QuestionBody::None
        }
        (Patch::Set(text), _) => QuestionBody::Text(text),
        (_, Patch::Set(text)) => QuestionBody::Fields(text),
        _ => QuestionBody::None,
    }
}

fn one_of<T>(
    fields: &mut Fields,
    name: &'static str,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.text(name).set()?;
    let found = read(&text);
    if found.is_none() {
        fields.wrong(name, expected);
    }
    found
}
