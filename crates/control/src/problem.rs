//! Refusals of the control side as problem documents (RFC 9457), rendered in one place.
//!
//! A handler returns a [`Refusal`]; it travels in the response's extensions to [`finish`], which knows the
//! request id and writes the body. So no handler can forget a member or a header.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use mainstay_core::ProblemCode;
use serde::Serialize;
use serde_json::Value;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every code that this crate answers with.
#[cfg(test)]
pub(crate) const CODES: &[ProblemCode] = &[
    ProblemCode::MalformedRequest,
    ProblemCode::BadHost,
    ProblemCode::MalformedBody,
    ProblemCode::Unauthenticated,
    ProblemCode::OriginRefused,
    ProblemCode::PermissionMissing,
    ProblemCode::NotFound,
    ProblemCode::MethodNotAllowed,
    ProblemCode::RequestTimeout,
    ProblemCode::Conflict,
    ProblemCode::PreconditionFailed,
    ProblemCode::BodyTooLarge,
    ProblemCode::Misdirected,
    ProblemCode::ConfigurationRefused,
    ProblemCode::InvalidValue,
    ProblemCode::Internal,
    ProblemCode::Overloaded,
    ProblemCode::StoreUnavailable,
    ProblemCode::DeadlineExceeded,
];

/// One occurrence of a problem on the control side.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ProblemCode,
    pub(crate) detail: Cow<'static, str>,
    retry_after_s: Option<u32>,
    challenge: Option<&'static str>,
    permission: Option<&'static str>,
    more: Option<Box<More>>,
}

/// What few refusals have.
#[derive(Clone, Debug, Default)]
struct More {
    problems: Option<Value>,
    errors: Vec<FieldError>,
    /// What the record is at now.
    etag: Option<HeaderValue>,
}

/// What is wrong with one value that was sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FieldError {
    #[serde(flatten)]
    place: Place,
    message: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// In the body, as a JSON Pointer.
    Pointer(String),
    /// In the query.
    Parameter(String),
}

impl FieldError {
    /// In the body's field of this name.
    pub(crate) fn pointer(name: &str, message: impl Into<String>) -> Self {
        Self { place: Place::Pointer(format!("/{name}")), message: message.into() }
    }

    /// In the query's parameter of this name.
    pub(crate) fn parameter(name: &str, message: impl Into<String>) -> Self {
        Self { place: Place::Parameter(name.to_owned()), message: message.into() }
    }

    /// Whether it is about the body's field of this name.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        matches!(&self.place, Place::Pointer(pointer) if pointer.strip_prefix('/') == Some(name))
    }
}

impl Refusal {
    pub(crate) fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let (retry_after_s, challenge, permission) = (None, None, None);
        Self { code, detail: detail.into(), retry_after_s, challenge, permission, more: None }
    }

    /// 401 with the challenge that RFC 6750, section 3 asks for.
    pub(crate) fn unauthenticated(detail: &'static str, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..Self::new(ProblemCode::Unauthenticated, detail) }
    }

    /// 401 for a token that is not accepted.
    pub(crate) fn invalid_token(detail: &'static str) -> Self {
        Self::unauthenticated(detail, "Bearer realm=\"mainstay\", error=\"invalid_token\"")
    }

    /// 403 that names what the token lacks.
    pub(crate) fn permission(missing: &'static str, detail: String) -> Self {
        Self { permission: Some(missing), ..Self::new(ProblemCode::PermissionMissing, detail) }
    }

    /// 409 with what it does not fit.
    pub(crate) fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemCode::Conflict, detail)
    }

    /// 412 with what the record is at now.
    pub(crate) fn stale(current: Option<HeaderValue>) -> Self {
        let detail =
            "Nothing was changed: the record is not what If-Match names; the ETag of this answer is its own.";
        let more = More { etag: current, ..More::default() };
        Self { more: Some(Box::new(more)), ..Self::new(ProblemCode::PreconditionFailed, detail) }
    }

    /// 422 with what is wrong where; of very many errors the first ones.
    pub(crate) fn invalid(mut errors: Vec<FieldError>) -> Self {
        const ERRORS_MAX: usize = 20;
        errors.truncate(ERRORS_MAX);
        let more = More { errors, ..More::default() };
        let detail = "What was sent cannot be used as it is.";
        Self { more: Some(Box::new(more)), ..Self::new(ProblemCode::InvalidValue, detail) }
    }

    /// 503 while the store does not answer.
    pub(crate) fn store(detail: String, retry_after_s: u32) -> Self {
        let code = ProblemCode::StoreUnavailable;
        Self { retry_after_s: Some(retry_after_s), ..Self::new(code, detail) }
    }

    /// A fault of the engine; `detail` says which without what it was about.
    pub(crate) fn internal(detail: &'static str) -> Self {
        Self::new(ProblemCode::Internal, detail)
    }

    /// 503 that passes by itself.
    pub(crate) fn busy(detail: &'static str, retry_after_s: u32) -> Self {
        let code = ProblemCode::Overloaded;
        Self { retry_after_s: Some(retry_after_s), ..Self::new(code, detail) }
    }

    /// 422 with the problems as `mainstay check` reports them.
    pub(crate) fn configuration(problems: Value) -> Self {
        let detail = "Nothing was changed: the configuration has problems.";
        let more = More { problems: Some(problems), ..More::default() };
        Self { more: Some(Box::new(more)), ..Self::new(ProblemCode::ConfigurationRefused, detail) }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn render(&self, type_base: &str, request_id: &str) -> Vec<u8> {
        let document = Document {
            r#type: format!("{type_base}{}", self.code.code()),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            instance: format!("urn:mainstay:request:{request_id}"),
            code: self.code.code(),
            request_id,
            help: self.code.help(),
            retry_after_s: self.retry_after_s,
            permission: self.permission,
            problems: self.more.as_ref().and_then(|more| more.problems.as_ref()),
            errors: self.more.as_ref().map_or(&[], |more| &more.errors),
        };
        serde_json::to_vec(&document).expect("strings and JSON values always serialise")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'static str,
    request_id: &'a str,
    help: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permission: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// What every response gets on its way out: the body of a refusal, the request id, and the headers that keep
/// browsers and caches from doing anything with it. `type_base` and a code make the URL of a problem's type; it is
/// asked for only where there is a problem.
pub(crate) fn finish(
    mut response: Response,
    request_id: &str,
    type_base: impl FnOnce() -> String,
) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let body = refusal.render(&type_base(), request_id);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // The router has noted the length of the empty body that a refusal travels with.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(seconds) = refusal.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = refusal.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(etag) = refusal.more.and_then(|more| more.etag) {
            headers.insert(ETAG, etag);
        }
        *response.body_mut() = Body::from(body);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}
