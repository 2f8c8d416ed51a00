//! The authority a request names: `host[:port]`, checked so strictly that it has one reading.

use std::fmt;
use std::net::Ipv6Addr;

use bytes::Bytes;

use crate::class::HOST;
use crate::limits::HOST_BYTES_MAX;
use crate::refusal::Refusal;
use crate::text::Text;

/// A valid `host[:port]`, spelled as it was sent.
///
/// The host is a name of letters, digits, `-`, `_` and `.` without empty labels (one dot at the end is
/// allowed), which includes IPv4 addresses, or an IPv6 address in brackets without zone. The port is 1 to 65535
/// without leading zeros. Equality disregards case.
#[derive(Clone)]
pub struct Authority(Text);

impl Authority {
    /// Checks an authority from elsewhere (`:authority` of HTTP/2) by the same rules.
    ///
    /// # Errors
    /// [`Refusal::Host`] with what is wrong.
    pub fn parse(bytes: Bytes) -> Result<Self, Refusal> {
        check(&bytes).map_err(Refusal::Host)?;
        Ok(Self::checked(bytes))
    }

    /// For bytes that went through [`check`] before.
    pub(crate) fn checked(bytes: Bytes) -> Self {
        Self(Text::from_ascii(bytes))
    }

    /// Host and port as they were sent.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host alone, as it was sent, an IPv6 address with its brackets, a name without the dot at its end.
    pub fn host(&self) -> &str {
        let bytes = self.as_bytes();
        let end = |of: u8| bytes.iter().position(|byte| *byte == of);
        let end = match bytes.first() {
            Some(b'[') => end(b']').map(|bracket| bracket + 1),
            _ => end(b':'),
        };
        let host = std::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]).unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host)
    }

    /// Host and port as they were sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The port, where one was given.
    pub fn port(&self) -> Option<u16> {
        let (_, port) = self.0.as_str().rsplit_once(':')?;
        // Inside the brackets of an IPv6 address the last part ends with `]` and is no number.
        port.parse().ok()
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for Authority {}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Says what is wrong with `host[:port]`.
pub(crate) fn check(authority: &[u8]) -> Result<(), &'static str> {
    let after_host = match authority {
        [] => return Err("The host is empty."),
        [b'[', inside @ ..] => check_ipv6(inside)?,
        _ => check_name(authority)?,
    };
    match after_host {
        [] => Ok(()),
        [b':', port @ ..] => check_port(port),
        [b'@', ..] => Err("The host has user information before it."),
        [b',', ..] => Err("More than one host is named."),
        _ => Err("The host has a byte that cannot stand in a host name."),
    }
}

/// Returns what follows the closing bracket.
fn check_ipv6(inside: &[u8]) -> Result<&[u8], &'static str> {
    const BAD: &str = "The brackets in the host hold no IPv6 address.";
    let end = memchr::memchr(b']', inside).ok_or(BAD)?;
    let address = std::str::from_utf8(&inside[..end]).map_err(|_| BAD)?;
    address.parse::<Ipv6Addr>().map_err(|_| BAD)?;
    Ok(&inside[end + 1..])
}

/// Returns what follows the name.
fn check_name(authority: &[u8]) -> Result<&[u8], &'static str> {
    let (name, rest) = authority.split_at(HOST.run(authority));
    let mut previous = b'.';
    for &byte in name {
        if byte == b'.' && previous == b'.' {
            return Err("The host name has an empty label.");
        }
        previous = byte;
    }
    if name.len() > HOST_BYTES_MAX {
        return Err("The host name is too long.");
    }
    // An empty name is left to the caller when another fault explains it better (`@`, `,`).
    if name.is_empty() && rest.first() == Some(&b':') {
        return Err("The host is empty.");
    }
    Ok(rest)
}

fn check_port(port: &[u8]) -> Result<(), &'static str> {
    const BAD: &str = "The port in the host is not a number from 1 to 65535.";
    let plain = port.len() <= 5 && port.iter().all(u8::is_ascii_digit) && port.first() != Some(&b'0');
    let digits = std::str::from_utf8(port).map_err(|_| BAD)?;
    if plain && digits.parse::<u16>().is_ok() {
        return Ok(());
    }
    if memchr::memchr(b'@', port).is_some() {
        return Err("The host has user information before it.");
    }
    Err(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_hosts() {
        let long = format!("{}.example", "a".repeat(250));
        for host in [
            "",
            ":80",
            ".",
            ".a",
            "a..b",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:99999",
            "a:123456",
            "a:8o",
            "a:-1",
            "a:+1",
            "a:80:80",
            "a:80/",
            "a/",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            " a",
            "a@b",
            "u:p@b",
            "@b",
            "a,b",
            ",",
            "a%2eb",
            "a\\b",
            "[::1",
            "[]",
            "[1.2.3.4]",
            "[::1%25eth0]",
            "[::1]x",
            "[::1]:",
            "[v1.a]",
            "::1",
            "a\"b",
            "a;b",
            "a\u{e9}",
            "a\tb",
            "a\0",
            &long,
        ] {
            let refusal = Authority::parse(Bytes::copy_from_slice(host.as_bytes())).unwrap_err();
            assert_eq!(refusal.code(), "bad_host", "{host:?}");
        }
    }

    #[test]
    fn accepted_hosts() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("EXAMPLE.com.", "EXAMPLE.com", None),
            ("example.com.:8443", "example.com", Some(8443)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]", Some(1)),
            ("my_service-1:80", "my_service-1", Some(80)),
        ] {
            let authority = Authority::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
            assert_eq!((authority.as_str(), authority.host(), authority.port()), (text, host, port));
        }
    }

    #[test]
    fn equality_disregards_case_only() {
        let parse = |text: &'static str| Authority::parse(Bytes::from_static(text.as_bytes())).unwrap();
        assert_eq!(parse("API.example"), parse("api.EXAMPLE"));
        assert_ne!(parse("api.example"), parse("api.example:80"));
        assert_ne!(parse("api.example"), parse("api.example."));
    }
}
