//! What a caller may do, where scopes cannot say it: Cedar policies behind prepared plans.
//!
//! Policies are text files in a folder for each api. [`Policies::build`] reads them together with what is known of the
//! operations, validates them strictly against a schema made from that, and keeps for each operation the few that can apply
//! to it ([`Plan`]). [`decide()`] then answers for a principal, the path, fields of the body and the time. Nothing here does
//! I/O, reads a clock or waits; `now` is an input.
//!
//! # What policies see
//! | | |
//! |---|---|
//! | principal | `User::"alice"` where a person acts, else `Consumer::"acme"`, else `Anonymous::""` (operations with `auth: none`) |
//! | | `in` its groups, `Group::"tellers"`; a user also `in` the consumer on whose behalf it acts |
//! | | `plan` (the consumer's tier; `anonymous`; empty where there is none), `consumer` (its id; for a user only where there is one), attributes of the catalogue |
//! | action | `Action::"createRefund"`: the operation's name, or what `authorize.action` says |
//! | resource | `Operation::"payments.v1.createRefund"` with `api`, `version`, `path` (its parameters as the canonical path has them, all texts) |
//! | context | `body` (fields that are configured), `hour` (0-23), `weekday` (`monday` to `sunday`), both UTC, `address`, `auth_method` (`none` for nobody), `mode`, `scopes` |
//!
//! A user acts for itself: a policy about `User::"alice"` holds whatever client she came by, and one about a consumer is
//! written `principal in Consumer::"acme"`, which holds for the consumer and for all its users. Of a user, the attributes are
//! the user's; those of its consumer are not known here.
//!
//! # Who decides
//! A folder affects its own api alone. An api whose folder holds a policy is default deny; one without policies is open to
//! whoever has the scopes. `_all/` holds forbids for every api. A policy that cannot be evaluated denies. Shadow policies are a
//! set of their own, as it would be if it took the place of the enforced one; they are evaluated and reported, never enforced.
//!
//! # Attributes are free, their types are not
//! A Cedar schema has to name the attributes that principals have, and the catalogue may hold any. There are two ways:
//! - Nobody declares them ([`Inputs::attributes`] is `None`): what policies read is found in their syntax trees, with the type
//!   that its surroundings ask for, and goes into the schema. All policies together must agree on it, because each is
//!   validated strictly against the one schema. A misspelt attribute is not found then; it denies when it is read.
//! - They are declared with their types: a policy that reads another one is refused, with the nearest that is meant.
//!
//! Open entity types would be a third; Cedar has them only as an experiment that also switches strict validation off.
//!
//! An attribute, a path parameter or a required field of the body may be read without asking `has` first. Cedar would have
//! everybody ask; here the answer to a missing one is fixed, and safe: the policy cannot be evaluated, so it denies. Where a
//! missing one should mean something else, ask.

mod body;
mod build;
mod cache;
pub mod cases;
mod decide;
mod explain;
mod facts;
mod finding;
mod infer;
mod inputs;
mod policies;
mod reads;
mod schema;
pub mod strict;
mod text;

pub use body::{Body, Field, FieldValue, Fields, Unreadable};
pub use cache::{Cache, CacheCounts};
pub use decide::{Decision, Ids, Input, Reason, Shadow, decide};
pub use explain::{Considered, Explanation, Outcome, explain};
pub use finding::{Finding, Severity};
pub use inputs::{
    ALL, AttributeKind, BodyField, DeclaredAttribute, FieldKind, Inputs, Operation, PolicyFile,
};
pub use policies::{Plan, Policies};

#[cfg(test)]
mod tests;
