//! Client credentials, client authentication, introspection, revocation, keys and metadata.

use serde_json::json;

use super::{Client, Desk, base64, claims, text};

#[tokio::test]
async fn who_does_not_prove_to_be_a_client_gets_nothing() {
    let desk = Desk::open().await;
    let machine = desk.machine().await;
    let other = desk.machine().await;
    let id = machine.id.as_str();
    let grant = ("grant_type", "client_credentials");
    for (pairs, status, error) in [
        (vec![grant], 401, "invalid_client"),
        (vec![grant, ("client_id", id)], 401, "invalid_client"),
        (vec![grant, ("client_id", id), ("client_secret", "mcs_wrong")], 401, "invalid_client"),
        (vec![grant, ("client_id", id), ("client_secret", other.secret.as_str())], 401, "invalid_client"),
        (vec![grant, ("client_id", "client_x"), ("client_secret", "mcs_wrong")], 401, "invalid_client"),
        (vec![grant, ("client_id", id), ("client_id", id)], 400, "invalid_request"),
        (
            vec![grant, ("client_id", id), ("client_secret", &machine.secret), ("client_assertion", "a.b.c")],
            400,
            "invalid_request",
        ),
    ] {
        let answer = desk.token(&pairs).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{pairs:?} {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
    }
    let bodies = [("text/plain", "grant_type=client_credentials"), ("application/json", "{}")];
    for (kind, body) in bodies {
        let answer = desk.ask("POST /oauth/token", &format!("Content-Type: {kind}\r\n"), body).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"), "{kind}");
    }
    assert_eq!(desk.get("/oauth/token").await.status, 405);
    // Two at once, and one that is no Basic.
    let basic = format!("Authorization: Basic {}\r\n", base64(&format!("{id}:{}", machine.secret)));
    let twice = desk.post("/oauth/token", &basic, &[grant, ("client_secret", &machine.secret)]).await;
    assert_eq!((twice.status, twice.error().as_str()), (400, "invalid_request"));
    let answer = desk.post("/oauth/token", "Authorization: Bearer x\r\n", &[grant]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    let answer = desk.post("/oauth/token", &basic, &[grant]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let disabled = desk.admin("PATCH", &format!("clients/{id}"), &json!({ "disabled": true })).await;
    assert_eq!(disabled.status, 200);
    let answer = desk.post("/oauth/token", &basic, &[grant]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn a_token_says_what_rfc_9068_wants_and_never_more_than_the_client_may() {
    let desk = Desk::open().await;
    let machine = desk.machine().await;
    for (more, error) in [
        (("scope", "payments:read admin"), "invalid_scope"),
        (("resource", "https://elsewhere.example"), "invalid_target"),
        (("grant_type", ""), "invalid_request"),
    ] {
        let answer = desk.machine_token(&machine, &[more]).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, error), "{more:?}");
    }
    let no_such =
        [("grant_type", "password"), ("client_id", &machine.id), ("client_secret", &machine.secret)];
    assert_eq!(desk.token(&no_such).await.error(), "unsupported_grant_type");

    let answer = desk.machine_token(&machine, &[("scope", "payments:read")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(600), &json!("payments:read"))
    );
    assert_eq!(body.get("refresh_token"), None, "RFC 6749, section 4.4.3");
    let token = text(&body, "access_token");
    let said = claims(&token);
    let now_s = super::NOW_MS / 1000;
    assert_eq!(
        said,
        json!({
            "iss": "http://127.0.0.1", "sub": machine.id, "aud": "http://127.0.0.1", "exp": now_s + 600, "iat": now_s,
            "jti": said["jti"], "client_id": machine.id, "scope": "payments:read",
        })
    );
    let narrow = desk.machine_token(&machine, &[("resource", "http://127.0.0.1/pay")]).await.json();
    assert_eq!(claims(&text(&narrow, "access_token"))["aud"], "http://127.0.0.1/pay");

    let jwks = desk.get("/oauth/jwks.json").await;
    assert_eq!((jwks.status, jwks.header("cache-control")), (200, Some("public, max-age=300")));
    let keys = jwks.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
    assert!(key.get("d").is_none(), "the private half stays here");
    let issued = desk
        .metric("mainstay_oauth_token_requests_total{grant=\"client_credentials\",result=\"issued\"}")
        .await;
    assert_eq!(issued.as_deref(), Some("2"));
    let refused = desk
        .metric("mainstay_oauth_token_requests_total{grant=\"client_credentials\",result=\"invalid_scope\"}")
        .await;
    assert_eq!(refused.as_deref(), Some("1"));
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn metadata_leads_to_everything() {
    let desk = Desk::open().await;
    let answer = desk.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let metadata = answer.json();
    assert_eq!(metadata["issuer"], "http://127.0.0.1");
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    for (name, value) in metadata.as_object().unwrap() {
        let Some(url) = value.as_str().filter(|_| name.ends_with("_endpoint") || name == "jwks_uri") else {
            continue;
        };
        let path = url.strip_prefix("http://127.0.0.1").unwrap();
        assert_ne!(desk.get(path).await.status, 404, "{name}");
    }
    // Under another name this is the api's, which has nothing there.
    let request = "GET /oauth/jwks.json HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    assert!(desk.setup.exchange(request).await.starts_with("HTTP/1.1 404 "));
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn an_issuer_may_have_a_path() {
    let desk = Desk::with(|text| text.replace("'http://127.0.0.1'", "'http://127.0.0.1/id'")).await;
    let answer = desk.get("/.well-known/oauth-authorization-server/id").await;
    assert_eq!(answer.json()["token_endpoint"], "http://127.0.0.1/id/oauth/token");
    assert_eq!(desk.get("/id/oauth/jwks.json").await.status, 200);
    assert_eq!(desk.get("/oauth/jwks.json").await.status, 404);
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn a_token_is_active_until_it_expires_or_is_given_back() {
    let desk = Desk::open().await;
    let machine = desk.machine().await;
    let stranger = desk.machine().await;
    let body =
        json!({ "name": "S", "type": "confidential", "consumer": "acme", "scopes": ["oauth:introspect"] });
    let service = desk.client(&body).await;
    let token = text(&desk.machine_token(&machine, &[]).await.json(), "access_token");
    let inactive = json!({ "active": false });
    for (asks, wrong) in
        [(&stranger, token.clone()), (&machine, format!("{token}x")), (&machine, "mrt_x".to_owned())]
    {
        assert_eq!(desk.introspect(asks, &wrong).await, inactive);
    }
    for asks in [&machine, &service] {
        let said = desk.introspect(asks, &token).await;
        assert_eq!((&said["active"], &said["client_id"]), (&json!(true), &json!(machine.id)), "{said}");
    }
    let nobody = desk.post("/oauth/introspect", "", &[("token", &token)]).await;
    assert_eq!((nobody.status, nobody.error().as_str()), (401, "invalid_client"));

    let give_back = |client: &Client, token: &str| {
        [
            ("client_id", client.id.clone()),
            ("client_secret", client.secret.clone()),
            ("token", token.to_owned()),
        ]
    };
    for (client, is_active) in [(&stranger, true), (&machine, false), (&machine, false)] {
        let pairs = give_back(client, &token);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = desk.post("/oauth/revoke", "", &pairs).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, ""),
            "RFC 7009: unknown is as good as revoked"
        );
        assert_eq!(desk.introspect(&service, &token).await["active"], is_active);
    }
    let token = text(&desk.machine_token(&machine, &[]).await.json(), "access_token");
    desk.later(599_000);
    assert_eq!(desk.introspect(&machine, &token).await["active"], true);
    desk.later(1_000);
    assert_eq!(desk.introspect(&machine, &token).await["active"], false);
    let token = text(&desk.machine_token(&machine, &[]).await.json(), "access_token");
    let suspended = desk.admin("PATCH", "consumers/acme", &json!({ "suspended": true })).await;
    assert_eq!(suspended.status, 200);
    assert_eq!(desk.introspect(&service, &token).await["active"], false, "its consumer is suspended");
    assert_eq!(desk.machine_token(&machine, &[]).await.error(), "unauthorized_client");
    desk.setup.engine.stop().await;
}

#[tokio::test]
async fn guessing_a_secret_ends_after_ten_and_keeps_nobody_else_out() {
    let desk = Desk::open().await;
    let machine = desk.machine().await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let guess = [
        ("grant_type", "client_credentials"),
        ("client_id", machine.id.as_str()),
        ("client_secret", "mcs_wrong"),
    ];
    let mut looked_at = 0;
    let refused = loop {
        let answer = desk.post("/oauth/token", &from("203.0.113.9"), &guess).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401, "{answer:?}");
        looked_at += 1;
        // On a slow machine more come in while it runs: one in six seconds.
        assert!(looked_at < 100, "nothing ends it");
    };
    assert!(looked_at >= 10, "{looked_at}");
    assert_eq!(refused.error(), "temporarily_unavailable");
    assert!(refused.header("retry-after").is_some());
    let hidden = format!("{}Connection: x-mainstay-client\r\n", from("203.0.113.9"));
    let again = desk.post("/oauth/token", &hidden, &guess).await;
    assert_eq!(again.status, 429, "nobody hides who asks: {again:?}");
    let right = [guess[0], guess[1], ("client_secret", machine.secret.as_str())];
    let elsewhere = desk.post("/oauth/token", &from("203.0.113.10"), &right).await;
    assert_eq!(elsewhere.status, 200, "nobody locks a client out: {elsewhere:?}");
    desk.setup.engine.stop().await;
}
