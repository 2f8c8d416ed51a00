//! The PROXY protocol, versions 1 and 2: a load balancer's word for who its client is, before the first byte of that
//! client (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2).
//!
//! It is read to the exact byte, because what follows is another protocol. [`read`] says how many bytes it
//! needs at least; a caller that never has more than that never holds a byte too many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are needed in all, at least.
    Needs(usize),
    /// The header is complete, and no byte is left over.
    Complete {
        /// Whose connection it is; `None`: the load balancer's own (a health check), or it does not know.
        client: Option<SocketAddr>,
    },
    /// It is no PROXY header.
    Malformed(&'static str),
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header of version 1: `PROXY UNKNOWN` and the end of line.
const SHORTEST: usize = 15;
/// The longest of version 1, its end of line included (section 2.1).
const LONGEST_V1: usize = 107;
const FIXED_V2: usize = 16;
/// Addresses and extensions of version 2 that are taken; real ones have some hundred bytes.
const VARIABLE_V2_MAX: usize = 2048;

/// Reads what has come. `bytes` begins with the first byte of the connection.
pub fn read(bytes: &[u8]) -> Progress {
    if bytes.len() < SHORTEST {
        return Progress::Needs(SHORTEST);
    }
    if bytes.starts_with(SIGNATURE) {
        return version_2(bytes);
    }
    if !bytes.starts_with(b"PROXY ") {
        return Progress::Malformed("the connection does not begin with a PROXY header");
    }
    if !bytes.ends_with(b"\r\n") {
        return match bytes.len() {
            LONGEST_V1.. => Progress::Malformed("the PROXY header has no end"),
            n => Progress::Needs(n + 1),
        };
    }
    match version_1(&bytes[6..bytes.len() - 2]) {
        Some(client) => Progress::Complete { client },
        None => Progress::Malformed("the PROXY header of version 1 is malformed"),
    }
}

fn version_1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = line.split(' ');
    let (family, source, target) = (words.next()?, words.next()?, words.next()?);
    let (source_port, target_port) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        is_plain.then(|| text.parse().ok()).flatten()
    };
    // The target is of no use here, but a header with a malformed one was not written by a load balancer.
    address(target)?;
    port(target_port)?;
    Some(Some(SocketAddr::new(address(source)?, port(source_port)?)))
}

fn version_2(bytes: &[u8]) -> Progress {
    let Some(fixed) = bytes.first_chunk::<FIXED_V2>() else { return Progress::Needs(FIXED_V2) };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if fixed[12] >> 4 != 2 {
        return Progress::Malformed("the PROXY header has a version that is not known");
    }
    if length > VARIABLE_V2_MAX {
        return Progress::Malformed("the PROXY header is too long");
    }
    if bytes.len() < FIXED_V2 + length {
        return Progress::Needs(FIXED_V2 + length);
    }
    let addresses = &bytes[FIXED_V2..];
    let client = match (fixed[12] & 0x0f, fixed[13]) {
        (0, _) => None,
        (1, 0x11) => match addresses {
            [a, b, c, d, _, _, _, _, p, q, _, _, ..] => {
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), u16::from_be_bytes([*p, *q])))
            }
            _ => return Progress::Malformed("the PROXY header is too short for its addresses"),
        },
        (1, 0x21) => match (addresses.first_chunk::<16>(), addresses.get(32..36)) {
            (Some(address), Some(&[p, q, _, _])) => {
                Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*address)), u16::from_be_bytes([p, q])))
            }
            _ => return Progress::Malformed("the PROXY header is too short for its addresses"),
        },
        // Datagrams, unix sockets, unspecified: "the receiver should accept the connection and use the real
        // addresses" (section 2.2).
        (1, _) => None,
        _ => return Progress::Malformed("the PROXY header has a command that is not known"),
    };
    Progress::Complete { client }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a caller does it: never more bytes than were asked for.
    fn read_exactly(bytes: &[u8]) -> (Progress, usize) {
        let mut have = 0;
        loop {
            match read(&bytes[..have]) {
                Progress::Needs(needs) if needs <= bytes.len() => have = needs,
                done => return (done, have),
            }
        }
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x20 | command, family]);
        bytes.extend_from_slice(&(addresses.len() as u16).to_be_bytes());
        bytes.extend_from_slice(addresses);
        bytes
    }

    #[test]
    fn headers_are_read_to_the_byte() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0x01, 0xbb];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 9;
        v6[32..34].copy_from_slice(&[0x12, 0x34]);
        let extended = [&v4[..], &[4, 0, 1, 0]].concat();
        let rows: Vec<(Vec<u8>, Option<&str>)> = vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 443\r\n".to_vec(), Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 4660 443\r\n".to_vec(), Some("[2001:db8::9]:4660")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, &v4), Some("192.0.2.7:4660")),
            (v2(1, 0x11, &extended), Some("192.0.2.7:4660")),
            (v2(1, 0x21, &v6), Some("[2001:db8::9]:4660")),
            (v2(0, 0, &[]), None),
            (v2(0, 0x11, &v4), None),
            (v2(1, 0, &[]), None),
            (v2(1, 0x31, &[0; 216]), None),
        ];
        for (header, client) in rows {
            let client = client.map(|text| text.parse().unwrap());
            let with_request = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            let (progress, taken) = read_exactly(&with_request);
            assert_eq!((progress, taken), (Progress::Complete { client }, header.len()), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let rows: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4660\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 443 1\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::9 2001:db8::1 4660 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 04660 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7  198.51.100.1 1 443\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 198.51.100.1 1 443\r\n".to_vec(),
            b"PROXY UNKNOWNS 1\r\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(),
            v2(2, 0x11, &[0; 12]),
            v2(1, 0x11, &[0; 11]),
            v2(1, 0x21, &[0; 35]),
            v2(1, 0x11, &[0; 3000]),
            [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(),
        ];
        for bytes in rows {
            let (progress, _) = read_exactly(&bytes);
            assert!(
                matches!(progress, Progress::Malformed(_)),
                "{progress:?} {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, signed: bool) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            if let Progress::Needs(more) = read(&bytes) {
                prop_assert!(more > bytes.len());
            }
        }
    }
}
