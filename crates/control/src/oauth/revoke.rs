//! `/oauth/revoke` (RFC 7009): a client gives back what it has.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use mainstay_core::catalogue::oauth::RefreshState;
use mainstay_core::catalogue::{OauthClient, RevokedToken};
use mainstay_identity::key::sha256;

use super::access;
use super::error::Refused;
use super::server::{self, Server, Shared, answered};

pub(crate) async fn revoke(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    answered(revoked(&server.0, &headers, &body).await)
}

async fn revoked(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<Response, Refused> {
    let form = server::form(headers, body)?;
    let client = shared.authenticate(headers, &form).await?;
    let token = form.get("token").ok_or_else(|| Refused::request("token is missing."))?;
    // The hint only says where to look first (section 2.1); a token says itself what it is.
    if token.contains('.') {
        revoke_access(shared, &client, token).await?;
    } else {
        revoke_refresh(shared, &client, token).await?;
    }
    // What is unknown is as good as revoked (section 2.2).
    Ok(Response::new(Body::empty()))
}

async fn revoke_access(shared: &Shared, client: &OauthClient, token: &str) -> Result<(), Refused> {
    let keys = shared.keys()?;
    let claims = access::read(token, &shared.settings.issuer, &keys, shared.clock.now());
    if let Some(claims) = claims.filter(|claims| claims.client == client.id) {
        let expires_at = claims.expires_at_s.saturating_mul(1000);
        shared.store.revoke_tokens(vec![RevokedToken { id: claims.id, expires_at }]).await?;
    }
    Ok(())
}

/// The whole family with it: who gives back a refresh token wants to be out (section 2.1).
async fn revoke_refresh(shared: &Shared, client: &OauthClient, token: &str) -> Result<(), Refused> {
    match shared.store.refresh(sha256(token.as_bytes()), &client.id).await? {
        RefreshState::Good(token) => shared.store.revoke_family(&token.family).await?,
        RefreshState::Reused { family } => shared.store.revoke_family(&family).await?,
        RefreshState::Revoked | RefreshState::Expired | RefreshState::Unknown => {}
    }
    Ok(())
}
