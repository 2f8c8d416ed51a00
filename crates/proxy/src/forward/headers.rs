//! The header fields of a request on its way out, and of an answer on its way in.
//!
//! Hop-by-hop fields go, and so does what the client may not say: identity that the engine vouches for
//! (`X-Consumer-Id` and its like, in any spelling), and forwarding fields of a peer that is not trusted. The
//! engine then says itself who the client is, which request this is, and where it came through.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use tokio::time::Instant;

use super::endpoint::EndpointShared;
use crate::context::RequestCx;
use crate::fields::{Seen, is_replaced, known};
use crate::grpc;
use crate::plan::{HostPlan, UpstreamPlan};
use crate::request::Request;

/// Writes the head of a request in the form of HTTP/1.1, complete but for the body.
pub fn encode_h1(
    out: &mut Vec<u8>,
    cx: &RequestCx,
    upstream: &UpstreamPlan,
    endpoint: &EndpointShared,
    path: &str,
    request: &Request,
    body_length: Option<u64>,
) {
    out.reserve(1024);
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    if let Some(query) = &request.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host(upstream, endpoint, request));
    out.extend_from_slice(b"\r\n");
    for (name, value) in passed_on(cx, request) {
        mainstay_wire::encode_field(out, name, value);
    }
    match body_length {
        Some(0) if !expects_length(&request.method) => {}
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if let Some(token) = &request.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\nupgrade: ");
        out.extend_from_slice(token.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    added(cx, request, |name, parts| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        for part in parts {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\r\n");
    });
    out.extend_from_slice(b"\r\n");
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
    body_length: Option<u64>,
) -> http::request::Parts {
    let mut target = String::with_capacity(path.len() + 32);
    target.push_str(path);
    if let Some(query) = request.query.as_ref().and_then(|q| std::str::from_utf8(q).ok()) {
        target.push('?');
        target.push_str(query);
    }
    let authority = host(upstream, endpoint, request);
    let scheme = if endpoint.secure.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.uri = uri.unwrap_or_default();
    parts.version = Version::HTTP_2;
    parts.headers = HeaderMap::with_capacity(request.headers.len() + 8);
    for (name, value) in passed_on(cx, request) {
        parts.headers.append(name, value.clone());
    }
    if let Some(length) = body_length
        && (length > 0 || expects_length(&request.method))
    {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if cx.is_grpc {
        // RFC 9113, 8.2.2, allows this one, and gRPC asks for it.
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    added(cx, request, |name, value| {
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(value.concat())) {
            parts.headers.append(HeaderName::from_static(name), value);
        }
    });
    parts
}

fn host<'a>(upstream: &'a UpstreamPlan, endpoint: &'a EndpointShared, request: &'a Request) -> &'a [u8] {
    match (&upstream.host, &request.authority) {
        (HostPlan::Name(name), _) => name.as_bytes(),
        (HostPlan::Preserve, Some(authority)) => authority.as_bytes(),
        (HostPlan::Endpoint, _) | (HostPlan::Preserve, None) => endpoint.authority.as_bytes(),
    }
}

/// The client's own fields that go on.
fn passed_on<'a>(
    cx: &'a RequestCx,
    request: &'a Request,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let names_some = request.seen.has(Seen::CONNECTION);
    // Said anew, with what is left of it.
    let is_timed_call = cx.is_grpc && request.deadline.is_some();
    request.headers.iter().filter(move |(name, _)| {
        if is_timed_call && *name == grpc::TIMEOUT {
            return false;
        }
        let named = names_some
            && mainstay_wire::connection_tokens(&request.headers)
                .any(|token| token.eq_ignore_ascii_case(name.as_str()));
        !named && !is_replaced(known(name.as_str()), cx.peer_trusted)
    })
}

