//! Operations for probes and tests: they show what arrived, and make bodies of any size and pace.
//!
//! `/echo` answers what hyper has parsed: header names in lower case, in order of arrival, with fields of one name together.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::reply::{Source, json as reply_json};
use crate::route::Utility;

/// Up to here `/echo` shows a body as text.
const ECHO_TEXT_MAX_BYTES: usize = 64 * 1024;

pub(crate) async fn answer(
    utility: Utility,
    parts: &Parts,
    body: Incoming,
    connection: u64,
    name: &str,
) -> Result<Response<Source>, Problem> {
    match utility {
        Utility::Health => Ok(reply_json(StatusCode::OK, &json!({ "status": "ok", "name": name }))),
        Utility::Echo => {
            let received = receive(body, ECHO_TEXT_MAX_BYTES).await?;
            Ok(reply_json(StatusCode::OK, &echo(parts, &received, connection)))
        }
        Utility::Bytes { count } => Ok(octets(Source::made(count))),
        Utility::Chunks { count, size } => Ok(octets(Source::pieces(count, size))),
        Utility::Upload => {
            let received = receive(body, 0).await?;
            let answer = json!({ "bytes": received.length, "sha256": received.sha256 });
            Ok(reply_json(StatusCode::OK, &answer))
        }
        Utility::Slow { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(reply_json(StatusCode::OK, &json!({ "waited_ms": ms })))
        }
    }
}

fn octets(source: Source) -> Response<Source> {
    let mut response = Response::new(source);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

struct Received {
    length: u64,
    sha256: String,
    /// The beginning, as far as it is kept.
    head: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// Reads a body of any size; only `keep` bytes of it stay in memory.
async fn receive(mut body: Incoming, keep: usize) -> Result<Received, Problem> {
    let mut received = Received { length: 0, sha256: String::new(), head: Vec::new(), trailers: None };
    let mut sha256 = Sha256::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Problem::malformed_body(format!("The body ended early: {error}.")))?;
        match frame.into_data() {
            Ok(data) => {
                received.length += u64::try_from(data.len()).unwrap_or(u64::MAX);
                sha256.update(&data);
                let room = keep - received.head.len();
                received.head.extend_from_slice(&data[..room.min(data.len())]);
            }
            Err(other) => received.trailers = other.into_trailers().ok(),
        }
    }
    for byte in sha256.finalize() {
        // Writing into a string cannot fail.
        let _ = write!(received.sha256, "{byte:02x}");
    }
    Ok(received)
}

fn echo(parts: &Parts, received: &Received, connection: u64) -> Value {
    let whole = u64::try_from(received.head.len()).is_ok_and(|kept| kept == received.length);
    let text = if whole { str::from_utf8(&received.head).ok() } else { None };
    json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "authority": parts.uri.authority().map(http::uri::Authority::as_str),
        "version": format!("{:?}", parts.version),
        "connection": connection,
        "headers": pairs(&parts.headers),
        "body": text,
        "body_bytes": received.length,
        "body_sha256": received.sha256,
        "trailers": received.trailers.as_ref().map(pairs),
    })
}

fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| [name.as_str().to_owned(), text(value)]).collect()
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read_small(body: Incoming, max: usize) -> Result<Bytes, Problem> {
    match http_body_util::Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("The body is larger than {max} bytes.");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        Err(error) => Err(Problem::malformed_body(format!("The body ended early: {error}."))),
    }
}
