//! What may be written: lengths, alphabets, counts. Checked before anything is.

use std::net::IpAddr;

use mainstay_core::catalogue::oauth::{AuthorizationCode, RefreshToken, Session};
use mainstay_core::catalogue::{
    AdminToken, ApiKey, ClientKind, Consumer, Kind, OauthClient, Record, RevokedToken, SigningKey,
    StoreError, User,
};
use mainstay_core::principal::{Attribute, Attributes};

/// Keys of one consumer, revoked ones included.
pub const KEYS_PER_CONSUMER_MAX: i64 = 10_000;
/// Clients of one consumer.
pub const CLIENTS_PER_CONSUMER_MAX: i64 = 1_000;
/// Codes of one client that have not expired.
pub const CODES_PER_CLIENT_MAX: i64 = 10_000;
/// Consents of one user to one client that are in use.
pub const FAMILIES_MAX: i64 = 1_000;
/// Browser sessions of one user; the oldest makes room for one more.
pub const SESSIONS_PER_USER_MAX: i64 = 100;
/// Access tokens that are revoked in one call.
pub const REVOKED_AT_ONCE_MAX: usize = 1_000;
/// Keys that are touched in one call.
pub const TOUCHED_AT_ONCE_MAX: usize = 10_000;

const ID_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 200;
const LIST_MAX: usize = 64;
const SCOPES_MAX: usize = 128;
const SCOPE_BYTES_MAX: usize = 128;
const URI_BYTES_MAX: usize = 2048;
const ATTRIBUTES_BYTES_MAX: usize = 8 * 1024;
const ATTRIBUTES_DEPTH_MAX: usize = 4;
const JWKS_BYTES_MAX: usize = 64 * 1024;
const JWK_BYTES_MAX: usize = 8 * 1024;
const SEALED_BYTES_MAX: usize = 16 * 1024;
const PASSWORD_HASH_BYTES_MAX: usize = 512;
const ACTOR_BYTES_MAX: usize = 200;
const GRANTS: [&str; 3] = ["authorization_code", "client_credentials", "refresh_token"];
const ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "RS256"];

/// How many records of a kind there may be.
pub const fn records_max(kind: Kind) -> i64 {
    match kind {
        Kind::Consumer | Kind::User => 1_000_000,
        Kind::Key => 2_000_000,
        Kind::Client => 100_000,
        Kind::SigningKey => 64,
        Kind::RevokedToken => 1_000_000,
        Kind::AdminToken => 1_000,
    }
}

type Checked = Result<(), StoreError>;

fn invalid<T>(field: &'static str, why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::Invalid { field, why: why.into() })
}

pub(crate) fn record(record: &Record) -> Checked {
    match record {
        Record::Consumer(consumer) => check_consumer(consumer),
        Record::Key(key) => check_key(key),
        Record::Client(client) => check_client(client),
        Record::User(user) => check_user(user),
        Record::SigningKey(key) => check_signing_key(key),
        Record::RevokedToken(token) => check_revoked(token),
        Record::AdminToken(token) => check_admin_token(token),
    }
}

fn check_consumer(consumer: &Consumer) -> Checked {
    id("id", &consumer.id)?;
    name("name", &consumer.name)?;
    consumer.plan.as_deref().map_or(Ok(()), |plan| id("plan", plan))?;
    ids("groups", &consumer.groups)?;
    attributes(&consumer.attributes)
}

fn check_key(key: &ApiKey) -> Checked {
    id("id", &key.id)?;
    id("consumer", &key.consumer)?;
    scopes(&key.scopes)?;
    ids("apis", &key.apis)?;
    count("addresses", key.addresses.len(), LIST_MAX)?;
    match key.addresses.iter().find(|address| !is_network(address)) {
        Some(bad) => invalid("addresses", format!("{bad:?} is no address and no network such as 10.0.0.0/8")),
        None => Ok(()),
    }
}

fn check_client(client: &OauthClient) -> Checked {
    id("id", &client.id)?;
    name("name", &client.name)?;
    client.consumer.as_deref().map_or(Ok(()), |consumer| id("consumer", consumer))?;
    scopes(&client.scopes)?;
    count("redirect_uris", client.redirect_uris.len(), LIST_MAX)?;
    for uri in &client.redirect_uris {
        text("redirect_uris", uri, URI_BYTES_MAX)?;
    }
    count("grants", client.grants.len(), GRANTS.len())?;
    if let Some(other) = client.grants.iter().find(|grant| !GRANTS.contains(&grant.as_str())) {
        return invalid("grants", format!("{other:?} is none of {}", GRANTS.join(", ")));
    }
    if client.kind == ClientKind::Public && client.secret_sha256.is_some() {
        return invalid("kind", "a public client cannot keep a secret");
    }
    client.jwks.as_deref().map_or(Ok(()), |jwks| json("jwks", jwks, JWKS_BYTES_MAX))
}

fn check_user(user: &User) -> Checked {
    user_name("name", &user.name)?;
    password_hash(&user.password_hash)?;
    ids("groups", &user.groups)?;
    attributes(&user.attributes)
}

fn check_signing_key(key: &SigningKey) -> Checked {
    id("id", &key.id)?;
    if !ALGORITHMS.contains(&key.algorithm.as_str()) {
        return invalid("algorithm", format!("{:?} is none of {}", key.algorithm, ALGORITHMS.join(", ")));
    }
    json("public_jwk", &key.public_jwk, JWK_BYTES_MAX)?;
    match key.private.0.len() {
        0 if key.removed_at.is_none() => invalid("private", "is empty"),
        bytes if bytes > SEALED_BYTES_MAX => {
            invalid("private", format!("has more than {SEALED_BYTES_MAX} bytes"))
        }
        _ => Ok(()),
    }
}

