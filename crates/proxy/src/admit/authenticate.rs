//! Who calls: credentials are read, looked up, and taken out of the request.
//!
//! Whoever tries wrong ones too often is not looked at for a while (`server.preauth`): only failures count, so that many
//! good requests from one address are never in each other's way.
//!
//! All of it is one call without a wait, unless a token is signed with a key that is not held: then the keys of its issuer are
//! fetched elsewhere, [`wait`] waits for that a bounded time, and everything is looked at once more.
//!
//! An operation that anyone may call is never asked about credentials: they are its service's business and go on. Where
//! credentials are asked for, what the engine has used does not go on to the upstream, unless `auth.forward` says so.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use mainstay_core::catalogue::Sha256;
use mainstay_core::principal::AuthMethod;
use mainstay_core::{Caller, Stage};
use mainstay_identity::credentials::{
    self, Attempt, Challenge, Presented, Relevant, Requirement, Token, challenges,
};
use mainstay_identity::jwks::Wait;
use mainstay_identity::jwt::TokenRefusal;
use mainstay_identity::{KeyRefusal, Refusal};

use crate::context::RequestCx;
use crate::lifecycle::Refused;
use crate::plan::{AuthPlan, RoutePlan};
use crate::request::Request;
use crate::tokens::{Looked, With};

/// What has to be had before it is known who calls.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// The keys of the issuer with this number.
    Keys(usize, Wait),
    /// What the servers say of the opaque token with this hash.
    Answer(Sha256),
}

/// Finds out who calls, where the operation asks. `waited`: what this asked for before, after [`wait`].
///
/// # Errors
/// 400 for credentials that contradict one another or stand in the URL, 401 for none or wrong ones, 403 for a key that
/// may not be used from there or for this, each with the challenges of all ways in; 503 where the keys of a token's issuer
/// cannot be had.
pub fn authenticate(
    cx: &RequestCx,
    route: &RoutePlan,
    plan: &AuthPlan,
    request: &mut Request,
    waited: Option<Missing>,
) -> Result<Option<Missing>, Box<Refused>> {
    let AuthPlan::Any(requirement) = plan else { return Ok(None) };
    let used = match prove(cx, route, requirement, request, waited) {
        Ok(Proved::Used(used)) => used,
        Ok(Proved::Missing(missing)) => return Ok(Some(missing)),
        Err(refusal) => return Err(Box::new(refused(cx, route, requirement, refusal))),
    };
    let identity = &cx.snapshot.plan.identity;
    // Both, whichever was used: what is a credential here is nothing for the service to see. What was not used is nothing
    // that anybody has vouched for, so it does not go on even where the configuration says that such credentials do.
    if !(used.api_key && identity.is_key_forwarded) {
        request.headers.remove(&identity.key_header);
    }
    let is_forwarded =
        if used.token { identity.tokens.is_forwarded } else { used.bearer_key && identity.is_key_forwarded };
    if !is_forwarded {
        request.headers.remove(AUTHORIZATION);
    }
    Ok(None)
}

/// Waits for keys, at most as long as `auth.outbound.wait`.
pub async fn wait(cx: &RequestCx, missing: &Missing) {
    let tokens = &cx.snapshot.plan.identity.tokens;
    match missing {
        Missing::Keys(issuer, wait) => {
            if let Some(keys) = tokens.of(*issuer) {
                cx.trail(Stage::Authenticate, "waits for the keys of the issuer");
                keys.wait(*wait).await;
            }
        }
        Missing::Answer(hash) => {
            if let Some(servers) = &tokens.introspection {
                cx.trail(Stage::Authenticate, "waits for introspection");
                servers.wait(hash).await;
            }
        }
    }
}

/// Which credentials were used.
struct Used {
    api_key: bool,
    /// The key, or the same one, stood in `Authorization`.
    bearer_key: bool,
    token: bool,
}

enum Proved {
    Used(Used),
    Missing(Missing),
}

