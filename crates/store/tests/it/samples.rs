//! Records as the tests use them.

use mainstay_core::catalogue::oauth::{AuthorizationCode, RefreshToken, Session};
use mainstay_core::catalogue::{
    Actor, AdminToken, ApiKey, Change, ClientKind, Consumer, OauthClient, RevokedToken, Role, Sealed, Sha256,
    SigningKey, User,
};
use mainstay_core::principal::{Attribute, Mode};

/// The date of the tests: some day in 2026.
pub(crate) const NOW: i64 = 1_800_000_000_000;
pub(crate) const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA";

pub(crate) fn actor() -> Actor {
    Actor { id: "admin".to_owned(), address: Some("127.0.0.1".to_owned()), request_id: None }
}

/// A hash that is the same for the same text, and another for every other one of these tests.
pub(crate) fn hash(text: &str) -> Sha256 {
    let mut bytes = [0; 32];
    for (index, byte) in text.bytes().enumerate() {
        bytes[index % 32] ^= byte.rotate_left(u32::try_from(index / 32).unwrap());
    }
    bytes[31] ^= u8::try_from(text.len()).unwrap();
    Sha256(bytes)
}

pub(crate) fn consumer(id: &str) -> Consumer {
    Consumer {
        id: id.to_owned(),
        name: format!("{id} Ltd"),
        plan: Some("pro".to_owned()),
        groups: vec!["tellers".to_owned()],
        attributes: [
            ("limit".to_owned(), Attribute::Long(i64::MAX)),
            ("region".to_owned(), Attribute::List(vec![Attribute::Text("é\0€".to_owned())])),
        ]
        .into(),
        suspended: false,
        created_at: NOW,
    }
}

pub(crate) fn key(id: &str, consumer: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        consumer: consumer.to_owned(),
        mode: Mode::Live,
        sha256: hash(id),
        scopes: vec!["payments:write".to_owned()],
        addresses: vec!["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()],
        apis: vec!["payments".to_owned()],
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

pub(crate) fn create_key(id: &str, consumer: &str) -> Change {
    Change::CreateKey { key: key(id, consumer), consumer_in_file: false }
}

pub(crate) fn client(id: &str, consumer: Option<&str>) -> OauthClient {
    OauthClient {
        id: id.to_owned(),
        name: "An app".to_owned(),
        kind: ClientKind::Confidential,
        consumer: consumer.map(str::to_owned),
        redirect_uris: vec!["https://app.example/callback".to_owned()],
        scopes: vec!["payments:read".to_owned()],
        grants: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
        secret_sha256: Some(hash("client secret")),
        jwks: None,
        mode: Mode::Test,
        disabled: false,
        created_at: NOW,
    }
}

pub(crate) fn create_client(id: &str, consumer: Option<&str>) -> Change {
    Change::CreateClient { client: client(id, consumer), consumer_in_file: false }
}

pub(crate) fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        password_hash: HASH.to_owned(),
        groups: vec![],
        attributes: [("vip".to_owned(), Attribute::Bool(false))].into(),
        disabled: false,
        created_at: NOW,
    }
}

pub(crate) fn signing_key(id: &str) -> SigningKey {
    SigningKey {
        id: id.to_owned(),
        algorithm: "ES256".to_owned(),
        public_jwk: r#"{"kty":"EC"}"#.to_owned(),
        private: Sealed(vec![1, 2, 3]),
        created_at: NOW,
        active_from: NOW,
        retired_at: None,
        removed_at: None,
    }
}

pub(crate) fn admin_token(id: &str) -> AdminToken {
    AdminToken {
        id: id.to_owned(),
        name: "ops".to_owned(),
        sha256: hash(id),
        role: Role::Operator,
        apis: vec![],
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
    }
}

pub(crate) fn code(code: &str, family: &str) -> AuthorizationCode {
    AuthorizationCode {
        sha256: hash(code),
        client: "app".to_owned(),
        user: "alice".to_owned(),
        redirect_uri: Some("https://app.example/callback".to_owned()),
        scopes: vec!["payments:read".to_owned()],
        resources: vec![],
        challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
        family: family.to_owned(),
        auth_time: NOW,
        expires_at: NOW + 60_000,
    }
}

pub(crate) fn refresh(token: &str, family: &str) -> RefreshToken {
    RefreshToken {
        sha256: hash(token),
        family: family.to_owned(),
        client: "app".to_owned(),
        user: Some("alice".to_owned()),
        scopes: vec!["payments:read".to_owned()],
        resources: vec![],
        auth_time: NOW,
        created_at: NOW,
        expires_at: NOW + 3_600_000,
        access: Some(RevokedToken { id: format!("jti-{token}"), expires_at: NOW + 600_000 }),
    }
}

pub(crate) fn session(cookie: &str, user: &str) -> Session {
    Session { sha256: hash(cookie), user: user.to_owned(), created_at: NOW, expires_at: NOW + 60_000 }
}
