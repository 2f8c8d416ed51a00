//! The lifecycle of version and operation: announce, brown out, retire.

use mainstay_core::{Problem, ProblemCode, Stage};
use mainstay_policy::version::{Decision, decide};

use crate::accept::callers::Who;
use crate::context::RequestCx;
use crate::plan::{RoutePlan, VersionPlan};

/// Lets a request pass and says whether the version is deprecated, or says that its time is over.
///
/// # Errors
/// 503 `version_brownout` within an announced window, 410 `version_retired` after the sunset.
pub fn version(cx: &RequestCx, route: &RoutePlan, plan: &VersionPlan) -> Result<bool, Problem> {
    let lifecycle = &plan.lifecycle;
    if lifecycle.deprecated_s.is_none() && lifecycle.sunset_s.is_none() && lifecycle.brownouts.is_empty() {
        return Ok(false);
    }
    match decide(lifecycle, cx.started_at.seconds(), cx.id.as_bytes()) {
        Decision::Serve { deprecated } => Ok(deprecated),
        Decision::Brownout { retry_after_s } => {
            count(cx, route);
            cx.trail(Stage::Version, "chosen for a brownout");
            let detail = format!(
                "Version {} is switched off for a share of requests until this window ends; it will be retired.",
                route.names.version
            );
            Err(with_successor(
                Problem::new(ProblemCode::VersionBrownout, detail).retry_after_s(retry_after_s),
                plan,
            ))
        }
        Decision::Retired => {
            cx.trail(Stage::Version, "past its sunset");
            let detail = match &plan.successor {
                Some(successor) => format!("Version {} was retired; use {successor}.", route.names.version),
                None => format!("{} of version {} was retired.", route.names.operation, route.names.version),
            };
            Err(with_successor(Problem::new(ProblemCode::VersionRetired, detail), plan))
        }
    }
}

fn with_successor(mut problem: Problem, plan: &VersionPlan) -> Problem {
    problem.successor = plan.successor.as_deref().map(Into::into);
    problem.guide = plan.guide.as_deref().map(Into::into);
    problem
}

/// Counts a call of a deprecated version, by who it is as far as that is known by now.
pub fn count(cx: &RequestCx, route: &RoutePlan) {
    let known = cx.caller().and_then(|caller| caller.consumer.clone().or_else(|| caller.user.clone()));
    let who = known.map(Who::Known).or_else(|| cx.client.map(Who::Address));
    cx.worker.shared.callers.count(&route.names.api, &route.names.version, who);
}
