//! What a health check asks for and what it takes for a good answer.

use serde_json::Value;

use crate::decode::scalar::{pattern, substitutable};
use crate::decode::{Refusal, Scalar};

/// Longer targets are no health checks.
const PATH_BYTES_MAX: usize = 1024;
/// Names of gRPC services are short.
const SERVICE_BYTES_MAX: usize = 256;

/// A path with its query, as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct ProbePath(pub(crate) String);

impl Scalar for ProbePath {
    const WHAT: &'static str = "a path";

    fn read(text: &str, _plain: bool) -> Result<ProbePath, Refusal> {
        let refused = |why: &str| {
            Err(Refusal::new(
                "bad_path",
                format!("expected a path such as `/healthz`, or `/ready?deep=1`: {why}"),
            ))
        };
        // RFC 3986: what a path or a query can have as it stands, and what escapes begin with.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@/?%".contains(c);
        if !text.starts_with('/') {
            refused("it begins with `/`")
        } else if text.len() > PATH_BYTES_MAX {
            refused("it has at most 1024 characters")
        } else if !text.chars().all(allowed) {
            refused("other characters are written as `%` and two hexadecimal digits")
        } else {
            Ok(ProbePath(text.to_owned()))
        }
    }

    fn schema() -> Value {
        pattern("^/")
    }
}

/// The name of a gRPC service; empty for the server as a whole.
#[derive(Clone, Debug)]
pub(crate) struct GrpcService(pub(crate) String);

impl Scalar for GrpcService {
    const WHAT: &'static str = "the name of a gRPC service";

    fn read(text: &str, plain: bool) -> Result<GrpcService, Refusal> {
        let refused = |message: &str| {
            let refusal = Refusal::new("bad_text", message);
            Err(refusal.help("such as `payments.v1.Payments`; `\"\"` is the server as a whole"))
        };
        // Words that would be asked for in vain.
        if plain && matches!(text, "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "all") {
            return refused("expected the name of a gRPC service");
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if text.len() > SERVICE_BYTES_MAX || !text.chars().all(fits) {
            return refused("expected the name of a gRPC service: letters, digits, `.`, `_`, `-` and `/`");
        }
        Ok(GrpcService(text.to_owned()))
    }

    fn schema() -> Value {
        pattern("^[A-Za-z0-9._/-]*$")
    }
}

/// A status, or a range of them with both ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statuses(pub(crate) u16, pub(crate) u16);

impl Scalar for Statuses {
    const WHAT: &'static str = "a status or a range of them";

    fn read(text: &str, _plain: bool) -> Result<Statuses, Refusal> {
        let number = |text: &str| {
            let is_three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_three_digits)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(Refusal::new(
                "bad_number",
                "expected a status such as `200`, or a range such as `200-299`",
            ));
        };
        // Interim answers are not the answer.
        if first < 200 || last > 599 {
            return Err(Refusal::new("out_of_range", "out of range: expected statuses from 200 to 599"));
        }
        if first > last {
            return Err(Refusal::new("out_of_range", "the range ends before it begins"));
        }
        Ok(Statuses(first, last))
    }

    fn schema() -> Value {
        let number = serde_json::json!({ "type": "integer", "minimum": 200, "maximum": 599 });
        let range = serde_json::json!({ "type": "string", "pattern": "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$" });
        substitutable(&serde_json::json!({ "anyOf": [number, range] }))
    }
}
