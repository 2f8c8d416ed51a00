//! `/oauth/authorize`: login and consent. Plain HTML without a script, every element reached with the keyboard.
//!
//! Two forms, each answered only to who was shown it. The login form carries a value that stands in a cookie as well, so
//! nobody is logged in as somebody else by a page elsewhere. The consent form carries a hash of the session's secret and of
//! the very request: a page elsewhere cannot make it, and a consent to one request is none to another.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, REFERRER_POLICY,
    RETRY_AFTER, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use mainstay_core::catalogue::OauthClient;
use mainstay_core::catalogue::oauth::{AuthorizationCode, Session};
use mainstay_identity::key::sha256;

use super::attempts::Attempt;
use super::authorize::{self, Asked, Not};
use super::error::{Code, Refused};
use super::form::Form;
use super::server::{self, Server, Shared, random_id, secret};
use crate::password::{BYTES_MAX, NotHashed};

/// How long a code is good (RFC 6749, section 4.1.2: at most ten minutes).
const CODE_MS: i64 = 60_000;
/// How long somebody stays logged in.
const SESSION_MS: i64 = 8 * 3_600_000;
/// How long a login form is good.
const FORM_S: i64 = 600;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem}\
label{display:block;margin:1rem 0 .25rem}input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}\
button{font:inherit;padding:.5rem 1rem;margin:1.5rem .5rem 0 0}.e{border-left:.25rem solid #b00;padding-left:.75rem}";

/// GET: what there is to decide.
pub(crate) async fn show(State(server): State<Server>, uri: Uri, headers: HeaderMap) -> Response {
    let query = uri.query().unwrap_or_default();
    show_for(&server.0, query, &headers).await.unwrap_or_else(|refused| failed(&refused))
}

async fn show_for(shared: &Shared, query: &str, headers: &HeaderMap) -> Result<Response, Refused> {
    let (client, asked) = match request(shared, query).await? {
        Ok(found) => found,
        Err(not) => return Ok(not_asked(&not)),
    };
    match session(shared, headers).await? {
        Some((cookie, session)) => Ok(consent_page(&client, &asked, query, &cookie, &session.user)),
        None => login_page(shared, query, StatusCode::OK, None),
    }
}

/// The request in the query, with its client. The inner error is the request's, the outer one ours.
async fn request(shared: &Shared, query: &str) -> Result<Result<(OauthClient, Asked), Not>, Refused> {
    let form = match Form::parse(query.as_bytes()) {
        Ok(form) => form,
        Err(refused) => return Ok(Err(Not::Shown(refused.description))),
    };
    let client = shared.client(form.get("client_id").unwrap_or_default()).await?;
    let asked = authorize::read(&form, client.as_ref(), &shared.settings.issuer);
    Ok(asked.and_then(|asked| {
        let client = client.ok_or(Not::Shown("The application that sent you here is not known."))?;
        Ok((client, asked))
    }))
}

fn not_asked(not: &Not) -> Response {
    match not {
        Not::Shown(why) => page(StatusCode::BAD_REQUEST, "This cannot go on", &paragraph(why), None),
        Not::Sent(back, refused) => redirect(&back.with_refusal(refused)),
    }
}

/// POST: what was decided.
pub(crate) async fn answer(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    let shared = &*server.0;
    answer_for(shared, &headers, &body).await.unwrap_or_else(|refused| failed(&refused))
}

async fn answer_for(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<Response, Refused> {
    let form = server::form(headers, body)?;
    // Browsers say where a form came from; one that does not say is held to the form's own value.
    let ours = origin_of(&shared.settings.issuer);
    if headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes() != ours.as_bytes()) {
        return Ok(forged());
    }
    let query = form.get("request").unwrap_or_default();
    match form.get("action") {
        Some("login") => log_in(shared, headers, &form, query).await,
        Some(decision @ ("allow" | "deny")) => {
            decide(shared, headers, &form, query, decision == "allow").await
        }
        Some("logout") => log_out(shared, headers, &form, query).await,
        _ => Err(Refused::request("There is no such action.")),
    }
}

async fn log_in(shared: &Shared, headers: &HeaderMap, form: &Form, query: &str) -> Result<Response, Refused> {
    let cookie = cookie(headers, login_cookie(shared)).unwrap_or_default();
    if cookie.is_empty() || !is_same(form.get("csrf").unwrap_or_default(), &cookie) {
        return Ok(forged());
    }
    if let Err(not) = request(shared, query).await? {
        return Ok(not_asked(&not));
    }
    let (name, password) = (form.get("name").unwrap_or_default(), form.get("password").unwrap_or_default());
    let (address, now) = (server::address(headers), shared.mono());
    if let Err(refused) = shared.attempts.check(address, Attempt::User(name), now) {
        let why = "Too many wrong passwords were tried. Wait a little, then try again.";
        let mut response = login_page(shared, query, StatusCode::TOO_MANY_REQUESTS, Some(why))?;
        if let Some(seconds) = refused.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        return Ok(response);
    }
    let user = shared.user(name).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    // A password that is too long for anybody takes as long as one that is wrong.
    let tried = if password.len() > BYTES_MAX { String::new() } else { password.to_owned() };
    let matches = shared.hasher.matches(tried, hash).await.map_err(|error| match error {
        NotHashed::Busy => Refused::busy(),
        NotHashed::Failed => Refused::internal(),
    })?;
    match user.filter(|user| matches && !user.disabled) {
        Some(user) => logged_in(shared, &user.name, query).await,
        None => {
            shared.attempts.failed(address, Attempt::User(name), now);
            let why = "Name or password is wrong, or you may not log in.";
            login_page(shared, query, StatusCode::FORBIDDEN, Some(why))
        }
    }
}

/// A session of its own for each login, so that nobody has prepared it.
async fn logged_in(shared: &Shared, user: &str, query: &str) -> Result<Response, Refused> {
    let value = secret("")?;
    let now = shared.clock.now().0;
    let session = Session {
        sha256: sha256(value.as_bytes()),
        user: user.to_owned(),
        created_at: now,
        expires_at: now + SESSION_MS,
    };
    shared.store.store_session(session).await?;
    let mut response = redirect(&format!("{}?{query}", shared.settings.url("/oauth/authorize")));
    set_cookie(shared, &mut response, session_cookie(shared), &value, SESSION_MS / 1000);
    set_cookie(shared, &mut response, login_cookie(shared), "", 0);
    Ok(response)
}

async fn decide(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form,
    query: &str,
    allows: bool,
) -> Result<Response, Refused> {
    let Some((cookie, session)) = session(shared, headers).await? else {
        return login_page(shared, query, StatusCode::FORBIDDEN, Some("You are not logged in any more."));
    };
    if !is_same(form.get("csrf").unwrap_or_default(), &consent_value(&cookie, query)) {
        return Ok(forged());
    }
    let (client, asked) = match request(shared, query).await? {
        Ok(found) => found,
        Err(not) => return Ok(not_asked(&not)),
    };
    if !allows {
        return Ok(redirect(
            &asked.back.with_refusal(&Refused::new(Code::AccessDenied, "The user said no.")),
        ));
    }
    let code = secret("mac_")?;
    let kept = AuthorizationCode {
        sha256: sha256(code.as_bytes()),
        client: client.id,
        user: session.user,
        redirect_uri: asked.redirect_uri_given.then(|| asked.back.redirect_uri.clone()),
        scopes: asked.scopes,
        resources: asked.resources,
        challenge: asked.challenge,
        family: random_id("consent_")?,
        auth_time: session.created_at,
        expires_at: shared.clock.now().0 + CODE_MS,
    };
    shared.store.store_code(kept).await?;
    Ok(redirect(&asked.back.with_code(&code)))
}

async fn log_out(
    shared: &Shared,
    headers: &HeaderMap,
    form: &Form,
    query: &str,
) -> Result<Response, Refused> {
    if let Some((cookie, session)) = session(shared, headers).await? {
        if !is_same(form.get("csrf").unwrap_or_default(), &consent_value(&cookie, query)) {
            return Ok(forged());
        }
        shared.store.end_session(session.sha256).await?;
    }
    login_page(shared, query, StatusCode::OK, None)
}

/// Who is logged in, with the secret that proves it. A user who is disabled since is not.
async fn session(shared: &Shared, headers: &HeaderMap) -> Result<Option<(String, Session)>, Refused> {
    let Some(cookie) = cookie(headers, session_cookie(shared)) else { return Ok(None) };
    let Some(session) = shared.store.session(sha256(cookie.as_bytes())).await? else { return Ok(None) };
    let is_active = shared.user(&session.user).await?.is_some_and(|user| !user.disabled);
    Ok(is_active.then_some((cookie, session)))
}

/// What the consent form carries: nobody makes it who has not the session's secret.
fn consent_value(cookie: &str, query: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("consent\0{cookie}\0{query}").as_bytes()))
}

