//! The decision: what the policies of an operation say about a principal and a request.
//!
//! - A forbid that holds denies, whatever permits there are.
//! - A policy that cannot be evaluated denies, whatever the others say: nobody knows what it would have said. So does a body's
//!   field that a policy reads and that is not to be read in one way only.
//! - Without a permit that holds, the answer is no, once the api's folder holds a policy; else it is yes.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use cedar_policy::{AuthorizationError, Authorizer};
use mainstay_core::ScopeNames;
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Principal;
use serde::Serialize;

use crate::body::Body;
use crate::facts::Facts;
use crate::policies::{Plan, Slice};

/// What a decision may read of a request, beside who calls and when.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The path's parameters, as the canonical path has them.
    pub path: &'a [(&'a str, &'a str)],
    /// The body's fields; [`Plan::fields`] says whether any is needed.
    pub body: &'a Body,
    /// The client's address.
    pub address: IpAddr,
    /// What the caller's scopes are called.
    pub scopes: &'a ScopeNames,
}

/// Whether a request may go on, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What holds.
    pub allowed: bool,
    /// Who said so.
    pub reason: Reason,
    /// What the shadow policies would have decided, where there are any for the operation. It is never enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow>,
}

/// What the shadow policies would have decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// What would hold.
    pub allowed: bool,
    /// Who said so.
    pub reason: Reason,
}

/// Names of policies.
pub type Ids = Arc<[Arc<str>]>;

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Reason {
    /// The api has no policies of its own, and none forbids it: scopes alone decide.
    NoPolicies,
    /// These permit it.
    Permit {
        /// All permits that hold.
        ids: Ids,
    },
    /// These forbid it: 403 `policy_denied`.
    Forbid {
        /// All forbids that hold.
        ids: Ids,
    },
    /// None permits it: 403 `policy_denied`.
    NoPermit,
    /// These could not be evaluated: 403 `policy_error`.
    Error {
        /// All that failed.
        ids: Ids,
        /// Why the first did, for the log: it may quote what was compared.
        text: Arc<str>,
    },
}

impl Reason {
    /// The policies that decided.
    pub fn ids(&self) -> &[Arc<str>] {
        match self {
            Self::NoPolicies | Self::NoPermit => &[],
            Self::Permit { ids } | Self::Forbid { ids } | Self::Error { ids, .. } => ids,
        }
    }
}

/// Decides about one request.
pub fn decide(plan: &Plan, principal: &Principal, input: &Input<'_>, now: UnixMs) -> Decision {
    let (allowed, reason) = one_side(&plan.enforced, plan, principal, input, now);
    let shadow = plan.shadow.as_ref().map(|slice| {
        let (allowed, reason) = one_side(slice, plan, principal, input, now);
        Shadow { allowed, reason }
    });
    Decision { allowed, reason, shadow }
}

/// Cedar's has no state.
pub(crate) static CEDAR: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

fn one_side(
    slice: &Slice,
    plan: &Plan,
    principal: &Principal,
    input: &Input<'_>,
    now: UnixMs,
) -> (bool, Reason) {
    if slice.policies.is_empty() {
        return if slice.is_default_deny { (false, Reason::NoPermit) } else { (true, Reason::NoPolicies) };
    }
    if let Some(reason) = unreadable(slice, input.body) {
        return (false, reason);
    }
    let facts = Facts::gather(plan, &slice.reads, principal, input, now);
    let (request, entities) = match facts.cedar(plan) {
        Ok(made) => made,
        Err(text) => return (false, Reason::Error { ids: Ids::from([]), text: text.into() }),
    };
    let response = CEDAR.is_authorized(&request, &slice.set, &entities);
    let names = |ids: &mut dyn Iterator<Item = &cedar_policy::PolicyId>| -> Ids {
        let mut names: Vec<Arc<str>> =
            ids.filter_map(|id| Some(Arc::clone(&slice.policy(id)?.name))).collect();
        names.sort_unstable();
        names.into()
    };
    let diagnostics = response.diagnostics();
    let mut errors = diagnostics.errors().peekable();
    if errors.peek().is_some() {
        let failed: Vec<(&cedar_policy::PolicyId, String)> = errors.map(failure).collect();
        let text = failed.iter().map(|(_, text)| text.as_str()).min().unwrap_or_default().into();
        return (false, Reason::Error { ids: names(&mut failed.iter().map(|(id, _)| *id)), text });
    }
    let ids = names(&mut diagnostics.reason());
    match (response.decision(), ids.is_empty()) {
        (cedar_policy::Decision::Allow, _) => (true, Reason::Permit { ids }),
        (cedar_policy::Decision::Deny, false) => (false, Reason::Forbid { ids }),
        (cedar_policy::Decision::Deny, true) if slice.is_default_deny => (false, Reason::NoPermit),
        (cedar_policy::Decision::Deny, true) => (true, Reason::NoPolicies),
    }
}

/// Which policy failed, and why.
pub(crate) fn failure(error: &AuthorizationError) -> (&cedar_policy::PolicyId, String) {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => (error.policy_id(), error.inner().to_string()),
    }
}

/// The policies that read a field which cannot be read.
fn unreadable(slice: &Slice, body: &Body) -> Option<Reason> {
    let mut bad =
        slice.policies.iter().filter_map(|policy| Some((policy, policy.unreadable(body)?))).peekable();
    let (_, (name, why)) = bad.peek()?;
    let text = format!("`{name}` of the body: {why}").into();
    let mut ids: Vec<Arc<str>> = bad.map(|(policy, _)| Arc::clone(&policy.name)).collect();
    ids.sort_unstable();
    Some(Reason::Error { ids: ids.into(), text })
}
