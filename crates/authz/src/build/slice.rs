//! Which policies an operation has to ask: those that can apply to its action and resource.
//!
//! Cedar evaluates every policy of a set. A policy whose head names another action or resource is false before anything
//! else of it is looked at, so leaving it out changes neither a decision nor an error.

use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Policy, ResourceConstraint};

use super::Build;
use super::parse::Parsed;
use crate::body::Field;
use crate::inputs::{ALL, Operation};
use crate::policies::{Plan, Slice};

/// Whether the policy's head lets it apply to this operation.
pub(crate) fn may_apply(policy: &Policy, operation: &Operation) -> bool {
    let is_action = |uid: &EntityUid| is(uid, "Action", operation.action());
    let resource = resource_id(operation);
    let is_resource = |uid: &EntityUid| is(uid, "Operation", &resource);
    let by_action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is_action(&uid),
        ActionConstraint::In(uids) => uids.iter().any(is_action),
    };
    // An operation is in nothing but itself.
    by_action
        && match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Is(kind) => kind.to_string() == "Operation",
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => is_resource(&uid),
            ResourceConstraint::IsIn(kind, uid) => kind.to_string() == "Operation" && is_resource(&uid),
        }
}

/// What an operation is called as an entity: `Operation::"payments.v1.createRefund"`.
pub(crate) fn resource_id(operation: &Operation) -> String {
    format!("{}.{}.{}", operation.api, operation.version, operation.name)
}

fn is(uid: &EntityUid, kind: &str, id: &str) -> bool {
    uid.id().unescaped() == id && uid.type_name().to_string() == kind
}

impl<'a> Build<'a> {
    /// The operations that policies in this folder can affect.
    pub(crate) fn operations_of(&self, folder: &str) -> impl Iterator<Item = &'a Operation> {
        let operations = self.inputs.operations.iter();
        let is_all = folder == ALL;
        let folder = folder.to_owned();
        operations.filter(move |operation| is_all || operation.api == folder)
    }

    pub(crate) fn plans(&self, enforced: &[Parsed<'a>], shadow: &[Parsed<'a>]) -> Vec<Arc<Plan>> {
        let plan = |(index, operation): (usize, &'a Operation)| {
            let enforced = slice(enforced, operation);
            let shadow = slice(shadow, operation);
            let is_touched = shadow.is_default_deny || !shadow.policies.is_empty();
            let shadow = is_touched.then_some(shadow);
            let reads = |name: &str| {
                enforced.reads.body.has(name)
                    || shadow.as_ref().is_some_and(|shadow| shadow.reads.body.has(name))
            };
            let fields = operation.body.iter().filter(|field| reads(&field.name)).map(Field::new).collect();
            Arc::new(Plan::new(index, operation, enforced, shadow, fields))
        };
        self.inputs.operations.iter().enumerate().map(plan).collect()
    }
}

fn slice(side: &[Parsed<'_>], operation: &Operation) -> Slice {
    let touches = |policy: &&Parsed<'_>| policy.folder == ALL || policy.folder == operation.api;
    let is_default_deny = side.iter().any(|policy| policy.folder == operation.api);
    let sliced = side.iter().filter(touches).filter(|policy| may_apply(&policy.policy, operation));
    Slice::new(is_default_deny, sliced)
}
