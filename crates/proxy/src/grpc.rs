//! What gRPC needs beside HTTP/2: its deadline, and refusals in its own words (grpc.io, "gRPC over HTTP2").
//!
//! A client library reads `grpc-status`, not the HTTP status and never a problem document. So a refusal of a gRPC call is an
//! answer of 200 without a body, whose head already says how it ended.

use std::fmt::Write as _;
use std::time::Duration;

use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use mainstay_core::{Problem, ProblemCode};

use crate::respond::body::OutBody;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How long the client waits for the whole call.
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// True for a gRPC call. gRPC-Web is another protocol.
pub fn is_call(fields: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some(value) = fields.get(header::CONTENT_TYPE) else { return false };
    match value.as_bytes().split_at_checked(TYPE.len()) {
        Some((begins, rest)) => begins.eq_ignore_ascii_case(TYPE) && matches!(rest, [] | [b'+' | b';', ..]),
        None => false,
    }
}

/// How long the caller waits: up to eight digits and a unit.
pub fn timeout(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// The status that says the same as a problem.
fn status_of(code: ProblemCode) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    match code {
        ProblemCode::UpstreamTimeout
        | ProblemCode::UpstreamConnectTimeout
        | ProblemCode::DeadlineExceeded => {
            return DEADLINE_EXCEEDED;
        }
        _ => {}
    }
    match code.status() {
        400 | 411 | 412 | 414 | 417 | 422 => 3, // INVALID_ARGUMENT
        401 => 16,                              // UNAUTHENTICATED
        403 => 7,                               // PERMISSION_DENIED
        404 | 405 | 410 | 415 | 501 => 12,      // UNIMPLEMENTED: no such method here (any more)
        408 => DEADLINE_EXCEEDED,
        409 => 10,             // ABORTED
        413 | 429 | 431 => 8,  // RESOURCE_EXHAUSTED
        500 => 13,             // INTERNAL
        421 | 502..=504 => 14, // UNAVAILABLE
        _ => 2,                // UNKNOWN
    }
}

/// A refusal.
pub fn answer(problem: &Problem) -> Response<OutBody> {
    let mut response = Response::new(OutBody::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, u16::from(status_of(problem.code)).into());
    let message = format!("{}: {}", problem.code.code(), problem.detail);
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&message)) {
        headers.insert(MESSAGE, message);
    }
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Printable ASCII but `%`, the rest escaped.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn calls_are_known_by_their_type() {
        for (value, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;x=y", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(&fields(header::CONTENT_TYPE, value)), is, "{value}");
        }
    }

    #[test]
    fn timeouts() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999M", Some(Duration::from_secs(99_999_999 * 60))),
            ("20S", Some(Duration::from_secs(20))),
            ("150m", Some(Duration::from_millis(150))),
            ("0n", Some(Duration::ZERO)),
            ("5u", Some(Duration::from_micros(5))),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("+1S", None),
            ("1s", None),
            ("123456789S", None),
        ] {
            assert_eq!(timeout(&fields(TIMEOUT, value)), expected, "{value}");
        }
    }

    #[test]
    fn every_problem_has_a_status_and_messages_stay_in_their_line() {
        for code in ProblemCode::ALL {
            let response = answer(&Problem::new(*code, "50 % of\r\nit: é"));
            assert_eq!(response.status(), 200);
            let status: u8 = response.headers()[STATUS].to_str().unwrap().parse().unwrap();
            assert!((1..=16).contains(&status), "{code:?}");
            let message = response.headers()[MESSAGE].to_str().unwrap();
            assert!(message.ends_with("50 %25 of%0D%0Ait: %C3%A9"), "{message}");
        }
    }
}
