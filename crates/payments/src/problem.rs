//! Refusals of the service as RFC 9457 problems.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is wrong with one field or parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// JSON pointer into the body, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// Name of a query or path parameter, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) expected: String,
}

/// A problem: `code` is stable and for programs, `detail` is for people.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    /// Value of `Allow`, with 405.
    pub(crate) allow: Option<&'static str>,
    /// Value of `Retry-After` in seconds.
    pub(crate) retry_after_s: Option<u32>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), allow: None, retry_after_s: None }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no {what}."))
    }

    pub(crate) fn malformed_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_body", detail)
    }

    /// 400 for one parameter of the query or the path.
    pub(crate) fn parameter(name: &'static str, expected: impl Into<String>) -> Self {
        let error = FieldError {
            pointer: None,
            parameter: Some(name),
            message: format!("`{name}` cannot be read"),
            expected: expected.into(),
        };
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_parameter",
            format!("`{name}` has a value that cannot be used."),
        );
        problem.errors.push(error);
        problem
    }

    /// 422 for fields of a body that was readable; all of them at once.
    pub(crate) fn fields(errors: Vec<FieldError>) -> Self {
        let detail = format!("{} of the body cannot be accepted.", plural(errors.len()));
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", detail);
        problem.errors = errors;
        problem
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), json!(format!("urn:payments:error:{}", self.code)));
        body.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("Error")));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        body.insert("code".into(), json!(self.code));
        if !self.errors.is_empty() {
            body.insert("errors".into(), json!(self.errors));
        }
        Value::Object(body)
    }
}

fn plural(fields: usize) -> String {
    if fields == 1 { "One field".to_owned() } else { format!("{fields} fields") }
}
