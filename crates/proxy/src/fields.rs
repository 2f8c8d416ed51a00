//! Header fields that concern the engine itself, found in one walk over the names of a message.
//!
//! Most messages have few of them, and a lookup in a map costs as much for a field that is absent as for one
//! that is there. So each name is classed once ([`known`]), and who wants a field asks first whether it is
//! there at all ([`Seen::has`]).

use std::ops::BitOr;

use http::HeaderMap;

/// A set of fields, or of groups of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    /// `Accept`.
    pub const ACCEPT: Self = Self(1);
    /// `Connection`.
    pub const CONNECTION: Self = Self(1 << 1);
    /// `Content-Length`.
    pub const CONTENT_LENGTH: Self = Self(1 << 2);
    /// `Expect`.
    pub const EXPECT: Self = Self(1 << 3);
    /// `Forwarded`.
    pub const FORWARDED: Self = Self(1 << 4);
    /// `Host`.
    pub const HOST: Self = Self(1 << 5);
    /// Fields of one connection besides `Connection` (RFC 9110, 7.6.1).
    pub const HOP: Self = Self(1 << 6);
    /// `traceparent`.
    pub const TRACEPARENT: Self = Self(1 << 7);
    /// `tracestate`.
    pub const TRACESTATE: Self = Self(1 << 8);
    /// `Via`.
    pub const VIA: Self = Self(1 << 9);
    /// `X-Forwarded-For`, in its own spelling.
    pub const X_FORWARDED_FOR: Self = Self(1 << 10);
    /// `X-Forwarded-Host` and `X-Forwarded-Proto`.
    pub const X_FORWARDED: Self = Self(1 << 11);
    /// What the engine has no word of its own for: `X-Real-IP` and others of the `X-Forwarded-*` family.
    pub const X_FROM_PROXY: Self = Self(1 << 12);
    /// `X-Request-Id`, in its own spelling.
    pub const X_REQUEST_ID: Self = Self(1 << 13);
    /// What only the engine may say of a request, and all look-alikes of fields above.
    pub const X_ENGINE: Self = Self(1 << 14);

    /// `X-Request-Timeout-Ms`. It goes on.
    pub const X_TIMEOUT: Self = Self(1 << 15);
    /// Look-alikes of the fields that frame a body. HTTP/1 does not let them in.
    pub const LIKE_FRAMING: Self = Self(1 << 16);

    /// The fields of a message.
    pub fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |seen, name| seen | known(name.as_str()))
    }

    /// True when at least one of `fields` is there.
    pub fn has(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }
}

