//! The header fields of a request on its way out, and of an answer on its way in.
//!
//! Hop-by-hop fields go, and so does what the client may not say: identity that the engine vouches for
//! (`X-Consumer-Id` and its like, in any spelling), and forwarding fields of a peer that is not trusted. The
//! engine then says itself who the client is, which request this is, and where it came through.

use std::io::Write as _;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use super::endpoint::EndpointShared;
use crate::context::RequestCx;
use crate::plan::{HostPlan, UpstreamPlan};
use crate::request::Request;

/// The head of a request in the form of HTTP/1.1, complete but for the body.
pub fn encode_h1(
    cx: &RequestCx,
    upstream: &UpstreamPlan,
    endpoint: &EndpointShared,
    path: &str,
    request: &Request,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    if let Some(query) = &request.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host(cx, upstream, endpoint, request).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in passed_on(cx, request) {
        mainstay_wire::encode_field(&mut out, name, value);
    }
    match request.body.declared {
        Some(0) if !expects_length(&request.method) => {}
        Some(length) => {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    added(cx, request, |name, value| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    });
    out.extend_from_slice(b"\r\n");
    out
}

/// RFC 9110, 8.6: methods whose requests usually have content say so even when it is empty.
fn expects_length(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The head of a request in the form of HTTP/2.
pub fn parts_h2(
    cx: &RequestCx,
    upstream: &UpstreamPlan,
    endpoint: &EndpointShared,
    path: &str,
    request: &Request,
) -> http::request::Parts {
    let mut target = String::with_capacity(path.len() + 32);
    target.push_str(path);
    if let Some(query) = request.query.as_ref().and_then(|q| std::str::from_utf8(q).ok()) {
        target.push('?');
        target.push_str(query);
    }
    let authority = host(cx, upstream, endpoint, request);
    let uri = Uri::builder().scheme("http").authority(authority.as_bytes()).path_and_query(target).build();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.uri = uri.unwrap_or_default();
    parts.version = Version::HTTP_2;
    parts.headers = HeaderMap::with_capacity(request.headers.len() + 8);
    for (name, value) in passed_on(cx, request) {
        parts.headers.append(name, value.clone());
    }
    if let Some(length) = request.body.declared
        && (length > 0 || expects_length(&request.method))
    {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    added(cx, request, |name, value| {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            parts.headers.append(name, value);
        }
    });
    parts
}

fn host<'a>(
    cx: &'a RequestCx,
    upstream: &'a UpstreamPlan,
    endpoint: &'a EndpointShared,
    request: &'a Request,
) -> std::borrow::Cow<'a, str> {
    let _ = cx;
    match &upstream.host {
        HostPlan::Name(name) => name.to_str().unwrap_or_default().into(),
        HostPlan::Endpoint => endpoint.authority.to_str().unwrap_or_default().into(),
        HostPlan::Preserve => match &request.authority {
            Some(authority) => authority.as_str().into(),
            None => endpoint.authority.to_str().unwrap_or_default().into(),
        },
    }
}

/// The client's own fields that go on.
fn passed_on<'a>(
    cx: &'a RequestCx,
    request: &'a Request,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let named_by_connection = request.headers.contains_key(header::CONNECTION);
    request.headers.iter().filter(move |(name, _)| {
        let named = named_by_connection
            && mainstay_wire::connection_tokens(&request.headers)
                .any(|t| t.eq_ignore_ascii_case(name.as_str()));
        !named && !is_replaced(name, cx.peer_trusted)
    })
}

/// Fields of the client that do not go on: they belong to the hop, or the engine says them itself.
fn is_replaced(name: &HeaderName, peer_trusted: bool) -> bool {
    if mainstay_wire::hop_by_hop(name) {
        return true;
    }
    match name.as_str() {
        "host" | "content-length" | "expect" | "via" | "forwarded" | "traceparent" | "tracestate" => true,
        other => is_x_replaced(other, peer_trusted),
    }
}

fn is_x_replaced(name: &str, peer_trusted: bool) -> bool {
    let Some(rest) = name.strip_prefix("x-").or_else(|| name.strip_prefix("x_")) else {
        // `http_x_forwarded_for` and the like are not headers; `forwarded` has no other spelling.
        return false;
    };
    let matches = |known: &str| {
        rest.len() == known.len()
            && rest.bytes().zip(known.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    match rest.as_bytes().first() {
        Some(b'f') => {
            matches("forwarded-for")
                || matches("forwarded-host")
                || matches("forwarded-proto")
                || matches("forwarded-port")
                || matches("forwarded-prefix")
        }
        Some(b'r') => {
            matches("request-id") || matches("request-deadline-ms") || (matches("real-ip") && !peer_trusted)
        }
        Some(b'c') => matches("consumer-id") || matches("consumer-plan"),
        Some(b'a') => matches("auth-method"),
        _ => false,
    }
}

/// What the engine says itself.
fn added(cx: &RequestCx, request: &Request, mut put: impl FnMut(&str, &[u8])) {
    let mut text = Vec::with_capacity(128);
    put("x-request-id", cx.id.as_bytes());
    put("traceparent", &cx.trace.write());
    for state in request.headers.get_all("tracestate").iter().filter(|_| cx.trace_continued) {
        put("tracestate", state.as_bytes());
    }
    let before =
        |name: &str| request.headers.get(name).filter(|_| cx.peer_trusted).map(HeaderValue::as_bytes);
    for earlier in request.headers.get_all("x-forwarded-for").iter().filter(|_| cx.peer_trusted) {
        text.extend_from_slice(earlier.as_bytes());
        text.extend_from_slice(b", ");
    }
    let _ = write!(text, "{}", cx.peer);
    put("x-forwarded-for", &text);
    put("x-forwarded-proto", before("x-forwarded-proto").unwrap_or(b"http"));
    let authority = request.authority.as_ref().map_or("", |a| a.as_str());
    let host = before("x-forwarded-host").unwrap_or(authority.as_bytes());
    if !host.is_empty() {
        put("x-forwarded-host", host);
    }
    text.clear();
    for earlier in request.headers.get_all(header::FORWARDED).iter().filter(|_| cx.peer_trusted) {
        text.extend_from_slice(earlier.as_bytes());
        text.extend_from_slice(b", ");
    }
    let _ = match cx.peer {
        std::net::IpAddr::V4(v4) => write!(text, "for={v4}"),
        std::net::IpAddr::V6(v6) => write!(text, "for=\"[{v6}]\""),
    };
    if !authority.is_empty() {
        let _ = write!(text, ";host=\"{authority}\"");
    }
    text.extend_from_slice(b";proto=http");
    put("forwarded", &text);
    text.clear();
    for earlier in request.headers.get_all(header::VIA) {
        text.extend_from_slice(earlier.as_bytes());
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(request.protocol.as_bytes());
    text.extend_from_slice(b" mainstay");
    put("via", &text);
}

/// Takes out of an answer what belongs to its hop. `Content-Length` stays: the writer knows what to do with it.
pub fn strip_response(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = mainstay_wire::connection_tokens(headers)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    // Said by the engine.
    headers.remove("x-request-id");
}
