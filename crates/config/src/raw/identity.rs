//! Who calls, and what they may do: stores, ways to prove who one is, plans and consumers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstay_core::principal::{Attribute, Attributes, AuthMethod};
use mainstay_openapi::tree::Node;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{Forwarded, HeaderName, IntrospectionServer, JwtAuth, Outbound, Priority, Url};
use crate::decode::scalar::{Int, Lasting, Rate, Text, pattern};
use crate::decode::{BlockOrOff, Decode, Decoder, List, Refusal, Scalar, Spanned, keys, substitute};
use crate::diagnostic::Report;

/// Deeper attributes are no attributes.
const ATTRIBUTE_DEPTH_MAX: usize = 8;

/// The limit of wrong credentials, or `off`.
pub(crate) type PreauthOrOff = BlockOrOff<Preauth>;

keys! {
    /// Where lasting state is kept.
    pub(crate) struct Stores {
        /// What holds for every store that has no entry of its own: `sqlite:FILE`, relative to this one, or `postgres://`.
        state: StoreUrl = "sqlite:mainstay.db",
        /// Consumers, keys and their audit.
        catalogue: StoreUrl,
        /// The key that seals what must be recoverable: `${file:PATH}`, or `${NAME}` for an environment variable. Without it
        /// the file `mainstay.key`, made at the first start that needs one; with PostgreSQL and `auth.oauth` it must be written.
        secret_key: SecretKeySource,
    }

    /// Ways for callers to prove who they are.
    pub(crate) struct Auth {
        /// Keys of the catalogue.
        api_keys: ApiKeys,
        /// The built-in authorisation server (OAuth 2.0). Absent: there is none.
        oauth: Oauth,
        /// JSON Web Tokens of other issuers.
        jwt: JwtAuth,
        /// Opaque tokens of other servers, which are asked about each.
        introspection: List<IntrospectionServer> = "[]",
        /// What the engine itself fetches for that.
        outbound: Outbound,
        /// Credentials that go on to the upstream, which sees none otherwise: `jwt`, `api_key`.
        forward: List<Forwarded> = "[]",
    }

    /// The built-in authorisation server (OAuth 2.0).
    pub(crate) struct Oauth {
        /// Its name, an `https` URL (`http` on this machine alone): its paths are served under this host and path.
        issuer: Url,
        /// How long an access token is good.
        access_token: Lasting<60_000, 86_400_000> = "10m",
        /// How long a refresh token is good that nobody uses.
        refresh_token: Lasting<3_600_000, 31_536_000_000> = "30d",
    }

    /// Keys of the catalogue.
    pub(crate) struct ApiKeys {
        /// The header that carries a key. `Authorization: Bearer msk_...` is accepted too.
        header: HeaderName = "x-api-key",
    }

    /// How often one client address may try a credential that turns out to be wrong.
    pub(crate) struct Preauth {
        /// Wrong ones a second that are looked at.
        rate: Rate<1, 3_600_000> = "50/s",
        /// How many of them may come at once.
        burst: Int<1, 1_000_000> = "100",
    }

    /// What a tier of consumers gets.
    pub(crate) struct Plan {
        /// Whose turn comes first when there is too much, for operations that do not say so themselves.
        priority: Priority = "normal",
    }

    /// A consumer that this file names. It can be read through the admin API, not changed.
    pub(crate) struct ConsumerEntry {
        /// What it is called in the log, in policies, and in `X-Consumer-Id`.
        id: ConsumerId,
        /// For people.
        name: Text,
        /// Its tier, one of `plans`.
        plan: Text,
        /// Groups for policies.
        groups: List<Text> = "[]",
        /// Attributes for policies: texts, whole numbers, `true` and `false`, lists and mappings of them.
        attributes: AttributesSpec,
    }
}

