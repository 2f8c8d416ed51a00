//! Plans: they stand in the configuration, and consumers name one.

use axum::Json;
use axum::extract::State;
use mainstay_core::port::PlanReport;

use super::Listed;
use crate::routes::App;

pub(crate) async fn list(State(app): State<App>) -> Json<Listed<PlanReport>> {
    Json(Listed { items: app.engine.plans(), next: None })
}
