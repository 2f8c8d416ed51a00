//! Which trailers of an answer go on to the client.
//!
//! A trailer that a receiver merges into the head would be acted on after the head was checked, so only names go on
//! that are known to mean something at the end. A gRPC call's own metadata may have any name that is not dangerous
//! by itself: its libraries keep trailers apart. Trailers of requests do not go on.

use http::{HeaderMap, header};
use mainstay_wire::{is_field_name, may_be_trailer};

/// Names that mean something at the end of any answer.
const KNOWN: [&str; 4] = ["server-timing", "repr-digest", "digest", "etag"];

/// True when an HTTP/1.1 client says that it takes trailers (RFC 9110, 10.1.4).
pub fn are_taken(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("trailers"))
}

/// What of them goes on; `None` when nothing does.
pub fn passed_on(mut trailers: HeaderMap, is_grpc: bool) -> Option<HeaderMap> {
    let refused: Vec<_> = trailers
        .keys()
        .filter(|name| {
            !may_be_trailer(name)
                || !is_field_name(name.as_str().as_bytes())
                || !(is_grpc || KNOWN.contains(&name.as_str()))
        })
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
    (!trailers.is_empty()).then_some(trailers)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn quoted_name() -> http::HeaderName {
        http::HeaderName::from_lowercase(b"x\"y").expect("the library takes it")
    }

    #[test]
    fn only_known_names_go_on_and_metadata_of_calls() {
        let check = |name: &'static str, plain: bool, call: bool| {
            let trailers = || {
                HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static("1"))])
            };
            assert_eq!(passed_on(trailers(), false).is_some(), plain, "{name}");
            assert_eq!(passed_on(trailers(), true).is_some(), call, "{name} in a call");
        };
        check("server-timing", true, true);
        check("grpc-status", false, true);
        check("grpc-message", false, true);
        check("retry-info-bin", false, true);
        // A byte that the library of HTTP/2 lets pass, and that no name of HTTP/1 has.
        assert!(
            passed_on(HeaderMap::from_iter([(quoted_name(), HeaderValue::from_static("1"))]), true).is_none()
        );
        for name in
            ["content-length", "host", "authorization", "set-cookie", "x-user-id", "transfer-encoding"]
        {
            check(name, false, false);
        }
    }
}
