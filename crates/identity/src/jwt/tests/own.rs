//! Tokens of our own authorisation server (RFC 9068): what the catalogue says now decides.

use mainstay_core::catalogue::{ClientKind, OauthClient, User};
use mainstay_core::principal::{AuthMethod, Mode};

use super::*;
use TokenRefusal as R;

fn own() -> Issuers {
    let own = IssuerPlan { types: TypeRule::AccessTokenOnly, subject: Subject::Own, ..plan(ISSUER) };
    Issuers::new(vec![own])
}

fn client(id: &str) -> OauthClient {
    OauthClient {
        id: id.to_owned(),
        name: String::new(),
        kind: ClientKind::Confidential,
        consumer: Some("acme".to_owned()),
        redirect_uris: vec![],
        scopes: vec!["payments:read".to_owned()],
        grants: vec![],
        secret_sha256: None,
        jwks: None,
        mode: Mode::Test,
        disabled: false,
        created_at: 0,
    }
}

fn index_with_clients() -> Index {
    let index = index();
    index.apply(Change::Client(&client("c1")));
    index.apply(Change::Client(&OauthClient { disabled: true, ..client("disabled") }));
    index.apply(Change::Client(&OauthClient { consumer: None, ..client("free") }));
    index.apply(Change::Client(&OauthClient { consumer: Some("gone".into()), ..client("orphan") }));
    index.apply(Change::Client(&OauthClient { consumer: Some("suspended".into()), ..client("suspended") }));
    for (name, disabled) in [("alice", false), ("mallory", true)] {
        index.apply(Change::User(&User {
            name: name.to_owned(),
            password_hash: String::new(),
            groups: vec!["tellers".to_owned()],
            attributes: Default::default(),
            disabled,
            created_at: 0,
        }));
    }
    index
}

fn own_claims(changes: &Value) -> Value {
    let mut all =
        json!({ "client_id": "c1", "sub": "c1", "jti": "t1", "scope": "payments:read payments:write" });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    with(all)
}

fn token(changes: &Value) -> String {
    let header = r#"{"typ":"at+jwt","alg":"ES256","kid":"p256"}"#;
    P256.token(Algorithm::Es256, header, &own_claims(changes).to_string())
}

#[test]
fn what_is_required_and_what_the_catalogue_says() {
    let index = index_with_clients();
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({ "sub": "alice" }), Ok(())),
        (json!({ "client_id": "free", "sub": "alice" }), Ok(())),
        (json!({ "sub": null }), Err(R::Claim)),
        (json!({ "client_id": null }), Err(R::Claim)),
        (json!({ "jti": null }), Err(R::Claim)),
        (json!({ "jti": "" }), Err(R::Claim)),
        (json!({ "iat": null }), Err(R::Claim)),
        (json!({ "client_id": "nobody", "sub": "nobody" }), Err(R::Revoked)),
        (json!({ "client_id": "orphan", "sub": "orphan" }), Err(R::Revoked)),
        (json!({ "sub": "nobody" }), Err(R::Revoked)),
        (json!({ "sub": "mallory" }), Err(R::Suspended)),
        (json!({ "client_id": "disabled", "sub": "disabled" }), Err(R::Suspended)),
        (json!({ "client_id": "suspended", "sub": "suspended" }), Err(R::Suspended)),
        (json!({ "client_id": "free", "sub": "free" }), Err(R::Consumer)),
    ] {
        let verified = verify_with(&token(&changes), &own(), &keys(), &index);
        assert_eq!(verified.map(|_| ()), expected, "{changes}");
    }
}

#[test]
fn client_and_person_make_one_caller() {
    let index = index_with_clients();
    let caller = verify_with(&token(&json!({ "sub": "alice" })), &own(), &keys(), &index).unwrap().caller;
    assert_eq!(caller.consumer.as_deref(), Some("acme"));
    assert_eq!(caller.user.as_deref(), Some("alice"));
    assert_eq!(*caller.groups, ["partners".into(), "tellers".into()]);
    assert_eq!((caller.mode, caller.method), (Mode::Test, AuthMethod::Oauth));
    // The client may no longer ask for payments:write, so its old tokens may not do it either.
    assert_eq!(index.scope_names().names(&caller.scopes), ["payments:read".into()]);
    let alone = verify_with(&token(&json!({})), &own(), &keys(), &index).unwrap().caller;
    assert!(alone.user.is_none());
    let before = alone.generation;
    index.apply(Change::Client(&OauthClient { scopes: vec![], ..client("c1") }));
    let after = verify_with(&token(&json!({})), &own(), &keys(), &index).unwrap().caller;
    assert!(after.generation > before && after.scopes.is_empty());
}
