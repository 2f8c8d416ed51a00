//! `/oauth/token`: the grants. Each says no before it takes anything, and gives out nothing that it has not written down.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use mainstay_core::catalogue::oauth::{AuthorizationCode, RefreshState, RefreshToken, TakenCode};
use mainstay_core::catalogue::{OauthClient, RevokedToken, StoreError};
use mainstay_identity::key::sha256;
use serde_json::{Value, json};

use super::access::Claims;
use super::error::{Code, Refused, json_answer};
use super::form::Form;
use super::server::{self, Server, Shared, answered, random_id, secret};
use super::{pkce, scope};

pub(crate) async fn token(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let shared = &*server.0;
    let form = match server::form(&headers, &body) {
        Ok(form) => form,
        Err(refused) => {
            shared.count("unknown", refused.code.name());
            return refused.answer();
        }
    };
    let (grant, result) = match form.get("grant_type") {
        Some("client_credentials") => {
            ("client_credentials", client_credentials(shared, &headers, &form).await)
        }
        Some("authorization_code") => {
            ("authorization_code", authorization_code(shared, &headers, &form).await)
        }
        Some("refresh_token") => ("refresh_token", refresh_token(shared, &headers, &form).await),
        Some(_) => {
            ("unknown", Err(Refused::new(Code::UnsupportedGrantType, "There is no such grant_type here.")))
        }
        None => ("unknown", Err(Refused::request("grant_type is missing."))),
    };
    shared.count(grant, result.as_ref().map_or_else(|refused| refused.code.name(), |_| "issued"));
    answered(result.map(|body| json_answer(StatusCode::OK, &body)))
}

/// Which client asks, and that it may use this grant.
async fn client_for(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form,
    grant: &str,
) -> Result<OauthClient, Refused> {
    let client = shared.authenticate(headers, form).await?;
    if !client.grants.iter().any(|known| known == grant) {
        return Err(Refused::new(Code::UnauthorizedClient, "The client may not use this grant."));
    }
    if !shared.consumer_may(&client).await? {
        return Err(Refused::new(Code::UnauthorizedClient, "What the client acts for is suspended."));
    }
    Ok(client)
}

/// What an access token is made of.
struct Wanted<'a> {
    client: &'a OauthClient,
    subject: &'a str,
    scopes: &'a [String],
    audience: Vec<String>,
    auth_time_ms: Option<i64>,
}

/// An access token, and what it is taken back by.
struct Made {
    token: String,
    revocable: RevokedToken,
}

fn access_token(shared: &Shared, wanted: Wanted<'_>) -> Result<Made, Refused> {
    let now_s = shared.clock.now().seconds();
    let lifetime_s = i64::try_from(shared.settings.access_token.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        issuer: shared.settings.issuer.clone(),
        subject: wanted.subject.to_owned(),
        client: wanted.client.id.clone(),
        audience: wanted.audience,
        scopes: wanted.scopes.to_vec(),
        id: random_id("at_")?,
        issued_at_s: now_s,
        expires_at_s: now_s.saturating_add(lifetime_s),
        auth_time_s: wanted.auth_time_ms.map(|at| at.div_euclid(1000)),
    };
    let token = claims.signed(&*shared.keys()?).ok_or_else(Refused::internal)?;
    let revocable = RevokedToken { id: claims.id, expires_at: claims.expires_at_s.saturating_mul(1000) };
    Ok(Made { token, revocable })
}

fn body(shared: &Shared, access: &str, refresh: Option<&str>, scopes: &[String]) -> Value {
    let mut body = json!({
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": shared.settings.access_token.as_secs(),
        "scope": scopes.join(" "),
    });
    if let Some(refresh) = refresh {
        body["refresh_token"] = refresh.into();
    }
    body
}

async fn client_credentials(shared: &Shared, headers: &HeaderMap, form: &Form) -> Result<Value, Refused> {
    let client = client_for(shared, headers, form, "client_credentials").await?;
    let scopes = scope::narrow(form.get("scope"), &client.scopes)?;
    let audience = scope::resources(form.all("resource"), &shared.settings.issuer, &[])?;
    let wanted =
        Wanted { subject: &client.id, scopes: &scopes, audience, auth_time_ms: None, client: &client };
    let made = access_token(shared, wanted)?;
    Ok(body(shared, &made.token, None, &scopes))
}

async fn authorization_code(shared: &Shared, headers: &HeaderMap, form: &Form) -> Result<Value, Refused> {
    let client = client_for(shared, headers, form, "authorization_code").await?;
    let code = form.get("code").ok_or_else(|| Refused::request("code is missing."))?;
    // Before the code is taken: what is missing can be sent again.
    let verifier = form.get("code_verifier").ok_or_else(|| Refused::grant("code_verifier is missing."))?;
    let taken = shared.store.take_code(sha256(code.as_bytes()), &client.id).await?;
    let code = match taken {
        TakenCode::Taken(code) => code,
        TakenCode::Reused { .. } => {
            return Err(Refused::grant("The code was used before; what came of it is taken back."));
        }
        TakenCode::Expired | TakenCode::Unknown => {
            return Err(Refused::grant("The code is not known, is another client's, or has expired."));
        }
    };
    exchange(shared, &client, form, &code, verifier).await
}

