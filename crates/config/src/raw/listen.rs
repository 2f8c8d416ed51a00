//! Where the engine listens.

use std::path::PathBuf;

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::Address;
use crate::checked::ListenAddress;
use crate::decode::scalar::{Flag, Text, pattern};
use crate::decode::{Decode, Decoder, Field, Refusal, Scalar, Spanned, keys, spanned};
use crate::diagnostic::Report;

/// An address of the network, or a Unix socket, whose path is as it was written.
#[derive(Clone, Debug)]
pub(crate) struct ListenAt(pub(crate) ListenAddress);

impl Scalar for ListenAt {
    const WHAT: &'static str = "an address to listen on";

    fn read(text: &str, plain: bool) -> Result<ListenAt, Refusal> {
        let Some(path) = text.strip_prefix("unix:") else {
            return Address::read(text, plain).map(|address| ListenAt(ListenAddress::Tcp(address.0)));
        };
        let path = socket_path(path).map_err(|why| {
            Refusal::new("bad_address", format!("expected a socket such as `unix:/run/mainstay.sock`: {why}"))
        });
        path.map(|path| ListenAt(ListenAddress::Unix(path)))
    }

    fn schema() -> Value {
        pattern(r"^(([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]+|unix:.+)$")
    }
}

/// The path of a socket, as it was written. How long it may be is known where it is resolved.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, &'static str> {
    if text.trim().is_empty() {
        Err("the path is missing")
    } else if text.contains(char::is_control) {
        Err("the path has no control characters")
    } else if text.ends_with('/') {
        Err("the path ends in the name of the socket")
    } else {
        Ok(PathBuf::from(text))
    }
}

keys! {
    /// An address to listen on, and what connections there begin with.
    pub(crate) struct ListenKeys {
        /// `host:port` with a literal address, or `unix:path`.
        address: ListenAt,
        /// The set of `server.tls` that connections are encrypted with. Without it they are plain.
        tls: Text,
        /// Whether each connection must begin with a header of the PROXY protocol, which says who the client is.
        proxy_protocol: Flag = "false",
    }
}

/// An address to listen on, or a mapping with it.
#[derive(Clone, Debug)]
pub(crate) struct ListenSpec {
    pub(crate) address: Spanned<ListenAt>,
    pub(crate) tls: Field<Text>,
    pub(crate) proxy_protocol: bool,
}

impl Decode for ListenSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<ListenSpec> {
        if !node.is_mapping() {
            let address = spanned(node, cx)?;
            return Some(ListenSpec { address, tls: Field::absent(None), proxy_protocol: false });
        }
        let keys = ListenKeys::decode(node, cx)?;
        if keys.address.is_absent() {
            let at = cx.place(node.span());
            let report = Report::error("missing_key", &at, "the listener needs an `address`");
            cx.report(report.help("such as `{ address: 0.0.0.0:8443, tls: NAME }`"));
        }
        let proxy_protocol = keys.proxy_protocol.value().0;
        Some(ListenSpec { address: keys.address.get()?.clone(), tls: keys.tls, proxy_protocol })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = ListenKeys::schema(generator);
        json_schema!({ "anyOf": [json!(<ListenAt as Scalar>::schema()), keys] })
    }
}