fn is_same(given: &str, expected: &str) -> bool {
    verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok()
}

/// With `__Host-` no other host and no other path can have set it; it needs TLS.
fn session_cookie(shared: &Shared) -> &'static str {
    if shared.settings.is_secure() { "__Host-mainstay-session" } else { "mainstay-session" }
}

fn login_cookie(shared: &Shared) -> &'static str {
    if shared.settings.is_secure() { "__Host-mainstay-login" } else { "mainstay-login" }
}

/// The value of a cookie. One that stands twice is none: the next reader might take the other.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name && !value.is_empty()).then(|| value.to_owned())
    });
    found.next().filter(|_| found.next().is_none())
}

fn set_cookie(shared: &Shared, response: &mut Response, name: &str, value: &str, max_age_s: i64) {
    let secure = if shared.settings.is_secure() { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

fn origin_of(issuer: &str) -> &str {
    let authority = issuer.find("://").map_or(0, |at| at + 3);
    issuer[authority..].find('/').map_or(issuer, |at| &issuer[..authority + at])
}

fn login_page(
    shared: &Shared,
    query: &str,
    status: StatusCode,
    wrong: Option<&str>,
) -> Result<Response, Refused> {
    let value = secret("")?;
    let wrong =
        wrong.map(|why| format!("<p class=\"e\" role=\"alert\">{}</p>", escaped(why))).unwrap_or_default();
    let body = format!(
        "{wrong}<form method=\"post\">{}{}\
         <label for=\"name\">Name</label>\
         <input id=\"name\" name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" required autofocus>\
         <label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>\
         <button name=\"action\" value=\"login\">Log in</button></form>",
        hidden("request", query),
        hidden("csrf", &value),
    );
    let mut response = page(status, "Log in", &body, None);
    set_cookie(shared, &mut response, login_cookie(shared), &value, FORM_S);
    Ok(response)
}

fn consent_page(client: &OauthClient, asked: &Asked, query: &str, cookie: &str, user: &str) -> Response {
    let scopes = match asked.scopes.as_slice() {
        [] => paragraph("It asks for no permission beyond knowing who you are."),
        scopes => {
            let items: String = scopes.iter().map(|scope| format!("<li>{}</li>", escaped(scope))).collect();
            format!("<p>It asks for these permissions:</p><ul>{items}</ul>")
        }
    };
    let body = format!(
        "<p>You are logged in as <strong>{}</strong>. <strong>{}</strong> wants to act for you.</p>{scopes}\
         <p>The answer goes to {}.</p><form method=\"post\">{}{}\
         <button name=\"action\" value=\"allow\">Allow</button>\
         <button name=\"action\" value=\"deny\">Deny</button>\
         <button name=\"action\" value=\"logout\">Log in as somebody else</button></form>",
        escaped(user),
        escaped(&client.name),
        escaped(&asked.back.origin()),
        hidden("request", query),
        hidden("csrf", &consent_value(cookie, query)),
    );
    page(StatusCode::OK, "Allow access?", &body, Some(&asked.back.origin()))
}

fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value))
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", escaped(text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn forged() -> Response {
    let why =
        "This form is too old, or it did not come from here. Go back to the application and begin again.";
    page(StatusCode::FORBIDDEN, "This cannot go on", &paragraph(why), None)
}

/// What is wrong on our side, or with a form that no page of ours makes.
fn failed(refused: &Refused) -> Response {
    let mut response = page(refused.status, "This cannot go on", &paragraph(refused.description), None);
    if let Some(seconds) = refused.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `target`: where the form's answer leads on to, which some browsers hold against `form-action`.
fn page(status: StatusCode, title: &str, body: &str, target: Option<&str>) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let target = target.filter(|target| !target.contains([';', ',', ' '])).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self' {target}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    guarded(headers);
    response
}

/// 303: a browser goes on with GET, and leaves the password behind (RFC 9700, section 4.12).
fn redirect(url: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::try_from(url) {
        Ok(location) => drop(response.headers_mut().insert(LOCATION, location)),
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    guarded(response.headers_mut());
    response
}

fn guarded(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
