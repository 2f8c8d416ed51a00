//! A listener behind a load balancer: each connection begins with a PROXY header that says whose it is.
//!
//! The header is believed because the listener says so (`proxy_protocol: true`); such a listener must not be reachable
//! for anyone but the load balancer. It has as long as a request head has. What begins in another way is closed
//! without an answer: whoever sent it does not speak what is spoken here.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_wire::proxy_protocol::{Progress, read};
use tokio::io::AsyncReadExt as _;

use crate::stream::Plain;

/// Reads the header, to its last byte and no further. The address of the client, or `peer` where the load balancer speaks
/// for itself. `None`: the connection is to be closed.
pub(crate) async fn client_of(
    plain: &mut Plain,
    peer: Option<IpAddr>,
    within: Duration,
) -> Option<Option<IpAddr>> {
    let header = tokio::time::timeout(within, Box::pin(header(plain))).await.ok()?.ok()?;
    Some(header.or(peer))
}

async fn header(plain: &mut Plain) -> io::Result<Option<IpAddr>> {
    let mut bytes = Vec::new();
    loop {
        match read(&bytes) {
            Progress::Complete { client } => return Ok(client.map(|client| client.ip().to_canonical())),
            Progress::Malformed(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            Progress::Needs(needed) => {
                let have = bytes.len();
                bytes.resize(needed, 0);
                plain.read_exact(&mut bytes[have..]).await?;
            }
        }
    }
}
