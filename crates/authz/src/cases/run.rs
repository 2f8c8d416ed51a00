//! Cases, decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_core::clock::UnixMs;
use mainstay_core::principal::{Caller, Principal};
use mainstay_core::{ScopeNames, ScopeSet};
use serde_json::Value as Json;

use super::read::{Case, CaseRaw, Expect};
use super::{CaseResult, PolicyRef, Report};
use crate::body::Body;
use crate::decide::{Decision, Input, Reason, decide};
use crate::policies::{Plan, Policies};
use crate::strict;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// 1970-01-05 was a Monday.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// Decides every case, and compares.
pub fn run(policies: &Policies, cases: &[Case]) -> Report {
    let mut results = Vec::new();
    let mut deciders = BTreeSet::new();
    for case in cases {
        for (version, result) in about(policies, case) {
            let name = case.raw.name.as_deref().unwrap_or(&case.raw.operation);
            let name = version.map_or_else(|| name.to_owned(), |version| format!("{name} ({version})"));
            let (differs, decision) = match result {
                Ok(decision) => {
                    deciders
                        .extend(decision.reason.ids().iter().map(|id| (case.api.clone(), Arc::clone(id))));
                    (differs(&case.raw, &decision), Some(decision))
                }
                Err(why) => (Some(why), None),
            };
            results.push(CaseResult {
                name,
                file: case.file.as_str().into(),
                line: case.line,
                differs,
                decision,
            });
        }
    }
    let has_decided = |policy: &&(String, PolicyRef)| {
        let (folder, policy) = policy;
        deciders.iter().any(|(api, id)| *id == policy.id && (folder == api || folder == crate::inputs::ALL))
    };
    let undecided = policies.enforced.iter().filter(|policy| !has_decided(policy));
    Report { results, undecided: undecided.map(|(_, policy)| policy.clone()).collect() }
}

/// Each version that the case is about; its name only where there are several.
fn about<'p>(policies: &'p Policies, case: &Case) -> Vec<(Option<&'p str>, Result<Decision, String>)> {
    let raw = &case.raw;
    let is_meant = |plan: &&Arc<Plan>| {
        plan.api == case.api
            && (plan.operation == raw.operation || plan.action() == raw.operation)
            && raw.version.as_ref().is_none_or(|version| *version == plan.version)
    };
    let plans: Vec<&Arc<Plan>> = policies.plans.iter().filter(is_meant).collect();
    if plans.is_empty() {
        let version = raw.version.as_ref().map_or_else(String::new, |version| format!(" in {version}"));
        return vec![(None, Err(format!("`{}` has no operation `{}`{version}", case.api, raw.operation)))];
    }
    let is_one = plans.len() == 1;
    plans.into_iter().map(|plan| ((!is_one).then_some(plan.version.as_str()), decided(plan, raw))).collect()
}

fn decided(plan: &Plan, raw: &CaseRaw) -> Result<Decision, String> {
    let scopes = ScopeNames::default();
    let held = scopes.give(raw.context.scopes.iter().map(String::as_str)).map_err(|_| "too many scopes")?;
    let principal = principal(raw, held);
    let text = match &raw.body {
        None => None,
        Some(Json::String(text)) => Some(text.clone()),
        Some(document) => Some(document.to_string()),
    };
    let body = match &text {
        None => Body::None,
        Some(text) => match strict::check(text.as_bytes(), &strict::Limits::DEFAULT) {
            Ok(document) => Body::read(&document, plan.fields()),
            Err(_) => Body::Unreadable,
        },
    };
    let path: Vec<(&str, &str)> =
        raw.path.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let input = Input { path: &path, body: &body, address: raw.context.address, scopes: &scopes };
    Ok(decide(plan, &principal, &input, now(raw)))
}

fn now(raw: &CaseRaw) -> UnixMs {
    UnixMs(FIRST_MONDAY_MS + raw.context.weekday as i64 * DAY_MS + i64::from(raw.context.hour) * HOUR_MS)
}

fn principal(raw: &CaseRaw, scopes: ScopeSet) -> Principal {
    let who = &raw.principal;
    let shared = |text: &Option<String>| text.as_deref().map(Arc::from);
    if who.consumer.is_none() && who.user.is_none() {
        return Principal::Anonymous;
    }
    Principal::Caller(Arc::new(Caller {
        consumer: shared(&who.consumer),
        user: shared(&who.user),
        plan: shared(&who.plan),
        groups: who.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
        attributes: Arc::new(who.attributes.clone()),
        mode: raw.context.mode,
        method: raw.context.auth_method,
        key_id: None,
        client_id: None,
        scopes: Arc::new(scopes),
        generation: 0,
    }))
}

/// How the decision differs from what the case expects.
fn differs(raw: &CaseRaw, decision: &Decision) -> Option<String> {
    let came = match (&decision.reason, decision.allowed) {
        (Reason::Error { .. }, _) => Expect::Error,
        (_, true) => Expect::Allow,
        (_, false) => Expect::Deny,
    };
    let told = told(&decision.reason);
    if came != raw.expect {
        return Some(format!("expected {}, and it is {} {told}", word(raw.expect), word(came)));
    }
    let ids = decision.reason.ids();
    let wanted = raw.by.as_ref().map_or(&[][..], |by| by.as_slice());
    let missing = wanted.iter().find(|id| !ids.iter().any(|decider| **decider == ***id))?;
    Some(format!("expected `{missing}` to decide, and it is {} {told}", word(came)))
}

const fn word(expect: Expect) -> &'static str {
    match expect {
        Expect::Allow => "allow",
        Expect::Deny => "deny",
        Expect::Error => "error",
    }
}

fn told(reason: &Reason) -> String {
    let ids = |ids: &[Arc<str>]| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
    match reason {
        Reason::NoPolicies => "because no policy is about it".to_owned(),
        Reason::NoPermit => "because no policy permits it".to_owned(),
        Reason::Permit { ids: by } | Reason::Forbid { ids: by } => format!("by {}", ids(by)),
        Reason::Error { ids: by, text } => format!("by {}: {text}", ids(by)),
    }
}
