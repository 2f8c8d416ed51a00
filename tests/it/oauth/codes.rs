//! Codes and refresh tokens: each good once, for whom it was made, and what happens to the rest when it is used twice.

use serde_json::json;

use super::{Answer, Desk, VERIFIER, claims, text};

/// A client that may be asked about tokens.
async fn service(desk: &Desk) -> super::Client {
    let body =
        json!({ "name": "S", "type": "confidential", "consumer": "acme", "scopes": ["oauth:introspect"] });
    desk.client(&body).await
}

#[track_caller]
fn refused(answer: &Answer, error: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (400, error), "{answer:?}");
}

#[tokio::test]
async fn a_code_is_for_its_client_its_verifier_and_its_address() {
    let desk = Desk::open().await;
    desk.alice().await;
    let (app, other) = (desk.app().await, desk.app().await);
    let wrong = VERIFIER.replace('d', "e");
    for more in [
        ("code_verifier", ""),
        ("code_verifier", "short"),
        ("code_verifier", super::CHALLENGE),
        ("code_verifier", wrong.as_str()),
        ("redirect_uri", ""),
        ("redirect_uri", "https://shop.example/cb/"),
        ("redirect_uri", "https://shop.example/cb?x=1"),
        ("redirect_uri", "https://shop.example:443/cb"),
        ("redirect_uri", "https://shop.example/%63b"),
    ] {
        let code = desk.code(&app, "").await;
        refused(&desk.exchange_code(&app, &code, &[more]).await, "invalid_grant");
    }
    let code = desk.code(&app, "").await;
    refused(&desk.exchange_code(&other, &code, &[]).await, "invalid_grant");
    refused(&desk.exchange_code(&app, "mac_x", &[]).await, "invalid_grant");
    let answer = desk.exchange_code(&app, &code, &[]).await;
    assert_eq!(answer.status, 200, "another client's attempt has not cost it: {answer:?}");
    let late = desk.code(&app, "").await;
    desk.later(60_000);
    refused(&desk.exchange_code(&app, &late, &[]).await, "invalid_grant");
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn a_code_that_is_used_twice_takes_everything_back() {
    let desk = Desk::open().await;
    desk.alice().await;
    let (app, service) = (desk.app().await, service(&desk).await);
    let code = desk.code(&app, "").await;
    let first = desk.exchange_code(&app, &code, &[]).await.json();
    let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let said = claims(&access);
    assert_eq!((&said["sub"], &said["client_id"]), (&json!("alice"), &json!(app.id)));
    assert_eq!(said["auth_time"], super::NOW_MS / 1000);
    assert_eq!(desk.introspect(&service, &access).await["active"], true);
    refused(&desk.exchange_code(&app, &code, &[]).await, "invalid_grant");
    assert_eq!(desk.introspect(&service, &access).await["active"], false);
    refused(&desk.refresh(&app, &refresh, &[]).await, "invalid_grant");
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn of_two_exchanges_at_once_nobody_keeps_anything() {
    let desk = Desk::open().await;
    desk.alice().await;
    let (app, service) = (desk.app().await, service(&desk).await);
    let code = desk.code(&app, "").await;
    let (a, b) = tokio::join!(desk.exchange_code(&app, &code, &[]), desk.exchange_code(&app, &code, &[]));
    let good = [&a, &b].into_iter().filter(|answer| answer.status == 200).count();
    assert!(good <= 1, "{a:?} {b:?}");
    for answer in [&a, &b].into_iter().filter(|answer| answer.status == 200) {
        let body = answer.json();
        assert_eq!(desk.introspect(&service, &text(&body, "access_token")).await["active"], false);
        refused(&desk.refresh(&app, &text(&body, "refresh_token"), &[]).await, "invalid_grant");
    }
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_its_family() {
    let desk = Desk::open().await;
    desk.alice().await;
    let (app, service) = (desk.app().await, service(&desk).await);
    let code = desk.code(&app, "").await;
    let first = desk.exchange_code(&app, &code, &[]).await.json();
    let old = text(&first, "refresh_token");
    let other = desk.app().await;
    refused(&desk.refresh(&other, &old, &[]).await, "invalid_grant");
    let second = desk.refresh(&app, &old, &[]).await;
    assert_eq!(second.status, 200, "another client's attempt has not cost it: {second:?}");
    let second = second.json();
    let (access, new) = (text(&second, "access_token"), text(&second, "refresh_token"));
    assert_ne!(old, new);
    assert_eq!(desk.introspect(&service, &access).await["active"], true);
    refused(&desk.refresh(&app, &old, &[]).await, "invalid_grant");
    refused(&desk.refresh(&app, &new, &[]).await, "invalid_grant");
    for token in [access, text(&first, "access_token")] {
        assert_eq!(desk.introspect(&service, &token).await["active"], false);
    }
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn scopes_are_narrowed_and_never_widened() {
    let desk = Desk::open().await;
    desk.alice().await;
    let app = desk.app().await;
    let code = desk.code(&app, "&scope=payments%3Aread").await;
    let first = desk.exchange_code(&app, &code, &[("scope", "payments:write")]).await.json();
    assert_eq!(first["scope"], "payments:read", "what was consented to, whatever is asked for later");
    let refresh = text(&first, "refresh_token");
    refused(
        &desk.refresh(&app, &refresh, &[("scope", "payments:read payments:write")]).await,
        "invalid_scope",
    );
    let second = desk.refresh(&app, &refresh, &[]).await.json();
    assert_eq!(second["scope"], "payments:read", "a refusal has not cost it");
    // What the client may no longer ask for, its old consents do not give it either.
    let changed = desk.admin("PATCH", &format!("clients/{}", app.id), &json!({ "scopes": [] })).await;
    assert_eq!(changed.status, 200);
    let third = desk.refresh(&app, &text(&second, "refresh_token"), &[]).await.json();
    assert_eq!(third["scope"], "");
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn what_ends_a_consent() {
    let desk = Desk::open().await;
    desk.alice().await;
    let app = desk.app().await;
    let consent = async || {
        let code = desk.code(&app, "").await;
        text(&desk.exchange_code(&app, &code, &[]).await.json(), "refresh_token")
    };
    let (given_back, idle, of_disabled) = (consent().await, consent().await, consent().await);
    let pairs = [("client_id", app.id.as_str()), ("token", given_back.as_str())];
    assert_eq!(desk.post("/oauth/revoke", "", &pairs).await.status, 200);
    refused(&desk.refresh(&app, &given_back, &[]).await, "invalid_grant");
    let disabled = desk.admin("PATCH", "users/alice", &json!({ "disabled": true })).await;
    assert_eq!(disabled.status, 200);
    refused(&desk.refresh(&app, &of_disabled, &[]).await, "invalid_grant");
    desk.admin("PATCH", "users/alice", &json!({ "disabled": false })).await;
    desk.later(30 * 86_400_000);
    refused(&desk.refresh(&app, &idle, &[]).await, "invalid_grant");
    desk.setup.engine.stop().await;
}
