//! Redirect URIs: which may be registered, and whether a request's is one of them.

/// Whether a client may register this URI (RFC 6749, section 3.1.2; RFC 8252, section 7; RFC 9700, section 2.1).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn acceptable(uri: &str) -> Result<(), &'static str> {
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) || uri.contains(['"', '<', '>', '\\', '`', '{', '}'])
    {
        return Err("has characters that a URI does not have");
    }
    if uri.contains('#') {
        return Err("has a fragment");
    }
    if uri.contains('*') {
        return Err("has a `*`: a redirect URI is compared exactly");
    }
    let Some((scheme, rest)) = uri.split_once(':') else { return Err("is no absolute URI") };
    match scheme {
        "https" | "http" => {
            let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?']).next());
            let Some(authority) = authority.filter(|authority| !authority.is_empty()) else {
                return Err("has no host");
            };
            if authority.contains('@') {
                return Err("has a user in it");
            }
            if scheme == "http" && !is_loopback(authority) {
                return Err("is in the clear: `http` is for loopback alone (127.0.0.1, [::1], localhost)");
            }
            Ok(())
        }
        // An application's own scheme is a name of its domain, turned round.
        _ if scheme.contains('.')
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+".contains(&b)) =>
        {
            Ok(())
        }
        _ => Err(
            "has a scheme that is none of https, http on loopback, and an application's own such as com.example.app",
        ),
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "127.0.0.1" | "[::1]" | "localhost")
}

/// Whether a request's URI is a registered one: byte for byte, except for the port of an address literal on loopback, which an
/// application is given by its system when it starts (RFC 8252, section 7.3; RFC 9700, section 4.1.3).
pub(crate) fn is_registered(registered: &[String], asked: &str) -> bool {
    registered
        .iter()
        .any(|known| known == asked || without_port(known).is_some_and(|k| without_port(asked) == Some(k)))
}

/// A loopback literal's URI in two parts, around its port.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    ["http://127.0.0.1", "http://[::1]"].into_iter().find_map(|origin| {
        let rest = uri.strip_prefix(origin)?;
        let rest = match rest.strip_prefix(':') {
            Some(rest) => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let is_port = (1..=5).contains(&digits) && rest[..digits].parse::<u16>().is_ok();
                is_port.then_some(&rest[digits..])?
            }
            None => rest,
        };
        rest.starts_with(['/', '?']).then_some((&uri[..origin.len()], rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_registered() {
        for (uri, fits) in [
            ("http://app.example.com/cb", false),
            ("http://localhost.example.com/cb", false),
            ("https://app.example.com/cb#x", false),
            ("https://*.example.com/cb", false),
            ("https://u@app.example.com/cb", false),
            ("https:///cb", false),
            ("https:app", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("/cb", false),
            ("https://app.example.com/c b", false),
            ("https://app.example.com/\"", false),
            ("https://app.example.com/cb", true),
            ("https://app.example.com/cb?tenant=1", true),
            ("http://127.0.0.1/cb", true),
            ("http://[::1]:8000/cb", true),
            ("http://localhost:8000/cb", true),
            ("com.example.app:/cb", true),
        ] {
            assert_eq!(acceptable(uri).is_ok(), fits, "{uri}");
        }
    }

    #[test]
    fn only_what_is_registered_matches() {
        let registered = ["https://app.example.com/cb".to_owned(), "http://127.0.0.1/cb".to_owned()];
        for (asked, is_it) in [
            ("https://app.example.com/cb/", false),
            ("https://app.example.com/cb?x=1", false),
            ("https://app.example.com/c", false),
            ("https://app.example.com/cbx", false),
            ("https://app.example.com/%63b", false),
            ("https://APP.example.com/cb", false),
            ("https://app.example.com:443/cb", false),
            ("https://app.example.com:444/cb", false),
            ("https://app.example.com.evil.example/cb", false),
            ("https://app.example.com@evil.example/cb", false),
            ("http://app.example.com/cb", false),
            ("https://app.example.com/x/../cb", false),
            ("http://127.0.0.1:8000/cb/x", false),
            ("http://127.0.0.1:8000@evil.example/cb", false),
            ("http://127.0.0.1:99999/cb", false),
            ("http://127.0.0.1:/cb", false),
            ("http://127.0.0.1.evil.example/cb", false),
            ("http://localhost:8000/cb", false),
            ("http://[::1]/cb", false),
            ("", false),
            ("https://app.example.com/cb", true),
            ("http://127.0.0.1:8000/cb", true),
            ("http://127.0.0.1/cb", true),
        ] {
            assert_eq!(is_registered(&registered, asked), is_it, "{asked}");
        }
    }
}
