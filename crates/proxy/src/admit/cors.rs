//! What scripts of other origins may see and send (Fetch standard, CORS protocol).
//!
//! It is decided once, early, so that every later answer carries the fields, refusals included: without them a
//! script could not even read why it was refused.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::context::RequestCx;
use crate::plan::CorsPlan;
use crate::request::Request;
use crate::respond::body::OutBody;

/// Remembers the origin if it may read the answer.
pub fn decide(cx: &RequestCx, plan: &Arc<CorsPlan>, request: &Request) {
    let Some(origin) = request.headers.get(header::ORIGIN) else { return };
    if allows(plan, origin) {
        let shown = if plan.any { HeaderValue::from_static("*") } else { origin.clone() };
        let _ = cx.cors.set((Arc::clone(plan), shown));
    }
}

/// The same for a refusal that belongs to no operation: any api under this path may let the origin read it.
pub fn decide_unrouted(cx: &RequestCx, request: &Request) {
    if cx.route.get().is_some() || !request.headers.contains_key(header::ORIGIN) {
        return;
    }
    let prefixes = cx.snapshot.plan.version_prefixes.iter();
    for plan in prefixes.filter(|p| request.path.starts_with(p.base.as_bytes())).flat_map(|p| &p.cors) {
        decide(cx, plan, request);
    }
}

fn allows(plan: &CorsPlan, origin: &HeaderValue) -> bool {
    plan.any || plan.origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Adds the fields to an answer. They are the configuration's alone: what an upstream says of origins goes.
pub fn add(cx: &RequestCx, headers: &mut HeaderMap) {
    let decided = cx.cors.get();
    let routed = cx.route.get().and_then(|route| route.cors.as_ref());
    let Some(plan) = decided.map(|(plan, _)| plan).or(routed) else { return };
    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    if !plan.any {
        // Also where no origin was sent: a cache must not give this answer to one that sends it.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some((_, origin)) = decided else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if plan.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, plan.expose.clone());
}

/// Answers a preflight. An origin that is not allowed gets no fields, which is how a browser is told no.
pub fn preflight(cx: &RequestCx, plan: Option<&Arc<CorsPlan>>, request: &Request) -> Response<OutBody> {
    let mut response = Response::new(OutBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let Some(plan) = plan else { return response };
    decide(cx, plan, request);
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
    headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if cx.cors.get().is_none() {
        return response;
    }
    if let Some(method) = request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    }
    let asked = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(allowed) = plan.headers.as_ref().or(asked) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, plan.max_age.clone());
    response
}
