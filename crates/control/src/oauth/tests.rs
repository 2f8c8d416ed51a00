//! The server without a data plane before it: what sockets cannot show.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use mainstay_core::catalogue::{Actor, Catalogue as _, Change, ClientKind, OauthClient};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_core::principal::Mode;
use mainstay_identity::key::sha256;
use mainstay_store::{Keyring, SqliteOptions, SqliteStore};
use mainstay_telemetry::{EventClock, EventLog, Output, Registry};
use serde_json::{Value, json};

use super::schedule::{PUBLISHED_AFTER_MS, PUBLISHED_BEFORE_MS, SIGNS_FOR_MS};
use super::{Parts, Server, Settings};

const ISSUER: &str = "https://api.example.com";
const NOW_MS: i64 = 1_795_564_800_000;
const SECRET: &str = "mcs_secret";

struct Desk {
    server: Server,
    store: Arc<SqliteStore>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(UnixMs(NOW_MS));
        let mut options = SqliteOptions::new(folder.path().join("c.db"));
        options.clock = clock.clone();
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        let events = EventLog::start(
            Output::File(folder.path().join("events.log")),
            &Registry::new(),
            EventClock::system(),
        );
        let server = Server::new(Parts {
            settings: Settings {
                issuer: ISSUER.to_owned(),
                path: String::new(),
                access_token: std::time::Duration::from_secs(600),
                refresh_token: std::time::Duration::from_secs(86_400),
            },
            store: Arc::<SqliteStore>::clone(&store),
            sealer: Arc::new(Keyring::parse(&"ab".repeat(32)).unwrap()),
            clock: clock.clone(),
            events: events.unwrap(),
        });
        server.refresh_keys().await.unwrap();
        Self { server, store, clock, _folder: folder }
    }

    async fn client(&self, id: &str, jwks: Option<String>) {
        let client = OauthClient {
            id: id.to_owned(),
            name: "A".to_owned(),
            kind: ClientKind::Confidential,
            consumer: None,
            redirect_uris: Vec::new(),
            scopes: vec!["read".to_owned()],
            grants: vec!["client_credentials".to_owned()],
            secret_sha256: jwks.is_none().then(|| sha256(SECRET.as_bytes())),
            jwks,
            mode: Mode::Live,
            disabled: false,
            created_at: NOW_MS,
        };
        let by = Actor { id: "test".to_owned(), address: None, request_id: None };
        self.store.apply(Change::CreateClient { client, consumer_in_file: false }, by, None).await.unwrap();
    }

    async fn call(&self, request: Request<Body>) -> (u16, http::HeaderMap, String) {
        let router = TowerToHyperService::new(self.server.router());
        let response: Response = router.call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, path: &str, form: &str) -> (u16, http::HeaderMap, Value) {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        let (status, headers, body) = self.call(request.body(Body::from(form.to_owned())).unwrap()).await;
        (status, headers, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn jwks(&self) -> Vec<String> {
        let (_, _, body) = self.call(Request::get("/oauth/jwks.json").body(Body::empty()).unwrap()).await;
        let set: Value = serde_json::from_str(&body).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }
}

/// A store that is down says nothing about who asks: everybody may come again, and nobody throws anything away.
#[tokio::test]
async fn a_dead_store_is_never_the_clients_fault() {
    let desk = Desk::open().await;
    desk.client("client_a", None).await;
    let form = format!("grant_type=client_credentials&client_id=client_a&client_secret={SECRET}");
    assert_eq!(desk.post("/oauth/token", &form).await.0, 200);
    desk.store.hand_over().await;
    let forms = [
        ("/oauth/token", form.clone()),
        (
            "/oauth/token",
            "grant_type=authorization_code&client_id=client_a&client_secret=x&code=c&code_verifier=v".into(),
        ),
        (
            "/oauth/token",
            "grant_type=refresh_token&client_id=client_a&client_secret=x&refresh_token=t".into(),
        ),
        ("/oauth/revoke", format!("client_id=client_a&client_secret={SECRET}&token=t")),
        ("/oauth/introspect", format!("client_id=client_a&client_secret={SECRET}&token=t")),
    ];
    for (path, form) in forms {
        let (status, headers, body) = desk.post(path, &form).await;
        assert_eq!((status, &body["error"]), (503, &json!("temporarily_unavailable")), "{path} {form}");
        assert!(headers.contains_key("retry-after"), "{path} {form}");
    }
    let request = Request::get("/oauth/authorize?client_id=client_a").body(Body::empty()).unwrap();
    let (status, headers, _) = desk.call(request).await;
    assert_eq!((status, headers.contains_key("retry-after")), (503, true));
    assert_eq!(desk.jwks().await.len(), 1, "what is published goes on");
    desk.store.take_back().await.unwrap();
    assert_eq!(
        desk.post("/oauth/token", &form).await.0,
        200,
        "and nothing of it was counted against the client"
    );
}

#[tokio::test]
async fn keys_change_with_the_calendar_and_old_tokens_stay_good() {
    let desk = Desk::open().await;
    desk.client("client_a", None).await;
    let form = format!("grant_type=client_credentials&client_id=client_a&client_secret={SECRET}");
    let at = async |ms: i64| {
        desk.clock.set(UnixMs(NOW_MS + ms));
        desk.server.refresh_keys().await.unwrap();
        desk.jwks().await
    };
    let first = at(0).await;
    assert_eq!(first.len(), 1);
    let both = at(SIGNS_FOR_MS - PUBLISHED_BEFORE_MS).await;
    assert_eq!(both.len(), 2, "published before it signs");
    let second = both.iter().find(|kid| !first.contains(kid)).unwrap().clone();
    let kid = |token: &Value| {
        let header =
            URL_SAFE_NO_PAD.decode(token["access_token"].as_str().unwrap().split('.').next().unwrap());
        serde_json::from_slice::<Value>(&header.unwrap()).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    at(SIGNS_FOR_MS - 1_000).await;
    let old = desk.post("/oauth/token", &form).await.2;
    assert_eq!(kid(&old), first[0]);
    assert_eq!(at(SIGNS_FOR_MS).await.len(), 2, "published after it signed");
    let new = desk.post("/oauth/token", &form).await.2;
    assert_eq!(kid(&new), second);
    for token in [&old, &new] {
        let token = token["access_token"].as_str().unwrap();
        let form = format!("client_id=client_a&client_secret={SECRET}&token={token}");
        assert_eq!(desk.post("/oauth/introspect", &form).await.2["active"], true);
    }
    assert_eq!(at(SIGNS_FOR_MS + PUBLISHED_AFTER_MS).await, [second]);
}

/// A client's own key, and assertions that it signs.
struct Pair(EcdsaKeyPair);

impl Pair {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref().to_vec();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": part(1..33), "y": part(33..65) });
        json!({ "keys": [key] }).to_string()
    }

    fn assertion(&self, changes: &Value) -> String {
        let now_s = NOW_MS / 1000;
        let mut claims = json!({
            "iss": "client_j", "sub": "client_j", "aud": ISSUER, "iat": now_s, "exp": now_s + 60, "jti": "1",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"k"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn a_client_that_signs_is_believed_once_for_each_assertion() {
    let desk = Desk::open().await;
    let (pair, other) = (Pair::new(), Pair::new());
    desk.client("client_j", Some(pair.jwks())).await;
    desk.client("client_b", None).await;
    let ask = async |assertion: &str| {
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = format!(
            "grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}"
        );
        let (status, _, body) = desk.post("/oauth/token", &form).await;
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    };
    let now_s = NOW_MS / 1000;
    let invalid = (401, "invalid_client".to_owned());
    for (why, assertion) in [
        ("another's key", other.assertion(&json!({}))),
        ("another's audience", pair.assertion(&json!({ "aud": "https://other.example.com" }))),
        ("another's issuer", pair.assertion(&json!({ "iss": "client_b" }))),
        ("expired", pair.assertion(&json!({ "exp": now_s - 60 }))),
        ("good for too long", pair.assertion(&json!({ "exp": now_s + 3600 }))),
        ("without a jti", pair.assertion(&json!({ "jti": null }))),
        ("a client with a secret", pair.assertion(&json!({ "iss": "client_b", "sub": "client_b" }))),
        ("nobody", pair.assertion(&json!({ "iss": "client_x", "sub": "client_x" }))),
    ] {
        assert_eq!(ask(&assertion).await, invalid, "{why}");
    }
    assert_eq!(ask("nonsense").await, invalid);
    let good = pair.assertion(&json!({}));
    assert_eq!(ask(&good).await.0, 200);
    assert_eq!(ask(&good).await, invalid, "a second time");
    let for_the_endpoint = json!({ "jti": "2", "aud": format!("{ISSUER}/oauth/token") });
    assert_eq!(ask(&pair.assertion(&for_the_endpoint)).await.0, 200);
}
