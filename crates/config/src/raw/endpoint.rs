//! Where an upstream is, and TLS to it.

use std::net::{IpAddr, Ipv6Addr};

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::listen::socket_path;
use super::network::{host_and_port, host_problem};
use crate::checked::EndpointAddress;
use crate::decode::scalar::{Int, pattern};
use crate::decode::{Decode, Decoder, Refusal, Scalar, keys};
use crate::diagnostic::Report;

/// Longer names fit no table and no label.
const SERVICE_NAME_BYTES_MAX: usize = 64;
/// RFC 1035, section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// Where an upstream is. The path of a Unix socket is as it was written.
#[derive(Clone, Debug)]
pub(crate) struct EndpointUrl {
    pub(crate) display: String,
    pub(crate) address: EndpointAddress,
    pub(crate) tls: bool,
}

fn refused(why: &str) -> Refusal {
    let forms = "`http://host:port`, `https://host`, `dns:name:port`, `unix:path` or `local:name`";
    Refusal::new("bad_endpoint", format!("expected {forms}: {why}"))
}

impl Scalar for EndpointUrl {
    const WHAT: &'static str = "an endpoint";

    fn read(text: &str, _plain: bool) -> Result<EndpointUrl, Refusal> {
        let plain = |address| Ok(EndpointUrl { display: text.to_owned(), address, tls: false });
        if let Some(path) = text.strip_prefix("unix:") {
            return plain(EndpointAddress::Unix(socket_path(path).map_err(refused)?));
        }
        if let Some(name) = text.strip_prefix("local:") {
            service_problem(name).map_or(Ok(()), |why| Err(refused(why)))?;
            return plain(EndpointAddress::Local(name.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("dns:") {
            if !rest.contains(':') {
                return Err(refused("the port is missing"));
            }
            let (host, port) = host_and_port(rest, 80).map_err(refused)?;
            return plain(EndpointAddress::Tcp { host, port, all_addresses: true });
        }
        match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => of_url(rest, false),
            (None, Some(rest)) => of_url(rest, true),
            (None, None) => Err(refused("it begins with one of these")),
        }
    }

    fn schema() -> Value {
        pattern(r"^(https?://[^/@]+/?|dns:.+:[0-9]+|unix:.+|local:[a-z][a-z0-9_-]*)$")
    }
}

/// What stands behind `http://` or `https://`.
fn of_url(rest: &str, tls: bool) -> Result<EndpointUrl, Refusal> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        let help = "paths are sent as they came; `strip_prefix` shortens them";
        return Err(refused("it has no path").help(help));
    }
    if authority.contains('@') {
        return Err(refused("it carries no user or password"));
    }
    if authority.contains(['?', '#']) {
        return Err(refused("it has neither query nor fragment"));
    }
    let (host, port) = host_and_port(authority, if tls { 443 } else { 80 }).map_err(refused)?;
    if let (true, Some(why)) = (tls, certified_problem(&host)) {
        return Err(refused(why));
    }
    let display = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Ok(EndpointUrl { display, address: EndpointAddress::Tcp { host, port, all_addresses: false }, tls })
}

/// What keeps a text from being the name of a service in the process.
fn service_problem(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
        Some("a service is named with small letters, digits, `_` and `-`, a letter first")
    } else if name.len() > SERVICE_NAME_BYTES_MAX {
        Some("the name of a service has at most 64 characters")
    } else {
        None
    }
}

/// What keeps a host (IPv6 without brackets) from being in a certificate: its rules are narrower than those of DNS.
fn certified_problem(host: &str) -> Option<&'static str> {
    if host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let is_bad =
        |label: &str| label.len() > LABEL_BYTES_MAX || label.starts_with('-') || label.ends_with('-');
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(why) = host_problem(host) {
        Some(why)
    } else if host.split('.').any(is_bad) {
        Some("a label of a name in a certificate has at most 63 characters and no `-` at its ends")
    } else if host.rsplit('.').next().is_some_and(is_number) {
        Some("a name in a certificate does not end in a number, and this is no address")
    } else {
        None
    }
}

keys! {
    /// An endpoint with its weight.
    pub(crate) struct EndpointKeys {
        /// `http://host:port`, `https://host:port`, `dns:name:port`, `unix:path` or `local:name`.
        url: EndpointUrl,
        /// How much it gets, compared with the others.
        weight: Int<1, 1_000> = "1",
    }
}

/// An endpoint: its URL, or a mapping with its weight.
#[derive(Clone, Debug)]
pub(crate) struct EndpointSpec {
    pub(crate) url: EndpointUrl,
    pub(crate) weight: u32,
}

impl Decode for EndpointSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<EndpointSpec> {
        if !node.is_mapping() {
            return EndpointUrl::decode(node, cx).map(|url| EndpointSpec { url, weight: 1 });
        }
        let keys = EndpointKeys::decode(node, cx)?;
        if keys.url.is_absent() {
            let at = cx.place(node.span());
            cx.report(Report::error("missing_key", &at, "the endpoint needs a `url`"));
        }
        Some(EndpointSpec { url: keys.url.get()?.value.clone(), weight: keys.weight.value().small() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = EndpointKeys::schema(generator);
        json_schema!({ "anyOf": [json!(<EndpointUrl as Scalar>::schema()), keys] })
    }
}

/// The name that a certificate must have, in lower case, or an address; IPv6 without brackets.
#[derive(Clone, Debug)]
pub(crate) struct ServerName(pub(crate) String);

impl Scalar for ServerName {
    const WHAT: &'static str = "a host name or an address";

    fn read(text: &str, _plain: bool) -> Result<ServerName, Refusal> {
        let lower = text.to_ascii_lowercase();
        let refused = |why: &str| {
            let message = format!("expected a host name such as `payments.internal`, or an address: {why}");
            Refusal::new("bad_host", message)
        };
        if let Some(address) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address =
                address.parse::<Ipv6Addr>().map_err(|_| refused("in brackets stands an IPv6 address"));
            return address.map(|address| ServerName(address.to_string()));
        }
        match (lower.parse::<IpAddr>(), certified_problem(&lower)) {
            (Ok(address), _) => Ok(ServerName(address.to_string())),
            (Err(_), None) => Ok(ServerName(lower)),
            (Err(_), Some(why)) => Err(refused(why)),
        }
    }

    fn schema() -> Value {
        pattern(r"^([A-Za-z0-9._-]+|\[?[0-9a-fA-F:.]+\]?)$")
    }
}
