//! The paths, each once in [`table`]: the router, the access rule and the check of `openapi.json` come from it.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use mainstay_core::ProblemCode;
use mainstay_core::catalogue::{Catalogue, Role};
use mainstay_core::clock::Clock;
use mainstay_core::port::{self, Engine, Loaded, Readiness};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::authorize;
use crate::caller::{Bearer, Caller};
use crate::calls::Call;
use crate::catalogue::{audit, clients, consumers, keys, plans, tokens, users};
use crate::guard::{self, Reach};
use crate::limits::CHANGES_MAX;
use crate::password::Hasher;
use crate::problem::Refusal;
use crate::tokens::Tokens;

/// The description of this API.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// Longer ids are not looked up: no request id is.
const REQUEST_ID_LENGTH_MAX: usize = 256;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Arc<dyn Engine>,
    /// `None`: nothing is kept.
    pub(crate) catalogue: Option<Arc<dyn Catalogue>>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) reach: Reach,
    pub(crate) clock: Clock,
    /// One reload at a time: they go on when the client leaves, so connections do not bound them.
    reloading: Arc<Semaphore>,
    /// The same for changes of the catalogue.
    pub(crate) changing: Arc<Semaphore>,
    /// One reading of the whole audit at a time.
    pub(crate) verifying: Arc<Semaphore>,
    pub(crate) hasher: Hasher,
}

impl App {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        catalogue: Option<Arc<dyn Catalogue>>,
        tokens: Arc<Tokens>,
        reach: Reach,
        clock: Clock,
    ) -> Self {
        let [reloading, verifying] = [1; 2].map(|places| Arc::new(Semaphore::new(places)));
        let changing = Arc::new(Semaphore::new(CHANGES_MAX));
        Self {
            engine,
            catalogue,
            tokens,
            reach,
            clock,
            reloading,
            changing,
            verifying,
            hasher: Hasher::new(),
        }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone who reaches the listener.
    Open,
    /// Everyone on this machine; where the listener can be reached from elsewhere, whoever has a token.
    Here,
    /// Whoever has a token of this role, or of one that includes it, for all apis.
    Token(Role),
    /// The same, and a token that is limited to some apis: the handler keeps to its limit.
    Limited(Role),
}

impl Access {
    fn check(self, bearer: &Bearer) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Here => bearer.require_all_apis(),
            Self::Limited(role) => bearer.require(role),
            Self::Token(role) => bearer.require(role).and_then(|()| bearer.require_all_apis()),
        }
    }
}

/// One operation.
pub(crate) struct Route {
    /// As OpenAPI spells it: in lower case.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests compare it with openapi.json"))]
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<App>,
}

impl Route {
    fn get<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Self {
        Self { method: "get", path, access, handler: get(handler) }
    }

    fn post<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Self {
        Self { method: "post", path, access, handler: post(handler) }
    }

    fn patch<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Self {
        Self { method: "patch", path, access, handler: patch(handler) }
    }

    fn delete<H: Handler<T, App>, T: 'static>(access: Access, path: &'static str, handler: H) -> Self {
        Self { method: "delete", path, access, handler: delete(handler) }
    }
}

/// Every operation of the control listener.
pub(crate) fn table() -> Vec<Route> {
    use Access::{Here, Limited, Open, Token};
    use Role::{Operator, Owner, Viewer};
    vec![
        Route::get(Open, "/livez", livez),
        Route::get(Open, "/readyz", readyz),
        Route::get(Here, "/metrics", metrics),
        Route::post(Token(Operator), "/admin/v1/reload", reload),
        Route::get(Token(Viewer), "/admin/v1/config", config),
        Route::get(Limited(Viewer), "/admin/v1/versions", versions),
        Route::get(Token(Viewer), "/admin/v1/upstreams", upstreams),
        Route::get(Token(Viewer), "/admin/v1/requests/{id}", request),
        Route::post(Limited(Viewer), "/admin/v1/authorize", authorize::authorize),
        Route::get(Limited(Viewer), "/admin/v1/plans", plans::list),
        Route::get(Limited(Viewer), "/admin/v1/consumers", consumers::list),
        Route::post(Token(Operator), "/admin/v1/consumers", consumers::create),
        Route::get(Limited(Viewer), "/admin/v1/consumers/{id}", consumers::show),
        Route::patch(Token(Operator), "/admin/v1/consumers/{id}", consumers::update),
        Route::delete(Token(Operator), "/admin/v1/consumers/{id}", consumers::delete),
        Route::get(Limited(Viewer), "/admin/v1/consumers/{id}/keys", keys::list),
        Route::post(Limited(Operator), "/admin/v1/consumers/{id}/keys", keys::create),
        Route::get(Limited(Viewer), "/admin/v1/keys/{id}", keys::show),
        Route::patch(Limited(Operator), "/admin/v1/keys/{id}", keys::update),
        Route::delete(Limited(Operator), "/admin/v1/keys/{id}", keys::revoke),
        Route::post(Limited(Operator), "/admin/v1/keys/{id}/rotate", keys::rotate),
        Route::get(Token(Viewer), "/admin/v1/clients", clients::list),
        Route::post(Token(Operator), "/admin/v1/clients", clients::create),
        Route::get(Token(Viewer), "/admin/v1/clients/{id}", clients::show),
        Route::patch(Token(Operator), "/admin/v1/clients/{id}", clients::update),
        Route::delete(Token(Operator), "/admin/v1/clients/{id}", clients::delete),
        Route::post(Token(Operator), "/admin/v1/clients/{id}/rotate", clients::rotate),
        Route::get(Token(Viewer), "/admin/v1/users", users::list),
        Route::post(Token(Operator), "/admin/v1/users", users::create),
        Route::get(Token(Viewer), "/admin/v1/users/{id}", users::show),
        Route::patch(Token(Operator), "/admin/v1/users/{id}", users::update),
        Route::delete(Token(Operator), "/admin/v1/users/{id}", users::delete),
        Route::get(Token(Viewer), "/admin/v1/tokens", tokens::list),
        Route::post(Token(Owner), "/admin/v1/tokens", tokens::create),
        Route::get(Token(Viewer), "/admin/v1/tokens/{id}", tokens::show),
        Route::delete(Token(Owner), "/admin/v1/tokens/{id}", tokens::revoke),
        Route::get(Token(Viewer), "/admin/v1/audit", audit::list),
        Route::get(Token(Viewer), "/admin/v1/audit/verify", audit::verify),
        Route::get(Limited(Viewer), "/admin/v1/openapi.json", openapi),
    ]
}

