//! The paths, each once in [`table`]: the router, the access rule and the check of `openapi.json` come from it.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use mainstay_core::ProblemCode;
use mainstay_core::port::{self, Engine, Loaded, Readiness};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::calls::Call;
use crate::guard::{self, Reach};
use crate::problem::Refusal;
use crate::token::Token;

/// The description of this API.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// Longer ids are not looked up: no request id is.
const REQUEST_ID_LENGTH_MAX: usize = 256;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Arc<dyn Engine>,
    token: Arc<Token>,
    pub(crate) reach: Reach,
    /// One reload at a time: they go on when the client leaves, so connections do not bound them.
    reloading: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(engine: Arc<dyn Engine>, token: Token, reach: Reach) -> Self {
        Self { engine, token: Arc::new(token), reach, reloading: Arc::new(Semaphore::new(1)) }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone who reaches the listener.
    Open,
    /// Everyone on this machine; where the listener can be reached from elsewhere, whoever has the token.
    Here,
    /// Whoever has the token.
    Token,
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
}

/// Every operation of the control listener.
pub(crate) fn table() -> Vec<Route> {
    use Access::{Here, Open, Token};
    vec![
        Route::get(Open, "/livez", livez),
        Route::get(Open, "/readyz", readyz),
        Route::get(Here, "/metrics", metrics),
        Route::post(Token, "/admin/v1/reload", reload),
        Route::get(Token, "/admin/v1/config", config),
        Route::get(Token, "/admin/v1/versions", versions),
        Route::get(Token, "/admin/v1/upstreams", upstreams),
        Route::get(Token, "/admin/v1/requests/{id}", request),
        Route::get(Token, "/admin/v1/openapi.json", openapi),
    ]
}

/// The router over [`table`]. The token is asked for after path and method are known to exist, so an unknown path
/// says 404 to everyone, which tells no more than the published description does.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table() {
        let handler = match route.access {
            Access::Open => route.handler,
            Access::Here if app.reach.loopback => route.handler,
            Access::Here | Access::Token => {
                route.handler.route_layer(from_fn_with_state(app.clone(), require_token))
            }
        };
        router = router.route(route.path, handler);
    }
    router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(app)
}

async fn require_token(State(app): State<App>, request: Request, next: Next) -> Result<Response, Refusal> {
    guard::check_token(request.headers(), &app.token)?;
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

/// Runs to its end even if the client leaves or the request's time is up: half a reload helps nobody.
async fn reload(State(app): State<App>, Extension(call): Extension<Call>) -> Result<Json<Loaded>, Refusal> {
    let permit = app.reloading.acquire_owned().await;
    call.begin();
    let work = tokio::spawn(async move {
        let result = app.engine.reload().await;
        drop(permit);
        result
    });
    // A task of its own, because the work may panic and the caller may leave, and the call is told either way.
    let task = tokio::spawn(async move {
        let result = work.await;
        call.ended(match &result {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => ProblemCode::ConfigurationRefused.code(),
            Err(_) => ProblemCode::Internal.code(),
        });
        result
    });
    match task.await {
        Ok(Ok(Ok(loaded))) => Ok(Json(loaded)),
        Ok(Ok(Err(refused))) => Err(Refusal::configuration(parsed(&refused.problems)?)),
        Ok(Err(_)) | Err(_) => Err(Refusal::internal(
            "The reload ended unexpectedly; GET /admin/v1/config says what serves now.",
        )),
    }
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

async fn versions(State(app): State<App>) -> Json<List<port::VersionReport>> {
    Json(List { items: app.engine.versions() })
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
fn parsed(json: &port::Json) -> Result<Value, Refusal> {
    serde_json::from_str(&json.0).map_err(|_| Refusal::internal("The engine gave a malformed answer."))
}

fn no_such(detail: &'static str) -> Refusal {
    Refusal::new(ProblemCode::NotFound, detail)
}
