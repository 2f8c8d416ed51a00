//! Host, canonical path and method become an operation.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, Method, header};
use mainstay_core::{Problem, ProblemCode};
use mainstay_policy::route::{Lookup, canonical_path};

use crate::context::RequestCx;
use crate::plan::{RoutePlan, Snapshot};
use crate::request::Request;

/// What a request asks for.
pub enum Routed<'a> {
    /// An operation, by its canonical path.
    Operation(Arc<RoutePlan>, Cow<'a, str>),
    /// What the engine itself serves beside the apis, by its canonical path.
    System(Arc<RoutePlan>, Cow<'a, str>),
    /// `server.health_path`.
    Health,
    /// OPTIONS where no operation has it: which methods there are.
    Options(HeaderValue),
    /// CORS asks before it sends: whether and what may be sent to this operation.
    Preflight(Arc<RoutePlan>),
}

/// Why there is none.
pub struct NotRouted {
    /// What the client is told.
    pub problem: Box<Problem>,
    /// `Allow`, with a method that is not allowed.
    pub allow: Option<HeaderValue>,
}

impl From<Problem> for NotRouted {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), allow: None }
    }
}

/// Finds the operation.
///
/// # Errors
/// An ambiguous path is 400, an unknown one 404, a known one without this method 405, an unknown version 404 with the
/// versions there are.
pub fn route<'a>(cx: &RequestCx, request: &'a Request) -> Result<Routed<'a>, NotRouted> {
    let snapshot = &*cx.snapshot.plan;
    if request.path.as_ref() == b"*" {
        if request.method != Method::OPTIONS {
            let detail = "Only OPTIONS asks about the server as a whole.";
            return Err(Problem::new(ProblemCode::MalformedRequest, detail).into());
        }
        return Ok(Routed::Options(HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")));
    }
    let path = canonical_path(&request.path)
        .map_err(|refusal| Problem::new(ProblemCode::AmbiguousPath, refusal.detail()))?;
    if snapshot.server.health_path.as_deref() == Some(&*path) {
        return Ok(Routed::Health);
    }
    let lowered = lower_host(request);
    let host = lowered.as_deref();
    if let Some(system) = &snapshot.system {
        match system.find(host, &path, request.method.as_str()) {
            Lookup::Found { value, .. } => return Ok(Routed::System(Arc::clone(value), path)),
            Lookup::MethodNotAllowed { allow } if request.method != Method::OPTIONS => {
                return Err(method_not_allowed(allow));
            }
            Lookup::MethodNotAllowed { .. } | Lookup::NotFound => {}
        }
    }
    if let Some(asked) = preflight_method(request) {
        return preflight(snapshot, host, &path, asked);
    }
    match snapshot.router.find(host, &path, request.method.as_str()) {
        Lookup::Found { value, .. } => Ok(Routed::Operation(Arc::clone(value), path)),
        Lookup::MethodNotAllowed { allow } if request.method == Method::OPTIONS => {
            Ok(Routed::Options(HeaderValue::try_from(allow).unwrap_or(HeaderValue::from_static("OPTIONS"))))
        }
        Lookup::MethodNotAllowed { allow } => Err(method_not_allowed(allow)),
        Lookup::NotFound => Err(not_found(snapshot, &path).into()),
    }
}

fn method_not_allowed(allow: String) -> NotRouted {
    let detail = format!("This resource takes {allow}.");
    NotRouted {
        problem: Box::new(Problem::new(ProblemCode::MethodNotAllowed, detail)),
        allow: HeaderValue::try_from(allow).ok(),
    }
}

/// Host names are compared without regard to case; most come in lower case and are not copied.
fn lower_host(request: &Request) -> Option<Cow<'_, str>> {
    let host = request.authority.as_ref()?.host();

    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// A preflight is an OPTIONS request with an Origin and the method that is meant (Fetch standard, CORS protocol).
fn preflight_method(request: &Request) -> Option<&str> {
    if request.method != Method::OPTIONS || !request.headers.contains_key(header::ORIGIN) {
        return None;
    }
    request.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()
}

fn preflight<'a>(
    snapshot: &Snapshot,
    host: Option<&str>,
    path: &str,
    asked: &str,
) -> Result<Routed<'a>, NotRouted> {
    match snapshot.router.find(host, path, asked) {
        Lookup::Found { value, .. } => Ok(Routed::Preflight(Arc::clone(value))),
        Lookup::MethodNotAllowed { allow } => Err(method_not_allowed(allow)),
        Lookup::NotFound => Err(not_found(snapshot, path).into()),
    }
}

/// Why nothing is served at a path: no such version where the api has others, or no such operation.
pub fn not_found(snapshot: &Snapshot, path: &str) -> Problem {
    for prefix in &snapshot.version_prefixes {
        let Some(rest) = path.strip_prefix(&*prefix.base) else { continue };
        let asked = rest.split('/').next().unwrap_or_default();
        if looks_like_version(asked) && !prefix.versions.iter().any(|v| **v == *asked) {
            let there = prefix.versions.join(", ");
            return Problem::new(
                ProblemCode::UnknownVersion,
                format!("There is no version of that name here; there are: {there}."),
            );
        }
    }
    Problem::new(ProblemCode::NotFound, "No operation is served at this path.")
}

fn looks_like_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
}
