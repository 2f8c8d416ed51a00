//! Refusals in the form of RFC 6749, section 5.2, and how each becomes an answer.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use mainstay_core::catalogue::StoreError;
use serde_json::json;

/// When a dead store is worth another try.
const STORE_RETRY_AFTER_S: u32 = 2;

/// What a client is told by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedResponseType,
    InvalidScope,
    /// RFC 8707, section 2.
    InvalidTarget,
    AccessDenied,
    ServerError,
    TemporarilyUnavailable,
}

impl Code {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    /// A sentence without quotes, as RFC 6749 limits its characters.
    pub(crate) description: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) retry_after_s: Option<u32>,
    /// The client came with `Authorization`, so it is answered with a challenge.
    pub(crate) challenges: bool,
}

impl Refused {
    pub(crate) fn new(code: Code, description: &'static str) -> Self {
        let status = match code {
            Code::InvalidClient => StatusCode::UNAUTHORIZED,
            Code::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Code::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { code, description, status, retry_after_s: None, challenges: false }
    }

    pub(crate) fn request(description: &'static str) -> Self {
        Self::new(Code::InvalidRequest, description)
    }

    pub(crate) fn grant(description: &'static str) -> Self {
        Self::new(Code::InvalidGrant, description)
    }

    pub(crate) fn internal() -> Self {
        Self::new(Code::ServerError, "The server failed; trying again may help.")
    }

    pub(crate) fn busy() -> Self {
        let description = "The server has as much to do as it takes on; try again.";
        Self { retry_after_s: Some(1), ..Self::new(Code::TemporarilyUnavailable, description) }
    }

    /// 429: what was wrong so often is not looked at for a while.
    pub(crate) fn attempts(retry_after_s: u32) -> Self {
        let description =
            "Too many wrong credentials came from this address or for this name; try again later.";
        let refused = Self::new(Code::TemporarilyUnavailable, description);
        Self { status: StatusCode::TOO_MANY_REQUESTS, retry_after_s: Some(retry_after_s), ..refused }
    }

    /// The answer of an endpoint that machines ask.
    pub(crate) fn answer(&self) -> Response {
        let body = json!({ "error": self.code.name(), "error_description": self.description });
        let mut response = json_answer(self.status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 wants a challenge with every 401, also for who came without `Authorization`.
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"oauth\", charset=\"UTF-8\""),
            );
        }
        response
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. }
            | StoreError::Locked { .. }
            | StoreError::SchemaTooNew(_)
            | StoreError::SchemaTooOld(_) => {
                let description = "The store cannot be asked at the moment; try again.";
                let refused = Self::new(Code::TemporarilyUnavailable, description);
                Self { retry_after_s: Some(STORE_RETRY_AFTER_S), ..refused }
            }
            StoreError::Invalid { .. } => Self::busy(),
            StoreError::NotFound { .. } | StoreError::Conflict { .. } | StoreError::Stale { .. } => {
                Self::grant("The consent has been taken back.")
            }
            StoreError::Damaged { .. } => Self::internal(),
        }
    }
}

/// An answer that nothing on the way keeps.
pub(crate) fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