/// The router over [`table`]. The token is asked for after path and method are known to exist, so an unknown path
/// says 404 to everyone, which tells no more than the published description does.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { path, access, handler, .. } in table() {
        let handler = match access {
            Access::Open => handler,
            Access::Here if app.reach.loopback => handler,
            Access::Here | Access::Token(_) | Access::Limited(_) => {
                let app = app.clone();
                handler.route_layer(from_fn(move |request, next| {
                    require_token(app.clone(), access, request, next)
                }))
            }
        };
        router = router.route(path, handler);
    }
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(app)
}

async fn require_token(
    app: App,
    access: Access,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let presented = guard::bearer(request.headers())?;
    let bearer = app.tokens.find(presented, app.clock.now().0).await?;
    access.check(&bearer)?;
    request.extensions_mut().insert(Arc::new(bearer));
    Ok(next.run(request).await)
}

async fn not_found() -> Refusal {
    no_such("There is nothing at this path; /admin/v1/openapi.json lists what there is.")
}

async fn method_not_allowed() -> Refusal {
    let detail = "This path is served with the methods in the Allow header.";
    Refusal::new(ProblemCode::MethodNotAllowed, detail)
}

async fn livez() -> Response {
    Json(Live { live: true }).into_response()
}

async fn readyz(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let readiness = app.engine.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn metrics(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.engine.metrics()).into_response()
}

async fn reload(State(app): State<App>, Extension(call): Extension<Call>) -> Result<Json<Loaded>, Refusal> {
    let permit = app.reloading.acquire_owned().await;
    let work = async move {
        let result = app.engine.reload().await;
        drop(permit);
        match result {
            Ok(loaded) => Ok(Json(loaded)),
            Err(refused) => Err(Refusal::configuration(parsed(&refused.problems)?)),
        }
    };
    call.run(work).await
}

/// Generation, digest and operations belong together, so they are read again when a reload came between.
async fn config(State(app): State<App>) -> Result<Json<Config>, Refusal> {
    const ATTEMPTS_MAX: usize = 3;
    for _ in 0..ATTEMPTS_MAX {
        let loaded = app.engine.loaded();
        let operations = app.engine.effective_config();
        if app.engine.loaded() == loaded {
            return Ok(Json(Config { loaded, operations: parsed(&operations)? }));
        }
    }
    Err(Refusal::busy("The configuration was being replaced while it was read.", 1))
}

async fn versions(State(app): State<App>, caller: Caller) -> Json<List<port::VersionReport>> {
    let mut items = app.engine.versions();
    items.retain(|version| caller.bearer.covers(std::slice::from_ref(&version.api)));
    Json(List { items })
}

async fn upstreams(State(app): State<App>) -> Json<List<port::UpstreamReport>> {
    Json(List { items: app.engine.upstreams() })
}

async fn request(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let forgotten = || no_such("No request with this id is remembered; only recent ones are.");
    let Ok(Path(id)) = id else { return Err(forgotten()) };
    if id.len() > REQUEST_ID_LENGTH_MAX {
        return Err(forgotten());
    }
    let found = app.engine.request(&id).await.ok_or_else(forgotten)?;
    Ok(Json(parsed(&found)?))
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Config {
    #[serde(flatten)]
    loaded: Loaded,
    operations: Value,
}

/// A list that fits into one page: `next` comes with the first list that does not.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
}

/// What came through the port is checked here, so that a fault of the engine is a 500 and never a broken document.
pub(crate) fn parsed(json: &port::Json) -> Result<Value, Refusal> {
    serde_json::from_str(&json.0).map_err(|_| Refusal::internal("The engine gave a malformed answer."))
}

pub(crate) fn no_such(detail: &'static str) -> Refusal {
    Refusal::new(ProblemCode::NotFound, detail)
}
