//! Addresses, networks, hosts and URLs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use crate::checked::Network;
use crate::decode::scalar::pattern;
use crate::decode::{Refusal, Scalar};

/// An address with a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Scalar for Address {
    const WHAT: &'static str = "an address with a port";

    fn read(text: &str, _plain: bool) -> Result<Address, Refusal> {
        if text.starts_with("unix:") {
            let refusal = Refusal::new("bad_address", "expected an address with a port; no Unix socket here");
            return Err(refusal.help("such as `127.0.0.1:9090`"));
        }
        text.parse().map(Address).map_err(|_| {
            let refusal =
                Refusal::new("bad_address", "expected an address with a port, such as `0.0.0.0:8080`");
            match text.rsplit_once(':') {
                Some(("", port)) => refusal.help(format!("for all addresses write `0.0.0.0:{port}`")),
                Some((host, port))
                    if host.starts_with(|c: char| c.is_ascii_alphabetic()) && host != "localhost" =>
                {
                    refusal.help(format!("write the address itself, not a name, before `:{port}`"))
                }
                Some(("localhost", port)) => refusal.help(format!("write `127.0.0.1:{port}`")),
                _ => refusal,
            }
        })
    }

    fn schema() -> Value {
        pattern(r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]+$")
    }
}

/// An address or a network in CIDR notation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkSpec(pub(crate) Network);

impl Scalar for NetworkSpec {
    const WHAT: &'static str = "an address or a network";

    fn read(text: &str, _plain: bool) -> Result<NetworkSpec, Refusal> {
        let refused =
            || Refusal::new("bad_network", "expected an address, or a network such as `10.0.0.0/8`");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| refused())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => bits,
            Some(text) if digits(text) => {
                text.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(refused)?
            }
            Some(_) => return Err(refused()),
        };
        let first = first_address(address, prefix);
        if first != address {
            return Err(Refusal::new("bad_network", "the address is not the first of its network").help(
                format!("it begins at its first address, or drop the `/{prefix}` to mean the one address"),
            ));
        }
        Ok(NetworkSpec(Network { address, prefix }))
    }

    fn schema() -> Value {
        pattern(r"^[0-9a-fA-F:.]+(/[0-9]+)?$")
    }
}

fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// A host that an api is served on, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Host(pub(crate) String);

impl AsRef<str> for Host {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Scalar for Host {
    const WHAT: &'static str = "a host";

    fn read(text: &str, _plain: bool) -> Result<Host, Refusal> {
        if text == "*" {
            return Ok(Host(text.to_owned()));
        }
        if text.contains("://") {
            return Err(Refusal::new("bad_host", "expected a host name without `http://`"));
        }
        let lower = text.to_ascii_lowercase();
        if let Some(address) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = address.parse::<Ipv6Addr>();
            return address
                .map(|v6| Host(format!("[{v6}]")))
                .map_err(|_| refused_host("this is no IPv6 address"));
        }
        host_problem(lower.strip_prefix("*.").unwrap_or(&lower))
            .map_or(Ok(Host(lower)), |why| Err(refused_host(why)))
    }

    fn schema() -> Value {
        pattern(r"^(\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])$")
    }
}

fn refused_host(why: &str) -> Refusal {
    Refusal::new("bad_host", format!("expected `*`, a host name or `*.example.com`: {why}"))
}

/// What keeps a text from being a host name.
pub(super) fn host_problem(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.contains(':') || name.contains('/') {
        Some("it has neither port nor path")
    } else if name.contains('*') {
        Some("`*` stands alone or for the first labels")
    } else if name.len() > 253 {
        Some("it has at most 253 characters")
    } else if name.split('.').any(str::is_empty) {
        Some("it has no empty label and does not end in a dot")
    } else if !name.chars().all(allowed) {
        Some("it has letters, digits and `-`; others are written in their `xn--` form")
    } else {
        None
    }
}

/// `upstreams.*.host`.
#[derive(Clone, Debug)]
pub(crate) enum HostName {
    Endpoint,
    Preserve,
    Name(String),
}

impl Scalar for HostName {
    const WHAT: &'static str = "`endpoint`, `preserve` or a host name";

    fn read(text: &str, _plain: bool) -> Result<HostName, Refusal> {
        match text {
            "endpoint" => return Ok(HostName::Endpoint),
            "preserve" => return Ok(HostName::Preserve),
            _ => {}
        }
        let (name, port) = text.rsplit_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        if host_problem(name).is_some() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(Refusal::new(
                "bad_host",
                "expected `endpoint`, `preserve` or a host name such as `api.internal`",
            ));
        }
        Ok(HostName::Name(text.to_owned()))
    }

    fn schema() -> Value {
        pattern(r"^[A-Za-z0-9._-]+(:[0-9]+)?$")
    }
}

/// An `http` or `https` URL without query and fragment, and without a trailing slash.
#[derive(Clone, Debug)]
pub(crate) struct Url(pub(crate) String);

impl Scalar for Url {
    const WHAT: &'static str = "a URL";

    fn read(text: &str, _plain: bool) -> Result<Url, Refusal> {
        let refused = |why: &str| {
            Refusal::new("bad_url", format!("expected a URL such as `https://example.com`: {why}"))
        };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| refused("it begins with `http://` or `https://`"))?;
        if rest.contains(['?', '#']) {
            return Err(refused("it has neither query nor fragment"));
        }
        if text.contains(|c: char| {
            !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}')
        }) {
            return Err(refused("it has only characters that URLs have"));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(refused("it carries no user or password"));
        }
        host_and_port(authority, 80).map_err(refused)?;
        Ok(Url(text.trim_end_matches('/').to_owned()))
    }

    fn schema() -> Value {
        pattern("^https?://[^?#@]+$")
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets, which are taken away.
pub(super) fn host_and_port(authority: &str, default_port: u16) -> Result<(String, u16), &'static str> {
    let port_of = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|port: &u16| digits && *port > 0)
            .ok_or("its port is a number from 1 to 65535")
    };
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').ok_or("a bracket has no partner")?;
        let address: Ipv6Addr = address.parse().map_err(|_| "in brackets stands an IPv6 address")?;
        let port = match behind.strip_prefix(':') {
            Some(port) => port_of(port)?,
            None if behind.is_empty() => default_port,
            None => return Err("behind the bracket stands the port"),
        };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port_of(port)?),
        None => (authority, default_port),
    };
    if host.is_empty() {
        return Err("its host is missing");
    }
    host_problem(host).map_or_else(|| Ok((host.to_ascii_lowercase(), port)), Err)
}
