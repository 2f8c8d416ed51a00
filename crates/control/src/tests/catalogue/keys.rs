use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Mode;
use mainstay_identity::key::{KeyForm, form, sha256};
use serde_json::{Value, json};

use super::{Desk, NOW_MS, conforms, text};

async fn desk() -> Desk {
    let desk = Desk::open().await;
    desk.consumer("acme").await;
    desk
}

const KEYS: &str = "POST /admin/v1/consumers/acme/keys";

#[tokio::test]
async fn a_key_is_made_and_its_text_is_in_that_answer_alone() {
    let desk = desk().await;
    for (mode, expected) in [("live", Mode::Live), ("test", Mode::Test)] {
        let body = json!({ "mode": mode, "scopes": ["pay:read"], "addresses": ["10.0.0.0/8", "::1"],
            "apis": ["payments"], "expires_in": "30d" });
        let made = desk.change(KEYS, &body).await;
        let key = made.json();
        let id = text(&key, "id");
        let path = format!("/admin/v1/keys/{id}");
        assert_eq!((made.status, made.header("location")), (201, Some(path.as_str())), "{made:?}");
        assert_eq!(form(text(&key, "key").as_bytes()), KeyForm::Sound(expected));
        conforms("MadeKey", &key);
        let shown = desk.get(&path).await;
        assert_eq!(shown.header("etag"), made.header("etag"));
        let shown = shown.json();
        conforms("Key", &shown);
        let expected = json!({
            "id": id, "consumer": "acme", "mode": mode, "state": "active", "scopes": ["pay:read"],
            "addresses": ["10.0.0.0/8", "::1"], "apis": ["payments"], "created_at": "2026-11-24T10:00:00Z",
            "expires_at": "2026-12-24T10:00:00Z", "etag": key["etag"],
        });
        assert_eq!(shown, expected);
        let mut without = key.clone();
        without.as_object_mut().unwrap().remove("key");
        assert_eq!(shown, without, "all the rest is the same");
    }
    assert_eq!(desk.key("acme", &json!({})).await["mode"], "live");
    assert_eq!(desk.all("/admin/v1/consumers/acme/keys", 1).await.len(), 3);
    for path in ["GET /admin/v1/consumers/nobody/keys", "POST /admin/v1/consumers/nobody/keys"] {
        assert_eq!(desk.change(path, &json!({})).await.problem(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn a_key_from_elsewhere_is_imported_by_its_hash_once() {
    let desk = desk().await;
    let hash = sha256(b"an old key").to_hex();
    let made = desk.key("acme", &json!({ "sha256": hash.to_uppercase(), "scopes": ["a"] })).await;
    assert_eq!((made.get("key"), &made["scopes"]), (None, &json!(["a"])), "{made}");
    conforms("MadeKey", &made);
    let again = desk.change(KEYS, &json!({ "sha256": hash })).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"), "{again:?}");
    for wrong in ["", "5", &"g".repeat(64), &"5".repeat(65)] {
        let refused = desk.change(KEYS, &json!({ "sha256": wrong })).await;
        assert_eq!(refused.problem(), "invalid_value", "{wrong}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/sha256", "{wrong}");
    }
}

#[tokio::test]
async fn a_key_is_restricted_or_expired_in_one_step_each() {
    let desk = desk().await;
    let key = desk.key("acme", &json!({ "scopes": ["a", "b"] })).await;
    let path = format!("PATCH /admin/v1/keys/{}", text(&key, "id"));
    let restricted = desk.change(&path, &json!({ "scopes": ["a"], "apis": ["payments"] })).await;
    assert_eq!(restricted.status, 200, "{restricted:?}");
    let shown = restricted.json();
    assert_eq!(
        (&shown["scopes"], &shown["apis"], &shown["addresses"]),
        (&json!(["a"]), &json!(["payments"]), &json!([]))
    );
    let opened = desk.change(&path, &json!({ "apis": null, "addresses": ["192.0.2.1"] })).await.json();
    assert_eq!((&opened["apis"], &opened["scopes"]), (&json!([]), &json!(["a"])), "{opened}");

    let expiring = desk.change(&path, &json!({ "expires_at": "2026-11-25" })).await.json();
    assert_eq!(
        (&expiring["expires_at"], &expiring["state"]),
        (&json!("2026-11-25T00:00:00Z"), &json!("active"))
    );
    desk.clock.set(UnixMs(NOW_MS + 86_400_000));
    assert_eq!(desk.get(&path["PATCH ".len()..]).await.json()["state"], "expired");

    let rows = [
        (json!({}), "/"),
        (json!({ "expires_in": "1d", "scopes": [] }), "/expires_in"),
        (json!({ "expires_in": "1d", "expires_at": "2030-01-01" }), "/expires_in"),
        (json!({ "expires_at": null }), "/expires_at"),
        (json!({ "expires_at": "2026-11-24" }), "/expires_at"),
        (json!({ "expires_at": "tomorrow" }), "/expires_at"),
        (json!({ "expires_in": "0s" }), "/expires_in"),
        (json!({ "expires_in": "40000d" }), "/expires_in"),
        (json!({ "expires_in": "30" }), "/expires_in"),
        (json!({ "mode": "test" }), "/mode"),
        (json!({ "addresses": ["10.0.0.0/33"] }), "/addresses"),
        (json!({ "apis": ["paymentz"] }), "/apis"),
        (json!({ "scopes": ["a b"] }), "/scopes"),
    ];
    for (body, pointer) in rows {
        let refused = desk.change(&path, &body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid_value"), "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[tokio::test]
async fn a_revoked_key_stays_in_the_list_and_stays_revoked() {
    let desk = desk().await;
    let id = text(&desk.key("acme", &json!({})).await, "id");
    let path = format!("DELETE /admin/v1/keys/{id}");
    let revoked = desk.change(&path, &json!({})).await;
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")), "{revoked:?}");
    conforms("Key", &revoked.json());
    desk.clock.set(UnixMs(NOW_MS + 60_000));
    let again = desk.change(&path, &json!({})).await;
    assert_eq!(
        (again.status, &again.json()["revoked_at"]),
        (200, &json!("2026-11-24T10:00:00Z")),
        "{again:?}"
    );
    assert_eq!(desk.all("/admin/v1/consumers/acme/keys", 10).await[0]["state"], "revoked");
    let rotated = desk.change(&format!("POST /admin/v1/keys/{id}/rotate"), &json!({})).await;
    assert_eq!((rotated.status, rotated.problem().as_str()), (409, "conflict"), "{rotated:?}");
    for unknown in ["key_0000000000000000000000", "%20", &"x".repeat(2000)] {
        let missing = desk.change(&format!("DELETE /admin/v1/keys/{unknown}"), &json!({})).await;
        assert_eq!(missing.problem(), "not_found", "{unknown}");
    }
}

#[tokio::test]
async fn a_rotated_key_overlaps_with_the_new_one() {
    let desk = desk().await;
    let body = json!({ "mode": "test", "scopes": ["a"], "addresses": ["10.0.0.1"], "apis": ["accounts"],
        "expires_in": "30d" });
    let old = desk.key("acme", &body).await;
    let (id, etag) = (text(&old, "id"), text(&old, "etag"));
    desk.clock.set(UnixMs(NOW_MS + 86_400_000));
    let path = format!("POST /admin/v1/keys/{id}/rotate");
    let stale = desk.change_if("\"1\"", &path, &json!({})).await;
    assert_eq!(stale.status, 412, "{stale:?}");
    let rotated = desk.change_if(&format!("\"{etag}\""), &path, &json!({ "overlap": "1h" })).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    let new = rotated.json();
    conforms("MadeKey", &new);
    assert_eq!(rotated.header("location"), Some(format!("/admin/v1/keys/{}", text(&new, "id")).as_str()));
    for same in ["consumer", "mode", "scopes", "addresses", "apis"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    assert_eq!(form(text(&new, "key").as_bytes()), KeyForm::Sound(Mode::Test));
    assert!(new["id"] != old["id"] && new["key"] != old["key"]);
    assert_eq!(new["expires_at"], "2026-12-25T10:00:00Z", "as long as the old one had");
    let old = desk.get(&format!("/admin/v1/keys/{id}")).await.json();
    assert_eq!(old["expires_at"], "2026-11-25T11:00:00Z");
    // The text that was answered is the one whose hash was stored.
    let hash = sha256(text(&new, "key").as_bytes()).to_hex();
    assert_eq!(desk.change(KEYS, &json!({ "sha256": hash })).await.status, 409);

    let forever = desk
        .change(&format!("POST /admin/v1/keys/{}/rotate", text(&new, "id")), &json!({ "expires_at": null }))
        .await;
    assert_eq!(forever.json().get("expires_at"), None::<&Value>, "{forever:?}");
    for (body, pointer) in [
        (json!({ "overlap": "soon" }), "/overlap"),
        (json!({ "overlap": "367d" }), "/overlap"),
        (json!({ "scopes": [] }), "/scopes"),
    ] {
        let refused = desk.change(&path, &body).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(desk.verified().await, 4);
}