/// A store.
#[derive(Clone, Debug)]
pub(crate) enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Scalar for StoreUrl {
    const WHAT: &'static str = "a store";

    fn read(text: &str, _plain: bool) -> Result<StoreUrl, Refusal> {
        let refused = |message: &str| Refusal::new("bad_store", message);
        if let Some(path) = text.strip_prefix("sqlite:") {
            if path.is_empty() || path.ends_with('/') || path.contains(['?', '\0']) {
                return Err(refused("expected a file after `sqlite:`, such as `sqlite:mainstay.db`"));
            }
            return Ok(StoreUrl::Sqlite(path.into()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(StoreUrl::Postgres(text.to_owned()));
        }
        Err(refused("expected `sqlite:FILE` or `postgres://USER@HOST/DATABASE`"))
    }

    fn schema() -> Value {
        pattern("^(sqlite:.+|postgres(ql)?://.+)$")
    }
}

/// Where the secret key is. It never stands in the configuration itself, so it is in no copy of it either.
#[derive(Clone, Debug)]
pub(crate) enum SecretKeySource {
    File(PathBuf),
    Variable(String),
}

impl Decode for SecretKeySource {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<SecretKeySource> {
        const WHAT: &str = "`${file:mainstay.key}`, or `${NAME}` for an environment variable";
        let Some(text) = node.text() else {
            cx.expected(node, WHAT);
            return None;
        };
        let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match inner.strip_prefix("file:") {
            Some(path) if !path.is_empty() && !path.contains(['{', '}', '\0']) => {
                Some(SecretKeySource::File(path.into()))
            }
            None if is_name(inner) => Some(SecretKeySource::Variable(inner.to_owned())),
            _ => {
                let at = cx.place(node.span());
                // What was written may be a key, so it is not shown.
                let message = format!("a key does not stand in the configuration: expected {WHAT}");
                cx.report(Report::error("bad_secret_key", &at, message));
                None
            }
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\$\{(file:.+|[A-Za-z_][A-Za-z0-9_]*)\}$" })
    }
}

/// The id of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerId(pub(crate) String);

impl Scalar for ConsumerId {
    const WHAT: &'static str = "the id of a consumer";

    fn read(text: &str, _plain: bool) -> Result<ConsumerId, Refusal> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
            let message = "expected an id: letters, digits, `_`, `-` and `.`, at most 64";
            return Err(Refusal::new("bad_consumer_id", message));
        }
        Ok(ConsumerId(text.to_owned()))
    }

    fn schema() -> Value {
        pattern("^[A-Za-z0-9_.-]{1,64}$")
    }
}

impl AsRef<str> for ConsumerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A scope (RFC 6749, section 3.3).
#[derive(Clone, Debug)]
pub(crate) struct Scope(pub(crate) String);

impl Scalar for Scope {
    const WHAT: &'static str = "a scope";

    fn read(text: &str, _plain: bool) -> Result<Scope, Refusal> {
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        if text.is_empty() || text.len() > 128 || !text.chars().all(fits) {
            let message =
                "expected a scope such as `payments:write`: printable, without spaces, `\"` and `\\`";
            return Err(Refusal::new("bad_scope", message));
        }
        Ok(Scope(text.to_owned()))
    }

    fn schema() -> Value {
        pattern(r"^[!#-\[\]-~]{1,128}$")
    }
}

/// Attributes of a consumer.
#[derive(Clone, Debug)]
pub(crate) struct AttributesSpec(pub(crate) Attributes);

impl Decode for AttributesSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<AttributesSpec> {
        if !node.is_mapping() {
            cx.expected(node, "a mapping of attributes");
            return None;
        }
        match attribute(node, cx, 0)? {
            Attribute::Record(attributes) => Some(AttributesSpec(attributes)),
            _ => None,
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

fn attribute(node: &Node, cx: &mut Decoder<'_>, depth: usize) -> Option<Attribute> {
    const WHAT: &str = "a text, a whole number, `true` or `false`, a list or a mapping";
    if depth > ATTRIBUTE_DEPTH_MAX || node.is_null() {
        cx.expected(node, WHAT);
        return None;
    }
    if node.is_sequence() {
        let items = node.items().iter().map(|item| attribute(item, cx, depth + 1));
        return items.collect::<Option<Vec<_>>>().map(Attribute::List);
    }
    if node.is_mapping() {
        let mut record = BTreeMap::new();
        for (key, child) in node.entries() {
            record.insert(key.text.clone(), cx.within(&key.text, |cx| attribute(child, cx, depth + 1))?);
        }
        return Some(Attribute::Record(record));
    }
    let scalar = substitute::scalar(node, WHAT, cx)?;
    if !scalar.plain {
        return Some(Attribute::Text(scalar.text));
    }
    match scalar.text.as_str() {
        "true" => Some(Attribute::Bool(true)),
        "false" => Some(Attribute::Bool(false)),
        text => match text.parse::<i64>() {
            Ok(number) => Some(Attribute::Long(number)),
            Err(_) if text.parse::<f64>().is_ok() => {
                let at = cx.place(node.span());
                let message = "no whole number of 64 bits: policies compare whole numbers and texts";
                let help = "count in the smallest unit, or write it in quotes";
                cx.report(Report::error("bad_number", &at, message).help(help));
                None
            }
            Err(_) => Some(Attribute::Text(scalar.text)),
        },
    }
}

/// Who may call an operation.
#[derive(Clone, Debug)]
pub(crate) enum AuthSpec {
    None,
    /// Any of these.
    Any(Vec<Spanned<AuthRule>>),
}

/// One way to be let in.
#[derive(Clone, Debug)]
pub(crate) enum AuthRule {
    One(AuthMethod),
    All(Vec<AuthMethod>),
}

/// Ways that this version knows.
const KNOWN: [AuthMethod; 3] = [AuthMethod::ApiKey, AuthMethod::Jwt, AuthMethod::Introspection];

impl Decode for AuthSpec {
    fn decode(node: &Node, cx: &mut Decoder<'_>) -> Option<AuthSpec> {
        const WHAT: &str = "who may call: `none`, or ways to prove who one is, such as `api_key`";
        let items = if node.is_sequence() { node.items() } else { std::slice::from_ref(node) };
        if items.is_empty() || node.is_null() {
            cx.expected(node, WHAT);
            return None;
        }
        let mut rules = Vec::new();
        let mut lost = false;
        let mut none = false;
        for item in items {
            let at = cx.place(item.span());
            let value = if item.is_mapping() {
                together(item, cx)
            } else {
                match way(item, cx) {
                    Some(Way::None) => {
                        none = true;
                        continue;
                    }
                    Some(Way::Method(method)) => Some(AuthRule::One(method)),
                    None => None,
                }
            };
            match value {
                Some(value) => rules.push(Spanned { value, at, written: None }),
                None => lost = true,
            }
        }
        if none && items.len() > 1 {
            let at = cx.place(node.span());
            cx.report(Report::error("auth_none_alone", &at, "`none` is anyone, so it stands alone"));
            return None;
        }
        match (none, lost) {
            (_, true) => None,
            (true, false) => Some(AuthSpec::None),
            (false, false) => Some(AuthSpec::Any(rules)),
        }
    }

    fn schema(_generator: &mut SchemaGenerator) -> Schema {
        let method = json!({ "enum": KNOWN.map(AuthMethod::name) });
        let together = json!({
            "type": "object",
            "properties": { "all": { "type": "array", "minItems": 2, "uniqueItems": true, "items": method } },
            "required": ["all"],
            "additionalProperties": false,
        });
        let way = json!({ "anyOf": [method, together] });
        json_schema!({ "anyOf": [
            { "enum": ["none", ["none"]] },
            way.clone(),
            { "type": "array", "minItems": 1, "items": way },
            { "type": "string", "pattern": r"\$\{" },
        ] })
    }
}

/// What one word says.
enum Way {
    None,
    Method(AuthMethod),
}

fn way(node: &Node, cx: &mut Decoder<'_>) -> Option<Way> {
    const WHAT: &str = "a way to prove who one is, such as `api_key`";
    if node.is_sequence() || node.is_mapping() {
        unsupported(cx, node);
        return None;
    }
    let word = substitute::scalar(node, WHAT, cx)?;
    if word.text == "none" {
        return Some(Way::None);
    }
    let found = KNOWN.into_iter().find(|method| method.name() == word.text);
    if found.is_none() {
        unsupported(cx, node);
    }
    found.map(Way::Method)
}

/// `{ all: [api_key, jwt] }`: several that are needed together.
fn together(node: &Node, cx: &mut Decoder<'_>) -> Option<AuthRule> {
    if !keys::open_block(node, &["all"], cx) {
        return None;
    }
    let Some(all) = node.get("all") else {
        unsupported(cx, node);
        return None;
    };
    let methods: Vec<Option<AuthMethod>> =
        cx.within("all", |cx| all.items().iter().map(|item| method(item, cx)).collect());
    let methods = methods.into_iter().collect::<Option<Vec<_>>>()?;
    let is_twice = |(at, method)| methods[..at].contains(method);
    if methods.len() < 2 || methods.iter().enumerate().any(is_twice) {
        let at = cx.place(all.span());
        let message = "`all` binds two different ways or more to one caller";
        cx.report(Report::error("auth_all_alone", &at, message).help("such as `{ all: [api_key, jwt] }`"));
        return None;
    }
    Some(AuthRule::All(methods))
}

fn method(node: &Node, cx: &mut Decoder<'_>) -> Option<AuthMethod> {
    match way(node, cx)? {
        Way::Method(method) => Some(method),
        Way::None => {
            unsupported(cx, node);
            None
        }
    }
}

fn unsupported(cx: &mut Decoder<'_>, node: &Node) {
    let at = cx.place(node.span());
    let message = "this version of Mainstay knows `none`, `api_key`, `jwt` and `introspection`";
    cx.report(Report::error("auth_unsupported", &at, message).help("other ways come with a later version"));
}
