//! Scopes and resource indicators: never more than what was registered, or consented to.

use super::error::{Code, Refused};

/// What of `allowed` is asked for; nothing said is all of it (RFC 6749, section 3.3).
///
/// # Errors
/// Something that is not allowed.
pub(crate) fn narrow(asked: Option<&str>, allowed: &[String]) -> Result<Vec<String>, Refused> {
    let Some(asked) = asked else { return Ok(allowed.to_vec()) };
    let mut scopes: Vec<String> = Vec::new();
    for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
        if !allowed.iter().any(|known| known == scope) {
            return Err(Refused::new(Code::InvalidScope, "A scope is not one that may be asked for here."));
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(scopes)
}

/// What of these a client may still ask for.
pub(crate) fn still_allowed(scopes: &[String], allowed: &[String]) -> Vec<String> {
    scopes.iter().filter(|scope| allowed.contains(scope)).cloned().collect()
}

/// What tokens are for: the issuer, or something below it that stands in `allowed` if there is anything (RFC 8707).
///
/// # Errors
/// It is none of ours, or more than what was consented to.
pub(crate) fn resources(
    asked: Vec<String>,
    issuer: &str,
    allowed: &[String],
) -> Result<Vec<String>, Refused> {
    let refused =
        || Refused::new(Code::InvalidTarget, "A resource is not one that tokens are made for here.");
    for resource in &asked {
        let below = resource.strip_prefix(issuer).ok_or_else(refused)?;
        let is_path = below.is_empty() || below.starts_with('/');
        if !is_path || resource.contains(['#', '?', ' ']) || below.split('/').any(|part| part == "..") {
            return Err(refused());
        }
        if !allowed.is_empty() && !allowed.contains(resource) {
            return Err(refused());
        }
    }
    Ok(if asked.is_empty() { allowed.to_vec() } else { asked })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn never_more_than_allowed() {
        let allowed = list("a b");
        for bad in ["c", "a c", "A", "a,b"] {
            assert_eq!(narrow(Some(bad), &allowed).unwrap_err().code, Code::InvalidScope, "{bad}");
        }
        assert_eq!(narrow(Some("b b"), &allowed), Ok(list("b")));
        assert_eq!(narrow(None, &allowed), Ok(allowed.clone()));
        assert_eq!(still_allowed(&list("a c"), &allowed), list("a"));
    }

    #[test]
    fn resources_are_the_issuers_own() {
        const ISSUER: &str = "https://api.example.com";
        for (asked, allowed, expected) in [
            ("https://other.example.com", "", None),
            ("https://api.example.com.evil.example", "", None),
            ("https://api.example.com/a#f", "", None),
            ("https://api.example.com/a/../b", "", None),
            ("https://api.example.com/b", "https://api.example.com/a", None),
            ("https://api.example.com/a", "https://api.example.com/a", Some("https://api.example.com/a")),
            ("", "https://api.example.com/a", Some("https://api.example.com/a")),
            ("https://api.example.com", "", Some("https://api.example.com")),
            ("", "", Some("")),
        ] {
            let found = resources(list(asked), ISSUER, &list(allowed)).ok();
            assert_eq!(found, expected.map(list), "{asked} of {allowed}");
        }
    }
}
