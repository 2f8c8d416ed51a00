//! `/oauth/introspect` (RFC 7662): whether a token is good, and what it says.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use mainstay_core::catalogue::oauth::RefreshState;
use mainstay_core::catalogue::{ClientKind, Kind, OauthClient, StoreError};
use mainstay_identity::key::sha256;
use serde_json::{Value, json};

use super::access;
use super::error::{Refused, json_answer};
use super::server::{self, Server, Shared, answered};

/// A client with this scope may ask about tokens of others: a service that takes them.
const OTHERS: &str = "oauth:introspect";

pub(crate) async fn introspect(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    answered(introspected(&server.0, &headers, &body).await)
}

async fn introspected(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<Response, Refused> {
    let form = server::form(headers, body)?;
    let client = shared.authenticate(headers, &form).await?;
    let token = form.get("token").ok_or_else(|| Refused::request("token is missing."))?;
    let found = match client.kind {
        // Anybody could ask in its name (RFC 7662, section 4).
        ClientKind::Public => None,
        ClientKind::Confidential if token.contains('.') => of_access(shared, &client, token).await?,
        ClientKind::Confidential => of_refresh(shared, &client, token).await?,
    };
    // Nothing else is said of a token that is not good (section 2.2).
    Ok(json_answer(StatusCode::OK, &found.unwrap_or_else(|| json!({ "active": false }))))
}

async fn of_access(shared: &Shared, asks: &OauthClient, token: &str) -> Result<Option<Value>, Refused> {
    let keys = shared.keys()?;
    let Some(claims) = access::read(token, &shared.settings.issuer, &keys, shared.clock.now()) else {
        return Ok(None);
    };
    if claims.client != asks.id && !asks.scopes.iter().any(|scope| scope == OTHERS) {
        return Ok(None);
    }
    match shared.store.get(Kind::RevokedToken, &claims.id).await {
        Err(StoreError::NotFound { .. }) => {}
        Ok(_) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let Some(client) = shared.client(&claims.client).await?.filter(|client| !client.disabled) else {
        return Ok(None);
    };
    let is_active = claims.subject == claims.client
        || shared.user(&claims.subject).await?.is_some_and(|user| !user.disabled);
    if !is_active || !shared.consumer_may(&client).await? {
        return Ok(None);
    }
    Ok(Some(json!({
        "active": true,
        "token_type": "Bearer",
        "client_id": claims.client,
        "sub": claims.subject,
        "scope": claims.scopes.join(" "),
        "aud": claims.audience,
        "iss": claims.issuer,
        "iat": claims.issued_at_s,
        "exp": claims.expires_at_s,
        "jti": claims.id,
    })))
}

/// Its own alone: nobody else is meant to see a refresh token.
async fn of_refresh(shared: &Shared, asks: &OauthClient, token: &str) -> Result<Option<Value>, Refused> {
    Ok(match shared.store.refresh(sha256(token.as_bytes()), &asks.id).await? {
        RefreshState::Good(token) => Some(json!({
            "active": true,
            "client_id": token.client,
            "sub": token.user,
            "scope": token.scopes.join(" "),
            "iss": shared.settings.issuer,
            "iat": token.created_at.div_euclid(1000),
            "exp": token.expires_at.div_euclid(1000),
        })),
        _ => None,
    })
}
