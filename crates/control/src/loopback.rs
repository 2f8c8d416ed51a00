//! What counts as this machine talking to itself.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;

/// A host that can only be this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loopback {
    /// The name `localhost` (RFC 6761 keeps it for this; names below it are left out, resolvers differ on them).
    Localhost,
    /// An address of 127.0.0.0/8 or `::1`.
    Ip(IpAddr),
}

/// An authority without user information, split: host (without the brackets of IPv6) and port.
pub(crate) fn split(authority: &Authority) -> Option<(&str, Option<u16>)> {
    let host = authority.host();
    // `Authority` lets user information and any digits pass as a port.
    let port = match authority.as_str().strip_prefix(host)? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    Some((host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port))
}

/// Which loopback host this is, if it is one. Only the usual spelling of an address counts: a decimal or shortened
/// one is for a resolver to interpret, and is refused.
pub(crate) fn host(host: &str) -> Option<Loopback> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Loopback::Localhost);
    }
    let ip: IpAddr = host.parse().ok()?;
    is_loopback(ip).then_some(Loopback::Ip(ip))
}

/// Refuses an address that others could reach, for a listener without TLS.
pub(crate) fn require(address: SocketAddr) -> io::Result<()> {
    if is_loopback(address.ip()) {
        return Ok(());
    }
    let message = format!(
        "the control listener must be on loopback or have `tls`, {address} is not: use 127.0.0.1 or [::1], or name a set of server.tls in control.tls"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// An address that only this machine reaches.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        let rows = [
            ("example.com", false),
            ("localhost.example.com", false),
            ("a.localhost", false),
            ("localhost.", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("169.254.169.254", false),
            ("::", false),
            ("::ffff:10.0.0.1", false),
            ("2130706433", false),
            ("0x7f000001", false),
            ("127.1", false),
            ("", false),
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.8.9.10", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
        ];
        for (text, loopback) in rows {
            assert_eq!(host(text).is_some(), loopback, "{text}");
        }
    }

    #[test]
    fn authorities_are_split_or_refused() {
        let rows = [
            ("user@localhost", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("localhost", Some(("localhost", None))),
            ("localhost:80", Some(("localhost", Some(80)))),
            ("[::1]:9090", Some(("::1", Some(9090)))),
            ("[::1]", Some(("::1", None))),
        ];
        for (text, expected) in rows {
            let authority = Authority::try_from(text).expect("an authority");
            assert_eq!(split(&authority), expected, "{text}");
        }
    }

    #[test]
    fn a_reachable_listener_is_refused() {
        for address in ["0.0.0.0:9090", "10.1.2.3:9090", "[::]:9090"] {
            let error = require(address.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}");
        }
        require("127.0.0.1:9090".parse().unwrap()).unwrap();
        require("[::1]:9090".parse().unwrap()).unwrap();
    }
}