/// What the engine says itself: a name, and a value in parts.
fn added(cx: &RequestCx, request: &Request, mut put: impl FnMut(&'static str, &[&[u8]])) {
    put("x-request-id", &[cx.id.as_bytes()]);
    if let Some(deadline) = request.deadline {
        // At least one: an upstream may read 0 as "none".
        let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1) as u64;
        put("x-request-deadline-ms", &[itoa::Buffer::new().format(left).as_bytes()]);
        if cx.is_grpc {
            // At most eight digits, says the protocol.
            put("grpc-timeout", &[itoa::Buffer::new().format(left.min(99_999_999)).as_bytes(), b"m"]);
        }
    }
    if let Some(caller) = cx.caller() {
        if let Some(id) = caller.consumer.as_deref().or(caller.user.as_deref()) {
            put("x-consumer-id", &[id.as_bytes()]);
        }
        if let Some(plan) = &caller.plan {
            put("x-consumer-plan", &[plan.as_bytes()]);
        }
        put("x-auth-method", &[caller.method.name().as_bytes()]);
    }
    put("traceparent", &[&cx.trace.write()]);
    if cx.trace_continued {
        for state in request.headers.get_all("tracestate") {
            put("tracestate", &[state.as_bytes()]);
        }
    }
    let authority: &[u8] = request.authority.as_ref().map_or(b"", |a| a.as_bytes());
    forwarded_family(cx, request, authority, &mut put);
    let earlier = earlier(request, Seen::VIA, header::VIA);
    put("via", &[&earlier, request.protocol.as_bytes(), b" mainstay"]);
}

/// Who the client is and what it asked for. What stands there already is believed only of a trusted peer.
fn forwarded_family(
    cx: &RequestCx,
    request: &Request,
    authority: &[u8],
    put: &mut impl FnMut(&'static str, &[&[u8]]),
) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let peer = cx.peer.as_bytes();
    let before = |seen, name| if cx.peer_trusted { earlier(request, seen, name) } else { Vec::new() };
    let said = |name: &'static str| {
        let said = cx.peer_trusted && request.seen.has(Seen::X_FORWARDED);
        said.then(|| request.headers.get(name)).flatten().map(HeaderValue::as_bytes)
    };
    let earlier_for = before(Seen::X_FORWARDED_FOR, FOR);
    match (peer, earlier_for.as_slice()) {
        // A unix socket has no address to add.
        ([], []) => {}
        ([], [earlier @ .., b',', b' ']) => put("x-forwarded-for", &[earlier]),
        _ => put("x-forwarded-for", &[&earlier_for, peer]),
    }
    let scheme: &[u8] = if cx.secure { b"https" } else { b"http" };
    put("x-forwarded-proto", &[said("x-forwarded-proto").unwrap_or(scheme)]);
    let host = said("x-forwarded-host").unwrap_or(authority);
    if !host.is_empty() {
        put("x-forwarded-host", &[host]);
    }
    let peer = if peer.is_empty() { b"unknown" } else { peer };
    let (open, close): (&[u8], &[u8]) = if peer.contains(&b':') { (b"\"[", b"]\"") } else { (b"", b"") };
    let (host_open, host_close): (&[u8], &[u8]) =
        if authority.is_empty() { (b"", b"") } else { (b";host=\"", b"\"") };
    let earlier = before(Seen::FORWARDED, header::FORWARDED);
    put(
        "forwarded",
        &[&earlier, b"for=", open, peer, close, host_open, authority, host_close, b";proto=", scheme],
    );
}

/// All values of a list field, each with a comma behind it. Nothing is allocated where there are none.
fn earlier(request: &Request, seen: Seen, name: HeaderName) -> Vec<u8> {
    let mut text = Vec::new();
    if request.seen.has(seen) {
        for value in request.headers.get_all(name) {
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b", ");
        }
    }
    text
}

/// Takes out of an answer what belongs to its hop. `Content-Length` stays: the writer knows what to do with it.
pub fn strip_response(headers: &mut HeaderMap) {
    let seen = Seen::of(headers);
    if seen.has(Seen::CONNECTION) {
        strip_named(headers);
        headers.remove(header::CONNECTION);
    }
    if seen.has(Seen::HOP) {
        let hop: Vec<HeaderName> =
            headers.keys().filter(|name| known(name.as_str()) == Seen::HOP).cloned().collect();
        for name in hop {
            headers.remove(name);
        }
    }
    if seen.has(Seen::X_REQUEST_ID) {
        // Said by the engine.
        headers.remove("x-request-id");
    }
}

/// Takes out what `Connection` names, except the length, which every hop needs.
fn strip_named(headers: &mut HeaderMap) {
    if headers
        .get_all(header::CONNECTION)
        .iter()
        .all(|value| matches!(value.as_bytes(), b"keep-alive" | b"close"))
    {
        return;
    }
    let is_option = |token: &str| {
        ["keep-alive", "close", "content-length"].iter().any(|option| token.eq_ignore_ascii_case(option))
    };
    let named: Vec<HeaderName> = mainstay_wire::connection_tokens(headers)
        .filter(|token| !is_option(token))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}
