//! What the engine itself serves beside the apis: it is told who the client is.

use http::header::CONNECTION;
use http::{HeaderName, HeaderValue};

use crate::context::RequestCx;
use crate::request::Request;

/// Whatever a client sends under this name is replaced here, so what arrives was said by the engine.
const CLIENT: HeaderName = HeaderName::from_static("x-mainstay-client");

/// Says which address the client has, as `server.trusted_proxies` makes it known.
pub fn tell(cx: &RequestCx, request: &mut Request) {
    // A client could name the field here, and what `Connection` names does not go on (RFC 9110, 7.6.1).
    request.headers.remove(CONNECTION);
    let address = cx.client.map(|address| HeaderValue::try_from(address.to_canonical().to_string()));
    match address {
        Some(Ok(address)) => drop(request.headers.insert(CLIENT, address)),
        Some(Err(_)) | None => drop(request.headers.remove(CLIENT)),
    }
}
