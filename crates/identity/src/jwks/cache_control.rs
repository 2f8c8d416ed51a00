//! How long a fetched set says that it is good.

/// `max-age` of a `Cache-Control` field in seconds; 0 for `no-store` and `no-cache`; `None` where it says nothing that can be
/// read. Of several, the shortest.
pub fn max_age_s(cache_control: &str) -> Option<u64> {
    let mut shortest = None;
    for directive in cache_control.split(',') {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), value.trim().trim_matches('"')),
            None => (directive.trim(), ""),
        };
        let said = if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            Some(0)
        } else if name.eq_ignore_ascii_case("max-age") && value.bytes().all(|b| b.is_ascii_digit()) {
            // RFC 9111, section 1.2.2: what is too large counts as very large.
            (!value.is_empty()).then(|| value.parse().unwrap_or(u64::MAX))
        } else {
            None
        };
        shortest = match (shortest, said) {
            (Some(a), Some(b)) => Some(u64::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    shortest
}