/// The code is taken: whatever is wrong from here on, nobody gets anything for it again.
async fn exchange(
    shared: &Shared,
    client: &OauthClient,
    form: &Form,
    code: &AuthorizationCode,
    verifier: &str,
) -> Result<Value, Refused> {
    pkce::answers(&code.challenge, Some(verifier))?;
    if code.redirect_uri.is_some() && code.redirect_uri.as_deref() != form.get("redirect_uri") {
        return Err(Refused::grant("redirect_uri is not the one that the code was asked for with."));
    }
    let is_active = shared.user(&code.user).await?.is_some_and(|user| !user.disabled);
    if !is_active {
        return Err(Refused::grant("The user is gone or disabled."));
    }
    let scopes = scope::still_allowed(&code.scopes, &client.scopes);
    let audience = scope::resources(form.all("resource"), &shared.settings.issuer, &code.resources)?;
    let made = access_token(
        shared,
        Wanted { client, subject: &code.user, scopes: &scopes, audience, auth_time_ms: Some(code.auth_time) },
    )?;
    if !client.grants.iter().any(|grant| grant == "refresh_token") {
        shared.store.store_access(&code.family, made.revocable).await.map_err(taken_back)?;
        return Ok(body(shared, &made.token, None, &scopes));
    }
    let refresh = secret("mrt_")?;
    let now = shared.clock.now().0;
    let kept = RefreshToken {
        sha256: sha256(refresh.as_bytes()),
        family: code.family.clone(),
        client: client.id.clone(),
        user: Some(code.user.clone()),
        scopes: code.scopes.clone(),
        resources: code.resources.clone(),
        auth_time: code.auth_time,
        created_at: now,
        expires_at: refresh_expires_at(shared, now),
        access: Some(made.revocable),
    };
    shared.store.store_refresh(kept).await.map_err(taken_back)?;
    Ok(body(shared, &made.token, Some(&refresh), &scopes))
}

/// Of two exchanges at once the second one has ended the family before the first one has written down what came of it.
fn taken_back(error: StoreError) -> Refused {
    match error {
        StoreError::Conflict { .. } => Refused::grant("The consent has been taken back."),
        other => other.into(),
    }
}

fn refresh_expires_at(shared: &Shared, now: i64) -> i64 {
    now.saturating_add(i64::try_from(shared.settings.refresh_token.as_millis()).unwrap_or(i64::MAX))
}

async fn refresh_token(shared: &Shared, headers: &HeaderMap, form: &Form) -> Result<Value, Refused> {
    let client = client_for(shared, headers, form, "refresh_token").await?;
    let presented = form.get("refresh_token").ok_or_else(|| Refused::request("refresh_token is missing."))?;
    let hash = sha256(presented.as_bytes());
    let state = shared.store.refresh(hash, &client.id).await?;
    if let RefreshState::Reused { family } = &state {
        shared.store.revoke_family(family).await?;
    }
    let old = good(state)?;
    let user = old.user.clone().unwrap_or_default();
    let is_active = shared.user(&user).await?.is_some_and(|user| !user.disabled);
    if !is_active {
        return Err(Refused::grant("The user is gone or disabled."));
    }
    let consented = scope::still_allowed(&old.scopes, &client.scopes);
    let scopes = scope::narrow(form.get("scope"), &consented)?;
    let audience = scope::resources(form.all("resource"), &shared.settings.issuer, &old.resources)?;
    let made = access_token(
        shared,
        Wanted {
            client: &client,
            subject: &user,
            scopes: &scopes,
            audience,
            auth_time_ms: Some(old.auth_time),
        },
    )?;
    let refresh = secret("mrt_")?;
    let now = shared.clock.now().0;
    let new = RefreshToken {
        sha256: sha256(refresh.as_bytes()),
        created_at: now,
        expires_at: refresh_expires_at(shared, now),
        access: Some(made.revocable),
        ..old
    };
    good(shared.store.rotate_refresh(hash, &client.id, new).await?)?;
    Ok(body(shared, &made.token, Some(&refresh), &scopes))
}

/// A token that may be exchanged, or why not.
fn good(state: RefreshState) -> Result<RefreshToken, Refused> {
    match state {
        RefreshState::Good(token) => Ok(token),
        RefreshState::Reused { .. } => Err(Refused::grant(
            "The refresh token was used before; all that came of its consent is taken back.",
        )),
        RefreshState::Revoked => Err(Refused::grant("The consent has been taken back.")),
        RefreshState::Expired | RefreshState::Unknown => {
            Err(Refused::grant("The refresh token is not known, is another client's, or has expired."))
        }
    }
}