fn prove(
    cx: &RequestCx,
    route: &RoutePlan,
    requirement: &Requirement,
    request: &Request,
    waited: Option<Missing>,
) -> Result<Proved, Refusal> {
    let key_header = &cx.snapshot.plan.identity.key_header;
    let query = request.query.as_deref().unwrap_or_default();
    if !query.is_empty() && credentials::in_query(query, key_header.as_str().as_bytes()) {
        return Err(Refusal::KeyInQuery);
    }
    let presented = presented(request, key_header)?;
    let Relevant { api_key, token, certificate: _ } = requirement.relevant(&presented, false)?;
    let preauth = cx.snapshot.plan.identity.preauth.as_ref().zip(cx.client);
    if let Some((limit, client)) = preauth {
        limit.failures.check(client, api_key, cx.worker.mono_at(cx.started))?;
    }
    let by_key = api_key.map(|text| Attempt { method: AuthMethod::ApiKey, outcome: by_key(cx, route, text) });
    let by_token = match token.map(|token| by_token(cx, requirement, token, waited)).transpose() {
        Ok(Some(Looked::Wait(issuer, wait))) => return Ok(Proved::Missing(Missing::Keys(issuer, wait))),
        Ok(Some(Looked::Asked(hash))) => return Ok(Proved::Missing(Missing::Answer(hash))),
        Ok(Some(Looked::Known(caller, _))) => Some(Attempt { method: caller.method, outcome: Ok(caller) }),
        Err(refusal) => Some(Attempt { method: AuthMethod::Jwt, outcome: Err(refusal) }),
        Ok(None) => None,
    };
    let decided = match (by_key, by_token) {
        (Some(key), Some(token)) => requirement.decide(&[key, token]),
        (key, token) => requirement.decide(key.or(token).as_slice()),
    };
    let caller = decided.inspect_err(|refusal| {
        if let (true, Some((limit, client))) = (refusal.is_failed_attempt(), preauth) {
            limit.failures.failed(client, api_key, cx.worker.mono_at(cx.started));
        }
    })?;
    if let Some(at) = AuthMethod::ALL.iter().position(|method| *method == caller.method) {
        cx.worker.cells.inc(cx.worker.shared.metrics.authenticated[at]);
    }
    // What only its server can read is nothing that a service was promised (`auth.forward: jwt`).
    let is_jwt = caller.method != AuthMethod::Introspection;
    let _ = cx.principal.set(caller);
    let bearer_key = presented.token.is_none() && api_key.is_some();
    Ok(Proved::Used(Used { api_key: api_key.is_some(), bearer_key, token: token.is_some() && is_jwt }))
}

/// A JSON Web Token is looked at here; an opaque one is known by what its server says.
fn by_token(
    cx: &RequestCx,
    requirement: &Requirement,
    token: Token<'_>,
    waited: Option<Missing>,
) -> Result<Looked, Refusal> {
    let worker = &cx.worker;
    let tokens = &cx.snapshot.plan.identity.tokens;
    let servers = tokens.introspection.as_ref().filter(|_| requirement.accepts(AuthMethod::Introspection));
    let takes_jwt = requirement.accepts(AuthMethod::Jwt);
    // Time has passed while it was waited.
    let (now, mono) = match waited {
        None => (cx.started_at, worker.mono_at(cx.started)),
        Some(_) => (worker.unix(), worker.mono_ms()),
    };
    let with = With {
        tokens,
        index: &worker.shared.known.load(),
        config: cx.snapshot.plan.generation,
        now,
        mono,
        waited: waited.and_then(|missing| match missing {
            Missing::Keys(_, wait) => Some(wait),
            Missing::Answer(_) => None,
        }),
    };
    let mut known = worker.known_tokens.borrow_mut();
    let looked = match (token, servers) {
        (Token::Jwt(text), _) if takes_jwt => known.look(text, &with, &worker.random)?,
        // A server may issue what looks like a JSON Web Token: where no other is taken, it is asked.
        (Token::Jwt(text) | Token::Opaque(text), Some(servers)) => {
            known.look_opaque(text, (&with, servers, waited.is_some()), &worker.random)?
        }
        _ => return Err(Refusal::Token(TokenRefusal::Kind)),
    };
    match &looked {
        Looked::Known(_, was_known) => {
            worker.cells.inc(worker.shared.metrics.tokens[usize::from(!was_known)]);
            Ok(looked)
        }
        // It is waited once. Whoever would have to wait again is not let in instead.
        Looked::Wait(..) if waited.is_some() => Err(Refusal::Unavailable { retry_after_s: 1 }),
        Looked::Wait(..) | Looked::Asked(_) => Ok(looked),
    }
}

fn presented<'a>(request: &'a Request, key_header: &HeaderName) -> Result<Presented<'a>, Refusal> {
    let values = |name: &HeaderName| request.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    credentials::read(values(key_header), values(&AUTHORIZATION))
}

fn by_key(cx: &RequestCx, route: &RoutePlan, text: &[u8]) -> Result<Arc<Caller>, Refusal> {
    let found = cx.worker.known_keys.borrow_mut().find(&cx.worker.shared.known.load(), text, cx.started_at);
    let found = found.map_err(Refusal::Key)?;
    found.check(cx.client, &route.names.api).map_err(Refusal::Key)?;
    found.touch(cx.started_at);
    Ok(Arc::clone(found.caller()))
}

fn refused(cx: &RequestCx, route: &RoutePlan, requirement: &Requirement, refusal: Refusal) -> Refused {
    cx.trail(Stage::Authenticate, refusal.reason());
    let mut refused = Refused::from(refusal.problem());
    let status = refused.problem.code.status();
    // A key that may not be used from there, or for this, is no reason to ask for another one with a Bearer challenge
    // alone; but 401 without a challenge would be no answer at all (RFC 9110, 15.5.2).
    if status == 401 || matches!(refusal, Refusal::Key(KeyRefusal::Api)) {
        let scopes: Vec<&str> = route.scopes.names.split(' ').filter(|name| !name.is_empty()).collect();
        let about = Challenge {
            realm: &route.names.api,
            api_key_header: cx.snapshot.plan.identity.key_header.as_str(),
            scopes: &scopes,
        };
        let values = challenges(requirement, &about, Some(refusal));
        refused.challenges =
            values.into_iter().filter_map(|value| HeaderValue::try_from(value).ok()).collect();
    }
    refused
}
