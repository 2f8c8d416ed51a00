//! Which addresses are public: what a stranger's URL, or a stranger's DNS, may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether it is an address of the public internet. In doubt it is not: the special-purpose registries of IANA for
/// IPv4 and IPv6 are left out as a whole, with every form of IPv6 that carries an IPv4 address inside.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let is_special = match a {
        // This network, private, loopback.
        0 | 10 | 127 => true,
        // Shared by carriers (RFC 6598).
        100 => (64..128).contains(&b),
        // Link-local, where clouds have their metadata.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Protocol assignments, documentation, 6to4 relays, private.
        192 => (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99) || b == 168,
        // Benchmarks, documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        // Multicast, reserved, broadcast.
        224.. => true,
        _ => false,
    };
    !is_special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Only global unicast; of that neither protocol assignments (Teredo among them), documentation nor 6to4.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x0200)
        && !(a == 0x2001 && b == 0x0db8)
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}
