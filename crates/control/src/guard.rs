//! Who may ask: three checks over a request's head, each a pure function.
//!
//! The token says who calls. The other two are there for the browser on the operator's machine, which can reach
//! loopback for any page it shows: a page that rebinds its own name to 127.0.0.1 is known by `Host`, a page that
//! posts across origins by `Origin`. Programs send neither.

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use mainstay_core::ProblemCode;

use crate::loopback;
use crate::problem::Refusal;

/// Where the listener can be reached from, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Over TLS alone.
    pub(crate) tls: bool,
    /// From this machine alone.
    pub(crate) loopback: bool,
}

/// Refuses a request that was not addressed to this machine. The port is not compared: behind a tunnel it differs. Over
/// TLS any name will do: a page that rebinds its own to this machine has no certificate for it.
pub(crate) fn check_host(uri: &Uri, headers: &HeaderMap, reach: Reach) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(bad_host());
    };
    let host = Authority::try_from(host.as_bytes()).map_err(|_| bad_host())?;
    // An absolute-form target overrides Host (RFC 9112, section 3.2.2), so both have to be right.
    for authority in [Some(&host), uri.authority()].into_iter().flatten() {
        let (name, _) = loopback::split(authority).ok_or_else(bad_host)?;
        if !reach.tls && loopback::host(name).is_none() {
            let detail = "The Host header does not name the loopback address of this listener.";
            return Err(Refusal::new(ProblemCode::Misdirected, detail));
        }
    }
    Ok(())
}

/// Refuses what a browser sends on behalf of a page, on admin paths.
pub(crate) fn check_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let path = uri.path();
    let admin = path == "/admin" || path.starts_with("/admin/");
    if admin && headers.contains_key(ORIGIN) {
        let detail = "The request carries an Origin header, so a web page sent it.";
        return Err(Refusal::new(ProblemCode::OriginRefused, detail));
    }
    Ok(())
}

/// The one bearer token that a request presents (RFC 6750, section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let missing = |detail| Refusal::unauthenticated(detail, "Bearer realm=\"mainstay\"");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => {
            return Err(missing(
                "The request carries no Authorization header. Send the line in the file that control.token_file names as 'Bearer TOKEN'.",
            ));
        }
        (Some(_), Some(_)) => return Err(missing("The request carries more than one Authorization header.")),
        (Some(value), None) => value.as_bytes(),
    };
    let Some(space) = value.iter().position(|b| *b == b' ') else {
        return Err(missing("The Authorization header is not 'Bearer TOKEN'."));
    };
    let (scheme, presented) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(missing("The Authorization header is not 'Bearer TOKEN'."));
    }
    Ok(presented.trim_ascii_start())
}

fn bad_host() -> Refusal {
    let detail = "The request needs exactly one well-formed Host header.";
    Refusal::new(ProblemCode::BadHost, detail)
}
