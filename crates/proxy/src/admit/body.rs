//! How much body is taken: refused at once when the client says that it is too long, else counted as it arrives.
//!
//! Where a policy reads the body, it is read here, whole, and parsed once, strictly: what two parsers could read in two
//! ways is refused. Those very bytes go on. Where none does, nothing is held.

use http::header::{self, HeaderMap};
use mainstay_authz::{Body, strict};
use mainstay_core::units::show_size;
use mainstay_core::{Problem, ProblemCode, Stage};

use super::authorize::Policing;
use crate::context::RequestCx;
use crate::forward::body_failure;
use crate::plan::BodyPlan;
use crate::request::{NotWhole, Request};

/// Bounds the body, and reads it where a policy does.
///
/// # Errors
/// 413 `body_too_large` for a declared length over the limit, of which nothing is read then, and for a body that is read
/// and turns out to be too long; 408 for one that stops arriving; 400 `malformed_body` for one that is no JSON that
/// everybody reads alike; 503 while there are too many bytes of bodies in memory.
pub async fn body(
    cx: &RequestCx,
    plan: &BodyPlan,
    policies: Option<&Policing<'_>>,
    request: &mut Request,
) -> Result<Body, Problem> {
    if request.body.declared.is_some_and(|length| length > plan.bytes_max) {
        let detail = format!("The body may have up to {}.", show_size(plan.bytes_max));
        return Err(Problem::new(ProblemCode::BodyTooLarge, detail));
    }
    request.body.limit(plan.bytes_max);
    let Some(policy) = policies.map(Policing::plan).filter(|policy| !policy.fields().is_empty()) else {
        return Ok(Body::None);
    };
    if request.body.is_empty() {
        return Ok(Body::None);
    }
    if !is_json(&request.headers) {
        return Ok(Body::Unreadable);
    }
    let read = request.body.whole(&cx.worker.shared).await;
    cx.facts.bytes_in.set(request.body.received());
    let bytes = read.map_err(|error| not_whole(cx, &error))?;
    cx.facts.bytes_in.set(bytes.len() as u64);
    if bytes.is_empty() {
        return Ok(Body::None);
    }
    match strict::check(&bytes, &strict::Limits::DEFAULT) {
        Ok(document) => Ok(Body::read(&document, policy.fields())),
        // What only shadow policies read is refused by nobody.
        Err(_) if !policy.needs_body() => Ok(Body::Unreadable),
        Err(malformed) => {
            cx.trail(Stage::Body, malformed.to_string());
            let detail = format!("The body is no JSON that everybody reads alike: {malformed}.");
            Err(Problem::new(ProblemCode::MalformedBody, detail))
        }
    }
}

fn not_whole(cx: &RequestCx, error: &NotWhole) -> Problem {
    match error {
        NotWhole::Broken(error) => {
            cx.trail(Stage::Body, "the body did not arrive whole");
            body_failure(*error)
        }
        NotWhole::NoRoom => {
            cx.trail(Stage::Body, "too many bytes of bodies in memory");
            let detail = "The gateway holds as many bytes of bodies as it may.";
            Problem::new(ProblemCode::Overloaded, detail).retry_after_s(1)
        }
    }
}

/// Whether the fields say that this is JSON in UTF-8 as it stands. What they say twice, they do not say.
fn is_json(fields: &HeaderMap) -> bool {
    let mut codings = fields.get_all(header::CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return false;
    }
    let mut types = fields.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = only.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_meant =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_meant && parts.all(is_harmless)
}

/// A parameter of the media type that changes nothing: any but a charset that is not UTF-8.
fn is_harmless(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return parameter.is_empty() };
    !name.trim().eq_ignore_ascii_case("charset")
        || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
}
