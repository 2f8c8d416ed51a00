//! Values of operation keys: who may call, timeouts, dates by version.

use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::values::is_token;
use super::{Timeouts, VersionName};
use crate::decode::scalar::{Date, OrOff, pattern};
use crate::decode::substitute::is_off;
use crate::decode::{Decode, Decoder, Field, List, Map, Refusal, Scalar, Spanned, State};
use crate::diagnostic::Report;

/// Timeouts, or `off`: then those that can be off are.
#[derive(Clone, Debug)]
pub(crate) struct TimeoutsOrOff(pub(crate) Timeouts);

impl Decode for TimeoutsOrOff {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<TimeoutsOrOff> {
        if !is_off(node, cx)? {
            return Timeouts::decode(node, cx).map(TimeoutsOrOff);
        }
        let off = Spanned { value: OrOff(None), at: cx.place(node.span()), written: None };
        let mut timeouts = Timeouts::absent();
        for field in [&mut timeouts.attempt, &mut timeouts.total, &mut timeouts.idle] {
            field.state = State::Given(off.clone());
        }
        Some(TimeoutsOrOff(timeouts))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let block = Timeouts::schema(generator);
        json_schema!({ "anyOf": [block, { "const": "off" }] })
    }

    fn over(&self, under: &TimeoutsOrOff) -> TimeoutsOrOff {
        TimeoutsOrOff(self.0.over(&under.0))
    }
}

/// A protocol of the `Upgrade` field, in lower case.
#[derive(Clone, Debug)]
pub(crate) struct UpgradeToken(pub(crate) String);

impl Scalar for UpgradeToken {
    const WHAT: &'static str = "a protocol";

    fn read(text: &str, _plain: bool) -> Result<UpgradeToken, Refusal> {
        let refused = |message: &str| Refusal::new("bad_upgrade", message);
        let lower = text.to_ascii_lowercase();
        let name = lower.split('/').next().unwrap_or_default();
        // RFC 9110, section 7.8: a name, perhaps with a version behind a slash.
        match name {
            "http" | "h2" | "h2c" | "h3" => {
                return Err(refused("requests in a tunnel of HTTP would pass around every rule")
                    .help("clients speak HTTP/2 to the engine itself, without an upgrade"));
            }
            "tls" => {
                return Err(refused(
                    "what a client says within TLS to the upstream would pass around every rule",
                )
                .help("TLS ends at the engine: see `server.tls`"));
            }
            // Tokens all of them, and nobody who writes one means a protocol of that name.
            "true" | "false" | "on" | "yes" | "no" | "none" | "any" | "*" => {
                return Err(refused("no protocol has this name").help("such as `websocket`; `off` is none"));
            }
            "off" => return Err(refused("`off` is none, so it stands alone and without quotes")),
            _ => {}
        }
        if lower.is_empty() || lower.len() > TOKEN_BYTES_MAX || !lower.chars().all(is_token) {
            return Err(refused(
                "expected a protocol such as `websocket`: letters, digits and `-._~!#$%&'*+^|`",
            ));
        }
        Ok(UpgradeToken(lower))
    }

    fn schema() -> Value {
        pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
    }
}

/// Longer than any name of a protocol.
const TOKEN_BYTES_MAX: usize = 64;

/// Protocols that may be switched to; `off` is none.
#[derive(Clone, Debug)]
pub(crate) struct Upgrades(pub(crate) Vec<String>);

impl Decode for Upgrades {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Upgrades> {
        if is_off(node, cx)? {
            return Some(Upgrades(Vec::new()));
        }
        let list = List::<UpgradeToken>::decode(node, cx)?;
        let at = cx.place(node.span());
        if list.0.is_empty() {
            let report = Report::error("empty_list", &at, "expected at least one protocol");
            cx.report(report.help("`off` is none"));
        }
        let mut tokens: Vec<String> = Vec::new();
        for token in list.0 {
            if tokens.contains(&token.value.0) {
                let message = "this protocol is in the list already";
                cx.report(Report::error("duplicate_upgrade", &token.at, message));
            } else {
                tokens.push(token.value.0);
            }
        }
        Some(Upgrades(tokens))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let list = List::<UpgradeToken>::schema(generator);
        json_schema!({ "anyOf": [list, { "const": "off" }] })
    }
}

/// `sunset` of an entry.
#[derive(Clone, Debug)]
pub(crate) enum Sunsets {
    Date(Date),
    ByVersion(Map<VersionName, Date>),
}

impl Decode for Sunsets {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<Sunsets> {
        if node.is_mapping() {
            Map::decode(node, cx).map(Sunsets::ByVersion)
        } else {
            Date::decode(node, cx).map(Sunsets::Date)
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let by_version = Map::<VersionName, Date>::schema(generator);
        json_schema!({ "anyOf": [<Date as Scalar>::schema(), by_version] })
    }
}

impl super::Operation {
    /// The keys that classes and defaults have too.
    pub(crate) fn keys(&self) -> super::OperationKeys {
        super::OperationKeys {
            auth: self.auth.clone(),
            scopes: self.scopes.clone(),
            authorize: self.authorize.clone(),
            body: self.body.clone(),
            timeouts: self.timeouts.clone(),
            strip_prefix: self.strip_prefix.clone(),
            priority: self.priority.clone(),
            upgrade: self.upgrade.clone(),
        }
    }
}

impl super::OperationKeys {
    /// The timeouts that are set here.
    pub(crate) fn timeouts(&self) -> Timeouts {
        timeouts_of(&self.timeouts)
    }
}

/// The block, or one without keys.
pub(crate) fn timeouts_of(field: &Field<TimeoutsOrOff>) -> Timeouts {
    field.get().map_or_else(Timeouts::absent, |timeouts| timeouts.value.0.clone())
}
