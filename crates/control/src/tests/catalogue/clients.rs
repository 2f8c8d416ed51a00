//! OAuth clients and users over the admin API.

use serde_json::{Value, json};

use super::{Desk, conforms, text};

#[tokio::test]
async fn a_client_that_could_not_work_is_refused() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    for (body, field) in [
        (json!({ "type": "confidential", "consumer": "acme" }), "/name"),
        (json!({ "name": "x", "consumer": "acme" }), "/type"),
        (json!({ "name": "x", "type": "secret" }), "/type"),
        (json!({ "name": "x", "type": "confidential" }), "/consumer"),
        (json!({ "name": "x", "type": "public", "grants": ["client_credentials"] }), "/grants"),
        (json!({ "name": "x", "type": "public", "grants": ["authorization_code"] }), "/redirect_uris"),
        (json!({ "name": "x", "type": "public", "redirect_uris": ["http://a.example/"] }), "/redirect_uris"),
        (
            json!({ "name": "x", "type": "public", "redirect_uris": ["https://a.example/#f"] }),
            "/redirect_uris",
        ),
        (json!({ "name": "x", "type": "public", "grants": ["refresh_token"] }), "/grants"),
        (
            json!({ "name": "x", "type": "confidential", "consumer": "acme", "grants": ["password"] }),
            "/grants",
        ),
        (json!({ "name": "x", "type": "confidential", "consumer": "acme", "scopes": ["a b"] }), "/scopes"),
        (json!({ "name": "x", "type": "confidential", "consumer": "acme", "secret": "y" }), "/secret"),
    ] {
        let answer = desk.change("POST /admin/v1/clients", &body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (422, "invalid_value"), "{body} {answer:?}");
        assert_eq!(answer.json()["errors"][0]["pointer"], field, "{body}");
    }
    let unknown = json!({ "name": "x", "type": "confidential", "consumer": "nobody" });
    assert_eq!(desk.change("POST /admin/v1/clients", &unknown).await.status, 404);
    assert!(desk.all("/admin/v1/clients", 10).await.is_empty());
}

#[tokio::test]
async fn a_client_from_its_making_to_its_end() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let body =
        json!({ "name": "Shop", "type": "confidential", "consumer": "acme", "scopes": ["payments:read"] });
    let made = desk.change("POST /admin/v1/clients", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    conforms("MadeClient", &made);
    assert_eq!(made["grants"], json!(["client_credentials"]));
    let (id, secret) = (text(&made, "client_id"), text(&made, "client_secret"));
    assert!(id.starts_with("client_") && secret.starts_with("mcs_") && secret.len() == 48, "{made}");

    let path = format!("/admin/v1/clients/{id}");
    let shown = desk.get(&path).await.json();
    conforms("Client", &shown);
    assert_eq!(shown.get("client_secret"), None);
    let etag = format!("\"{}\"", text(&shown, "etag"));
    let changed = desk.change_if(&etag, &format!("PATCH {path}"), &json!({ "disabled": true })).await;
    assert_eq!((changed.status, &changed.json()["disabled"]), (200, &json!(true)));
    let stale = desk.change_if(&etag, &format!("PATCH {path}"), &json!({ "disabled": false })).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition_failed"));
    for field in ["type", "mode", "client_id", "client_secret"] {
        let answer = desk.change(&format!("PATCH {path}"), &json!({ field: "x" })).await;
        assert_eq!(answer.status, 422, "{field}");
    }
    let answer = desk.change(&format!("PATCH {path}"), &json!({ "consumer": null })).await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["pointer"]), (422, &json!("/consumer")));

    let rotated = desk.change(&format!("POST {path}/rotate"), &Value::Null).await;
    assert_eq!(rotated.status, 400, "a body has to be an object: {rotated:?}");
    let rotated = desk.call(super::SECRET, &format!("POST {path}/rotate"), "", "").await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let other = text(&rotated.json(), "client_secret");
    assert_ne!(other, secret);
    assert_eq!(desk.all("/admin/v1/clients", 1).await.len(), 1);
    assert_eq!(desk.call(super::SECRET, &format!("DELETE {path}"), "", "").await.status, 204);
    assert_eq!(desk.get(&path).await.status, 404);
    assert_eq!(desk.verified().await, 5);
    let audit = desk.get("/admin/v1/audit").await.body;
    for secret in [&secret, &other] {
        let hash = mainstay_identity::key::sha256(secret.as_bytes()).to_hex();
        assert!(!audit.contains(secret.as_str()) && !audit.contains(&hash));
    }
}

