//! What `Connection` says (RFC 9110 7.6.1), and lists of tokens in general.

use http::header::{self, HeaderMap};

use crate::class::{TOKEN, trim};

/// The members of all `Connection` fields, in order, as they were written: options such as `close` and names
/// of fields that must not travel on. Compare without regard to case. Members that are no token name nothing
/// and are left out.
pub fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(header::CONNECTION).iter().flat_map(|value| tokens(value.as_bytes()))
}

/// The well-formed members of a comma-separated list of tokens.
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &str> {
    members(list).filter(|member| TOKEN.spells(member)).filter_map(|member| std::str::from_utf8(member).ok())
}

/// The members of a comma-separated list without the whitespace around them; empty members are kept.
pub(crate) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let (member, after) = match memchr::memchr(b',', list) {
            Some(comma) => (&list[..comma], Some(&list[comma + 1..])),
            None => (list, None),
        };
        rest = after;
        Some(trim(member))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn connection_fields_are_combined_and_junk_names_nothing() {
        let mut headers = HeaderMap::new();
        for value in ["close , X-User-Id", "", ", \"quoted\", a b,\tUpgrade\t,"] {
            headers.append(header::CONNECTION, HeaderValue::from_static(value));
        }
        headers.append(header::CONNECTION, HeaderValue::from_bytes(b"caf\xe9, last").unwrap());
        let found: Vec<&str> = connection_tokens(&headers).collect();
        assert_eq!(found, ["close", "X-User-Id", "Upgrade", "last"]);
    }
}
