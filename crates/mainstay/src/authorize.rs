//! What the policies that serve now say about somebody, asked beside the traffic: the same plans, and the same catalogue in
//! memory, as the data plane has.

use std::sync::Arc;

use mainstay_authz::{Body, Explanation, Input, Plan, Policies, explain, strict};
use mainstay_config::checked::{self, Auth, Checked};
use mainstay_core::ScopeNames;
use mainstay_core::port::{Json, Question, QuestionBody, Unanswerable};
use mainstay_core::principal::{Attributes, Caller, Principal};
use mainstay_identity::index::Index;
use serde::Serialize;

use crate::reload::Handle;

/// An explanation, and what else a person should know.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    explanation: Explanation,
    /// What would refuse such a request before any policy is asked, and what of the question nobody reads.
    notes: Vec<String>,
}

/// Answers a question.
///
/// # Errors
/// It is about something that there is not.
pub(crate) fn authorize(handle: &Handle, question: &Question) -> Result<Json, Unanswerable> {
    let snapshot = handle.shared.snapshot.load_full();
    let Some(live) = &snapshot.policies else {
        return Err(unanswerable("api", "the configuration has no permissions: scopes alone decide"));
    };
    let policies = live.load_full();
    let plan = find(&policies, question)?;
    let mut notes = Vec::new();
    let scopes = ScopeNames::default();
    let principal = principal(&handle.shared.known.load(), question, &scopes, &mut notes)?;
    let body = body(plan, &question.body, &mut notes)?;
    before(&handle.checked(), plan, question, &mut notes);
    let path: Vec<_> = question.path.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let input = Input { path: &path, body: &body, address: question.address, scopes: &scopes };
    let now = question.at.unwrap_or_else(|| handle.shared.clock.now());
    let answer = Answer { explanation: explain(plan, &principal, &input, now), notes };
    serde_json::to_string(&answer).map(Json).map_err(|error| unanswerable("operation", &error.to_string()))
}

fn unanswerable(part: &'static str, message: &str) -> Unanswerable {
    Unanswerable { part, message: message.to_owned() }
}

fn find<'p>(policies: &'p Policies, question: &Question) -> Result<&'p Arc<Plan>, Unanswerable> {
    let is_here = |plan: &&Arc<Plan>| plan.api() == question.api && plan.version() == question.version;
    let meant = |plan: &&Arc<Plan>| is_here(plan) && plan.operation() == question.operation;
    let called = |plan: &&Arc<Plan>| is_here(plan) && plan.action() == question.operation;
    let mut alike = policies.plans().iter().filter(called);
    let by_action = alike.next().filter(|_| alike.next().is_none());
    policies.plans().iter().find(meant).or(by_action).ok_or_else(|| {
        let all = policies.plans().iter();
        if !all.clone().any(|plan| plan.api() == question.api) {
            unanswerable("api", "there is no such api")
        } else if !all.clone().any(|plan| is_here(&plan)) {
            unanswerable("version", "the api has no such version")
        } else {
            let names: Vec<_> = all.filter(is_here).map(|plan| plan.operation()).collect();
            unanswerable("operation", &format!("there is no such operation; there are {}", names.join(", ")))
        }
    })
}

/// Who it is about, as the data plane would know them.
fn principal(
    known: &Index,
    question: &Question,
    scopes: &ScopeNames,
    notes: &mut Vec<String>,
) -> Result<Principal, Unanswerable> {
    if question.consumer.is_none() && question.user.is_none() {
        return Ok(Principal::Anonymous);
    }
    let (mut plan, mut groups, mut attributes) = (None, Vec::new(), Arc::new(Attributes::new()));
    let consumer = question.consumer.as_deref().map(|id| {
        let consumer =
            known.consumer(id).ok_or_else(|| unanswerable("consumer", "there is no such consumer"))?;
        if consumer.is_suspended {
            notes.push("the consumer is suspended: nothing that it holds is accepted".to_owned());
        }
        plan = consumer.plan;
        groups.extend(consumer.groups.iter().cloned());
        attributes = consumer.attributes;
        Ok::<_, Unanswerable>(consumer.id)
    });
    let consumer = consumer.transpose()?;
    let user = question.user.as_deref().map(|name| {
        let user = known.user(name).ok_or_else(|| unanswerable("user", "there is no such user"))?;
        if user.is_disabled {
            notes.push("the user is disabled: tokens are not accepted".to_owned());
        }
        groups.extend(user.groups.iter().cloned());
        attributes = Arc::clone(&user.attributes);
        Ok::<_, Unanswerable>(Arc::clone(&user.name))
    });
    let user = user.transpose()?;
    let held = scopes.give(question.scopes.iter().map(String::as_str));
    Ok(Principal::Caller(Arc::new(Caller {
        consumer,
        user,
        plan,
        groups: groups.into(),
        attributes,
        mode: question.mode,
        method: question.method,
        key_id: None,
        client_id: None,
        scopes: Arc::new(held.map_err(|_| unanswerable("scopes", "are too many"))?),
        generation: 0,
    })))
}

/// The body as a request's is read. One that would be refused as malformed is no question about policies.
fn body(plan: &Plan, given: &QuestionBody, notes: &mut Vec<String>) -> Result<Body, Unanswerable> {
    let (part, text) = match given {
        QuestionBody::None => return Ok(Body::None),
        QuestionBody::Text(text) if text.is_empty() => return Ok(Body::None),
        QuestionBody::Text(text) => ("body", text),
        QuestionBody::Fields(text) => ("fields", text),
    };
    let document = strict::check(text.as_bytes(), &strict::Limits::DEFAULT)
        .map_err(|malformed| unanswerable(part, &malformed.to_string()))?;
    match (given, document.as_object()) {
        (QuestionBody::Fields(_), Some(object)) => {
            let is_read = |name: &str| plan.fields().iter().any(|field| field.name() == name);
            let unread = object.iter().filter(|(name, _)| !is_read(name));
            notes.extend(unread.map(|(name, _)| format!("no policy reads {name} of the body")));
            Ok(Body::named(object, plan.fields()))
        }
        _ => Ok(Body::read(&document, plan.fields())),
    }
}

/// What would refuse the request before a policy is asked.
fn before(checked: &Checked, plan: &Plan, question: &Question, notes: &mut Vec<String>) {
    let version = checked.apis.get(plan.api()).and_then(|api| api.versions.get(plan.version()));
    let is_it = |operation: &&checked::Operation| operation.name == plan.operation();
    let Some(operation) = version.and_then(|version| version.operations.iter().find(is_it)) else { return };
    if operation.auth != Auth::None && question.consumer.is_none() && question.user.is_none() {
        notes.push("the operation asks for a credential, which nobody in particular has".to_owned());
    }
    let missing: Vec<&str> = operation
        .scopes
        .iter()
        .map(String::as_str)
        .filter(|scope| !question.scopes.iter().any(|s| s == scope))
        .collect();
    if !missing.is_empty() {
        notes.push(format!("the operation asks for scopes that were not named: {}", missing.join(" ")));
    }
}
