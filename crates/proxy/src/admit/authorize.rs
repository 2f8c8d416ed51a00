//! What the caller may do: the scopes of its credential.

use http::HeaderValue;
use mainstay_core::{Problem, ProblemCode, Stage};

use crate::context::RequestCx;
use crate::lifecycle::Refused;
use crate::plan::{RoutePlan, ScopesPlan};

/// Lets a caller pass whose credential is for this.
///
/// # Errors
/// 403 `permission_missing`, which names what is missing.
pub fn authorize(cx: &RequestCx, route: &RoutePlan, plan: &ScopesPlan) -> Result<(), Box<Refused>> {
    if plan.required.is_empty() {
        return Ok(());
    }
    let nothing = Default::default();
    let has = cx.caller().map_or(&nothing, |caller| &*caller.scopes);
    if has.holds(&plan.required) {
        return Ok(());
    }
    let missing = cx.worker.shared.scopes.names(&has.lacks(&plan.required)).join(" ");
    cx.trail(Stage::Authorize, format!("scope {missing} is missing"));
    let detail = format!("The credential is not for this: it lacks {missing}.");
    let mut problem = Problem::new(ProblemCode::PermissionMissing, detail);
    problem.permission = Some(missing.into());
    let challenge = format!(
        "Bearer realm=\"{}\", error=\"insufficient_scope\", scope=\"{}\"",
        route.names.api, plan.names
    );
    let mut refused = Refused::from(problem);
    refused.challenges = HeaderValue::try_from(challenge).into_iter().collect();
    Err(Box::new(refused))
}
