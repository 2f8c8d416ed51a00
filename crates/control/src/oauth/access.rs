//! Access tokens: JWTs as RFC 9068 wants them, made here and, for revocation and introspection, read here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_core::clock::UnixMs;
use mainstay_identity::jwt::{Algorithm, IssuerPlan, Issuers, Subject, TypeRule};
use serde_json::{Map, Value, json};

use super::keys::Keys;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) client: String,
    pub(crate) audience: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) id: String,
    pub(crate) issued_at_s: i64,
    pub(crate) expires_at_s: i64,
    /// When the user logged in, where there is one.
    pub(crate) auth_time_s: Option<i64>,
}

impl Claims {
    fn body(&self) -> Value {
        let audience = match self.audience.as_slice() {
            [] => json!(self.issuer),
            [one] => json!(one),
            several => json!(several),
        };
        let mut body = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": audience,
            "exp": self.expires_at_s,
            "iat": self.issued_at_s,
            "jti": self.id,
            "client_id": self.client,
            "scope": self.scopes.join(" "),
        });
        if let Some(at) = self.auth_time_s {
            body["auth_time"] = at.into();
        }
        body
    }

    /// The token. `None`: there is no key to sign with.
    pub(crate) fn signed(&self, keys: &Keys) -> Option<String> {
        keys.sign(|kid| {
            let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": kid });
            let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
            format!("{}.{}", encoded(&header), encoded(&self.body()))
        })
    }
}

/// A token of this issuer that has not expired, or nothing.
pub(crate) fn read(token: &str, issuer: &str, keys: &Keys, now: UnixMs) -> Option<Claims> {
    let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let body: Map<String, Value> = serde_json::from_slice(&body).ok()?;
    let audience = match body.get("aud")? {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    // Whatever it is for, it is ours when the signature is: the claims are believed after that alone.
    let plan = IssuerPlan {
        issuer: issuer.into(),
        audiences: audience.iter().map(|audience| audience.as_str().into()).collect(),
        algorithms: vec![Algorithm::Es256],
        clock_skew_ms: 0,
        types: TypeRule::AccessTokenOnly,
        subject: Subject::Own,
    };
    let issuers = Issuers::new(vec![plan]);
    let prepared = mainstay_identity::jwt::prepare(token.as_bytes(), &issuers, now).ok()?;
    prepared.verify_signature(&keys.set).ok()?;
    let text = |name: &str| body.get(name)?.as_str().map(str::to_owned);
    Some(Claims {
        issuer: issuer.to_owned(),
        subject: text("sub")?,
        client: text("client_id")?,
        audience,
        scopes: text("scope")?.split_whitespace().map(str::to_owned).collect(),
        id: text("jti")?,
        issued_at_s: body.get("iat")?.as_i64()?,
        expires_at_s: body.get("exp")?.as_i64()?,
        auth_time_s: body.get("auth_time").and_then(Value::as_i64),
    })
}
