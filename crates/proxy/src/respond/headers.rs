//! The fields that the engine adds to every answer.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, Version};

use super::body::OutBody;
use crate::admit::cors;
use crate::context::RequestCx;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Request id, `Via` (for what an upstream answered), the version's dates, CORS.
pub fn add(cx: &RequestCx, response: &mut Response<OutBody>, from_upstream: bool) {
    let via = from_upstream.then(|| via(response));
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, cx.id.clone());
    if let Some(via) = via {
        headers.insert(header::VIA, via);
    }
    if let Some(route) = cx.route.get() {
        for (name, value) in &route.version.headers {
            headers.append(name, value.clone());
        }
    }
    cors::add(cx, headers);
}

fn via(response: &Response<OutBody>) -> HeaderValue {
    const PLAIN: HeaderValue = HeaderValue::from_static("1.1 mainstay");
    let mut earlier = response.headers().get_all(header::VIA).iter().peekable();
    if earlier.peek().is_none() && response.version() != Version::HTTP_2 {
        return PLAIN;
    }
    let mut text = Vec::new();
    for value in earlier {
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(PLAIN.as_bytes());
    HeaderValue::from_bytes(&text).unwrap_or(PLAIN)
}
