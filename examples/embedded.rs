//! An axum router behind the engine's policies, in one process.
//!
//! ```text
//! cargo run --example embedded
//! curl -i http://127.0.0.1:8080/v1/quotes/EURUSD
//! curl -i http://127.0.0.1:8080/v1/panic       # 502 local_service_failed; the process goes on
//! ```
//!
//! Two arguments, where there are any, are the addresses of the listener and of the control listener. Ctrl-C ends it in
//! order: what runs is finished.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

use std::time::Duration;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use mainstay::Engine;
use serde_json::{Value, json};

/// What the engine does before a request reaches the router: one version, which is deprecated and has an end; at most
/// eight requests at the router at once; targets of at most 512 bytes and bodies of at most 1 KiB; one second for an answer.
fn configuration(listen: &str, control: &str) -> String {
    format!(
        "
server: {{ listen: '{listen}', limits: {{ uri_bytes: 512B }} }}
control: {{ listen: '{control}' }}
upstreams:
  quotes:
    endpoints: ['local:quotes']
    pool: {{ connections_max: 8, wait: 100ms }}
    timeouts: {{ total: 1s }}
apis:
  quotes:
    defaults: {{ auth: none }}
    versions:
      v1:
        upstream: quotes
        lifecycle: {{ deprecated: 2026-01-01, sunset: 2127-01-01 }}
        operations:
          'GET /quotes/{{pair}}': {{}}
          'POST /orders': {{ body: 1KiB }}
          'GET /slow': {{}}
          'GET /panic': {{}}
"
    )
}

fn router() -> Router {
    Router::new()
        .route("/v1/quotes/{pair}", get(quote))
        .route("/v1/orders", post(order))
        .route("/v1/slow", get(slow))
        .route("/v1/panic", get(defect))
}

async fn quote(Path(pair): Path<String>) -> Json<Value> {
    Json(json!({ "pair": pair, "bid": "1.0841", "ask": "1.0843" }))
}

async fn order(Json(order): Json<Value>) -> Json<Value> {
    Json(json!({ "accepted": order }))
}

/// Takes longer than the configuration allows: the client has a 504, and this future is dropped.
async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(60)).await;
    "too late"
}

/// A defect, which costs its own request the answer and nobody else anything.
async fn defect() -> &'static str {
    panic!("a defect")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let control = arguments.next().unwrap_or_else(|| "127.0.0.1:9090".into());
    let engine =
        Engine::from_text(configuration(&listen, &control)).local("quotes", router()).start().await?;
    println!("listening on http://{}", engine.addresses()[0]);
    tokio::signal::ctrl_c().await?;
    let ended = engine.shut_down().await;
    println!("ended: {ended:?}");
    Ok(())
}
