//! Which fields may travel in a trailer section, on the way in and on the way out.

use http::header::HeaderName;

/// Whether a field may travel in a trailer section.
///
/// Not what frames, routes, authenticates, conditions or describes the message (RFC 9110 6.5.1): a receiver
/// that merges trailers into the header section would act on it after it was checked. For the same reason no
/// name that tells an upstream who is calling or from where, and no name with `_`, which some stacks read as `-`.
pub fn may_be_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    let tells_who = |rest: &str| {
        TELLTALES.iter().any(|tale| rest.contains(tale)) || rest.split('-').any(|part| part == "ip")
    };
    !(name.contains('_')
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix("x-").is_some_and(tells_who))
}

/// Whole families that describe, condition or authenticate a message.
const PREFIXES: [&str; 9] =
    ["content-", "if-", "proxy-", "sec-", "access-control-", "accept", "www-", "cache-", "cdn-"];

/// Single names, those of widely used identity and routing fields among them.
const NAMES: [&str; 40] = [
    "age",
    "alt-svc",
    "authentication-info",
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "remote-user",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "traceparent",
    "tracestate",
    "baggage",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "client-ip",
    "deprecation",
];

/// Parts of an `X-` name that speak of identity, origin, rights or routing.
const TELLTALES: [&str; 29] = [
    "account",
    "address",
    "admin",
    "api-key",
    "auth",
    "client",
    "consumer",
    "credential",
    "customer",
    "email",
    "forwarded",
    "group",
    "host",
    "identity",
    "jwt",
    "method",
    "original",
    "override",
    "permission",
    "principal",
    "real",
    "remote",
    "request-id",
    "rewrite",
    "role",
    "scope",
    "session",
    "tenant",
    "user",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_fields_may_be_trailers() {
        for name in [
            "transfer-encoding",
            "content-length",
            "host",
            "connection",
            "trailer",
            "te",
            "upgrade",
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "www-authenticate",
            "content-type",
            "content-encoding",
            "content-range",
            "if-match",
            "range",
            "cache-control",
            "expect",
            "max-forwards",
            "date",
            "age",
            "expires",
            "location",
            "retry-after",
            "vary",
            "warning",
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-real-ip",
            "x-user",
            "x-user-id",
            "x-authenticated-user",
            "x-consumer-id",
            "x-consumer-plan",
            "x-auth-method",
            "x-client-ip",
            "x-ip",
            "x-tenant-id",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-host",
            "x-api-key",
            "x-request-id",
            "idempotency-key",
            "traceparent",
            "x_user",
            "content_length",
            "remote-user",
            "true-client-ip",
            "accept-encoding",
        ] {
            assert!(!may_be_trailer(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "grpc-status",
            "grpc-message",
            "server-timing",
            "digest",
            "repr-digest",
            "etag",
            "x-checksum",
            "x-ship-date",
            "x-amz-checksum-crc32",
            "x-chip",
        ] {
            assert!(may_be_trailer(&HeaderName::from_static(name)), "{name}");
        }
    }
}
