//! What the caller may do: the scopes of its credential, then the policies of the operation.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::HeaderValue;
use mainstay_authz::{Body, Decision, Input, Plan, Policies, Reason};
use mainstay_core::principal::Principal;
use mainstay_core::{Problem, ProblemCode, Stage};

use crate::context::RequestCx;
use crate::lifecycle::Refused;
use crate::plan::{AuthorizePlan, RoutePlan, ScopesPlan};

/// Lets a caller pass whose credential is for this.
///
/// # Errors
/// 403 `permission_missing`, which names what is missing.
pub fn scopes(cx: &RequestCx, route: &RoutePlan, plan: &ScopesPlan) -> Result<(), Box<Refused>> {
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

/// The policies that decide about a request: those of the moment in which it came, to its end.
pub struct Policing<'a> {
    route: &'a AuthorizePlan,
    policies: Arc<Policies>,
}

impl Policing<'_> {
    /// What the operation's policies are.
    pub fn plan(&self) -> &Plan {
        self.policies
            .plan(self.route.operation)
            .expect("policies are built for all operations of their snapshot")
    }
}

/// The policies that decide about this request; `None`: none can say anything.
pub fn policies<'a>(cx: &RequestCx, route: Option<&'a AuthorizePlan>) -> Option<Policing<'a>> {
    let (route, live) = (route?, cx.snapshot.plan.policies.as_ref()?);
    let policies = live.load();
    if policies.plan(route.operation).is_some_and(|plan| plan.is_open()) {
        return None;
    }
    Some(Policing { route, policies: Arc::clone(&policies) })
}

/// Lets a request pass that the policies permit.
///
/// # Errors
/// 403 `policy_denied` where one forbids it or none permits it, `policy_error` where one cannot be evaluated.
pub fn policy(cx: &RequestCx, policing: &Policing<'_>, path: &str, body: &Body) -> Result<(), Box<Refused>> {
    let (plan, metrics) = (policing.plan(), &policing.route.metrics);
    let principal = match cx.principal.get() {
        Some(caller) => Principal::Caller(Arc::clone(caller)),
        None => Principal::Anonymous,
    };
    let input = Input {
        path: &policing.route.template.values(path),
        body,
        // Who comes over a unix socket has no address, and is in no network.
        address: cx.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        scopes: &cx.worker.shared.scopes,
    };
    let decision = {
        let mut cache = cx.worker.decisions.borrow_mut();
        let hits = cache.counts().hits;
        let decision = cache.decide(&policing.policies, plan, &principal, &input, cx.started_at);
        if cache.counts().hits > hits {
            cx.worker.cells.inc(metrics.cached);
        }
        decision
    };
    if let Some(shadow) = decision.shadow.as_ref().filter(|shadow| shadow.allowed != decision.allowed) {
        cx.worker.cells.inc(metrics.shadow_differs);
        let would = if shadow.allowed { "allow" } else { "deny" };
        cx.trail(Stage::Authorize, format!("shadow policies would {would}: {}", because(&shadow.reason)));
    }
    let counter = match (&decision.reason, decision.allowed) {
        (_, true) => metrics.allowed,
        (Reason::Error { .. }, false) => metrics.failed,
        (_, false) => metrics.denied,
    };
    cx.worker.cells.inc(counter);
    if decision.allowed { Ok(()) } else { Err(Box::new(denied(cx, plan, &decision).into())) }
}

fn denied(cx: &RequestCx, plan: &Plan, decision: &Decision) -> Problem {
    cx.trail(Stage::Authorize, because(&decision.reason));
    let (code, detail) = match &decision.reason {
        Reason::Error { .. } => {
            (ProblemCode::PolicyError, format!("A policy about {} could not be evaluated.", plan.action()))
        }
        Reason::Forbid { .. } => {
            (ProblemCode::PolicyDenied, format!("A policy forbids {} here.", plan.action()))
        }
        Reason::NoPermit | Reason::NoPolicies | Reason::Permit { .. } => {
            (ProblemCode::PolicyDenied, format!("No policy permits {} here.", plan.action()))
        }
    };
    let mut problem = Problem::new(code, detail);
    problem.permission = Some(plan.action().into());
    problem.violated_policies = decision.reason.ids().into();
    problem
}

/// For the log.
fn because(reason: &Reason) -> String {
    let names = reason.ids().join(", ");
    match reason {
        Reason::NoPolicies => "no policies".to_owned(),
        Reason::NoPermit => "no policy permits it".to_owned(),
        Reason::Permit { .. } => format!("permitted by {names}"),
        Reason::Forbid { .. } => format!("forbidden by {names}"),
        Reason::Error { text, .. } => format!("{names} could not be evaluated: {text}"),
    }
}
