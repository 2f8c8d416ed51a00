//! A problem becomes an answer: `application/problem+json` (RFC 9457), or plain text for clients that only take text.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use mainstay_core::{Problem, ProblemCode};

use super::body::OutBody;
use crate::worker::Worker;

/// Makes the answer. `type_base` and the code make the type's URL.
pub fn answer(problem: &Problem, type_base: &str, request_id: &str, plain_text: bool) -> Response<OutBody> {
    let (body, content_type) = if plain_text {
        (text(problem, request_id), "text/plain; charset=utf-8")
    } else {
        (json(problem, type_base, request_id), "application/problem+json")
    };
    let mut response = Response::new(OutBody::full(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// True when the client takes text but no JSON of any kind (RFC 9110, 12.5.1).
pub fn wants_plain_text(headers: &HeaderMap) -> bool {
    let mut text = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.as_bytes().split(|b| *b == b',') {
            let range = range.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let is = |name: &str| range.eq_ignore_ascii_case(name.as_bytes());
            if is("*/*") || is("application/*") || is("application/json") || is("application/problem+json") {
                return false;
            }
            text |= is("text/plain") || is("text/*") || is("text/html");
        }
    }
    text
}

/// The whole of a 503 for a connection that is refused before its request was read.
pub fn before_request(worker: &Worker, detail: &'static str) -> Vec<u8> {
    let problem = Problem::new(ProblemCode::Overloaded, detail).retry_after_s(1);
    worker.cells.inc(worker.shared.metrics.problems[ProblemCode::Overloaded as usize]);
    let id = mainstay_core::random::uuid_v7(worker.unix().0, &worker.random);
    let id = std::str::from_utf8(&id).unwrap_or_default();
    let body = json(&problem, &worker.snapshot().plan.problem_type_base, id);
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         x-request-id: {id}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn json(problem: &Problem, type_base: &str, request_id: &str) -> String {
    let code = problem.code;
    let mut out = String::with_capacity(512);
    let _ = write!(out, "{{\"type\":\"");
    escape(&mut out, type_base);
    let _ = write!(
        out,
        "{}\",\"title\":\"{}\",\"status\":{},\"detail\":\"",
        code.code(),
        code.title(),
        code.status()
    );
    escape(&mut out, &problem.detail);
    out.push_str("\",\"instance\":\"urn:mainstay:request:");
    escape(&mut out, request_id);
    let _ = write!(out, "\",\"code\":\"{}\",\"request_id\":\"", code.code());
    escape(&mut out, request_id);
    out.push_str("\",\"help\":\"");
    escape(&mut out, code.help());
    out.push('"');
    if let Some(seconds) = problem.retry_after_s {
        let _ = write!(out, ",\"retry_after_s\":{seconds}");
    }
    let texts = [
        ("successor", problem.successor.as_deref()),
        ("guide", problem.guide.as_deref()),
        ("permission", problem.permission.as_deref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            let _ = write!(out, ",\"{name}\":\"");
            escape(&mut out, value);
            out.push('"');
        }
    }
    if !problem.violated_policies.is_empty() {
        for (index, name) in problem.violated_policies.iter().enumerate() {
            out.push_str(if index == 0 { ",\"violated_policies\":[\"" } else { "\",\"" });
            escape(&mut out, name);
        }
        out.push_str("\"]");
    }
    out.push_str("}\n");
    out
}

fn text(problem: &Problem, request_id: &str) -> String {
    let code = problem.code;
    let mut out = format!("{} {}\n\n{}\n{}\n", code.status(), code.title(), problem.detail, code.help());
    for (name, value) in [
        ("Successor", problem.successor.as_deref()),
        ("Guide", problem.guide.as_deref()),
        ("Permission", problem.permission.as_deref()),
    ] {
        if let Some(value) = value {
            let _ = writeln!(out, "{name}: {value}");
        }
    }
    let _ = write!(out, "\nCode: {}\nRequest: {request_id}\n", code.code());
    out
}

fn escape(out: &mut String, text: &str) {
    let is_special = |byte: u8| byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    // Our own sentences have nothing to escape, and a refusal must not cost more than an answer.
    if !text.bytes().fold(false, |special, byte| special | is_special(byte)) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept() {
        let check = |accept: &[&'static str], plain| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(wants_plain_text(&headers), plain, "{accept:?}");
        };
        check(&[], false);
        check(&["text/html, */*;q=0.1"], false);
        check(&["text/html", "application/json"], false);
        check(&["image/png"], false);
        check(&["text/plain"], true);
        check(&["TEXT/HTML;q=0.9, image/*"], true);
    }
}