#[tokio::test]
async fn roles_and_limits_hold_for_clients_and_users() {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    let (_, viewer) = desk.token("viewer", &[]).await;
    let (_, limited) = desk.token("operator", &["payments"]).await;
    let client = json!({ "name": "x", "type": "confidential", "consumer": "acme" }).to_string();
    let user = json!({ "name": "alice", "password": "correct horse battery" }).to_string();
    for (token, call, body, status) in [
        (&viewer, "POST /admin/v1/clients", &client, 403),
        (&viewer, "POST /admin/v1/users", &user, 403),
        (&viewer, "DELETE /admin/v1/users/alice", &String::new(), 403),
        (&limited, "POST /admin/v1/clients", &client, 403),
        (&limited, "POST /admin/v1/users", &user, 403),
        (&limited, "GET /admin/v1/users", &String::new(), 403),
        (&viewer, "GET /admin/v1/users", &String::new(), 200),
        (&viewer, "GET /admin/v1/clients", &String::new(), 200),
    ] {
        let answer = desk.call(token, call, "", body).await;
        assert_eq!(answer.status, status, "{call} {answer:?}");
    }
}

#[tokio::test]
async fn a_user_from_the_making_to_the_end() {
    let desk = Desk::open().await;
    let long = "x".repeat(257);
    for (body, field) in [
        (json!({ "name": "alice" }), "/password"),
        (json!({ "password": "correct horse battery" }), "/name"),
        (json!({ "name": "alice", "password": "short" }), "/password"),
        (json!({ "name": "alice", "password": long }), "/password"),
        (json!({ "name": "..", "password": "correct horse battery" }), "/name"),
        (json!({ "name": "a b", "password": "correct horse battery" }), "/name"),
    ] {
        let answer = desk.change("POST /admin/v1/users", &body).await;
        assert_eq!(answer.status, 422, "{body} {answer:?}");
        assert_eq!(answer.json()["errors"][0]["pointer"], field, "{body}");
    }
    let body = json!({ "name": "alice", "password": "correct horse battery", "groups": ["tellers"] });
    let made = desk.change("POST /admin/v1/users", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    conforms("User", &made.json());
    assert_eq!(desk.change("POST /admin/v1/users", &body).await.status, 409);
    let both = json!({ "password": "another horse battery", "disabled": true });
    assert_eq!(desk.change("PATCH /admin/v1/users/alice", &both).await.status, 422);
    let answer =
        desk.change("PATCH /admin/v1/users/alice", &json!({ "password": "another horse battery" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = desk.change("PATCH /admin/v1/users/alice", &json!({ "attributes": { "limit": 5 } })).await;
    assert_eq!((answer.status, &answer.json()["attributes"]), (200, &json!({ "limit": 5 })));
    let everything =
        format!("{}{:?}", desk.get("/admin/v1/audit").await.body, desk.get("/admin/v1/users").await);
    assert!(
        everything.contains("user.password")
            && !everything.contains("horse")
            && !everything.contains("argon2")
    );
    let made = desk.store_record("alice").await;
    assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
    assert_eq!(desk.call(super::SECRET, "DELETE /admin/v1/users/alice", "", "").await.status, 204);
    assert_eq!(desk.get("/admin/v1/users/alice").await.status, 404);
    assert_eq!(desk.verified().await, 4);
}

impl Desk {
    /// The hash that is kept of a user's password.
    async fn store_record(&self, name: &str) -> String {
        use mainstay_core::catalogue::{Catalogue as _, Kind, Record};
        match self.store.get(Kind::User, name).await.unwrap().record {
            Record::User(user) => user.password_hash,
            other => panic!("{other:?}"),
        }
    }
}
