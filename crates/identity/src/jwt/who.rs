//! From checked claims to a caller.

use std::sync::Arc;

use mainstay_core::principal::{AuthMethod, Caller, Mode};
use mainstay_core::scopes::ScopeSet;
use serde_json::{Map, Value};

use super::plan::Subject;
use super::refusal::TokenRefusal;
use crate::index::{ConsumerView, Index};

/// Ids of consumers (`catalogue::Consumer::id`).
const CONSUMER_BYTES_MAX: usize = 64;
/// Names of plans, clients and users.
const NAME_BYTES_MAX: usize = 256;

/// Who a token is of whose claims somebody vouches for.
pub(crate) fn who(
    claims: &Map<String, Value>,
    subject: &Subject,
    method: AuthMethod,
    index: &Index,
) -> Result<Caller, TokenRefusal> {
    let scopes = scopes(claims, index)?;
    match subject {
        Subject::Own => own(claims, index, &scopes),
        Subject::Claims { consumer_claim, plan_claim, mode_claim, is_known_only } => {
            let id = text(claims, consumer_claim)?.ok_or(TokenRefusal::Consumer)?;
            if !is_consumer_id(id) {
                return Err(TokenRefusal::Consumer);
            }
            let known = index.consumer(id);
            if known.is_none() && *is_known_only {
                return Err(TokenRefusal::Consumer);
            }
            let consumer = known.unwrap_or_else(|| unlisted(id));
            if consumer.is_suspended {
                return Err(TokenRefusal::Suspended);
            }
            let said_plan = plan_claim.as_ref().map_or(Ok(None), |name| text(claims, name))?;
            let client = text(claims, "client_id")?.map_or_else(|| text(claims, "azp"), |id| Ok(Some(id)))?;
            Ok(Caller {
                consumer: Some(consumer.id),
                user: None,
                plan: said_plan.map(Arc::from).or(consumer.plan),
                groups: consumer.groups,
                attributes: consumer.attributes,
                mode: mode_claim.as_ref().map_or(Ok(Mode::Live), |name| mode(claims, name))?,
                method,
                key_id: None,
                client_id: client.map(Arc::from),
                scopes: Arc::new(scopes),
                generation: consumer.generation,
            })
        }
    }
}

/// A token of our own authorisation server: what the index says now counts more than what the token said then.
fn own(claims: &Map<String, Value>, index: &Index, scopes: &ScopeSet) -> Result<Caller, TokenRefusal> {
    let client_id = text(claims, "client_id")?.ok_or(TokenRefusal::Claim)?;
    let subject = text(claims, "sub")?.ok_or(TokenRefusal::Claim)?;
    let client = index.client(client_id).ok_or(TokenRefusal::Revoked)?;
    let consumer = match &client.record.consumer {
        None => None,
        Some(id) => Some(index.consumer(id).ok_or(TokenRefusal::Revoked)?),
    };
    let user = match subject == client_id {
        true => None,
        false => Some(index.user(subject).ok_or(TokenRefusal::Revoked)?),
    };
    let is_suspended = client.record.disabled
        || consumer.as_ref().is_some_and(|it| it.is_suspended)
        || user.as_ref().is_some_and(|it| it.is_disabled);
    if is_suspended {
        return Err(TokenRefusal::Suspended);
    }
    if consumer.is_none() && user.is_none() {
        return Err(TokenRefusal::Consumer);
    }
    let mut generation = client.generation;
    let mut groups: Vec<Arc<str>> = Vec::new();
    let mut attributes = Arc::default();
    if let Some(consumer) = &consumer {
        generation = generation.max(consumer.generation);
        groups.extend(consumer.groups.iter().cloned());
        attributes = Arc::clone(&consumer.attributes);
    }
    if let Some(user) = &user {
        generation = generation.max(user.generation);
        groups.extend(user.groups.iter().cloned());
        attributes = Arc::clone(&user.attributes);
    }
    Ok(Caller {
        consumer: consumer.as_ref().map(|it| Arc::clone(&it.id)),
        user: user.map(|it| Arc::clone(&it.name)),
        plan: consumer.and_then(|it| it.plan),
        groups: groups.into(),
        attributes,
        mode: client.record.mode,
        method: AuthMethod::Oauth,
        key_id: None,
        client_id: Some(Arc::clone(&client.id)),
        scopes: Arc::new(scopes.common(&client.scopes)),
        generation,
    })
}

/// A consumer that only its issuer knows.
fn unlisted(id: &str) -> ConsumerView {
    ConsumerView {
        id: id.into(),
        is_suspended: false,
        plan: None,
        groups: Arc::default(),
        attributes: Arc::default(),
        generation: 0,
    }
}

fn is_consumer_id(id: &str) -> bool {
    (1..=CONSUMER_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        // These go into logs and policies.
        Some(Value::String(text))
            if (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text))
        }
        Some(_) => Err(TokenRefusal::Claim),
    }
}

fn mode(claims: &Map<String, Value>, name: &str) -> Result<Mode, TokenRefusal> {
    match claims.get(name).and_then(Value::as_str) {
        Some("live") => Ok(Mode::Live),
        Some("test") => Ok(Mode::Test),
        _ => Err(TokenRefusal::Claim),
    }
}

/// `scope` as RFC 9068 has it, or `scp` as some identity providers do; either may be a text or a list.
fn scopes(claims: &Map<String, Value>, index: &Index) -> Result<ScopeSet, TokenRefusal> {
    let names = index.scope_names();
    match claims.get("scope").or_else(|| claims.get("scp")) {
        None => Ok(ScopeSet::default()),
        Some(Value::String(text)) => Ok(names.known(text.split(' '))),
        Some(Value::Array(all)) => {
            let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
            Ok(names.known(all.ok_or(TokenRefusal::Claim)?))
        }
        Some(_) => Err(TokenRefusal::Claim),
    }
}
