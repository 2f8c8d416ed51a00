//! Who calls: credentials are read, looked up, and taken out of the request.
//!
//! Whoever tries wrong ones too often is not looked at for a while (`server.preauth`): only failures count, so that many
//! good requests from one address are never in each other's way.
//!
//! An operation that anyone may call is never asked about credentials: they are its service's business and go on. Where
//! credentials are asked for, what the engine has used does not go on to the upstream.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use mainstay_core::principal::AuthMethod;
use mainstay_core::{Caller, Stage};
use mainstay_identity::credentials::{
    self, Attempt, Challenge, Presented, Relevant, Requirement, challenges,
};
use mainstay_identity::{KeyRefusal, Refusal};

use crate::context::RequestCx;
use crate::lifecycle::Refused;
use crate::plan::{AuthPlan, RoutePlan};
use crate::request::Request;

/// Finds out who calls, where the operation asks.
///
/// # Errors
/// 400 for credentials that contradict one another or stand in the URL, 401 for none or wrong ones, 403 for a key that
/// may not be used from there or for this, each with the challenges of all ways in.
pub fn authenticate(
    cx: &RequestCx,
    route: &RoutePlan,
    plan: &AuthPlan,
    request: &mut Request,
) -> Result<(), Box<Refused>> {
    let AuthPlan::Any(requirement) = plan else { return Ok(()) };
    let key_header = &cx.snapshot.plan.identity.key_header;
    let proved = prove(cx, route, requirement, request, key_header);
    if let Err(refusal) = proved {
        return Err(Box::new(refused(cx, route, requirement, refusal)));
    }
    // Both, whichever was used: what is a credential here is nothing for the service to see.
    request.headers.remove(key_header);
    request.headers.remove(AUTHORIZATION);
    Ok(())
}

fn prove(
    cx: &RequestCx,
    route: &RoutePlan,
    requirement: &Requirement,
    request: &Request,
    key_header: &HeaderName,
) -> Result<(), Refusal> {
    let query = request.query.as_deref().unwrap_or_default();
    if !query.is_empty() && credentials::in_query(query, key_header.as_str().as_bytes()) {
        return Err(Refusal::KeyInQuery);
    }
    let presented = presented(request, key_header)?;
    let Relevant { api_key, token: _, certificate: _ } = requirement.relevant(&presented, false)?;
    let preauth = cx.snapshot.plan.identity.preauth.as_ref().zip(cx.client);
    if let Some((limit, client)) = preauth {
        limit.failures.check(client, api_key, cx.worker.mono_at(cx.started))?;
    }
    let attempts =
        api_key.map(|text| Attempt { method: AuthMethod::ApiKey, outcome: by_key(cx, route, text) });
    let caller = requirement.decide(attempts.as_slice()).inspect_err(|refusal| {
        if let (true, Some((limit, client))) = (refusal.is_failed_attempt(), preauth) {
            limit.failures.failed(client, api_key, cx.worker.mono_at(cx.started));
        }
    })?;
    if let Some(at) = AuthMethod::ALL.iter().position(|method| *method == caller.method) {
        cx.worker.cells.inc(cx.worker.shared.metrics.authenticated[at]);
    }
    let _ = cx.principal.set(caller);
    Ok(())
}

fn presented<'a>(request: &'a Request, key_header: &HeaderName) -> Result<Presented<'a>, Refusal> {
    let values = |name: &HeaderName| request.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    credentials::read(values(key_header), values(&AUTHORIZATION))
}

fn by_key(cx: &RequestCx, route: &RoutePlan, text: &[u8]) -> Result<Arc<Caller>, Refusal> {
    let found = cx.worker.known_keys.borrow_mut().find(&cx.worker.shared.known.load(), text, cx.started_at);
    let found = found.map_err(Refusal::Key)?;
    found.check(cx.client, &route.names.api).map_err(Refusal::Key)?;
    found.touch(cx.started_at);
    Ok(Arc::clone(found.caller()))
}

fn refused(cx: &RequestCx, route: &RoutePlan, requirement: &Requirement, refusal: Refusal) -> Refused {
    cx.trail(Stage::Authenticate, refusal.reason());
    let mut refused = Refused::from(refusal.problem());
    let status = refused.problem.code.status();
    // A key that may not be used from there, or for this, is no reason to ask for another one with a Bearer challenge
    // alone; but 401 without a challenge would be no answer at all (RFC 9110, 15.5.2).
    if status == 401 || matches!(refusal, Refusal::Key(KeyRefusal::Api)) {
        let scopes: Vec<&str> = route.scopes.names.split(' ').filter(|name| !name.is_empty()).collect();
        let about = Challenge {
            realm: &route.names.api,
            api_key_header: cx.snapshot.plan.identity.key_header.as_str(),
            scopes: &scopes,
        };
        let values = challenges(requirement, &about, Some(refusal));
        refused.challenges =
            values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok()).collect();
    }
    refused
}
