//! Who the client is, when proxies stand between.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};

use crate::plan::TrustedNetwork;

/// Entries of `X-Forwarded-For` that are looked at, from the right.
const ENTRIES_MAX: usize = 32;

/// The client's address and whether the peer may speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// The nearest address that is not a trusted proxy.
    pub client: Option<IpAddr>,
    /// The peer is a trusted proxy.
    pub peer_trusted: bool,
}

/// Reads `X-Forwarded-For` (or `Forwarded`) from the right, past trusted proxies, to the first address nobody vouches
/// for. What stands left of it was written by a stranger.
///
/// Without an address the peer is on a unix socket: a process of this machine that may open the socket's file, which is
/// as good as being named a trusted proxy.
pub fn client_address(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[TrustedNetwork],
) -> ClientAddress {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(ip));
    let peer = peer.map(|peer| peer.to_canonical());
    if peer.is_some_and(|peer| !is_trusted(peer)) {
        return ClientAddress { client: peer, peer_trusted: false };
    }
    let mut chain = forwarded_for(headers);
    if chain.is_empty() {
        chain = forwarded(headers);
    }
    let mut client = peer;
    for entry in chain.into_iter().rev().take(ENTRIES_MAX) {
        // An entry that is no address ends what can be known.
        let Some(ip) = entry else { break };
        client = Some(ip);
        if !is_trusted(ip) {
            break;
        }
    }
    ClientAddress { client, peer_trusted: true }
}

fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    list(headers, "x-forwarded-for").map(|entry| parse_node(entry?)).collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    list(headers, "forwarded")
        .map(|element| {
            let node = element?.split(';').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                name.eq_ignore_ascii_case("for").then_some(value)
            });
            node.and_then(|n| parse_node(n.trim_matches('"')))
        })
        .collect()
}

/// The entries of all lines. One that is no text is an entry all the same: left out, it would hand the word to whoever
/// wrote what stands before it, or to the other field.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Option<&'a str>> {
    let entries = |value: &'a HeaderValue| value.as_bytes().split(|byte| *byte == b',');
    headers.get_all(name).iter().flat_map(entries).map(|entry| std::str::from_utf8(entry).ok())
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                IpAddr::V6(host.parse().ok()?),
                if port.is_empty() { None } else { Some(port.strip_prefix(':')?) },
            )
        }
        None => {
            let (host, port) = text.rsplit_once(':')?;
            (IpAddr::V4(host.parse().ok()?), Some(port))
        }
    };
    // Numbers may have a sign where they are parsed.
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    port.is_none_or(is_port).then(|| host.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = [TrustedNetwork { address: "10.0.0.0".parse().unwrap(), prefix: 8 }];
        let check = |peer: &str, name: &'static str, value: &'static str, client: &str| {
            let mut headers = HeaderMap::new();
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let found = client_address(peer.parse().ok(), &headers, &trusted).client;
            assert_eq!(found, client.parse::<IpAddr>().ok(), "{peer} {name}: {value}");
        };
        let xff = "x-forwarded-for";
        check("192.0.2.1", xff, "198.51.100.7", "192.0.2.1");
        check("10.0.0.1", xff, "", "10.0.0.1");
        check("10.0.0.1", xff, "garbage", "10.0.0.1");
        check("10.0.0.1", xff, "198.51.100.7, garbage", "10.0.0.1");
        check("10.0.0.1", xff, "198.51.100.7", "198.51.100.7");
        check("10.0.0.1", xff, "203.0.113.66, 198.51.100.7, 10.0.0.2", "198.51.100.7");
        check("10.0.0.1", xff, "10.0.0.3, 10.0.0.2", "10.0.0.3");
        check("10.0.0.1", xff, "198.51.100.7:4711", "198.51.100.7");
        check("10.0.0.1", "forwarded", "for=198.51.100.7;proto=https", "198.51.100.7");
        check("10.0.0.1", "forwarded", "for=\"[2001:db8::1]:9\"", "2001:db8::1");
        check("::ffff:10.0.0.1", xff, "2001:db8::9", "2001:db8::9");
        check("10.0.0.1", xff, "[2001:db8::1]x", "10.0.0.1");
        check("10.0.0.1", xff, "[198.51.100.7]", "10.0.0.1");
        check("10.0.0.1", xff, "[::ffff:198.51.100.7]:80", "198.51.100.7");
        check("unix", xff, "198.51.100.7", "198.51.100.7");
        check("unix", xff, "", "unknown");
    }

    /// Once such a line was passed over, and whoever sent it chose its own address in what stood before, or in the other
    /// field.
    #[test]
    fn an_entry_that_is_no_text_ends_what_can_be_known() {
        let trusted = [TrustedNetwork { address: "10.0.0.0".parse().unwrap(), prefix: 8 }];
        let bytes = |value: &'static [u8]| HeaderValue::from_bytes(value).unwrap();
        let peer = "10.0.0.1".parse().ok();
        let check = |lines: &[(&'static str, &'static [u8])], expected: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, bytes(value));
            }
            let found = client_address(peer, &headers, &trusted).client;
            assert_eq!(found, expected.parse::<IpAddr>().ok(), "{lines:?}");
        };
        let xff = "x-forwarded-for";
        check(&[(xff, b"\xff"), ("forwarded", b"for=203.0.113.66")], "10.0.0.1");
        check(&[(xff, b"203.0.113.66"), (xff, b"\xff")], "10.0.0.1");
        check(&[(xff, b"203.0.113.66"), (xff, b"\xff, 198.51.100.7")], "198.51.100.7");
        check(&[("forwarded", b"for=203.0.113.66"), ("forwarded", b"\xff")], "10.0.0.1");
    }
}
