//! Who the client is behind trusted proxies: no panic, and the address found is the peer's or one that stands in the list with
//! nothing but trusted addresses right of it. The twin here reads the list as one text from its right end.
#![no_main]

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use mainstay_proxy::client::client_address;
use mainstay_proxy::plan::TrustedNetwork;

/// More entries than that are not looked at.
const ENTRIES_MAX: usize = 32;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else { return };
    let peers = ["10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1", "no address", "10.255.255.255"];
    let peer: Option<IpAddr> = peers[usize::from(choice & 7) % peers.len()].parse().ok();
    let trusted = [network("10.0.0.0", 8 + (choice >> 5)), network("2001:db8::", 32)];
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(40) {
        let Some((which, value)) = line.split_first() else { continue };
        let name = if which & 1 == 0 { "x-forwarded-for" } else { "forwarded" };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    let found = client_address(peer, &headers, &trusted);
    let canonical = peer.map(|peer| peer.to_canonical());
    if canonical.is_some_and(|peer| !is_trusted(peer)) {
        assert!(!found.peer_trusted && found.client == canonical);
        return;
    }
    assert!(found.peer_trusted);
    assert_eq!(found.client, expected(canonical, &headers, &is_trusted));
});

fn network(address: &str, prefix: u8) -> TrustedNetwork {
    TrustedNetwork { address: address.parse().expect("an address"), prefix }
}

fn expected(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    is_trusted: &dyn Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let is_plain = headers.contains_key("x-forwarded-for");
    let name = if is_plain { "x-forwarded-for" } else { "forwarded" };
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let (mut rest, mut said, mut looked_at) = (lines.join(&b','), peer, 0);
    if lines.is_empty() {
        return peer;
    }
    while looked_at < ENTRIES_MAX {
        looked_at += 1;
        let comma = rest.iter().rposition(|byte| *byte == b',');
        let entry = rest.split_off(comma.map_or(0, |comma| comma + 1));
        let Ok(entry) = String::from_utf8(entry) else { return said };
        let node = if is_plain { Some(entry.trim()) } else { node(&entry) };
        let Some(address) = node.and_then(address) else { return said };
        said = Some(address);
        if !is_trusted(address) || comma.is_none() {
            return said;
        }
        rest.pop();
    }
    said
}

/// The first `for` of an element of Forwarded.
fn node(element: &str) -> Option<&str> {
    for pair in element.split(';') {
        if let Some((name, value)) = pair.trim().split_once('=')
            && name.to_ascii_lowercase() == "for"
        {
            return Some(value.trim_matches('"').trim());
        }
    }
    None
}

/// As the standard library reads addresses and socket addresses; with brackets, the port may be missing.
fn address(node: &str) -> Option<IpAddr> {
    let plain = node.parse::<IpAddr>().ok();
    let with_port = || match node.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if !node.contains('%') => Some(IpAddr::V6(*v6.ip())),
        Ok(SocketAddr::V4(v4)) => Some(IpAddr::V4(*v4.ip())),
        _ => None,
    };
    let bracketed = || format!("{node}:1").parse::<SocketAddrV6>().ok().filter(|_| !node.contains('%'));
    let bracketed = || bracketed().filter(|_| node.ends_with(']')).map(|v6| IpAddr::V6(*v6.ip()));
    plain.or_else(with_port).or_else(bracketed).map(|ip| ip.to_canonical())
}
