//! Client authentication (RFC 6749, section 2.3; RFC 7523 for `private_key_jwt`): what was presented, and whether it is good.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use mainstay_core::catalogue::{ClientKind, OauthClient, Sha256};
use mainstay_core::clock::UnixMs;
use mainstay_identity::jwks::KeySet;
use mainstay_identity::jwt::{Algorithm, IssuerPlan, Issuers, Subject, TypeRule};
use mainstay_identity::key::sha256;

use super::error::{Code, Refused};
use super::form::{Form, decode};

/// The only kind of assertion (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// An assertion is made for one request; one that is good for longer is refused.
const ASSERTION_LIFETIME_MAX_MS: i64 = 10 * 60_000;
/// How far a client's clock and ours may be apart.
const CLOCK_SKEW_MS: i64 = 30_000;

/// What a client came with.
#[derive(PartialEq, Eq)]
pub(crate) enum Presented {
    /// An id and a secret, in `Authorization` or in the body.
    Secret { id: String, sha256: Sha256 },
    /// An assertion that it signed.
    Assertion { id: String, assertion: String },
    /// An id alone.
    Nothing { id: String },
}

impl Presented {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Secret { id, .. } | Self::Assertion { id, .. } | Self::Nothing { id } => id,
        }
    }
}

/// Reads what a client came with.
///
/// # Errors
/// Nothing, something unreadable, or more than one thing.
pub(crate) fn read(headers: &HeaderMap, form: &Form) -> Result<Presented, Refused> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let (basic, secret, assertion) =
        (authorization.next(), form.get("client_secret"), form.get("client_assertion"));
    let ways = [basic.is_some(), secret.is_some(), assertion.is_some()];
    if ways.into_iter().filter(|used| *used).count() > 1 || authorization.next().is_some() {
        return Err(Refused::request("There is more than one way of client authentication in this request."));
    }
    if let Some(basic) = basic {
        let presented = read_basic(basic.as_bytes())
            .ok_or_else(|| invalid("The Authorization header is no Basic with an id and a secret."))?;
        if form.get("client_id").is_some_and(|id| id != presented.id()) {
            return Err(Refused::request("client_id is not the one in the Authorization header."));
        }
        return Ok(presented);
    }
    if let Some(assertion) = assertion {
        if form.get("client_assertion_type") != Some(JWT_BEARER) {
            return Err(Refused::request("client_assertion_type is not the one of RFC 7523."));
        }
        let id = subject(assertion).ok_or_else(|| invalid("The assertion cannot be read."))?;
        if form.get("client_id").is_some_and(|given| given != id) {
            return Err(Refused::request("client_id is not the one in the assertion."));
        }
        return Ok(Presented::Assertion { id, assertion: assertion.to_owned() });
    }
    let Some(id) = form.get("client_id") else {
        return Err(invalid("Who asks is not said: there is no client_id and no Authorization header."));
    };
    let id = id.to_owned();
    Ok(match secret {
        Some(secret) => Presented::Secret { id, sha256: sha256(secret.as_bytes()) },
        None => Presented::Nothing { id },
    })
}

fn read_basic(value: &[u8]) -> Option<Presented> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    // Both are form-encoded within (RFC 6749, section 2.3.1).
    let (id, secret) = (decode(&pair[..colon])?, decode(&pair[colon + 1..])?);
    (!id.is_empty() && !secret.is_empty())
        .then(|| Presented::Secret { id, sha256: sha256(secret.as_bytes()) })
}

/// Whom an assertion says that it is of. Nothing of it is believed yet.
fn subject(assertion: &str) -> Option<String> {
    let claims = assertion.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let subject = claims.get("sub")?.as_str()?;
    (1..=64).contains(&subject.len()).then(|| subject.to_owned())
}

pub(crate) fn invalid(description: &'static str) -> Refused {
    Refused::new(Code::InvalidClient, description)
}

/// One sentence for every reason: who guesses learns nothing from it.
pub(crate) fn not_accepted() -> Refused {
    invalid("The client is not known, is disabled, or its credentials are wrong.")
}

/// An assertion that is good, and must not be good a second time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Once {
    /// What it is remembered by.
    pub(crate) id: String,
    pub(crate) expires_at: i64,
}

/// Whether what was presented is the client's. `client`: `None` if there is none of that id, which takes as long.
///
/// # Errors
/// It is not, for whichever reason.
pub(crate) fn check(
    presented: &Presented,
    client: Option<&OauthClient>,
    audiences: &[String],
    now: UnixMs,
) -> Result<Option<Once>, Refused> {
    let is_active = client.is_some_and(|client| !client.disabled);
    let once = match presented {
        Presented::Secret { sha256, .. } => {
            let known = client.and_then(|client| client.secret_sha256);
            let is_it = verify_slices_are_equal(&known.unwrap_or(Sha256([0; 32])).0, &sha256.0).is_ok();
            (is_it && known.is_some()).then_some(None)
        }
        Presented::Assertion { assertion, .. } => {
            let jwks = client.and_then(|client| client.jwks.as_deref().map(|jwks| (client, jwks)));
            jwks.and_then(|(client, jwks)| assertion_of(assertion, &client.id, jwks, audiences, now))
                .map(Some)
        }
        // Only who cannot keep a secret comes without one.
        Presented::Nothing { .. } => client.filter(|client| client.kind == ClientKind::Public).map(|_| None),
    };
    once.filter(|_| is_active).ok_or_else(not_accepted)
}

/// RFC 7523, section 3, with the strict reading of all our tokens.
fn assertion_of(assertion: &str, id: &str, jwks: &str, audiences: &[String], now: UnixMs) -> Option<Once> {
    let plan = IssuerPlan {
        issuer: id.into(),
        audiences: audiences.iter().map(|audience| audience.as_str().into()).collect(),
        algorithms: vec![Algorithm::Es256, Algorithm::Ps256, Algorithm::Rs256, Algorithm::EdDsa],
        clock_skew_ms: CLOCK_SKEW_MS,
        types: TypeRule::Any,
        subject: Subject::Claims {
            consumer_claim: "sub".into(),
            plan_claim: None,
            mode_claim: None,
            is_known_only: true,
        },
    };
    let issuers = Issuers::new(vec![plan]);
    let prepared = mainstay_identity::jwt::prepare(assertion.as_bytes(), &issuers, now).ok()?;
    let (keys, _) = KeySet::parse(jwks.as_bytes()).ok()?;
    let expires_at = prepared.verify_signature(&keys).ok()?.0;
    let jti = prepared.token_id()?;
    let is_bounded = expires_at.saturating_sub(now.0) <= ASSERTION_LIFETIME_MAX_MS;
    let named = format!("{id}\0{jti}");
    is_bounded.then(|| Once { id: format!("assertion:{}", sha256(named.as_bytes()).to_hex()), expires_at })
}
