//! What may not be written.

use mainstay_core::catalogue::oauth::RefreshToken;
use mainstay_core::catalogue::{Change, ClientKind, RevokedToken, Sealed, StoreError};
use mainstay_core::principal::Attribute;

use super::for_every_store;
use crate::rig::{Rig, load};
use crate::samples::*;

for_every_store!(what_breaks_a_rule_is_refused, working_data_has_rules_too);

/// A sample with one thing wrong.
fn but<T>(mut sample: T, alter: impl FnOnce(&mut T)) -> T {
    alter(&mut sample);
    sample
}

async fn what_breaks_a_rule_is_refused(rig: &Rig) {
    let acme = |alter: fn(&mut mainstay_core::catalogue::Consumer)| {
        Change::CreateConsumer(but(consumer("acme"), alter))
    };
    let key = |alter: fn(&mut mainstay_core::catalogue::ApiKey)| Change::CreateKey {
        key: but(key("key_1", "acme"), alter),
        consumer_in_file: true,
    };
    let app = |alter: fn(&mut mainstay_core::catalogue::OauthClient)| Change::CreateClient {
        client: but(client("app", None), alter),
        consumer_in_file: true,
    };
    let rows = [
        ("id", acme(|c| c.id = String::new())),
        ("id", acme(|c| c.id = "x".repeat(65))),
        ("id", acme(|c| c.id = "a/b".to_owned())),
        ("name", acme(|c| c.name = "x".repeat(201))),
        ("name", acme(|c| c.name = "a\nb".to_owned())),
        ("plan", acme(|c| c.plan = Some("a b".to_owned()))),
        ("groups", acme(|c| c.groups = vec!["g".to_owned(); 65])),
        ("attributes", acme(|c| _ = c.attributes.insert("x".to_owned(), Attribute::Text("x".repeat(9000))))),
        (
            "attributes",
            acme(|c| {
                let deep = (0..5).fold(Attribute::Bool(true), |inner, _| Attribute::List(vec![inner]));
                c.attributes.insert("x".to_owned(), deep);
            }),
        ),
        ("consumer", key(|k| k.consumer = "?".to_owned())),
        ("scopes", key(|k| k.scopes = vec!["two words".to_owned()])),
        ("scopes", key(|k| k.scopes = vec!["s".to_owned(); 129])),
        ("addresses", key(|k| k.addresses = vec!["10.0.0.0/33".to_owned()])),
        ("addresses", key(|k| k.addresses = vec!["example.com".to_owned()])),
        ("apis", key(|k| k.apis = vec![String::new()])),
        ("grants", app(|c| c.grants = vec!["password".to_owned()])),
        ("redirect_uris", app(|c| c.redirect_uris = vec![String::new()])),
        ("kind", app(|c| c.kind = ClientKind::Public)),
        ("jwks", app(|c| c.jwks = Some("{".to_owned()))),
        ("name", Change::CreateUser(user("two words"))),
        ("password_hash", Change::CreateUser(but(user("alice"), |u| u.password_hash = "plain".to_owned()))),
        ("algorithm", Change::AddSigningKey(but(signing_key("k"), |k| k.algorithm = "HS256".to_owned()))),
        ("private", Change::AddSigningKey(but(signing_key("k"), |k| k.private = Sealed(vec![])))),
        ("apis", Change::CreateAdminToken(but(admin_token("t"), |t| t.apis = vec!["*".to_owned()]))),
    ];
    for (field, change) in rows {
        match rig.apply(change.clone()).await {
            Err(StoreError::Invalid { field: found, .. }) if found == field => {}
            other => panic!("{field}: {change:?}: {other:?}"),
        }
    }
    assert!(load(&*rig.store).await.1.is_empty());
}

async fn working_data_has_rules_too(rig: &Rig) {
    let invalid = |answer: Result<(), StoreError>| matches!(answer, Err(StoreError::Invalid { .. }));
    let long = "x".repeat(3000);
    assert!(invalid(rig.store.store_code(but(code("c", "f"), |c| c.challenge = long.clone())).await));
    assert!(invalid(
        rig.store.store_code(but(code("c", "f"), |c| c.redirect_uri = Some(long.clone()))).await
    ));
    let bad = RefreshToken { user: Some(long.clone()), ..refresh("r", "f") };
    assert!(invalid(rig.store.store_refresh(bad).await));
    assert!(invalid(rig.store.store_session(session("s", "two words")).await));
    assert!(invalid(rig.store.first_use(&long, NOW).await.map(drop)));
    let many = vec![RevokedToken { id: "t".to_owned(), expires_at: NOW }; 1001];
    assert!(invalid(rig.store.revoke_tokens(many).await.map(drop)));
}
