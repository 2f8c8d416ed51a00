//! What clients find out by themselves: the server's metadata (RFC 8414) and its published keys (RFC 7517).

use axum::extract::State;
use axum::response::Response;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::error::json_answer;
use super::server::{Server, Settings};

/// Much shorter than the day that a key is published before it signs.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(crate) async fn metadata(State(server): State<Server>) -> Response {
    public(&described(&server.0.settings))
}

pub(crate) async fn jwks(State(server): State<Server>) -> Response {
    match server.0.keys() {
        Ok(keys) => public(&keys.jwks),
        Err(refused) => refused.answer(),
    }
}

fn public(body: &Value) -> Response {
    let mut response = json_answer(StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, MAX_AGE);
    headers.remove(http::header::PRAGMA);
    // It is the same for everybody, so scripts of any origin may read it.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn described(settings: &Settings) -> Value {
    let confidential = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    json!({
        "issuer": settings.issuer,
        "authorization_endpoint": settings.url("/oauth/authorize"),
        "token_endpoint": settings.url("/oauth/token"),
        "jwks_uri": settings.url("/oauth/jwks.json"),
        "revocation_endpoint": settings.url("/oauth/revoke"),
        "introspection_endpoint": settings.url("/oauth/introspect"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA", "PS256", "RS256"],
        "revocation_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "introspection_endpoint_auth_methods_supported": confidential,
        "authorization_response_iss_parameter_supported": true,
    })
}