impl BitOr for Seen {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a client's field belongs to; the empty set for what is none of the engine's business.
///
/// Some application stacks read `_` as `-` in names (CGI's `HTTP_X_USER`), so look-alikes with any mixture of
/// the two are as bad as the name itself. They are [`Seen::X_ENGINE`]: nobody is believed in them, because a proxy
/// that knows only the right spelling would let a client's pass.
pub fn known(name: &str) -> Seen {
    match name {
        "te"
        | "upgrade"
        | "trailer"
        | "keep-alive"
        | "transfer-encoding"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "http2-settings" => Seen::HOP,
        "accept" => Seen::ACCEPT,
        "connection" => Seen::CONNECTION,
        "content-length" => Seen::CONTENT_LENGTH,
        "expect" => Seen::EXPECT,
        "forwarded" => Seen::FORWARDED,
        "host" => Seen::HOST,
        "traceparent" => Seen::TRACEPARENT,
        "tracestate" => Seen::TRACESTATE,
        "via" => Seen::VIA,
        "content_length" | "transfer_encoding" => Seen::LIKE_FRAMING,
        _ => match name.as_bytes() {
            [b'x', b'-' | b'_', rest @ ..] => extension(name, rest),
            _ => Seen::default(),
        },
    }
}

/// Names that begin with `x-` or `x_`.
fn extension(name: &str, rest: &[u8]) -> Seen {
    let same = |a: &u8, b: u8| *a == b || (*a == b'_' && b == b'-');
    let begins =
        |known: &str| rest.len() >= known.len() && rest.iter().zip(known.bytes()).all(|(a, b)| same(a, b));
    let is = |known: &str| rest.len() == known.len() && begins(known);
    let group = match rest.first() {
        Some(b'f') if is("forwarded-for") => Seen::X_FORWARDED_FOR,
        Some(b'f') if is("forwarded-host") || is("forwarded-proto") => Seen::X_FORWARDED,
        Some(b'f') if begins("forwarded-") => Seen::X_FROM_PROXY,
        Some(b'r') if is("real-ip") => Seen::X_FROM_PROXY,
        Some(b'r') if is("request-id") => Seen::X_REQUEST_ID,
        Some(b'r') if rest == b"request-timeout-ms" => return Seen::X_TIMEOUT,
        Some(b'r') if is("request-deadline-ms") => Seen::X_ENGINE,
        Some(b'c') if is("consumer-id") || is("consumer-plan") => Seen::X_ENGINE,
        Some(b'a') if is("auth-method") => Seen::X_ENGINE,
        _ => return Seen::default(),
    };
    if name.contains('_') { Seen::X_ENGINE } else { group }
}

/// Fields of a client that do not go on: they belong to its connection, or the engine says them itself, or nobody
/// may be believed in them but a trusted peer.
pub fn is_replaced(field: Seen, peer_trusted: bool) -> bool {
    const ALWAYS: Seen = Seen(
        Seen::CONNECTION.0
            | Seen::CONTENT_LENGTH.0
            | Seen::EXPECT.0
            | Seen::FORWARDED.0
            | Seen::HOST.0
            | Seen::HOP.0
            | Seen::TRACEPARENT.0
            | Seen::TRACESTATE.0
            | Seen::VIA.0
            | Seen::X_FORWARDED_FOR.0
            | Seen::X_FORWARDED.0
            | Seen::X_REQUEST_ID.0
            | Seen::X_ENGINE.0,
    );
    field.has(ALWAYS) || (field == Seen::X_FROM_PROXY && !peer_trusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each spelling with `_` for some of the `-`: as many as there are positions.
    fn spellings(name: &str) -> Vec<String> {
        let places: Vec<usize> = name.match_indices('-').map(|(at, _)| at).collect();
        let spelling = |choice: usize| {
            let mut bytes = name.as_bytes().to_vec();
            for (_, at) in places.iter().enumerate().filter(|(bit, _)| choice & (1 << bit) != 0) {
                bytes[*at] = b'_';
            }
            String::from_utf8(bytes).unwrap_or_default()
        };
        (0..1 << places.len()).map(spelling).collect()
    }

    #[track_caller]
    fn check(name: &str, trusted: bool, replaced: bool) {
        assert_eq!(is_replaced(known(name), trusted), replaced, "{name}, trusted: {trusted}");
    }

    #[test]
    fn what_a_client_may_not_say_goes_in_every_spelling() {
        let never = [
            "x-consumer-id",
            "x-consumer-plan",
            "x-auth-method",
            "x-request-deadline-ms",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        for name in never {
            for spelling in spellings(name) {
                check(&spelling, false, true);
                check(&spelling, true, true);
            }
        }
        let believed = ["x-real-ip", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-user"];
        for name in believed {
            for spelling in spellings(name) {
                check(&spelling, false, true);
                check(&spelling, true, spelling.contains('_'));
            }
        }
        check("x-forwarded-", false, true);
    }

    #[test]
    fn what_belongs_to_a_connection_does_not_go_on() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "host",
            "content-length",
            "expect",
            "via",
            "forwarded",
            "traceparent",
            "tracestate",
        ] {
            check(name, true, true);
        }
    }

    #[test]
    fn what_is_the_applications_goes_on() {
        for name in [
            "accept",
            "authorization",
            "cookie",
            "x-consumer",
            "x-consumer-ids",
            "x-consumer.id",
            "x-forwarded",
            "x-forwardedfor",
            "x-real-ips",
            "x-request-timeout-ms",
            "x-",
            "x",
            "x_y",
            "consumer-id",
            "xx-consumer-id",
            "idempotency-key",
        ] {
            check(name, false, false);
        }
    }

    #[test]
    fn a_message_is_walked_once() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", http::HeaderValue::from_static("a"));
        headers.insert("x-other", http::HeaderValue::from_static("a"));
        headers.insert("via", http::HeaderValue::from_static("a"));
        let seen = Seen::of(&headers);
        assert!(seen.has(Seen::ACCEPT) && seen.has(Seen::VIA | Seen::HOST) && !seen.has(Seen::HOST));
    }
}
