//! `/_faults` and `/_stats`: the switches and counters for people at a shell.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::faults::{FaultSettings, Faults};
use crate::problem::Problem;
use crate::reply::{Source, json as reply_json};
use crate::stats::Stats;

pub(crate) fn faults(
    faults: &Arc<Faults>,
    method: &Method,
    body: &[u8],
) -> Result<Response<Source>, Problem> {
    if method == Method::PUT {
        // Through a map: an empty list would otherwise pass as settings of which all are left out.
        let settings: FaultSettings = serde_json::from_slice::<Map<String, Value>>(body)
            .and_then(|object| serde_json::from_value(Value::Object(object)))
            .map_err(|error| Problem::malformed_body(format!("These are no fault settings: {error}.")))?;
        faults.set(settings).map_err(|error| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_settings",
                format!("Nothing was switched: {error}."),
            )
        })?;
    }
    Ok(reply_json(StatusCode::OK, &json!(faults.current())))
}

pub(crate) fn stats(stats: &Stats) -> Response<Source> {
    reply_json(StatusCode::OK, &json!(stats.view()))
}