fn check_revoked(token: &RevokedToken) -> Checked {
    text("token", &token.id, NAME_BYTES_MAX)
}

fn check_admin_token(token: &AdminToken) -> Checked {
    id("id", &token.id)?;
    name("name", &token.name)?;
    ids("apis", &token.apis)
}

pub(crate) fn code(code: &AuthorizationCode) -> Checked {
    id("client", &code.client)?;
    user_name("user", &code.user)?;
    id("family", &code.family)?;
    scopes(&code.scopes)?;
    uris("resources", &code.resources)?;
    code.redirect_uri.as_deref().map_or(Ok(()), |uri| text("redirect_uri", uri, URI_BYTES_MAX))?;
    text("challenge", &code.challenge, ID_BYTES_MAX * 2)
}

pub(crate) fn refresh(token: &RefreshToken) -> Checked {
    id("client", &token.client)?;
    id("family", &token.family)?;
    token.user.as_deref().map_or(Ok(()), |user| user_name("user", user))?;
    scopes(&token.scopes)?;
    uris("resources", &token.resources)?;
    token.access.as_ref().map_or(Ok(()), check_revoked)
}

pub(crate) fn session(session: &Session) -> Checked {
    user_name("user", &session.user)
}

pub(crate) fn revoked(tokens: &[RevokedToken]) -> Checked {
    count("tokens", tokens.len(), REVOKED_AT_ONCE_MAX)?;
    tokens.iter().try_for_each(check_revoked)
}

pub(crate) fn actor(actor: &mainstay_core::catalogue::Actor) -> Checked {
    text("actor", &actor.id, ACTOR_BYTES_MAX)?;
    actor.address.as_deref().map_or(Ok(()), |address| text("actor", address, ACTOR_BYTES_MAX))?;
    actor.request_id.as_deref().map_or(Ok(()), |id| text("actor", id, ACTOR_BYTES_MAX))
}

pub(crate) fn password_hash(hash: &str) -> Checked {
    if !hash.starts_with("$argon2id$") || hash.len() > PASSWORD_HASH_BYTES_MAX {
        return invalid("password_hash", "is no argon2id in the PHC format");
    }
    Ok(())
}

pub(crate) fn id(field: &'static str, value: &str) -> Checked {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if value.is_empty() || value.len() > ID_BYTES_MAX || !value.bytes().all(allowed) {
        return invalid(
            field,
            format!("must be 1 to {ID_BYTES_MAX} of a-z A-Z 0-9 _ - . and is {}", shown(value)),
        );
    }
    Ok(())
}

/// What a message quotes: enough to recognise it, never a whole book.
fn shown(value: &str) -> String {
    let mut start: String = value.chars().take(80).collect();
    if start.len() < value.len() {
        start.push('…');
    }
    format!("{start:?}")
}

pub(crate) fn user_name(field: &'static str, value: &str) -> Checked {
    text(field, value, 128)?;
    if value.chars().any(char::is_whitespace) {
        return invalid(field, "must not contain white space");
    }
    Ok(())
}

fn name(field: &'static str, value: &str) -> Checked {
    text(field, value, NAME_BYTES_MAX)
}

pub(crate) fn text(field: &'static str, value: &str, bytes_max: usize) -> Checked {
    if value.is_empty() || value.len() > bytes_max {
        return invalid(field, format!("must have 1 to {bytes_max} bytes and has {}", value.len()));
    }
    if value.chars().any(char::is_control) {
        return invalid(field, "must not contain control characters");
    }
    Ok(())
}

fn count(field: &'static str, n: usize, max: usize) -> Checked {
    if n > max { invalid(field, format!("has {n} entries; at most {max}")) } else { Ok(()) }
}

fn ids(field: &'static str, values: &[String]) -> Checked {
    count(field, values.len(), LIST_MAX)?;
    values.iter().try_for_each(|value| id(field, value))
}

fn uris(field: &'static str, values: &[String]) -> Checked {
    count(field, values.len(), LIST_MAX)?;
    values.iter().try_for_each(|value| text(field, value, URI_BYTES_MAX))
}

/// `scope-token` of RFC 6749, section 3.3.
pub(crate) fn scopes(values: &[String]) -> Checked {
    count("scopes", values.len(), SCOPES_MAX)?;
    for scope in values {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.is_empty() || scope.len() > SCOPE_BYTES_MAX || !scope.bytes().all(allowed) {
            return invalid("scopes", format!("{} is no name of a scope", shown(scope)));
        }
    }
    Ok(())
}

fn attributes(attributes: &Attributes) -> Checked {
    count("attributes", attributes.len(), LIST_MAX)?;
    if attributes.values().any(|value| depth(value) > ATTRIBUTES_DEPTH_MAX) {
        return invalid("attributes", format!("are nested deeper than {ATTRIBUTES_DEPTH_MAX}"));
    }
    let bytes = serde_json::to_vec(attributes).map_or(usize::MAX, |encoded| encoded.len());
    if bytes > ATTRIBUTES_BYTES_MAX {
        return invalid("attributes", format!("take more than {ATTRIBUTES_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn depth(value: &Attribute) -> usize {
    match value {
        Attribute::Bool(_) | Attribute::Long(_) | Attribute::Text(_) => 1,
        Attribute::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Attribute::Record(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

fn json(field: &'static str, value: &str, bytes_max: usize) -> Checked {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    if value.len() > bytes_max || !is_json {
        return invalid(field, format!("must be JSON of at most {bytes_max} bytes"));
    }
    Ok(())
}

fn is_network(text: &str) -> bool {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= bits_max))
}
