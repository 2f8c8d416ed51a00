//! Why a decision came out as it did: every policy that was asked, what it said, and what it read.

use std::path::PathBuf;
use std::sync::Arc;

use cedar_policy::{Entities, Policy, PolicySet, Request};
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Principal;
use serde::Serialize;
use serde_json::Value as Json;

use crate::body::Body;
use crate::decide::{CEDAR, Decision, Input, decide, failure};
use crate::facts::Facts;
use crate::policies::{Plan, Slice, Sliced};
use crate::reads::Reads;

/// A decision, taken apart. `mainstay explain` and `POST /admin/v1/authorize` show it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The api's name.
    pub api: String,
    /// The version's name.
    pub version: String,
    /// The operation's name.
    pub operation: String,
    /// What policies call it.
    pub action: String,
    /// Type, id and groups of the principal, and those of its attributes that were read.
    pub principal: Json,
    /// The resource, with those path parameters that were read.
    pub resource: Json,
    /// What was read of the context; of fields that could not be read, why.
    pub context: Json,
    /// What came out.
    #[serde(flatten)]
    pub decision: Decision,
    /// Every policy that can apply to the operation, in the order of files.
    pub considered: Vec<Considered>,
}

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Considered {
    /// Its `@id`, or file and number.
    pub id: Arc<str>,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Where it stands.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
    /// Whether it is one of the shadow policies.
    pub shadow: bool,
    /// What it said.
    pub outcome: Outcome,
    /// Whether it is one of those that decided.
    pub decided: bool,
}

/// What one policy said about a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "text")]
pub enum Outcome {
    /// It holds.
    Matched,
    /// It does not.
    NotMatched,
    /// It could not be evaluated, and why.
    Error(String),
}

/// Decides, and says how it came about. Each policy is evaluated once more, by itself: not for the request path.
pub fn explain(plan: &Plan, principal: &Principal, input: &Input<'_>, now: UnixMs) -> Explanation {
    let decision = decide(plan, principal, input, now);
    let mut reads = Reads::default();
    plan.slices().for_each(|slice| reads.add(&slice.reads));
    let facts = Facts::gather(plan, &reads, principal, input, now);
    let (principal, resource, mut context) = facts.json(plan);
    for (name, why) in unread(input.body, plan) {
        context["body"][name] = serde_json::json!({ "unreadable": why });
    }
    let made = facts.cedar(plan);
    let mut considered = Vec::new();
    let enforced = (&plan.enforced, false, decision.reason.ids());
    let shadow = plan.shadow.as_ref().zip(decision.shadow.as_ref());
    let shadow = shadow.map(|(slice, decision)| (slice, true, decision.reason.ids()));
    for (slice, is_shadow, decided) in std::iter::once(enforced).chain(shadow) {
        for (index, policy) in slice.policies.iter().enumerate() {
            let outcome = match &made {
                Ok((request, entities)) => outcome(slice, index, policy, input.body, request, entities),
                Err(text) => Outcome::Error(text.clone()),
            };
            considered.push(Considered {
                id: Arc::clone(&policy.name),
                effect: policy.effect(),
                file: policy.file.clone(),
                line: policy.line,
                shadow: is_shadow,
                outcome,
                decided: decided.contains(&policy.name),
            });
        }
    }
    Explanation {
        api: plan.api.clone(),
        version: plan.version.clone(),
        operation: plan.operation.clone(),
        action: plan.action().to_owned(),
        principal,
        resource,
        context,
        decision,
        considered,
    }
}

/// The fields that some policy reads and that cannot be read, and why.
fn unread<'a>(body: &'a Body, plan: &'a Plan) -> impl Iterator<Item = (&'a str, String)> {
    plan.fields.iter().filter_map(|field| Some((field.name(), body.get(field.name())?.err()?.to_string())))
}

fn outcome(
    slice: &Slice,
    index: usize,
    policy: &Sliced,
    body: &Body,
    request: &Request,
    entities: &Entities,
) -> Outcome {
    if let Some((name, why)) = policy.unreadable(body) {
        return Outcome::Error(format!("`{name}` of the body: {why}"));
    }
    let Some(alone) = slice.cedar(index).and_then(alone) else { return Outcome::NotMatched };
    let response = CEDAR.is_authorized(request, &alone, entities);
    if let Some(error) = response.diagnostics().errors().next() {
        return Outcome::Error(failure(error).1);
    }
    let has_matched = response.diagnostics().reason().next().is_some();
    if has_matched { Outcome::Matched } else { Outcome::NotMatched }
}

fn alone(policy: &Policy) -> Option<PolicySet> {
    PolicySet::from_policies([policy.clone()]).ok()
}
